"""Answers that must obey a JSON schema, from a real model at temperature 1, against the Python package `jsonschema`.

usage: json_schema.py --model FILE [--suite FOLDER] [--seconds N]

Each schema of the JSON Schema Test Suite (the folder of draft 2020-12) and of oracles/schemas is asked for until an
answer ends, with another seed and more room each time, a few times at most: a schema such as `{}` sets no end to an
answer, and a small model at temperature 1 does not either. An answer that ends must be valid by the schema; a schema that
is not enforced must be refused with 400, by the name of the keyword. What is still cut after all tries is counted apart.
`--seconds` asks for as many schemas as the time allows, in an order that takes some of every file; without it, and with
the suite, at least 300 must be answered and next to none cut.
"""

import argparse
import collections
import concurrent.futures
import fractions
import json
import math
import pathlib
import random
import time
import urllib.error

from programs import ROOT, ballast, call, serving_ballast
from report import Report

try:
    import jsonschema
except ImportError:
    jsonschema = None

# Most tokens of an answer, for each try.
N_TOKENS = (160, 160, 320, 480, 640)
N_AT_A_TIME = 6
# Of the answers, the share that may be cut before a run says nothing any more.
CUT_MAX = 0.02
# Schemas that must be answered where all are asked for.
VALID_MIN = 300
OWN = ROOT / "oracles/schemas"
SHORT = "Answer with one short JSON value, such as {}, [], 0 or \"a\". Nothing else."
COLUMNS = ("valid", "refused", "cut", "wrong")

Case = collections.namedtuple("Case", "file name schema prompt")


def suite_cases(folder):
    """The suite's schemas; without its instances, which are not ours."""
    for file in sorted(pathlib.Path(folder).glob("*.json")):
        for group in json.loads(file.read_text()):
            yield Case(file.stem, group["description"], group["schema"], SHORT)


def own_cases():
    for file in sorted(OWN.glob("*.json")):
        for name, entry in json.loads(file.read_text()).items():
            yield Case(f"own: {file.stem}", name, entry["schema"], entry["prompt"])


def all_cases(report, suite):
    """Our own schemas, and the suite's where its folder was given."""
    if not suite:
        report.skipped("JSON Schema Test Suite", "its folder was not given")
    return [*own_cases(), *(suite_cases(suite) if suite else ())]


def ordered(cases):
    """Some of every file first, always the same."""
    cases = sorted(cases, key=lambda case: (case.file, case.name))
    random.Random(7).shuffle(cases)
    return cases


def keywords(schema):
    """Every name in a schema."""
    if isinstance(schema, dict):
        for name, value in schema.items():
            yield name
            yield from keywords(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from keywords(value)


def ask(url, key, case, seed):
    """What became of a case, and why where that is wrong."""
    for turn, n_tokens in enumerate(N_TOKENS):
        outcome, fault = attempt(url, key, case, seed + 1000 * turn, n_tokens)
        if outcome != "cut":
            break
    return outcome, fault


def attempt(url, key, case, seed, n_tokens):
    body = {
        "model": MODEL, "messages": [{"role": "user", "content": case.prompt}], "temperature": 1, "seed": seed,
        "max_tokens": n_tokens,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": case.schema}},
    }
    try:
        choice = call(f"{url}/v1/chat/completions", body, key)["choices"][0]
    except urllib.error.HTTPError as error:
        return refusal(case, error.code, json.load(error)["error"])
    text = choice["message"]["content"]
    if choice["finish_reason"] == "length":
        return "cut", None
    if choice["finish_reason"] != "stop":
        return "wrong", f"finish reason {choice['finish_reason']!r}"
    return validity(case.schema, text)


def refusal(case, status, error):
    message = f"{error['param']}: {error['message']}"
    if status != 400 or not str(error["param"]).startswith("response_format.json_schema.schema"):
        return "wrong", f"{status} {message}"
    named = is_named(case.schema, str(error["param"]).replace(".", "/"), message)
    return ("refused", None) if named else ("wrong", f"no keyword is named: {message}")


def is_named(schema, pointer, message):
    """Whether a refusal says which keyword it is for, or that no value is valid."""
    said = set(str(pointer).split("/")) | set(message.translate(str.maketrans("`\"'", "   ")).split())
    return bool(said & set(keywords(schema))) or "nsatisfiable" in message


def validator(schema):
    """The package's validator, with steps of numbers as they are written: it divides binary fractions, for which 0.07 is
    no multiple of 0.01."""
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return jsonschema.validators.extend(kind, {"multipleOf": multiple_of})(schema)


def multiple_of(validator, step, value, schema):
    # A number beyond those that Python has is not judged.
    is_told = validator.is_type(value, "number") and math.isfinite(value)
    if is_told and fractions.Fraction(repr(value)) % fractions.Fraction(repr(step)) != 0:
        yield jsonschema.ValidationError(f"{value!r} is not a multiple of {step!r}")


def validity(schema, text):
    try:
        value = json.loads(text)
    except ValueError as error:
        return "wrong", f"{error}: {text!r}"
    fault = next(validator(schema).iter_errors(value), None)
    return ("valid", None) if fault is None else ("wrong", f"{fault.message}: {text!r}")


def compare(report, url, key, cases, options):
    counts = collections.defaultdict(collections.Counter)
    faults = collections.defaultdict(list)
    end = time.monotonic() + (options.seconds or float("inf"))

    def one(numbered):
        seed, case = numbered
        return (case, ask(url, key, case, seed)) if time.monotonic() < end else None

    with concurrent.futures.ThreadPoolExecutor(N_AT_A_TIME) as pool:
        for case, (outcome, fault) in filter(None, pool.map(one, enumerate(cases))):
            counts[case.file][outcome] += 1
            if fault:
                faults[case.file].append(f"{case.name}: {fault}")
    table(counts)
    for file in sorted(counts):
        report.check(f"schemas of {file}", "; ".join(faults[file]))
    total = sum(counts.values(), collections.Counter())
    n_answered = total["valid"] + total["cut"] + total["wrong"]
    report.check("most answers end", f"{total['cut']} of {n_answered} are cut" if total["cut"] > CUT_MAX * n_answered else None)
    if options.suite and not options.seconds:
        enough = total["valid"] >= VALID_MIN
        report.check(f"at least {VALID_MIN} schemas are answered", None if enough else f"{total['valid']} are")


def table(counts):
    print(f"{'schemas':28}" + "".join(f"{name:>9}" for name in COLUMNS))
    for file in sorted(counts):
        print(f"{file:28}" + "".join(f"{counts[file][name]:9}" for name in COLUMNS))
    total = sum(counts.values(), collections.Counter())
    print(f"{'all ' + str(sum(total.values())):28}" + "".join(f"{total[name]:9}" for name in COLUMNS), flush=True)


def main():
    global MODEL
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--suite")
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    report, name = Report(), "answers by JSON schemas"
    if jsonschema is None:
        report.skipped(name, "the package jsonschema is not installed")
    elif not options.model:
        report.skipped(name, "no model file was given")
    elif ballast() is None:
        report.skipped(name, "there is no ballast program; set BALLAST")
    else:
        cases = all_cases(report, options.suite)
        with serving_ballast(options.model) as (url, key):
            MODEL = call(f"{url}/v1/models", key=key)["data"][0]["id"]
            compare(report, url, key, ordered(cases), options)
    report.end()


MODEL = ""

if __name__ == "__main__":
    main()
