"""The explorer's connection to the engine's worker."""
