"""Forward passes that can be read, watched and edited while they run."""
