"""Runs the packages that make_packages.py made on ours and compares with what they should compute.

    package_parity.py FOLDER PROGRAM [--f16]

PROGRAM is the example `run_package` of ballast-tensor. Prints a line for each case that fails and for each whose weights
are compressed, with what that costs: how far the answer is from the source's. Then how many hold; exits with 1 if one does
not. The bound is that of the case: 1e-4 for f32, 1e-2 for f16.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

DTYPES = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "i32": np.int32, "i64": np.int64, "bool": bool}


def read(folder, entry):
    if entry["dtype"] == "str":
        return np.array(entry["values"])
    return np.fromfile(folder / entry["file"], DTYPES[entry["dtype"]]).reshape(entry["shape"])


def distance(folder):
    """The largest difference of a case's outputs, or why there is none."""
    outputs = json.loads((folder / "outputs.json").read_text())
    if "error" in outputs:
        return None, outputs["error"]
    worst = 0.0
    for expected, got in zip(json.loads((folder / "expected.json").read_text()), outputs, strict=True):
        got = {entry["name"]: read(folder, entry) for entry in got}
        for entry in expected:
            want = read(folder, entry)
            if entry["name"] not in got:
                return None, f"no output {entry['name']!r} among {list(got)}"
            have = got[entry["name"]]
            if want.dtype.kind in "US":
                if list(want) != list(have):
                    return None, f"{list(want)} expected, got {list(have)}"
                continue
            if want.shape != have.shape:
                return None, f"shape {want.shape} expected, got {have.shape}"
            if want.size:
                difference = np.abs(want.astype(np.float64) - have.astype(np.float64)).max()
                worst = max(worst, float("inf") if np.isnan(difference) else difference)
    return worst, None


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("program")
    arguments.add_argument("--f16", action="store_true", help="round what every operator gives to f16")
    arguments.add_argument("--all", action="store_true", help="print every case")
    given = arguments.parse_args()
    folders = sorted(path.parent for path in given.folder.glob("*/inputs.json"))
    if not folders:
        sys.exit(f"{given.folder}: no cases")
    command = [given.program] + (["--f16"] if given.f16 else [])
    subprocess.run(command, input="".join(f"{folder}\n" for folder in folders), text=True, check=True, stdout=subprocess.DEVNULL)
    n_held = 0
    for folder in folders:
        case = json.loads((folder / "case.json").read_text())
        bound = case["tolerance"]
        bound = max(bound, 1e-2) if given.f16 else bound
        worst, fault = distance(folder)
        holds = worst is not None and worst <= bound
        n_held += holds
        if given.all or not holds or "delta" in case:
            delta = f", {case['delta']:.2e} from the source" if "delta" in case else ""
            print(f"{'held  ' if holds else 'FAILED'} {folder.name:32} {fault or f'Linf {worst:.2e} (bound {bound:g}){delta}'}")
    print(f"{n_held} of {len(folders)} packages hold")
    sys.exit(0 if n_held == len(folders) else 1)


if __name__ == "__main__":
    main()
