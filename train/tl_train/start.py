"""The first moment of `tl-train`: signals are handled before anything else is imported."""

from tl_infer.cli.signals import end_at_once


def main() -> None:
    """Entry point of `tl-train`."""
    end_at_once()
    from tl_train.cli import main as run

    run()
