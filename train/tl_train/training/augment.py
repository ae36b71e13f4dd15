"""Random changes of the uint8 image, before preprocessing, so that the network never sees the same image twice.

The choices come from a generator made from the image's own seed, and torchvision's functional transforms carry them
out: torchvision's random transforms draw from torch's one global generator, which threads would share in an order that
nobody can repeat.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from tl_infer.images import Pixels
from tl_train.config.choices import Augment

_GRAY = [128, 128, 128]  # what rotating and shifting uncovers
_BILINEAR = InterpolationMode.BILINEAR

Change = Callable[[Image.Image, float], Image.Image]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Changes an image at random, the same way for the same seed; thread-safe.

    In this order: a random part of the image, mirrored half of the time, with `any_change` one of torchvision's
    TrivialAugment operations at a random strength, then brightness and contrast.

    Attributes:
        min_area: the part kept has at least this share of the image's area, 0..1.
        max_stretch: and its shape differs from the image's by at most this factor, 1 or more.
        light: brightness and contrast are multiplied by 1 - light to 1 + light.
        any_change: whether one of the stronger operations is applied too.

    """

    min_area: float
    max_stretch: float
    light: float
    any_change: bool = False

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        """Change one image.

        Args:
            pixels: uint8 (H, W, 3); left as it is.
            seed: 0 or more; decides everything.

        Returns:
            A new array, uint8 (h, w, 3), h <= H and w <= W. Equal channels stay equal.

        """
        random = np.random.default_rng(seed)
        image = Image.fromarray(_part(pixels, self, random))
        if random.random() < 0.5:
            image = functional.horizontal_flip(image)
        if self.any_change:
            change, strongest = _CHANGES[random.integers(len(_CHANGES))]
            image = change(image, random.uniform(-strongest, strongest))
        image = functional.adjust_brightness(image, random.uniform(1 - self.light, 1 + self.light))
        image = functional.adjust_contrast(image, random.uniform(1 - self.light, 1 + self.light))
        return np.array(image)


def make_augmentation(name: Augment) -> Augmentation | None:
    """The augmentation of that name; None for `none`.

    `light` keeps at least 0.8 of the image's area and changes light by up to 0.1. `standard` keeps at least 0.5,
    changes light by up to 0.25 and adds one of 11 operations (turn, shear, shift, colour, sharpness, posterize,
    solarize, autocontrast, equalize).
    """
    if name == "none":
        return None
    if name == "light":
        return Augmentation(min_area=0.8, max_stretch=1.1, light=0.1)
    return Augmentation(min_area=0.5, max_stretch=4 / 3, light=0.25, any_change=True)


def _part(pixels: Pixels, limits: Augmentation, random: np.random.Generator) -> Pixels:
    """A random part of the image, at least one pixel a side."""
    sides = np.array(pixels.shape[:2])
    area = random.uniform(limits.min_area, 1)
    stretch = np.exp(random.uniform(-1, 1) * np.log(limits.max_stretch))
    shares = np.minimum(np.sqrt(area * np.array([stretch, 1 / stretch])), 1)
    shares = np.minimum(area / shares[::-1], 1)  # where a side had to be cut short, the other keeps the area
    kept = np.clip(np.ceil(sides * shares).astype(int), 1, sides)
    top, left = random.integers(0, sides - kept + 1)
    return pixels[top : top + kept[0], left : left + kept[1]]


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    turned: Image.Image = functional.rotate(image, degrees, interpolation=_BILINEAR, fill=_GRAY)
    return turned


def _sheared(image: Image.Image, degrees: float, along: int) -> Image.Image:
    shear = [0.0, 0.0]
    shear[along] = degrees
    sheared: Image.Image = functional.affine(
        image, angle=0.0, translate=[0, 0], scale=1.0, shear=shear, interpolation=_BILINEAR, fill=_GRAY
    )
    return sheared


def _shifted(image: Image.Image, share: float, along: int) -> Image.Image:
    shift = [0, 0]
    shift[along] = round(share * image.size[along])
    shifted: Image.Image = functional.affine(image, angle=0.0, translate=shift, scale=1.0, shear=[0.0, 0.0], fill=_GRAY)
    return shifted


# Each with its strongest setting; a strength is drawn from minus that to that. Two take none.
# Source: Mueller and Hutter, TrivialAugment (2021), the operations; the strengths are about half of "Wide".
_CHANGES: tuple[tuple[Change, float], ...] = (
    (_turned, 20.0),
    (lambda image, degrees: _sheared(image, degrees, 0), 15.0),
    (lambda image, degrees: _sheared(image, degrees, 1), 15.0),
    (lambda image, share: _shifted(image, share, 0), 0.15),
    (lambda image, share: _shifted(image, share, 1), 0.15),
    (lambda image, more: functional.adjust_saturation(image, 1 + more), 0.5),
    (lambda image, more: functional.adjust_sharpness(image, 1 + more), 0.9),
    (lambda image, fewer: functional.posterize(image, 8 - round(abs(fewer))), 4.0),
    (lambda image, darker: functional.solarize(image, 255 - abs(darker)), 127.0),
    (lambda image, _: functional.autocontrast(image), 0.0),
    (lambda image, _: functional.equalize(image), 0.0),
)
