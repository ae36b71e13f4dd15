"""Every error that training raises on purpose."""

from tl_infer.errors import TlError


class ConfigError(TlError, ValueError):
    """An option has a value that cannot work."""


class DataError(TlError, ValueError):
    """The images or labels cannot be trained on as they are."""


class DownloadError(TlError, OSError):
    """A file could not be fetched, or is not the file that was expected."""


class WeightsError(TlError, ValueError):
    """Pretrained weights are missing, damaged, or do not fit the architecture."""


class TrainingError(TlError, ArithmeticError):
    """Training cannot go on: its numbers are no longer finite, another process ended, or a package is missing."""


class RunError(TlError, ValueError):
    """A run's folder is incomplete, damaged, or not made by tl-train."""


class TracingError(TlError, RuntimeError):
    """torch cannot express the network in ONNX."""


class CalibrationError(TlError, ValueError):
    """The answers cannot be calibrated."""
