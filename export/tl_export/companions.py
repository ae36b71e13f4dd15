"""The files beside a model file, its proof and its card: where they are, and whether they belong to it.

The proof has the digest of the model, the card has those of both, so that one of another export does not pass for its
neighbour's: a kill between two renames, or a copy of one file alone, leaves such a mixture.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from tl_export.errors import VerificationError
from tl_infer.errors import first_line
from tl_infer.system.files import read_bytes

_MAX_BYTES = 50_000_000
_LINE = re.compile(r"^    ([0-9a-f]{64})  (.+)$", re.MULTILINE)


def parity_path(out: Path) -> Path:
    """Where the proof of the model file `out` is written."""
    return out.with_name(f"{out.stem}.parity.json")


def card_path(out: Path) -> Path:
    """Where the model card of the model file `out` is written."""
    return out.with_name(f"{out.stem}.md")


def digest_lines(digests: Mapping[str, str]) -> str:
    """The end of a card: file name -> SHA-256, as `sha256sum` writes and checks them."""
    lines = [f"    {digest}  {json.dumps(name, ensure_ascii=False)[1:-1]}" for name, digest in digests.items()]
    return "\n## Files\n\nSHA-256 of the files that this card belongs to:\n\n" + "\n".join(lines) + "\n"


def check_companions(model: Path, sha256: str) -> tuple[str, ...]:
    """Names of the files beside a model; each belongs to it. A model may well be alone.

    Args:
        model: the file.
        sha256: its digest.

    Raises:
        VerificationError: one belongs to another export, or is damaged; names it.

    """
    found = []
    parity, card = parity_path(model), card_path(model)
    digests = {model.suffix: sha256}
    if parity.exists():
        data = _read(parity)
        _expect(_model_in(data, parity), sha256, parity, model)
        digests[".json"] = hashlib.sha256(data).hexdigest()
        found.append(parity.name)
    if card.exists():
        named = {Path(name).suffix: digest for digest, name in _LINE.findall(_read(card).decode(errors="replace"))}
        for suffix, digest in digests.items() if named else ():  # a text of the user's may have the card's name
            _expect(named.get(suffix), digest, card, parity if suffix == ".json" else model)
        found += [card.name] if named else []
    return tuple(found)


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, _MAX_BYTES)
    except OSError as error:
        raise VerificationError(f"{path}: cannot be read: {first_line(error)}") from error


def _model_in(parity: bytes, path: Path) -> object:
    try:
        document = json.loads(parity)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{path}: not the proof of a model: {first_line(error)}") from error
    return document.get("model_sha256") if isinstance(document, dict) else None


def _expect(found: object, digest: str, path: Path, other: Path) -> None:
    if found != digest:
        named = f"SHA-256 {str(found)[:64]}" if found else "no SHA-256"
        raise VerificationError(
            f"{path}: belongs to another export: it has {named} of {other.name}, which is {digest}; "
            "export the model again with --overwrite"
        )
