"""Writes an encoder of the BERT family as an ONNX model, with the operators that PyTorch's exporter gives it.

usage: minilm_onnx.py ENCODER OUT.onnx

ENCODER is a folder of config.json and model.safetensors, such as the one that scripts/oracle-tools.sh fetches. The model
takes `input_ids`, `attention_mask` and `token_type_ids` of any batch and length and gives `last_hidden_state`. Needs the
packages of oracles/tensor.txt.
"""

import json
import pathlib
import struct
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


def safetensors(path):
    """The tensors of a file by name; f32 only, which is what the encoder has."""
    content = path.read_bytes()
    (n_header,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8:8 + n_header]), memoryview(content)[8 + n_header:]
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            tensors[name] = numpy.frombuffer(data[begin:end], numpy.float32).reshape(entry["shape"])
    return tensors


class Graph:
    """Nodes and weights as they are added; every method gives the name of what it adds."""

    def __init__(self, tensors):
        self.tensors, self.nodes, self.weights = tensors, [], {}

    def node(self, kind, *inputs, **attributes):
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value, dtype=numpy.float32):
        array = numpy.asarray(value, dtype)
        name = f"constant_{array.dtype}_{array.ravel().tolist()}_{array.ndim}"
        self.weights[name] = array
        return name

    def weight(self, name, is_transposed=False):
        key = f"{name}.transposed" if is_transposed else name
        self.weights[key] = self.tensors[name].T.copy() if is_transposed else self.tensors[name]
        return key

    def linear(self, x, name):
        product = self.node("MatMul", x, self.weight(f"{name}.weight", is_transposed=True))
        return self.node("Add", self.weight(f"{name}.bias"), product)

    def norm(self, x, name, epsilon):
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=epsilon)

    def gelu(self, x):
        inner = self.node("Erf", self.node("Div", x, self.constant(2 ** 0.5)))
        return self.node("Mul", self.node("Mul", x, self.node("Add", inner, self.constant(1.0))), self.constant(0.5))


def embeddings(graph, epsilon):
    length = graph.node("Gather", graph.node("Shape", "input_ids"), graph.constant(1, numpy.int64), axis=0)
    end = graph.node("Unsqueeze", length, graph.constant([0], numpy.int64))
    zero = graph.constant([0], numpy.int64)
    positions = graph.node("Slice", graph.weight("embeddings.position_embeddings.weight"), zero, end, zero)
    words = graph.node("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids", axis=0)
    types = graph.node("Gather", graph.weight("embeddings.token_type_embeddings.weight"), "token_type_ids", axis=0)
    return graph.norm(graph.node("Add", graph.node("Add", words, types), positions), "embeddings.LayerNorm", epsilon)


def mask(graph):
    """0 where a token counts, the lowest number where it is padding."""
    wide = graph.node("Unsqueeze", "attention_mask", graph.constant([1, 2], numpy.int64))
    numbers = graph.node("Cast", wide, to=TensorProto.FLOAT)
    missing = graph.node("Sub", graph.constant(1.0), numbers)
    return graph.node("Mul", missing, graph.constant(float(numpy.finfo(numpy.float32).min)))


def layer(graph, x, bias, name, config):
    n_heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    dim = config["hidden_size"] // n_heads
    split = graph.constant([0, 0, n_heads, dim], numpy.int64)
    heads = {}
    for part in ("query", "key", "value"):
        parted = graph.node("Reshape", graph.linear(x, f"{name}.attention.self.{part}"), split)
        heads[part] = graph.node("Transpose", parted, perm=[0, 2, 3, 1] if part == "key" else [0, 2, 1, 3])
    scores = graph.node("Div", graph.node("MatMul", heads["query"], heads["key"]), graph.constant(dim ** 0.5))
    weights = graph.node("Softmax", graph.node("Add", scores, bias), axis=-1)
    mixed = graph.node("Transpose", graph.node("MatMul", weights, heads["value"]), perm=[0, 2, 1, 3])
    joined = graph.node("Reshape", mixed, graph.constant([0, 0, n_heads * dim], numpy.int64))
    attended = graph.linear(joined, f"{name}.attention.output.dense")
    x = graph.norm(graph.node("Add", attended, x), f"{name}.attention.output.LayerNorm", epsilon)
    wide = graph.gelu(graph.linear(x, f"{name}.intermediate.dense"))
    return graph.norm(graph.node("Add", graph.linear(wide, f"{name}.output.dense"), x), f"{name}.output.LayerNorm", epsilon)


def model(folder):
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
        sys.exit(f"expected a BERT with gelu, got {config['model_type']} with {config['hidden_act']}")
    graph = Graph(safetensors(folder / "model.safetensors"))
    x, bias = embeddings(graph, config["layer_norm_eps"]), mask(graph)
    for idx in range(config["num_hidden_layers"]):
        x = layer(graph, x, bias, f"encoder.layer.{idx}", config)
    graph.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"], name="last"))
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names]
    shape = ["batch", "sequence", config["hidden_size"]]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, shape)]
    weights = [numpy_helper.from_array(array, name) for name, array in graph.weights.items()]
    made = helper.make_graph(graph.nodes, "encoder", inputs, outputs, weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    made = model(pathlib.Path(sys.argv[1]))
    onnx.checker.check_model(made)
    onnx.save(made, sys.argv[2])


if __name__ == "__main__":
    main()
