"""Hostile text, wherever it comes from, neither reaches the terminal raw nor breaks a column."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from engine.events import ModelFailed, Trouble
from engine.records import Picture, Question, Session
from tests.tui.fakes import CARD, finish, make_rows, make_run
from tests.tui.stage import PROMPT, SIZES, Stage, explorer, in_loop
from tests.tui.test_show import HOSTILE
from tui.panes.prompt_editor import PromptEditor

EVIL = "\x1b]0;PWNED\x07[/red][/ \u202e\u200d\r\n\x9b2J"
BORDERS = "│╮╯"


def assert_harmless(stage: Stage) -> None:
    """Every line has its width and nothing unprintable, and the panes' right edge is straight."""
    columns, rows = stage.app.size
    strips = stage.app.screen._compositor.render_strips(stage.app.size)
    assert len(strips) == rows
    for strip in strips:
        text = "".join(segment.text for segment in strip)
        assert cell_len(text) == columns, text
        assert text.replace(" ", "").isprintable(), text
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
        await stage.shows("\\x1b[31m")
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
