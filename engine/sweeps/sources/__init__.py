"""Sources of questions: one module for each kind of data."""
