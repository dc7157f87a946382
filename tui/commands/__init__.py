"""The commands other than the explorer, their exit codes and their messages."""
