"""The line to the engine."""
