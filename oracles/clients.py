"""What the oracles that are official clients share: they ask a server of ours on a real model."""

import argparse
import contextlib
import pathlib
import tempfile

from programs import ballast, call, run as run_program, serving_ballast
from report import Report

ENCODER = "encoder"

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


# What they ask where an answer must keep to a schema. Anthropic's client takes bounds of numbers out of schemas.
LIGHT_QUESTION = "Which light, and for how long?"
LIGHT_SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}, "seconds": {"enum": [5, 10, 20]}},
    "required": ["colour", "seconds"],
    "additionalProperties": False,
}


def light_fault(light):
    """What is wrong with what should keep to that schema, or nothing."""
    keeps = isinstance(light, dict) and set(light) == {"colour", "seconds"}
    keeps = keeps and light["colour"] in ("red", "green") and light["seconds"] in (5, 10, 20)
    return None if keeps else f"the answer {light!r}"


def farthest(vectors, others):
    """The largest difference between numbers of two lists of vectors, which must have the same lengths."""
    pairs = ((a, b) for one, other in zip(vectors, others, strict=True) for a, b in zip(one, other, strict=True))
    return max(abs(a - b) for a, b in pairs)


def run(report, checks, client_errors):
    """Runs checks by name; each returns what is wrong, or nothing."""
    for name, check in checks.items():
        try:
            fault = check()
        except (client_errors, OSError, KeyError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"
        report.check(name, fault)


def models(url, key):
    """The names of a model that generates and of one that embeds, which is None where the server has none."""
    names = [model["id"] for model in call(f"{url}/v1/models", key=key)["data"]]
    return names[0], ENCODER if ENCODER in names else None


@contextlib.contextmanager
def serving_both(model, encoder):
    """Our server on a model file and, where there is one, on an encoder's folder: its URL and a key for it."""
    with tempfile.TemporaryDirectory() as folder:
        served = []
        if encoder:
            gguf = pathlib.Path(folder) / "encoder.gguf"
            run_program(ballast(), "convert", encoder, "-o", gguf, "--type", "f16")
            served = [f"{ENCODER}={gguf}"]
        with serving_ballast(model, *served) as server:
            yield server


def serving_busy(model):
    """Our server as one that is hard to reach: a key may ask once a second, and of its two models one is loaded at a time,
    for which nobody waits."""
    return serving_ballast(f"one={model}", f"other={model}", "--models-max", 1, "--load-wait", 0,
                           "--rate-limit", 1, "--rate-burst", 1)


def main(package, module, compare, *others):
    """Has `compare(report, url, key)` ask a server that runs, or one that is started on a model; in that case has each
    other `(serving, compare)` ask the server that `serving(model)` starts, such as `serving_busy`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--encoder")
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
            with serving_both(options.model, options.encoder) as (url, key):
                compare(report, url, key)
            for start, compare_other in others:
                with start(options.model) as (url, key):
                    compare_other(report, url, key)
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            report.check("server", str(error))
    report.end()
