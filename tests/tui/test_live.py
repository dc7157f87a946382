"""Live mode: what is typed is asked once it rests, only the newest text counts, and a half-typed
run is shown but not kept."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

import samples
from engine.events import Event, LoadOptions, RunEnded, RunStarted, Trouble
from engine.methods.track import TrackRequest
from engine.records import Counterfactual, Made, Picture, Question
from tests.tui.fakes import FakeWorker, finish, make_rows, make_run
from tests.tui.stage import PROMPT, Stage, explorer, in_loop
from tui.showing.live_typing import OFF_ABOVE, ON_BELOW, REST_SECONDS, LiveTyping, Wanted
from tui.startup import Startup
from tui.state.dispatch import Dispatch
from tui.state.run_view import Phase, RunView
from tui.state.view_state import ViewState
from tui.views.table.lens_table import LensTable
from tui.widgets.run_title import run_title
from tui.worker.asker import Asker


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self._then: Callable[[], None] | None = None
        self.seconds: list[float] = []
        """Of every wait that has begun."""

    def __call__(self, seconds: float, then: Callable[[], None]) -> Clock:
        self.seconds.append(seconds)
        self._then = then
        return self

    def stop(self) -> None:
        self._then = None

    @property
    def runs(self) -> bool:
        return self._then is not None

    def rest(self) -> None:
        """Let the typing rest."""
        then, self._then = self._then, None
        if then is not None:
            then()


class HandWorker(FakeWorker):
    """Works only when it is told to, in the caller's thread; what it tells waits in `told`."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        super().__init__(self.told.append)

    def start(self) -> None:
        pass

    def work(self) -> None:
        while not self._jobs.empty():
            self._jobs.get()()


class Desk:
    """The explorer without its screen: a text, the state, the asker, and live mode."""

    def __init__(self, wanted: Wanted = "on") -> None:
        self.worker = HandWorker()
        self.clock = Clock()
        self.question = Question(prompt=PROMPT)
        startup = Startup(LoadOptions("samples/model"), self.question, worker=lambda _: self.worker)
        self.state = ViewState(self.question)
        self.asker = Asker(self.state, startup, self.worker.told.append)
        self.live = LiveTyping(
            self.state, self.asker, lambda: self.question, self.clock,
            asked=lambda: None, turned=lambda: None, wanted=wanted,
        )  # fmt: skip
        self.dispatch = Dispatch(self.state, lambda: ())
        self.asker.connect(self.dispatch)
        self.live.connect(self.dispatch)
        self.asker.start(lambda: self.question)
        self.hear()
        self.revisions = self.state.revision

    def hear(self) -> None:
        """Let the worker work, and tell everything until there is nothing left to do."""
        self.worker.work()
        while self.worker.told:
            self.dispatch.tell([self.worker.told.pop(0)])
            self.worker.work()

    def hear_rows(self, count: int) -> None:
        """Let the worker work, and tell so much that the newest run has so many rows."""
        self.worker.work()
        run_id = self.worker.asked[-1][1]
        while (view := self.state.find(run_id)) is None or len(view.rows) < count:
            self.dispatch.tell([self.worker.told.pop(0)])

    def type(self, prompt: str) -> None:
        self.question = replace(self.question, prompt=prompt)
        self.live.edited()

    def ask(self, prompt: str) -> None:
        """Type, and let it rest."""
        self.type(prompt)
        self.clock.rest()

    @property
    def asked(self) -> list[str]:
        """The prompts that were asked after the first run."""
        return [question.prompt for question in self.worker.questions[1:]]

    @property
    def shown(self) -> RunView:
        assert self.state.current is not None
        return self.state.current


def test_the_newest_text_is_asked_once_it_rests() -> None:
    desk = Desk()
    for prompt in ("S", "Si", "Siz", "Size"):
        desk.type(prompt)
    assert desk.asked == []
    assert desk.clock.seconds == [REST_SECONDS] * 4
    desk.clock.rest()
    assert desk.asked == ["Size"]
    desk.hear()
    assert desk.shown.run.question.prompt == "Size"
    assert desk.shown.phase is Phase.DONE
    assert not desk.clock.runs


def test_nothing_is_asked_while_live_mode_is_off() -> None:
    desk = Desk("off")
    desk.type("Size")
    assert not desk.clock.runs
    assert desk.live.toggle()
    assert desk.clock.runs, "what stands there is asked at once"
    assert not desk.live.toggle()
    assert not desk.clock.runs
    assert desk.asked == []


def test_an_edit_cancels_the_draft_and_what_it_still_tells_is_ignored() -> None:
    desk = Desk()
    desk.ask("Size")
    desk.hear_rows(3)
    first = desk.shown.run.id
    desk.type("Size of")
    assert desk.worker.forgotten == [first]
    assert desk.worker.cancels == 0, "nothing else is cancelled"
    assert not desk.state.busy
    desk.hear()
    assert len(desk.shown.rows) == 3
    assert desk.state.note is None
    desk.clock.rest()
    desk.hear()
    assert desk.shown.run.question.prompt == "Size of"
    assert desk.shown.complete


def test_a_draft_that_has_not_started_never_shows() -> None:
    desk = Desk()
    kept = desk.shown
    desk.ask("Size")
    desk.type(PROMPT)
    assert not desk.clock.runs, "the rows of this text are on the screen"
    desk.hear()
    assert desk.shown is kept
    assert desk.worker.forgotten == [desk.worker.asked[1][1]]
    assert not desk.state.busy


def earlier(desk: Desk) -> list[tuple[int, str]]:
    """Whose rows stand below those that have come."""
    return [(row, question.prompt) for row, question in desk.shown.still_before]


def test_whose_rows_are_below_those_that_have_come() -> None:
    desk = Desk()
    desk.ask("Size")
    desk.hear_rows(4)
    assert earlier(desk) == [(4, PROMPT)]
    desk.ask("Size of")
    desk.hear_rows(2)
    assert earlier(desk) == [(2, "Size"), (4, PROMPT)]
    desk.hear()
    assert not desk.shown.still_before
    desk.ask("Size of the")
    desk.hear_rows(1)
    assert earlier(desk) == [(1, "Size of")]
    desk.state.place = 0
    assert not desk.shown.still_before, "the table shows another position"


def test_rows_stay_only_in_a_table_that_has_shown_no_other_run() -> None:
    desk, table = Desk(), LensTable(ascii_only=True)
    other = desk.shown
    for prompt, rows in (("Size", 4), ("Size of", 2)):
        table.show(desk.shown, desk.state.look)
        desk.ask(prompt)
        desk.hear_rows(rows)
        assert table.keeps_rows_for(desk.shown)
    table.show(desk.shown, desk.state.look)
    assert table.keeps_rows_for(desk.shown)
    table.show(other, desk.state.look)
    assert earlier(desk) == [(2, "Size"), (4, PROMPT)]
    assert not table.keeps_rows_for(desk.shown), "rows 2 and 3 are not those of Size any more"


def test_rows_that_are_not_to_be_believed_do_not_stay() -> None:
    desk = Desk()
    desk.worker.passed = False
    desk.ask("Size")
    desk.hear()
    assert desk.shown.refused
    desk.ask("Size of")
    desk.hear_rows(2)
    assert desk.shown.still_before == ()


def test_a_draft_is_not_kept() -> None:
    desk = Desk()
    state = desk.state
    (kept,) = state.runs
    desk.ask("Size")
    desk.hear_rows(2)
    assert not state.unsaved_or_live or state.unsaved
    desk.hear()
    assert state.runs == [kept]
    assert state.is_draft
    assert state.revision == desk.revisions, "no journal is written"
    assert [run.id for run in state.session(row=0, with_live=True).runs] == [kept.run.id]
    assert state.session(row=0, with_live=True).view.get("run") != desk.shown.run.id
    assert not state.delete(desk.shown)
    state.switch(1)
    assert state.is_draft
    state.switch(-1)
    assert state.current is kept


def test_keeping_a_draft_does_not_ask_again() -> None:
    desk = Desk()
    desk.ask("Size")
    desk.hear()
    draft = desk.shown
    assert desk.live.keep()
    assert desk.state.runs[-1] is draft
    assert not desk.state.is_draft
    assert desk.state.revision > desk.revisions
    assert not desk.live.keep()
    desk.ask("Size of")
    desk.hear()
    assert desk.worker.forgotten == []
    assert desk.asker.keeps_stream_of(draft)
    assert desk.asked == ["Size", "Size of"]


def test_a_draft_that_is_kept_while_it_runs_ends_like_any_run() -> None:
    desk = Desk()
    desk.ask("Size")
    desk.hear_rows(3)
    assert desk.live.keep()
    desk.type("Size of")
    desk.hear()
    assert desk.state.runs[-1].complete
    assert desk.worker.forgotten == []


def test_only_what_stands_beside_the_table_can_be_kept() -> None:
    desk = Desk()
    assert not desk.live.keep(), "the run is in the list already"
    desk.ask("Size")
    desk.hear()
    desk.type("Size of")
    assert not desk.live.keep()
    desk.asker.run(lambda: desk.question)
    desk.hear()
    assert [view.run.question.prompt for view in desk.state.runs] == [PROMPT, "Size of"]
    desk.clock.rest()
    assert desk.asked == ["Size", "Size of"], "it has been asked by hand"


def test_a_dropped_draft_is_read_no_more_and_its_text_asked_again() -> None:
    desk = Desk()
    desk.ask("Size")
    desk.hear()
    draft = desk.shown
    assert desk.asker.read(draft, TrackRequest(ids=(1,))) is not None
    desk.hear()
    assert len(draft.run.tracked) == 2
    assert desk.state.revision == desk.revisions
    desk.type("Size of")
    assert desk.asker.read(draft, TrackRequest(ids=(2,))) is None
    desk.ask("Size")
    assert desk.asked == ["Size", "Size"]


def test_a_text_that_cannot_be_asked_is_no_error() -> None:
    desk = Desk()
    before = desk.shown
    desk.ask("Size <image>")
    run_id = desk.worker.asked[-1][1]
    desk.worker.told.clear()
    desk.worker._jobs.get()
    desk.dispatch.tell([Trouble("it holds the special token <image>", run_id)])
    assert desk.state.note is not None
    assert desk.state.note.kind == "info"
    assert desk.state.drafts.refused
    assert desk.shown is before
    assert not desk.state.busy
    desk.ask("Size")
    assert not desk.state.drafts.refused
    desk.hear()
    assert desk.shown.complete
    assert desk.state.note is None


def test_what_the_user_has_asked_is_not_cancelled() -> None:
    desk = Desk()
    questions = [Question(prompt="one"), Question(prompt="two")]
    assert desk.asker.run_all(questions)
    desk.hear_rows(2)
    desk.ask("Size")
    assert desk.asked == ["one"]
    desk.type("Size of")
    desk.clock.rest()
    desk.hear()
    assert desk.asked == ["one", "two", "Size of"]
    assert desk.worker.cancels == 0
    assert all(view.complete for view in desk.state.runs)


def test_another_picture_is_asked_about() -> None:
    desk = Desk()
    desk.question = replace(desk.question, picture=Picture("other.png"))
    desk.live.edited()
    desk.clock.rest()
    assert desk.worker.questions[-1].picture == Picture("other.png")


def test_what_is_compared_with_a_draft_keeps_it() -> None:
    desk = Desk()
    desk.question = replace(desk.question, picture=Picture("other.png"))
    desk.ask("Size")
    desk.hear()
    draft = desk.shown
    assert desk.asker.ask_against(draft, [Counterfactual("none")])
    desk.hear()
    assert draft in desk.state.runs
    assert desk.state.counterfactuals_of(draft)


def test_a_cancelled_draft_says_so_and_is_asked_by_hand() -> None:
    desk = Desk()
    desk.ask("Size")
    desk.hear_rows(3)
    desk.worker.told.clear()
    run = desk.shown.run
    assert desk.asker.cancel()
    desk.dispatch.tell([RunEnded(finish(run, make_rows(10, 5)[:3], "cancelled"))])
    assert desk.state.note is not None
    assert desk.state.note.text == "cancelled after 3 of 11 rows"
    assert not desk.shown.still_before
    assert not desk.live.keep()


def seconds(run_id: str, total: float) -> list[Event]:
    run = make_run(run_id, Question(prompt=PROMPT))
    ended = replace(finish(run, make_rows(10, 5)), seconds={"total": total})
    return [RunStarted(run), RunEnded(ended)]


def test_quick_passes_turn_it_on_and_slow_ones_off() -> None:
    desk = Desk("auto")
    assert not desk.live.on, "the first pass took 0.412 s"
    desk.dispatch.tell(seconds("0" * 16, ON_BELOW - 0.01))
    assert desk.live.on
    desk.dispatch.tell(seconds("1" * 16, OFF_ABOVE - 0.01))
    assert desk.live.on
    desk.dispatch.tell(seconds("2" * 16, OFF_ABOVE + 0.01))
    assert not desk.live.on


@pytest.mark.parametrize("wanted", ["on", "off"])
def test_the_users_word_holds(wanted: Wanted) -> None:
    desk = Desk(wanted)
    desk.dispatch.tell(seconds("0" * 16, 0.01))
    desk.dispatch.tell(seconds("1" * 16, 60.0))
    assert desk.live.on == (wanted == "on")
    by_hand = Desk("auto")
    by_hand.live.toggle()
    by_hand.dispatch.tell(seconds("2" * 16, 60.0))
    assert by_hand.live.on


def test_the_title_says_of_which_text_rows_are() -> None:
    run = RunView.of(finish(make_run("0" * 16, Question(prompt="Size")), make_rows(10, 5)))
    assert run_title(run, "", ("prompt",), 80, live=True) == 'layers; of: "Size"'
    below = [
        (4, replace(run.run.question, prompt="Si")),
        (6, replace(run.run.question, prompt="S")),
    ]
    title = run_title(run, "not kept", (), 80, live=True, before=below)
    assert title == 'layers, not kept; from 4 of: "Si", from 6 of: "S"'
    about = replace(run.run, question=replace(run.run.question, picture=Picture("dir/a.png")))
    title = run_title(RunView.of(about), "", ("prompt",), 80, live=True)
    assert title == 'layers; of: "Size"', "the picture is still the same"
    title = run_title(RunView.of(about), "", ("picture", "prompt"), 80, live=True)
    assert title == 'layers; of: a.png, "Size"'
    title = run_title(run, "", ("prompt",), 30, live=True, before=below)
    assert title.startswith('layers; of: "Size", from 4')
    assert len(title) <= 30


def test_the_title_names_what_earlier_rows_have_different() -> None:
    asked = Question(prompt="Size", picture=Picture("dir/b.png"))
    run = RunView.of(finish(make_run("0" * 16, asked), make_rows(10, 5)))
    changes: list[tuple[dict[str, Any], str]] = [
        ({"picture": Picture("dir/a.png")}, "a.png"),
        ({"picture": None}, "no picture"),
        ({"counterfactual": Counterfactual("unk")}, "unk"),
        ({"system": "Be brief."}, 'system prompt "Be brief."'),
        ({"chat": False}, "raw"),
    ]
    for change, named in changes:
        below = [(4, replace(asked, **change))]
        title = run_title(run, "", (), 80, live=True, before=below)
        assert title == f'layers; from 4 of: {named}, "Size"'


# ---------------------------------------------------------------------- on the screen


def marks(stage: Stage) -> str:
    """The gutter of the rows that are visible."""
    table = stage.app.main.table
    return "".join(table.mark_of(row) for row in range(table.count))


async def at_rest(stage: Stage) -> Clock:
    """Wait for the first run, and put time under control."""
    await stage.run_done()
    stage.app.live.later = clock = Clock()
    await stage.press("e")
    return clock


@in_loop
async def test_typing_on_the_screen() -> None:
    async with explorer((100, 30), startup={"live": "on"}) as stage:
        clock = await at_rest(stage)
        await stage.shows("clevr 2/4, live")
        await stage.press("x")
        await stage.until(lambda: marks(stage) == "?" * 11)
        await stage.shows(f'layers; of: "{PROMPT}"')
        await stage.shows("earlier answer")
        stage.worker.hold_at = 4
        clock.rest()
        await stage.until(lambda: marks(stage) == "    " + "?" * 7)
        await stage.shows("not kept (r keeps it); from 4 of:")
        await stage.shows(" 10 out │ ␣cylin", "cylinder   c continues")  # of the text before
        await stage.press("y")
        await stage.until(lambda: marks(stage) == "?" * 11)
        stage.worker.hold_at = None
        clock.rest()
        await stage.until(lambda: marks(stage) == " " * 11)
        assert stage.worker.questions[-1].prompt == PROMPT + "xy"
        await stage.press("enter")
        await stage.shows("kept as run 2", "run 2/2")
        assert len(stage.worker.questions) == 3
        assert stage.app.main.editor.prompt == PROMPT + "xy"
        await stage.press("ctrl+t")
        await stage.until(lambda: "prompt, live" not in stage.text)
        await stage.press("enter")
        assert stage.app.main.editor.prompt == PROMPT + "xy\n"
        await stage.shows("not asked yet")


@pytest.mark.slow
@in_loop
async def test_rows_of_a_run_that_was_shown_meanwhile_are_not_those_before() -> None:
    async with explorer((100, 30), startup={"live": "on"}) as stage:
        clock = await at_rest(stage)
        state, table = stage.app.state, stage.app.main.table

        async def draft(key: str, word: str, rows: int) -> None:
            """Type, and let so many rows come, in which this word is the best."""
            await stage.press(key)
            stage.worker.words, stage.worker.hold_at = [f" {word}"], rows
            clock.rest()
            await stage.until(
                lambda: (
                    state.current is not None
                    and state.current.run.question.prompt.endswith(key)
                    and len(state.current.rows) == rows
                )
            )

        def first_words() -> list[str]:
            facts = [table._facts[row].reading for row in range(5)]
            return ["" if row is None else row.top[0].text.strip() for row in facts]

        await draft("x", "pear", 4)
        await stage.until(lambda: first_words() == ["pear"] * 4 + ["cube"])
        await draft("y", "plum", 2)
        await stage.until(lambda: first_words() == ["plum"] * 2 + ["pear"] * 2 + ["cube"])
        shown = state.current
        assert shown is not None
        await stage.press("enter")
        await stage.shows("kept as run 2")
        await stage.press("escape", "comma")
        await stage.until(lambda: state.current is not shown)
        await stage.until(lambda: first_words() == ["red"] * 3 + ["cube"] * 2)
        await stage.press("full_stop")
        await stage.until(lambda: state.current is shown)
        await stage.until(lambda: first_words() == ["plum"] * 2 + [""] * 3)
        assert "of:" not in stage.text
        await stage.press("ctrl+c")
        await stage.shows("cancelled after 2 of 11 rows")
        assert first_words() == ["plum"] * 2 + [""] * 3


@in_loop
async def test_what_a_draft_is_and_is_not_on_the_screen() -> None:
    async with explorer((100, 30), startup={"live": "off"}) as stage:
        await stage.run_done()
        await stage.press("E")
        clock = await at_rest(stage)
        await stage.press("x")
        clock.rest()
        await stage.run_done()
        await stage.shows("not kept (r keeps it)")
        await stage.press("escape", "f6")
        await stage.shows("this run is not kept: r keeps it")
        await stage.press("delete")
        await stage.shows("this run is not kept: r keeps it")
        await stage.press("H")
        await stage.shows("1 run,")
        await stage.press("escape")
        await stage.press("b")
        await stage.until(lambda: stage.app.has_dialog)
        await stage.press("escape")
        await stage.press("comma")
        await stage.until(lambda: stage.app.main.editor.prompt == PROMPT)
        assert not stage.app.state.is_draft
        assert not clock.runs
        assert f"{PROMPT}x" in stage.app.state.typed


@in_loop
async def test_what_was_taken_from_a_cache_is_said() -> None:
    async with explorer((120, 30)) as stage:
        await stage.run_done()
        run = stage.app.state.current
        assert run is not None
        run.run = replace(run.run, made=Made("reused", 41, "its sliding window has moved on"))
        stage.app.presenter.show_all()
        await stage.shows("41 tokens from the cache", "its sliding window has moved on")


@pytest.mark.slow
@in_loop
async def test_two_hundred_edits_at_twenty_a_second_end_at_what_a_cold_run_gives() -> None:
    from engine import load

    question = Question(prompt=PROMPT, picture=Picture(str(samples.DEFAULT_PICTURE)))
    started: dict[str, Any] = {
        "live": "on",
        "worker": None,
        "question": question,
        "options": LoadOptions(str(samples.MODEL)),
    }
    async with explorer((100, 30), startup={**started, "no_picture": False}) as stage:
        await stage.until(lambda: stage.app.state.runs and not stage.app.state.live, 120)
        await stage.press("e")
        choose = random.Random(21)
        keys = ["left", "right", "home", "end", "backspace", "backspace", "delete", "space"]
        for _ in range(200):
            key = choose.choice([*keys, *string.ascii_lowercase])
            await stage.press(key)
            await asyncio.sleep(0.05)
        state, typed = stage.app.state, stage.app.main.editor.prompt
        await stage.until(
            lambda: (
                state.current is not None
                and state.current.run.question.prompt == typed
                and state.current.complete
                and not state.busy
            ),
            60,
        )
        assert state.is_draft
        assert len(state.runs) == 1
        found = state.current
        assert found is not None
    cold = load(str(samples.MODEL)).ask(typed, image=str(samples.DEFAULT_PICTURE)).run
    assert len(found.rows) == len(cold.rows)
    for ours, theirs in zip(found.run.rows, cold.rows, strict=True):
        assert [token.id for token in ours.top] == [token.id for token in theirs.top]
        for one, other in zip(ours.top, theirs.top, strict=True):
            assert one.logit == pytest.approx(other.logit, abs=1e-4)
            assert one.probability == pytest.approx(other.probability, abs=1e-5)
