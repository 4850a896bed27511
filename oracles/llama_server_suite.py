"""llama.cpp's own tests of its server, run against it and against ours on the same model files.

usage: llama_server_suite.py --write [FILE..]    both servers; stores the table and prints docs/LLAMA_SERVER_SUITE.md
       llama_server_suite.py --rewrite [FILE..]  the same with what is stored of llama-server: ours only is run
       llama_server_suite.py [FILE..]            ours only; every test that the table says ours passes must still pass

FILE is a test file of the suite, such as test_tokenize.py; all without one. Needs BALLAST, BALLAST_LLAMA_CPP, for
--write also BALLAST_LLAMA_BIN, and the packages of oracles/suite/requirements.txt.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from programs import QUIET, ROOT, ballast, free_port, peer
from report import Report
from suite import classes

STORED = ROOT / "oracles/data/llama_server_suite.json"
DOCUMENT = ROOT / "docs/LLAMA_SERVER_SUITE.md"
SHIM = ROOT / "oracles/suite/shim.py"
PACKAGES = ("pytest", "filelock", "wget", "requests", "openai", "gguf", "numpy")


def run_suite(tests, program, files, models):
    """Results by test: {"outcome", "message"}."""
    with tempfile.TemporaryDirectory() as folder:
        results = pathlib.Path(folder) / "results"
        results.touch()
        environment = os.environ | QUIET | {
            "LLAMA_SERVER_BIN_PATH": str(program), "SUITE_MODELS": json.dumps(models), "SUITE_RESULTS": str(results),
            "PORT": str(free_port()), "LLAMA_CACHE": folder, "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(ROOT / "oracles"), "BALLAST": str(ballast()), "OMP_NUM_THREADS": "2",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "suite.plugin", "-p", "no:cacheprovider", "--tb=short",
                   "-m", "not slow", "--rootdir", tests, *[f"unit/{file}" for file in files]]
        log = pathlib.Path(os.environ.get("SUITE_LOG", folder)) / f"{pathlib.Path(program).name}.log"
        with log.open("w") as output:
            subprocess.run(command, cwd=tests, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        lines = [json.loads(line) for line in results.read_text().splitlines()]
    found = {}
    for line in lines:
        test = line.pop("test").removeprefix("unit/")
        # A test that passes and then fails to end has failed.
        if test not in found or line["outcome"] == "failed":
            found[test] = line
    return found


def table(theirs, ours):
    """One row for each test."""
    rows = {}
    for test, result in theirs.items():
        kind, why = classes.classify(test, result)
        mine = ours.get(test, {"outcome": "not run", "message": ""})
        rows[test] = {"theirs": result["outcome"], "message": result["message"], "ours": mine["outcome"], "class": kind,
                      "why": why or mine["message"]}
    return rows


def of_llama_server(stored, files):
    """What is stored of llama-server's results."""
    chosen = {test: row for test, row in stored.items() if test.split("::")[0] in files}
    return {test: {"outcome": row["theirs"], "message": row["message"]} for test, row in chosen.items()}


def document(rows):
    """The page; everything in it is counted from the rows."""
    n = lambda kind, **wanted: sum(row["class"] == kind and all(row[k] == v for k, v in wanted.items()) for row in rows.values())
    kinds = list(classes.EXPLAINED)
    lines = [
        "# llama.cpp's server tests", "",
        "Printed by `oracles/llama_server_suite.py --write`. llama.cpp's own tests of its server (pytest, `tools/server/tests`)",
        "run against llama-server and against `ballast serve` on the same model files, which have random weights and the",
        "original's token counts. Tests marked slow fetch models of gigabytes and are left out.", "",
        "| class | meaning | tests | llama-server passes | Ballast passes |", "|---|---|---|---|---|",
    ]
    lines += [f"| {kind} | {classes.EXPLAINED[kind]} | {n(kind)} | {n(kind, theirs='passed')} | {n(kind, ours='passed')} |" for kind in kinds]
    lines += ["", "Files that are run against neither server, because all of them is about something Ballast has not:", ""]
    lines += [f"- `{file}`: {what}" for file, what in sorted(classes.FEATURES.items())]
    for kind in kinds:
        lines += ["", f"## Class: {kind}", "", "| test | llama-server | Ballast | reason or first line of the failure |", "|---|---|---|---|"]
        chosen = [(test, row) for test, row in sorted(rows.items()) if row["class"] == kind]
        lines += [f"| `{cell(test)}` | {row['theirs']} | {row['ours']} | {cell(row['why'])} |" for test, row in chosen]
    return "\n".join(lines) + "\n"


def cell(text):
    """Text that a table's cell can hold, without a folder of one machine."""
    text = "".join(c if c.isprintable() and c != "`" else " " for c in text).replace("|", "\\|")
    return text.replace(str(pathlib.Path.home()), "~")[:200]


def chosen(tests, files):
    every = sorted(path.name for path in (pathlib.Path(tests) / "unit").glob("test_*.py"))
    return [file for file in (files or every) if file not in classes.FEATURES]


def write(report, tests, files, models):
    store(report, tests, files, models, run_suite(tests, peer("llama-server"), files, models))


def rewrite(report, tests, files, models):
    store(report, tests, files, models, of_llama_server(json.loads(STORED.read_text()), files))


def store(report, tests, files, models, theirs):
    rows = table(theirs, run_suite(tests, SHIM, files, models))
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    kept = {test: row for test, row in stored.items() if test.split("::")[0] not in files}
    rows = dict(sorted((kept | rows).items()))
    STORED.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    DOCUMENT.write_text(document(rows))
    for test, row in rows.items():
        if row["class"] == classes.APPLICABLE and test.split("::")[0] in files:
            report.check(test, None if row["ours"] == "passed" else row["why"] or row["ours"])


def check(report, tests, files, models):
    stored = json.loads(STORED.read_text())
    ours = run_suite(tests, SHIM, files, models)
    for test, row in stored.items():
        if row["class"] == classes.APPLICABLE and row["ours"] == "passed" and test.split("::")[0] in files:
            mine = ours.get(test, {"outcome": "not run", "message": ""})
            report.check(test, None if mine["outcome"] == "passed" else f"{mine['outcome']}: {mine['message']}")


def main():
    parser = argparse.ArgumentParser()
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--write", dest="work", action="store_const", const=write)
    how.add_argument("--rewrite", dest="work", action="store_const", const=rewrite)
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    report, name = Report(), "llama.cpp's server tests"
    source = os.environ.get("BALLAST_LLAMA_CPP")
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        report.skipped(name, f"packages are missing: {', '.join(missing)}")
    elif not source:
        report.skipped(name, "there is no source of llama.cpp; set BALLAST_LLAMA_CPP")
    elif ballast() is None or (options.work is write and peer("llama-server") is None):
        report.skipped(name, "a program is missing; set BALLAST and BALLAST_LLAMA_BIN")
    else:
        from suite.models import write_all
        tests = str(pathlib.Path(source) / "tools/server/tests")
        with tempfile.TemporaryDirectory() as folder:
            models = write_all(pathlib.Path(folder))
            (options.work or check)(report, tests, chosen(tests, options.files), models)
    report.end()


if __name__ == "__main__":
    main()
