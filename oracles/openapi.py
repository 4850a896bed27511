"""The OpenAPI document of `ballast serve`, and whether the server is what it says, by schemathesis with all checks.

usage: openapi.py --model FILE [--examples N]     FILE lends its tokenizer to a tiny model of random weights

Two things are left out, since no schema can say them. Times are not sent: one that is too short is rightly answered by
504. And where a model works or a response is kept, a request that the schema allows may be refused with 400: a prompt is
too long for the context, two fields exclude each other, a response is none of the background. The same holds where
only the prompt of a conversation is told. Five routes are left out: the tiny model has no tokens to fill gaps with, what
a slot's action takes depends on the action, and models come and go only where the server allows it; nor are those whose
one answer is that the server does not have them (501). Everything else
holds on every other route: no answer is a fault of the server, every answer has a status, type and shape that the
document names, and what the schema forbids is refused.
"""

import argparse
import importlib.util
import json
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile

from programs import ballast, call, free_port, run, serving
from report import Report

TIMES = ("timeout", "t_max_predict_ms")
LEFT_OUT = ("/infill", "/slots/{id_slot}", "/api/copy", "/api/delete", "/api/pull")
REFUSED = ("/v2/systemsharedmemory", "/v2/cudasharedmemory", "/v2/trace/", "/v2/models/{model}/trace/", "/v2/logging")
RELATED = ["post_apply_template", "post_chat_completions_input_tokens", "post_v1_chat_completions_input_tokens"]
KEPT = ["get_v1_responses_id", "get_v1_responses_id_input_items", "post_v1_responses_id_cancel"]
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 408, 413, 415, 429]

[[operations]]
include-operation-id-regex = "^({working})$"

[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 403, 404, 409, 429]
"""


def without_times(schema):
    if isinstance(schema, dict):
        return {name: without_times(value) for name, value in schema.items() if name not in TIMES}
    return [without_times(value) for value in schema] if isinstance(schema, list) else schema


def operations(document):
    return [operation for path in document["paths"].values() for operation in path.values()]


def check(report, url, key, n_examples, folder):
    document = without_times(call(f"{url}/openapi.json", key=key))
    document["paths"] = {path: item for path, item in document["paths"].items()
                         if path not in LEFT_OUT and not path.startswith(REFUSED)}
    working = [one["operationId"] for one in operations(document) if "504" in one["responses"]] + KEPT + RELATED
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(CONFIG.format(working="|".join(map(re.escape, working))))
    command = [str(pathlib.Path(sys.executable).parent / "schemathesis"), "--config-file", "schemathesis.toml", "run",
               "openapi.json", "--url", url, "-H", f"Authorization: Bearer {key}", "--checks", "all", "--seed", "1",
               "--suppress-health-check", "all", "--continue-on-failure", "--max-examples", str(n_examples),
               "--request-timeout", "300", "--no-color", "--output-truncate", "true"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800)
    lines = [line[:300] for line in ran.stdout.splitlines() if re.match(r"^(_+ |- ST|    Invalid|\[\d|    `|  \d+ generated)", line)]
    report.check(f"schemathesis, all checks, {len(operations(document))} operations",
                 None if ran.returncode == 0 else "\n".join(lines[:60]) or ran.stdout[-2000:] + ran.stderr[-500:])
    print(next((line.strip() for line in ran.stdout.splitlines() if "generated" in line), ""))
    live = call(f"{url}/livez")
    report.check("the server lives on", None if live == {"status": "ok"} else str(live))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--examples", type=int, default=20)
    options = parser.parse_args()
    report = Report()
    if importlib.util.find_spec("schemathesis") is None:
        report.skipped("schemathesis", "the package schemathesis is not installed")
    elif not options.model or ballast() is None:
        report.skipped("schemathesis", "there is no model file or no ballast program")
    else:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            run(ballast(), "bench", "make-model", "--shape", "tiny", "--type", "Q8_0", "--like", options.model, folder / "tiny.gguf")
            key, port = secrets.token_hex(16), free_port()
            command = [ballast(), "serve", folder / "tiny.gguf", "--alias", "tiny", "--port", port, "-c", 256, "-n", 4,
                       "--failed-logins", 0]
            with serving(command, port, {"BALLAST_API_KEY": key}) as url:
                check(report, url, key, options.examples, folder)
    report.end()


if __name__ == "__main__":
    main()
