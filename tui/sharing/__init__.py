"""Taking what is shown elsewhere: the clipboard, other formats."""
