"""Training by steps: epochs, optimizer, augmentation, checkpoints."""
