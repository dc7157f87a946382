"""A folder per view: its widget, its layout and how it opens."""
