"""Dequantisation against PyPI `gguf`, bit for bit, for every type we decode.

Writes a GGUF file of random blocks, asks `ballast gguf dequantize` for each tensor and compares every bit. Scales are
drawn from all finite f16 values: zeros, subnormals and the largest are among them.
"""

import pathlib
import sys
import tempfile

from programs import ballast, run
from report import Report

try:
    import gguf
    import numpy as np
except ImportError as missing:
    gguf = None
    why = str(missing)

N_ROWS = 8
ROW_LEN = 1024
SEED = 20261121

# Where the f16 scales lie in a block of each quantised type, in bytes.
SCALES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
FLOATS = {"F32": ("u4", 0x7F800000), "F16": ("u2", 0x7C00), "BF16": ("u2", 0x7F80)}


def finite(random, kind, exponent, n):
    """`n` random bit patterns of a floating-point type without infinities and NaN."""
    bits = random.integers(0, np.iinfo(kind).max, n, dtype=kind, endpoint=True)
    return np.where((bits & exponent) == exponent, bits & ~np.array(exponent, kind), bits).astype(kind)


def random_rows(random, name):
    """Rows of a tensor of type `name` as bytes."""
    if name in FLOATS:
        kind, exponent = FLOATS[name]
        values = finite(random, np.dtype(kind), exponent, N_ROWS * ROW_LEN)
        return values.view(np.uint8).reshape(N_ROWS, -1)
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    n_blocks = N_ROWS * ROW_LEN // block_len
    blocks = random.integers(0, 256, (n_blocks, block_bytes), dtype=np.uint8)
    for at in SCALES[name]:
        scales = finite(random, np.dtype("u2"), 0x7C00, n_blocks)
        scales[:4] = [0x0000, 0x8000, 0x0001, 0x7BFF]
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(N_ROWS, -1)


def write(path, tensors):
    writer = gguf.GGUFWriter(path, "llama")
    for name, rows in tensors.items():
        writer.add_tensor(name, rows, raw_dtype=gguf.GGMLQuantizationType[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(model, name, rows, folder):
    """What differs between our values of tensor `name` and those of PyPI `gguf`."""
    out = folder / f"{name}.npy"
    run(ballast(), "gguf", "dequantize", model, name, "--out", out)
    ours = np.load(out)
    with np.errstate(over="ignore"):
        theirs = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[name]).astype(np.float32)
    if ours.dtype != np.float32 or ours.shape != theirs.shape:
        return f"expected float32 {theirs.shape}, got {ours.dtype} {ours.shape}"
    wrong = np.argwhere(ours.view(np.uint32) != theirs.view(np.uint32))
    if len(wrong):
        first = tuple(int(idx) for idx in wrong[0])
        return f"{len(wrong)} values differ, first {first}: expected {theirs[first]!r}, got {ours[first]!r}"
    return None


def main():
    report = Report()
    if gguf is None or ballast() is None:
        report.skipped("dequantisation", why if gguf is None else "there is no ballast program; set BALLAST")
        report.end()
    random = np.random.default_rng(SEED)
    tensors = {name: random_rows(random, name) for name in [*FLOATS, *SCALES]}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = folder / "random.gguf"
        write(model, tensors)
        for name, rows in tensors.items():
            try:
                fault = compare(model, name, rows, folder)
            except (RuntimeError, OSError, ValueError) as error:
                fault = str(error)
            report.check(name, fault)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
