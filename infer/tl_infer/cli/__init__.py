"""The program `tl-infer`."""
