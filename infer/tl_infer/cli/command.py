"""The command line of `tl-infer`."""

import re
import sys
from pathlib import Path
from typing import Any

import click

from tl_infer.cli.console import run_program, work_begins
from tl_infer.cli.limit_options import BIT_DEPTH, COUNT, SECONDS, SHARE, max_pixels, max_scans, max_side, take_limits
from tl_infer.cli.options import Options
from tl_infer.limits import DEFAULT_LIMITS, Limits, formats_named, parse_formats

_EPILOG = """\b
Exit codes: 0 all classified, 1 fatal, 2 wrong usage, 3 some files failed,
130 interrupted by Ctrl-C, 143 terminated; after both, --resume continues.

\b
Examples:
  tl-infer model.onnx photo.jpg
  tl-infer model.onnx photos/ --out results.csv
  tl-infer model.onnx 'photos/**/*.jpg' --out results.jsonl --top-k all
  find photos -name '*.png' -print0 | tl-infer model.onnx - -0 --out r.csv
  tl-infer model.onnx photos/ --sort-into sorted --move --threshold 0.9
  tl-infer model.onnx --info --self-test
  tl-infer serve model.onnx      a service; see tl-infer serve --help
"""


class _TopK(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "all" or isinstance(value, int):
            return "all" if value == "all" else int(value)
        if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) == 0:
            self.fail(f"{value!r} is neither a number from 1 nor 'all'; -1 or 0 are not in the range.", param, ctx)
        return int(value)


def _or_none(_context: click.Context, _parameter: click.Parameter, value: int | str) -> int | None:
    return None if isinstance(value, str) else value


def _check_out(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is None:
        return None
    is_table = value.suffix.lower() in (".csv", ".jsonl")
    if context.params["engine"] == "ray":
        if is_table or value.is_file():
            raise click.BadParameter(f"{value}: with --engine ray it is a folder.")
    elif not is_table:
        raise click.BadParameter(f"{value}: the name must end in .csv or .jsonl.")
    elif value.is_dir():
        raise click.BadParameter(f"File '{value}' is a directory.")
    return value


def _check_npy(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() != ".npy":
        raise click.BadParameter(f"{value}: the name must end in .npy.")
    return value


def _check_sha256(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise click.BadParameter(f"{value[:80]!r} is not a SHA-256, expected 64 hexadecimal digits.")
    return value


def _parse_formats(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    try:
        return Limits(formats=parse_formats(value)).formats
    except ValueError as error:
        raise click.BadParameter(str(error).removeprefix("formats: ")) from error


def _with_named(formats: tuple[str, ...], paths: tuple[str, ...]) -> tuple[str, ...]:
    """Whoever writes `scan.tga` asks for TGA; not whoever names a folder or a list that holds one."""
    asked = set(formats)
    for name in formats_named(paths) - asked:
        try:
            Limits(formats=(name,))
        except ValueError:  # its library is missing; the row of the file says so
            continue
        asked.add(name)
    return parse_formats(",".join(asked))


def _check_paths(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """An empty argument is an unset variable of the shell; as a path it would be the current folder."""
    if "" in value:
        raise click.BadParameter("an empty path was given; to classify the current folder give '.'.")
    if value.count("-") > 1:
        raise click.BadParameter("'-' (standard input) can be given once.")
    return value


class _Model(click.Path):
    """A path, or a text that begins with `hf://`, which a Path would change."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if str(value).startswith("hf://") else super().convert(value, param, ctx)


_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tl-toolkit", prog_name="tl-infer")
@click.argument("model", type=_Model(path_type=Path))
@click.argument("paths", metavar="PATH...", nargs=-1, callback=_check_paths)
@click.option("-0", "--null", "nul", is_flag=True, help="Paths on standard input are separated by NUL.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", is_eager=True, show_default=True,
              help="ray classifies on a cluster of Ray, or on one that it starts here; --out is then a folder, which "
                   "gets parquet files.")  # fmt: skip
@click.option("--ray-address", metavar="ADDRESS", help="Of the cluster, as ray.init takes it.")
@click.option("--out", type=_PATH, metavar="FILE", callback=_check_out,
              help="Write rows to FILE.csv or FILE.jsonl; FILE.run.json beside it says what made them.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing --out or --embeddings.")
@click.option("--resume", is_flag=True, help="Continue --out: files that have a row are skipped.")
@click.option("--top-k", type=_TopK(), metavar="N|all", default=1, show_default=True, callback=_or_none,
              help="How many classes to name; all gives every probability, in CSV a column per class. "
                   "From 2 on, also for images the model abstains on.")  # fmt: skip
@click.option("--threshold", type=SHARE,
              help="Abstain as unsure below this probability; 0 never does. Of several labels, give those that "
                   "reach it.  [default: the model's own]")  # fmt: skip
@click.option("--min-familiarity", type=SHARE,
              help="Abstain as unfamiliar below this familiarity, the share of training images that are less familiar; "
                   "0 never does.  [default: the model's own]")  # fmt: skip
@click.option("--sort-into", metavar="DIR", type=_PATH,
              help="Put each file into the folder of its class in DIR, or into _unsure, _unfamiliar or "
                   "_failed.")  # fmt: skip
@click.option("--copy", "copy", is_flag=True, help="With --sort-into: copy, which is the default.")
@click.option("--move", is_flag=True, help="With --sort-into: move; files that failed stay where they are.")
@click.option("--link", is_flag=True, help="With --sort-into: make symbolic links.")
@click.option("--heatmaps", metavar="DIR", type=_PATH,
              help="Write each image to DIR, overlaid with the class activation map; of several labels, once for "
                   "each.")  # fmt: skip
@click.option("--embeddings", metavar="FILE.npy", type=_FILE, callback=_check_npy,
              help="Write float32 [files, D], rows in the order of --out, NaN for failed files.")  # fmt: skip
@click.option("--info", is_flag=True, help="Show what the model says about itself; takes no PATH.")
@click.option("--self-test", is_flag=True, help="Run the model's golden samples; takes no PATH.")
@click.option("--sha256", metavar="HEX", callback=_check_sha256, help="Refuse a model with another SHA-256.")
@click.option("--provider", "providers", metavar="NAME", multiple=True,
              help="cpu, cuda, coreml, openvino or directml, if installed; repeatable.  [default: cpu]")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 1024),
              help="Processors to use; with --engine ray those of one actor.  [default: all; 1]")  # fmt: skip
@click.option("--fast-decode", is_flag=True,
              help="Decode large JPEGs at a reduced scale: faster, and the answers change a little.")  # fmt: skip
@max_pixels
@click.option("--max-file-size", type=COUNT, metavar="BYTES", default=DEFAULT_LIMITS.max_file_bytes,
              show_default=True, help="Refuse larger files.")  # fmt: skip
@max_side
@max_scans
@click.option("--formats", metavar="A,B", default="", callback=_parse_formats,
              help="Also read images of these formats: avif, heic (needs the extra heif), jpeg2000, "
                   "pnm (PPM, PGM, PBM), tga; a PATH that ends in .avif, .tga, ... asks for it by itself.")  # fmt: skip
@click.option("--isolate", is_flag=True,
              help="Decode in processes of their own, for files from strangers: one that crashes or takes more than "
                   "2 GB of memory is an error, and the others are classified.")  # fmt: skip
@click.option("--max-seconds", type=SECONDS, default=DEFAULT_LIMITS.max_seconds, show_default=True,
              help="With --isolate: how long decoding one image may take.")  # fmt: skip
@click.option("--bit-depth", type=BIT_DEPTH, metavar="BITS",
              help="Significant bits in 16-bit images, e.g. 12 for a 12-bit camera.  "
                   "[default: the model's own, or 16]")  # fmt: skip
def command(**options: Any) -> int:
    """Classify images with MODEL, a file made by tl-export.

    MODEL may be hf://ORG/REPO@COMMIT/FILE.onnx#sha256=DIGEST, a file on the Hugging Face hub.
    Each PATH is an image, a folder, a quoted pattern ('photos/*.jpg'), or - for paths on standard input, one file
    each. Folders are read with all their sub-folders, in natural order, skipping names that begin with a dot. Every
    file gives one row; a file that is not an image gives a row with the error, and the others are classified. Rows go
    to standard output or to --out, progress and the summary to standard error.
    """
    options["formats"] = _with_named(options["formats"], options["paths"])
    limits = take_limits(options)
    try:
        checked = Options(limits=limits, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from tl_infer.cli.program import run  # here, because `--help` does not wait for numpy and onnxruntime

    work_begins()
    return run(checked)


def main() -> None:
    """Run `tl-infer`; its entry point is in `start`.

    A first argument `serve` asks for the service; a model file of that name is `./serve`.
    """
    if sys.argv[1:2] == ["serve"]:
        from tl_infer.cli.serving import command as serving  # here, because most runs do without

        run_program(serving, "tl-infer serve", sys.argv[2:])
    run_program(command)
