"""Which parts of the model wrote the answer."""
