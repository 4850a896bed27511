"""Writes the test cases of ONNX's operators as folders of files, from the package that defines them.

usage: onnx_case_files.py FOLDER
"""

import pathlib
import sys
import warnings

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases


def message(value, kind):
    """A value of a test as the file's message; `kind` is the type that the model gives it."""
    if isinstance(value, (onnx.TensorProto, onnx.SequenceProto, onnx.OptionalProto)):
        return value
    if kind.WhichOneof("value") == "sequence_type":
        return numpy_helper.from_list(value)
    if kind.WhichOneof("value") == "optional_type":
        return onnx.OptionalProto() if value is None else numpy_helper.from_optional(value)
    return numpy_helper.from_array(numpy.asarray(value))


def write(case, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    for number, data in enumerate(case.data_sets):
        place = folder / f"test_data_set_{number}"
        place.mkdir(exist_ok=True)
        for name, values, ports in zip(("input", "output"), data, (case.model.graph.input, case.model.graph.output)):
            for idx, value in enumerate(values):
                (place / f"{name}_{idx}.pb").write_bytes(message(value, ports[idx].type).SerializeToString())


def main():
    warnings.simplefilter("ignore")
    root = pathlib.Path(sys.argv[1])
    cases = collect_testcases(None)
    for case in cases:
        write(case, root / case.name)
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
