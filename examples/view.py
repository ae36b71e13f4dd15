"""Show images in the terminal, with what the model sees and where.

    python view.py photos.onnx photo.jpg ...

Shows the image, beside it the same image with the heatmap of the first class (yellow is strongest; omitted if the model
has none), and below them the label and the probabilities as bars. Needs a terminal with 24-bit colours and UTF-8; each
character is two pixels. Exit code 0; 1 if the model cannot be used; 3 if an image could not be read.
"""

import argparse
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tl_infer import Classifier, ImageError, TlError, load_image

GAP, BAR, CLASSES = 2, 30, 5


def rows_of(image, columns, lines):
    """A PIL image as lines of text, within so many columns and lines; a character's upper half is its foreground."""
    scale = min(columns / image.width, 2 * lines / image.height)
    width, height = max(1, int(image.width * scale)), max(2, int(image.height * scale) // 2 * 2)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BOX))
    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{r};{g};{b};48;2;{x};{y};{z}m▀"
            for (r, g, b), (x, y, z) in zip(upper.tolist(), lower.tolist(), strict=True)
        )
        yield "".join(cells) + "\x1b[0m"


def show(classifier, path, columns, lines):
    """Print one image."""
    pixels = load_image(path)
    result = classifier.classify(pixels, top_k=min(CLASSES, len(classifier.labels)))
    images = [Image.fromarray(pixels)]
    if classifier.has_heatmap:
        images.append(classifier.overlay(pixels, result.top[0].label))
    share = (columns - GAP * (len(images) - 1)) // len(images)
    for parts in zip(*(rows_of(image, share, lines) for image in images), strict=True):
        print((" " * GAP).join(parts))
    print(f"{str(path)!r}: {'not sure' if result.abstained else printable(', '.join(result.labels) or 'none')}")
    longest = max(len(printable(score.label)) for score in result.top)
    for score in result.top:
        bar = "█" * round(BAR * score.probability)
        print(f"  {printable(score.label):{longest}}  {bar:{BAR}}  {score.probability:6.1%}")


def printable(text):
    """Without characters that could control the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def main():
    """Parse the command line and show; the exit code."""
    size = shutil.get_terminal_size((100, 40))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--columns", type=int, default=size.columns, help="width (default: the terminal's)")
    parser.add_argument("--lines", type=int, default=max(4, size.lines - CLASSES - 4), help="height of the image")
    options = parser.parse_args()
    if options.columns < 20 or options.lines < 1:
        parser.error("expected at least 20 columns and 1 line")
    # There is nothing to clean up: Ctrl-C, or quitting a pager, just ends it.
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    failed = False
    try:
        classifier = Classifier(options.model)
        for path in options.images:
            try:
                show(classifier, path, options.columns, options.lines)
            except ImageError as error:
                print(f"{str(path)!r}: {error.reason}", file=sys.stderr)
                failed = True
    except TlError as error:
        print(f"view: {error}", file=sys.stderr)
        return 1
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
