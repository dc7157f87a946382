"""Keys about a sweep that is open: what it shows, and its items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from engine.errors import LenscopeError
from tui.explorer.runs import RunsKeys

if TYPE_CHECKING:
    from tui.views.sweep.sweep_view import SweepShown


class SweepKeys(RunsKeys):
    """What opens the items of a sweep's folder."""

    _sweep: SweepShown | None = None

    def open_sweep(self) -> None:
        """Show the sweep that the explorer was started with, if there is one."""
        if self.startup.sweep is not None and not self.state.runs:
            self.action_sweep()

    def action_sweep(self) -> None:
        """Show what the sweep shows."""
        if self.startup.sweep is None:
            self.say("no sweep is open: `lenscope DIR` opens one")
            return
        from tui.views.sweep.sweep_view import SweepView

        view = SweepView(self.startup.sweep, self._sweep, ascii_only=self.startup.ascii)

        def closed(to_items: bool | None) -> None:
            self._sweep = view.shown
            if to_items:
                self._list_items()

        self.push_screen(view, closed)

    def _list_items(self) -> None:
        from tui.views.sweep.sweep_view import SweepItems

        if self._sweep is None:
            return
        self.push_screen(
            SweepItems(
                f"{len(self._sweep.items):,} items",
                self._sweep.items,
                ascii_only=self.startup.ascii,
                hint="lost, wrong, right, a prompt, an answer, a file",
            ),
            self._open_item,
        )

    def _open_item(self, item: str | None) -> None:
        if item is None:
            self.action_sweep()
            return
        from engine.sweeps.reopening import open_item

        assert self.startup.sweep is not None
        try:
            run = open_item(self.startup.sweep, item)
        except LenscopeError as error:
            self.say(str(error), "error")
            return
        self.state.include(run)
        self.state.question = replace(run.question, model=None)
        self.forget_seen()
        self.editor.put(run.question.prompt)
        self.show_edit_title()
        self.show_all()
        self.show_picture()
        self.show_picture_facts()
        key = self.keymap.first("sweep") or "the palette"
        truth = f", {run.title}" if run.title else ""
        self.say(f"item {item}{truth}; {key} goes back to the sweep")
