"""The one registry of actions: bindings, key bar, help, command palette and the user's own keymap
are made from it.

Keys that tmux or a legacy terminal swallows (ctrl+enter, ctrl+j/m/h/i, alt+enter, F11) are not
used; Esc is never the only way out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from textual.binding import Binding
from textual.keys import key_to_character


class Scope(Enum):
    """Where a key acts."""

    ANYWHERE = "anywhere"
    """Keys that type something never act while the editor has the focus."""
    TABLE = "in the table"


@dataclass(frozen=True)
class Action:
    """Something that the user can do."""

    id: str
    """Its name in the user's keymap."""
    name: str
    """The app runs `action_<name>`; the table does for actions in its scope."""
    title: str
    """A whole phrase, for help and palette."""
    group: str
    keys: tuple[str, ...] = ()
    scope: Scope = Scope.ANYWHERE
    hint: str = ""
    """A word for the key bar; empty keeps the action out of it."""
    palette: bool = True


_ASK: Final = "Ask"
_READ: Final = "Read the table"
_VIEW: Final = "Look"
_RUNS: Final = "Runs"
_FILES: Final = "Files and models"
_PROGRAM: Final = "Program"


def _table(identity: str, name: str, title: str, *keys: str) -> Action:
    return Action(identity, name, title, _READ, keys, Scope.TABLE, palette=False)


ACTIONS: Final[tuple[Action, ...]] = (
    Action("run", "run", "Run the question", _ASK, ("r", "ctrl+r", "f5"), hint="run"),
    Action("cancel", "cancel", "Cancel what runs, or copy the selection", _ASK, ("ctrl+c",)),
    Action("edit", "edit", "Edit the prompt", _ASK, ("e", "i"), hint="edit"),
    Action("next-preset", "preset(1)", "Next preset prompt", _ASK, ("]", "f4"), hint="preset"),
    Action("previous-preset", "preset(-1)", "Previous preset prompt", _ASK, ("[", "f3")),
    Action("prompts", "prompts", "Choose a prompt from a menu", _ASK, ("w", "f2"), hint="prompts"),
    Action("run-presets", "run_presets", "Run every preset of this set", _ASK, ("a",), hint="all"),
    Action("norm", "norm", "Final norm on or off (runs again)", _ASK, ("m",), hint="norm"),
    Action("more", "more(1)", "One more token per layer", _ASK, ("plus", "="), hint="top-k"),
    Action("less", "more(-1)", "One less token per layer", _ASK, ("minus",)),
    Action("continue", "continue", "Continue the answer, up to 20 tokens", _ASK, ("c",)),
    _table("down", "cursor(1)", "Down a layer", "j", "down"),
    _table("up", "cursor(-1)", "Up a layer", "k", "up"),
    _table("page-down", "page(1)", "Down a page", "pagedown", "ctrl+f"),
    _table("page-up", "page(-1)", "Up a page", "pageup"),
    _table("half-page-down", "page(0.5)", "Down half a page", "ctrl+d"),
    _table("half-page-up", "page(-0.5)", "Up half a page", "ctrl+u"),
    _table("first-row", "edge(-1)", "The first row", "g", "home"),
    _table("last-row", "edge(1)", "The last row", "G", "end"),
    _table("later-tokens", "columns(1)", "Later tokens", "l", "right"),
    _table("earlier-tokens", "columns(-1)", "Earlier tokens", "h", "left"),
    Action("find", "find", "Find a token", _READ, ("slash",), hint="find"),
    Action("find-next", "find_next(1)", "The next row with it", _READ, ("n",)),
    Action("find-previous", "find_next(-1)", "The previous row with it", _READ, ("N",)),
    Action("columns", "choose_columns", "Choose the columns", _READ, ("C",)),
    Action("detail", "detail", "Show or hide the layer detail", _VIEW, ("d",), hint="detail"),
    Action("zoom-detail", "zoom_detail", "The detail, large or small", _VIEW, ("enter",)),
    Action("plot", "plot", "Show or hide the trajectories", _VIEW, ("P",), hint="plot"),
    Action("measure", "measure", "Plot p, log p or rank", _VIEW, ("percent_sign",)),
    Action("track", "track", "Track tokens by typing them", _VIEW, ("t",), hint="track"),
    Action("picture", "picture", "Show or hide the picture", _VIEW, ("p",), hint="picture"),
    Action("seen", "seen", "What the model sees of it, or the picture", _VIEW, ("v",)),
    Action("zoom-picture", "zoom_picture", "The picture, large", _VIEW, ("z",)),
    Action("theme", "theme", "Choose a theme", _VIEW, ("T",)),
    Action("leave-editor", "leave_editor", "Leave the editor", _VIEW, ("escape",), palette=False),
    Action("next-pane", "focus_next", "Next pane", _VIEW, ("tab",), palette=False),
    Action(
        "previous-pane", "focus_previous", "Previous pane", _VIEW, ("shift+tab",), palette=False
    ),
    Action("history", "history", "The runs of the session", _RUNS, ("H",), hint="runs"),
    Action("next-run", "switch(1)", "Next run", _RUNS, (".",)),
    Action("previous-run", "switch(-1)", "Previous run", _RUNS, ("comma",)),
    Action("compare", "compare", "Compare with the run before", _RUNS, ("b",)),
    Action("without", "without", "The same without the picture", _RUNS, ("B",), hint="without"),
    Action("against", "against", "Everything in the picture's stead", _RUNS, ("A",)),
    Action("instead", "instead", "Choose what stands in its stead", _RUNS),
    Action("sweep", "sweep", "The sweep: what it shows, its items", _RUNS, ("I",)),
    Action("rename", "rename", "Give this run a title", _RUNS, ("f6",)),
    Action("delete", "delete", "Delete this run", _RUNS, ("delete",)),
    Action("undo", "undo_delete", "Bring a deleted run back", _RUNS, ("u",)),
    Action("open", "open", "Open a picture or a session", _FILES, ("o", "ctrl+o"), hint="open"),
    Action("save", "save", "Save the session", _FILES, ("s", "ctrl+s"), hint="save"),
    Action("recover", "recover", "Reopen what was not closed", _FILES, ("R",)),
    Action("models", "models", "Choose another model", _FILES, ("M",), hint="models"),
    Action("load", "load", "Load the model of this run", _FILES, ("L",)),
    Action("copy-row", "copy_row", "Copy the row", _FILES, ("y",), hint="copy"),
    Action("copy-table", "copy_table", "Copy the table", _FILES, ("Y",)),
    Action("copy-as", "copy_as", "Copy as TSV, Markdown, JSON", _FILES),
    Action("copy-command", "copy_command", "Copy as command: lenscope run ...", _FILES),
    Action("copy-python", "copy_python", "Copy as Python", _FILES),
    Action("export", "export", "Export the run or the view", _FILES, ("x",), hint="export"),
    Action("help", "help", "Help", _PROGRAM, ("question_mark", "f1"), hint="help", palette=False),
    Action("palette", "command_palette", "All commands", _PROGRAM, ("ctrl+p",), palette=False),
    Action("suspend", "suspend_process", "Suspend (fg resumes)", _PROGRAM, ("ctrl+z",)),
    Action("leave", "leave", "Quit; unsaved runs are kept", _PROGRAM, ("q", "ctrl+q"), hint="quit"),
)  # fmt: skip

GROUPS: Final = tuple(dict.fromkeys(action.group for action in ACTIONS))

_ALWAYS: Final = frozenset({"cancel", "leave", "help"})
"""What also works while a dialog is open."""

_NEVER_FIRST: Final = frozenset({"tab", "shift+tab", "escape", "ctrl+z", "enter", "delete"})
"""Keys that mean something else to the editor: there they are the editor's."""

_BAR: Final = (
    "run", "edit", "next-preset", "run-presets", "find", "plot", "track", "detail", "history",
    "without", "models", "open", "save", "copy-row", "export", "more", "norm", "picture",
    "help", "leave",
)  # fmt: skip
_EDITING_BAR: Final = ("run", "next-preset", "prompts", "open", "save", "help", "leave")
"""What the key bar shows, the most useful first, by id; how many depends on the width."""

_UNBOUND: Final = "unbound"
"""No terminal sends this key. A user's keymap can only replace keys, not take them away."""

_SHORT_NAMES: Final = {
    "slash": "/",
    "plus": "+",
    "minus": "-",
    "underscore": "_",
    "at": "@",
    "backslash": "\\",
}
"""Names that Textual gives to characters of its own accord."""

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
    """What the key bar says of one key."""

    key: str
    word: str
    action: str = ""
    """What a click on it runs; empty where it stands for several."""

    @property
    def width(self) -> int:
        """In cells, with the blanks around key and word."""
        return len(self.key) + len(self.word) + 3


class Keymap:
    """Which keys act: the registry's, with the user's own in their place."""

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        """`own` maps an action's id to its keys, separated by commas; none unbinds it."""
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
        """Return what `App.set_keymap` takes: the keys of the actions that differ."""
        return {
            identity: ",".join(keys) or _UNBOUND
            for action in ACTIONS
            if self._keys[action.id] != action.keys
            for identity, keys in _thirds(action.id, self._keys[action.id])
        }

    def names(self, action: Action, *, ascii_only: bool = False) -> str:
        """Return all keys of an action, for help."""
        return " ".join(key_name(key, ascii_only=ascii_only) for key in self.keys(action))

    def first(self, identity: str) -> str:
        """Return the first key of an action as people write it; empty where it has none."""
        keys = self._keys[identity]
        return key_name(keys[0]) if keys else ""

    def bar(self, *, editing: bool) -> list[Hint]:
        """Return what can be pressed here, the most useful first."""
        by_id = {action.id: action for action in ACTIONS}
        hints = [Hint("esc", "table", "leave_editor") if editing else Hint("jk", "layers")]
        for action in (by_id[identity] for identity in (_EDITING_BAR if editing else _BAR)):
            keys = [key for key in self.keys(action) if not (editing and types(key))]
            if keys:
                hints.append(Hint(self._bar_key(action, keys[0]), action.hint, action.name))
        return hints

    def _bar_key(self, action: Action, key: str) -> str:
        pairs = {"next-preset": ("]", "[]"), "more": ("plus", "+-")}
        if pairs.get(action.id, ("",))[0] == key:
            return pairs[action.id][1]
        return key_name(key).replace("ctrl+", "^")


def app_bindings() -> list[Binding]:
    """Return the bindings of the app.

    All but a few win over every widget, at once, in the order of the keys: a key that a widget
    passed on would come behind the next one. What types something goes through `action_typed`,
    which the app allows only where nothing is being typed.
    """
    bindings: list[Binding] = []
    for action in ACTIONS:
        if action.scope is not Scope.ANYWHERE:
            continue
        for identity, keys in _thirds(action.id, action.keys):
            typed = identity.endswith(".typed")
            bindings.append(
                Binding(
                    ",".join(keys) or _UNBOUND,
                    f"typed({action.name!r})" if typed else action.name,
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
        Binding(",".join(keys) or _UNBOUND, action.name, action.title, show=False, id=identity)
        for action in ACTIONS
        if action.scope is Scope.TABLE
        for identity, keys in _thirds(action.id, action.keys)
    ]


def works_in_dialogs(name: str) -> bool:
    """Return whether an action may run while a dialog is open."""
    return name in _ALWAYS


def is_ours(name: str) -> bool:
    """Return whether a name, without its parameters, is an action of the registry."""
    return any(action.name.partition("(")[0] == name for action in ACTIONS)


def types(key: str) -> bool:
    """Return whether a key would type something into an editor, or is the editor's own."""
    return key in _NEVER_FIRST or _character(key) is not None


def key_name(key: str, *, ascii_only: bool = False) -> str:
    """Return a key as people write it."""
    name = _KEY_NAMES.get(key) or _character(key) or key
    return key if ascii_only and not name.isascii() else name


def _character(key: str) -> str | None:
    """The character that a key types, None where it types none."""
    character = _SHORT_NAMES.get(key) or key_to_character(key)
    return character if character is not None and character.isprintable() else None


def _normal(key: str) -> str:
    return _character(key) or key


def _thirds(identity: str, keys: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The keys that win over every widget, those that type something, and those that mean
    something else to an editor or a dialog and come after it."""
    keys = tuple(keys)
    late = tuple(key for key in keys if key in _NEVER_FIRST)
    typed = tuple(key for key in keys if types(key) and key not in late)
    first = tuple(key for key in keys if key not in late and key not in typed)
    return ((identity, first), (f"{identity}.typed", typed), (f"{identity}.late", late))


def _split(keys: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in keys.split(",") if key.strip())
