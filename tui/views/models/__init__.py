"""The view `models`."""
