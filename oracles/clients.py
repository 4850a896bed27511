"""What the oracles that are official clients share: they ask a server of ours on a real model."""

import argparse

from programs import ballast, serving_ballast
from report import Report


def run(report, checks, client_errors):
    """Runs checks by name; each returns what is wrong, or nothing."""
    for name, check in checks.items():
        try:
            fault = check()
        except (client_errors, OSError, KeyError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"
        report.check(name, fault)


def main(package, module, compare):
    """Has `compare(report, url, key)` ask a server that runs, or one that is started on a model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--url")
    parser.add_argument("--key", default="none")
    options = parser.parse_args()
    report, name = Report(), f"{package} client"
    if module is None:
        report.skipped(name, f"the package {package} is not installed")
    elif options.url:
        compare(report, options.url.rstrip("/"), options.key)
    elif not options.model:
        report.skipped(name, "neither a model file nor a server was given")
    elif ballast() is None:
        report.skipped(name, "there is no ballast program; set BALLAST")
    else:
        try:
            with serving_ballast(options.model) as (url, key):
                compare(report, url, key)
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            report.check("server", str(error))
    report.end()
