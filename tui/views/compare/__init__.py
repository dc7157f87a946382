"""The view `compare`."""
