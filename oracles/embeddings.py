"""An encoder from its folder to the client: converted, embedded and served, against a forward pass in float64.

usage: embeddings.py --encoder FOLDER     a folder with model.safetensors, config.json and tokenizer.json

The reference is numpy's, written here from the papers; tokens are compared with the `tokenizers` package. A classifier
with random weights is ranked the same way.
"""

import argparse
import base64
import json
import math
import os
import pathlib
import random
import struct
import subprocess
import tempfile

from programs import ballast, call, run, run_json, serving_ballast
from report import Report

try:
    import numpy as np
    import openai
    import tokenizers
except ImportError:
    np = openai = tokenizers = None

N_SENTENCES = 100
COSINE_MIN = {"f32": 0.99999, "f16": 0.9999, "q8_0": 0.995}
WORDS = ("the a lighthouse keeper ship sea storm night harbour quickly slowly answers question river mountain café naïve "
         "Zürich 1984 3.14 don't re-embedding tokenization 中文 日本語 🦙 $5 e-mail@example.org antidisestablishmentarianism").split()


def sentences():
    """Texts of 0 to 40 words, the same every time."""
    rng = random.Random(7)
    texts = ["", "Hello, world!", "x" * 150, "A\u0301 \u00c5ngstr\u00f6m \u200b\u00ad"]
    while len(texts) < N_SENTENCES:
        texts.append(" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) + rng.choice([".", "?", "!", ""]))
    return texts


class Bert:
    """BERT's forward pass in float64 over the tensors of a safetensors file."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        data = (folder / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8:8 + length])
        header.pop("__metadata__", None)
        self.tensors = {}
        for name, info in header.items():
            if info["dtype"] == "F32":
                start, end = (8 + length + offset for offset in info["data_offsets"])
                values = np.frombuffer(data[start:end], dtype="<f4").reshape(info["shape"])
                self.tensors[name.removeprefix("bert.")] = values.astype(np.float64)

    def affine(self, name, x):
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, name, x):
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred ** 2).mean(-1, keepdims=True) + self.config["layer_norm_eps"])
        return centred / deviation * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def __call__(self, ids, types):
        embeddings = [self.tensors[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")]
        h = embeddings[0][ids] + embeddings[1][:len(ids)] + embeddings[2][types]
        h = self.norm("embeddings.LayerNorm", h)
        n_heads = self.config["num_attention_heads"]
        for layer in range(self.config["num_hidden_layers"]):
            at = f"encoder.layer.{layer}"
            q, k, v = (self.affine(f"{at}.attention.self.{name}", h).reshape(len(ids), n_heads, -1).transpose(1, 0, 2)
                       for name in ("query", "key", "value"))
            scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            attended = (weights / weights.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(h.shape)
            h = self.norm(f"{at}.attention.output.LayerNorm", h + self.affine(f"{at}.attention.output.dense", attended))
            up = self.affine(f"{at}.intermediate.dense", h)
            up = up * 0.5 * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
            h = self.norm(f"{at}.output.LayerNorm", h + self.affine(f"{at}.output.dense", up))
        return h

    def embedding(self, ids, types):
        mean = self(ids, types).mean(0)
        return mean / np.linalg.norm(mean)

    def score(self, ids, types):
        hidden = np.tanh(self.affine("pooler.dense", self(ids, types)[0]))
        return self.affine("classifier", hidden)[0]


def cosine(a, b):
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def worst(got, expected):
    return min(cosine(np.array(a), b) for a, b in zip(got, expected, strict=True))


def convert(program, folder, out, kind):
    run(program, "convert", folder, "-o", out, "--type", kind)


def tokens(program, gguf, texts, reference):
    """The text whose tokens differ, if there is one."""
    for text in texts:
        got = run_json(program, "tokenize", gguf, text, "--add-special", "--json")
        expected = reference.encode(text).ids
        if got != expected:
            return f"{text!r}: got {got}, expected {expected}"
    return None


def embed(program, gguf, texts):
    """Vectors of texts, which are given as arguments: a line may be empty."""
    return [json.loads(line) for line in run(program, "embed", gguf, "--", *texts)[0].splitlines()]


def raw_is_json(program, gguf, texts):
    """Both formats have the same numbers."""
    raw = subprocess.run([program, "embed", gguf, "--format", "raw", "--", *texts], capture_output=True, check=True).stdout
    same = np.array_equal(np.frombuffer(raw, "<f4"), np.array(embed(program, gguf, texts), "<f4").ravel())
    return None if same else "raw and json differ"


def served(client, model, texts, expected):
    """What is wrong with the answers of the official client."""
    got = client.embeddings.create(model=model, input=texts)
    if [item.index for item in got.data] != list(range(len(texts))) or not got.usage.prompt_tokens:
        return f"indices or usage: {got.usage}"
    if worst([item.embedding for item in got.data], expected) < COSINE_MIN["f16"]:
        return "vectors in base64 differ from the reference"
    floats = client.embeddings.create(model=model, input=texts, encoding_format="float")
    if any(a.embedding != b.embedding for a, b in zip(got.data, floats.data, strict=True)):
        # Numbers are written as short as they can be read back as 32 bits.
        same = all(np.array_equal(np.array(a.embedding, "<f4"), np.array(b.embedding, "<f4"))
                   for a, b in zip(got.data, floats.data, strict=True))
        if not same:
            return "float and base64 differ"
    short = client.embeddings.create(model=model, input=texts, dimensions=64)
    if worst([item.embedding for item in short.data], [vector[:64] for vector in expected]) < COSINE_MIN["f16"]:
        return "shortened vectors differ"
    if abs(np.linalg.norm(short.data[0].embedding) - 1) > 1e-5:
        return "shortened vectors are not of unit length"
    try:
        client.embeddings.create(model=model, input="word " * 600)
        return "a text that is too long was taken"
    except openai.BadRequestError as error:
        return None if "512" in str(error) and "602" in str(error) else f"no counts: {error}"


def classifier(folder, source):
    """A folder with a small classifier of random weights and the vocabulary of `source`."""
    rng = np.random.default_rng(5)
    dim, ffn, n_layers = 64, 128, 2
    config = json.loads((source / "config.json").read_text()) | {
        "architectures": ["BertForSequenceClassification"], "hidden_size": dim, "intermediate_size": ffn,
        "num_hidden_layers": n_layers, "num_attention_heads": 4, "id2label": {"0": "LABEL_0"}}
    shapes = {"bert.embeddings.word_embeddings.weight": (config["vocab_size"], dim),
              "bert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], dim),
              "bert.embeddings.token_type_embeddings.weight": (2, dim)}
    affine = {"bert.pooler.dense": (dim, dim), "classifier": (1, dim)}
    norms = ["bert.embeddings.LayerNorm"]
    for layer in range(n_layers):
        at = f"bert.encoder.layer.{layer}"
        affine |= {f"{at}.attention.self.{name}": (dim, dim) for name in ("query", "key", "value")}
        affine |= {f"{at}.attention.output.dense": (dim, dim), f"{at}.intermediate.dense": (ffn, dim),
                   f"{at}.output.dense": (dim, ffn)}
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    for name, shape in affine.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}
    header, blobs, at = {}, [], 0
    for name, shape in shapes.items():
        values = rng.normal(0, 1 / math.sqrt(shape[-1]), shape)
        blob = (values + (1 if "LayerNorm.weight" in name else 0)).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())


def ranked(server, reference, bert, texts):
    """What is wrong with a ranking."""
    query, documents = texts[1], texts[4:24]
    expected = []
    for document in documents:
        encoding = reference.encode(query, document)
        expected.append(1 / (1 + math.exp(-bert.score(encoding.ids, encoding.type_ids))))
    url, key = server
    results = call(f"{url}/v1/rerank", {"query": query, "documents": documents}, key)["results"]
    if [r["relevance_score"] for r in results] != sorted((r["relevance_score"] for r in results), reverse=True):
        return "the results are not sorted"
    off = max(abs(r["relevance_score"] - expected[r["index"]]) for r in results)
    if off > 1e-3 or sorted(r["index"] for r in results) != list(range(len(documents))):
        return f"scores are off by {off}"
    return None


def compare(report, program, folder, work):
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_padding()
    reference.no_truncation()
    bert, texts = Bert(folder), sentences()
    encodings = [reference.encode(text) for text in texts]
    expected = [bert.embedding(encoding.ids, encoding.type_ids) for encoding in encodings]
    for kind, least in COSINE_MIN.items():
        gguf = work / f"{kind}.gguf"
        convert(program, folder, gguf, kind)
        cosine_min = worst(embed(program, gguf, texts), expected)
        fault = None if cosine_min > least else f"expected more than {least}"
        report.check(f"{kind}: {len(texts)} texts, least cosine {cosine_min:.7f}", fault)
    gguf = work / "f16.gguf"
    report.check(f"tokens of {len(texts)} texts", tokens(program, gguf, texts, reference))
    report.check("raw and json", raw_is_json(program, gguf, texts[:5]))
    with serving_ballast(gguf) as (url, key):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=key)
        report.check("the openai client", served(client, list(client.models.list())[0].id, texts[1:9], expected[1:9]))
    classifier(work / "classifier", folder)
    convert(program, work / "classifier", work / "classifier.gguf", "f32")
    with serving_ballast(work / "classifier.gguf") as (url, key):
        report.check("rerank", ranked((url, key), reference, Bert(work / "classifier"), texts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=pathlib.Path, default=os.environ.get("BALLAST_ENCODER"))
    args = parser.parse_args()
    report, program = Report(), ballast()
    if tokenizers is None:
        report.skipped("embeddings", "numpy, openai or tokenizers is not installed")
    elif program is None or args.encoder is None:
        report.skipped("embeddings", "there is no program, or no encoder's folder")
    else:
        with tempfile.TemporaryDirectory() as work:
            compare(report, program, pathlib.Path(args.encoder), pathlib.Path(work))
    report.end()


if __name__ == "__main__":
    main()
