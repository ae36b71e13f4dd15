"""What a look at the data tells before the first training step."""
