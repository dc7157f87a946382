"""`python -m tui` is `lenscope`."""

from tui.cli import script

script()
