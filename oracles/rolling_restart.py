"""Two servers behind haproxy are restarted one after the other while clients ask; no request may fail.

usage: rolling_restart.py --model FILE
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from programs import ballast, free_port
from report import Report

N_CLIENTS = 4
WAIT_SECONDS = 60
# haproxy asks every 100 ms, so that a second is enough for it to look elsewhere.
DRAIN_DELAY_SECONDS = 1

HAPROXY = """
global
    maxconn 200
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend in
    bind 127.0.0.1:{front}
    default_backend servers
backend servers
    balance roundrobin
    option httpchk GET /readyz
    default-server check inter 100ms fall 1 rise 1
    server a 127.0.0.1:{ports[0]}
    server b 127.0.0.1:{ports[1]}
"""


def wait_until(done, what):
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} took more than {WAIT_SECONDS} s")
        time.sleep(0.02)


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return True
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False


class Instance:
    """One server, which can be restarted."""

    def __init__(self, model, port, key):
        self.command = [ballast(), "serve", f"m={model}", "--host", "127.0.0.1", "--port", str(port), "--ctx-size", "512",
                        "--threads", "1", "--drain-delay", str(DRAIN_DELAY_SECONDS), "--drain-timeout", "30"]
        self.port, self.env = port, os.environ | {"BALLAST_API_KEY": key}
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_until(lambda: is_ready(self.port), "the start of a server")

    def restart(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(WAIT_SECONDS)
        self.start()
        return None if code == 0 else f"a server that was asked to stop ended with {code}"

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Clients:
    """Clients that ask again and again, each on a connection of its own, every second answer streamed."""

    def __init__(self, port, key):
        self.port, self.key = port, key
        self.n_answers, self.faults, self.ends = 0, [], threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.ask_on, args=(idx,), daemon=True) for idx in range(N_CLIENTS)]

    def ask_on(self, idx):
        n = idx
        while not self.ends.is_set():
            n += 1
            fault = self.ask(is_streamed=n % 2 == 0)
            with self.lock:
                if fault:
                    self.faults.append(fault)
                else:
                    self.n_answers += 1

    def ask(self, is_streamed):
        body = {"model": "m", "messages": [{"role": "user", "content": "Count to ten."}], "max_tokens": 12,
                "temperature": 0, "stream": is_streamed}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
            with contextlib.closing(connection):
                connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
                answer = connection.getresponse()
                text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        if answer.status != 200:
            return f"status {answer.status}: {text[:200]}"
        is_whole = text.rstrip().endswith("data: [DONE]") if is_streamed else '"finish_reason"' in text
        return None if is_whole else f"the answer broke off: {text[-200:]}"

    def wait_for_more(self, n):
        goal = self.n_answers + n
        wait_until(lambda: self.n_answers >= goal or self.faults, f"{n} answers")


@contextlib.contextmanager
def balanced(ports):
    """haproxy in front of two ports: its own."""
    front = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "haproxy.cfg"
        config.write_text(HAPROXY.format(front=front, ports=ports))
        haproxy = subprocess.Popen([find_haproxy(), "-db", "-f", str(config)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: is_ready(front), "the start of haproxy")
            yield front
        finally:
            haproxy.kill()
            haproxy.wait()


def find_haproxy():
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


def roll(report, model):
    key, ports = secrets.token_hex(16), (free_port(), free_port())
    instances = [Instance(model, port, key) for port in ports]
    try:
        for instance in instances:
            instance.start()
        with balanced(ports) as front:
            clients = Clients(front, key)
            for thread in clients.threads:
                thread.start()
            clients.wait_for_more(4)
            for name, instance in zip("ab", instances):
                report.check(f"server {name} is restarted", instance.restart())
                clients.wait_for_more(8)
            clients.ends.set()
            for thread in clients.threads:
                thread.join(WAIT_SECONDS)
        n_failed = len(clients.faults)
        report.check(f"{clients.n_answers + n_failed} requests, {n_failed} failed", clients.faults[0] if n_failed else None)
    finally:
        for instance in instances:
            instance.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    options = parser.parse_args()
    report = Report()
    if not options.model:
        report.skipped("rolling restart", "no model file was given")
    elif ballast() is None:
        report.skipped("rolling restart", "there is no ballast program; set BALLAST")
    elif find_haproxy() is None:
        report.skipped("rolling restart", "haproxy is not installed")
    else:
        try:
            roll(report, options.model)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            report.check("rolling restart", str(error))
    report.end()


main()
