"""The view `plot`."""
