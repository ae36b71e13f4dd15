"""`python -m tl_train` is `tl-train`."""

from tl_train.cli import main

main()
