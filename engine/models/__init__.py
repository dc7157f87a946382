"""Models and their processors: found, fetched, placed, loaded."""
