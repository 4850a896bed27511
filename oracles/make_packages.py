"""Makes Core ML packages on Linux, with what they should compute: one of each operation, and real models.

    make_packages.py FOLDER [--real | --compressed]

Each case is a folder with `model.mlpackage`, `inputs.json` (a list of runs), `expected.json`, and the files of tensors
that both name. Tiny cases expect what numpy computes in float64; real ones what ONNX Runtime computes from the source.
Needs coremltools 9, numpy; real models need onnx, onnxruntime and onnx2coreml, and the folders of `--models`.
"""

import argparse
import json
import logging
import math
import os
import shutil
import sys
import warnings
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from feature_packages import features

DTYPES = {"float32": "f32", "float64": "f64", "float16": "f16", "int32": "i32", "int64": "i64", "bool": "bool"}
MIL_TYPES = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32, "bool": types.bool}
TARGETS = {15: ct.target.iOS15, 16: ct.target.iOS16, 17: ct.target.iOS17, 18: ct.target.iOS18}


def write_tensors(folder, prefix, runs):
    """Writes runs of `{name: array}` and returns how they are described."""
    described = []
    for run, tensors in enumerate(runs):
        entries = []
        for idx, (name, array) in enumerate(tensors.items()):
            array = np.asarray(array)
            if array.dtype.kind in "UO":
                entries.append({"name": name, "dtype": "str", "values": [str(value) for value in array.flatten()]})
                continue
            file = f"{prefix}_{run}_{idx}.bin"
            array.tofile(folder / file)
            entries.append({"name": name, "dtype": DTYPES[str(array.dtype)], "shape": list(array.shape), "file": file})
        described.append(entries)
    (folder / f"{prefix}s.json").write_text(json.dumps(described))


def write_case(root, name, model, runs, expected, tolerance, **more):
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.save(str(folder / "model.mlpackage"))
    write_runs(folder, runs, expected, tolerance, **more)


def write_runs(folder, runs, expected, tolerance, **more):
    """Inputs, what they should give, and how far off that may be."""
    write_tensors(folder, "input", runs)
    write_tensors(folder, "expected", expected)
    (folder / "expected.json").write_bytes((folder / "expecteds.json").read_bytes())
    (folder / "expecteds.json").unlink()
    (folder / "case.json").write_text(json.dumps({"tolerance": tolerance, **more}))


def program(build, inputs, target=15, states=None):
    specs = [mb.TensorSpec(shape=array.shape, dtype=MIL_TYPES[str(array.dtype)]) for array in inputs.values()]
    specs += [mb.StateTensorSpec(shape=shape, dtype=types.fp16) for shape in (states or {}).values()]
    names = list(inputs) + list(states or {})
    source = f"def made({', '.join(names)}):\n    return build({', '.join(names)})\n"
    scope = {"build": build}
    exec(source, scope)
    return mb.program(input_specs=specs, opset_version=TARGETS[target])(scope["made"])


def convert(made, target=15, f16=False, passes=None):
    precision = ct.precision.FLOAT16 if f16 else ct.precision.FLOAT32
    return ct.convert(made, convert_to="mlprogram", compute_precision=precision, skip_model_load=True,
                      minimum_deployment_target=TARGETS[target], pass_pipeline=passes or ct.PassPipeline.EMPTY)


RNG = np.random.default_rng(7)


def noise(*shape, low=-1.0, high=1.0):
    return RNG.uniform(low, high, shape).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


erf = np.vectorize(math.erf)


def conv(x, w, b, strides, pads, dilations, groups):
    """Cross-correlation in plain loops; `pads` by dimension."""
    n_dims = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0)] + list(pads))
    out = [(x.shape[2 + d] - (w.shape[2 + d] - 1) * dilations[d] - 1) // strides[d] + 1 for d in range(n_dims)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    per = w.shape[0] // groups
    for o in range(w.shape[0]):
        base = o // per * w.shape[1]
        for at in np.ndindex(*out):
            index = tuple(slice(at[d] * strides[d], at[d] * strides[d] + (w.shape[2 + d] - 1) * dilations[d] + 1, dilations[d])
                          for d in range(n_dims))
            y[(slice(None), o, *at)] = (x[(slice(None), slice(base, base + w.shape[1]), *index)] * w[o]).reshape(x.shape[0], -1).sum(1)
    return y if b is None else y + b.reshape(1, -1, *[1] * n_dims)


def conv_transpose(x, w, b, strides, out, pads, groups=1):
    n_dims = x.ndim - 2
    full = [(x.shape[2 + d] - 1) * strides[d] + w.shape[2 + d] + 8 for d in range(n_dims)]
    channels = w.shape[1] * groups
    y = np.zeros((x.shape[0], channels, *full))
    per = x.shape[1] // groups
    for i in range(x.shape[1]):
        base = i // per * w.shape[1]
        for at in np.ndindex(*x.shape[2:]):
            index = tuple(slice(at[d] * strides[d], at[d] * strides[d] + w.shape[2 + d]) for d in range(n_dims))
            value = x[(slice(None), i, *at)].reshape(-1, 1, *[1] * n_dims)
            y[(slice(None), slice(base, base + w.shape[1]), *index)] += value * w[i]
    index = tuple(slice(pads[d], pads[d] + out[d]) for d in range(n_dims))
    y = y[(slice(None), slice(None), *index)]
    return y if b is None else y + b.reshape(1, -1, *[1] * n_dims)


def pool(x, kernel, strides, pads, reduce, fill):
    x = np.pad(x, [(0, 0), (0, 0)] + list(pads), constant_values=fill)
    out = [(x.shape[2 + d] - kernel[d]) // strides[d] + 1 for d in range(len(kernel))]
    y = np.zeros((*x.shape[:2], *out))
    for at in np.ndindex(*out):
        index = tuple(slice(at[d] * strides[d], at[d] * strides[d] + kernel[d]) for d in range(len(kernel)))
        y[(slice(None), slice(None), *at)] = reduce(x[(slice(None), slice(None), *index)].reshape(*x.shape[:2], -1), -1)
    return y


def lerp(x, axis, places):
    places = np.clip(places, 0, x.shape[axis] - 1)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = (places - low).reshape([-1 if d == axis % x.ndim else 1 for d in range(x.ndim)])
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share


def places(n_in, n_out, mode):
    i = np.arange(n_out)
    if mode == "ALIGN_CORNERS" and n_out == 1:
        return np.array([(n_in - 1) / 2])
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        return i * (n_in - 1) / max(n_out - 1, 1)
    if mode == "DEFAULT":
        return i * (n_in / n_out)
    if mode == "OFFSET_CORNERS":
        step = max(1, n_in - 1) / n_out
        return 0.5 * step + i * step
    return (i + 0.5) * n_in / n_out - 0.5


def lstm(x, h, c, w, r, b, reverse=False, peephole=None):
    i_, f_, o_, z_ = range(4)
    n = h.shape[1]
    part = lambda v, k: v[..., k * n:(k + 1) * n]
    p = np.zeros(3 * n) if peephole is None else peephole
    out = []
    for step in (x[::-1] if reverse else x):
        g = step @ w.T + h @ r.T + b
        i = sigmoid(part(g, i_) + part(p, 0) * c)
        f = sigmoid(part(g, f_) + part(p, 1) * c)
        c = f * c + i * np.tanh(part(g, z_))
        o = sigmoid(part(g, o_) + part(p, 2) * c)
        h = o * np.tanh(c)
        out.append(h)
    out = np.stack(out[::-1] if reverse else out)
    return out, h, c


CASES = {}


def case(name, build, reference, target=15, tolerance=1e-5, **inputs):
    CASES[name] = (build, reference, target, tolerance, inputs)


def unary(name, reference, low=-1.0, high=1.0, **more):
    case(name, lambda x: getattr(mb, name)(x=x, **more), reference, x=noise(2, 3, 4, low=low, high=high))


for name, reference, low, high in [
    ("abs", np.abs, -1, 1), ("acos", np.arccos, -0.9, 0.9), ("asin", np.arcsin, -0.9, 0.9), ("atan", np.arctan, -3, 3),
    ("atanh", np.arctanh, -0.9, 0.9), ("ceil", np.ceil, -3, 3), ("cos", np.cos, -3, 3), ("cosh", np.cosh, -2, 2),
    ("erf", erf, -2, 2), ("exp", np.exp, -2, 2), ("exp2", np.exp2, -2, 2), ("floor", np.floor, -3, 3),
    ("relu", lambda x: np.maximum(x, 0), -1, 1), ("relu6", lambda x: np.clip(x, 0, 6), -3, 9), ("round", np.round, -3, 3),
    ("sigmoid", sigmoid, -3, 3), ("sign", np.sign, -1, 1), ("silu", lambda x: x * sigmoid(x), -3, 3), ("sin", np.sin, -3, 3),
    ("sinh", np.sinh, -2, 2), ("softplus", lambda x: np.log1p(np.exp(x)), -3, 3),
    ("softsign", lambda x: x / (1 + np.abs(x)), -3, 3), ("sqrt", np.sqrt, 0, 4), ("square", np.square, -2, 2),
    ("tan", np.tan, -1, 1), ("tanh", np.tanh, -2, 2),
]:
    unary(name, reference, low, high)
unary("inverse", lambda x: 1 / (x + 1e-4), 0.01, 1)
CASES["inverse_epsilon"] = (lambda x: mb.inverse(x=x, epsilon=0.5), lambda x: 1 / (x + 0.5), 15, 1e-5, {"x": noise(6, low=0.0)})
unary("log", np.log, 0.1, 3)
unary("rsqrt", lambda x: 1 / np.sqrt(x + 1e-12), 0.1, 3)
unary("clip", lambda x: np.clip(x, -0.25, 0.5), alpha=-0.25, beta=0.5)
unary("elu", lambda x: np.where(x >= 0, x, 0.7 * (np.exp(x) - 1)), alpha=0.7)
unary("leaky_relu", lambda x: np.where(x >= 0, x, 0.1 * x), alpha=0.1)
unary("scaled_tanh", lambda x: 1.5 * np.tanh(0.5 * x), alpha=1.5, beta=0.5)
unary("sigmoid_hard", lambda x: np.clip(0.2 * x + 0.5, 0, 1), -4, 4, alpha=0.2, beta=0.5)
unary("linear_activation", lambda x: 2 * x + 3, alpha=2.0, beta=3.0)
unary("clamped_relu", lambda x: np.minimum(np.where(x >= 0, x, 0.5 * x), 0.75), -2, 2, alpha=0.5, beta=0.75)
unary("threshold", lambda x: np.maximum(x, 0.25), alpha=0.25)
case("thresholded_relu", lambda x: mb.thresholded_relu(x=x, alpha=0.5), lambda x: np.where(x >= 0.5, x, 0),
     x=np.array([0.25, 0.5, 0.75, -1.0], np.float32))
case("prelu", lambda x: mb.prelu(x=x, alpha=np.array([0.1, 0.2, 0.3], np.float32)),
     lambda x: np.where(x > 0, x, x * np.array([0.1, 0.2, 0.3]).reshape(1, 3, 1)), x=noise(2, 3, 4))
case("softplus_parametric",
     lambda x: mb.softplus_parametric(x=x, alpha=np.array([1, 2, 3], np.float32), beta=np.array([3, 2, 1], np.float32)),
     lambda x: np.array([1, 2, 3]).reshape(1, 3, 1) * np.log1p(np.exp(x * np.array([3, 2, 1]).reshape(1, 3, 1))), x=noise(2, 3, 4))
for mode, reference in [
    ("EXACT", lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2)))),
    ("TANH_APPROXIMATION", lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    ("SIGMOID_APPROXIMATION", lambda x: x * sigmoid(1.702 * x)),
]:
    case(f"gelu_{mode.lower()}", lambda x, mode=mode: mb.gelu(x=x, mode=mode), reference, x=noise(2, 5, low=-3, high=3))
case("softmax", lambda x: mb.softmax(x=x, axis=1), lambda x: softmax(x, 1), x=noise(2, 3, 4))
case("logical_not", lambda x: mb.cast(x=mb.logical_not(x=mb.greater(x=x, y=0.0)), dtype="fp32"), lambda x: (x <= 0) * 1.0, x=noise(7))
case("cast_int", lambda x: mb.cast(x=x, dtype="int32"), lambda x: np.trunc(x).astype(np.int32), x=noise(9, low=-5, high=5))
case("cast_int16", lambda x: mb.cast(x=mb.cast(x=x, dtype="int16"), dtype="int32"), lambda x: np.trunc(x).astype(np.int32), target=17,
     x=noise(9, low=-5, high=5))
case("cast_bool", lambda x: mb.cast(x=mb.cast(x=x, dtype="bool"), dtype="int32"), lambda x: (x != 0).astype(np.int32),
     x=np.array([0.0, 1.0, -0.5], np.float32))

for name, reference in [
    ("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("real_div", np.divide), ("maximum", np.maximum),
    ("minimum", np.minimum), ("floor_div", np.floor_divide), ("mod", np.mod),
]:
    case(name, lambda x, y, name=name: getattr(mb, name)(x=x, y=y), reference, x=noise(2, 1, 4), y=noise(3, 1, low=0.5, high=2))
for name, reference in [("floor_div", np.floor_divide), ("mod", np.mod), ("add", np.add), ("mul", np.multiply)]:
    case(f"{name}_int", lambda x, y, name=name: getattr(mb, name)(x=x, y=y), reference,
         x=np.array([-7, -1, 0, 5, 9], np.int32), y=np.array([3, -2, 4, -3, 2], np.int32))
case("pow", lambda x, y: mb.pow(x=x, y=y), np.power, x=noise(2, 3, low=0.5, high=2), y=noise(2, 3))
for name, reference in [
    ("equal", np.equal), ("not_equal", np.not_equal), ("less", np.less), ("less_equal", np.less_equal), ("greater", np.greater),
    ("greater_equal", np.greater_equal),
]:
    case(name, lambda x, y, name=name: mb.cast(x=getattr(mb, name)(x=x, y=y), dtype="int32"),
         lambda x, y, reference=reference: reference(x, y).astype(np.int32),
         x=np.array([1, 2, 3, 4], np.float32), y=np.array([1, 3, 2, 4], np.float32))
for name, reference in [("logical_and", np.logical_and), ("logical_or", np.logical_or), ("logical_xor", np.logical_xor)]:
    case(name, lambda x, y, name=name: mb.cast(x=getattr(mb, name)(x=mb.greater(x=x, y=0.0), y=mb.greater(x=y, y=0.0)), dtype="int32"),
         lambda x, y, reference=reference: reference(x > 0, y > 0).astype(np.int32),
         x=np.array([1, 1, -1, -1], np.float32), y=np.array([1, -1, 1, -1], np.float32))
case("select", lambda x, y: mb.select(cond=mb.greater(x=x, y=0.0), a=x, b=y), lambda x, y: np.where(x > 0, x, y), x=noise(2, 3), y=noise(2, 3))

W = noise(5, 4)
B5 = noise(5)
case("linear", lambda x: mb.linear(x=x, weight=W, bias=B5), lambda x: x @ W.T + B5, x=noise(2, 3, 4))
case("matmul", lambda x, y: mb.matmul(x=x, y=y), np.matmul, x=noise(2, 3, 4), y=noise(2, 4, 5))
case("matmul_transposed", lambda x, y: mb.matmul(x=x, y=y, transpose_x=True, transpose_y=True),
     lambda x, y: np.swapaxes(x, -1, -2) @ np.swapaxes(y, -1, -2), x=noise(2, 4, 3), y=noise(2, 5, 4))
case("einsum", lambda x, y: mb.einsum(values=(x, y), equation="bnij,bnjk->bnik"), lambda x, y: x @ y, x=noise(1, 2, 3, 4), y=noise(1, 2, 4, 5))
case("attention", lambda q, k, v: mb.scaled_dot_product_attention(query=q, key=k, value=v),
     lambda q, k, v: softmax(q @ np.swapaxes(k, -1, -2) / math.sqrt(8)) @ v, target=18, q=noise(1, 2, 3, 8), k=noise(1, 2, 5, 8), v=noise(1, 2, 5, 4))
MASK = np.array([[0, 1, 1, 0, 1], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)
case("attention_mask", lambda q, k, v: mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=MASK),
     lambda q, k, v: softmax(np.where(MASK, q @ np.swapaxes(k, -1, -2) / math.sqrt(8), -1e30)) @ v, target=18,
     q=noise(1, 2, 3, 8), k=noise(1, 2, 5, 8), v=noise(1, 2, 5, 4))

K2 = noise(6, 3, 3, 3)
B6 = noise(6)
case("conv", lambda x: mb.conv(x=x, weight=K2, bias=B6), lambda x: conv(x, K2, B6, (1, 1), [(0, 0)] * 2, (1, 1), 1), x=noise(2, 3, 7, 6))
case("conv_custom", lambda x: mb.conv(x=x, weight=K2, pad_type="custom", pad=[1, 2, 0, 1], strides=[2, 1], dilations=[1, 2]),
     lambda x: conv(x, K2, None, (2, 1), [(1, 2), (0, 1)], (1, 2), 1), x=noise(1, 3, 7, 8))
case("conv_same", lambda x: mb.conv(x=x, weight=K2, pad_type="same", strides=[2, 2]),
     lambda x: conv(x, K2, None, (2, 2), [(0, 1), (1, 1)], (1, 1), 1), x=noise(1, 3, 6, 7))
case("conv_same_lower", lambda x: mb.conv(x=x, weight=K2, pad_type="same_lower", strides=[2, 2]),
     lambda x: conv(x, K2, None, (2, 2), [(1, 0), (1, 1)], (1, 1), 1), target=16, x=noise(1, 3, 6, 7))
KD = noise(6, 1, 3, 3)
case("conv_depthwise", lambda x: mb.conv(x=x, weight=KD, groups=6, pad_type="custom", pad=[1, 1, 1, 1]),
     lambda x: conv(x, KD, None, (1, 1), [(1, 1)] * 2, (1, 1), 6), x=noise(1, 6, 5, 5))
K1 = noise(4, 3, 3)
case("conv_1d", lambda x: mb.conv(x=x, weight=K1, strides=[2]), lambda x: conv(x, K1, None, (2,), [(0, 0)], (1,), 1), x=noise(1, 3, 9))
KT = noise(3, 4, 3, 3)
B4 = noise(4)
case("conv_transpose", lambda x: mb.conv_transpose(x=x, weight=KT, bias=B4, strides=[2, 2]),
     lambda x: conv_transpose(x, KT, B4, (2, 2), (9, 11), (0, 0)), x=noise(1, 3, 4, 5))
case("conv_transpose_custom", lambda x: mb.conv_transpose(x=x, weight=KT, strides=[2, 2], pad_type="custom", pad=[1, 1, 0, 1]),
     lambda x: conv_transpose(x, KT, None, (2, 2), (7, 10), (1, 0)), x=noise(1, 3, 4, 5))
case("conv_transpose_same", lambda x: mb.conv_transpose(x=x, weight=KT, strides=[2, 2], pad_type="same"),
     lambda x: conv_transpose(x, KT, None, (2, 2), (8, 10), (0, 0)), x=noise(1, 3, 4, 5))
case("conv_transpose_shape", lambda x: mb.conv_transpose(x=x, weight=KT, strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], output_shape=[1, 4, 8, 10]),
     lambda x: conv_transpose(x, KT, None, (2, 2), (8, 10), (1, 1)), x=noise(1, 3, 4, 5))
KG = noise(4, 2, 3, 3)
case("conv_transpose_groups", lambda x: mb.conv_transpose(x=x, weight=KG, groups=2), lambda x: conv_transpose(x, KG, None, (1, 1), (6, 7), (0, 0), 2),
     x=noise(1, 4, 4, 5))

case("max_pool", lambda x: mb.max_pool(x=x, kernel_sizes=[2, 3], strides=[2, 1], pad_type="custom", pad=[1, 1, 0, 1]),
     lambda x: pool(x, (2, 3), (2, 1), [(1, 1), (0, 1)], np.max, -np.inf), x=noise(1, 2, 6, 5))
case("max_pool_same", lambda x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="same"),
     lambda x: pool(x, (3, 3), (2, 2), [(0, 1), (1, 1)], np.max, -np.inf), x=noise(1, 2, 6, 5))
case("max_pool_ceil", lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid", ceil_mode=True),
     lambda x: pool(x, (2, 2), (2, 2), [(0, 1), (0, 1)], np.max, -np.inf), x=noise(1, 2, 5, 7))
case("avg_pool", lambda x: mb.avg_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
     lambda x: pool(x, (2, 2), (2, 2), [(1, 1), (1, 1)], np.mean, 0), x=noise(1, 2, 6, 4))
case("avg_pool_exclude", lambda x: mb.avg_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], exclude_padding_from_average=True),
     lambda x: pool(x, (2, 2), (2, 2), [(1, 1), (1, 1)], np.nanmean, np.nan), x=noise(1, 2, 6, 4))
case("avg_pool_1d", lambda x: mb.avg_pool(x=x, kernel_sizes=[3], strides=[1], pad_type="valid"), lambda x: pool(x, (3,), (1,), [(0, 0)], np.mean, 0), x=noise(1, 2, 6))
case("l2_pool", lambda x: mb.l2_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid"),
     lambda x: pool(x, (2, 2), (2, 2), [(0, 0)] * 2, lambda v, axis: np.sqrt((v**2).sum(axis)), 0), x=noise(1, 2, 6, 4))

G, BE, ME, VA = noise(3, low=0.5, high=2), noise(3), noise(3), noise(3, low=0.2, high=2)
col = lambda v: v.reshape(1, -1, 1, 1)
case("batch_norm", lambda x: mb.batch_norm(x=x, mean=ME, variance=VA, gamma=G, beta=BE, epsilon=1e-3),
     lambda x: (x - col(ME)) / np.sqrt(col(VA) + 1e-3) * col(G) + col(BE), x=noise(2, 3, 4, 5))
case("batch_norm_plain", lambda x: mb.batch_norm(x=x, mean=ME, variance=VA), lambda x: (x - col(ME)) / np.sqrt(col(VA) + 1e-5), x=noise(2, 3, 4, 5))
case("instance_norm", lambda x: mb.instance_norm(x=x, gamma=G, beta=BE),
     lambda x: (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5) * col(G) + col(BE), x=noise(2, 3, 4, 5))
case("l2_norm", lambda x: mb.l2_norm(x=x), lambda x: x / np.sqrt((x**2).sum((-3, -2, -1), keepdims=True) + 1e-6), x=noise(2, 3, 4, 5))
LG, LB = noise(4, low=0.5, high=2), noise(4)
case("layer_norm", lambda x: mb.layer_norm(x=x, axes=[-1], gamma=LG, beta=LB),
     lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * LG + LB, x=noise(2, 3, 4))
case("layer_norm_plain", lambda x: mb.layer_norm(x=x, axes=[1, 2]),
     lambda x: (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5), x=noise(2, 3, 4))
case("layer_norm_channels", lambda x: mb.layer_norm(x=x, axes=[1], gamma=G, beta=BE, epsilon=1e-4),
     lambda x: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-4) * col(G) + col(BE), x=noise(2, 3, 4, 5))
case("local_response_norm", lambda x: mb.local_response_norm(x=x, size=3, alpha=0.1, beta=0.5, k=2.0),
     lambda x: x / (2 + 0.1 / 3 * sum(np.pad(x**2, [(0, 0), (1, 1), (0, 0), (0, 0)])[:, d:d + 5] for d in range(3)))**0.5, x=noise(1, 5, 3, 2))

for name, reference in [
    ("reduce_l1_norm", lambda x, a, k: np.abs(x).sum(a, keepdims=k)), ("reduce_l2_norm", lambda x, a, k: np.sqrt((x**2).sum(a, keepdims=k))),
    ("reduce_log_sum", lambda x, a, k: np.log(x.sum(a, keepdims=k))), ("reduce_log_sum_exp", lambda x, a, k: np.log(np.exp(x).sum(a, keepdims=k))),
    ("reduce_max", lambda x, a, k: x.max(a, keepdims=k)), ("reduce_mean", lambda x, a, k: x.mean(a, keepdims=k)),
    ("reduce_min", lambda x, a, k: x.min(a, keepdims=k)), ("reduce_prod", lambda x, a, k: x.prod(a, keepdims=k)),
    ("reduce_sum", lambda x, a, k: x.sum(a, keepdims=k)), ("reduce_sum_square", lambda x, a, k: (x**2).sum(a, keepdims=k)),
]:
    case(name, lambda x, name=name: getattr(mb, name)(x=x, axes=[1, -1], keep_dims=True), lambda x, f=reference: f(x, (1, 2), True), x=noise(2, 3, 4, low=0.1))
    case(f"{name}_all", lambda x, name=name: getattr(mb, name)(x=x), lambda x, f=reference: f(x, None, False), x=noise(2, 3, low=0.1))
case("reduce_argmax", lambda x: mb.reduce_argmax(x=x, axis=1, keep_dims=False), lambda x: x.argmax(1).astype(np.int32), x=noise(2, 5, 3))
case("reduce_argmin", lambda x: mb.reduce_argmin(x=x, axis=-1, keep_dims=True), lambda x: x.argmin(-1)[..., None].astype(np.int32), x=noise(2, 5, 3))

case("concat", lambda x, y: mb.concat(values=(x, y, x), axis=-1), lambda x, y: np.concatenate([x, y, x], -1), x=noise(2, 3), y=noise(2, 1))
case("concat_interleave", lambda x, y: mb.concat(values=(x, y), axis=1, interleave=True),
     lambda x, y: np.stack([x, y], 2).reshape(2, 6, 2), x=noise(2, 3, 2), y=noise(2, 3, 2))
case("stack", lambda x, y: mb.stack(values=(x, y), axis=1), lambda x, y: np.stack([x, y], 1), x=noise(2, 3), y=noise(2, 3))
case("split", lambda x: mb.split(x=x, num_splits=2, axis=-1), lambda x: np.split(x, 2, -1), x=noise(2, 6))
case("split_sizes", lambda x: mb.split(x=x, split_sizes=[1, 3, 2], axis=1), lambda x: np.split(x, [1, 4], 1), x=noise(2, 6))
case("crop", lambda x: mb.crop(x=x, crop_height=[1, 0], crop_width=[2, 1]), lambda x: x[:, :, 1:, 2:-1], x=noise(1, 2, 4, 6))
case("expand_dims", lambda x: mb.expand_dims(x=x, axes=[0, -1]), lambda x: x[None, ..., None], x=noise(2, 3))
case("squeeze", lambda x: mb.squeeze(x=x, axes=[0, -1]), lambda x: x[0, :, 0], x=noise(1, 3, 1))
case("squeeze_all", lambda x: mb.squeeze(x=x), lambda x: np.squeeze(x), x=noise(1, 3, 1, 2))
case("flatten2d", lambda x: mb.flatten2d(x=x, axis=2), lambda x: x.reshape(6, 20), x=noise(2, 3, 4, 5))
case("reshape", lambda x: mb.reshape(x=x, shape=[0, -1, 2]), lambda x: x.reshape(2, 6, 2), x=noise(2, 3, 4))
case("transpose", lambda x: mb.transpose(x=x, perm=[-1, 0, -2]), lambda x: x.transpose(2, 0, 1), x=noise(2, 3, 4))
case("tile", lambda x: mb.tile(x=x, reps=[2, 1, 3]), lambda x: np.tile(x, (2, 1, 3)), x=noise(1, 3, 2))
case("reverse", lambda x: mb.reverse(x=x, axes=[1]), lambda x: x[:, ::-1], x=noise(2, 3, 4))
case("reverse_all", lambda x: mb.reverse(x=x), lambda x: x[::-1, ::-1], x=noise(2, 3))
case("reverse_sequence", lambda x: mb.reverse_sequence(x=x, lengths=[2, 3], seq_axis=1, batch_axis=0),
     lambda x: np.stack([np.concatenate([x[0, :2][::-1], x[0, 2:]]), np.concatenate([x[1, :3][::-1], x[1, 3:]])]), x=noise(2, 4))
case("shape", lambda x: mb.add(x=mb.shape(x=x), y=np.array([1, 1, 1], np.int32)), lambda x: np.array([3, 4, 5], np.int32), x=noise(2, 3, 4))
case("pad", lambda x: mb.pad(x=x, pad=[1, 2, 0, 1], mode="constant", constant_val=0.5),
     lambda x: np.pad(x, [(0, 0), (1, 2), (0, 1)], constant_values=0.5), x=noise(2, 3, 4))
case("pad_reflect", lambda x: mb.pad(x=x, pad=[1, 2], mode="reflect"), lambda x: np.pad(x, [(0, 0), (1, 2)], "reflect"), x=noise(2, 4))
case("pad_replicate", lambda x: mb.pad(x=x, pad=[1, 2], mode="replicate"), lambda x: np.pad(x, [(0, 0), (1, 2)], "edge"), x=noise(2, 4))
case("depth_to_space", lambda x: mb.depth_to_space(x=x, block_size=2),
     lambda x: x.reshape(1, 2, 2, 2, 3, 4).transpose(0, 3, 4, 1, 5, 2).reshape(1, 2, 6, 8), x=noise(1, 8, 3, 4))
case("space_to_depth", lambda x: mb.space_to_depth(x=x, block_size=2),
     lambda x: x.reshape(1, 2, 3, 2, 4, 2).transpose(0, 3, 5, 1, 2, 4).reshape(1, 8, 3, 4), x=noise(1, 2, 6, 8))
case("pixel_shuffle", lambda x: mb.pixel_shuffle(x=x, upscale_factor=2),
     lambda x: x.reshape(1, 2, 2, 2, 3, 4).transpose(0, 1, 4, 2, 5, 3).reshape(1, 2, 6, 8), x=noise(1, 8, 3, 4))
case("pixel_unshuffle", lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
     lambda x: x.reshape(1, 2, 3, 2, 4, 2).transpose(0, 1, 3, 5, 2, 4).reshape(1, 8, 3, 4), target=16, x=noise(1, 2, 6, 8))
case("sliding_windows", lambda x: mb.sliding_windows(x=x, axis=1, size=3, stride=2),
     lambda x: np.stack([x[:, 0:3], x[:, 2:5]], 1), x=noise(2, 6, 2))
case("slice_by_index", lambda x: mb.slice_by_index(x=x, begin=[0, 1, -3], end=[1, 3, -1], stride=[1, 1, 1]), lambda x: x[0:1, 1:3, -3:-1], x=noise(2, 4, 5))
case("slice_masks", lambda x: mb.slice_by_index(x=x, begin=[-1, 9, 1], end=[0, 2, 9], stride=[1, 1, 2], begin_mask=[False, True, False], end_mask=[False, False, True], squeeze_mask=[True, False, False]),
     lambda x: x[-1, :2, 1::2], x=noise(2, 4, 5))
case("slice_backwards", lambda x: mb.slice_by_index(x=x, begin=[0, 3], end=[0, 0], stride=[1, -1], begin_mask=[True, False], end_mask=[True, False]), lambda x: x[:, 3:0:-1], x=noise(2, 5))
case("slice_dynamic", lambda x, b, e: mb.slice_by_index(x=x, begin=b, end=e, stride=[1, 2], end_mask=[False, True]),
     lambda x, b, e: x[1:3, 1::2], x=noise(4, 6), b=np.array([1, -5], np.int32), e=np.array([3, 0], np.int32))
case("slice_by_size", lambda x: mb.slice_by_size(x=x, begin=[1, 2], size=[2, -1]), lambda x: x[1:3, 2:], x=noise(4, 5))
case("slice_update", lambda x, u: mb.slice_update(x=x, update=u, begin=[1, 0], end=[3, 2], end_mask=[False, False]),
     lambda x, u: np.concatenate([x[:1], np.concatenate([u, x[1:3, 2:]], 1), x[3:]]), target=18, x=noise(4, 5), u=noise(2, 2))

case("gather", lambda x: mb.gather(x=x, indices=np.array([[2, 0], [1, 1]], np.int32), axis=1), lambda x: np.take(x, [[2, 0], [1, 1]], 1), x=noise(2, 3, 4))
case("gather_dynamic", lambda x, i: mb.gather(x=x, indices=i, axis=0), lambda x, i: x[i], x=noise(5, 3), i=np.array([4, -1, 0], np.int32))
case("gather_batch", lambda x, i: mb.gather(x=x, indices=i, axis=1, batch_dims=1), lambda x, i: np.stack([x[0][i[0]], x[1][i[1]]]), target=16,
     x=noise(2, 5, 3), i=np.array([[4, 0], [1, 2]], np.int32))
case("gather_along_axis", lambda x, i: mb.gather_along_axis(x=x, indices=i, axis=1), lambda x, i: np.take_along_axis(x, i, 1), x=noise(2, 4),
     i=np.array([[3, 0], [1, 1]], np.int32))
case("gather_nd", lambda x, i: mb.gather_nd(x=x, indices=i), lambda x, i: x[i[:, 0], i[:, 1]], x=noise(3, 4, 2), i=np.array([[0, 3], [2, 1]], np.int32))


def scattered(x, index, update, combine):
    x = x.copy()
    x[index] = combine(x[index], update)
    return x


for mode, combine in [("update", lambda a, b: b), ("add", np.add), ("mul", np.multiply), ("min", np.minimum), ("max", np.maximum)]:
    case(f"scatter_nd_{mode}", lambda x, u, mode=mode: mb.scatter_nd(data=x, indices=np.array([[0, 3], [2, 1]], np.int32), updates=u, mode=mode),
         lambda x, u, f=combine: scattered(x, ([0, 2], [3, 1]), u, f), x=noise(3, 4), u=noise(2))
case("scatter", lambda x, u: mb.scatter(data=x, indices=np.array([2, 0], np.int32), updates=u, axis=0, mode="update"),
     lambda x, u: scattered(x, [2, 0], u, lambda a, b: b), x=noise(3, 4), u=noise(2, 4))
case("scatter_along_axis", lambda x, u: mb.scatter_along_axis(data=x, indices=np.array([[2, 0]], np.int32), updates=u, axis=1, mode="add"),
     lambda x, u: scattered(x, ([0, 0], [2, 0]), u[0], np.add), x=noise(2, 4), u=noise(1, 2))
case("non_zero", lambda x: mb.non_zero(x=x), lambda x: np.argwhere(x).astype(np.int32), x=np.array([[0, 1, 0], [2, 0, 3]], np.float32))
case("topk", lambda x: mb.topk(x=x, k=2, axis=1), lambda x: (np.sort(x, 1)[:, ::-1][:, :2], np.argsort(-x, 1)[:, :2].astype(np.int32)), x=noise(3, 5))
case("topk_ascending", lambda x: mb.topk(x=x, k=3, axis=-1, ascending=True), lambda x: (np.sort(x, 1)[:, :3], np.argsort(x, 1)[:, :3].astype(np.int32)), x=noise(3, 5))
case("argsort", lambda x: mb.argsort(x=x, axis=1, ascending=True), lambda x: np.argsort(x, 1).astype(np.int32), x=noise(3, 5))
case("one_hot", lambda i: mb.one_hot(indices=i, one_hot_vector_size=4, on_value=2.0, off_value=-1.0), lambda i: np.where(np.eye(4)[i] > 0, 2.0, -1.0), i=np.array([0, 3, 1], np.int32))
case("cumsum", lambda x: mb.cumsum(x=x, axis=1), lambda x: np.cumsum(x, 1), x=noise(2, 4))
case("cumsum_reverse", lambda x: mb.cumsum(x=x, axis=1, exclusive=True, reverse=True), lambda x: np.cumsum(x[:, ::-1], 1)[:, ::-1] - x, x=noise(2, 4))
case("band_part", lambda x: mb.band_part(x=x, lower=1, upper=0), lambda x: np.tril(np.triu(x, -1)), x=noise(2, 4, 4))
case("fill", lambda x: mb.mul(x=x, y=mb.fill(shape=mb.shape(x=x), value=1.5)), lambda x: x * 1.5, x=noise(2, 3))
case("fill_like", lambda x: mb.add(x=x, y=mb.fill_like(ref_tensor=x, value=1.5)), lambda x: x + 1.5, target=16, x=noise(2, 3))
case("range_1d", lambda n: mb.range_1d(start=1, end=n, step=2), lambda n: np.arange(1, 8, 2).astype(np.int32), n=np.array(8, np.int32).reshape(()))

for mode in ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"]:
    for high, wide in [(6, 7), (1, 3)]:
        case(f"resize_{mode.lower()}_{high}x{wide}",
             lambda x, m=mode, h=high, w=wide: mb.resize_bilinear(x=x, target_size_height=h, target_size_width=w, sampling_mode=m),
             lambda x, m=mode, h=high, w=wide: lerp(lerp(x, 2, places(3, h, m)), 3, places(5, w, m)), x=noise(1, 2, 3, 5))
case("upsample_nearest_neighbor", lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3), lambda x: x.repeat(2, 2).repeat(3, 3), x=noise(1, 2, 3, 2))
case("resize_nearest_neighbor", lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=6, target_size_width=6), lambda x: x.repeat(2, 2).repeat(3, 3), x=noise(1, 2, 3, 2))
case("upsample_bilinear", lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2, align_corners=True),
     lambda x: lerp(lerp(x, 2, places(3, 6, "ALIGN_CORNERS")), 3, places(4, 8, "ALIGN_CORNERS")), x=noise(1, 2, 3, 4))
case("upsample_bilinear_half", lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2, align_corners=False),
     lambda x: lerp(lerp(x, 2, places(3, 6, "UNALIGN")), 3, places(4, 8, "UNALIGN")), x=noise(1, 2, 3, 4))
case("resize", lambda x: mb.resize(x=x, shape=[6, 8], resized_dims=np.uint32(2), interpolation_mode="LINEAR", sampling_mode="UNALIGN_CORNERS"),
     lambda x: lerp(lerp(x, 2, places(3, 6, "UNALIGN")), 3, places(4, 8, "UNALIGN")), target=17, x=noise(1, 2, 3, 4))

H, I = 3, 4
WI, WH, WB = noise(4 * H, I), noise(4 * H, H), noise(4 * H)
WI2, WH2, WB2, PE = noise(4 * H, I), noise(4 * H, H), noise(4 * H), noise(3 * H)
for direction in ["forward", "reverse"]:
    case(f"lstm_{direction}", lambda x, h, c, d=direction: mb.lstm(x=x, initial_h=h, initial_c=c, weight_ih=WI, weight_hh=WH, bias=WB, direction=d, output_sequence=True),
         lambda x, h, c, d=direction: lstm(x, h, c, WI, WH, WB, d == "reverse"), x=noise(5, 2, I), h=noise(2, H), c=noise(2, H))
case("lstm_last", lambda x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, weight_ih=WI, weight_hh=WH, bias=WB),
     lambda x, h, c: (lambda y: (y[1][None], y[1], y[2]))(lstm(x, h, c, WI, WH, WB)), x=noise(5, 2, I), h=noise(2, H), c=noise(2, H))
case("lstm_peephole", lambda x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, weight_ih=WI, weight_hh=WH, bias=WB, peephole=PE, output_sequence=True),
     lambda x, h, c: lstm(x, h, c, WI, WH, WB, peephole=PE), x=noise(5, 2, I), h=noise(2, H), c=noise(2, H))


def bidirectional(x, h, c):
    a = lstm(x, h[:, :H], c[:, :H], WI, WH, WB)
    b = lstm(x, h[:, H:], c[:, H:], WI2, WH2, WB2, True)
    return [np.concatenate([left, right], -1) for left, right in zip(a, b)]


case("lstm_both", lambda x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, weight_ih=WI, weight_hh=WH, bias=WB, weight_ih_back=WI2, weight_hh_back=WH2, bias_back=WB2, direction="bidirectional", output_sequence=True),
     bidirectional, x=noise(5, 2, I), h=noise(2, 2 * H), c=noise(2, 2 * H))


def rnn(x, h):
    out = []
    for step in x:
        h = np.tanh(step @ WI[:H].T + h @ WH[:H].T + WB[:H])
        out.append(h)
    return np.stack(out), h


case("rnn", lambda x, h: mb.rnn(x=x, initial_h=h, weight_ih=WI[:H], weight_hh=WH[:H], bias=WB[:H], output_sequence=True), rnn, x=noise(5, 2, I), h=noise(2, H))

case("cond", lambda x: mb.cond(pred=mb.greater(x=mb.reduce_sum(x=x), y=0.0), _true_fn=lambda: mb.add(x=x, y=1.0), _false_fn=lambda: mb.mul(x=x, y=2.0)),
     lambda x: x + 1 if x.sum() > 0 else x * 2, x=noise(4, low=0.1))
case("while_loop", lambda x: mb.while_loop(_cond=lambda a, b: mb.less(x=mb.reduce_mean(x=a, keep_dims=False), y=10.0), _body=lambda a, b: (mb.add(x=a, y=b), b), loop_vars=(x, x)),
     lambda x: (x * math.ceil(10 / x.mean()) if math.ceil(10 / x.mean()) * x.mean() >= 10 else x, x), x=noise(4, low=0.7, high=1.1), tolerance=1e-4)
case("quantize", lambda x: mb.dequantize(input=mb.quantize(input=x, zero_point=np.int8(3), scale=np.float32(0.05), output_dtype="int8"), zero_point=np.int8(3), scale=np.float32(0.05)),
     lambda x: (np.clip(np.round(x / np.float32(0.05)) + 3, -128, 127) - 3) * 0.05, target=17, x=noise(3, 4))

Q8 = RNG.integers(-128, 128, (5, 4)).astype(np.int8)
S5 = noise(5, low=0.01, high=0.1)
case("affine_dequantize", lambda x: mb.linear(x=x, weight=mb.constexpr_affine_dequantize(quantized_data=Q8, zero_point=np.array([1, 2, 3, 4, 5], np.int8), scale=S5, axis=0)),
     lambda x: x @ ((Q8.astype(float) - np.arange(1, 6)[:, None]) * S5[:, None]).T, target=16, tolerance=1e-4, x=noise(2, 4))
LUT = noise(16)
IDX = RNG.integers(0, 16, (5, 4))
PACKED = (IDX.flatten()[0::2] | IDX.flatten()[1::2] << 4).astype(np.uint8)
case("lut_packed", lambda x: mb.linear(x=x, weight=mb.constexpr_lut_to_dense(indices=PACKED, lut=LUT, shape=np.array([5, 4], np.uint32))),
     lambda x: x @ LUT[IDX].T, target=16, x=noise(2, 4))
SP = np.array([[1, 0, 0, 2], [0, 0, 3, 0], [0, 4, 0, 0], [5, 0, 0, 0], [0, 0, 0, 6]], np.float32)
case("sparse_packed", lambda x: mb.linear(x=x, weight=mb.constexpr_sparse_to_dense(nonzero_data=SP[SP != 0], mask=np.packbits(SP.flatten() != 0, bitorder="little"), shape=np.array([5, 4], np.uint32))),
     lambda x: x @ SP.T, target=16, x=noise(2, 4))


def sub_byte(array, name):
    return array.astype(types.nptype_from_builtin(types.string_to_builtin(name)))


Q4 = RNG.integers(-8, 8, (6, 4))
SB, OB = noise(3, 2, low=0.1, high=0.5), RNG.integers(-8, 8, (3, 2))
case("blockwise_int4", lambda x: mb.linear(x=x, weight=mb.constexpr_blockwise_shift_scale(data=sub_byte(Q4, "int4"), scale=SB, offset=sub_byte(OB, "int4"))),
     lambda x: x @ ((Q4 - OB.repeat(2, 0).repeat(2, 1)) * SB.repeat(2, 0).repeat(2, 1)).T, target=18, x=noise(2, 4))
for bits in [1, 2, 3, 4, 6]:
    ix = np.random.default_rng(bits).integers(0, 1 << bits, (6, 4))
    lut = np.random.default_rng(bits).uniform(-1, 1, (2, 1, 1 << bits, 1)).astype(np.float32)
    case(f"lut_uint{bits}", lambda x, ix=ix, lut=lut, bits=bits: mb.linear(x=x, weight=mb.constexpr_lut_to_dense(indices=sub_byte(ix, f"uint{bits}"), lut=lut)),
         lambda x, ix=ix, lut=lut: x @ np.concatenate([lut[0, 0, :, 0][ix[:3]], lut[1, 0, :, 0][ix[3:]]]).T, target=18, x=noise(2, 4))
VIX = RNG.integers(0, 4, (3, 4))
VLUT = noise(1, 1, 4, 2)
case("lut_vectors", lambda x: mb.linear(x=x, weight=mb.constexpr_lut_to_dense(indices=sub_byte(VIX, "uint2"), lut=VLUT, vector_axis=0)),
     lambda x: x @ VLUT[0, 0][VIX].transpose(0, 2, 1).reshape(6, 4).T, target=18, x=noise(2, 4))
case("sparse_bits", lambda x: mb.linear(x=x, weight=mb.constexpr_sparse_to_dense(nonzero_data=SP[SP != 0], mask=sub_byte((SP != 0) * 1, "uint1"))), lambda x: x @ SP.T, target=18, x=noise(2, 4))


def tiny(root):
    for name, (build, reference, target, tolerance, inputs) in CASES.items():
        try:
            model = convert(program(build, inputs, target), target)
        except Exception as error:
            print(f"{name}: not made: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            continue
        wide = {key: value.astype(np.float64) if value.dtype == np.float32 else value for key, value in inputs.items()}
        expected = reference(*wide.values())
        expected = list(expected) if isinstance(expected, (tuple, list)) else [expected]
        names = [output.name for output in model.get_spec().description.output]
        write_case(root, name, model, [inputs], [dict(zip(names, expected))], tolerance)
    state(root)
    half(root)
    features(lambda name, *rest, **more: write_case(root, name, *rest, **more))


def state(root):
    """A sum that is kept from run to run, and a cache that is written slice by slice."""
    def build(x, total):
        before = mb.read_state(input=total)
        after = mb.add(x=before, y=mb.cast(x=x, dtype="fp16"))
        after = mb.coreml_update_state(state=total, value=after)
        return mb.cast(x=after, dtype="fp32")

    x = noise(2, 3)
    model = convert(program(build, {"x": x}, 18, {"total": (2, 3)}), 18)
    name = model.get_spec().description.output[0].name
    runs = [noise(2, 3) for _ in range(3)]
    expected = [{name: sum(r.astype(np.float64) for r in runs[:n + 1])} for n in range(3)]
    write_case(root, "state", model, [{"x": r} for r in runs], expected, 1e-2)


def half(root):
    """The same small network in f16."""
    def build(x):
        y = mb.relu(x=mb.conv(x=x, weight=K2, bias=B6, pad_type="same"))
        return mb.softmax(x=mb.reduce_mean(x=y, axes=[2, 3]), axis=-1)

    x = noise(1, 3, 7, 6)
    model = convert(program(build, {"x": x}), f16=True, passes=ct.PassPipeline.DEFAULT)
    name = model.get_spec().description.output[0].name
    y = np.maximum(conv(x.astype(np.float64), K2, B6, (1, 1), [(1, 1)] * 2, (1, 1), 1), 0)
    write_case(root, "half", model, [{"x": x}], [{name: softmax(y.mean((2, 3)))}], 1e-2)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--real", action="store_true", help="real models instead of tiny ones")
    arguments.add_argument("--compressed", action="store_true", help="real models with compressed weights")
    arguments.add_argument("--only", default="", help="real models whose names have this in them")
    arguments.add_argument("--models", type=Path, help="where the real models' packages are unpacked")
    arguments.add_argument("--encoder", type=Path, default=os.environ.get("BALLAST_ENCODER"), help="folder of MiniLM's weights")
    given = arguments.parse_args()
    if given.real or given.compressed:
        import real_packages
        make = real_packages.with_compressed_weights if given.compressed else real_packages.real
        make(given.folder, given.models, given.encoder, given.only)
    else:
        tiny(given.folder)


if __name__ == "__main__":
    sys.exit(main())
