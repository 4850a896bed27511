"""The clients of kserve_client.py against MLServer: what it and we both answer, by HTTP and by gRPC.

usage: mlserver_peer.py    starts MLServer with identities that refuse what a real model would; MLSERVER_PYTHON names the
                           Python that has it, BALLAST_PYTHON or this one the clients
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from kserve_client import types
from report import Report

PATIENCE_SECONDS = 120
RUNTIME = '''
from mlserver import MLModel
from mlserver.errors import InferenceError
from mlserver.types import InferenceResponse, ResponseOutput


class Identity(MLModel):
    """Gives y, which is x; of a batch at most four rows of three numbers."""

    async def predict(self, payload):
        x = payload.inputs[0]
        if payload.parameters is not None and getattr(payload.parameters, "sequence_id", 0):
            raise InferenceError("there are no sequences here")
        if self.name == "batched" and (x.datatype != "FP32" or x.shape[1:] != [3] or x.shape[0] > 4):
            raise InferenceError(f"expected at most four rows of three FP32, got {x.shape} of {x.datatype}")
        if x.datatype != ("FP32" if self.name == "batched" else self.name):
            raise InferenceError(f"expected {self.name}, got {x.datatype}")
        y = ResponseOutput(name="y", shape=x.shape, datatype=x.datatype, data=x.data)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[y])
'''


def lay_out(folder, http, grpc):
    (folder / "identity.py").write_text(RUNTIME)
    settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": 0, "parallel_workers": 0, "debug": False}
    (folder / "settings.json").write_text(json.dumps(settings))
    for name in [*types(), "batched"]:
        path = folder / name
        path.mkdir()
        model = {"name": name, "implementation": "identity.Identity", "parameters": {"version": "1"}}
        (path / "model-settings.json").write_text(json.dumps(model))


def wait_ready(server, address):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            return f"MLServer ended with {server.returncode}"
        try:
            with urllib.request.urlopen(f"http://{address}/v2/health/ready", timeout=5):
                return None
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    return "MLServer did not get ready"


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main():
    report = Report()
    python = os.environ.get("MLSERVER_PYTHON")
    if not python or not pathlib.Path(python).exists():
        report.skipped("MLServer", "MLSERVER_PYTHON names no Python with it")
        report.end()
        return
    http, grpc = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        lay_out(pathlib.Path(folder), http, grpc)
        environment = os.environ | {"PYTHONPATH": folder}
        with open(pathlib.Path(folder) / "log", "wb") as log:
            server = subprocess.Popen([python, "-c", "from mlserver.cli import main; main()", "start", folder],
                                      cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            fault = wait_ready(server, f"127.0.0.1:{http}")
            report.check("MLServer is ready", fault)
            if fault is None:
                client = pathlib.Path(__file__).parent / "kserve_client.py"
                asked = subprocess.run([sys.executable, client, "--peer", "--http", f"127.0.0.1:{http}",
                                        "--grpc", f"127.0.0.1:{grpc}"], check=False)
                report.check("the clients that ask Ballast", None if asked.returncode == 0 else "failed, see above")
            else:
                print((pathlib.Path(folder) / "log").read_text(errors="replace")[-2000:])
        finally:
            server.terminate()
            server.wait()
    report.end()


if __name__ == "__main__":
    main()
