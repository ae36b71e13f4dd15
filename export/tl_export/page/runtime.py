"""The runtime for browsers: onnxruntime-web from npm, beside this module if it was built so, else in the cache.

npm checks the digest of the package, which `package-lock.json` has; what is used is checked each time, as a cache may
have been changed since.
"""

import dataclasses
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tl_export.errors import ExportError
from tl_infer.errors import first_line
from tl_infer.system.files import read_bytes, write_bytes
from tl_train.downloads import cache_folder
from tl_train.progress import Progress

VERSION = "1.30.0"

_BESIDE = Path(__file__).parent
_MAX_BYTES = 200_000_000
_LOADER, _WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_SHA256 = {
    _LOADER: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    _WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}

LICENCE = f"""onnxruntime-web {VERSION}, https://github.com/microsoft/onnxruntime

MIT License. Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class BrowserRuntime:
    """The two files of onnxruntime-web that a page needs.

    Attributes:
        loader: an ECMAScript module.
        wasm: what it loads.

    """

    loader: bytes
    wasm: bytes


def browser_runtime(progress: Progress) -> BrowserRuntime:
    """The runtime, fetched with npm when it is wanted for the first time.

    Raises:
        ExportError: npm is missing or fails, or the files are not those of this version.
        OutputPathError: the cache cannot be written.

    """
    cached = cache_folder() / f"onnxruntime-web-{VERSION}"
    for folder in (_BESIDE / "runtime", cached):
        if (folder / _LOADER).is_file() and (folder / _WASM).is_file():
            return _read(folder)
    progress.note(f"Fetching onnxruntime-web {VERSION} with npm, once")
    fetch(cached)
    return _read(cached)


def fetch(to: Path) -> None:
    """Put the runtime into a folder.

    Raises:
        ExportError: npm is missing or fails.
        OutputPathError: the folder cannot be written.

    """
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(
            f"a page needs onnxruntime-web {VERSION} from npm, which is not found; install Node.js 20 or newer"
        )
    with tempfile.TemporaryDirectory() as work:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_BESIDE / name, work)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise ExportError(f"npm could not install onnxruntime-web {VERSION}: {_last_line(done.stderr)}")
        to.mkdir(parents=True, exist_ok=True)
        for name in (_LOADER, _WASM):
            fetched = Path(work, "node_modules", "onnxruntime-web", "dist", name)
            write_bytes(to / name, read_bytes(fetched, _MAX_BYTES))


def _read(folder: Path) -> BrowserRuntime:
    try:
        runtime = BrowserRuntime(*(read_bytes(folder / name, _MAX_BYTES) for name in (_LOADER, _WASM)))
    except OSError as error:
        raise ExportError(
            f"{folder}: cannot be read: {first_line(error)}; remove it, and it is fetched again"
        ) from error
    for name, data in ((_LOADER, runtime.loader), (_WASM, runtime.wasm)):
        found = hashlib.sha256(data).hexdigest()
        if found != _SHA256[name]:
            raise ExportError(
                f"{folder / name}: has SHA-256 {found}, expected {_SHA256[name]}, that of onnxruntime-web {VERSION}; "
                f"remove {folder}, and it is fetched again"
            )
    return runtime


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
