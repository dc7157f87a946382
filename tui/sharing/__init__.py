"""Copying and exporting what is shown: the clipboard, files and their formats."""
