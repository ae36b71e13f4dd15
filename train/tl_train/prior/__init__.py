"""What the class names say: a prior for the head, from WordNet."""
