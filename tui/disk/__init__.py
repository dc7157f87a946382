"""Reading from and writing to the disk."""
