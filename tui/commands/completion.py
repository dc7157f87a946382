"""`lenscope completion`: what a shell needs to complete commands, flags and files."""

from __future__ import annotations

import argparse
from typing import Final

import shtab

from tui.commands.parsers import COMMANDS, explorer_parser

_FILES: Final = frozenset({"image", "json", "data", "prompts", "session", "page"})
_FOLDERS: Final = frozenset({"model", "out", "folder", "adapter", "cache_dir"})


def completion_script(shell: str) -> str:
    """Return the script for "bash", "zsh" or "fish"."""
    script = str(shtab.complete(whole_parser(), shell))
    # The first word may also be a session's file: bash then completes what is no command.
    return script.replace("complete -o bashdefault -F", "complete -o bashdefault -o default -F")


def whole_parser() -> argparse.ArgumentParser:
    """Return one parser with all commands below it, which describes what can be typed. It is not
    used to parse, where a session's file may stand in a command's place."""
    parser = explorer_parser(reopens=False)
    below = parser.add_subparsers(prog="lenscope", metavar="COMMAND")
    for name, command in COMMANDS.items():
        own = command.parser()
        below.add_parser(
            name,
            parents=[own],
            add_help=False,
            help=command.what,
            description=own.description,
            epilog=own.epilog,
        )
    for each in (parser, *below.choices.values()):
        for action in each._actions:  # argparse offers no other way to them
            _complete(action)
    return parser


def _complete(action: argparse.Action) -> None:
    """Say which of an argument's values are files."""
    if action.dest in _FILES:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif action.dest in _FOLDERS:
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
