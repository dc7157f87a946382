"""The view `strip`."""
