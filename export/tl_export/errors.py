"""Every error that exporting raises on purpose."""

from tl_infer.errors import TlError


class ExportError(TlError, RuntimeError):
    """The network cannot be turned into an ONNX file."""


class VerificationError(TlError, RuntimeError):
    """The file does not say the same as the PyTorch model, so it was not written."""
