"""The plot over the layers: which tokens, which values, and how it is drawn."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from engine.records import Question, Tracked
from tests.tui.fakes import ANSWER, finish, make_rows, make_run
from tests.tui.stage import in_loop
from tests.tui.test_show import HOSTILE
from tui.panes.trajectories import DRAWN_EVERY, Trajectories
from tui.state.curves import MOST, Measure, curves_of
from tui.state.run_view import RunView
from tui.theme import register_themes, theme_names, with_own_variables

QUESTION = Question(prompt="Shape:")


def ended(layers: int = 12, words: list[str] | None = None) -> RunView:
    rows = make_rows(layers, forms_at=layers // 2, words=words)
    return RunView.of(finish(make_run("a" * 16, QUESTION, layers), rows))


def test_the_tokens_are_the_answer_and_every_leader() -> None:
    run = ended()
    curves, more = curves_of(run, Measure.PROBABILITY)
    assert more == 0
    assert curves[0].id == ANSWER[0]
    assert curves[0].is_answer
    assert {curve.id for curve in curves} == {token.id for token in run.leaders}
    assert {curve.id: curve.hue for curve in curves} == run.hues
    assert all(len(curve.points) == 13 for curve in curves)


def test_while_rows_come_in_a_token_is_known_where_it_is_among_the_first() -> None:
    run = RunView(make_run("a" * 16, QUESTION, 12))
    run.rows = make_rows(12, forms_at=6, top_k=3)[:5]
    run.rows = [row.__class__(row.layer, row.top[:2], row.entropy, row.rms) for row in run.rows]
    curves, _ = curves_of(run, Measure.RANK)
    assert [curve.text for curve in curves] == [" red", " cube"]
    assert curves[0].points == (1.0, 1.0, 1.0, None, None)
    assert curves[1].points == (2.0, 2.0, 2.0, 1.0, 1.0)


def test_measures() -> None:
    run = ended()
    run.track([Tracked(5, " x", "user", (0.5, 0.0) + (0.1,) * 11, (None,) * 13, (3,) + (9,) * 12)])
    by_measure = {
        measure: next(c for c in curves_of(run, measure)[0] if c.id == 5) for measure in Measure
    }
    assert by_measure[Measure.PROBABILITY].points[:2] == (0.5, 0.0)
    assert by_measure[Measure.LOG].points[:2] == (math.log(0.5), None)
    assert by_measure[Measure.RANK].points[:2] == (3.0, 9.0)
    assert Measure.RANK.next is Measure.PROBABILITY


def test_no_more_curves_than_can_be_told_apart() -> None:
    words = [f" word{index}" for index in range(40)]
    run = ended(120, words)
    curves, more = curves_of(run, Measure.PROBABILITY)
    assert len(curves) == MOST
    assert more == len(run.leaders) - MOST
    assert curves[0].is_answer


class Stand(App[None]):
    """Nothing but the pane."""

    def __init__(self, pane: Trajectories) -> None:
        super().__init__()
        register_themes(self)
        self.theme = "lenscope"
        self.pane = pane

    def get_css_variables(self) -> dict[str, str]:
        theme = self.current_theme
        variables = super().get_css_variables()
        self.theme_variables = with_own_variables(variables, dark=theme.dark, ansi=theme.ansi)
        return self.theme_variables

    def compose(self) -> ComposeResult:
        yield self.pane

    @property
    def lines(self) -> list[str]:
        strips = self.screen._compositor.render_strips(self.size)
        return ["".join(segment.text for segment in strip) for strip in strips]


@asynccontextmanager
async def stand(
    size: tuple[int, int], *, ascii_only: bool = False
) -> AsyncIterator[tuple[Stand, Pilot[None]]]:
    app = Stand(Trajectories(ascii_only=ascii_only))
    async with app.run_test(size=size) as pilot:
        yield app, pilot


async def drawn(pilot: Pilot[None], pane: Trajectories) -> None:
    for _ in range(100):
        await pilot.pause(0.05)
        if pane._plot is not None and pane._due is None:
            await pilot.pause(0.3)
            return


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("size", [(60, 12), (100, 20), (40, 8)])
@in_loop
async def test_it_draws_every_measure_at_every_size(
    size: tuple[int, int], ascii_only: bool
) -> None:
    async with stand(size, ascii_only=ascii_only) as (app, pilot):
        app.pane.show(ended(), 3)
        await drawn(pilot, app.pane)
        text = "\n".join(app.lines)
        assert "100%" in text
        assert any(0x2800 < ord(char) < 0x2900 for char in text) is not ascii_only
        assert text.isascii() is ascii_only
        if size[0] >= 60:
            assert "cylinder" in text
        for sign in ("0", "#1"):
            app.pane.next_measure()
            await pilot.pause(0.1)
            assert sign in "\n".join(app.lines)


@in_loop
async def test_the_legend_tells_the_value_at_the_cursor() -> None:
    async with stand((100, 14)) as (app, pilot):
        run = ended()
        app.pane.show(run, 0)
        await drawn(pilot, app.pane)
        first = next(line for line in app.lines if "red" in line)
        app.pane.show(run, 11)
        await pilot.pause(DRAWN_EVERY * 2)
        assert next(line for line in app.lines if "red" in line) != first


@in_loop
async def test_hostile_tokens_are_harmless_in_the_legend() -> None:
    async with stand((100, 30)) as (app, pilot):
        app.pane.show(ended(30, [*HOSTILE, "[/red]", "[bold"]), 1)
        await drawn(pilot, app.pane)
        for line in app.lines:
            assert cell_len(line) == 100
            assert line.isprintable()


@in_loop
async def test_every_theme_draws() -> None:
    async with stand((80, 12)) as (app, pilot):
        app.pane.show(ended(), 3)
        await drawn(pilot, app.pane)
        for theme in theme_names():
            app.theme = theme
            await pilot.pause(0.02)
        assert "cylinder" in "\n".join(app.lines)


@in_loop
async def test_it_draws_at_most_four_times_a_second() -> None:
    async with stand((100, 14)) as (app, pilot):
        run = ended()
        app.pane.show(run, 0)
        await drawn(pilot, app.pane)
        drawings = 0
        original = app.pane._draw

        def counted() -> None:
            nonlocal drawings
            drawings += 1
            original()

        app.pane._draw = counted  # type: ignore[method-assign]
        for row in range(20):
            app.pane.show(run, row % 13)
            await pilot.pause(0.02)
        assert 1 <= drawings <= 4
        await pilot.pause(DRAWN_EVERY * 2)
        assert app.pane._row == 6  # the last state has been drawn
        assert app.pane._due is None


@in_loop
async def test_a_moved_cursor_redraws_only_what_differs() -> None:
    async with stand((100, 14)) as (app, pilot):
        run = ended()
        app.pane.show(run, 3)
        await drawn(pilot, app.pane)
        plot = app.pane._plot
        assert plot is not None
        canvas = plot.query_one("#plot")
        canvas._repaint_regions.clear()
        app.pane._row = 4
        app.pane._draw()
        cells = sum(region.area for region in canvas._repaint_regions)
        assert 0 < cells < canvas.size.area / 4
        await pilot.pause()


def test_the_library_comes_only_when_the_plot_is_opened() -> None:
    code = (
        "import sys, tui.panes.trajectories;"
        "sys.exit(','.join({'numpy', 'textual_plot'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
