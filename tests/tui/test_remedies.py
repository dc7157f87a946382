"""What to do about an error: the engine names the action, each interface its own way to it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine
from engine.errors import BadInput, CannotLoad, Remedy
from engine.events import Trouble
from engine.records import Question
from tui.actions.keymap import Keymap
from tui.state.view_state import ViewState
from tui.text.remedies import FLAGS, error_line, with_flags
from tui.widgets.remedies import with_keys
from tui.widgets.status import message_line

AGAIN = {Remedy.RUN_AGAIN}
"""Of the command line: the same command again, which needs no flag."""


def test_the_command_line_says_flags() -> None:
    error = CannotLoad("memory ran out", Remedy.HALF_PRECISION, Remedy.DEVICE_MAP)
    assert error_line(error) == "memory ran out (--dtype bfloat16, --device-map auto)"
    assert error_line(BadInput("the prompt is empty")) == "the prompt is empty"
    assert with_flags("its stream is gone", [Remedy.RUN_AGAIN]) == "its stream is gone"
    assert set(Remedy) == FLAGS.keys() | AGAIN


@pytest.mark.parametrize("remedy", Remedy)
def test_the_explorer_has_a_way_to_every_remedy(remedy: Remedy) -> None:
    line = with_keys("it failed", [remedy], Keymap())
    assert re.fullmatch(r"it failed \(.+\)", line)


def test_the_explorer_says_the_users_own_keys() -> None:
    assert with_keys("it is gone", [Remedy.RUN_AGAIN], Keymap()) == "it is gone (r)"
    assert with_keys("it is gone", [Remedy.RUN_AGAIN], Keymap({"run": "f8"})) == "it is gone (f8)"
    unbound = Keymap({"models": ""})
    assert with_keys("no model", [Remedy.LOAD_MODEL], unbound) == "no model (in the palette)"
    state = ViewState(Question(prompt="?"))
    state.apply(Trouble.of(BadInput("it is gone", Remedy.RUN_AGAIN)))
    shown = message_line(state, Keymap({"run": "f8"}), 80, ascii_only=True).plain
    assert "it is gone (f8)" in shown


def test_the_engine_names_no_flag_and_no_key() -> None:
    found = [
        f"{file.name}: {text}"
        for file in sorted(Path(engine.__file__).parent.rglob("*.py"))
        for text in _said(ast.parse(file.read_text()))
        if re.search(r"(?:^|(?<!var)[ ('`])--[a-z]|\([a-zA-Z]\)", text)
        and "pip install" not in text
    ]
    assert not found


def _said(tree: ast.Module) -> Iterator[str]:
    """The texts of a module, but for its docstrings."""
    documents = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    for node in constants:
        if isinstance(node.value, str) and id(node) not in documents:
            yield node.value
