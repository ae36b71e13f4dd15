"""Watch a folder and move each new image into a folder of its class.

    python watch_and_sort.py photos.onnx incoming/ sorted/

Looks every two seconds. A file is taken if its size and time were the same twice in a row; if a writer pauses for
longer, half an image cannot be decoded, and the file is tried again once it has changed. What cannot be read stays
where it is and is reported once. Images that the model abstains on go to `_unsure`. Nothing is ever overwritten: a
second `a.jpg` becomes `a (2).jpg`. Sub-folders, hidden files and links are left alone.

Ctrl-C (or SIGTERM) stops it after the current image, with exit code 0; 1 if the model or a folder cannot be used.
"""

import argparse
import re
import shutil
import signal
import sys
import threading
from pathlib import Path

from tl_infer import Classifier, ImageError, TlError


def files(folder):
    """Each regular file of the folder, with a stamp that changes when somebody writes to it."""
    for path in sorted(folder.iterdir()):
        try:
            status = path.lstat()
        except FileNotFoundError:  # removed in the meantime
            continue
        if not path.name.startswith(".") and path.is_file() and not path.is_symlink():
            yield path, (status.st_size, status.st_mtime_ns)


def move(path, folder):
    """Move a file into a folder without replacing any; its new path."""
    folder.mkdir(parents=True, exist_ok=True)
    target, number = folder / path.name, 1
    while True:
        try:
            target.touch(exist_ok=False)  # from here on the name is ours
            break
        except FileExistsError:
            number += 1
            target = folder / f"{path.stem} ({number}){path.suffix}"
    try:
        return Path(shutil.move(path, target))
    except OSError:
        target.unlink(missing_ok=True)
        raise


def folder_name(label):
    """A label as the name of a folder; no label in a model can lead elsewhere."""
    return "_unsure" if label is None else re.sub(r"[^\w .-]", "_", label).strip(". ") or "_"


def sort(classifier, paths, destination, stop):
    """Classify and move; stops between two images when told to."""
    for path, result in zip(paths, classifier.classify_many(paths), strict=True):
        if stop.is_set():
            return
        if isinstance(result, ImageError):
            print(f"{path.name!r} stays: {result.reason}", file=sys.stderr, flush=True)
            continue
        try:
            target = move(path, destination / folder_name(result.label))
        except FileNotFoundError:
            continue  # somebody else moved it
        print(f"{path.name!r} -> {str(target.relative_to(destination))!r} ({result.probability:.0%})", flush=True)


def watch(classifier, watched, destination, seconds, stop):
    """Look until `stop` is set."""
    before, tried = {}, {}
    while True:
        now = dict(files(watched))
        ready = [path for path, stamp in now.items() if before.get(path) == stamp and tried.get(path) != stamp]
        tried = {path: stamp for path, stamp in now.items() if tried.get(path) == stamp or path in ready}
        before = now
        sort(classifier, ready, destination, stop)
        if stop.wait(seconds):
            return


def main():
    """Parse the command line and watch; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("watched", type=Path, help="where images arrive")
    parser.add_argument("sorted", type=Path, help="parent of the folders of the classes")
    parser.add_argument("--seconds", type=float, default=2.0, help="between two looks (default 2)")
    options = parser.parse_args()
    if not 0 < options.seconds < threading.TIMEOUT_MAX:
        parser.error(f"--seconds: found {options.seconds}, expected above 0")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        classifier = Classifier(options.model, for_many=True)
        if classifier.gives_several:
            print(f"{options.model}: gives several labels, and an image has one folder", file=sys.stderr)
            return 1
        options.sorted.mkdir(parents=True, exist_ok=True)
        print(f"watching {options.watched}, Ctrl-C ends", file=sys.stderr, flush=True)
        watch(classifier, options.watched, options.sorted, options.seconds, stop)
    except (TlError, OSError) as error:
        print(f"watch_and_sort: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
