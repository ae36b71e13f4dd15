"""The first moment of `tl-export`: signals are handled before anything else is imported."""

from tl_infer.cli.signals import end_at_once


def main() -> None:
    """Entry point of `tl-export`."""
    end_at_once()
    from tl_export.cli import main as run

    run()
