"""Which neurons wrote the answer."""
