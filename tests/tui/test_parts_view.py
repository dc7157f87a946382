"""The screen of parts, on a worker with made numbers, and what it is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import samples
import tests.tui.stage as stages
from engine.arrays import Array
from engine.events import ReadingDropped, Trouble
from engine.methods.geometry import GeometryRequest
from engine.methods.parts import PartShare, PartsReading, PartsRequest
from engine.records import Picture, Question, Reading, ReadingProof, Request, Session
from tests.tui.dialog_stage import HOSTILE
from tests.tui.parts_stage import HEADS, WHOLE, PartsWorker, parts_part, parts_reading
from tests.tui.reading_stage import asked_of, opened_by
from tests.tui.stage import ONE_SIZE, WITH_PICTURE, Stage, explorer, in_loop
from tests.tui.test_hostile import assert_harmless
from tests.tui.words_stage import BEFORE, SIDE, finished_run, geometry, tokens_of
from tui.state.explained import Explained, typed_words
from tui.state.maps import STEPS
from tui.state.run_view import RunView
from tui.views.parts.head_table import HeadTable
from tui.views.parts.known import KnownParts, lines_of
from tui.views.parts.looking import Looking
from tui.views.parts.screen import PartsScreen

LAYERS = 10
COUNT = BEFORE + SIDE * SIDE + 2
at_every_size = pytest.mark.parametrize("size", ONE_SIZE)


@pytest.fixture(autouse=True)
def parts_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "FakeWorker", PartsWorker)


@asynccontextmanager
async def opened(
    size: tuple[int, int] = (120, 40), **given: Any
) -> AsyncIterator[tuple[Stage, PartsScreen]]:
    """Open the screen from row 6, with which layer 5 ends, and wait for the parts."""
    async with opened_by("j6", PartsScreen, size, **given) as (stage, screen):
        await stage.until(lambda: screen.reading is not None)
        yield stage, screen


def asked(stage: Stage) -> list[Request]:
    return asked_of(stage, PartsRequest)


def reading(**request: Any) -> PartsReading:
    return parts_reading(PartsRequest(**request), LAYERS, COUNT, SIDE)


def looking(*readings: PartsReading) -> Looking:
    made = Looking(RunView.of(finished_run()), 6, COUNT - 1)
    for each in readings:
        made.take(each)
    return made


def damaged(whole: PartsReading) -> PartsReading:
    assert whole.sent is not None
    broken = Array("<f4", whole.sent.shares.shape, "A" * 4, True)
    return replace(whole, sent=replace(whole.sent, shares=broken))


# ---------------------------------------------------------------------- what is known


def test_a_layers_attention_and_mlp_stand_side_by_side() -> None:
    parts = reading().parts
    lines = lines_of(parts, by_size=False)
    assert [index for line in lines for index in line.parts] == [*range(len(parts))]
    pairs = [line for line in lines if len(line.parts) > 1]
    assert len(pairs) == LAYERS - 1
    for line in pairs:
        attention, mlp = (parts[index] for index in line.parts)
        assert (attention.name, mlp.name, attention.layer) == ("attention", "MLP", mlp.layer)
    assert lines[-1].together == pytest.approx(reading().value)
    three = [PartShare(2, name, 1.0) for name in ("MLP", "attention", "adapter")]
    assert [line.parts for line in lines_of(tuple(three), by_size=False)] == [(1, 0), (2,)]
    twice = tuple(PartShare(2, name, 1.0) for name in ("attention", "attention", "MLP"))
    assert [line.parts for line in lines_of(twice, by_size=False)] == [(0,), (1,), (2,)]


def test_the_largest_come_first_and_sum_up_to_the_same() -> None:
    parts = reading().parts
    lines = lines_of(parts, by_size=True)
    sizes = [abs(parts[index].share or 0) for line in lines for index in line.parts]
    assert sizes == sorted(sizes, reverse=True)
    assert lines[-1].together == pytest.approx(reading().value)


def test_effects_of_several_readings_stand_together() -> None:
    known = KnownParts(Explained(COUNT - 1))
    known.take(reading(ablate=2))
    known.take(reading(without="4.attention"))
    effects = {(each.layer, each.name) for each in known.parts if each.effect is not None}
    assert effects == {(9, "MLP"), (8, "MLP"), (4, "attention")}
    known.take(reading(heads=True))
    assert sum(each.effect is not None for each in known.parts) == 3
    assert known.heads


def test_a_part_keeps_the_words_that_are_known() -> None:
    known = KnownParts(Explained(COUNT - 1))
    whole = reading()
    known.take(whole)
    request = PartsRequest(ablate=3)
    known.take_part(request, parts_part(reading(ablate=3), 1, 3))
    assert sum(each.effect is not None for each in known.parts) == 1
    assert [each.promotes for each in known.parts] == [each.promotes for each in whole.parts]


def test_another_logit_is_not_mixed_in() -> None:
    known = KnownParts(Explained(COUNT - 1, ("dog",)))
    for other in (reading(), reading(of=("cat",)), reading(of=("dog",), position=3)):
        assert not known.take(other)
    known.take_part(PartsRequest(), parts_part(reading(), 0, 1))
    assert not known.parts
    assert known.take(reading(of=("dog",)))


def test_what_is_missing_is_asked_for() -> None:
    here = looking()
    assert here.missing() == PartsRequest()
    here.take(reading())
    assert here.missing() is None
    here.show_heads(True)
    assert here.missing() == PartsRequest(heads=True)
    here.take(reading(heads=True))
    assert here.missing() == PartsRequest(layer=5, head=0)
    here.take(reading(layer=5, head=0))
    assert here.missing() is None
    here.step_head(1)
    assert here.missing() == PartsRequest(layer=5, head=1)
    here.explain(here.explained.at(3).with_words(("dog",)))
    assert here.missing() == PartsRequest(position=3, of=("dog",), heads=True)
    none = replace(reading(heads=True), heads=())
    assert looking(none).missing() is None


def test_more_of_the_largest_are_taken_out_each_time() -> None:
    here = looking(reading())
    assert here.top_request() == PartsRequest(ablate=10)
    here.take(reading(ablate=10))
    assert here.top_request() == PartsRequest(ablate=19)  # all that can be


def test_heads_have_a_place_each_though_a_layer_has_two_attentions() -> None:
    heads = [PartShare(1, name, 0.1 * at, at % 2) for at, name in enumerate(("a", "a", "b", "b"))]
    table = HeadTable.of([*heads, PartShare(1, "a", 0.5)], 3)
    assert table.shares.shape == (3, 4)
    assert np.isnan(table.shares[0]).all()
    assert [table.heads[1, at].share for at in range(4)] == [each.share for each in heads]
    assert table.nearest((0, 9)) == (1, 3)
    assert HeadTable.of([], 3).nearest((2, 1)) == (2, 1)


def test_a_map_of_what_patches_sent_has_signs() -> None:
    here = looking(reading(heads=True), reading(layer=5, head=0))
    here.show_heads(True)
    from tests.tui.words_stage import geometry

    here.place_patches(geometry((336, 336)))
    shown, steps = here.map, here.steps
    assert shown is not None and steps is not None
    assert ((steps >= STEPS // 2) == (shown.values[0] > 0)).all()
    sums = dict(here.by_group())
    assert sum(sums.values()) == pytest.approx(here.sent.share if here.sent else None, abs=1e-5)
    assert sums["picture"] == pytest.approx(shown.values.sum(), abs=1e-5)
    assert sums["question"] == pytest.approx(0.12)
    assert here.largest_sources(1)[0][0] == COUNT - 2
    here.step(1)
    assert here.map is None


def test_the_row_of_a_part_is_the_one_that_it_is_added_to() -> None:
    here = looking(reading())
    rows = {}
    for index, part in enumerate(here.known.parts):
        here.part = index
        rows[part.layer, part.name] = here.row
    assert rows[None, "embedding"] == 0
    assert rows[3, "whole layer"] == 4
    assert rows[5, "added before row 5"] == 5
    assert rows[9, "MLP"] == rows[None, "bias"] == LAYERS


def test_what_is_explained_in_words() -> None:
    def words(*given: Any) -> str:
        return Explained(3, *given).in_words((), ascii_only=True)

    assert words() == "logit of the answer minus the runner-up"
    assert words(("dog", "cat")) == 'logit of "dog" minus "cat"'
    assert words((), "none") == "logit of the answer, minus the same without the picture"
    assert "\x1b" not in words(("\x1b[31m",), "\x1b")
    assert typed_words(" dog ,, cat,") == ("dog", "cat")


# ---------------------------------------------------------------------- the screen


@at_every_size
@in_loop
async def test_it_opens_on_the_parts_of_the_answer(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await stage.shows('logit of "cylinder" minus "sphere"', "they sum to +4.00; error 1.2e-6")
        await stage.shows("attention", "MLP", "embedding", "whole layer: the stream is", "added")
        await stage.shows("layer 5 attention: +0.20", "promotes", "suppresses", "K takes it out")
        assert asked(stage) == [PartsRequest()]
        assert not any(isinstance(request, GeometryRequest) for _, request in stage.worker.reads)
        assert_harmless(stage)
        assert screen.looking.here is not None


@pytest.mark.slow
@in_loop
async def test_the_cursor_walks_over_lines_and_sides() -> None:
    async with opened() as (stage, screen):
        await stage.press("l")
        await stage.shows("layer 5 MLP: +0.45")
        await stage.press("j")
        await stage.shows("layer 6 MLP: +0.54")
        await stage.press("g")
        await stage.shows("embedding: +0.02", "it cannot be taken out")
        await stage.press("K")
        await stage.shows("it cannot be taken out", "output of no module")
        await stage.press("n")
        await stage.shows("layer 9 MLP: +0.81, 1st of 22", "1st of 22 parts by the size")
        await stage.press("n")
        await stage.shows("layer 8 MLP: +0.72, 2nd of 22")
        await stage.press("f")
        await stage.shows("parts, the largest first")
        assert screen.looking.cursor == 1
        assert screen.list.render_line(1).text.split()[:1] == ["9"]


@pytest.mark.slow
@in_loop
async def test_signs_are_told_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened((80, 24), startup={"ascii": True}) as (stage, screen):
        await stage.shows("--|", "|++")
        line = next(text for y in range(20) if "whole" in (text := screen.list.render_line(y).text))
        assert line.index("-") < line.index("|")
        await stage.press("D")
        await stage.until(lambda: screen.looking.steps is not None)
        await stage.shows("[%=-.'+*#]", "heads 0-3 of 0-3")
        assert stage.text.isascii()


@pytest.mark.slow
@in_loop
async def test_a_part_is_taken_out_and_its_effect_stands_beside_its_share() -> None:
    async with opened() as (stage, screen):
        await stage.press("K")
        await stage.shows("taken out: 0.02 higher")
        assert asked(stage)[-1] == PartsRequest(without="5.attention")
        await stage.until(lambda: " out " in screen.list.render_line(0).text)
        await stage.press("K")
        await stage.shows("this has been read")
        assert len(asked(stage)) == 2


@in_loop
async def test_the_largest_stream_in_and_can_be_stopped() -> None:
    async with opened() as (stage, screen):
        assert isinstance(stage.worker, PartsWorker)
        stage.worker.holds_parts = True
        await stage.press("a")
        await stage.shows("1 of 10 taken out")
        assert sum(part.effect is not None for part in screen.looking.known.parts) == 1
        await stage.press("a")
        await stage.shows("stopped; what has been read stays")
        assert stage.worker.read_ids[-1] in stage.worker.cancelled_readings
        stage.worker.holds_parts = False
        await stage.press("a")
        await stage.until(
            lambda: sum(part.effect is not None for part in screen.looking.known.parts) == 10
        )


@pytest.mark.slow
@in_loop
async def test_closing_cancels_what_is_read() -> None:
    async with opened() as (stage, _):
        assert isinstance(stage.worker, PartsWorker)
        stage.worker.holds_parts = True
        await stage.press("a")
        await stage.shows("1 of 10 taken out")
        await stage.press("q")
        await stage.until(lambda: stage.worker.read_ids[-1] in stage.worker.cancelled_readings)
        await stage.until(lambda: len(stage.app.screen_stack) == 1)


@in_loop
async def test_words_are_explained_that_are_typed() -> None:
    async with opened() as (stage, screen):
        await stage.press("slash", *"dog,cat", "enter")
        await stage.shows('logit of "dog" minus "cat"')
        await stage.until(lambda: asked(stage)[-1] == PartsRequest(of=("dog", "cat")))
        await stage.until(lambda: screen.reading is not None)
        await stage.press("slash")
        await stage.shows("which logit", "dog,cat")
        await stage.press("escape", "slash", *",a,b", "enter")
        await stage.shows("at most two words")
        await stage.press("W", *["backspace"] * 7, "enter")
        await stage.shows('logit of "cylinder" minus "sphere"')
        assert screen.looking.explained.of == ()
        assert len(asked(stage)) == 2  # the first one is still known


@pytest.mark.slow
@in_loop
async def test_the_same_without_the_picture_is_subtracted() -> None:
    async with opened() as (stage, screen):
        await stage.press("B")
        await stage.shows("minus the same without the picture")
        await stage.until(lambda: asked(stage)[-1] == PartsRequest(against="none"))
        await stage.until(lambda: screen.reading is not None and screen.reading.against is not None)
        await stage.press("B")
        await stage.shows('logit of "cylinder" minus "sphere"')
        own = screen.looking.run.own
        await stage.press("q")
        await stage.until(lambda: stage.app.state.current is own)


@at_every_size
@in_loop
async def test_heads_are_a_matrix_with_the_map_of_one(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await stage.press("D")
        await stage.until(lambda: screen.looking.steps is not None and screen.pane.canvas.drawn)
        assert asked(stage)[1:] == [PartsRequest(heads=True), PartsRequest(layer=5, head=0)]
        await stage.shows("layer 5 head 0: -0.10", "sent by", "picture", "most from  579", "heads,")
        await stage.press("right_parenthesis")
        await stage.shows("layer 5 head 1: +0.30")
        await stage.until(lambda: asked(stage)[-1] == PartsRequest(layer=5, head=1))
        await stage.press("K")
        await stage.shows("taken out:")
        assert asked(stage)[-1] == PartsRequest(heads=True, without="5.1")
        before = screen.looking.patch
        await stage.press("right")
        await stage.shows("patch 13,12" if size[0] > 100 else "sent by patches")
        assert screen.looking.patch != before
        await stage.press("D")
        await stage.shows("layer 5 attention")
        assert_harmless(stage)


@pytest.mark.slow
@in_loop
async def test_heads_are_known_at_once_when_they_are_shown_again() -> None:
    async with opened() as (stage, screen):
        await stage.press("D")
        await stage.until(lambda: screen.looking.steps is not None)
        count = len(asked(stage))
        await stage.press("D", "D")
        await stage.shows("layer 5 head 0: -0.10")
        assert len(asked(stage)) == count
        await stage.press(*["k"] * 2)
        assert screen.looking.place == (2, 0)  # layer 3 has none
        assert WHOLE == 3
        assert HEADS == 4


@pytest.mark.slow
@in_loop
async def test_it_walks_to_another_position_and_back_to_the_table() -> None:
    async with opened() as (stage, _):
        await stage.press("less_than_sign")
        await stage.until(lambda: asked(stage)[-1] == PartsRequest(position=COUNT - 2))
        await stage.press("n")
        await stage.shows("layer 9 MLP")
        await stage.press("enter")
        await stage.until(lambda: len(stage.app.screen_stack) == 1)
        assert stage.app.state.place == COUNT - 2
        assert stage.app.main.table.cursor == LAYERS


@pytest.mark.slow
@in_loop
async def test_what_fails_its_proof_is_struck_out() -> None:
    proof = ReadingProof("the sum of all parts", 0.3, 1e-5, False)

    def made(request: Request) -> Reading | None:
        if isinstance(request, PartsRequest):
            return parts_reading(request, LAYERS, COUNT, SIDE, proof=proof, error=0.3)
        return None

    async with opened(made=made) as (stage, screen):
        await stage.shows("proof failed, error 0.3: do not believe these shares")
        strip = screen.list.render_line(3)
        numbers = [each for each in strip if "+0.25" in each.text]
        assert numbers and all(each.style and each.style.strike for each in numbers)
        assert "█" not in strip.text
        assert screen.reading is not None
        assert not screen.reading.worth_keeping
        assert "largest:" not in stage.text
        await stage.press("D")
        await stage.until(lambda: asked(stage)[-1] == PartsRequest(layer=5, head=0))
        await stage.until(lambda: screen.looking.sent is not None and screen.pane.canvas.drawn)
        await stage.shows("layer 5 head 0, not shown: proof failed")
        assert screen.looking.steps is None
        assert "largest heads" not in stage.text
        lines = [screen.grid.render_line(y) for y in range(screen.grid.size.height)]
        assert "proof failed, error 0.3" in lines[0].text
        assert not any("▀" in line.text for line in lines)
        lines = [screen.panel.render_line(y) for y in range(screen.panel.size.height)]
        numbers = [each for line in lines for each in line if "-0.10" in each.text]
        assert numbers and all(each.style and each.style.strike for each in numbers)


@pytest.mark.slow
@in_loop
async def test_trouble_is_said_and_asked_for_again() -> None:
    async with opened() as (stage, screen):
        await stage.press("slash", *"dog", "enter")
        await stage.until(lambda: len(asked(stage)) == 2)
        run = screen.looking.run.run.id
        stage.worker.tell(Trouble("no token is 'dog'", run, request_id=stage.worker.read_ids[-1]))
        await stage.pilot.pause()
        await stage.press("slash", *["backspace"] * 3, *"owl", "enter")
        await stage.until(lambda: asked(stage)[-1] == PartsRequest(of=("owl",)))
        await stage.shows('logit of "owl"')


@pytest.mark.slow
@in_loop
async def test_what_was_interrupted_is_read_on() -> None:
    async with opened() as (stage, screen):
        assert isinstance(stage.worker, PartsWorker)
        stage.worker.holds_parts = True
        await stage.press("K")
        await stage.until(lambda: len(asked(stage)) == 2)
        await stage.shows("1 of 1 taken out")
        run = screen.looking.run.run.id
        stage.worker.tell(ReadingDropped(run, stage.worker.read_ids[-1]))
        await stage.shows("the reading was interrupted: r reads on")
        stage.worker.holds_parts = False
        await stage.press("r")
        await stage.until(lambda: len(asked(stage)) == 3)
        assert asked(stage)[-1] == asked(stage)[-2]


@pytest.mark.slow
@in_loop
async def test_a_stored_session_shows_its_parts_without_a_model() -> None:
    run = replace(
        finished_run(picture=Picture(str(samples.DEFAULT_PICTURE))),
        readings=(reading(), reading(heads=True), reading(layer=5, head=0), reading(ablate=3)),
    )
    now = "2026-11-22T03:00:00Z"
    session = Session(created=now, saved=now, runs=(run,))
    startup = {**WITH_PICTURE, "options": None, "session": session}
    async with explorer(startup=startup) as stage:
        await stage.until(lambda: stage.app.state.current)
        await stage.press("6")
        await stage.shows("they sum to +4.00", "embedding: +0.02")
        await stage.press("n")
        await stage.shows("taken out: 0.22 lower")
        await stage.press("D", "n")
        await stage.press("slash", *"owl", "enter")
        await stage.shows("what each part adds is not known")
        assert_harmless(stage)


def test_damaged_sources_are_told_once_and_not_asked_again() -> None:
    whole = reading(layer=5, head=0)
    here = looking(reading(), reading(heads=True), damaged(whole))
    here.show_heads(True)
    assert here.place == (5, 0)
    assert here.known.damage.startswith("a damaged array")
    assert here.map is None and not here.by_group() and not here.largest_sources(4)
    assert here.missing() is None


@pytest.mark.slow
@in_loop
async def test_damaged_arrays_are_told() -> None:
    readings = (reading(), reading(heads=True), damaged(reading(layer=0, head=0)))
    picture = Picture(str(samples.DEFAULT_PICTURE))
    run = replace(finished_run(picture=picture), readings=(geometry((336, 336)), *readings))
    now = "2026-11-22T03:00:00Z"
    session = Session(created=now, saved=now, runs=(run,))
    async with explorer(startup={"options": None, "session": session}) as stage:
        await stage.until(lambda: stage.app.state.current)
        await stage.press("6", "D")
        await stage.shows("layer 0 head 0: -0.10", "a damaged array")
        await stage.press("j", "right_parenthesis")
        assert_harmless(stage)


@pytest.mark.slow
@in_loop
async def test_hostile_words_are_harmless() -> None:
    async with opened((80, 24), words=[HOSTILE] * 10) as (stage, screen):
        assert_harmless(stage)
        await stage.press("D")
        await stage.until(lambda: screen.looking.sent is not None)
        assert_harmless(stage)
        await stage.press("slash", *"x", "enter")
        await stage.until(lambda: len(asked(stage)) > 2)
        assert_harmless(stage)


@pytest.mark.slow
@in_loop
async def test_a_run_without_a_picture_has_parts_and_heads() -> None:
    startup = {"question": Question(prompt="What?")}
    async with explorer(startup=startup, side=0) as stage:
        await stage.run_done()
        await stage.press("6")
        await stage.shows("they sum to")
        await stage.press("B")
        await stage.shows("this run has no picture to replace")
        await stage.press("D")
        await stage.shows("layer 4 head 0: -0.10", "most from")
        screen = stage.app.screen
        assert isinstance(screen, PartsScreen)
        assert not screen.pane.display


@pytest.mark.slow
@in_loop
async def test_its_tables_are_copied() -> None:
    async with opened() as (stage, _):
        copied: list[str] = []
        stage.app.copy_text = lambda text, what: copied.append(what)  # type: ignore[method-assign]
        await stage.press("Y")
        await stage.until(lambda: copied)
        assert copied[0].startswith("parts as ")


def test_tokens_of_the_stage_are_those_of_the_run() -> None:
    assert len(tokens_of(SIDE * SIDE)) == COUNT
