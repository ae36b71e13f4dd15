"""What takes long to compute and can be computed again, kept on disk."""
