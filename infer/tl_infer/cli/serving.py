"""The command line of `tl-infer serve`."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from tl_infer.cli.console import require_extra, work_begins
from tl_infer.cli.limit_options import BIT_DEPTH, COUNT, SECONDS, max_pixels, max_scans, max_side, take_limits
from tl_infer.cli.options import check_seconds
from tl_infer.limits import DEFAULT_LIMITS
from tl_infer.serve.settings import Settings

_MODULES = ("starlette", "uvicorn", "prometheus_client", "python_multipart")
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Settings)}
# Option -> field of `Settings`, where the names differ.
_FIELDS = {"max_request_size": "max_request_bytes", "max_held_size": "max_held_bytes",
           "header_timeout": "header_timeout_s", "body_timeout": "body_timeout_s",
           "answer_timeout": "answer_timeout_s", "stop_timeout": "stop_timeout_s"}  # fmt: skip

_EPILOG = """\b
SIGHUP reads the model files again: a new one answers once its golden samples
passed, else the earlier one goes on. SIGTERM and Ctrl-C stop when all
requests are answered.

\b
Examples:
  tl-infer serve photos.onnx
  curl --data-binary @photo.jpg 'http://127.0.0.1:8000/classify?top_k=2'
  curl -F a=@a.jpg -F b=@b.jpg http://127.0.0.1:8000/classify
"""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--host", default=_DEFAULTS["host"], show_default=True,
              help="Where to listen; 0.0.0.0 for all addresses of this machine.")  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=_DEFAULTS["port"], show_default=True, help="0 takes a free one."
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Processors to use.  [default: all]")
@click.option("--queue", type=COUNT, default=_DEFAULTS["queue"], show_default=True,
              help="How many images may wait; further ones get 503 with Retry-After.")  # fmt: skip
@click.option("--max-request-size", type=COUNT, metavar="BYTES", default=_DEFAULTS["max_request_bytes"],
              show_default=True, help="Refuse larger requests.")  # fmt: skip
@click.option("--max-held-size", type=COUNT, metavar="BYTES", default=_DEFAULTS["max_held_bytes"], show_default=True,
              help="Of all requests together; further ones get 503.")  # fmt: skip
@click.option("--max-connections", type=COUNT, default=_DEFAULTS["max_connections"], show_default=True,
              help="How many clients may be connected.")  # fmt: skip
@click.option("--header-timeout", type=SECONDS, default=_DEFAULTS["header_timeout_s"], show_default=True,
              help="Seconds for a client to send the head of a request.")  # fmt: skip
@click.option("--body-timeout", type=SECONDS, default=_DEFAULTS["body_timeout_s"], show_default=True,
              help="Seconds for a client to send the body, or to read the answer.")  # fmt: skip
@click.option("--answer-timeout", type=SECONDS, default=_DEFAULTS["answer_timeout_s"], show_default=True,
              help="Seconds until a request that is there gets 503 instead of an answer.")  # fmt: skip
@click.option("--stop-timeout", type=SECONDS, default=_DEFAULTS["stop_timeout_s"], show_default=True,
              help="Seconds that requests under way are waited for when stopping.")  # fmt: skip
@max_pixels
@max_side
@max_scans
@click.option("--max-seconds", type=SECONDS, default=DEFAULT_LIMITS.max_seconds, show_default=True,
              help="How long decoding one image may take; needs isolation.")  # fmt: skip
@click.option("--isolate/--no-isolate", default=True, show_default=True,
              help="Decode in processes of their own, which may crash, hang or need too much memory without harm to "
                   "the service. Leave it on unless all clients are your own.")  # fmt: skip
@click.option("--bit-depth", type=BIT_DEPTH, metavar="BITS",
              help="Significant bits in 16-bit images.  [default: the model's own, or 16]")  # fmt: skip
def command(**options: Any) -> None:
    """Answer requests over HTTP with MODEL, a file made by tl-export, or several.

    POST /classify takes an image as the body, or several as multipart/form-data; the Open Inference Protocol v2 is
    below /v2; /metrics is for Prometheus, /openapi.json describes it all. A model is called by its file name without
    the suffix. Log lines go to standard error, a JSON object each. There is no encryption and no password: put a proxy
    in front for anything but this machine.
    """
    require_extra("serve", _MODULES)
    limits = take_limits(options)
    named = {_FIELDS.get(option, option): value for option, value in options.items()}
    try:
        check_seconds(limits)
        settings = Settings(limits=limits, **named)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from tl_infer.serve.service import serve  # here, because `--help` does not wait for numpy and onnxruntime

    work_begins()
    serve(settings)
