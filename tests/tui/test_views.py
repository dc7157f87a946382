"""The registry of views, the lower slot, and the dispatch: who gets what the worker tells."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.errors import Remedy
from engine.events import ReadingDropped, ReadingMade, Trouble
from engine.methods.contrast import ContrastRequest
from engine.records import Question, ReadingProof
from tests.tui.dialog_stage import HOSTILE
from tests.tui.fakes import contrasted, make_rows
from tests.tui.stage import PROMPT, SIZES, WITH_PICTURE, Stage, explorer, in_loop
from tests.tui.toy_view import TOY
from tui.actions.reading import toggle
from tui.actions.registry import ACTIONS, BY_ID
from tui.disk.journal_file import read_journal
from tui.disk.paths import journals_folder
from tui.state.dispatch import Dispatch
from tui.state.view_state import ViewState
from tui.views.compare.debiased import DebiasedAnswers
from tui.views.compare.without import Without
from tui.views.registry import LOWER, VIEWS
from tui.widgets.line_input import LineInput
from tui.widgets.reading_view import ReadingView

at_every_size = pytest.mark.parametrize("size", SIZES)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """A view of a method's readings that the registry has for a while."""
    monkeypatch.setitem(LOWER, TOY.id, TOY)  # type: ignore[arg-type]
    return TOY.id


def lower(stage: Stage) -> Any:
    return stage.app.main.lower


# The registry


def test_every_view_can_be_opened_and_is_an_action() -> None:
    ids = [action.id for action in ACTIONS]
    for view in VIEWS:
        assert ids.count(view.id) == 1
        assert bool(view.opens) != (view.id in LOWER), view.id
        if view.id in LOWER:
            assert hasattr(view.factory, "show"), view.id
        assert callable(BY_ID[view.id].function)


SCRIPT = """
import asyncio
import tui.views.registry as views
from tests.tui.toy_view import TOY

views.VIEWS += (TOY,)
views.LOWER["toy"] = TOY

from tests.tui.test_views import WITH_PICTURE
from tests.tui.stage import explorer

async def main():
    async with explorer((320, 60), startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("f9")
        await stage.shows("contrast with none", "JS", "Published for the last row", "f9 toy")
        await stage.press("j", "y")
        await stage.shows("copied row 1 of contrast as tsv")
        assert stage.app.clipboard.startswith("layer\\t"), stage.app.clipboard
        assert stage.app.clipboard.splitlines()[1].startswith("1\\t"), stage.app.clipboard
        await stage.press("Y")
        await stage.shows("copied contrast as tsv")
        assert len(stage.app.clipboard.splitlines()) == 12
        await stage.press("escape", "y")
        await stage.shows("copied row 5 as tsv")
        await stage.press("f1", "slash", *"hide the toy", "enter")
        await stage.shows("Show or hide the toy")
        await stage.press("escape", "ctrl+p", *"hide the toy")
        await stage.shows("Show or hide the toy")
        await stage.press("escape", "escape", "f9")
        await stage.until(lambda: not stage.app.main.lower.is_open("toy"))

asyncio.run(main())
"""


def test_an_entry_gives_keys_palette_help_key_bar_and_copying() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]


# The lower slot


@at_every_size
@in_loop
async def test_any_view_fills_the_lower_slot(size: tuple[int, int], toy: str) -> None:
    async with explorer(size, startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("P")
        await stage.shows("probability over the layers")
        detail = lower(stage).is_open("detail")
        lower(stage).toggle(toy)
        await stage.shows("contrast with none")
        assert lower(stage).is_open(toy)
        assert not lower(stage).is_open("plot")
        assert lower(stage).is_open("detail") is detail
        assert isinstance(stage.app.focused, ReadingView)
        await stage.press("escape")
        assert stage.app.main.table.has_focus
        await stage.press("P")
        await stage.shows("probability over the layers")
        assert not lower(stage).is_open(toy)
        lower(stage).toggle_large(toy)
        await stage.until(lambda: lower(stage).view(toy).size.height > 6)
        lower(stage).toggle_large(toy)
        await stage.until(lambda: not lower(stage).view(toy).display)
        assert [request for _, request in stage.worker.reads].count(ContrastRequest()) == 1


@in_loop
async def test_a_view_is_made_when_it_is_first_opened() -> None:
    async with explorer() as stage:
        await stage.run_done()
        assert [view for view in LOWER if lower(stage).view(view) is not None] == ["detail"]


# A reading in the lower slot


@in_loop
async def test_a_reading_is_asked_for_once_and_what_stands_in_its_way_is_said(toy: str) -> None:
    async with explorer(startup=WITH_PICTURE, hold_at=4) as stage:
        await stage.until(lambda: stage.app.state.live and len(stage.app.state.live.rows) == 4)
        lower(stage).toggle(toy)
        await stage.shows("the run has not ended")
        stage.worker.holds_readings = True
        stage.worker.go_on.set()
        await stage.run_done()
        await stage.until(lambda: len(stage.worker.reads) == 1)
        await stage.shows("reading")
        await stage.press("escape", "j", "j")
        run = stage.app.state.runs[0]
        tell = stage.worker.tell
        tell(Trouble("\x1b[31mno such [bold]run", run.run.id, (), stage.worker.read_ids[0]))
        await stage.shows("\\x1b[31mno such [bold]run")
        assert len(stage.worker.reads) == 1
        assert stage.app.asker.keeps_stream_of(run)  # another method may still read from it
        tell(ReadingDropped(run.run.id, stage.worker.read_ids[0]))
        await stage.until(lambda: len(stage.worker.reads) == 2)
        reading = contrasted(ContrastRequest(), make_rows(10, 5, words=[HOSTILE]))
        tell(ReadingMade(run.run.id, stage.worker.read_ids[1], reading))
        await stage.shows("contrast with none")
        assert run.run.readings == (reading,)


@in_loop
async def test_a_run_that_a_reading_refers_to_and_that_is_gone_is_named(toy: str) -> None:
    async with explorer((200, 60), startup=WITH_PICTURE) as stage:
        await stage.run_done()
        stage.worker.holds_readings = True
        lower(stage).toggle(toy)
        await stage.until(lambda: len(stage.worker.reads) == 1)
        run = stage.app.state.runs[0].run.id
        reading = contrasted(ContrastRequest(), make_rows(2, 1))
        reading = replace(reading, references=("0123456789abcdef",))
        stage.worker.tell(ReadingMade(run, stage.worker.read_ids[0], reading))
        await stage.shows("No longer in this session: run 0123456789abcdef")


@in_loop
async def test_what_fails_its_proof_is_struck_out(toy: str) -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        stage.worker.holds_readings = True
        lower(stage).toggle(toy)
        await stage.until(lambda: stage.worker.reads)
        reading = contrasted(ContrastRequest(), make_rows(10, 5))
        failed = ReadingProof("one way with another", 0.5, 0.1, passed=False)
        run = stage.app.state.runs[0].run.id
        stage.worker.tell(
            ReadingMade(run, stage.worker.read_ids[0], replace(reading, proof=failed))
        )
        await stage.shows("proof failed, do not believe this: 0.5")
        line = lower(stage).view(toy).render_line(3)
        assert any(segment.style and segment.style.strike for segment in line)


@in_loop
async def test_what_nobody_waits_for_any_more_is_cancelled(toy: str) -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        stage.worker.holds_readings = True
        lower(stage).toggle(toy)
        await stage.until(lambda: stage.worker.reads)
        await stage.press("P")  # in its place
        await stage.until(lambda: stage.worker.cancelled_readings == stage.worker.read_ids[:1])
        await stage.press("P")
        toggle(stage.app, toy)
        await stage.until(lambda: len(stage.worker.reads) == 2)
        stage.worker.answer_reads()
        await stage.shows("contrast with none")
        await stage.press("escape", "r")
        await stage.run_done(2)
        await stage.until(lambda: len(stage.worker.reads) == 3)
        assert len(stage.worker.cancelled_readings) == 1


# The dispatch


@in_loop
async def test_a_contrast_arrives_while_another_dialog_lies_over_the_comparison() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        stage.worker.holds_readings = True
        await stage.press("B")
        await stage.until(lambda: isinstance(stage.app.screen, Without))
        assert not any("cylinder" in line[-30:] for line in stage.text.splitlines())
        await stage.press("right_curly_bracket", "V")
        await stage.until(lambda: isinstance(stage.app.screen, LineInput))
        stage.worker.answer_reads()
        run = stage.app.state.runs[0]
        await stage.until(lambda: len(run.run.readings) == 2)
        await stage.press("escape")
        await stage.until(lambda: isinstance(stage.app.screen, Without))
        await stage.shows("a=1.25", "contrast with none (f)")
        assert any("cylinder" in line[-30:] for line in stage.text.splitlines())


@in_loop
async def test_answers_that_cannot_be_debiased_say_why() -> None:
    async with explorer(startup=WITH_PICTURE) as stage:
        await stage.run_done()
        await stage.press("B")
        await stage.until(lambda: isinstance(stage.app.screen, Without))
        stage.worker.holds_readings = True
        await stage.press("V", *"yes", "enter")
        await stage.until(lambda: isinstance(stage.app.screen, DebiasedAnswers))
        await stage.shows("reading the answers")
        run_id, _ = stage.worker.reads[-1]
        stage.worker.tell(Trouble("this list is [bold]too long", run_id, (Remedy.RAW,), "f" * 16))
        await stage.shows("this list is [bold]too long (--raw)")


def test_the_state_has_an_event_before_anybody_else() -> None:
    state, heard = ViewState(Question(prompt=PROMPT)), []

    class View:
        def hear(self, events: object) -> None:
            heard.append((events, state.note and state.note.text))

    dispatch = Dispatch(state, lambda: [object(), View()])
    stop = dispatch.on(Trouble, lambda event: heard.append((event, state.note and state.note.text)))
    event = Trouble("lost")
    dispatch.tell([event])
    assert heard == [(event, "lost"), ([event], "lost")]
    stop()
    stop()
    dispatch.tell([event])
    assert heard[2:] == [([event], "lost")]


# The journal


@in_loop
async def test_the_journal_follows_the_revision_and_not_what_is_painted() -> None:
    async with explorer() as stage:
        await stage.run_done()

        def title() -> object:
            files = list(journals_folder().glob("*.journal"))
            return files and read_journal(files[0]).runs[0].title

        await stage.until(lambda: title() is None)
        stage.app.state.rename(stage.app.state.runs[0], "told nobody")  # nothing is drawn
        began = time.monotonic()
        await stage.until(lambda: title() == "told nobody")
        assert time.monotonic() - began < 10
