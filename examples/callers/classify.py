"""Classify images with a model file of tl-export, using onnxruntime, numpy and pillow alone.

For those who want to see what `tl_infer` does, or to port it; docs/model-file.md is the specification. The file is a
program: run only model files that you trust. `tl_infer` has more: limits against hostile images, all cores, clear
errors for damaged models.

    python classify.py MODEL.onnx IMAGE...

Prints a JSON object per image. Exit code 0; 1 if the model is refused; 3 if an image could not be read.
"""

import base64
import io
import json
import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the library starts, or it reports to its maker

import numpy as np
import onnxruntime
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # never EPS: reading it would start another program
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


class Model:
    """A model file whose golden samples have shown that this machine computes what it should."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        if "tl.bit_depth" in metadata:  # tl_infer scales 16-bit images by it; taken for 16 bits they are nearly black
            raise ValueError(f"tl.bit_depth {metadata['tl.bit_depth']}: this caller does not scale 16-bit images by it")
        self.spec = self._read(metadata, "tl.spec")
        golden = self._read(metadata, "tl.golden")
        for sample in golden["samples"]:
            found, familiarity = self.run(decode(io.BytesIO(base64.b64decode(sample["png"]))))
            self._compare(sample, np.abs(found - sample["probabilities"]).max(), golden["tolerance"])
            if familiarity is not None:
                self._compare(sample, abs(familiarity - sample["familiarity"]), golden["familiarity_tolerance"])

    def run(self, pixels):
        """uint8 (H, W, 3) -> float32 (C,), in the order of the labels; and the familiarity, None of a model without."""
        names = ["probabilities"] + ["familiarity"] * ("familiarity" in self.spec)
        found = self.session.run(names, {"image": pixels[np.newaxis]})
        return found[0][0], float(found[1][0]) if len(found) > 1 else None

    @staticmethod
    def _compare(sample, difference, tolerance):
        if not difference <= tolerance:  # written this way, NaN is refused too
            raise ValueError(f"golden sample '{sample['name']}' differs by {difference:.2g}, tolerance {tolerance:.2g}")

    @staticmethod
    def _read(metadata, key):
        document = json.loads(metadata.get(key, "{}"))
        if document.get("version") not in (1, 2):
            raise ValueError(f"{key}: version {document.get('version')}, expected 1 or 2")
        return document


def decode(source):
    """An image file -> upright RGB, uint8 (H, W, 3): the rules of docs/model-file.md."""
    with Image.open(source, formats=FORMATS) as image:
        image.load()
        try:
            orientation = image.getexif().get(0x0112, 1)
        except Exception:  # noqa: BLE001 - a damaged EXIF block does not cost the image
            orientation = 1
        if image.mode.startswith("I"):
            values = np.asarray(image).astype(np.int64)
            if values.min() < 0 or values.max() > 65535:
                raise ValueError("whole numbers beyond 0 to 65535")
            levels = ((values * 255 + 32767) // 65535).astype(np.uint8)
            levels[values == image.info.get("transparency", -1)] = 255
            image = Image.fromarray(levels)
        elif image.mode == "F":
            values = np.asarray(image)
            if not (values.min() >= 0 and values.max() <= 1):
                raise ValueError("floating point values beyond 0 to 1")
            image = Image.fromarray(np.rint(values * 255).astype(np.uint8))
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        image = image.convert("RGB")
        return np.array(image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image)


def answer(model, path):
    """What to print for one image."""
    try:
        found, familiarity = model.run(decode(path))
    except Exception as error:  # noqa: BLE001 - decoders raise nearly everything on damaged files
        return {"path": path, "error": str(error)}
    best = int(found.argmax())
    reason = None
    if model.spec["abstain_below"] is not None and found[best] < model.spec["abstain_below"]:
        reason = "unsure"
    if familiarity is not None and familiarity < model.spec["familiarity"]["unfamiliar_below"]:
        reason = "unfamiliar"
    said = model.spec["labels"][best]
    if "thresholds" in model.spec:  # of a model that gives several labels: all from their thresholds on
        decided = zip(model.spec["labels"], found, model.spec["thresholds"], strict=True)
        said = [label for label, probability, least in decided if probability >= least]
    return {
        "path": path,
        "labels" if "thresholds" in model.spec else "label": None if reason else said,  # null: the model abstains
        "reason": reason,
        "familiarity": familiarity,
        "probability": float(found[best]),
        "probabilities": {label: float(p) for label, p in zip(model.spec["labels"], found, strict=True)},
    }


def main(arguments):
    """Classify the files named; the exit code."""
    if len(arguments) < 2:
        sys.stderr.write("usage: classify.py MODEL.onnx IMAGE...\n")
        return 2
    try:
        model = Model(arguments[0])
    except Exception as error:  # noqa: BLE001 - onnxruntime raises its own exceptions
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        return 1
    failed = False
    for path in arguments[1:]:
        row = answer(model, path)
        failed = failed or "error" in row
        print(json.dumps(row), flush=True)
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
