"""Sweeps: the same questions about many pictures, stored line by line, and what they show."""
