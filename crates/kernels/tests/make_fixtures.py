"""Writes fixtures/*.bin: blocks with what the gguf package makes of them, and activations with their quants.

    python3 make_fixtures.py [blocks per type]

Needs numpy and gguf. The same count gives the same bytes.
"""

import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants

OUT = pathlib.Path(__file__).parent / "fixtures"

# Type, block bytes, byte offsets of the f16 fields (kept finite).
BLOCKS = [
    (T.Q4_0, 18, [0]),
    (T.Q4_1, 20, [0, 2]),
    (T.Q5_0, 22, [0]),
    (T.Q5_1, 24, [0, 2]),
    (T.Q8_0, 34, [0]),
    (T.Q4_K, 144, [0, 2]),
    (T.Q5_K, 176, [0, 2]),
    (T.Q6_K, 210, [208]),
]


def finite(rng, n, dtype, bits, exponent_mask):
    """`n` random values of a float format, every exponent but the one of infinities."""
    raw = rng.integers(0, 2**bits, n * 2, dtype=np.uint64).astype(dtype)
    return raw[(raw & exponent_mask) != exponent_mask][:n]


def dequantized(rng, n):
    for qtype, n_bytes, scales in BLOCKS:
        blocks = rng.integers(0, 256, (n, n_bytes), dtype=np.uint8)
        for offset in scales:
            blocks[:, offset : offset + 2] = finite(rng, n, np.uint16, 16, 0x7C00).view(np.uint8).reshape(n, 2)
        yield qtype, blocks
    yield T.F16, finite(rng, n * 8, np.uint16, 16, 0x7C00).view(np.uint8)
    yield T.BF16, finite(rng, n * 8, np.uint16, 16, 0x7F80).view(np.uint8)
    yield T.F32, finite(rng, n * 8, np.uint32, 32, 0x7F800000).view(np.uint8)


def activations(rng, n, block_len):
    """Blocks of several magnitudes; one of zeros, one of halves (ties), one whose extremes tie in magnitude."""
    x = rng.standard_normal((n, block_len)).astype(np.float32)
    x *= (10.0 ** rng.integers(-6, 5, (n, 1))).astype(np.float32)
    x[0] = 0
    x[1] = np.arange(block_len) % 100 + 0.5
    x[1, 7] = 127
    x[2, 3], x[2, 9] = -np.abs(x[2]).max() * 2, np.abs(x[2]).max() * 2
    return x


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    rng = np.random.default_rng(20260101)
    OUT.mkdir(exist_ok=True)
    for qtype, raw in dequantized(rng, n):
        values = quants.dequantize(raw, qtype).astype("<f4")
        (OUT / f"{qtype.name}.bin").write_bytes(raw.tobytes() + values.tobytes())

    x = activations(rng, n, 32)
    blocks = quants.quantize(x, T.Q8_0)
    d = blocks[:, :2].copy().view("<f2").astype("<f4")
    (OUT / "quantize_q8_32.bin").write_bytes(x.tobytes() + blocks[:, 2:].tobytes() + d.tobytes())


if __name__ == "__main__":
    main()
