"""The views `compare`, `without` and `against`: two runs beside each other."""
