"""Real pictures: where the data beside the checkout lies, and shapes drawn here."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHARED = Path(__file__).parents[3] / "shared" / "data"


def draw_shape(shape: str, seed: int) -> Image.Image:
    """A circle, square or cross of random place, size and colour on a noisy ground, as a photo would have."""
    random = np.random.default_rng([seed, len(shape)])
    width, height = random.integers(40, 90, 2)
    image = Image.fromarray(random.integers(0, 60, (height, width, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    size = random.integers(20, 36)
    x, y = random.integers(0, (width - size, height - size))
    color = tuple(int(level) for level in random.integers(120, 256, 3))
    box = (x, y, x + size, y + size)
    if shape == "circle":
        draw.ellipse(box, fill=color)
    elif shape == "square":
        draw.rectangle(box, fill=color)
    else:
        draw.line((x, y, x + size, y + size), fill=color, width=6)
        draw.line((x, y + size, x + size, y), fill=color, width=6)
    return image


def draw_several(shapes: tuple[str, ...], present: tuple[bool, ...], seed: int) -> Image.Image:
    """Some of the shapes side by side, each in its own column; the columns of the others are empty."""
    picture = Image.new("RGB", (40 * len(shapes), 40))
    for place, (shape, is_there) in enumerate(zip(shapes, present, strict=True)):
        if is_there:
            picture.paste(draw_shape(shape, seed).resize((40, 40)), (40 * place, 0))
    return picture


def draw(folder: Path, shape: str, count: int, first: int = 0) -> None:
    """So many drawn shapes, in a folder that is made for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        draw_shape(shape, number).save(folder / f"{number}.png")
