"""Clients for Node against `ballast serve`: OpenAI's own and Vercel's `ai`; the checks are the scripts in `node/`.

usage: node_clients.py --model FILE [--encoder FOLDER]   starts the server itself
       node_clients.py --url URL --key KEY               uses one that runs

NODE_PACKAGES is the folder where `npm ci` was run with the files of `node/`.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from clients import main, models, serving_busy

SCRIPTS = pathlib.Path(__file__).resolve().parent / "node"
PACKAGES = pathlib.Path(os.environ.get("NODE_PACKAGES", "/nonexistent")) / "node_modules"
SCRIPT_SECONDS = 300


def tell(report, script, url, key, model, encoder=None):
    """Runs a script and reports each of its checks."""
    asked = {"BALLAST_URL": url, "BALLAST_KEY": key, "BALLAST_MODEL": model, "BALLAST_ENCODER_MODEL": encoder or ""}
    with tempfile.TemporaryDirectory() as folder:
        # Node looks for packages beside the script that imports them.
        work = pathlib.Path(folder) / "node"
        shutil.copytree(SCRIPTS, work)
        (work / "node_modules").symlink_to(PACKAGES)
        try:
            ran = subprocess.run(["node", work / f"{script}.mjs"], env=os.environ | asked, stdin=subprocess.DEVNULL,
                                 capture_output=True, text=True, timeout=SCRIPT_SECONDS)
        except subprocess.TimeoutExpired:
            return report.check(f"{script}: to its end", f"it had not ended after {SCRIPT_SECONDS} s")
    checks = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    for check in checks:
        report.check(f"{script}: {check['name']}", check["fault"])
    if ran.returncode != 0 or not checks:
        report.check(f"{script}: to its end", f"it ended with {ran.returncode}: {ran.stderr.strip()[-300:]}")


def compare(report, url, key):
    model, encoder = models(url, key)
    tell(report, "openai", url, key, model, encoder)
    tell(report, "vercel", url, key, model, encoder)


def compare_when_busy(report, url, key):
    tell(report, "retries", url, key, "other")


if __name__ == "__main__":
    main("Node", shutil.which("node") and PACKAGES.is_dir() or None, compare, (serving_busy, compare_when_busy))
