"""The view `runs`."""
