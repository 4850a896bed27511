"""Packages of real models with compressed weights, for make_packages.py.

Core ML Tools compresses a package's weights and takes them back to floats (`decompress_weights`). Those floats replace
the source model's own in ONNX, and ONNX Runtime computes what the compressed package is expected to give: an answer
that neither our reader nor our arithmetic had a part in. How far it is from what the source itself gives is what the
compression costs, and stands in `case.json` as `delta`.
"""

import coremltools as ct
import numpy as np
import onnx
import onnxruntime as ort
from coremltools.converters.mil.frontend.milproto.load import load as load_program
from coremltools.optimize import coreml as cto
from onnx import numpy_helper

# Weights of fewer elements are left as they are, which is what Core ML Tools does.
THRESHOLD = 2048


def palette(bits):
    """A palette by quantiles, moved to the means of what falls on them: the tools' own needs another package."""
    def of(weight):
        flat = weight.flatten().astype(np.float64)
        values = np.quantile(flat, (np.arange(1 << bits) + 0.5) / (1 << bits))
        for _ in range(3):
            indices = np.searchsorted((values[1:] + values[:-1]) / 2, flat)
            counts = np.bincount(indices, minlength=1 << bits)
            values = np.where(counts > 0, np.bincount(indices, flat, 1 << bits) / np.maximum(counts, 1), values)
        indices = np.searchsorted((values[1:] + values[:-1]) / 2, flat)
        return values.astype(weight.dtype), indices.astype(np.uint8)
    return of


def linear(model, joint=False, **more):
    config = cto.OpLinearQuantizerConfig(weight_threshold=THRESHOLD, **more)
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=config), joint_compression=joint)


def palettised(model, joint=False, **more):
    config = cto.OpPalettizerConfig(weight_threshold=THRESHOLD, **more)
    return cto.palettize_weights(model, cto.OptimizationConfig(global_config=config), joint_compression=joint)


def pruned(model, share=0.5):
    config = cto.OpMagnitudePrunerConfig(weight_threshold=THRESHOLD, target_sparsity=share)
    return cto.prune_weights(model, cto.OptimizationConfig(global_config=config))


# By name: the systems that it is made for, and how.
SCHEMES = {
    "int8_channel": ("iOS17", lambda m: linear(m, mode="linear_symmetric", dtype="int8")),
    "uint8_tensor": ("iOS17", lambda m: linear(m, mode="linear", dtype="uint8", granularity="per_tensor")),
    "int8_block": ("iOS18", lambda m: linear(m, mode="linear", dtype="int8", granularity="per_block", block_size=16)),
    "int4_block": ("iOS18", lambda m: linear(m, mode="linear", dtype="int4", granularity="per_block", block_size=16)),
    "uint4_channel": ("iOS18", lambda m: linear(m, mode="linear", dtype="uint4")),
    "lut4": ("iOS17", lambda m: palettised(m, mode="uniform", nbits=4)),
    "lut6": ("iOS17", lambda m: palettised(m, mode="custom", lut_function=palette(6))),
    "lut8": ("iOS17", lambda m: palettised(m, mode="custom", lut_function=palette(8))),
    "lut3_grouped": ("iOS18", lambda m: palettised(m, mode="uniform", nbits=3, granularity="per_grouped_channel", group_size=8)),
    "lut4_grouped": ("iOS18", lambda m: palettised(m, mode="uniform", nbits=4, granularity="per_grouped_channel", group_size=8)),
    "lut4_scaled": ("iOS18", lambda m: palettised(m, mode="uniform", nbits=4, enable_per_channel_scale=True)),
    "sparse": ("iOS17", pruned),
    "sparse_bits": ("iOS18", pruned),
    "joint_sparse_lut4": ("iOS18", lambda m: palettised(pruned(m), joint=True, mode="uniform", nbits=4)),
    "joint_sparse_int8": ("iOS18", lambda m: linear(pruned(m), joint=True, mode="linear_symmetric", dtype="int8")),
    "joint_lut4_int8": ("iOS18", lambda m: linear(palettised(m, mode="uniform", nbits=4), joint=True, mode="linear_symmetric", dtype="int8", granularity="per_tensor")),
}
FEW = ["int8_channel", "int4_block", "lut4", "joint_sparse_lut4"]


def weights(model):
    """A package's constants of floats by name, and the names of what is compressed."""
    program = load_program(model.get_spec(), specification_version=model.get_spec().specificationVersion,
                           file_weights_dir=model.weights_dir)
    constants, compressed = {}, set()
    for op in program.functions["main"].operations:
        if op.op_type.startswith("constexpr_"):
            compressed.add(op.outputs[-1].name)
        elif op.op_type == "const" and isinstance(op.val.val, np.ndarray) and op.val.val.dtype == np.float32:
            constants[op.outputs[0].name] = op.val.val
    return constants, compressed


def replaced(source, original, dense):
    """The source model with the weights that a package has after it was compressed; the source's own are found by value."""
    changed = {}
    for name, array in original.items():
        # The tools put a word behind the name of what they made anew.
        new = dense.get(name, next((dense[other] for other in dense if other.startswith(f"{name}_")), None))
        if array.size >= THRESHOLD and new is not None and new.shape == array.shape and not np.array_equal(new, array):
            changed[name] = (array, new)
    model = onnx.ModelProto()
    model.CopyFrom(source)
    found = set()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        for name, (array, new) in changed.items():
            if values.size != array.size or values.dtype != array.dtype:
                continue
            turned = values.ndim == 2 and array.ndim == 2 and np.array_equal(values.T, array)
            if turned or np.array_equal(values.reshape(-1), array.reshape(-1)):
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(new.T if turned else new.reshape(values.shape)), tensor.name))
                found.add(name)
                break
    if missing := set(changed) - found:
        raise ValueError(f"weights that the source does not have: {sorted(missing)[:3]}")
    return model, len(changed)


def run(model, runs):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, inputs) for inputs in runs]


def distance(ours, theirs):
    pairs = [(a, b) for of, others in zip(ours, theirs) for a, b in zip(of, others)]
    return max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in pairs)


def compressed(source, schemes):
    """For each scheme its name, the package, what it should give, and how far that is from the source's own answer."""
    own = run(source.model, source.runs)
    for name in schemes:
        target, compress = SCHEMES[name]
        try:
            base = source.package("fp32", target)
            package = compress(base)
            dense, left = weights(cto.decompress_weights(package))
            if left:
                raise ValueError(f"not taken back to floats: {sorted(left)[:3]}")
            model, n_changed = replaced(source.model, weights(base)[0], dense)
            if n_changed == 0:
                raise ValueError("nothing was compressed")
            expected = run(model, source.runs)
            yield name, package, expected, distance(own, expected)
        except Exception as error:
            print(f"{name}: not made: {type(error).__name__}: {str(error)[:300]}", flush=True)
