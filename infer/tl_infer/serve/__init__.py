"""The service: model files over HTTP, for clients that are slow, hostile or too many."""
