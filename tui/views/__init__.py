"""A folder for each view: its widget, its layout, how it opens."""
