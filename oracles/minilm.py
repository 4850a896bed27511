"""The sentence encoder MiniLM as an ONNX model, written from the weights of its folder.

The graph is BERT's as its paper has it, with mean pooling and a unit length behind it: `input_ids` and
`attention_mask` in, `embedding` out. Extents are free, or those that are given.
"""

import json
import math
import struct
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# What is masked gets this instead of its score: less than any score, and within f16.
MASKED = -1e4

SENTENCES = [
    "a cat is sleeping on the warm mat",
    "the kitten naps on a rug in the sun",
    "stock prices fell sharply after the report",
]


def tensors(folder):
    """Every f32 tensor of a safetensors file by its name."""
    data = (Path(folder) / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    found = {}
    for name, info in header.items():
        if info.get("dtype") == "F32":
            start, end = (8 + length + offset for offset in info["data_offsets"])
            found[name] = np.frombuffer(data[start:end], "<f4").reshape(info["shape"])
    return found


def tokens(folder, sentence, length):
    """Ids and mask of a sentence: its words, each cut greedily, of lower-case letters only."""
    vocabulary = {word: idx for idx, word in enumerate((Path(folder) / "vocab.txt").read_text().split("\n"))}
    ids = [vocabulary["[CLS]"]]
    for word in sentence.split():
        rest, prefix = word, ""
        while rest:
            cut = next(n for n in range(len(rest), 0, -1) if prefix + rest[:n] in vocabulary)
            ids.append(vocabulary[prefix + rest[:cut]])
            rest, prefix = rest[cut:], "##"
    ids.append(vocabulary["[SEP]"])
    mask = [1] * len(ids) + [0] * (length - len(ids))
    return np.array([ids + [0] * (length - len(ids))], np.int64), np.array([mask], np.int64)


class Writer:
    """Nodes and weights of a graph that is being written."""

    def __init__(self, weights):
        self.weights, self.nodes, self.initializers = weights, [], []

    def constant(self, name, array):
        if all(known.name != name for known in self.initializers):
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, name, transposed=False):
        array = self.weights[name]
        return self.constant(name, array.T if transposed else array)

    def op(self, kind, *inputs, **attributes):
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def linear(self, name, x):
        product = self.op("MatMul", x, self.weight(f"{name}.weight", transposed=True))
        return self.op("Add", product, self.weight(f"{name}.bias"))

    def norm(self, name, x, epsilon):
        return self.op("LayerNormalization", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), axis=-1,
                       epsilon=epsilon)

    def ints(self, name, *values):
        return self.constant(name, np.array(values, np.int64))

    def floats(self, name, value):
        return self.constant(name, np.array(value, np.float32))


def attention(graph, at, x, scores_mask, n_heads, head_dim):
    heads = graph.ints("heads", 0, 0, n_heads, head_dim)
    q, k, v = (graph.op("Transpose", graph.op("Reshape", graph.linear(f"{at}.self.{name}", x), heads), perm=perm)
               for name, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])))
    scores = graph.op("Mul", graph.op("MatMul", q, k), graph.floats("scale", 1 / math.sqrt(head_dim)))
    weights = graph.op("Softmax", graph.op("Add", scores, scores_mask), axis=-1)
    mixed = graph.op("Transpose", graph.op("MatMul", weights, v), perm=[0, 2, 1, 3])
    return graph.linear(f"{at}.output.dense", graph.op("Reshape", mixed, graph.ints("joined", 0, 0, n_heads * head_dim)))


def gelu(graph, x):
    wide = graph.op("Add", graph.op("Erf", graph.op("Div", x, graph.floats("root", math.sqrt(2)))), graph.floats("one", 1))
    return graph.op("Mul", graph.op("Mul", x, wide), graph.floats("half", 0.5))


def pooled(graph, x, mask):
    """The mean of what is not masked, of length 1, as this model's sentence embedding is made."""
    given = graph.op("Unsqueeze", mask, graph.ints("last", -1))
    total = graph.op("ReduceSum", graph.op("Mul", x, given), graph.ints("positions", 1), keepdims=0)
    count = graph.op("ReduceSum", given, graph.ints("positions", 1), keepdims=0)
    mean = graph.op("Div", total, count)
    square = graph.op("ReduceSum", graph.op("Mul", mean, mean), graph.ints("entries", 1), keepdims=1)
    return graph.op("Div", mean, graph.op("Sqrt", square))


def model(folder, batch="batch", length="length"):
    """The model; `batch` and `length` are extents, or names of free ones."""
    config = json.loads((Path(folder) / "config.json").read_text())
    assert config["hidden_act"] == "gelu" and config["position_embedding_type"] == "absolute", config
    graph, epsilon = Writer(tensors(folder)), config["layer_norm_eps"]
    n_heads = config["num_attention_heads"]
    # As many positions as the ids have: a slice whose end is told by the shape.
    end = length if isinstance(length, int) else None
    words = graph.op("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids", axis=0)
    table, types = graph.weights["embeddings.position_embeddings.weight"], graph.weights["embeddings.token_type_embeddings.weight"]
    if end is not None:
        positions = graph.constant("places", table[:end] + types[0])
    else:
        table = graph.constant("places", table + types[0])
        count = graph.op("Gather", graph.op("Shape", "input_ids"), graph.ints("second", 1), axis=0)
        positions = graph.op("Slice", table, graph.ints("from", 0), count, graph.ints("first", 0))
    x = graph.norm("embeddings.LayerNorm", graph.op("Add", words, positions), epsilon)
    mask = graph.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    hidden = graph.op("Mul", graph.op("Sub", graph.floats("one", 1), mask), graph.floats("masked", MASKED))
    scores_mask = graph.op("Unsqueeze", hidden, graph.ints("inner", 1, 2))
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        mixed = attention(graph, f"{at}.attention", x, scores_mask, n_heads, config["hidden_size"] // n_heads)
        x = graph.norm(f"{at}.attention.output.LayerNorm", graph.op("Add", x, mixed), epsilon)
        inner = graph.linear(f"{at}.output.dense", gelu(graph, graph.linear(f"{at}.intermediate.dense", x)))
        x = graph.norm(f"{at}.output.LayerNorm", graph.op("Add", x, inner), epsilon)
    graph.nodes.append(helper.make_node("Identity", [pooled(graph, x, mask)], ["embedding"]))
    ports = [helper.make_tensor_value_info(name, TensorProto.INT64, [batch, length]) for name in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, config["hidden_size"]])
    made = helper.make_graph(graph.nodes, "MiniLM", ports, [output], graph.initializers)
    made = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], producer_name="ballast oracles")
    made.ir_version = 9
    onnx.checker.check_model(made)
    return made
