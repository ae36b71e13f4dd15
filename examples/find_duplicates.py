"""Find images that look alike, by the embeddings of a model.

    python find_duplicates.py photos.onnx photos/ more/

Two images belong together if the cosine of their embeddings is at least `--threshold`; groups are chains of these.
The embedding says what the network sees: copies that were resized, compressed again or slightly cropped are close, and
so are different images of the same thing from the same place. The groups are suggestions: nothing is deleted. With
EfficientNet-Lite0, copies of 20 photographs (half size, JPEG quality 40, a tenth cropped, mirrored, brighter) had a
cosine of 0.81 or more, 50 photographs of different things 0.48 or less, but small grey portraits of dogs and cats up
to 0.89.

Every image is compared with every other, in blocks: apart from a block, memory holds one embedding per image (5 KB for
EfficientNet-Lite0). Exit code 0; 1 if the model cannot be used or has no embeddings, or if there is no image; 3 if a
file could not be read.
"""

import argparse
import itertools
import os
import signal
import sys
from pathlib import Path

import numpy as np

from tl_infer import Classifier, ImageError, TlError


def files(folders):
    """Every file below the folders, except hidden ones."""
    for folder in folders:
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder}: expected a folder")
        for parent, folders_below, names in os.walk(folder):
            folders_below[:] = sorted(name for name in folders_below if not name.startswith("."))
            yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def embeddings(classifier, paths):
    """The paths that could be read, their embeddings as unit vectors, float32 (N, D), and how many could not."""
    found, rows, failed = [], [], 0
    names, to_classify = itertools.tee(paths)
    for path, result in zip(names, classifier.classify_many(to_classify, embedding=True), strict=True):
        if isinstance(result, ImageError):
            print(f"{str(path)!r}: {result.reason}", file=sys.stderr)
            failed += 1
        else:
            found.append(path)
            rows.append(result.embedding / max(float(np.linalg.norm(result.embedding)), 1e-12))
    return found, np.array(rows, np.float32), failed


def alike(vectors, threshold, block):
    """Pairs of rows and their cosine, if it is at least the threshold."""
    for top in range(0, len(vectors), block):
        for left in range(top, len(vectors), block):
            cosines = vectors[top : top + block] @ vectors[left : left + block].T
            for i, j in np.argwhere(cosines >= threshold):
                if top + i < left + j:
                    yield int(top + i), int(left + j), float(cosines[i, j])


def groups(count, pairs):
    """Groups of rows that chains of pairs connect, each row with its highest cosine."""
    parent, best = list(range(count)), [0.0] * count

    def root(row):
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for i, j, cosine in pairs:
        best[i], best[j] = max(best[i], cosine), max(best[j], cosine)
        parent[max(root(i), root(j))] = min(root(i), root(j))
    members = {}
    for row in range(count):
        members.setdefault(root(row), []).append((row, best[row]))
    return [group for group in members.values() if len(group) > 1]


def main():
    """Parse the command line, compare and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--threshold", type=float, default=0.9, help="cosine, 0 to 1 (default 0.9)")
    parser.add_argument("--block", type=int, default=1024, help="images compared at a time (default 1024)")
    options = parser.parse_args()
    if not 0 < options.threshold <= 1:
        parser.error(f"--threshold: found {options.threshold}, expected above 0, at most 1")
    if options.block < 1:
        parser.error(f"--block: found {options.block}, expected 1 or more")
    # There is nothing to clean up: Ctrl-C, or `| head` that has seen enough, just ends it.
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        paths, vectors, failed = embeddings(Classifier(options.model, for_many=True), files(options.folders))
    except (TlError, OSError) as error:
        print(f"find_duplicates: {error}", file=sys.stderr)
        return 1
    if not paths:
        print("find_duplicates: no image could be read", file=sys.stderr)
        return 1
    found = groups(len(paths), alike(vectors, options.threshold, options.block))
    for number, group in enumerate(found, start=1):
        print(f"group {number}: {len(group)} images")
        for row, cosine in group:
            print(f"  {cosine:.3f}  {str(paths[row])!r}")
    print(f"{len(paths)} images, {len(found)} groups", file=sys.stderr)
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
