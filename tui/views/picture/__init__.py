"""The view `picture`."""
