"""Take the picture that the README shows: the report of a run beside the page that its model was exported to.

    python scripts/make_pictures.py runs/photos photos.html docs/pictures/overview.png

Needs Chromium (`--browser`) and pillow. The page opens as a visitor sees it, after it has checked its golden samples.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

HEIGHT_PX = 900
_WAIT_MS = 30_000  # of the browser's own time, for the page's golden samples


def screenshot(browser: str, file: Path, width_px: int, folder: Path) -> Image.Image:
    """The top of an HTML file."""
    target = folder / f"{file.stem}.png"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1",
        f"--window-size={width_px},{HEIGHT_PX}", f"--virtual-time-budget={_WAIT_MS}", f"--screenshot={target}",
        file.absolute().as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return Image.open(target).convert("RGB")


def main() -> None:
    """Take both, put them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--browser", default="chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report = screenshot(options.browser, options.run / "report.html", 1000, Path(name))
        page = screenshot(options.browser, options.page, 600, Path(name))
    both = Image.new("RGB", (report.width + page.width + 20, HEIGHT_PX), "#888888")
    both.paste(report, (0, 0))
    both.paste(page, (report.width + 20, 0))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    both.quantize(128).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
