"""Files, folders, threads: what the operating system provides."""
