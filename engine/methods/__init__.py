"""Methods: ways to find out more about a run than its rows, one module each."""
