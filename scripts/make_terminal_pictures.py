"""Pictures of the three programs at a terminal: they are run at one, and what stands there in the end is drawn as SVG.

    python scripts/make_terminal_pictures.py build/terminal

Needs the dependency group `docs` (pyte). The pictures go to docs/pictures, and ask no server for a font.
"""

import errno
import fcntl
import io
import itertools
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyte
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
COLUMNS, ROWS = 80, 200
COMMANDS = (
    "tl-train digits --size 64 --mode head --out runs/digits",
    "tl-export runs/digits --out digits.onnx",
    "tl-infer digits.onnx runs/digits/held_out/8 --threshold 0.9",
)
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*|<!--.*?-->\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
NAMES = {"brown": "yellow", "default": "default"}  # what pyte calls otherwise


def shown_by(command: str, folder: Path) -> pyte.Screen:
    """The screen after the program has ended."""
    name, *arguments = command.split()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-m", name.replace("-", "_"), *arguments], cwd=folder, stdin=theirs, stdout=theirs,
        stderr=theirs, env=environment | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    try:
        while part := os.read(ours, 65536):
            stream.feed(part)
    except OSError as error:  # how Linux says that the other side is closed
        if error.errno != errno.EIO:
            raise
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit(f"{command}: exit code {process.returncode}\n" + "\n".join(screen.display).rstrip())
    return screen


def style_of(char: pyte.screens.Char) -> str:
    """Colour and weight as rich calls them."""
    color = NAMES.get(char.fg, char.fg)
    color = f"#{color}" if re.fullmatch("[0-9a-f]{6}", color) else color
    return f"{'bold ' if char.bold else ''}{color}"


def text_of(screen: pyte.Screen) -> Text:
    """What stands on the screen, with its colours."""
    lines = []
    for row in range(ROWS):
        line = Text()
        chars = [screen.buffer[row][column] for column in range(COLUMNS)]
        for style, run in itertools.groupby(chars, style_of):
            line.append("".join(char.data for char in run), style=style)
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return Text("\n").join(lines)


def draw(command: str, folder: Path) -> None:
    """Run it, and write its picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    console.print(text_of(shown_by(command, folder)), soft_wrap=True)
    name = command.split()[0]
    svg = console.export_svg(title=name, code_format=FORMAT, unique_id=name)
    if "http" in svg.replace("http://www.w3.org", ""):
        raise SystemExit(f"{name}: the picture names a server")
    (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")


def main() -> None:
    """All three, in the order in which they are used."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for command in COMMANDS:
        draw(command, folder)


if __name__ == "__main__":
    main()
