"""The process that parses one untrusted `.mat` file; run by `mat_file`, imports nothing of ours.

Arguments: memory in bytes, processor time in seconds, names of variables. The file comes on stdin. On stdout: a line
of JSON, `{"shapes": [[rows, columns], ...]}` or `{"error": text}`, then the variables' bytes, row by row.
"""

import io
import json
import resource
import sys

MAX_HEADER_BYTES = 1 << 16
MAX_OUTPUT_BYTES = 1 << 30


def main(memory_bytes: int, cpu_s: int, keys: list[str]) -> None:
    """Limit this process, then read and answer."""
    import scipy.io

    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, MAX_OUTPUT_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    try:
        file = io.BytesIO(sys.stdin.buffer.read())
        found = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(file)}
        error = _complaint(found, keys)
        arrays = [] if error else list(map(scipy.io.loadmat(file, variable_names=keys).__getitem__, keys))
        for key, array in zip(keys, arrays, strict=False):  # no arrays where there is an error already
            error = error or _wrong_kind(key, str(array.dtype), array.ndim)
        header: dict[str, object] = {"error": error} if error else {"shapes": [array.shape for array in arrays]}
        contents = [] if error else [array.tobytes() for array in arrays]
    except MemoryError:
        header, contents = {"error": f"needs more than {memory_bytes} bytes of memory; use a folder of images"}, []
    except NotImplementedError:
        header, contents = {"error": "in the format of MATLAB 7.3 (HDF5); save it again with '-v7'"}, []
    except Exception as error:  # noqa: BLE001 - the reader raises anything on files that are none of its own
        text = " ".join(str(error).split())[:200] or type(error).__name__
        header, contents = {"error": f"cannot be read as a .mat file: {text}"}, []
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
    for content in contents:
        sys.stdout.buffer.write(content)


def _complaint(found: dict[str, tuple[tuple[int, ...], str]], keys: list[str]) -> str:
    """What is wrong with the variables, empty when nothing is."""
    holds = ", ".join(f"{name} ({'x'.join(map(str, shape))} {kind})" for name, (shape, kind) in found.items())
    for key in keys:
        if key not in found:
            return f"no variable '{key}'; the file holds {holds[:500] or 'none'}; name them with --mat-keys"
        shape, kind = found[key]
        # Files of MATLAB 4 say double of everything here; what they hold is known after reading.
        error = _wrong_kind(key, "uint8" if kind == "double" else kind, len(shape))
        if error:
            return error
    return ""


def _wrong_kind(key: str, kind: str, dimensions: int) -> str:
    if kind == "uint8" and dimensions == 2:
        return ""
    return f"variable '{key}' is {kind} with {dimensions} dimensions, expected uint8 with 2, an image a column"


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
