"""The view `table`."""
