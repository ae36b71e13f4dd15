"""An independent route from an image file to probabilities: Pillow, torchvision's transforms, PyTorch.

It is reported with the proof, not a pass/fail criterion: it shows how far the answers are from what somebody else's
pipeline with the same settings gives. It shares no code with our decoding and preprocessing. Pillow rounds between its
two passes, so single values differ by one level.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms import functional

from tl_export.proof.proof import Independent
from tl_export.proof.routes import TorchRoute
from tl_export.proof.stages import TENSOR, Answer
from tl_infer.model.contract import PROBABILITIES, Anchor, PreprocessSpec
from tl_infer.system.files import open_regular

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class IndependentRoute:
    """Runs images through the independent route and collects how far it is from our answers."""

    def __init__(self, route: TorchRoute) -> None:
        """Take the network, with what its run says of it, from our own route."""
        self._route = route
        self._levels: list[float] = []
        self._gaps: list[float] = []
        self._agreeing = 0

    def compare(self, path: Path, ours: Answer) -> None:
        """Add one image; one that Pillow alone cannot read is left out."""
        preprocess = self._route.spec.preprocess
        try:
            tensor = independent_tensor(path, preprocess)
        except Exception:  # noqa: BLE001 - our decoder has rules for hard files that Pillow alone has not
            return
        probabilities = self._route.network(tensor)[PROBABILITIES]
        self._levels.append(_gray_levels_apart(torch.from_numpy(ours.values[TENSOR]), tensor, preprocess))
        self._gaps.append(float(np.abs(probabilities - ours.values[PROBABILITIES]).max()))
        self._agreeing += self._route.label(probabilities) == ours.label

    def result(self) -> Independent:
        """What the images added so far showed."""
        pictures = len(self._gaps)
        agreement = self._agreeing / pictures if pictures else math.nan
        return Independent(pictures, agreement, max(self._gaps, default=0.0), max(self._levels, default=0.0))


def independent_tensor(path: Path, spec: PreprocessSpec) -> torch.Tensor:
    """One image file, by Pillow and torchvision alone, as a normalised float32 tensor (3, h, w)."""
    with open_regular(path) as file, Image.open(file) as opened:
        upright = ImageOps.exif_transpose(opened)
    picture = _fitted(_rgb(upright, spec.color == "gray"), spec)
    tensor: torch.Tensor = functional.normalize(functional.to_tensor(picture), list(spec.mean), list(spec.std))
    return tensor


def _gray_levels_apart(ours: torch.Tensor, theirs: torch.Tensor, spec: PreprocessSpec) -> float:
    """The largest difference of two normalised images, in grey levels."""
    scale = 255 * np.asarray(spec.std).reshape(3, 1, 1)
    return float(((ours - theirs).abs().double().numpy() * scale).max())


def _rgb(picture: Image.Image, gray: bool) -> Image.Image:
    if "A" in picture.getbands() or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    picture = picture.convert("RGB")
    return picture.convert("L").convert("RGB") if gray else picture


def _fitted(picture: Image.Image, spec: PreprocessSpec) -> Image.Image:
    """Resized and placed by Pillow's own means."""
    height, width = spec.size
    resampling = _RESAMPLING[spec.resample]
    if spec.fit == "squash":
        return picture.resize((width, height), resampling)
    if spec.fit == "crop":
        assert spec.resize_px is not None
        factor = spec.resize_px / min(picture.size)
        resized = picture.resize(_scaled(picture, factor), resampling)
        left, top = (resized.width - width) // 2, (resized.height - height) // 2
        return resized.crop((left, top, left + width, top + height))
    factor = min(height / picture.height, width / picture.width)
    if spec.fit == "pad":
        factor = min(factor, 1)
    resized = picture.resize(_scaled(picture, factor), resampling)
    fill = spec.fill
    if spec.color == "gray":
        fill = Image.new("RGB", (1, 1), fill).convert("L").convert("RGB").getpixel((0, 0))  # type: ignore[assignment]
    canvas = Image.new("RGB", (width, height), fill)
    canvas.paste(resized, _corner(spec.anchor, (width - resized.width, height - resized.height)))
    return canvas


def _scaled(picture: Image.Image, factor: float) -> tuple[int, int]:
    width, height = (max(1, int(side * factor + 0.5)) for side in picture.size)
    return width, height


def _corner(anchor: Anchor, free: Sequence[int]) -> tuple[int, int]:
    if anchor == "center":
        return free[0] // 2, free[1] // 2
    return (free[0] if "right" in anchor else 0), (free[1] if "bottom" in anchor else 0)
