"""The folder of a run: what is in it, writing it, reading it back."""
