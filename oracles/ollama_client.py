"""The official Ollama client against `ballast serve`: chat and generate, whole and streamed, tags, show, errors; and models
that it copies, pulls from a hub that is played here, and deletes.

usage: ollama_client.py --model FILE [--encoder FOLDER]   starts the server itself
       ollama_client.py --url URL --key KEY               uses one that runs
"""

import contextlib
import hashlib
import http.server
import json
import pathlib
import tempfile
import threading

from clients import (
    TOOL_ANSWER, TOOL_DESCRIPTION, TOOL_NAME, TOOL_QUESTION, TOOL_SCHEMA, main, models, run, tool_fault)
from programs import serving_ballast

try:
    import ollama
except ImportError:
    ollama = None

MESSAGES = [{"role": "user", "content": "Say in one sentence what a lighthouse is for."}]
OPTIONS = {"temperature": 0, "num_predict": 24}

# What the hub that is played here has.
HUB_REPO = "somebody/tiny"
HUB_FILE = "tiny-Q4_1.gguf"
HUB_COMMIT = "0123456789abcdef0123456789abcdef01234567"
PULLED = f"hf:{HUB_REPO}:Q4_1"


def chat(client, model):
    """A chat has the same text whole and streamed, and counts its tokens."""
    whole = client.chat(model=model, messages=MESSAGES, options=OPTIONS)
    parts = list(client.chat(model=model, messages=MESSAGES, options=OPTIONS, stream=True))
    text = "".join(part.message.content for part in parts)
    if not whole.message.content or text != whole.message.content:
        return f"{whole.message.content!r} whole, {text!r} streamed"
    if [part.done for part in parts] != [False] * (len(parts) - 1) + [True]:
        return f"done: {[part.done for part in parts]}"
    if not 0 < whole.eval_count <= OPTIONS["num_predict"] or not whole.prompt_eval_count:
        return f"{whole.prompt_eval_count} and {whole.eval_count} tokens"
    return None if whole.done_reason in ("stop", "length") else f"done reason {whole.done_reason!r}"


def tools(client, model):
    """Where the model may call a tool its calls are well-formed, whole and streamed alike, and answers go back."""
    offered = [{"type": "function", "function": {
        "name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA}}]
    messages = [{"role": "user", "content": TOOL_QUESTION}]
    ask = {"model": model, "messages": messages, "tools": offered, "options": {"temperature": 0, "num_predict": 200}}
    whole = client.chat(**ask)
    calls = [(call.function.name, dict(call.function.arguments)) for call in whole.message.tool_calls or []]
    parts = [part.message for part in client.chat(**ask, stream=True)]
    streamed = [(call.function.name, dict(call.function.arguments)) for part in parts for call in part.tool_calls or []]
    text = "".join(part.content or "" for part in parts)
    if (text, streamed) != (whole.message.content or "", calls):
        return f"{whole.message} whole, {text!r} and {streamed} streamed"
    if whole.done_reason == "stop":
        for name, arguments in calls:
            if fault := tool_fault(name, arguments):
                return fault
    called = {"function": {"name": TOOL_NAME, "arguments": {"place": "Paris", "unit": "celsius"}}}
    messages = [*messages, {"role": "assistant", "content": "", "tool_calls": [called]},
                {"role": "tool", "tool_name": TOOL_NAME, "content": TOOL_ANSWER}]
    back = client.chat(model=model, messages=messages, options=OPTIONS)
    return None if back.message.content else f"after the tool's answer {back.message}"


def generate(client, model):
    """A prompt is answered as a chat with one message is."""
    chatted = client.chat(model=model, messages=MESSAGES, options=OPTIONS).message.content
    generated = client.generate(model=model, prompt=MESSAGES[0]["content"], options=OPTIONS).response
    return None if generated == chatted else f"{generated!r}, as a chat {chatted!r}"


def told(client, model):
    """The model is listed first, shown and running."""
    listed = [entry.model for entry in client.list().models]
    running = [entry.model for entry in client.ps().models]
    if listed[0] != model or running != [model]:
        return f"listed {listed}, running {running}"
    details = client.show(model).details
    return None if details.format == "gguf" and details.parameter_size else f"details {details}"


def refused(client, model):
    """What is wrong comes as the client's own error, with a status."""
    for ask in (lambda: client.chat(model="other", messages=MESSAGES),
                lambda: client.chat(model=model, messages=MESSAGES, options={"temperature": 9000})):
        try:
            ask()
        except ollama.ResponseError as error:
            if error.status_code not in (400, 404) or not error.error:
                return f"{error.status_code}: {error.error!r}"
            continue
        return "expected an error, got an answer"
    return None


def embeds(client, encoder):
    """Texts have vectors, and one of them by itself the same."""
    texts = ["A lighthouse.", "A ship at sea."]
    both, one = (client.embed(model=encoder, input=asked).embeddings for asked in (texts, texts[0]))
    return None if len(both) == 2 and both[0] == one[0] else f"{len(both)} vectors, the first alone is another"


def names(client):
    return [entry.model for entry in client.list().models]


def answer(client, model):
    return client.chat(model=model, messages=MESSAGES, options=OPTIONS).message.content


def status_of(ask):
    """The status of the client's own error; None where there was none."""
    try:
        ask()
    except ollama.ResponseError as error:
        return error.status_code
    return None


def copied(client, model):
    """A model has a second name until that is deleted, and answers alike under both."""
    if (status := client.copy(model, "twin").status) != "success":
        return f"copying: {status}"
    if "twin" not in names(client) or answer(client, "twin") != answer(client, model):
        return f"listed {names(client)}, {answer(client, 'twin')!r} by the second name"
    if (status := client.delete("twin").status) != "success" or "twin" in names(client):
        return f"deleting: {status}, listed {names(client)}"
    gone = status_of(lambda: answer(client, "twin"))
    if gone != 404 or not answer(client, model):
        return f"status {gone} for a name that is gone"
    return None


def pulled(client, model, home):
    """A pull tells how far it is, the model answers, and goes with its file; whole and streamed."""
    steps = list(client.pull(PULLED, stream=True))
    done = [step.completed for step in steps if step.total]
    if steps[-1].status != "success" or not done or done != sorted(done) or done[-1] != steps[-2].total:
        return f"steps {steps[:2]} .. {steps[-2:]}"
    for pull in (None, lambda: client.pull(PULLED)):
        if pull and pull().status != "success":
            return "not pulled in one piece"
        if PULLED not in names(client) or answer(client, PULLED) != answer(client, model):
            return f"listed {names(client)}, {answer(client, PULLED)!r} by what was pulled"
        files = list(pathlib.Path(home).rglob("*.gguf"))
        client.delete(PULLED)
        left = list(pathlib.Path(home).rglob("*.gguf"))
        if len(files) != 1 or left or PULLED in names(client):
            return f"files {files} before it was deleted, {left} after, listed {names(client)}"
    return None


def unwanted(client, model):
    """What cannot be copied, deleted or pulled is told."""
    cases = {
        "a copy of nothing": (lambda: client.copy("other", "twin"), 404),
        "deleting nothing": (lambda: client.delete("other"), 404),
        "a name that no hub has": (lambda: client.pull("llama3"), 400),
        "a file of the machine": (lambda: client.pull("/etc/passwd"), 400),
    }
    for name, (ask, expected) in cases.items():
        if (status := status_of(ask)) != expected:
            return f"{name}: status {status}, expected {expected}"
    for ask in (lambda: client.pull("hf:somebody/other"), lambda: list(client.pull("hf:somebody/other", stream=True))):
        try:
            ask()
        except ollama.ResponseError as error:
            if not error.error:
                return "an error without words"
            continue
        return "a repository that is not there was pulled"
    return None if names(client) == [model] else f"listed {names(client)}"


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub with one repository; the class that is made of it has its file's path as `model`."""

    def do_GET(self):
        path = self.path.split("?")[0]
        content = self.model.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if path == f"/api/models/{HUB_REPO}/revision/main":
            file = {"rfilename": HUB_FILE, "size": len(content), "lfs": {"sha256": digest, "size": len(content)}}
            self.give(json.dumps({"id": HUB_REPO, "sha": HUB_COMMIT, "siblings": [file]}).encode())
        elif path == f"/{HUB_REPO}/resolve/{HUB_COMMIT}/{HUB_FILE}":
            self.give(content, ETag=f'"{digest}"')
        else:
            self.send_error(404)

    def give(self, content, **headers):
        self.send_response(200)
        for name, value in (headers | {"Content-Length": len(content)}).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def hub(model):
    """The address of a hub that has the model's file."""
    handler = type("HubOfModel", (Hub,), {"model": pathlib.Path(model)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def serving_managed(model):
    """Our server on a model, whose callers may manage its models in a home of its own."""
    with tempfile.TemporaryDirectory() as home, hub(model) as address:
        places = {"BALLAST_HOME": home, "HF_HUB_CACHE": f"{home}/none", "OLLAMA_MODELS": f"{home}/none", "HF_ENDPOINT": address,
                  "HF_HUB_OFFLINE": "0"}
        with serving_ballast(model, "--manage-models", env=places) as (url, key):
            yield url, (key, home)


def compare_managed(report, url, key_and_home):
    key, home = key_and_home
    client, (model, _) = connect(url, key), models(url, key)
    checks = {
        "copy and delete": lambda: copied(client, model),
        "pull and delete": lambda: pulled(client, model, home),
        "errors of copy, pull and delete": lambda: unwanted(client, model),
    }
    run(report, checks, ollama.ResponseError)


def unmanaged(client, model):
    """Where models are not managed, they stay as they are."""
    for ask in (lambda: client.copy(model, "twin"), lambda: client.delete(model), lambda: client.pull(PULLED)):
        if (status := status_of(ask)) != 501:
            return f"status {status}"
    return None if model in names(client) else f"listed {names(client)}"


def connect(url, key):
    return ollama.Client(host=url, headers={"authorization": f"Bearer {key}"}, timeout=120)


def compare(report, url, key):
    client = connect(url, key)
    model, encoder = models(url, key)
    checks = {
        "chat": lambda: chat(client, model),
        "tools": lambda: tools(client, model),
        "generate": lambda: generate(client, model),
        "tags, ps and show": lambda: told(client, model),
        "errors": lambda: refused(client, model),
        "models that are not managed": lambda: unmanaged(client, model),
    }
    if encoder:
        checks["embed"] = lambda: embeds(client, encoder)
    run(report, checks, ollama.ResponseError)


if __name__ == "__main__":
    main("ollama", ollama, compare, (serving_managed, compare_managed))
