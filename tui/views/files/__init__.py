"""The view `files`."""
