"""The registry of actions, from which bindings, key bar, help, command palette and the user's
keymap are made. It includes the views of `tui.views.registry`, since showing a view is an action.

An action names its function instead of importing it, so that code that only needs the ids (the
settings check the user's keymap) loads nothing slow.

Keys that tmux or a legacy terminal swallows (ctrl+enter, ctrl+j/m/h/i, alt+enter, F11) are not
used, and Esc is never the only way out of a dialog.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any, Final

from tui.views.registry import VIEWS, View


class Scope(Enum):
    """Where a key acts."""

    ANYWHERE = "anywhere"
    """Keys that type something do not act while the editor has the focus."""
    TABLE = "in the table"


@dataclass(frozen=True)
class Action:
    """Something that the user can do."""

    id: str
    """Its name in the user's keymap."""
    title: str
    """A phrase for the help and the palette."""
    group: str
    run: str
    """The function that performs it, such as "tui.actions.asking:run". It is called with the app
    and with `arguments`."""
    keys: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    scope: Scope = Scope.ANYWHERE
    hint: str = ""
    """A word for the key bar; empty keeps the action out of it."""
    palette: bool = True

    @property
    def function(self) -> Callable[..., None]:
        """The function that `run` names, imported on first use."""
        function: Callable[..., None] = resolve_name(self.run)
        return function


_ASK: Final = "Ask"
_READ: Final = "Read the table"
_LOOK: Final = "Look"
_RUNS: Final = "Runs"
_FILES: Final = "Files and models"
_PROGRAM: Final = "Program"

GROUPS: Final = (_ASK, _READ, _LOOK, _RUNS, _FILES, _PROGRAM)


def _action(
    group: str,
    identity: str,
    run: str,
    title: str,
    *keys: str,
    hint: str = "",
    palette: bool = True,
    scope: Scope = Scope.ANYWHERE,
    **arguments: Any,
) -> Action:
    run = f"tui.actions.{run}"
    return Action(identity, title, group, run, keys, arguments, scope, hint, palette)


def _table(identity: str, run: str, title: str, *keys: str, **arguments: Any) -> Action:
    return _action(
        _READ, identity, f"table:{run}", title, *keys,
        scope=Scope.TABLE, palette=False, **arguments,
    )  # fmt: skip


def _of_view(view: View) -> Action:
    """Return the action that shows a view."""
    return Action(
        id=view.id,
        title=view.help,
        group=view.group,
        run=view.opens or f"tui.actions.reading:{'open_or_enlarge' if view.enlarges else 'toggle'}",
        keys=view.keys,
        arguments={} if view.opens else {"view": view.id},
        hint=view.hint,
        palette=view.palette,
    )


_OWN: Final = (
    _action(_ASK, "run", "asking:run", "Run the question", "r", "ctrl+r", "f5", hint="run"),
    _action(
        _ASK, "live", "asking:live", "Live mode: ask while you type", "E", "ctrl+t", hint="live"
    ),
    _action(
        _ASK, "cancel", "asking:cancel", "Cancel what is running, or copy the selection", "ctrl+c"
    ),
    _action(_ASK, "edit", "asking:edit", "Edit the prompt", "e", "i", hint="edit"),
    _action(
        _ASK, "next-preset", "asking:preset", "Next preset prompt", "]", "f4", hint="preset", step=1
    ),
    _action(_ASK, "previous-preset", "asking:preset", "Previous preset prompt", "[", "f3", step=-1),
    _action(
        _ASK, "prompts", "asking:prompts", "Choose a prompt from a menu", "w", "f2", hint="prompts"
    ),
    _action(
        _ASK, "run-presets", "asking:run_presets", "Run every preset of this set", "a", hint="all"
    ),
    _action(_ASK, "ask-every", "picture:ask_every", "Ask this about every picture here", "Q"),
    _action(
        _ASK, "norm", "asking:norm", "Turn the final norm on or off (runs again)", "m", hint="norm"
    ),
    _action(
        _ASK,
        "settings",
        "settings:show",
        "Settings: system turn, prefix, raw, top-k, seed, dtype",
        "S",
    ),
    _action(
        _ASK, "more", "asking:more", "One more token per layer", "plus", "=", hint="top-k", step=1
    ),
    _action(_ASK, "less", "asking:more", "One fewer token per layer", "minus", step=-1),
    _action(_ASK, "continue", "answer:proceed", "Continue the answer: rows at every token", "c"),
    _table("down", "cursor", "Down a layer", "j", "down", step=1),
    _table("up", "cursor", "Up a layer", "k", "up", step=-1),
    _table("page-down", "page", "Down a page", "pagedown", "ctrl+f", pages=1),
    _table("page-up", "page", "Up a page", "pageup", pages=-1),
    _table("half-page-down", "page", "Down half a page", "ctrl+d", pages=0.5),
    _table("half-page-up", "page", "Up half a page", "ctrl+u", pages=-0.5),
    _table("first-row", "edge", "The first row", "g", "home", side=-1),
    _table("last-row", "edge", "The last row", "G", "end", side=1),
    _table("later-tokens", "columns", "Later tokens", "l", "right", step=1),
    _table("earlier-tokens", "columns", "Earlier tokens", "h", "left", step=-1),
    _action(_READ, "find", "reading:find", "Find a token", "slash", hint="find"),
    _action(_READ, "find-next", "reading:find_next", "Next row with that token", "n", step=1),
    _action(
        _READ, "find-previous", "reading:find_next", "Previous row with that token", "N", step=-1
    ),
    _action(_READ, "columns", "reading:choose_columns", "Choose the columns", "C"),
    _action(_READ, "fold", "reading:fold", "Fold equal rows, then where top-1 stays, or none", "F"),
    _action(
        _LOOK,
        "zoom-detail",
        "reading:enlarge",
        "Enlarge or shrink the detail",
        "enter",
        view="detail",
    ),
    _action(
        _LOOK,
        "next-position",
        "places:step",
        "Position: next token of the prompt",
        "greater_than_sign",
        step=1,
    ),
    _action(
        _LOOK,
        "previous-position",
        "places:step",
        "Position: previous token",
        "less_than_sign",
        step=-1,
    ),
    _action(
        _LOOK, "next-part", "places:part", "Next part of the prompt", "right_parenthesis", step=1
    ),
    _action(_LOOK, "previous-part", "places:part", "Previous part", "left_parenthesis", step=-1),
    _action(_LOOK, "own-position", "places:own", "Position that was read: back to it", "semicolon"),
    _action(_LOOK, "unfold", "places:unfold", "Fold or unfold the picture's patches"),
    _action(
        _LOOK,
        "measure",
        "reading:measure",
        "Plot p, log p or rank; colour the grid",
        "percent_sign",
    ),
    _action(
        _LOOK, "more-tokens", "reading:scroll_detail", "More tokens in the detail", "J", pages=0.5
    ),
    _action(_LOOK, "fewer-tokens", "reading:scroll_detail", "Back to the first", "K", pages=-0.5),
    _action(
        _LOOK,
        "leaders",
        "reading:leaders",
        "Plot all that was top-1, or what is tracked",
        "asterisk",
    ),
    _action(_LOOK, "track", "reading:track", "Track tokens by typing them", "t", hint="track"),
    _action(
        _LOOK, "seen", "picture:seen", "Switch between the picture and what the model sees", "v"
    ),
    _action(
        _LOOK,
        "next-picture",
        "picture:neighbour",
        "Next picture of the folder",
        "right_curly_bracket",
        step=1,
    ),
    _action(
        _LOOK,
        "previous-picture",
        "picture:neighbour",
        "Previous picture of the folder",
        "left_curly_bracket",
        step=-1,
    ),
    _action(_LOOK, "where", "words:where", "Where is a word in the picture", "W"),
    _action(_LOOK, "theme", "program:theme", "Choose a theme", "T"),
    _action(
        _LOOK,
        "notes",
        "reading:notes",
        "Notes on the model: what was passed over or chosen",
        "exclamation_mark",
    ),
    _action(
        _LOOK, "leave-editor", "asking:leave_editor", "Leave the editor", "escape", palette=False
    ),
    _action(_LOOK, "next-pane", "program:next_pane", "Next pane", "tab", palette=False),
    _action(
        _LOOK, "previous-pane", "program:previous_pane", "Previous pane", "shift+tab", palette=False
    ),
    _action(_RUNS, "next-run", "runs:switch", "Next run", ".", step=1),
    _action(_RUNS, "previous-run", "runs:switch", "Previous run", "comma", step=-1),
    _action(
        _RUNS, "instead", "counterfactuals:choose", "Choose what to show instead of the picture"
    ),
    _action(_RUNS, "rename", "runs:rename", "Give this run a title", "f6"),
    _action(_RUNS, "note", "runs:note", "Tags of this run and a note on it", "number_sign"),
    _action(_RUNS, "delete", "runs:delete", "Delete this run", "delete", "D"),
    _action(_RUNS, "undo", "runs:undo_delete", "Bring a deleted run back", "u"),
    _action(
        _FILES, "open", "files:open_file", "Open a picture or a session", "o", "ctrl+o", hint="open"
    ),
    _action(
        _FILES,
        "open-pasted",
        "files:open_pasted",
        "Open a file: paste its path, or drop it here",
        palette=False,
    ),
    _action(_FILES, "save", "files:save", "Save the session", "s", "ctrl+s", hint="save"),
    _action(_FILES, "recover", "files:recover", "Reopen the session that was not closed", "R"),
    _action(_FILES, "models", "asking:models", "Choose another model", "M", hint="models"),
    _action(_FILES, "load", "asking:load_shown", "Load the model of this run", "L"),
    _action(_FILES, "copy-row", "sharing:copy_row", "Copy the row", "y", hint="copy"),
    _action(_FILES, "copy-table", "sharing:copy_table", "Copy the table", "Y"),
    _action(_FILES, "copy-as", "sharing:copy_as", "Copy as TSV, Markdown, JSON"),
    _action(_FILES, "copy-command", "sharing:copy_command", "Copy as command: lenscope run ..."),
    _action(_FILES, "copy-python", "sharing:copy_python", "Copy as Python"),
    _action(_FILES, "export", "sharing:export", "Export the run or the view", "x", hint="export"),
    _action(_FILES, "screenshot", "sharing:shoot_screen", "Save a picture of the screen as SVG"),
    _action(_PROGRAM, "palette", "program:palette", "All commands", "ctrl+p", palette=False),
    _action(
        _PROGRAM,
        "explain",
        "program:explain",
        "Explain what stands here: columns, marks, figures",
        "backslash",
        "f8",
    ),
    _action(_PROGRAM, "redraw", "program:redraw", "Redraw the screen", "ctrl+l"),
    _action(_PROGRAM, "suspend", "program:suspend", "Suspend (fg resumes)", "ctrl+z"),
    _action(
        _PROGRAM,
        "leave",
        "program:leave",
        "Quit; unsaved runs are kept",
        "q",
        "ctrl+q",
        hint="quit",
    ),
)

ACTIONS: Final[tuple[Action, ...]] = tuple(
    sorted((*map(_of_view, VIEWS), *_OWN), key=lambda action: GROUPS.index(action.group))
)
"""All actions by group; in each group the views come first."""

BY_ID: Final[Mapping[str, Action]] = {action.id: action for action in ACTIONS}
