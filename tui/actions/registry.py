"""The one registry of actions: bindings, key bar, help, command palette and the user's own keymap
are made from it.

Keys that tmux or a legacy terminal swallows (ctrl+enter, ctrl+j/m/h/i, alt+enter, F11) are not
used; Esc is never the only way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


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
