"""Keys that read: the detail, the plot, tracked tokens, the search, the columns."""

from __future__ import annotations

import dataclasses

from textual import on

from engine.events import SpellingsFound
from tui.explorer.base import ExplorerBase
from tui.state.finding import next_row, rows_with
from tui.state.run_view import RunView
from tui.views.table.find_line import FindLine


class ReadingKeys(ExplorerBase):
    """What looks closer at the run that is shown."""

    # ------------------------------------------------------------------ panes

    def action_detail(self) -> None:
        """Open or close the detail of the layer."""
        self._main.toggle_detail()
        self.call_after_refresh(self.show_resting)

    def action_zoom_detail(self) -> None:
        """Give the detail most of the column, or take it back."""
        self._main.toggle_detail_zoom()
        self.call_after_refresh(self.show_resting)

    def action_plot(self) -> None:
        """Open or close the plot of the trajectories."""
        self._main.toggle_plot()
        self.call_after_refresh(self.show_resting)

    def action_measure(self) -> None:
        """Plot the next measure: probability, its logarithm, rank."""
        if not self._main.plot_open:
            self._main.toggle_plot()
        else:
            self.remembered.note(plot=self.plot_pane.next_measure())
        self.call_after_refresh(self.show_resting)

    def action_theme(self) -> None:
        """Choose a theme."""
        self.search_themes()

    def action_choose_columns(self) -> None:
        """Choose which figures have a column."""
        from tui.views.table.column_chooser import ColumnChooser

        self.push_screen(
            ColumnChooser(self.state.look.figures, ascii_only=self.startup.ascii),
            self._take_columns,
        )

    def _take_columns(self, figures: tuple[str, ...] | None) -> None:
        if figures is not None:
            self.state.look = dataclasses.replace(self.state.look, figures=figures)
            self.remembered.note(columns=figures)
            self.show_all()

    # ------------------------------------------------------------------ tracked tokens

    def action_track(self) -> None:
        """Type a token to follow through the layers."""
        from tui.views.plot.track_dialog import TrackDialog

        run = self.state.current
        if run is None:
            self.say("there is no run yet to follow a token through: r runs the question")
            return
        reason = ""
        if not self.asker.keeps_stream_of(run):
            reason = (
                "this run's stream is not kept: r runs it again"
                if self.state.model.ready is not None
                else "other tokens need the model: L loads it"
            )
        self.push_screen(
            TrackDialog(_tracked(run), reason=reason, ascii_only=self.startup.ascii),
            lambda tokens: self._take_tracked(run, tokens),
        )

    def on_track_dialog_wanted(self, message: object) -> None:
        """Ask the worker which tokens a typed word can be."""
        self.asker.ask_spellings(getattr(message, "typed", ""))

    def offer_spellings(self, found: SpellingsFound) -> None:
        """Hand what the worker has found to the dialog that asked."""
        from tui.views.plot.track_dialog import TrackDialog

        if isinstance(self.screen, TrackDialog):
            self.screen.offer(found)

    def _take_tracked(self, run: RunView, tokens: tuple[tuple[int, str], ...] | None) -> None:
        if tokens is None:
            return
        wanted, known = dict(tokens), dict(_tracked(run))
        for gone in known.keys() - wanted.keys():
            run.untrack(gone)
            self.state.pinned.pop(gone, None)
        self.asker.track(run, [token for token in tokens if token[0] not in known])
        if tokens and not self._main.plot_open:
            self._main.toggle_plot()
        self.call_after_refresh(self.show_all)

    # ------------------------------------------------------------------ search

    def action_find(self) -> None:
        """Type what to find."""
        self.find_line.open()
        self._main.set_class(True, "-finding")

    @on(FindLine.Typed)
    def _find(self, message: FindLine.Typed) -> None:
        self._mark(message.wanted)
        found = self._found()
        if found and self.table.cursor not in found:
            self._go(next_row(found, self.table.cursor, 1))

    @on(FindLine.Closed)
    def _found_or_not(self, message: FindLine.Closed) -> None:
        self._main.set_class(False, "-finding")
        self._main.set_focus(self.table)
        if not message.kept:
            self._mark("")
        elif not self._found():
            self.say(f"no row shows {self.state.look.find!r} among its top {self.state.top_k}")
        else:
            self._say_found()

    def action_find_next(self, step: int) -> None:
        """Go to the next (or previous) row with what was looked for."""
        if not self.state.look.find:
            self.action_find()
            return
        row = next_row(self._found(), self.table.cursor, step)
        if row is None:
            self.say(f"no row shows {self.state.look.find!r} among its top {self.state.top_k}")
        else:
            self._go(row)
            self._say_found()

    def _mark(self, wanted: str) -> None:
        self.state.look = dataclasses.replace(self.state.look, find=wanted)
        self.table.show(self.state.current, self.state.look)

    def _found(self) -> list[int]:
        run = self.state.current
        return rows_with(run.rows, self.state.look.find, self.state.top_k) if run else []

    def _go(self, row: int | None) -> None:
        if row is not None:
            self.table.touched = True
            self.table.put_cursor(row)

    def _say_found(self) -> None:
        found = self._found()
        here = found.index(self.table.cursor) + 1 if self.table.cursor in found else "-"
        self.say(
            f"{self.state.look.find!r}: row {here} of {len(found)}; n and N go on, / changes it"
        )


def _tracked(run: RunView) -> tuple[tuple[int, str], ...]:
    return tuple((known.id, known.text) for known in run.run.tracked if known.why == "user")
