"""Answers that grammars let through, drawn at random without a model, against the Python package `jsonschema`.

usage: schema_walk.py [--suite FOLDER] [--texts N] [--seed N] [--random N] [--refused]

Every schema of the JSON Schema Test Suite (the folder of draft 2020-12) and of oracles/schemas is compiled, and so many
texts are drawn from its grammar with the example `schema_walk` of ballast-tokens (SCHEMA_WALK names its program). Each
text must be valid by the schema. The suite's own instances are not needed: a grammar makes its own. `--random` adds so
many schemas of keywords put together at random, of which many are refused or cannot be fulfilled.

A schema that is not enforced must be refused by the name of a keyword. `--refused` lists those by keyword.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import subprocess
import sys

from json_schema import SHORT, Case, all_cases, is_named, table, validity
from programs import ROOT
from report import Report

try:
    import jsonschema
except ImportError:
    jsonschema = None

SECONDS_MAX = 900


def program():
    """The example's program, from SCHEMA_WALK or a build folder; none if there is none."""
    named = os.environ.get("SCHEMA_WALK")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    places = [named] if named else [target / kind / "examples/schema_walk" for kind in ("release", "debug")]
    return next((str(place) for place in places if pathlib.Path(place).is_file()), None)


def drawn(cases, options):
    """What the program says of each case."""
    lines = "".join(json.dumps(case.schema) + "\n" for case in cases)
    command = [program(), str(options.texts), str(options.seed)]
    ran = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    if ran.returncode != 0:
        sys.stderr.write(ran.stderr)
    answers = [json.loads(line) for line in ran.stdout.split("\n") if line]
    assert len(answers) == len(cases), f"{len(answers)} answers for {len(cases)} schemas: {ran.stderr[-500:]}"
    return answers


class Drawn:
    """Schemas of keywords put together at random."""

    NAMES = ("a", "b", "ab", "c1")
    VALUES = (0, 1, 2.5, -3, "a", "ab", "x1", "", None, True, False, [], [1], {"a": 1}, {})
    PATTERNS = ("^a", "b$", "^[a-z]+$", "1")

    def __init__(self, seed):
        self.random = random.Random(seed)

    def cases(self, n):
        return [Case("random", str(idx), self.outermost(), SHORT) for idx in range(n)]

    def outermost(self):
        schema = self.schema(3)
        if isinstance(schema, dict):
            schema["$defs"] = {name: self.schema(2) for name in self.NAMES}
        return schema

    def schema(self, depth):
        if self.random.random() < 0.06:
            return self.random.random() < 0.7
        schema = {}
        if self.random.random() < 0.5:
            kinds = ["null", "boolean", "integer", "number", "string", "array", "object"]
            schema["type"] = self.random.choice([self.random.choice(kinds), self.random.sample(kinds, 2)])
        for _ in range(self.random.randrange(1, 4)):
            keyword, value = self.keyword(depth)
            schema[keyword] = value
        return schema

    def keyword(self, depth):
        below = lambda: self.schema(depth - 1)
        few = lambda make, least=1: [make() for _ in range(self.random.randrange(least, 4))]
        named = lambda make: {name: make() for name in self.random.sample(self.NAMES, self.random.randrange(1, 3))}
        number = lambda: self.random.randrange(-4, 8)
        names = lambda: self.random.sample(self.NAMES, self.random.randrange(1, 3))
        plain = {
            "minimum": number, "maximum": number, "exclusiveMinimum": number, "exclusiveMaximum": number,
            "multipleOf": lambda: self.random.choice([2, 3, 0.5]), "minLength": lambda: self.random.randrange(3),
            "maxLength": lambda: self.random.randrange(5), "pattern": lambda: self.random.choice(self.PATTERNS),
            "const": lambda: self.random.choice(self.VALUES), "required": names,
            "enum": lambda: self.random.sample(self.VALUES, self.random.randrange(1, 6)),
            "minItems": lambda: self.random.randrange(3), "maxItems": lambda: self.random.randrange(4),
            "minProperties": lambda: self.random.randrange(3), "maxProperties": lambda: self.random.randrange(4),
            "uniqueItems": lambda: True, "dependentRequired": lambda: named(names),
        }
        deep = {
            "allOf": lambda: few(below), "anyOf": lambda: few(below), "oneOf": lambda: few(below), "not": below,
            "if": below, "then": below, "else": below, "properties": lambda: named(below),
            "additionalProperties": below, "items": below, "prefixItems": lambda: few(below), "contains": below,
            "patternProperties": lambda: {self.random.choice(self.PATTERNS): below() for _ in range(2)},
            "propertyNames": below, "dependentSchemas": lambda: named(below), "unevaluatedProperties": below,
            "unevaluatedItems": below, "$ref": lambda: f"#/$defs/{self.random.choice(self.NAMES)}",
            "minContains": lambda: self.random.randrange(3), "maxContains": lambda: self.random.randrange(3),
        }
        among = plain if depth <= 0 or self.random.random() < 0.4 else deep
        keyword = self.random.choice(sorted(among))
        return keyword, among[keyword]()


def judge(case, answer):
    """What became of a case, why where that is wrong, and the place it was refused for."""
    if "refused" in answer:
        pointer, message = answer["refused"]
        is_told = is_named(case.schema, pointer, message) or "expected at most" in message
        fault = None if is_told else f"neither a keyword nor a bound is named: {message}"
        return ("wrong" if fault else "refused"), fault
    for text in answer["texts"]:
        try:
            outcome, fault = validity(case.schema, text)
        except RecursionError:
            # A schema that refers to itself in its own place means nothing (JSON Schema core, 9.4.1): nobody can judge.
            return "cut", None
        if outcome == "wrong":
            return outcome, fault
    return ("valid" if answer["texts"] else "cut"), None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", default=os.environ.get("BALLAST_SCHEMA_SUITE"))
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--refused", action="store_true")
    options = parser.parse_args()
    report, name = Report(), "answers that grammars let through"
    if jsonschema is None:
        report.skipped(name, "the package jsonschema is not installed")
    elif program() is None:
        report.skipped(name, "the example schema_walk is not built; set SCHEMA_WALK")
    else:
        cases = all_cases(report, options.suite) + Drawn(options.seed).cases(options.random)
        compare(report, cases, options)
    report.end()


def compare(report, cases, options):
    counts = collections.defaultdict(collections.Counter)
    faults = collections.defaultdict(list)
    n_texts = 0
    for case, answer in zip(cases, drawn(cases, options), strict=True):
        outcome, fault = judge(case, answer)
        counts[case.file][outcome] += 1
        n_texts += len(answer.get("texts", []))
        if fault:
            faults[case.file].append(f"{case.name}: {fault}")
        if options.refused and "refused" in answer:
            print(f"refused: {case.file}: {case.name}: {answer['refused']}")
    table(counts)
    print(f"{n_texts} texts")
    for file in sorted(counts):
        report.check(f"schemas of {file}", "; ".join(faults[file]))


if __name__ == "__main__":
    main()
