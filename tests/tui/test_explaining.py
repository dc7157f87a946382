"""What stands on the screens is explained where it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tui.fakes import chat_tokens
from tests.tui.stage import PROMPT, WITH_PICTURE, Stage, explorer, in_loop
from tests.tui.test_sweep_view import ITEMS, folder_of
from tests.tui.test_sweep_view import startup as sweep_startup
from tui.state.columns import FIGURE_COLUMNS
from tui.text.phrases import TERMS, phrases_of, spans_in, unexplained
from tui.views.help.explanation import Explanation
from tui.views.help.help import Help
from tui.views.runs.history import History
from tui.widgets.explaining import Explained, Kind, explained_on, unexplained_on

WALK: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]] = (
    ((), ("entropy", "layers"), ()),
    (("d", "P"), ("probability over the layers",), ("P", "d")),
    (("<", "2"), ("in eighths", "entropy"), ("2", "1", ";")),
    (("enter",), ("moved",), ("enter",)),
    (("t",), ("track tokens",), ("escape",)),
    (("H",), ("question", "not saved"), ("q",)),
    (("H", "P"), ("over the rows",), ("q", "q")),
    (("b", "enter"), ("two runs",), ("q",)),
    (("B", "P", "enter"), ("two runs", "JS"), ("q",)),
    (("B", "V", *"yes, no", "enter"), ("answers, debiased", "75.0%"), ("q", "q")),
    (("A",), ("instead of the picture", "parts at"), ("q",)),
    (("z",), ("scene_1.png",), ("q",)),
    (("3",), ("next token", "internal confidence"), ("q",)),
    (("4", "K"), ("without sinks", "at layer"), ("q",)),
    (("4", "D"), ("the picture's share",), ("q",)),
    (("5",), ("every token's rows", "ruled out"), ("q",)),
    (("6", "a"), ("they sum to", "largest:"), ("q",)),
    (("6", "D"), ("heads 0-",), ("q",)),
    (("7",), ("brought back", "picture"), ("q",)),
    (("8",), ("gradient x input", "patch"), ("q",)),
    (("8", "D"), ("rows x positions",), ("q",)),
    (("9", "K"), ("suppresses", "zeroed"), ("q",)),
)
"""For each screen: the keys that open it, what it says then, and the keys that close it."""
QUICK = (0, 5, 9, 21, 10)
SIZES = [(80, 24), (100, 30), (120, 40), (200, 60)]


def check(stage: Stage, name: object) -> list[Explained]:
    """Nothing that names a column or a pane is without a meaning."""
    found = explained_on(stage.app.screen)
    assert unexplained_on(stage.app.screen) == [], f"{name}\n{stage.text}"
    assert found, f"{name}\n{stage.text}"
    for each in found:
        assert each.term.meaning
        at = stage.text.splitlines()[each.region.y]
        assert each.text in at, f"{name}: {each.text!r} is not on line {each.region.y}: {at}"
    return found


async def walk(stage: Stage, steps: Sequence[int]) -> None:
    await stage.run_done()
    look = dataclasses.replace(stage.app.state.look, figures=tuple(FIGURE_COLUMNS))
    stage.app.state.look = look
    stage.app.presenter.show_all()
    await stage.press("r")
    await stage.run_done(2)
    for step in steps:
        opens, says, closes = WALK[step]
        for key in opens:
            await stage.press(key)
            if key == "B":  # it opens once the other run has been read
                await stage.shows("two runs")
        await stage.shows(*says)
        with suppress(AssertionError):  # what a pane is called is written once it has its size
            await stage.until(lambda: not unexplained_on(stage.app.screen), 3)
        check(stage, opens)
        await stage.press(*closes)
        await stage.until(lambda: not stage.app.has_dialog)


@in_loop
async def test_what_lists_and_tables_hold_is_explained() -> None:
    tokens = chat_tokens(PROMPT.split(), 4)
    async with explorer((120, 40), startup=WITH_PICTURE, tokens=tokens) as stage:
        await walk(stage, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@in_loop
async def test_every_screen_is_explained(size: tuple[int, int], ascii_only: bool) -> None:
    startup = {**WITH_PICTURE, "no_picture": False, "ascii": ascii_only}
    tokens = chat_tokens(PROMPT.split(), 576)
    for step in range(len(WALK)):  # each from the start: what one asks another does not keep
        async with explorer(size, startup=startup, tokens=tokens) as stage:
            await walk(stage, [step])


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@in_loop
async def test_the_findings_of_a_sweep_are_explained(tmp_path: Path, size: tuple[int, int]) -> None:
    async with explorer(size, startup=sweep_startup(folder_of(tmp_path, *ITEMS))) as stage:
        await stage.shows("What was asked")
        for _ in range(12):
            check(stage, "findings")
            await stage.press("pagedown")
        await stage.press("enter")
        await stage.shows("4 items")
        found = check(stage, "items")
        assert {"verdict, truth", "entropy", "p"} <= {each.term.word for each in found}


def place_of(stage: Stage, text: str, kind: Kind = Kind.COLUMNS) -> tuple[int, int]:
    found = explained_on(stage.app.screen)
    region = next(each.region for each in found if each.text == text and each.kind is kind)
    return region.x, region.y


@in_loop
async def test_the_explanation_stands_beside_what_it_explains() -> None:
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        await stage.press("backslash")
        await stage.shows("layers: row", "One line of the table")
        shown = stage.app.screen
        assert isinstance(shown, Explanation)
        seen = [shown.here.key]
        while shown.here.key not in seen[:-1]:  # all in a circle
            await stage.press("right")
            seen.append(shown.here.key)
        assert len(seen) == shown.count + 1
        assert {"emb, out, own", "entropy", "top-k", "proof"} <= {word for _, word in seen}
        await stage.press("left")
        assert shown.here.key == seen[-2]
        await stage.press("backslash")
        await stage.until(lambda: not stage.app.has_dialog)
        await stage.press("f8")
        await stage.until(lambda: isinstance(stage.app.screen, Explanation))
        await stage.press("f8")
        await stage.until(lambda: not stage.app.has_dialog)
        await stage.pilot.click(offset=place_of(stage, "entropy"))
        await stage.shows("How spread out")
        x, y = place_of(stage, "●", Kind.MARKS) if stage.app.has_dialog is False else (0, 0)
        await stage.pilot.click(offset=(70, 20))  # beside it
        await stage.until(lambda: not stage.app.has_dialog)
        x, y = place_of(stage, "●", Kind.MARKS)
        await stage.pilot.click(offset=(x, y))
        await stage.pilot.pause()
        assert not stage.app.has_dialog  # it is the row that is meant
        await stage.pilot.click(offset=(x, y), button=3)
        await stage.shows("marks of a row")
        await stage.press("question_mark")
        await stage.until(lambda: isinstance(stage.app.screen, Help))
        await stage.shows("marks of a row  A ring where top-1 changes")
        await stage.press("f8", "q")
        await stage.until(lambda: not stage.app.has_dialog)


@in_loop
async def test_a_list_is_sorted_by_one_button_and_explained_by_the_other() -> None:
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        await stage.press("H")
        await stage.until(lambda: isinstance(stage.app.screen, History))
        await stage.pilot.click(offset=place_of(stage, "from"))
        await stage.shows("by from")
        assert isinstance(stage.app.screen, History)
        await stage.press("backslash")  # the column by which it is sorted
        await stage.shows("from: from, norm, status, time, +")
        await stage.press("q")
        await stage.pilot.click(offset=place_of(stage, "status"), button=3)
        await stage.shows("status: from, norm, status, time, +")


def test_the_longest_text_is_what_is_meant() -> None:
    line = " layer 7  next token      p  6th  ␣dog red"
    spans = list(spans_in(line, phrases_of("words"), columns=True))
    assert [line[start:end] for start, end, _ in spans] == ["layer", "next token", "p", "6th"]
    assert [term.word for *_, term in spans] == ["row", "token", "p", "top-k"]
    assert unexplained(line, spans) == ["␣dog", "red"]
    assert "6th" in unexplained(line, spans_in(line, phrases_of("words")))
    others = list(spans_in(line, phrases_of("words"), TERMS["p"]))
    assert unexplained(line, others) == []
    assert phrases_of("parts")["share"] is not phrases_of("without")["share"]
