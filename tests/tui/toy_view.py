"""An entry of the registry of views, as a new method would have one."""

from __future__ import annotations

from tui.views.registry import Slot, View

TOY = View(
    "toy",
    "toy",
    "Show or hide the toy",
    Slot.LOWER,
    keys=("f9",),
    hint="toy",
    method="contrast",
    widget="tui.widgets.reading_view:ReadingView",
)
