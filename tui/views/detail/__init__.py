"""The view `detail`."""
