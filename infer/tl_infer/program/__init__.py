"""What the program `tl-infer` does, without its command line: one module per subject, none of them knows click."""
