"""How familiar an image is: a score from the network's embedding and logits, its fit, and what it rejects."""
