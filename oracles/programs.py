"""The two programs that are compared: ours, from BALLAST, and llama.cpp's, from the folder BALLAST_LLAMA_BIN."""

import contextlib
import json
import os
import pathlib
import secrets
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND_SECONDS = 600
START_SECONDS = 60

# llama.cpp's threads spin at their barriers; on cores that others use too, that costs it most of its speed.
QUIET = {"GOMP_SPINCOUNT": "0"}


def ballast():
    """Path of our program, or None."""
    path = os.environ.get("BALLAST", str(ROOT / "target/release/ballast"))
    return path if os.access(path, os.X_OK) else None


def peer(name):
    """Path of llama.cpp's program `name`, or None."""
    path = os.path.join(os.environ.get("BALLAST_LLAMA_BIN", ""), name)
    return path if os.path.isabs(path) and os.access(path, os.X_OK) else None


def run(*command):
    """What a command prints on standard output and on standard error. It must end well."""
    command = [str(word) for word in command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS,
                          env=os.environ | QUIET)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{pathlib.Path(command[0]).name} {command[1]} ended with {done.returncode}: {last}")
    return done.stdout, done.stderr


def run_json(*command):
    """The JSON value a command prints on standard output."""
    return json.loads(run(*command)[0])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def call(url, body=None, key=None):
    """GET, or POST of `body`, with the answer's JSON."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=COMMAND_SECONDS) as answer:
        return json.load(answer)


@contextlib.contextmanager
def serving(command, port, env=None):
    """Runs a server until the block ends; the block begins when its /health answers 200."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        command = [str(word) for word in command]
        server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | QUIET | (env or {}))
        try:
            wait_until_healthy(server, url, log)
            yield url
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_until_healthy(server, url, log):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            log.seek(0)
            raise RuntimeError(f"the server ended with {server.returncode}: {log.read()[-300:].decode(errors='replace')}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"the server is not healthy after {START_SECONDS} s")


@contextlib.contextmanager
def serving_ballast(*words, env=None):
    """Our server on models, with options and variables if they are given: its URL and a key for it."""
    key, port = secrets.token_hex(16), free_port()
    command = [ballast(), "serve", *words, "--host", "127.0.0.1", "--port", port]
    with serving(command, port, {"BALLAST_API_KEY": key} | (env or {})) as url:
        yield url, key


@contextlib.contextmanager
def serving_peer(model, flash_attention="off"):
    """llama.cpp's server on `model` with one slot and f16 KV: its URL."""
    port = free_port()
    command = [peer("llama-server"), "-m", model, "--host", "127.0.0.1", "--port", port, "-np", 1, "-c", 2048,
               "-fa", flash_attention, "-ctk", "f16", "-ctv", "f16", "--no-ui"]
    with serving(command, port) as url:
        yield url
