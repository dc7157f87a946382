"""The registry of actions: keys, the user's keymap, the key bar."""

from __future__ import annotations

import inspect

import pytest
from textual.keys import key_to_character

from tests.tui.stage import explorer, in_loop
from tui.actions.keymap import Hint, Keymap, app_bindings, is_editing_key, key_name, table_bindings
from tui.actions.registry import ACTIONS, BY_ID
from tui.app import Explorer
from tui.views.help.help import Help
from tui.views.prompt.prompt_editor import PromptEditor

# What tmux or a legacy terminal swallows, or sends as something else.
SWALLOWED = {"ctrl+enter", "ctrl+j", "ctrl+m", "ctrl+h", "ctrl+i", "alt+enter", "shift+enter",
             "ctrl+a", "ctrl+b", "ctrl+left_square_bracket", "f11"}  # fmt: skip


def test_every_action_exists_and_no_key_acts_twice() -> None:
    for action in ACTIONS:
        inspect.signature(action.function).bind(None, **action.arguments)
    for bindings, prefix in (
        (app_bindings(), ("do", "typed", "in_dialog")),
        (table_bindings(), ("app.do",)),
    ):
        for binding in bindings:
            name, _, identity = binding.action.partition("(")
            assert name in prefix
            assert hasattr(Explorer, f"action_{name.removeprefix('app.')}")
            assert identity.strip("')") in BY_ID, binding.action
    keys = [key for action in ACTIONS for key in action.keys]
    assert len(keys) == len(set(keys))
    assert not SWALLOWED & set(keys)
    ids = [action.id for action in ACTIONS]
    assert len(ids) == len(set(ids))


def test_what_types_never_wins_over_the_editor() -> None:
    for binding in app_bindings():
        if binding.action.startswith("in_dialog("):
            continue  # only while a dialog is open: no editor has the focus
        for key in binding.key.split(","):
            if is_editing_key(key):
                assert binding.action.startswith("typed(") or not binding.priority, key
            elif key != "unbound":
                assert binding.priority, key
                assert not binding.action.startswith("typed("), key
    for key in ("a", "G", "slash", "question_mark", "plus", "comma", "full_stop", "space", "tab"):
        assert is_editing_key(key), key
    for key in ("ctrl+r", "f5", "down", "home", "ctrl+q"):
        assert not is_editing_key(key), key
    assert all(len(hint.key) > 1 for hint in Keymap().bar(editing=True))


def test_keys_are_named_as_people_write_them() -> None:
    names = {"question_mark": "?", "slash": "/", "comma": ",", "plus": "+", "escape": "esc",
             "down": "↓", "G": "G", "ctrl+r": "ctrl+r", "f5": "f5"}  # fmt: skip
    assert {key: key_name(key) for key in names} == names
    assert key_name("down", ascii_only=True) == "down"
    assert key_to_character("question_mark") == "?"


def test_the_users_keys_take_the_place_of_others() -> None:
    keymap = Keymap({"plot": "f7, g", "leave": ""})
    by_id = {action.id: action for action in ACTIONS}
    assert keymap.keys(by_id["plot"]) == ("f7", "g")
    assert keymap.keys(by_id["first-row"]) == ("home",)  # g is the plot's now
    assert keymap.keys(by_id["leave"]) == ()
    assert keymap.for_textual() == {
        "plot": "f7", "plot.typed": "g", "plot.late": "unbound",
        "first-row": "home", "first-row.typed": "unbound", "first-row.late": "unbound",
        "leave": "unbound", "leave.typed": "unbound", "leave.late": "unbound",
    }  # fmt: skip
    assert Hint("f7", "plot", "plot") in keymap.bar(editing=False)
    assert Keymap().for_textual() == {}


@in_loop
async def test_the_users_keymap_acts_and_shows_in_the_help() -> None:
    startup = {"keys": {"detail": "f8,g", "edit": "slash"}}
    async with explorer(startup=startup) as stage:
        await stage.run_done()
        shown = stage.app.main.lower.view("detail").display
        await stage.press("f8")
        await stage.until(lambda: stage.app.main.lower.view("detail").display is not shown)
        await stage.press("g")
        await stage.until(lambda: stage.app.main.lower.view("detail").display is shown)
        cursor = stage.app.main.table.cursor
        await stage.press("d", "g", "g")  # d does nothing any more, g is not the first row
        assert stage.app.main.table.cursor == cursor
        assert stage.app.main.lower.view("detail").display is shown
        await stage.press("slash")
        assert isinstance(stage.app.focused, PromptEditor)
        await stage.press("g", "slash", "escape", "question_mark")
        assert stage.app.main.editor.text.endswith("g/")
        assert isinstance(stage.app.screen, Help)
        await stage.press("slash")  # the help's own key is no command of the app
        await stage.press(*"layer detail")
        await stage.shows("f8 g")


@pytest.mark.parametrize("key", ["ctrl+q", "q"])
@in_loop
async def test_unbinding_everything_else_still_leaves_a_way_out(key: str) -> None:
    keys = {action.id: "" for action in ACTIONS if action.id != "leave"}
    async with explorer(startup={"keys": keys}) as stage:
        await stage.run_done()
        await stage.press("r", "e", "j", key)
        await stage.until(lambda: not stage.app.is_running)
        assert len(stage.worker.questions) == 1
