"""Install a wheel into a new environment with its own dependencies only, and use it as a stranger would.

    python scripts/try_wheel.py dist/tl_toolkit-0.2.0-py3-none-any.whl build/release/clean

The model and the image that it classifies are made here, by the environment that runs this.
"""

import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
FORBIDDEN = ("torch", "torchvision", "timm", "onnx", "scipy")


def run(*command: str | Path) -> str:
    """What the command prints; ends this program where the command fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def make_model(folder: Path) -> tuple[Path, Path]:
    """A model file that tells red, green and blue apart, with golden samples; and a red image."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import onnx_bytes  # what the tests use

    model, image = folder / "colors.onnx", folder / "red.png"
    model.write_bytes(onnx_bytes.color_model(onnx_bytes.abstaining_spec(0.9), golden=onnx_bytes.golden_set()))
    Image.new("RGB", (8, 6), (255, 0, 0)).save(image)
    return model, image


def main() -> None:
    """Install, and run the program and the class."""
    wheel, folder = map(Path, sys.argv[1:])
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    installed = run(folder / "bin/pip", "list", "--format", "freeze")
    if found := [name for name in FORBIDDEN if f"\n{name}==" in f"\n{installed}"]:
        raise SystemExit(f"{wheel}: installs {', '.join(found)}, which classifying must not need")
    model, image = make_model(folder)
    program = folder / "bin/tl-infer"
    lines = [
        run(program, "--version"),
        run(program, model, "--self-test"),
        run(program, model, image),
        run(folder / "bin/python", "-c", f"import tl_infer; print(tl_infer.Classifier({str(model)!r}).labels)"),
    ]
    if "red" not in lines[2]:
        raise SystemExit(f"{program}: found {lines[2]}, expected red")
    sys.stdout.write("\n".join([*lines, f"{wheel}: installed and run; {len(installed.split())} packages", ""]))


if __name__ == "__main__":
    main()
