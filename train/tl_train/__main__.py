"""`python -m tl_train` is `tl-train`."""

from tl_train.start import main

main()
