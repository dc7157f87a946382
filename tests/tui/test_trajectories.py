"""The plot over the layers, as it is drawn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from engine.records import LayerReading, Question, Token, Tracked
from tests.tui.dialog_stage import context
from tests.tui.fakes import finish, make_rows, make_run, track
from tests.tui.stage import in_loop
from tests.tui.test_show import HOSTILE
from tui.state.curves import MOST
from tui.state.run_view import RunView
from tui.theme import HUES, register_themes, theme_names, with_own_variables
from tui.views.plot.trajectories import DRAWN_EVERY, Trajectories

QUESTION = Question(prompt="Shape:")


def ended(layers: int = 12, words: list[str] | None = None) -> RunView:
    rows = make_rows(layers, forms_at=layers // 2, words=words)
    return RunView.of(finish(make_run("a" * 16, QUESTION, layers), rows))


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
    pane = Trajectories(context(ascii_only=ascii_only))
    pane.toggle_leaders()
    app = Stand(pane)
    async with app.run_test(size=size) as pilot:
        yield app, pilot


async def drawn(pilot: Pilot[None], pane: Trajectories) -> None:
    """Wait until the plot has been loaded and drawn."""
    for _ in range(100):
        await pilot.pause(0.05)
        if pane._plot is not None and pane._plot.is_mounted and pane._due is None:
            await pilot.pause(0.3)
            return
    raise AssertionError("the plot has not been drawn")


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
        assert "cylinder" in text
        assert "emb" in text
        assert "out" in text
        for sign in (" 0 ", " #1 "):
            app.pane.next_measure()
            await pilot.pause(0.1)
            text = "\n".join(app.lines)
            assert sign in text
            assert text.isascii() is ascii_only


@in_loop
async def test_a_pane_that_is_too_small_says_so_until_it_grows() -> None:
    async with stand((30, 6)) as (app, pilot):
        app.pane.show(ended(), 3)
        await pilot.pause(0.1)
        assert "the plot needs 36 x 5 cells" in "\n".join(app.lines)
        await pilot.resize_terminal(80, 12)
        await drawn(pilot, app.pane)
        assert "100%" in "\n".join(app.lines)
        await pilot.resize_terminal(30, 6)
        await pilot.pause(0.1)
        text = "\n".join(app.lines)
        assert "the plot needs" in text
        assert "emb" not in text


@in_loop
async def test_without_a_run_a_line_says_so() -> None:
    async with stand((80, 12)) as (app, pilot):
        app.pane.show(None, 0)
        await pilot.pause(0.1)
        assert "no run yet" in "\n".join(app.lines)
        app.pane.show(ended(), 0)
        await drawn(pilot, app.pane)
        text = "\n".join(app.lines)
        assert "no run yet" not in text
        assert "100%" in text


@in_loop
async def test_the_first_and_the_last_row_are_not_under_the_frame() -> None:
    async with stand((100, 14), ascii_only=True) as (app, pilot):
        run = ended()
        sure = Tracked(7, "sure", "user", (1.0,) * 13, (None,) * 13, (1,) * 13)
        none = Tracked(8, "none", "user", (0.0,) * 13, (None,) * 13, (9000,) * 13)
        track(run, [sure, none])
        app.pane.show(run, 5)
        await drawn(pilot, app.pane)
        assert " " not in inside(app, "100%")
        assert " " not in inside(app, "0%")
        app.pane.next_measure()
        app.pane.next_measure()
        await pilot.pause(0.1)
        text = "\n".join(app.lines)
        assert all(f" {mark} " in text for mark in ("#1", "#10", "#100", "#1k"))
        assert "#9000" in text


@in_loop
async def test_the_formation_row_is_a_number_with_its_definition() -> None:
    async with stand((100, 14)) as (app, pilot):
        run = ended()
        app.pane.show(run, 3)
        await drawn(pilot, app.pane)
        assert app.pane.border_subtitle == (
            "● formation row 6, the first from which the answer stays top-1"
        )
        assert sum(line.count("●") for line in app.lines) == 1
        proof = run.run.proof
        assert proof is not None
        run.run = replace(run.run, proof=replace(proof, passed=False))
        app.pane.show(run, 3)
        await pilot.pause(DRAWN_EVERY * 2)
        assert "do not believe" in str(app.pane.border_subtitle)
        assert "●" not in "".join(app.lines)


@in_loop
async def test_no_line_bridges_rows_in_which_a_token_is_not_known() -> None:
    async with stand((60, 12), ascii_only=True) as (app, pilot):
        run = RunView(make_run("a" * 16, QUESTION, 12))
        tops = [Token(1, "one", 0.5, 0.0), Token(2, "two", 0.25, 0.0)]
        run.rows = [LayerReading(layer, (tops[2 <= layer <= 8],), 1.0, 1.0) for layer in range(11)]
        app.pane.show(run, 5)
        await drawn(pilot, app.pane)
        first, *between, last = inside(app, "50%").strip().split(" ")
        assert "a" in first
        assert "a" in last
        assert len(between) > 10  # blanks, and nothing else
        assert not any(between)


def inside(app: Stand, label: str) -> str:
    """The cells of the plot that are beside a label of its vertical axis."""
    line = next(line for line in app.lines if line.lstrip().startswith(label))
    return line[line.index("+") + 1 : line.rindex("+")]


@in_loop
async def test_letters_tell_curves_apart_where_colours_come_again() -> None:
    async with stand((100, 20)) as (app, pilot):
        app.pane.show(ended(), 3)
        await drawn(pilot, app.pane)
        assert "━ ␣red" in "\n".join(app.lines)
        app.pane.show(ended(60, [f" w{index}" for index in range(10)]), 3)
        await pilot.pause(DRAWN_EVERY * 2)
        signs = [line.split()[-3] for line in app.lines if "%" in line[-6:]]
        assert len(signs) == len(set(signs)) > HUES
        assert all(sign.isalpha() for sign in signs)


@in_loop
async def test_the_legend_counts_what_has_no_place() -> None:
    run = ended(120, [f" word{index}" for index in range(40)])
    left_out = len(run.leaders) - MOST
    for size, shown in (((100, 20), MOST), ((100, 9), 7)):
        async with stand(size) as (app, pilot):
            app.pane.show(run, 3)
            await drawn(pilot, app.pane)
            text = "\n".join(app.lines)
            assert f"and {left_out + MOST - shown} more" in text
            assert text.count("␣") == shown
    async with stand((50, 10)) as (app, pilot):
        app.pane.show(run, 3)
        await drawn(pilot, app.pane)
        assert f"+{len(run.leaders) - app.lines[0].count('␣')} " in app.lines[0]


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
        "import sys, tui.views.plot.trajectories;"
        "sys.exit(','.join({'numpy', 'textual_plot'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@in_loop
async def test_without_colours_letters_tell_the_curves_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with stand((80, 12)) as (app, pilot):
        app.pane.show(ended(), 3)
        await drawn(pilot, app.pane)
        await pilot.resize_terminal(100, 20)
        await pilot.pause(0.3)
        assert any("a ␣red" in line for line in app.lines)
