"""Hostile text, wherever it comes from, neither reaches the terminal raw nor breaks a column."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from engine.events import ModelFailed, Trouble
from engine.records import (
    Comparison,
    ComparisonRow,
    Counterfactual,
    Picture,
    Question,
    Run,
    Session,
)
from tests.tui.fakes import CARD, finish, make_rows, make_run
from tests.tui.stage import ONE_SIZE, PROMPT, SIZES, Stage, explorer, in_loop
from tests.tui.test_show import HOSTILE
from tui.actions.runs import pair_context, show_run
from tui.views.compare.against_list import AgainstList
from tui.views.compare.without import Without
from tui.views.prompt.prompt_editor import PromptEditor

EVIL = "\x1b]0;PWNED\x07[/red][/ \u202e\u200d\r\n\x9b2J"
BORDERS = "│╮╯"


def assert_printable(stage: Stage) -> None:
    """Every line has its width and nothing unprintable."""
    columns, rows = stage.app.size
    strips = stage.app.screen._compositor.render_strips(stage.app.size)
    assert len(strips) == rows
    for strip in strips:
        text = "".join(segment.text for segment in strip)
        assert cell_len(text) == columns, text
        assert text.replace(" ", "").isprintable(), text


def assert_harmless(stage: Stage) -> None:
    """Every line is printable, and the panes' right edge is straight."""
    assert_printable(stage)
    lines = stage.text.split("\n")
    edge = [line[-1] for line in lines if line[-1:] in BORDERS and line.strip()]
    assert len(edge) >= 5


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("size", SIZES)
@in_loop
async def test_hostile_tokens(size: tuple[int, int], ascii_only: bool) -> None:
    startup = {"question": Question(prompt=PROMPT, top_k=10), "ascii": ascii_only}
    async with explorer(size, words=HOSTILE, startup=startup, layers=24) as stage:
        await stage.run_done()
        if ascii_only:
            assert stage.text.isascii()
        else:
            assert_harmless(stage)
        await stage.press("c", "G")
        await stage.shows("answer, 8 tokens", "\\x1b[2J")
        if not ascii_only:
            assert_harmless(stage)


@in_loop
async def test_a_hostile_session() -> None:
    picture = Picture(path=f"/tmp/{EVIL}.png", width=3, height=4)
    card = replace(CARD, name=EVIL, device=EVIL, dtype=EVIL)
    run = make_run("0" * 16, Question(prompt=EVIL, picture=picture))
    run = finish(run, make_rows(10, 5, words=HOSTILE))
    run = replace(run, error=EVIL, question=replace(run.question, model=card))
    session = Session(created="x", saved="x", runs=(run,), view={"row": 10**9, "run": EVIL})
    async with explorer(startup={"options": None, "session": session}) as stage:
        await stage.shows("␣cylinder")
        await stage.press("d", "d", "G", "e", "right")
        assert_harmless(stage)
        assert stage.app.screen.query_one(PromptEditor).text == EVIL


COUNTERFACTUALS = (
    Counterfactual("other", {"file": f"/tmp/{EVIL}.png", "note": [EVIL]}),
    Counterfactual("blur", {"radius": 10**400}),
    Counterfactual("noise", {"step": {EVIL: None}}),
    Counterfactual(EVIL),
)


def hostile_comparisons(picture: Run) -> Session:
    """A picture's run with counterfactuals that no Lenscope has written."""
    runs, comparisons = [picture], []
    for index, counterfactual in enumerate(COUNTERFACTUALS, 1):
        run = make_run(f"{index:016x}", replace(picture.question, counterfactual=counterfactual))
        runs.append(finish(run, make_rows(10, 5, words=HOSTILE)) if index < 4 else run)
        rows = (ComparisonRow(10**9, -1e300, 1e300), ComparisonRow(0, None, None))
        known = Comparison(f"{index + 9:016x}", "counterfactual", picture.id, run.id, 10**9, rows)
        comparisons.append(replace(known, threshold=-1e300, layer=10**9))
    return Session(created="x", saved="x", runs=tuple(runs), comparisons=tuple(comparisons))


@pytest.mark.parametrize("size", ONE_SIZE)
@pytest.mark.parametrize("whole", [True, False])
@in_loop
async def test_hostile_counterfactuals(size: tuple[int, int], whole: bool) -> None:
    picture = make_run("0" * 16, Question(prompt=PROMPT, picture=Picture(f"/tmp/{EVIL}.png")))
    if whole:
        picture = finish(picture, make_rows(10, 5, words=HOSTILE))
    session = hostile_comparisons(picture)
    async with explorer(size, startup={"options": None, "session": session}) as stage:
        for view in stage.app.state.runs:
            show_run(stage.app, view)
            await stage.pilot.pause()
            assert_harmless(stage)
        for index, view in enumerate(stage.app.state.runs[1:], 1):
            stage.app.push_screen(
                Without(
                    stage.app.state.runs[0],
                    view,
                    session.comparisons[index - 1],
                    stage.app.context,
                    pair_context(stage.app),
                )
            )
            await stage.press("P", "G", "O")
            assert isinstance(stage.app.screen, Without)
            assert_harmless(stage)
            await stage.press("q")
        show_run(stage.app, stage.app.state.runs[0])
        stage.app.push_screen(
            AgainstList(stage.app.state, stage.app.state.runs[0], expected=1, ascii_only=False)
        )
        await stage.shows("the picture", "blur=1000", "noise={")
        assert_printable(stage)
        await stage.press("q", "H", "j", "j", "A", "B", "escape")
        assert_printable(stage)


@in_loop
async def test_hostile_presets(tmp_path: Path) -> None:
    presets = tmp_path / "presets.toml"
    presets.write_text(
        """["[/red][/ \\u001b]0;PWNED"]\ntitle = "[/x]\\u202e"\nprompts = ["[/y]\\u001b[2J:"]\n"""
    )
    startup = {"presets_file": presets, "question": Question(prompt="no preset:")}
    async with explorer(startup=startup) as stage:
        await stage.run_done()
        await stage.press("left_square_bracket")
        await stage.shows("[/red][/ \\x1b]0;PWNED 1/1")
        assert_harmless(stage)


@in_loop
async def test_hostile_errors() -> None:
    async with explorer() as stage:
        await stage.run_done()
        stage.worker.tell(Trouble(EVIL))
        await stage.shows("! \\x1b]0;PWNED")
        assert_harmless(stage)
        stage.worker.tell(ModelFailed(EVIL + "x" * 500))
        await stage.shows("! \\x1b]0;PWNED")
        assert_harmless(stage)
        await stage.press("r")
        await stage.run_done(2)
        assert_harmless(stage)
