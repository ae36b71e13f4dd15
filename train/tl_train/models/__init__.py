"""Networks: which there are, how they are built, and their pretrained weights."""
