"""The keys in effect: those of the registry, replaced by the user's own where given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from textual.binding import Binding
from textual.keys import key_to_character

from tui.actions.registry import ACTIONS, BY_ID, Action, Scope

_ALWAYS: Final = frozenset({"cancel", "explain", "leave", "help", "redraw", "suspend"})
"""Ids of actions that also work while a dialog is open."""

_SUSPENDS: Final = "suspend"
_NEVER_FIRST: Final = frozenset({"tab", "shift+tab", "escape", "ctrl+z", "enter", "delete"})
"""Keys with another meaning in the editor, where they keep it."""

_BAR: Final = (
    "run", "edit", "grid", "words", "find", "plot", "next-preset", "run-presets", "track",
    "detail", "history", "without", "models", "open", "save", "copy-row", "export", "more",
    "norm", "picture", "help", "leave",
)  # fmt: skip
_WALK_AT: Final = 4
"""Where the keys that walk stand: behind those that a screen of 60 columns has room for."""
_EDITING_BAR: Final = ("run", "live", "next-preset", "prompts", "open", "save", "help", "leave")
"""Ids of the hints in the key bar, most useful first; how many fit depends on the width. All
other actions with a hint come before the last two."""

_UNBOUND: Final = "unbound"
"""A key that no terminal sends. Textual's keymap can only replace keys, not remove them."""

_SHORT_NAMES: Final = {
    "slash": "/",
    "plus": "+",
    "minus": "-",
    "underscore": "_",
    "at": "@",
    "backslash": "\\",
}
"""Textual's names for characters that have no name of their own."""

_KEY_NAMES: Final = {
    "escape": "esc",
    "space": "space",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "delete": "del",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
}


@dataclass(frozen=True)
class Hint:
    """The key bar's text for one key."""

    key: str
    word: str
    action: str = ""
    """The id of the action of a click on it; empty where the hint stands for several."""

    @property
    def width(self) -> int:
        """Width in cells, including the blanks around key and word."""
        return len(self.key) + len(self.word) + 3


class Keymap:
    """The keys in effect: those of the registry, replaced by the user's own where given."""

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        """`own` maps an action's id to its keys, separated by commas; an empty text unbinds it."""
        chosen = {identity: _split(keys) for identity, keys in (own or {}).items()}
        taken = {_normal(key) for keys in chosen.values() for key in keys}
        self._keys = {
            action.id: chosen.get(
                action.id, tuple(key for key in action.keys if _normal(key) not in taken)
            )
            for action in ACTIONS
        }

    def keys(self, action: Action) -> tuple[str, ...]:
        """Return the keys of an action."""
        return self._keys[action.id]

    def for_textual(self) -> dict[str, str]:
        """Return the argument of `App.set_keymap`: the keys of the actions that differ."""
        return {
            identity: ",".join(keys) or _UNBOUND
            for action in ACTIONS
            if self._keys[action.id] != action.keys
            for identity, keys in _thirds(action.id, self._keys[action.id])
        }

    def names(self, action: Action, *, ascii_only: bool = False) -> str:
        """Return all keys of an action, for the help."""
        return " ".join(key_name(key, ascii_only=ascii_only) for key in self.keys(action))

    def first(self, identity: str) -> str:
        """Return the first key of an action as people write it; empty where it has none."""
        keys = self._keys[identity]
        return key_name(keys[0]) if keys else ""

    def bar(self, *, editing: bool) -> list[Hint]:
        """Return the hints of the keys that act here, most useful first."""
        hints = [Hint("esc", "table", "leave-editor")] if editing else []
        for action in _bar_actions(editing):
            keys = [key for key in self.keys(action) if not (editing and is_editing_key(key))]
            if keys:
                hints.append(Hint(self._bar_key(action, keys[0]), action.hint, action.id))
        if not editing:
            hints.insert(_WALK_AT, Hint("jk<>", "walk"))
        return hints

    def _bar_key(self, action: Action, key: str) -> str:
        pairs = {"next-preset": ("]", "[]"), "more": ("plus", "+-")}
        if pairs.get(action.id, ("",))[0] == key:
            return pairs[action.id][1]
        return key_name(key).replace("ctrl+", "^")


def app_bindings() -> list[Binding]:
    """Return the bindings of the app.

    Nearly all have priority over every widget, so that keys act in the order in which they were
    pressed: a key that a widget passed on would act after the next one. Keys that would type
    something go through `action_typed`, which the app allows only while nothing is being typed.
    """
    bindings: list[Binding] = []
    for action in ACTIONS:
        if action.scope is not Scope.ANYWHERE:
            continue
        for identity, keys in _thirds(action.id, action.keys):
            name = {"typed": "typed", "dialog": "in_dialog"}.get(identity.rpartition(".")[2], "do")
            bindings.append(
                Binding(
                    ",".join(keys) or _UNBOUND,
                    f"{name}({action.id!r})",
                    action.title,
                    show=False,
                    priority=not identity.endswith(".late"),
                    id=identity,
                )
            )
    return bindings


def table_bindings() -> list[Binding]:
    """Return the bindings that act while the table has the focus."""
    return [
        Binding(
            ",".join(keys) or _UNBOUND, f"app.do({action.id!r})", action.title, show=False, id=third
        )
        for action in ACTIONS
        if action.scope is Scope.TABLE
        for third, keys in _thirds(action.id, action.keys)
    ]


def every_binding(action: str) -> list[Binding]:
    """Return bindings of every action of the registry, for a screen over the main one that handles
    them all in a method of its own."""
    return [
        Binding(",".join(keys) or _UNBOUND, f"{action}({each.id!r})", show=False, id=third)
        for each in ACTIONS
        for third, keys in _thirds(each.id, each.keys)
        if not third.endswith(".dialog")
    ]


def works_in_dialogs(identity: str) -> bool:
    """Return whether an action may run while a dialog is open."""
    return identity in _ALWAYS


def is_editing_key(key: str) -> bool:
    """Return whether a key would type a character in an editor, or has a meaning of its own
    there."""
    return key in _NEVER_FIRST or _character(key) is not None


def key_name(key: str, *, ascii_only: bool = False) -> str:
    """Return a key as people write it."""
    name = _KEY_NAMES.get(key) or _character(key) or key
    return key if ascii_only and not name.isascii() else name


def _bar_actions(editing: bool) -> list[Action]:
    if editing:
        return [BY_ID[identity] for identity in _EDITING_BAR]
    listed = {*_BAR, *_EDITING_BAR}
    others = [action for action in ACTIONS if action.hint and action.id not in listed]
    known = [BY_ID[identity] for identity in _BAR]
    return [*known[:-2], *others, *known[-2:]]


def _character(key: str) -> str | None:
    """Return the character that a key types, or None."""
    character = _SHORT_NAMES.get(key) or key_to_character(key)
    return character if character is not None and character.isprintable() else None


def _normal(key: str) -> str:
    return _character(key) or key


def _thirds(identity: str, keys: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Split keys into those with priority over every widget, those that type something, and
    those that editors and dialogs may handle first; the latter once more where they act in dialogs,
    in which no other key of the app without priority does."""
    keys = tuple(keys)
    late = tuple(key for key in keys if key in _NEVER_FIRST)
    typed = tuple(key for key in keys if is_editing_key(key) and key not in late)
    first = tuple(key for key in keys if key not in late and key not in typed)
    parts = ((identity, first), (f"{identity}.typed", typed), (f"{identity}.late", late))
    return (*parts, (f"{identity}.dialog", late)) if identity == _SUSPENDS else parts


def _split(keys: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in keys.split(",") if key.strip())
