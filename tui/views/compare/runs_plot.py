"""Any number of runs in one plot: the probability of a token over the rows of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.records import Token
from tui.state.comparing import known_place, of_one_model, same_token
from tui.state.curves import stretches
from tui.state.measures import Measure
from tui.state.run_view import RunView
from tui.text.show import display_text
from tui.theme import HUES
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.later import draw_later
from tui.widgets.letters import letter_of

if TYPE_CHECKING:
    from tui.widgets.plot_canvas import Plot

MOST: Final = 12
"""Most runs in one plot; more could not be told apart."""
_OWN: Final = 1
"""Which choice is each run's own answer."""
_SAID: Final = {Measure.PROBABILITY: "p", Measure.LOG: "ln p", Measure.RANK: "rank"}
_NAME: Final = 30


class RunsPlot(ModalScreen[None]):
    """Draws a line for each run: of the first run's answer, of its own, or of a token that the
    user tracks in any of them."""

    VIEW: ClassVar[str] = "history"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,P", "dismiss", show=False),
        Binding("asterisk", "next_token", show=False),
        Binding("percent_sign", "next_measure", show=False),
    ]
    CSS = """
    RunsPlot Static { width: 44; padding: 1; }
    RunsPlot.-ascii .dialog { border: ascii $primary; }
    """

    def __init__(self, runs: Sequence[RunView], *, ascii_only: bool) -> None:
        super().__init__()
        self._runs = tuple(runs)[:MOST]
        self._left_out = len(runs) - len(self._runs)
        self._ascii = ascii_only
        self._shown = 0
        """Which of `_choices` is drawn."""
        self._measure = Measure.PROBABILITY
        self._plot: Plot | None = None
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the plot and its legend."""
        from tui.widgets.plot_canvas import Plot

        self._plot = Plot(ascii_only=self._ascii)
        with Vertical(classes="dialog whole-dialog"), Horizontal():
            yield self._plot
            yield Static(markup=False)

    def on_resize(self) -> None:
        """Draw the plot as large as possible."""
        draw_later(self, self._draw)

    def action_next_token(self) -> None:
        """Draw the first run's answer, each run's own, or the next of the tracked tokens."""
        self._shown = (self._shown + 1) % len(self._choices)
        self._draw()

    def action_next_measure(self) -> None:
        """Draw the next measure: probability, log-probability or rank."""
        self._measure = self._measure.next
        self._draw()

    @property
    def _choices(self) -> list[tuple[str, Token | None]]:
        """What can be drawn: its name, and the token; None stands for each run's own answer."""
        first = self._runs[0].answer
        choices = [(f"the first run's {self._what}", first), (f"its own {self._what}", None)]
        known = [first] if first is not None else []
        for view in self._runs:
            by_text = not of_one_model(self._runs[0], view)
            for each in view.run.tracked:
                token = Token(each.id, each.text, 0.0, None)
                if each.why == "user" and not any(same_token(token, had, by_text) for had in known):
                    known.append(token)
                    name = display_text(each.text, 12, ascii_only=self._ascii).rstrip()
                    choices.append((f"{name}, tracked", token))
        return choices

    def _draw(self) -> None:
        plot, choices, measure = self._plot, self._choices, self._measure
        if plot is None or not plot.is_mounted:
            return
        of, chosen = choices[self._shown % len(choices)]
        tokens = [view.answer if self._shown == _OWN else chosen for view in self._runs]
        values = [self._values(*pair) for pair in zip(self._runs, tokens, strict=True)]
        deepest = max(view.run.layers for view in self._runs)
        heights = [measure.height(each) for run in values for each in run if each is not None]
        low, high, ticks = measure.axis(heights, plot.size.height - 3)
        legend: list[tuple[str, str]] = []
        known: list[list[tuple[float, float]]] = []
        plot.clear()
        plot.show_axes(deepest, low, high, ticks)
        for index, (view, token) in enumerate(zip(self._runs, tokens, strict=True)):
            colour = _colour(index)
            scale = deepest / max(view.run.layers, 1)
            style = self._variable(colour)
            lines = [
                [(layer * scale, measure.height(value)) for layer, value in stretch]
                for stretch in stretches(values[index])
            ]
            for points in lines:
                plot.add_line(points, style)
            known.append([point for points in lines for point in points])
            sign = letter_of(index) if self._lettered else "━"
            name = display_text(view.name, _NAME, spaces=False, ascii_only=self._ascii).rstrip()
            at_end = values[index][-1] if values[index] else None
            last = "not known at the end" if at_end is None else measure.shown(at_end)
            said = display_text(token.text, 12, ascii_only=self._ascii).rstrip() if token else "-"
            legend.append((f"{sign} {name}\n  {_SAID[measure]} of {said} {last}\n", f"${colour}"))
        if self._lettered:  # on top of all lines, some of which lie on others
            for index, points in enumerate(known):
                plot.add_letters(points, index, deepest, self._variable(_colour(index)))
        if self._left_out:
            legend.append((f"and {self._left_out} more\n", "$faint"))
        self.query_one(Static).update(Content.assemble(*legend))
        plot.draw(None, "")
        box = self.query_one(Vertical)
        put_title(box, f"{len(self._runs)} runs: {_SAID[measure]} of {of} over the rows")
        more = ", tracked tokens" if len(choices) > _OWN + 1 else ""
        keys = f"* own {self._what}s or the first run's{more}, % p, ln p, rank, q closes"
        put_subtitle(box, keys)

    def _values(self, view: RunView, token: Token | None) -> list[float | None]:
        """Return the token's value in every row of a run; None where it is not known."""
        if token is None:
            return []
        by_text = not of_one_model(self._runs[0], view)
        values: list[float | None] = []
        for layer in range(view.run.layers + 1):
            place = known_place(view, layer, token, by_text)
            known = None if place is None else self._measure.of(place.probability, place.rank)
            values.append(known)
        return values

    @property
    def _lettered(self) -> bool:
        """Whether letters tell the lines apart: without colours, or with more runs than colours."""
        colourless = self._ascii or "NO_COLOR" in os.environ
        return colourless or len(self._runs) > HUES + 1

    @property
    def _what(self) -> str:
        """What the best token of the last row is called at the positions of the runs."""
        return "answer" if self._runs[0].own is self._runs[0] else "next token"

    def _variable(self, name: str) -> str:
        variables: dict[str, str] = getattr(self.app, "theme_variables", {})
        return variables.get(name, "white").removeprefix("ansi_")


def _colour(index: int) -> str:
    """Return the name of the colour of a run's line."""
    return "answer" if index == 0 else f"hue-{(index - 1) % HUES + 1}"
