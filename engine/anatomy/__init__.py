"""Where a model's parts are, found by watching it run."""
