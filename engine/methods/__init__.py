"""What can be found out about a run beside its rows: a module for each method."""
