"""A forward pass that can be read while it runs."""
