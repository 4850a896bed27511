"""The examples of docs/API.md, run as they stand against `ballast serve`.

usage: api_examples.py --model FILE           starts the server itself
       api_examples.py --url URL --key KEY    uses one that runs
"""

import os
import pathlib
import re
import shutil
import subprocess

from clients import main, run
from programs import call

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "API.md"


def example(text, environment):
    """The shell ends well and what it prints is an answer."""
    ran = subprocess.run(["sh", "-c", text], env=environment, capture_output=True, text=True, timeout=120)
    if ran.returncode != 0:
        return f"exit code {ran.returncode}: {ran.stderr}"
    return None if ran.stdout.lstrip().startswith(("{", "data: {", "# HELP")) else f"{ran.stdout[:200]!r}"


def compare(report, url, key):
    model = call(f"{url}/v1/models", key=key)["data"][0]["id"]
    environment = os.environ | {"URL": url, "KEY": key, "MODEL": model}
    examples = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    routes = [re.search(r"\$URL(\S+?)\"", text).group(1) for text in examples]
    names = [f"{idx} {route}" for idx, route in enumerate(routes, 1)]
    run(report, {name: lambda text=text: example(text, environment) for name, text in zip(names, examples)},
        subprocess.TimeoutExpired)
    report.check("there are examples", None if len(examples) >= 5 else f"{len(examples)} were found")


if __name__ == "__main__":
    main("curl", shutil.which("curl"), compare)
