"""The views `compare`, `without` and `against`: two runs side by side."""
