"""The view `grid`."""
