"""The page that classifies: one HTML file with the model, the runtime and the decoder in it."""
