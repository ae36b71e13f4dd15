"""What a run writes: rows, sorted files, embeddings."""
