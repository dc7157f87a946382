"""Where the questions of a sweep come from: one module for each kind of data."""
