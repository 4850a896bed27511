"""What the oracles that are official clients share: they ask a server of ours on a real model."""

import argparse

from programs import ballast, serving_ballast
from report import Report


# What the clients' checks of tools ask: a tool whose arguments leave a small model little to get wrong.
TOOL_NAME = "get_weather"
TOOL_DESCRIPTION = "Tells the weather at a place."
TOOL_SCHEMA = {
    "type": "object",
    "properties": {"place": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["place", "unit"],
    "additionalProperties": False,
}
TOOL_QUESTION = "How is the weather in Paris?"
TOOL_ANSWER = "Sunny, 21 degrees."


def tool_fault(name, arguments):
    """What is wrong with a call of the tool, or nothing."""
    if name != TOOL_NAME:
        return f"the tool {name!r} was called"
    if set(arguments) != {"place", "unit"} or not isinstance(arguments["place"], str) or len(arguments["place"]) > 20:
        return f"arguments {arguments}"
    return None if arguments["unit"] in ("celsius", "fahrenheit") else f"arguments {arguments}"


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
