"""Run the commands of docs/tutorial.md, as they stand there, and make its pictures of what they left.

    python scripts/run_tutorial.py build/tutorial

About four minutes on two cores. The commands print what the page quotes; the pictures go to docs/pictures.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE, PICTURES = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "pictures"
FIGURES = {
    "runs/chapter/classification.png": "tutorial-chapter-predictions.png",
    "runs/frozen/classification.png": "tutorial-frozen-predictions.png",
    "runs/named/classification.png": "tutorial-named-predictions.png",
}
HEAT_MAPS = "tutorial-heat-maps.png"
CLASSES = ("dog", "cat")
SHOWN = 4  # of each class
SIDE_PX = 150
MAX_BYTES = 100_000


def commands() -> list[list[str]]:
    """The lines of the page that call our programs."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
    lines = blocks.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("tl-")]


def run(command: list[str], folder: Path) -> None:
    """Run it as the module of that program, so that the sources need not be installed."""
    sys.stdout.write(f"$ {shlex.join(command)}\n")
    sys.stdout.flush()
    module = command[0].replace("-", "_")
    subprocess.run([sys.executable, "-m", module, *command[1:]], cwd=folder, check=True)


def save(image: Image.Image, name: str) -> None:
    """A PNG of few colours, below the size that a page should ask for."""
    path = PICTURES / name
    image.convert("RGB").quantize(48, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{path}: {path.stat().st_size} bytes, expected at most {MAX_BYTES}")


def heat_maps(folder: Path) -> Image.Image:
    """The first images of each class, enlarged."""
    sheet = Image.new("RGB", (SHOWN * (SIDE_PX + 6) - 6, len(CLASSES) * (SIDE_PX + 6) - 6), "white")
    for row, name in enumerate(CLASSES):
        for column, path in enumerate(sorted(folder.glob(f"{name}-*"))[:SHOWN]):
            drawn = Image.open(path).resize((SIDE_PX, SIDE_PX))
            sheet.paste(drawn, (column * (SIDE_PX + 6), row * (SIDE_PX + 6)))
    return sheet


def main() -> None:
    """Run everything, then take the pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands():
        run(command, folder)
    for source, name in FIGURES.items():
        save(Image.open(folder / source), name)
    save(heat_maps(folder / "maps"), HEAT_MAPS)


if __name__ == "__main__":
    main()
