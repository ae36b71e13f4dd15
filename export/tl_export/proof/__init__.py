"""The proof that the file gives the same answers as the PyTorch model."""
