"""The view `help`."""
