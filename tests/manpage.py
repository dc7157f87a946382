"""Writes docs/lenscope.1 from the parsers: `python -m tests.manpage`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from unittest.mock import patch

from argparse_manpage.manpage import Manpage

from tui.commands.completion import whole_parser

PAGE = Path(__file__).parent.parent / "docs" / "lenscope.1"
SUMMARY = "what a vision-language model believes after every layer"


def page() -> str:
    """The manual page, as roff."""
    parser = whole_parser()
    parser.usage = "lenscope [options] [SESSION.json | PAGE.html | SWEEP_DIR | COMMAND ...]"
    parser.formatter_class = argparse.HelpFormatter
    parser.epilog = None  # the commands have sections of their own
    parser.man_short_description = SUMMARY  # type: ignore[attr-defined]
    data = {"date": "2026", "project_name": "Lenscope", "manual_title": "User Commands"}
    with patch.dict(os.environ, {"COLUMNS": "80"}):  # usage lines are as wide as the terminal
        return f"{Manpage(parser, _data=data)}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
