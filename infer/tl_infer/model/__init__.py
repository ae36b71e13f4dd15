"""The model file: its contract, reading it, running it."""
