"""Updates the main screen from the state."""
