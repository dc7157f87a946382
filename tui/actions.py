"""The one registry of actions: bindings, key bar, help and command palette are made from it.

Keys that tmux or a legacy terminal swallows (ctrl+enter, ctrl+j/m/h/i, alt+enter, F11) are not
used; Esc is never the only way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from textual.binding import Binding


class Scope(Enum):
    """Where a key acts."""

    ANYWHERE = "anywhere"
    OUTSIDE_EDITOR = "outside the editor"
    TABLE = "in the table"


@dataclass(frozen=True)
class Action:
    """Something that the user can do."""

    name: str
    """The app runs `action_<name>`; the table does for actions in its scope."""
    title: str
    """A whole phrase, for help and palette."""
    group: str
    keys: tuple[str, ...]
    """Act wherever the action's scope says."""
    letters: tuple[str, ...] = ()
    """More keys, which never act while the editor has the focus."""
    scope: Scope = Scope.ANYWHERE
    hint: str = ""
    """A word for the key bar; empty keeps the action out of it."""
    palette: bool = True


_ASK: Final = "Ask"
_READ: Final = "Read the table"
_VIEW: Final = "View"
_SESSION: Final = "Session"

ACTIONS: Final[tuple[Action, ...]] = (
    Action("run", "Run the question", _ASK, ("ctrl+r", "f5"), ("r",), hint="run"),
    Action("cancel", "Cancel the running pass, or copy the selection", _ASK, ("ctrl+c",)),
    Action("edit", "Edit the prompt", _ASK, (), ("e", "i"), hint="edit"),
    Action("preset(1)", "Next preset prompt", _ASK, ("f4",), ("]",), hint="preset"),
    Action("preset(-1)", "Previous preset prompt", _ASK, ("f3",), ("[",)),
    Action("norm", "Final norm on or off (runs again)", _ASK, (), ("m",), hint="norm"),
    Action("more(1)", "Show one more token per layer", _ASK, (), ("plus", "="), hint="top-k"),
    Action("more(-1)", "Show one less token per layer", _ASK, (), ("minus",)),
    Action("continue", "Continue the answer, up to 20 tokens", _ASK, (), ("c",), hint="continue"),
    Action("cursor(1)", "Down a layer", _READ, ("down", "j"), scope=Scope.TABLE, palette=False),
    Action("cursor(-1)", "Up a layer", _READ, ("up", "k"), scope=Scope.TABLE, palette=False),
    Action(
        "page(1)", "Down a page", _READ, ("pagedown", "ctrl+f"), scope=Scope.TABLE, palette=False
    ),
    Action("page(-1)", "Up a page", _READ, ("pageup",), scope=Scope.TABLE, palette=False),
    Action("page(0.5)", "Down half a page", _READ, ("ctrl+d",), scope=Scope.TABLE, palette=False),
    Action("page(-0.5)", "Up half a page", _READ, ("ctrl+u",), scope=Scope.TABLE, palette=False),
    Action("edge(-1)", "The first row", _READ, ("g", "home"), scope=Scope.TABLE, palette=False),
    Action("edge(1)", "The last row", _READ, ("G", "end"), scope=Scope.TABLE, palette=False),
    Action("columns(1)", "Later tokens", _READ, ("right", "l"), scope=Scope.TABLE, palette=False),
    Action("columns(-1)", "Earlier tokens", _READ, ("left", "h"), scope=Scope.TABLE, palette=False),
    Action("detail", "Show or hide the layer detail", _VIEW, (), ("d",), hint="detail"),
    Action("picture", "Show or hide the picture", _VIEW, (), ("p",), hint="picture"),
    Action("theme", "Choose a theme", _VIEW, (), ("t",)),
    Action("leave_editor", "Close a dialog, leave the editor", _VIEW, ("escape",), palette=False),
    Action("focus_next", "Next pane", _VIEW, ("tab",), palette=False),
    Action("focus_previous", "Previous pane", _VIEW, ("shift+tab",), palette=False),
    Action("open", "Open a picture or a session", _SESSION, ("ctrl+o",), ("o",), hint="open"),
    Action("save", "Save the session", _SESSION, ("ctrl+s",), ("s",), hint="save"),
    Action("switch(1)", "Next run of the session", _SESSION, (), (".",)),
    Action("switch(-1)", "Previous run of the session", _SESSION, (), ("comma",)),
    Action("help", "Help", _SESSION, ("f1",), ("question_mark",), hint="help", palette=False),
    Action("leave", "Quit; unsaved runs are kept", _SESSION, ("ctrl+q",), ("q",), hint="quit"),
)  # fmt: skip

GROUPS: Final = (_ASK, _READ, _VIEW, _SESSION)

_ALWAYS: Final = frozenset({"cancel", "leave", "help"})
"""What also works while a dialog is open."""

_KEY_NAMES: Final = {
    "question_mark": "?",
    "plus": "+",
    "minus": "-",
    "comma": ",",
    "escape": "esc",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
}


def app_bindings() -> list[Binding]:
    """Return the bindings of the app: its keys win over every widget, its letters over none."""
    bindings: list[Binding] = []
    for action in ACTIONS:
        if action.scope is Scope.TABLE:
            continue
        for key in action.keys:
            ours = key not in {"tab", "shift+tab", "escape"}
            bindings.append(Binding(key, action.name, action.title, show=False, priority=ours))
        bindings += [Binding(key, action.name, action.title, show=False) for key in action.letters]
    return bindings


def table_bindings() -> list[Binding]:
    """Return the bindings that act while the table has the focus."""
    return [
        Binding(key, action.name, action.title, show=False)
        for action in ACTIONS
        if action.scope is Scope.TABLE
        for key in action.keys
    ]


def works_in_dialogs(name: str) -> bool:
    """Return whether an action may run while a dialog is open."""
    return name in _ALWAYS


def key_name(key: str, *, ascii_only: bool = False) -> str:
    """Return a key as people write it."""
    name = _KEY_NAMES.get(key, key)
    return key if ascii_only and not name.isascii() else name


def key_names(action: Action, *, ascii_only: bool = False) -> str:
    """Return all keys of an action, for help."""
    keys = (*action.keys, *action.letters)
    return " ".join(key_name(key, ascii_only=ascii_only) for key in keys)


def key_bar(*, editing: bool) -> list[tuple[str, str]]:
    """Return (key, word) of what can be pressed here, the most useful first."""
    if editing:
        wanted = ("run", "preset(1)", "open", "save", "help", "leave")
        return [("esc", "table"), *_hints(wanted, letters=False)]
    return [("jk", "layers"), *_hints(tuple(a.name for a in ACTIONS if a.hint), letters=True)]


def _hints(names: tuple[str, ...], *, letters: bool) -> list[tuple[str, str]]:
    by_name = {action.name: action for action in ACTIONS}
    hints: list[tuple[str, str]] = []
    for name in names:
        action = by_name[name]
        keys = action.letters if letters and action.letters else action.keys
        hints.append((_bar_key(action, keys), action.hint))
    return hints


def _bar_key(action: Action, keys: tuple[str, ...]) -> str:
    pairs = {"preset(1)": {"]": "[]"}, "more(1)": {"plus": "+-"}}
    key = keys[0]
    shown = pairs.get(action.name, {}).get(key, key_name(key))
    return shown.replace("ctrl+", "^")
