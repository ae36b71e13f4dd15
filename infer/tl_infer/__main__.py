"""`python -m tl_infer` is `tl-infer`."""

from tl_infer.cli.start import main

main()
