"""What the three programs share at the terminal: exit codes, one-line errors, text that is safe to print."""

import atexit
import contextlib
import errno
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

import click

from tl_infer.cli.signals import after_imports, end_at_once, handle
from tl_infer.cli.streams import StreamError, guard_streams
from tl_infer.errors import TlError
from tl_infer.text.safetext import printable

EXIT_FATAL = 1
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_TERMINATED = 143  # 128 + SIGTERM

_LOADING = "Loading ..."  # no longer than the word that a signal would write over it

# The machine's trouble wherever it shows, and never a bug of ours.
_OF_THE_MACHINE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
)


class _Terminated(SystemExit):
    """SIGTERM; no Exception, so that nothing takes it for a failure of its own."""


def run_program(command: click.Command, name: str | None = None, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a click command as a program.

    A `TlError` becomes one line on stderr and exit code 1; a usage error ends with 2, Ctrl-C with 130, SIGTERM with
    143. Any other exception is a bug and keeps its traceback.

    Args:
        command: to run.
        name: what `--help` calls it; None for the name that the program was started by.
        arguments: of the command; None for those of the program.

    """
    end_at_once()
    guard_streams()
    try:
        status = _run(command, name, arguments)
        sys.stdout.flush()
    except StreamError as error:
        status = _fatal(str(error))
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        status = _fatal(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    except MemoryError:
        status = _fatal("not enough memory")
    end_at_once()  # what is left to do needs no cleaning up, and libraries do not expect exceptions in it
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End the process without taking the interpreter apart: freeing what libraries hold takes a tenth of a run."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, StreamError):  # told already
            stream.flush()
    os._exit(status)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Say at a terminal, until the block ends, that libraries are being imported, which takes seconds."""
    if not sys.stderr.isatty():
        yield
        return
    click.echo(f"{_LOADING}\r", nl=False, err=True)
    yield
    click.echo(f"{' ' * len(_LOADING)}\r", nl=False, err=True)


def work_begins() -> None:
    """From now on a signal raises, KeyboardInterrupt or SystemExit: files and processes are to be cleaned up.

    To be called when everything is imported.
    """
    handle(after_imports(_raise))


def _run(command: click.Command, name: str | None, arguments: Sequence[str] | None) -> int:
    try:
        status = command.main(arguments, name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except StreamError:
        raise
    except TlError as error:
        return _fatal(str(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return EXIT_INTERRUPTED
    except _Terminated:
        click.echo("Terminated.", err=True)
        return EXIT_TERMINATED
    return status if isinstance(status, int) else 0


def _fatal(message: str) -> int:
    click.echo(f"Error: {printable(message)}", err=True)
    return EXIT_FATAL


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave by an exception, so that temporary files are removed and processes stopped on the way out.

    Nothing is printed here: the signal may come in the middle of printing, which cannot begin again.
    """
    raise KeyboardInterrupt if number + 128 == EXIT_INTERRUPTED else _Terminated(EXIT_TERMINATED)


def require_extra(extra: str, modules: tuple[str, ...]) -> None:
    """Stop with the one command that installs what is missing, before anything is imported.

    Raises:
        click.ClickException: a module of the extra is not installed.

    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(f'{missing[0]} is not installed; run: pip install "tl-toolkit[{extra}]"')
