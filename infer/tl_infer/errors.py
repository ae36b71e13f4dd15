"""Every error that the runtime raises on purpose, and what the messages of all errors are made of."""

from collections.abc import Sequence


class TlError(Exception):
    """Base of all errors of tl_infer, tl_train and tl_export; the message is one line for the user."""


class ModelFileError(TlError, ValueError):
    """The model file was not made by tl-export, is damaged, or contradicts itself."""


class ImageError(TlError, ValueError):
    """An image could not be read.

    Attributes:
        where: the path, or a description of what was given instead.
        reason: why, on one line.
        ms: milliseconds spent on it, if it is a result of `Classifier.classify_many`; else None.

    """

    def __init__(self, where: object, reason: str, ms: float | None = None) -> None:
        super().__init__(where, reason, ms)
        self.where = str(where)
        self.reason = reason
        self.ms = ms

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class ImageTooLargeError(ImageError):
    """An image has more pixels than the limits allow."""


class InputPathError(TlError, FileNotFoundError):
    """A file or folder does not exist or holds nothing to read."""


class OutputPathError(TlError, OSError):
    """A result could not be written where it was asked for."""


class ProviderError(TlError, ValueError):
    """A provider is not in the installed onnxruntime, does not start, or fails where the CPU does not."""


class SelfTestError(TlError):
    """The model gives other answers here than where it was made."""


class ClosedError(TlError, ValueError):
    """A classifier was used after `close`."""


def first_line(error: BaseException) -> str:
    """What an error says, for the end of a message: its first line, at most 200 characters, or else its type.

    Of an error of the operating system that is the reason alone, since our messages begin with the path.
    """
    text = str(getattr(error, "strerror", None) or error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def and_more(items: Sequence[str], shown: int, separator: str = ", ") -> str:
    """The first `shown` of the items, and how many more there are: `a, b, and 3 more`."""
    rest = [f"and {len(items) - shown} more"] if len(items) > shown else []
    return separator.join([*items[:shown], *rest])
