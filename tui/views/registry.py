"""The registry of views: what can be shown, which keys show it, and where it is placed.

`tui.actions.registry` makes an action of every entry, so that bindings, key bar, help, command
palette and the user's keymap include it. A new view is a module in a folder beside this one and an
entry here. An entry names its widget instead of importing it, so that it is loaded on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pkgutil import resolve_name
from typing import Any, Final


class Slot(Enum):
    """Where a view is placed."""

    BESIDE = "beside"
    """In the lower slot of the main screen, beside other views there."""
    LOWER = "lower"
    """In the lower slot of the main screen, replacing the view that was open."""
    FIXED = "fixed"
    """In a fixed place on the main screen."""
    DIALOG = "dialog"
    """In a dialog over the main screen."""


@dataclass(frozen=True)
class View:
    """Something that can be shown."""

    id: str
    """Its name in the user's keymap."""
    title: str
    """Its title in one to three words, for its border unless it sets another."""
    help: str
    """A phrase for the help and the palette."""
    slot: Slot
    keys: tuple[str, ...] = ()
    hint: str = ""
    """A word for the key bar; empty keeps the view out of it."""
    method: str | None = None
    """The name of the engine's method whose readings it shows."""
    widget: str = ""
    """The class of a view in the lower slot, such as "tui.views.detail.detail:Detail". It is
    constructed with a `tui.widgets.view_context.ViewContext`, and with its method if it has one.
    By default, that of a view `cosine` is "tui.views.cosine:CosineView"."""
    opens: str = ""
    """The function that opens any other view; it is called with the app."""
    enlarges: bool = False
    """Whether its key enlarges it while it is open, instead of closing it."""
    at_start: bool = False
    """Whether it is open at the start if it fits, until the user opens or closes it."""
    group: str = "Look"
    palette: bool = True

    @property
    def factory(self) -> Any:
        """The class that `widget` names, imported on first use."""
        words = "".join(word.capitalize() for word in self.id.split("-"))
        default = f"tui.views.{self.id.replace('-', '_')}:{words}View"
        return resolve_name(self.widget or default)


VIEWS: Final[tuple[View, ...]] = (
    View(
        "detail",
        "layer detail",
        "Show or hide the layer detail",
        Slot.BESIDE,
        keys=("d",),
        hint="detail",
        widget="tui.views.detail.detail:Detail",
        at_start=True,
    ),
    View(
        "plot",
        "probability over the layers",
        "Show or hide the trajectories",
        Slot.LOWER,
        keys=("P",),
        hint="plot",
        widget="tui.views.plot.trajectories:Trajectories",
    ),
    View(
        "table",
        "layers",
        "The table of layers, alone if pressed again",
        Slot.FIXED,
        keys=("1",),
        opens="tui.actions.reading:table",
    ),
    View(
        "grid",
        "grid",
        "The grid: rows x positions",
        Slot.LOWER,
        keys=("2",),
        hint="grid",
        method="grid",
        widget="tui.views.grid.grid:GridView",
        enlarges=True,
    ),
    View(
        "picture",
        "picture",
        "Show or hide the picture",
        Slot.FIXED,
        keys=("p",),
        hint="picture",
        opens="tui.actions.picture:show_or_hide",
    ),
    View(
        "zoom-picture",
        "picture",
        "Enlarge the picture",
        Slot.DIALOG,
        keys=("z",),
        opens="tui.actions.picture:enlarge",
    ),
    View(
        "words",
        "where in the picture",
        "Where in the picture words are readable",
        Slot.DIALOG,
        keys=("3",),
        hint="words",
        method="words",
        opens="tui.actions.words:show",
    ),
    View(
        "attention",
        "where it looks",
        "Where a position looks: attention, knockout",
        Slot.DIALOG,
        keys=("4",),
        hint="attention",
        method="attention",
        opens="tui.actions.attention:show",
    ),
    View(
        "answer",
        "answer",
        "The answer: rows at every token, settings",
        Slot.DIALOG,
        keys=("5",),
        hint="answer",
        method="answer",
        opens="tui.actions.answer:show",
    ),
    View(
        "parts",
        "which parts",
        "Which parts wrote the answer: logit attribution",
        Slot.DIALOG,
        keys=("6",),
        hint="parts",
        method="parts",
        opens="tui.actions.parts:show",
    ),
    View(
        "tracing",
        "tracing",
        "Causal tracing (activation patching): what decides",
        Slot.DIALOG,
        keys=("7",),
        hint="tracing",
        method="tracing",
        opens="tui.actions.tracing:show",
    ),
    View(
        "saliency",
        "saliency",
        "Saliency: gradients, IG, SmoothGrad, occlusion",
        Slot.DIALOG,
        keys=("8",),
        hint="saliency",
        method="saliency",
        opens="tui.actions.saliency:show",
    ),
    View(
        "neurons",
        "which neurons",
        "Which neurons wrote the answer: units of the MLPs",
        Slot.DIALOG,
        keys=("9",),
        hint="neurons",
        method="neurons",
        opens="tui.actions.neurons:show",
    ),
    View(
        "history",
        "runs",
        "Runs in this session",
        Slot.DIALOG,
        keys=("H",),
        hint="runs",
        group="Runs",
        opens="tui.actions.runs:history",
    ),
    View(
        "compare",
        "two runs",
        "Compare with the run before",
        Slot.DIALOG,
        keys=("b",),
        group="Runs",
        opens="tui.actions.runs:compare",
    ),
    View(
        "without",
        "with and without the picture",
        "Ask the same without the picture",
        Slot.DIALOG,
        keys=("B",),
        hint="without",
        method="contrast",
        group="Runs",
        opens="tui.actions.counterfactuals:without",
    ),
    View(
        "against",
        "instead of the picture",
        "Try every image replacement",
        Slot.DIALOG,
        keys=("A",),
        group="Runs",
        opens="tui.actions.counterfactuals:every",
    ),
    View(
        "sweep",
        "sweep",
        "The sweep: its findings and items",
        Slot.DIALOG,
        keys=("I",),
        group="Runs",
        opens="tui.actions.sweeps:show",
    ),
    View(
        "help",
        "help",
        "Help",
        Slot.DIALOG,
        keys=("question_mark", "f1"),
        hint="help",
        group="Program",
        opens="tui.actions.program:show_help",
    ),
    View(
        "glossary",
        "glossary",
        "What the terms mean (glossary)",
        Slot.DIALOG,
        group="Program",
        opens="tui.actions.program:show_glossary",
    ),
)

LOWER: Final[Mapping[str, View]] = {
    view.id: view for view in VIEWS if view.slot in (Slot.BESIDE, Slot.LOWER)
}
"""The views of the lower slot, by id."""
