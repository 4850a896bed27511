"""The wheel of sdk/python, built, installed apart and used: against `ballast serve`, and against servers that fail.

usage: python_sdk.py --model FILE           starts the server itself
       python_sdk.py --url URL --key KEY    uses one that runs
"""

import asyncio
import contextlib
import http.server
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

from clients import main, run

PROJECT = pathlib.Path(__file__).resolve().parent.parent / "sdk" / "python"
PROMPT, PARAMS = "Once upon a time", {"max_tokens": 8, "temperature": 0.0, "seed": 7}


def built(folder):
    """The package from its wheel."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, PROJECT]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    wheel = next(pathlib.Path(folder).glob("ballast_client-*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    if "ballast_client/py.typed" not in names:
        raise ValueError(f"the wheel says nothing of its types: {names}")
    sys.path.insert(0, str(wheel))
    return importlib.import_module("ballast_client")


@contextlib.contextmanager
def failing(answers):
    """A server that gives these answers in turn: status, headers, body; or waits. Yields its URL and what was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(time.monotonic())
            status, headers, body = answers[min(len(asked), len(answers)) - 1]
            if status is None:
                time.sleep(2)
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()


def types_hold():
    """Every type that is said, by mypy's strictest reading."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir=/dev/null", PROJECT / "src"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return None if ran.returncode == 0 else ran.stdout + ran.stderr


def fault(expected, got):
    return None if got == expected else f"expected {expected!r}, got {got!r}"


def compare(report, url, key):
    with tempfile.TemporaryDirectory() as folder:
        sdk = built(folder)
        report.check("types", types_hold())
        with sdk.Ballast(url, key) as ballast:
            run(report, against_the_server(sdk, ballast, url, key), (sdk.BallastError, sdk.BallastUnreachable))
        run(report, against_failures(sdk), (sdk.BallastError, sdk.BallastUnreachable))


def against_the_server(sdk, ballast, url, key):
    def state():
        return fault(("ok", True), (ballast.health().status, ballast.ready()))

    def models():
        return fault([ballast.props().model], [one.id for one in ballast.models()])

    def tokens():
        tokens = ballast.tokenize("héllo 🙂")
        return fault("héllo 🙂", ballast.detokenize([token.id for token in tokens]))

    def template():
        prompt = ballast.apply_template([{"role": "user", "content": "hello"}])
        return None if "hello" in prompt and len(prompt) > 20 else prompt

    def figures():
        return None if "\nvllm:num_requests_running{" in ballast.metrics() else "there are no figures"

    def streamed():
        pieces = list(ballast.stream(PROMPT, **PARAMS))
        whole = ballast.complete(PROMPT, **PARAMS)
        got = ("".join(piece.text for piece in pieces), pieces[-1].stop, pieces[-1].usage.completion_tokens)
        return fault((whole.text, whole.stop, whole.usage.completion_tokens), got)

    def in_asyncio():
        async def ask():
            async with sdk.AsyncBallast(url, key) as ballast:
                texts = [piece.text async for piece in ballast.stream(PROMPT, **PARAMS)]
                whole, health = await asyncio.gather(ballast.complete(PROMPT, **PARAMS), ballast.health())
                return "".join(texts), whole.text, health.status
        streamed, whole, status = asyncio.run(ask())
        return fault((whole, "ok"), (streamed, status))

    def refused():
        try:
            ballast.complete(PROMPT, temperature=-1.0)
        except sdk.BallastError as error:
            return fault((400, "invalid_value", "temperature"), (error.status, error.code, error.param))
        return "it was not refused"

    def without_a_key():
        try:
            sdk.Ballast(url).models()
        except sdk.BallastError as error:
            return None if error.status == 401 and error.request_id else repr(error)
        return "no key was needed"

    return {"state": state, "models": models, "tokens": tokens, "template": template, "metrics": figures,
            "streamed and whole": streamed, "asyncio": in_asyncio, "refused": refused, "no key": without_a_key}


def against_failures(sdk):
    good = (200, {"content-type": "application/json"}, json.dumps({"content": "x"}).encode())
    busy = (503, {"retry-after-ms": "10"}, b'{"error":{"message":"busy","code":"draining"}}')

    def tried(answers, **options):
        with failing(answers) as (url, asked), sdk.Ballast(url, **options) as ballast:
            try:
                got = ballast.detokenize([1])
            except (sdk.BallastError, sdk.BallastUnreachable) as error:
                got = getattr(error, "code", None) or type(error).__name__
            return got, len(asked)

    def broken_stream():
        events = b'data: {"content":"a","tokens":[],"stop":false}\n\ndata: {"error":{"message":"m","code":"engine_failed"}}\n\n'
        with failing([(200, {"content-type": "text/event-stream"}, events)]) as (url, _), sdk.Ballast(url) as ballast:
            texts = []
            try:
                texts.extend(piece.text for piece in ballast.stream("x"))
            except sdk.BallastError as error:
                return fault("engine_failed", error.code)
            return f"it ended well with {texts}"

    return {
        "repeats": lambda: fault(("x", 3), tried([busy, busy, good])),
        "gives up": lambda: fault(("draining", 2), tried([busy], retries=1)),
        "does not repeat what is wrong": lambda: fault(("bad", 1), tried([(400, {}, b'{"error":{"code":"bad"}}'), good])),
        "obeys x-should-retry": lambda: fault(("BallastError", 1), tried([(500, {"x-should-retry": "false"}, b"?"), good])),
        "silence": lambda: fault(("BallastUnreachable", 1), tried([(None, {}, b"")], timeout=0.2, retries=0)),
        "fails in a stream": broken_stream,
    }


if __name__ == "__main__":
    main("httpx", importlib.util.find_spec("httpx"), compare)
