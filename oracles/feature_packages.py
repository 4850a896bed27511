"""Packages whose inputs and outputs are more than fixed tensors, for make_packages.py: pictures, flexible extents, values
that may be left out, several functions, classes, and a small decoder that keeps its keys and values from run to run."""

import math
import tempfile

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import get_new_symbol, types


def made(specs, build, target=ct.target.iOS17, **more):
    """A package of f32 from its inputs `(name, shape or state)` and what it computes from them."""
    kinds = [mb.TensorSpec(shape=shape, dtype=dtype) if dtype is not None else mb.StateTensorSpec(shape=shape, dtype=types.fp16)
             for _, shape, dtype in specs]
    names = ", ".join(name for name, _, _ in specs)
    scope = {"build": build}
    exec(f"def written({names}):\n    return build({names})\n", scope)
    program = mb.program(input_specs=kinds, opset_version=target)(scope["written"])
    precision = ct.precision.FLOAT32
    return ct.convert(program, convert_to="mlprogram", compute_precision=precision, skip_model_load=True,
                      minimum_deployment_target=target, **more)


def output(package):
    return package.get_spec().description.output[0].name


def pictures(write, random):
    """What a picture is scaled by is in the program; the order of its channels is the one that the package names."""
    for layout, channels in [("RGB", 3), ("BGR", 3), ("GRAYSCALE", 1)]:
        scale, bias = 1 / 64, [-1.5, 0.25, 2.0] if channels == 3 else -1.5
        shape = (1, channels, 5, 7)
        image = ct.ImageType(name="x", shape=shape, color_layout=getattr(ct.colorlayout, layout), scale=scale, bias=bias)
        weight = random.uniform(-1, 1, (2, channels, 3, 3)).astype(np.float32)
        package = made([("x", shape, types.fp32)], lambda x: mb.conv(x=x, weight=weight), inputs=[image])
        pixels = random.integers(0, 256, shape).astype(np.float32)
        scaled = pixels.astype(np.float64) * scale + np.reshape(bias, (1, -1, 1, 1))
        windows = np.lib.stride_tricks.sliding_window_view(scaled, (3, 3), (2, 3))
        expected = np.einsum("bchwij,ocij->bohw", windows, weight.astype(np.float64))
        write(f"picture_{layout.lower()}", package, [{"x": pixels}], [{output(package): expected}], 1e-4)


def flexible(write, random):
    """Extents out of a range, and one of several shapes."""
    build = lambda x: mb.softmax(x=mb.reduce_sum(x=x, axes=[2]), axis=1)

    def expected(x):
        total = np.exp(x.astype(np.float64).sum(2))
        return total / total.sum(1, keepdims=True)

    shapes = [(1, 2, 4), (1, 5, 4), (1, 8, 4)]
    for name, kind in [
        ("range", ct.TensorType(name="x", shape=(1, ct.RangeDim(lower_bound=1, upper_bound=8, default=2), 4))),
        ("enumerated", ct.TensorType(name="x", shape=ct.EnumeratedShapes(shapes=shapes, default=shapes[0]))),
    ]:
        package = made([("x", (1, get_new_symbol(), 4), types.fp32)], build, inputs=[kind])
        runs = [{"x": random.uniform(-1, 1, shape).astype(np.float32)} for shape in shapes]
        write(f"flexible_{name}", package, runs, [{output(package): expected(run["x"])} for run in runs], 1e-5)


def left_out(write, random):
    """An input with a value for when it is not given."""
    kinds = [ct.TensorType(name="x", shape=(2, 3)), ct.TensorType(name="y", shape=(2, 3), default_value=np.full((2, 3), 0.5, np.float32))]
    package = made([("x", (2, 3), types.fp32), ("y", (2, 3), types.fp32)], lambda x, y: mb.mul(x=x, y=y), inputs=kinds)
    x, y = (random.uniform(-1, 1, (2, 3)).astype(np.float32) for _ in range(2))
    write("left_out", package, [{"x": x, "y": y}, {"x": x}], [{output(package): x * y}, {output(package): x * np.float32(0.5)}], 1e-6)


def classes(write, random):
    """A classifier's probabilities in the order of its classes, and the name of the most probable."""
    config = ct.ClassifierConfig(["ant", "bee", "cow"], predicted_feature_name="name")
    package = made([("x", (1, 3), types.fp32)], lambda x: mb.softmax(x=x, axis=-1), classifier_config=config)
    x = random.uniform(-1, 1, (1, 3)).astype(np.float32)
    probabilities = np.exp(x.astype(np.float64)[0])
    probabilities /= probabilities.sum()
    others = [feature.name for feature in package.get_spec().description.output if feature.name != "name"]
    named = np.array([["ant", "bee", "cow"][int(probabilities.argmax())]])
    write("classes", package, [{"x": x}], [{"name": named, others[0]: probabilities}], 1e-5)


def functions(write, random):
    """Two functions of one package, of which each is run by its name."""
    x = random.uniform(-1, 1, (2, 3)).astype(np.float32)
    weight = random.uniform(-1, 1, (4, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, bias in [("small", 1.0), ("large", 100.0)]:
            package = made([("x", (2, 3), types.fp32)], lambda x, bias=bias: mb.add(x=mb.linear(x=x, weight=weight), y=np.float32(bias)),
                           ct.target.iOS18)
            paths.append(f"{folder}/{name}.mlpackage")
            package.save(paths[-1])
        joined = ct.utils.MultiFunctionDescriptor()
        for path, name in zip(paths, ["small", "large"]):
            joined.add_function(path, src_function_name="main", target_function_name=name)
        joined.default_function_name = "small"
        ct.utils.save_multifunction(joined, f"{folder}/joined.mlpackage")
        both = ct.models.MLModel(f"{folder}/joined.mlpackage", skip_model_load=True)
        name = output(package)
        for function, bias in [(None, 1.0), ("small", 1.0), ("large", 100.0)]:
            expected = x.astype(np.float64) @ weight.T + bias
            write(f"function_{function or 'default'}", both, [{"x": x}], [{name: expected}], 1e-4, **({"function": function} if function else {}))


class Decoder:
    """A transformer of two layers with random weights, which decodes one token after the other."""

    n_layers, n_heads, head_dim, vocab_size, context_len, ffn_dim = 2, 3, 8, 40, 16, 48

    def __init__(self, random):
        dim = self.n_heads * self.head_dim
        draw = lambda *shape: (random.normal(0, 1, shape) / math.sqrt(shape[-1])).astype(np.float32)
        self.table, self.places = random.normal(0, 1, (self.vocab_size, dim)).astype(np.float32), draw(self.context_len, dim)
        self.layers = [{name: draw(*shape) for name, shape in
                        [("q", (dim, dim)), ("k", (dim, dim)), ("v", (dim, dim)), ("o", (dim, dim)), ("up", (self.ffn_dim, dim)), ("down", (dim, self.ffn_dim))]}
                       for _ in range(self.n_layers)]

    def cache(self):
        return (1, self.n_heads, self.context_len, self.head_dim)

    def step(self, token, position, *caches):
        """One token: its keys and values are written to their place, and it looks at all up to it."""
        n_heads, head_dim, length = self.n_heads, self.head_dim, self.context_len
        x = mb.add(x=mb.gather(x=self.table, indices=token, axis=0), y=mb.gather(x=self.places, indices=position, axis=0))
        seen = mb.less_equal(x=np.arange(length, dtype=np.int32).reshape(1, 1, 1, length), y=position)
        hidden = mb.select(cond=seen, a=np.float32(0), b=np.float32(-1e4))
        one = np.array([1], np.int32)
        zero = np.array([0], np.int32)
        begin = mb.concat(values=(zero, zero, position, zero), axis=0)
        end = mb.concat(values=(one, np.array([n_heads], np.int32), mb.add(x=position, y=one), np.array([head_dim], np.int32)), axis=0)
        for idx, layer in enumerate(self.layers):
            normed = mb.layer_norm(x=x, axes=[-1])
            q, k, v = (mb.reshape(x=mb.linear(x=normed, weight=layer[name]), shape=[1, n_heads, 1, head_dim]) for name in "qkv")
            kept = []
            for state, new in zip(caches[2 * idx:2 * idx + 2], (k, v)):
                before = mb.read_state(input=state)
                after = mb.slice_update(x=before, update=mb.cast(x=new, dtype="fp16"), begin=begin, end=end)
                kept.append(mb.cast(x=mb.coreml_update_state(state=state, value=after), dtype="fp32"))
            scores = mb.mul(x=mb.matmul(x=q, y=kept[0], transpose_y=True), y=np.float32(1 / math.sqrt(head_dim)))
            mixed = mb.matmul(x=mb.softmax(x=mb.add(x=scores, y=hidden), axis=-1), y=kept[1])
            x = mb.add(x=x, y=mb.linear(x=mb.reshape(x=mixed, shape=[1, n_heads * head_dim]), weight=layer["o"]))
            inner = mb.silu(x=mb.linear(x=mb.layer_norm(x=x, axes=[-1]), weight=layer["up"]))
            x = mb.add(x=x, y=mb.linear(x=inner, weight=layer["down"]))
        return mb.linear(x=mb.layer_norm(x=x, axes=[-1]), weight=self.table)

    def logits(self, tokens):
        """Logits behind the last of all tokens, computed from the beginning in float64, without a cache."""
        norm = lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        n = len(tokens)
        x = self.table[tokens].astype(np.float64) + self.places[:n]
        heads = lambda x: x.reshape(n, self.n_heads, self.head_dim).transpose(1, 0, 2)
        for layer in self.layers:
            q, k, v = (heads(norm(x) @ layer[name].T.astype(np.float64)) for name in "qkv")
            scores = q @ k.transpose(0, 2, 1) / math.sqrt(self.head_dim) + np.triu(np.full((n, n), -np.inf), 1)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = (weights / weights.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, -1)
            x = x + mixed @ layer["o"].T
            inner = norm(x) @ layer["up"].T
            x = x + inner / (1 + np.exp(-inner)) @ layer["down"].T
        return (norm(x) @ self.table.T)[-1:]


def decoder(write, random):
    """Token after token, each the most probable after those before; the state is f16, as Core ML wants it."""
    model = Decoder(random)
    states = [(f"cache_{idx}", model.cache(), None) for idx in range(2 * model.n_layers)]
    specs = [("token", (1,), types.int32), ("position", (1,), types.int32), *states]
    package = made(specs, model.step, ct.target.iOS18)
    name, tokens, runs, expected = output(package), [7], [], []
    for position in range(model.context_len):
        runs.append({"token": np.array(tokens[-1:], np.int32), "position": np.array([position], np.int32)})
        logits = model.logits(tokens)
        expected.append({name: logits})
        tokens.append(int(logits[0].argmax()))
    write("decoder", package, runs, expected, 1e-2)


def features(write):
    for make in [pictures, flexible, left_out, classes, functions, decoder]:
        try:
            make(write, np.random.default_rng(5))
        except Exception as error:
            print(f"{make.__name__}: not made: {type(error).__name__}: {str(error)[:300]}")
