"""Figures of a run for a paper or slides, drawn by matplotlib (an extra) without the terminal."""
