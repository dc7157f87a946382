"""At which row and tokens the answer is decided: recovery by site and row, after patching."""
