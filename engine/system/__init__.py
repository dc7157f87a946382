"""Files, memory, transfers, and the libraries kept quiet."""
