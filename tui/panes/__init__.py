"""The widgets of the main screen, and how they draw."""
