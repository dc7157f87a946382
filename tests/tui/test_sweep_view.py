"""A sweep in the explorer: what it shows, its items, one of them as a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET, structs

from engine.counterfactuals.grammar import parse_against
from engine.records import Counterfactual, Session
from engine.sweeps.findings import find
from engine.sweeps.records import (
    DecodedAnswer,
    DecodedAnswers,
    Decoding,
    DepthCurve,
    DepthSet,
    PartShares,
    Recoveries,
    SettingAnswers,
    SweepItem,
)
from engine.sweeps.reopening import open_item
from engine.sweeps.report import report_title, sections
from engine.sweeps.results import read_results
from engine.sweeps.settings import decoding_of
from tests.sweeps.test_findings import item, results
from tests.tui.stage import ONE_SIZE, Stage, explorer, in_loop
from tests.tui.test_hostile import EVIL, assert_printable
from tui.sharing.report_markdown import report_markdown
from tui.views.sweep.chart_pane import ChartPane
from tui.views.sweep.item_view import ItemView
from tui.views.sweep.sweep_items import SweepItems
from tui.views.sweep.sweep_view import SweepView


def folder_of(
    tmp_path: Path,
    *items: SweepItem,
    against: tuple[Counterfactual, ...] = (),
    decoding: Decoding | None = None,
) -> Path:
    """A sweep's folder."""
    plain = [structs.replace(each, readings=UNSET) for each in items]
    sweep = structs.replace(results(*plain, against=against).sweep, decoding=decoding)
    (tmp_path / "sweep.json").write_bytes(msgspec.json.encode(sweep))
    lines = b"".join(msgspec.json.encode(each) + b"\n" for each in items)
    (tmp_path / "items-00000-of-00001.jsonl").write_bytes(lines)
    return tmp_path


ITEMS = (
    item(1, [7, 0, 0, 0, 0], "cube"),
    item(2, [7, 7, 0, 0, 1], "cube"),
    item(3, [7, 7, 1, 1, 1], "sphere", bare=[0.9] * 4),
    item(4, [7, 6, 6, 6, 6], "red", "colour"),
)


def startup(folder: Path) -> dict[str, object]:
    return {"options": None, "sweep": folder}


@pytest.mark.parametrize("size", ONE_SIZE)
@in_loop
async def test_from_the_findings_to_an_item(tmp_path: Path, size: tuple[int, int]) -> None:
    async with explorer(size, startup=startup(folder_of(tmp_path, *ITEMS))) as stage:
        await stage.shows("What was asked", "enter lists the items")
        assert isinstance(stage.app.screen, SweepView)
        top = stage.text
        await stage.press("j", "j")
        assert stage.text != top
        await stage.press("G", "g", "pagedown", "pageup")
        await stage.press("enter")
        await stage.until(lambda: isinstance(stage.app.screen, SweepItems))
        await stage.shows("4 items")
        await stage.press("slash", *"zzz", "enter", "enter")  # nothing matches: nothing is taken
        await stage.shows("0 of 4 items, /zzz")
        assert isinstance(stage.app.screen, SweepItems)
        await stage.press("slash", "escape")
        await stage.shows("lost")
        assert stage.text.index("lost") < stage.text.rindex("right")
        await stage.press("slash", *"verdict:lost", "enter", "enter")
        await stage.shows("item 0000000000000002, shape? it is cube", "sphere", "1 of 1")
        assert stage.app.state.current is not None
        assert stage.app.state.current.run.id == "0000000000000002"
        assert not stage.app.state.unsaved
        await stage.press("full_stop")
        await stage.shows("this is the last of 1 items in the list")
        await stage.press("I")  # the list as it was left
        await stage.shows("1 of 4 items, /verdict:lost")
        await stage.press("slash", "escape", "slash", *"p>0", "enter", "O", "O", "G", "enter")
        await stage.shows("4 of 4")
        last = stage.app.state.current
        assert last is not None
        before = len(stage.app.state.runs)
        await stage.press("comma")  # the one before in the list, in its place
        await stage.shows("3 of 4")
        assert stage.app.state.current is not last
        assert last not in stage.app.state.runs  # it was only looked at
        assert len(stage.app.state.runs) == before
        await stage.press("full_stop")
        await stage.shows("4 of 4")
        assert stage.app.state.current is not None
        assert stage.app.state.current.run == last.run
        assert len(stage.app.state.runs) == before
        stage.app.state.annotate(stage.app.state.current, "#wrong")
        await stage.press("comma")
        await stage.shows("3 of 4")
        assert len(stage.app.state.runs) == before + 1  # a tag keeps it


@in_loop
async def test_an_item_that_the_command_line_names_is_walked_from(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *ITEMS)
    run = open_item(folder, "0000000000000002")
    session = Session(created="", saved="", runs=(run,))
    async with explorer(startup={**startup(folder), "session": session}) as stage:
        await stage.press("comma")
        await stage.shows("this is the first of 4 items")
        await stage.press("full_stop")
        await stage.shows("2 of 4")
        assert len(stage.app.state.runs) == 1


@in_loop
async def test_leaving_the_list_goes_back(tmp_path: Path) -> None:
    async with explorer(startup=startup(folder_of(tmp_path, *ITEMS))) as stage:
        await stage.shows("enter lists the items")
        await stage.press("enter")
        await stage.shows("4 items")
        await stage.press("escape")
        await stage.shows("What was asked")
        await stage.press("q")
        assert not isinstance(stage.app.screen, SweepView)
        await stage.press("I")
        await stage.shows("What was asked")


@in_loop
async def test_results_that_cannot_be_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *ITEMS)
    (folder / "items-00000-of-00001.jsonl").write_bytes(b'{"item": 1}\n')
    async with explorer(startup=startup(folder)) as stage:
        await stage.shows("line 1")
        await stage.press("enter")  # there is nothing to list
        assert isinstance(stage.app.screen, SweepView)
        await stage.press("q")
        assert not isinstance(stage.app.screen, SweepView)


class PanicException(BaseException):
    """As a library in Rust raises."""


@pytest.mark.parametrize(
    "error",
    [
        OverflowError("Python int too large"),
        PanicException("index\nout of range"),
        pytest.param(MemoryError(), marks=pytest.mark.slow),
        pytest.param(RecursionError(), marks=pytest.mark.slow),
        pytest.param(SystemExit(3), marks=pytest.mark.slow),
        pytest.param(KeyError("group"), marks=pytest.mark.slow),
    ],
    ids=lambda error: type(error).__name__,
)
@in_loop
async def test_whatever_reading_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(folder: Path) -> None:
        raise error

    monkeypatch.setattr("tui.views.sweep.sweep_view.read_shown", fail)
    async with explorer(startup=startup(folder_of(tmp_path, *ITEMS))) as stage:
        await stage.shows("cannot be shown", type(error).__name__)
        assert "reading the results" not in stage.text
        await stage.press("enter", "q")
        assert not isinstance(stage.app.screen, SweepView)


@in_loop
async def test_a_page_that_cannot_be_drawn_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("cannot convert float NaN to integer")

    monkeypatch.setattr("engine.sweeps.report.sections", fail)
    async with explorer(startup=startup(folder_of(tmp_path, *ITEMS))) as stage:
        await stage.shows("cannot be shown", "float NaN")
        await stage.press("enter")
        await stage.shows("4 items")


def is_refused(stage: Stage) -> bool:
    words = " ".join(stage.text.replace("│", " ").split())  # a long path breaks the line anywhere
    return "a token id" in words or "not an item" in words


@in_loop
async def test_numbers_beyond_all_bounds(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *ITEMS)
    (file,) = folder.glob("items-*.jsonl")
    whole = file.read_bytes()
    for old, new in ((b'"spellings":[0,', b'"spellings":[%d,'), (b'"id":7', b'"id":%d')):
        assert old in whole
        file.write_bytes(whole.replace(old, new % 2**63, 1))
        async with explorer(startup=startup(folder)) as stage:
            await stage.until(partial(is_refused, stage))


@in_loop
async def test_an_item_that_has_gone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *ITEMS)
    async with explorer(startup=startup(folder)) as stage:
        await stage.shows("enter lists the items")
        (folder / "items-00000-of-00001.jsonl").unlink()
        await stage.press("enter", "enter")
        await stage.shows("no item")


@in_loop
async def test_without_a_sweep() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.press("I")
        await stage.shows("no sweep is open")


@pytest.mark.parametrize("size", ONE_SIZE)
@in_loop
async def test_a_hostile_sweep(tmp_path: Path, size: tuple[int, int]) -> None:
    evil = item(5, [7, 0, 0, 0, 0], "cube")
    evil = msgspec.structs.replace(evil, group=EVIL, truth=EVIL, prompt=EVIL)
    async with explorer(size, startup=startup(folder_of(tmp_path, *ITEMS, evil))) as stage:
        await stage.shows("enter lists the items")
        for _ in range(6):
            assert_printable(stage)
            await stage.press("pagedown")
        await stage.press("enter")
        await stage.shows("5 items")
        assert_printable(stage)
        await stage.press("slash", *"PWNED", "enter", "enter")
        await stage.shows("item 0000000000000005")
        assert_printable(stage)


@in_loop
async def test_ascii(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *ITEMS)
    async with explorer(startup={**startup(folder), "ascii": True}) as stage:
        await stage.shows("enter lists the items")
        assert stage.text.isascii()
        await stage.press("enter")
        await stage.shows("4 items")
        assert stage.text.isascii()


@in_loop
async def test_items_without_their_picture_are_named_so(tmp_path: Path) -> None:
    own = ITEMS[1]
    without = structs.replace(
        item(12, [7, 7, 7, 7, 6], "cube"),
        picture=own.picture,
        against="noise=500",
        counterfactual=Counterfactual("noise", {"step": 500}, 0),
    )
    folder = folder_of(tmp_path, *ITEMS, without, against=parse_against("noise"))
    async with explorer(startup=startup(folder)) as stage:
        await stage.shows("What was asked", "4 items")
        await stage.press("enter")
        await stage.shows("5 items")
        await stage.press("slash", *"noise", "enter", "enter")
        await stage.shows("item 000000000000000c", "noise=500")
        assert stage.app.state.current is not None
        assert stage.app.state.current.run.question.counterfactual == without.counterfactual
        await stage.press("I", "slash", "escape", "slash", *"lost", "enter", "enter")
        await stage.shows("item 0000000000000002")
        await stage.press("comma", "period")


READ = structs.replace(
    ITEMS[1],
    readings=(
        DecodedAnswers(
            (
                SettingAnswers("greedy", (DecodedAnswer(f"A ball. {EVIL}", 4, True, "sphere"),)),
                SettingAnswers("temperature=2", (DecodedAnswer("the cube", 3, False, "cube"),)),
            )
        ),
        PartShares(
            sets=(
                DepthSet(
                    of="answer minus runner-up",
                    by="layer",
                    numbers={"sum": 5.25, "attention": 4.5},
                    curves=(DepthCurve("attention", (1.0, 0.5, 1.0, 2.0)),),
                    tokens=ITEMS[1].rows[-1].top[:2],
                ),
            )
        ),
        Recoveries(reason="other tokens"),
    ),
)


@pytest.mark.parametrize("size", ONE_SIZE)
@in_loop
async def test_an_item_shows_what_else_was_read_of_it(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    folder = folder_of(tmp_path, ITEMS[0], READ, decoding=decoding_of({}, ["temperature=2"]))
    async with explorer(size, startup=startup(folder)) as stage:
        await stage.shows("enter lists the items")
        await stage.press("enter", "slash", *"lost", "enter", "enter")
        await stage.shows("Whole answers, with each setting", "item 0000000000000002")
        assert isinstance(stage.app.screen, ItemView)
        seen = stage.text
        for _ in range(6):
            assert_printable(stage)
            await stage.press("pagedown")
            seen += stage.text
        words = " ".join(seen.replace("│", " ").split())
        for text in ("A ball.", "the cube", "greedy", "temperature=2", "4.50", "5.25"):
            assert text in words, text
        assert "not read: other tokens" in words and "(it is cube)" in words
        await stage.press("q")
        await stage.shows("item 0000000000000002, shape? it is cube")
        await stage.press("I")
        await stage.shows("1 of 2 items, /lost")
        await stage.press("slash", "escape", "slash", *"right", "enter", "enter")
        # Nothing else was read of this one.
        await stage.shows("item 0000000000000001")
        assert not isinstance(stage.app.screen, ItemView)


async def chart_drawn(stage: Stage) -> None:
    await stage.until(lambda: any("\u2801" <= letter <= "\u28ff" for letter in stage.text))


@pytest.mark.parametrize("size", ONE_SIZE)
@in_loop
async def test_charts_are_drawn_when_they_are_seen(tmp_path: Path, size: tuple[int, int]) -> None:
    async with explorer(size, startup=startup(folder_of(tmp_path, *ITEMS))) as stage:
        await stage.shows("What was asked", "P charts")
        view = stage.app.screen
        assert isinstance(view, SweepView)
        await stage.press("G")
        await chart_drawn(stage)
        await stage.shows("emb")
        loaded = [chart.is_loaded for chart in view.query(ChartPane)]
        assert len(loaded) > 3
        assert loaded[-1]
        assert not all(loaded)  # those between have not been seen
        await stage.press("slash", *"at which layer", "enter")
        await stage.shows("shape: mean 2.3")
        await stage.until(lambda: list(view.query(ChartPane))[2].is_loaded)
        height = view.query_one(".page").max_scroll_y
        await stage.press("P")
        await stage.until(lambda: view.query_one(".page").max_scroll_y < height / 2)
        await stage.press("P")
        await stage.until(lambda: view.query_one(".page").max_scroll_y == height)


@pytest.mark.slow
@in_loop
async def test_charts_without_colours_have_letters(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *ITEMS)
    async with explorer(startup={**startup(folder), "ascii": True}) as stage:
        await stage.shows("right  a shape  b colour", "100%")
        await stage.until(lambda: stage.text.count("b") > 4 and "+--" in stage.text)
        assert stage.text.isascii()


@in_loop
async def test_the_page_is_searched(tmp_path: Path) -> None:
    async with explorer((80, 24), startup=startup(folder_of(tmp_path, *ITEMS))) as stage:
        await stage.shows("What was asked", "enter lists the items")
        page = stage.app.screen.query_one(".page")
        await stage.press("slash", *"FORMATION")
        await stage.shows("/FORMATION: 1 of 2", "Formation is the first row")
        await stage.press("enter", "n")
        await stage.shows("/FORMATION: 2 of 2")
        await stage.press("n")
        await stage.shows("/FORMATION: 1 of 2")
        await stage.press("N")
        await stage.shows("/FORMATION: 2 of 2")
        assert page.scroll_offset.y
        await stage.press("slash", *"zzz")
        await stage.shows("zzz: nothing says so")
        await stage.press("escape")
        await stage.until(lambda: "zzz" not in stage.text)
        assert isinstance(stage.app.screen, SweepView)


@pytest.mark.slow
@in_loop
async def test_what_is_beside_the_page_is_scrolled_to(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *ITEMS)
    async with explorer((80, 24), startup=startup(folder)) as stage:
        await stage.shows("How often it is right", "row 4", "›")
        assert "95 % of the last" not in stage.text
        await stage.press(*["greater_than_sign"] * 9)  # beyond the end: no farther than it
        await stage.shows("95 % of the last", "‹", "all groups", "group")
        await stage.press(*["h"] * 9)
        await stage.shows("row 0", "›")
        await stage.press("slash", *"95 % of the last", "enter")
        await stage.shows("95 % of the last")


@in_loop
async def test_the_table_and_the_report_are_copied(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *ITEMS)
    async with explorer((80, 24), startup=startup(folder)) as stage:
        await stage.shows("enter lists the items")
        stage.app.copy_format = "csv"
        await stage.press("y")
        await stage.shows("copied What was asked as text")
        assert stage.app.clipboard.startswith("What was asked\n")
        assert "How often" not in stage.app.clipboard
        await stage.press("slash", *"row 0", "enter", *["j"] * 10)
        await stage.press("y")
        await stage.until(lambda: stage.app.clipboard.startswith("group,row 0,row 1,row 2"))
        await stage.press("Y")
        await stage.shows("copied the report as text")
        whole = stage.app.clipboard
        assert "95 % of the last" in whole
        assert "How answers are matched" in whole
        stage.app.copy_format = "markdown"
        await stage.press("Y")
        await stage.shows("copied the report as markdown")
    findings = find(read_results(folder))
    title = report_title(findings)
    assert stage.app.clipboard == report_markdown(title, sections(findings), {})


@pytest.mark.slow
@in_loop
async def test_a_table_of_the_report_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with explorer((80, 24), startup=startup(folder_of(tmp_path, *ITEMS))) as stage:
        await stage.shows("enter lists the items")
        await stage.press("slash", *"row 0", "enter", *["j"] * 10, "x")
        await stage.shows("export How often it is right")
        await stage.press("enter")
        await stage.shows("wrote ")
        (file,) = tmp_path.glob("*.csv")
        assert file.read_text().startswith("group,row 0,row 1")
