"""What every oracle prints: a line for each thing that was compared, and a count as the last line."""

import sys


class Report:
    """Counts what passed and what failed. `skipped` says in one line what could not be compared and why."""

    def __init__(self):
        self.n_passed = 0
        self.n_failed = 0

    def check(self, name, fault):
        """Counts `name`: it passed if there is no `fault`, a text that says what is wrong."""
        if fault:
            self.n_failed += 1
            print(f"failed: {name}: {fault}", flush=True)
        else:
            self.n_passed += 1
            print(f"passed: {name}", flush=True)

    def skipped(self, what, why):
        print(f"skipped: {what}: {why}", flush=True)

    def end(self):
        """Prints the count and leaves with 1 if anything failed."""
        print(f"{self.n_passed} passed, {self.n_failed} failed", flush=True)
        sys.exit(1 if self.n_failed else 0)
