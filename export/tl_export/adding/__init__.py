"""Adding a class to a finished run from a few images, without training."""
