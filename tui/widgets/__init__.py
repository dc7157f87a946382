"""The kit that views are made of."""
