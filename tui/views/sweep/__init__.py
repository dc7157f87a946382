"""The view `sweep`."""
