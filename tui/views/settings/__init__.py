"""The view `settings`."""
