"""Putting a model file into a page of its own, which opens from disk, needs no network and sends nothing."""

import base64
import gzip
import hashlib
import html
import re
from pathlib import Path

from tl_export.page.runtime import LICENCE, BrowserRuntime

_TEMPLATE = Path(__file__).with_name("template")


def classifier_page(model: bytes, title: str, runtime: BrowserRuntime) -> bytes:
    """One HTML file that classifies with a model.

    Args:
        model: a file of tl-export.
        title: of the page.
        runtime: for browsers.

    Returns:
        The page, UTF-8.

    """
    script = _part("page.js")
    parts = {
        "TITLE": html.escape(title),
        "STYLE": _part("page.css"),
        "SCRIPT": script,
        "SCRIPT_DIGEST": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        "LICENCE": LICENCE,
        "MODEL": _packed(model),
        "RUNTIME_LOADER": _packed(runtime.loader),
        "RUNTIME_WASM": _packed(runtime.wasm),
    }
    # One pass, so that nothing that is put in is itself searched.
    page = re.sub(r"@([A-Z_]+)@", lambda found: parts[found[1]], _part("page.html"))
    return page.encode()


def _part(name: str) -> str:
    return (_TEMPLATE / name).read_text(encoding="utf-8")


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")
