"""Compares what this project reads from GGUF files with what the `gguf` package of Python reads.

    ballast gguf show FILE --json [--full] > shown.json
    python oracles/gguf_reader.py FILE shown.json
    python oracles/gguf_reader.py --command "ballast gguf show {} --json" FILE...

Exit code 0 if everything is equal, 1 if not, 2 if a file or its JSON could not be read. Needs `pip install gguf`.

The JSON is one object:

    {"version": 3,
     "metadata": {KEY: ENTRY, ...},                            in file order
     "tensors": [{"name": NAME, "shape": [N, ...], "type": "Q4_K", "offset": N, "n_bytes": N, "shard": 0}, ...]}

ENTRY is one of
    {"type": "u32", "value": VALUE}                            u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool string
    {"type": "array", "item": "i32", "len": N, "sha256": HEX}
    {"type": "array", "item": "i32", "len": N, "value": [VALUE, ...]}          with --full

- Integers are JSON numbers, up to 64 bits wide. An f32 is printed as the f64 of the same value. Infinities and NaN,
  which JSON lacks, are the strings "inf", "-inf" and "NaN".
- A string that is not UTF-8 is {"hex": "c328"} in place of the text.
- "sha256" is the digest of the elements as the file has them, without the item type and the length before them:
  numbers little-endian, strings each after their length as a u64, arrays each after item type and length.
- "shape" is in ggml's order, fastest first. "offset" counts from the start of the file that holds the tensor, "shard"
  is that file's place among the model's files. A split model is compared file by file: its tensors are the shards'
  tensors one after the other, and the metadata is that of the first.

Two types of ggml cannot be compared: the package does not know Q2_0, and takes a block of Q8_1 to be 40 bytes where
ggml has 36. Published files hold neither.
"""

import argparse
import hashlib
import json
import math
import shlex
import subprocess
import sys

from gguf import GGUFReader, GGUFValueType

TYPE_NAMES = {
    GGUFValueType.UINT8: "u8",
    GGUFValueType.INT8: "i8",
    GGUFValueType.UINT16: "u16",
    GGUFValueType.INT16: "i16",
    GGUFValueType.UINT32: "u32",
    GGUFValueType.INT32: "i32",
    GGUFValueType.FLOAT32: "f32",
    GGUFValueType.BOOL: "bool",
    GGUFValueType.STRING: "string",
    GGUFValueType.ARRAY: "array",
    GGUFValueType.UINT64: "u64",
    GGUFValueType.INT64: "i64",
    GGUFValueType.FLOAT64: "f64",
}

# In a field of the reader: key length, key, value type; in an array also item type and length.
PARTS_BEFORE_VALUE = 3
PARTS_BEFORE_ELEMENTS = 5


def text(raw):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return {"hex": raw.hex()}


def number(value):
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    return value


def item_values(parts, position, item_type, n):
    """The values of `n` elements, and the position after their parts."""
    values = []
    for _ in range(n):
        if item_type == GGUFValueType.STRING:
            values.append(text(parts[position + 1].tobytes()))
            position += 2
        elif item_type == GGUFValueType.ARRAY:
            inner_type, inner_len = GGUFValueType(int(parts[position][0])), int(parts[position + 1][0])
            inner, position = item_values(parts, position + 2, inner_type, inner_len)
            values.append(inner)
        else:
            values.append(number(parts[position].tolist()[0]))
            position += 1
    return values, position


def expected_entry(field, full):
    kind = field.types[0]
    if kind != GGUFValueType.ARRAY:
        values, _ = item_values(field.parts, PARTS_BEFORE_VALUE, kind, 1)
        return {"type": TYPE_NAMES[kind], "value": values[0]}
    item_type, n = GGUFValueType(int(field.parts[3][0])), int(field.parts[4][0])
    entry = {"type": "array", "item": TYPE_NAMES[item_type], "len": n}
    if full:
        entry["value"], _ = item_values(field.parts, PARTS_BEFORE_ELEMENTS, item_type, n)
    else:
        elements = b"".join(part.tobytes() for part in field.parts[PARTS_BEFORE_ELEMENTS:])
        entry["sha256"] = hashlib.sha256(elements).hexdigest()
    return entry


def expected_tensor(tensor):
    return {
        "name": tensor.name,
        "shape": tensor.shape.tolist(),
        "type": tensor.tensor_type.name,
        "offset": int(tensor.data_offset),
        "n_bytes": int(tensor.n_bytes),
        "shard": 0,
    }


def differences(path, shown):
    """Lines that say what is not equal."""
    reader = GGUFReader(path)
    version = int(reader.fields["GGUF.version"].parts[0][0])
    if shown["version"] != version:
        yield f"version: expected {version}, got {shown['version']}"
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    if list(shown["metadata"]) != list(fields):
        yield f"keys: expected {list(fields)}, got {list(shown['metadata'])}"
    for key, field in fields.items():
        got = shown["metadata"].get(key, {})
        expected = expected_entry(field, "value" in got)
        if got != expected:
            yield f"{key}: expected {str(expected)[:200]}, got {str(got)[:200]}"
    expected = [expected_tensor(tensor) for tensor in reader.tensors]
    if len(expected) != len(shown["tensors"]):
        yield f"tensors: expected {len(expected)}, got {len(shown['tensors'])}"
    for want, got in zip(expected, shown["tensors"]):
        if want != got:
            yield f"tensor: expected {want}, got {got}"


def compare(path, shown):
    found = list(differences(path, shown))
    for line in found:
        print(f"{path}: {line}")
    if not found:
        print(f"{path}: equal, {len(shown['metadata'])} entries, {len(shown['tensors'])} tensors")
    return not found


def main():
    parser = argparse.ArgumentParser(description="compares the JSON of `ballast gguf show` with the gguf package")
    parser.add_argument("--command", help="what prints the JSON of a file; {} is its path")
    parser.add_argument("paths", nargs="+", metavar="FILE")
    args = parser.parse_args()
    if args.command:
        equal = True
        for path in args.paths:
            command = [path if word == "{}" else word for word in shlex.split(args.command)]
            shown = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            equal = compare(path, shown) and equal
    else:
        if len(args.paths) != 2:
            parser.error("expected a model file and its JSON")
        with open(args.paths[1], encoding="utf-8") as file:
            equal = compare(args.paths[0], json.load(file))
    return 0 if equal else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError, subprocess.CalledProcessError) as error:
        print(f"cannot compare: {error!r}", file=sys.stderr)
        sys.exit(2)
