"""Give the sources a new version: __version__, CITATION.cff, and the changelog's Unreleased becomes that version.

    python scripts/cut_release.py 0.2.0

Refuses a version that is not newer, or a changelog without entries. `make release VERSION=0.2.0` goes on from there.
"""

import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE, CITATION, CHANGELOG = ROOT / "infer/tl_infer/__init__.py", ROOT / "CITATION.cff", ROOT / "CHANGELOG.md"
UNRELEASED = "## Unreleased\n"


def numbers(version: str) -> tuple[int, ...]:
    """The three numbers of a version."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise SystemExit(f"version: found {version}, expected three numbers such as 0.2.0")
    return tuple(map(int, version.split(".")))


def replaced(path: Path, pattern: str, value: str) -> str:
    """The file's text with the one match of the pattern's group replaced."""
    text = path.read_text(encoding="utf-8")
    changed, count = re.subn(pattern, lambda match: match[0].replace(match[1], value), text, flags=re.MULTILINE)
    if count != 1:
        raise SystemExit(f"{path}: found {count} lines like {pattern}, expected one")
    return changed


def main() -> None:
    """Change the three files, or none."""
    new = sys.argv[1] if len(sys.argv) == 2 else ""
    (old,) = re.findall(r'^__version__ = "(.+)"$', PACKAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if numbers(new) <= numbers(old):
        raise SystemExit(f"version: found {new}, expected one after {old}")
    changelog = CHANGELOG.read_text(encoding="utf-8")
    _, _, rest = changelog.partition(UNRELEASED)
    if not rest.partition("\n## ")[0].strip():
        raise SystemExit(f"{CHANGELOG}: nothing under Unreleased, so there is nothing to release")
    today = datetime.datetime.now(datetime.UTC).date()
    texts = {
        PACKAGE: replaced(PACKAGE, r'^__version__ = "(.+)"$', new),
        CITATION: replaced(CITATION, r"^version: (.+)$", new),
        CHANGELOG: changelog.replace(UNRELEASED, f"{UNRELEASED}\n## {new} ({today})\n", 1),
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{old} -> {new}\n")


if __name__ == "__main__":
    main()
