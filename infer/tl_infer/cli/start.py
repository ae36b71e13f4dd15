"""The first moment of `tl-infer`: signals are handled before anything else is imported."""

from tl_infer.cli.signals import end_at_once


def main() -> None:
    """Entry point of `tl-infer`."""
    end_at_once()
    from tl_infer.cli.command import main as run

    run()
