"""The view `prompt`."""
