"""Sweeps: the same questions about many pictures, kept line by line, and what they say together."""
