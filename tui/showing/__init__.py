"""What the main screen shows of the state, and when."""
