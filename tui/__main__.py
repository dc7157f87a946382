"""Make `python -m tui` the same as `lenscope`."""

from tui.cli import script

script()
