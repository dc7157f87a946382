"""Sweeps: data, passes, results that survive, and what they show."""
