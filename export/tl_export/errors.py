"""Every error that exporting raises on purpose."""

from tl_infer.errors import TlError


class ExportError(TlError, RuntimeError):
    """The run cannot be exported."""


class VerificationError(TlError, RuntimeError):
    """The file gives other answers than the PyTorch model, so it was not written."""
