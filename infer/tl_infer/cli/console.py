"""What the three programs share at the terminal: exit codes, one-line errors, text that is safe to print."""

import contextlib
import importlib.util
import os
import signal
import sys
from typing import NoReturn

import click

from tl_infer.cli.safetext import printable as printable
from tl_infer.errors import TlError

EXIT_FATAL = 1
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_TERMINATED = 143  # 128 + SIGTERM


def run_program(command: click.Command) -> NoReturn:
    """Run a click command as a program.

    A `TlError` becomes one line on stderr and exit code 1; a usage error ends with 2, Ctrl-C with 130, SIGTERM with
    143. Any other exception is a bug and keeps its traceback.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except TlError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        sys.exit(EXIT_FATAL)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        _discard_stdout()
        sys.exit(EXIT_FATAL)
    sys.exit(status if isinstance(status, int) else 0)


def _terminate(_number: int, _frame: object) -> NoReturn:
    """Exit by an exception, so that temporary files are removed and processes stopped on the way out."""
    click.echo("Terminated.", err=True)
    sys.exit(EXIT_TERMINATED)


def require_extra(extra: str, modules: tuple[str, ...]) -> None:
    """Stop with the one command that installs what is missing, before anything is imported.

    Raises:
        click.ClickException: a module of the extra is not installed.

    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(f'{missing[0]} is not installed; run: pip install "tl-toolkit[{extra}]"')


def _discard_stdout() -> None:
    """Keep the interpreter from flushing to a closed pipe at exit, which would print another error."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
