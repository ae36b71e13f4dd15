"""The proof that the file says the same as the PyTorch model."""
