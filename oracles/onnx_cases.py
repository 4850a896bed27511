"""The test cases of the ONNX standard, run by our tensor engine.

usage: onnx_cases.py             all cases; none may be wrong, fail or panic, and enough of the node cases must pass
       onnx_cases.py --peer      the same, and what ONNX Runtime makes of these cases
       onnx_cases.py --engine onnxruntime
                                 all cases, run by ONNX Runtime behind our traits; none may be unreadable or end the
                                 program, and enough of the node cases must pass
       onnx_cases.py --write     all cases by both engines, and prints docs/ONNX_OPERATORS.md
       onnx_cases.py NAME..      only cases whose names contain one of these

The cases are those of the Python package `onnx`: of single operators (node), of small graphs (simple), exported from
PyTorch, and whole networks with made-up weights (light). Our engine runs them through the example program `onnx_cases`
of crates/tensor, built in release; BALLAST_ONNX_CASES names it if it lies elsewhere. ONNX Runtime is the example program
`onnx_cases_ort` of crates/ballast, built with the feature `ort`, and BALLAST_ONNX_CASES_ORT. Needs the packages of
oracles/tensor.txt.
"""

import argparse
import collections
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

from programs import ROOT
from report import Report

DOCUMENT = ROOT / "docs/ONNX_OPERATORS.md"
KINDS = {
    "node": "single operators, and the same written out as functions",
    "simple": "small graphs",
    "pytorch-operator": "operators as PyTorch exported them",
    "pytorch-converted": "layers as PyTorch exported them",
    "light": "whole networks with made-up weights",
}
OUTCOMES = ("passed", "refused", "failed", "wrong", "panicked", "unreadable")
ENGINES = {
    "cpu": ("Ballast's tensor engine on the CPU", "BALLAST_ONNX_CASES", "onnx_cases"),
    "onnxruntime": ("ONNX Runtime behind the same traits", "BALLAST_ONNX_CASES_ORT", "onnx_cases_ort"),
}
# What another project computes otherwise than the standard is told, and is no fault of ours.
BAD = {"cpu": OUTCOMES[2:], "onnxruntime": OUTCOMES[4:]}
NODE_PASSED_PERCENT_MIN = {"cpu": 85, "onnxruntime": 60}
RUN_SECONDS = 3600
RELATIVE, ABSOLUTE = 1e-3, 1e-6


def program(engine):
    """The command of an engine's example program, or None."""
    _, variable, name = ENGINES[engine]
    path = os.environ.get(variable, str(ROOT / "target/release/examples" / name))
    if not os.access(path, os.X_OK):
        return None
    return [path] if engine == "cpu" else [path, library()]


def library():
    """ONNX Runtime's library within its Python package."""
    package = pathlib.Path(importlib.util.find_spec("onnxruntime").origin).parent
    return str(sorted(package.glob("capi/libonnxruntime.*"))[0])


def folders(root):
    """Folders of all cases by kind; those that exist as Python only are written to `root`."""
    from onnx.backend.test.case.node import collect_testcases
    from onnx.backend.test.loader import load_model_tests
    from onnx_case_files import write
    found = {kind: [] for kind in KINDS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in collect_testcases(None):
            found["node"].append(root / "node" / case.name)
            write(case, found["node"][-1])
    for kind in ("simple", "pytorch-operator", "pytorch-converted"):
        found[kind] = [pathlib.Path(case.model_dir) for case in load_model_tests(kind=kind)]
    found["light"] = light(root)
    return found


def light(root):
    """Networks with an input that is counted up, as the package's own runner feeds them, and the outputs it stores."""
    import numpy
    import onnx
    found = []
    source = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"
    for model in sorted(source.glob("*.onnx")):
        folder = root / "light" / model.stem
        data = folder / "test_data_set_0"
        data.mkdir(parents=True)
        (folder / "model.onnx").symlink_to(model)
        (data / "output_0.pb").symlink_to(model.with_name(f"{model.stem}_output_0.pb"))
        graph = onnx.load(model).graph
        constants = {tensor.name for tensor in graph.initializer}
        for idx, port in enumerate(port for port in graph.input if port.name not in constants):
            shape = tuple(dim.dim_value for dim in port.type.tensor_type.shape.dim)
            n = int(numpy.prod(shape))
            value = (numpy.arange(n).reshape(shape) / n).astype(numpy.float32)
            (data / f"input_{idx}.pb").write_bytes(onnx.numpy_helper.from_array(value).SerializeToString())
        found.append(folder)
    return found


def run(engine, cases):
    """Outcome and what is told of it, by folder."""
    results, left = {}, list(cases)
    while left:
        lines = "".join(f"{folder}\n" for folder in left)
        done = subprocess.run(program(engine), input=lines, capture_output=True, text=True, timeout=RUN_SECONDS)
        for line in done.stdout.splitlines():
            outcome, folder, told = line.split("\t", 2)
            results[pathlib.Path(folder)] = (outcome, told)
        left = [folder for folder in left if folder not in results]
        if left:
            # The program ended at the first that is missing; the others are run without it.
            results[left.pop(0)] = ("panicked", "the program ended")
    return {folder: results[folder] for folder in cases}


def peer_passes(folder):
    """Whether ONNX Runtime gives the outputs of a case."""
    import numpy
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        model = folder / "model.onnx"
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        for data in sorted(folder.glob("test_data_set_*")):
            ports = session.get_inputs()
            values = {port.name: value(data / f"input_{idx}.pb", port.type) for idx, port in enumerate(ports)}
            got = session.run(None, values)
            for idx, port in enumerate(session.get_outputs()):
                expected = value(data / f"output_{idx}.pb", port.type)
                if not is_same(expected, got[idx], numpy):
                    return False
    # It throws what its C++ throws, of many types; all mean that the case does not pass.
    except Exception:
        return False
    return True


def value(path, kind):
    """The value of a file, of the type that the peer gives the port."""
    import onnx
    from onnx import numpy_helper
    content = path.read_bytes()
    if kind.startswith("seq"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if kind.startswith("optional"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


def is_same(expected, got, numpy):
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(is_same(a, b, numpy) for a, b in zip(expected, got))
    if expected is None or got is None:
        return expected is got
    got = numpy.asarray(got)
    if expected.shape != got.shape:
        return False
    if expected.dtype.kind in "fV":
        return numpy.allclose(got.astype(float), expected.astype(float), rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    return bool((expected == got).all())


def operator(folder):
    """The operator that a case is about, or None if it has several."""
    import onnx
    nodes = onnx.load(folder / "model.onnx", load_external_data=False).graph.node
    return f"{nodes[0].domain + '.' if nodes[0].domain else ''}{nodes[0].op_type}" if len(nodes) == 1 else None


def tally(results):
    counts = collections.Counter(outcome for outcome, _ in results.values())
    return [counts[outcome] for outcome in OUTCOMES]


def table(by_kind, peer):
    head = ["kind", "cases", *OUTCOMES] + (["ONNX Runtime passes"] if peer else [])
    rows = [head]
    for kind, results in by_kind.items():
        extra = [sum(peer[folder] for folder in results)] if peer else []
        rows.append([kind, len(results), *tally(results), *extra])
    return rows


def cell(text):
    return "".join(c if c.isprintable() and c != "`" else " " for c in str(text)).replace("|", "\\|")


def markdown(rows):
    head, *body = rows
    lines = [f"| {' | '.join(map(cell, head))} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(map(cell, row))} |" for row in body]


def reasons(results):
    """Why cases are refused, each reason once, without the names of nodes."""
    told = collections.Counter()
    for outcome, text in results.values():
        if outcome == "refused":
            told[text.split("): ", 1)[-1].split("; ")[0][:90]] += 1
    return "; ".join(reason for reason, _ in told.most_common(4))


def document(by_engine):
    """The page; everything in it is counted."""
    import onnx
    by_kind, by_peer = by_engine["cpu"], by_engine.get("onnxruntime", {})
    by_operator = collections.defaultdict(dict)
    for results in by_kind.values():
        for folder, result in results.items():
            by_operator[operator(folder) or "(several)"][folder] = result
    rows = [["operator", "cases", "passed", "refused", "why refused", *(["ONNX Runtime passes"] if by_peer else [])]]
    theirs = {folder: result for results in by_peer.values() for folder, result in results.items()}
    for name, results in sorted(by_operator.items()):
        counts = tally(results)
        passed = sum(theirs[folder][0] == "passed" for folder in results if folder in theirs)
        rows.append([name, len(results), counts[0], counts[1], reasons(results), *([passed] if by_peer else [])])
    kinds = [f"- {kind}: {what}." for kind, what in KINDS.items()]
    peer = []
    if by_peer:
        import onnxruntime
        peer = ["## ONNX Runtime as the engine", "",
                f"The same cases by `--engine onnxruntime`, ONNX Runtime {onnxruntime.__version__} behind the same traits. What it computes otherwise",
                "than the standard is counted as wrong, what it does not have as refused; so are cases whose tensors are of",
                "types that the traits do not carry.", "", *markdown(table(by_peer, None)), ""]
    return "\n".join([
        "# ONNX operators", "",
        "Printed by `oracles/onnx_cases.py --write`: the test cases of the ONNX standard, as the Python package",
        f"`onnx` {onnx.__version__} has them, run by Ballast's tensor engine on the CPU. A case that is refused names what the engine",
        "does not have before anything is computed; no case may be wrong, fail or panic.", "",
        *kinds, "", *markdown(table(by_kind, None)), "", *peer, "## By operator", "", *markdown(rows),
    ]) + "\n"


def check(report, engine, by_kind, is_whole):
    for kind, results in by_kind.items():
        counts = dict(zip(OUTCOMES, tally(results)))
        for folder, (outcome, told) in results.items():
            if outcome in BAD[engine]:
                report.check(f"{engine}: {kind} {folder.name}", f"{outcome}: {told[:200]}")
        if results:
            report.check(f"{engine}: {kind}: {counts['passed']} passed, {counts['refused']} refused", None)
        if kind == "node" and is_whole:
            percent = 100 * counts["passed"] / max(len(results), 1)
            percent_min = NODE_PASSED_PERCENT_MIN[engine]
            fault = None if percent >= percent_min else f"{percent:.1f} % pass"
            report.check(f"{engine}: at least {percent_min} % of the node cases pass", fault)


def compare(report, engines, found, options):
    is_chosen = lambda folder: not options.names or any(part in folder.name for part in options.names)
    chosen = {kind: [folder for folder in cases if is_chosen(folder)] for kind, cases in found.items()}
    by_engine = {engine: {kind: run(engine, cases) for kind, cases in chosen.items()} for engine in engines}
    for engine, by_kind in by_engine.items():
        peer = {folder: peer_passes(folder) for cases in chosen.values() for folder in cases} if options.peer else None
        print(ENGINES[engine][0])
        for row in table(by_kind, peer):
            print("\t".join(map(str, row)), flush=True)
        check(report, engine, by_kind, not options.names)
    if options.write:
        DOCUMENT.write_text(document(by_engine))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--engine", choices=ENGINES, default="cpu")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    report, name = Report(), "test cases of ONNX"
    engines = list(ENGINES) if options.write else [options.engine]
    packages = ["onnx", "numpy"] + (["onnxruntime"] if options.peer or "onnxruntime" in engines else [])
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        report.skipped(name, f"packages are missing: {', '.join(missing)}")
    elif without := [engine for engine in engines if program(engine) is None]:
        examples = [ENGINES[engine][2] for engine in without]
        report.skipped(name, f"programs are missing: cargo build --release --example {' --example '.join(examples)}")
    else:
        with tempfile.TemporaryDirectory() as root:
            compare(report, engines, folders(pathlib.Path(root)), options)
    report.end()


if __name__ == "__main__":
    main()
