"""The command line of `tl-infer serve`."""

from pathlib import Path
from typing import Any

import click

from tl_infer.cli.console import require_extra, work_begins
from tl_infer.cli.options import check_seconds
from tl_infer.limits import DEFAULT_LIMITS, FULL_DEPTH, MAX_SECONDS, MIN_DEPTH, Limits

_MODULES = ("starlette", "uvicorn", "prometheus_client", "python_multipart")
_LIMITS = {"max_pixels": "max_pixels", "max_side": "max_side_px", "max_scans": "max_scans", "bit_depth": "bit_depth",
           "isolate": "isolate", "max_seconds": "max_seconds"}  # fmt: skip
_RENAMED = {"max_request_size": "max_request_bytes", "max_held_size": "max_held_bytes",
            "header_timeout": "header_timeout_s", "body_timeout": "body_timeout_s",
            "answer_timeout": "answer_timeout_s", "stop_timeout": "stop_timeout_s"}  # fmt: skip
_COUNT = click.IntRange(min=1)
_SECONDS = click.FloatRange(0, MAX_SECONDS, min_open=True)

_EPILOG = """\b
SIGHUP reads the model files again: a new one answers once its golden samples
passed, else the earlier one goes on. SIGTERM and Ctrl-C stop when all
requests are answered.

\b
Examples:
  tl-infer serve photos.onnx
  curl --data-binary @photo.jpg 'http://127.0.0.1:8000/classify?top_k=3'
  curl -F a=@a.jpg -F b=@b.jpg http://127.0.0.1:8000/classify
"""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Where to listen; 0.0.0.0 for all addresses of this machine.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Processors to use.  [default: all]")
@click.option("--queue", type=_COUNT, default=64, show_default=True,
              help="How many images may wait; further ones get 503 with Retry-After.")  # fmt: skip
@click.option("--max-request-size", type=_COUNT, metavar="BYTES", default=20_000_000, show_default=True,
              help="Refuse larger requests.")  # fmt: skip
@click.option("--max-held-size", type=_COUNT, metavar="BYTES", default=500_000_000, show_default=True,
              help="Of all requests together; further ones get 503.")  # fmt: skip
@click.option("--max-connections", type=_COUNT, default=500, show_default=True,
              help="How many clients may be connected.")  # fmt: skip
@click.option("--header-timeout", type=_SECONDS, default=10.0, show_default=True,
              help="Seconds for a client to send the head of a request.")  # fmt: skip
@click.option("--body-timeout", type=_SECONDS, default=30.0, show_default=True,
              help="Seconds for a client to send the body, or to read the answer.")  # fmt: skip
@click.option("--answer-timeout", type=_SECONDS, default=30.0, show_default=True,
              help="Seconds until a request that is there gets 503 instead of an answer.")  # fmt: skip
@click.option("--stop-timeout", type=_SECONDS, default=30.0, show_default=True,
              help="Seconds that requests under way are waited for when stopping.")  # fmt: skip
@click.option("--max-pixels", type=_COUNT, default=DEFAULT_LIMITS.max_pixels, show_default=True,
              help="Refuse images with more pixels.")  # fmt: skip
@click.option("--max-side", type=_COUNT, metavar="PIXELS", default=DEFAULT_LIMITS.max_side_px, show_default=True,
              help="Refuse images wider or taller than this.")  # fmt: skip
@click.option("--max-scans", type=_COUNT, default=DEFAULT_LIMITS.max_scans, show_default=True,
              help="Refuse progressive JPEGs with more scans.")  # fmt: skip
@click.option("--max-seconds", type=_SECONDS, default=DEFAULT_LIMITS.max_seconds, show_default=True,
              help="How long decoding one image may take; needs isolation.")  # fmt: skip
@click.option("--isolate/--no-isolate", default=True, show_default=True,
              help="Decode in processes of their own, which may crash, hang or need too much memory without harm to "
                   "the service. Leave it on unless all clients are your own.")  # fmt: skip
@click.option("--bit-depth", type=click.IntRange(MIN_DEPTH, FULL_DEPTH), metavar="BITS",
              help="Significant bits in 16-bit images.  [default: the model's own, or 16]")  # fmt: skip
def command(**options: Any) -> None:
    """Answer requests over HTTP with MODEL, a file made by tl-export, or several.

    POST /classify takes an image as the body, or several as multipart/form-data; the Open Inference Protocol v2 is
    below /v2; /metrics is for Prometheus, /openapi.json describes it all. A model is called by its file name without
    the suffix. Log lines go to standard error, a JSON object each. There is no encryption and no password: put a proxy
    in front for anything but this machine.
    """
    require_extra("serve", _MODULES)
    from tl_infer.serve.settings import Settings

    limits = Limits(**{name: options.pop(option) for option, name in _LIMITS.items()})
    named = {_RENAMED.get(option, option): value for option, value in options.items()}
    try:
        check_seconds(limits)
        settings = Settings(limits=limits, **named)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from tl_infer.serve.service import serve  # here, because `--help` does not wait for numpy and onnxruntime

    work_begins()
    serve(settings)
