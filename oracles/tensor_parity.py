"""Our tensor engine beside ONNX Runtime: the same models on the same inputs of a seed.

usage: tensor_parity.py FOLDER [--threads N] [--rounds N]

Every .onnx file under FOLDER is run by both. Printed are the greatest difference of an element of any output, relative
to the greatest magnitude of that output or to 1 where that is less (probabilities of 1e-5 differ by a hundredth between
ONNX Runtime with and without its own rewriting), and the medians of both with their ratio. A difference above 1e-4 is a
fault.
Dimensions that a model leaves open are those of SHAPES, or 1. Needs `numpy` and `onnxruntime`; the example program
`time_model` of crates/tensor is our side, built in release.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import onnxruntime

from programs import ROOT

DIFFERENCE_MAX = 1e-4

# Shapes of inputs whose dimensions are left open, by a part of the file's name.
SHAPES = {
    "det_infer": {"x": [1, 3, 320, 320]},
    "rec_infer": {"x": [1, 3, 48, 320]},
    "cls_infer": {"x": [1, 3, 48, 192]},
    "silero_vad_16k_sequence": {"input": [4, 576]},
    "silero_vad": {"input": [1, 576], "state": [2, 1, 128]},
}

NUMBERS = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64, "tensor(int32)": numpy.int32}


def built():
    command = ["cargo", "build", "--release", "--quiet", "--package", "ballast-tensor", "--example", "time_model"]
    subprocess.run(command, cwd=ROOT, check=True)
    target = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version=1"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout
    return pathlib.Path(json.loads(target)["target_directory"]) / "release/examples/time_model"


def inputs_of(session, path):
    """Inputs of a seed, in the session's order."""
    random = numpy.random.default_rng(7)
    known = next((shapes for part, shapes in SHAPES.items() if part in path.name), {})
    inputs = {}
    for port in session.get_inputs():
        shape = known.get(port.name) or [extent if isinstance(extent, int) else 1 for extent in port.shape]
        kind = NUMBERS[port.type]
        if port.name == "sr":
            inputs[port.name] = numpy.full(shape, 16000, kind)
        elif kind is numpy.float32:
            inputs[port.name] = random.random(shape, kind)
        else:
            inputs[port.name] = random.integers(0, 100, shape).astype(kind)
    return inputs


def theirs(path, inputs_for, arguments):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = inputs_for(session, path)
    took = []
    for _ in range(arguments.rounds + 2):
        start = time.perf_counter()
        outputs = session.run(None, inputs)
        took.append(time.perf_counter() - start)
    return inputs, outputs, 1e3 * sorted(took[2:])[arguments.rounds // 2]


def ours(program, path, inputs, outputs, arguments):
    """Our outputs in the shapes of theirs, and the median in ms."""
    with tempfile.TemporaryDirectory() as work:
        given, got = pathlib.Path(work, "in"), pathlib.Path(work, "out")
        given.mkdir()
        got.mkdir()
        command = [program, path, "--threads", str(arguments.threads), "--rounds", str(arguments.rounds),
                   "--inputs", given, "--outputs", got]
        for idx, (name, array) in enumerate(inputs.items()):
            (given / f"{idx}.raw").write_bytes(array.tobytes())
            command += ["--shape", f"{name}={','.join(map(str, array.shape))}"]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            raise ValueError(run.stderr.strip().splitlines()[-1])
        arrays = [numpy.frombuffer((got / f"{idx}.raw").read_bytes(), array.dtype)
                  for idx, array in enumerate(outputs)]
        return arrays, float(run.stdout.split("median ")[1].split()[0])


def difference(ours, theirs):
    if ours.size != theirs.size:
        return float("inf")
    if not ours.size:
        return 0.0
    theirs = theirs.ravel()
    return float(numpy.abs(ours - theirs).max()) / max(float(numpy.abs(theirs).max()), 1.0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--program", type=pathlib.Path)
    arguments = parser.parse_args()
    program, faults = arguments.program or built(), 0
    print(f"{'model':44} {'difference':>10} {'ours ms':>9} {'theirs ms':>9} {'ratio':>6}")
    for path in sorted(arguments.folder.rglob("*.onnx")):
        try:
            inputs, outputs, their_ms = theirs(path, inputs_of, arguments)
            arrays, our_ms = ours(program, path, inputs, outputs, arguments)
            worst = max(difference(a, b) for a, b in zip(arrays, outputs))
            is_near = worst <= DIFFERENCE_MAX
            print(f"{path.name:44} {worst:10.1e} {our_ms:9.3f} {their_ms:9.3f} {our_ms / their_ms:6.2f}"
                  f"{'' if is_near else '  FAULT'}", flush=True)
        except Exception as error:  # each model by itself
            is_near = False
            print(f"{path.name:44} {str(error)[:300]}", flush=True)
        faults += not is_near
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
