"""The screen of neurons, on a worker with made numbers, and what it is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

import samples
import tests.tui.stage as stages
from engine.events import ReadingDropped, Trouble
from engine.methods.neurons import NeuronsPart, NeuronsReading, NeuronsRequest
from engine.records import Picture, Reading, ReadingProof, Request, Session
from tests.tui.dialog_stage import HOSTILE
from tests.tui.neurons_stage import BARE, MIXED, UNITS, NeuronsWorker, neurons_reading
from tests.tui.reading_stage import asked_of, opened_by
from tests.tui.stage import ONE_SIZE, WITH_PICTURE, Stage, explorer, in_loop
from tests.tui.test_hostile import assert_harmless
from tests.tui.words_stage import BEFORE, SIDE, finished_run
from tui.state.run_view import RunView
from tui.views.neurons import saying
from tui.views.neurons.looking import TOP, Looking
from tui.views.neurons.screen import NeuronsScreen

LAYERS = 10
COUNT = BEFORE + SIDE * SIDE + 2
at_every_size = pytest.mark.parametrize("size", ONE_SIZE)


@pytest.fixture(autouse=True)
def neurons_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "FakeWorker", NeuronsWorker)


@asynccontextmanager
async def opened(
    size: tuple[int, int] = (120, 40), **given: Any
) -> AsyncIterator[tuple[Stage, NeuronsScreen]]:
    """Open the screen, and wait for the units."""
    async with opened_by("9", NeuronsScreen, size, **given) as (stage, screen):
        await stage.until(lambda: screen.reading is not None)
        yield stage, screen


def asked(stage: Stage) -> list[Request]:
    return asked_of(stage, NeuronsRequest)


def reading(**request: Any) -> NeuronsReading:
    return neurons_reading(NeuronsRequest(**{"top": TOP, **request}), LAYERS, COUNT)


def looking(*readings: NeuronsReading) -> Looking:
    made = Looking(RunView.of(finished_run()), 6, COUNT - 1)
    for each in readings:
        made.take(each)
    return made


def test_what_is_missing_is_asked_for() -> None:
    here = looking()
    assert here.missing() == NeuronsRequest(top=TOP)
    here.take(reading())
    assert here.missing() is None
    here.go_to(1)
    assert here.here is not None
    layer = here.here.layer
    here.show_one_layer(True)
    assert here.missing() == NeuronsRequest(top=TOP, layer=layer)
    here.take(reading(layer=layer))
    assert {unit.layer for unit in here.units} == {layer}
    here.step_layer(1)
    assert here.missing() == NeuronsRequest(top=TOP, layer=(layer + 1) % LAYERS)
    here.show_one_layer(False)
    assert here.missing() is None  # it is still known
    here.explain(here.explained.at(3).with_words(("dog",)))
    assert here.missing() == NeuronsRequest(top=TOP, position=3, of=("dog",))
    assert not here.units


def test_effects_stay_with_their_units() -> None:
    here = looking(reading(), reading(ablate=3))
    assert [unit.effect is not None for unit in here.units[:4]] == [True, True, True, False]
    best = here.units[0]
    here.show_one_layer(True)
    here.take(reading(layer=best.layer))
    assert here.units[0] == best
    here.explain(here.explained.with_words(("dog",)))
    here.take(reading(of=("dog",)))
    assert not any(unit.effect is not None for unit in here.units)


def test_units_come_before_the_whole_reading_does() -> None:
    here = looking()
    part = NeuronsPart(reading().of, reading(ablate=2).units, 2, 5)
    here.take_part(NeuronsRequest(top=TOP, ablate=5), part)
    assert [unit.effect is not None for unit in here.units[:3]] == [True, True, False]
    here.take_part(NeuronsRequest(top=TOP, ablate=5, of=("dog",)), part)
    assert len(here.units) == TOP
    assert here.zero_request(999) == NeuronsRequest(top=TOP, ablate=TOP)


def test_more_units_until_all_are_shown() -> None:
    here = looking(reading(layer=2))
    here.layer, here.one_layer = 2, True
    here.choose()
    assert here.show_more()
    assert here.missing() == NeuronsRequest(top=2 * TOP, layer=2)
    here.take(reading(layer=2, top=2 * TOP))
    assert len(here.units) == UNITS
    assert not here.show_more()


def test_layers_and_experts_in_words() -> None:
    here = looking(reading())
    assert saying.layers_words(here).endswith("1 without units")
    assert "all 576 units" in saying.sum_words(here)
    here.layer, here.one_layer = BARE, True
    here.choose()
    here.take(reading(layer=BARE))
    words = saying.layer_words(here, ascii_only=True)
    assert words == f"layer {BARE} has no units: its MLP ends in a convolution"
    here.step_layer(MIXED - BARE)
    here.take(reading(layer=MIXED))
    assert saying.expert_words(here) == "experts    0 +0.50 (weight 0.7)  1 -0.20 (weight 0.3)"
    assert here.here is not None
    assert saying.unit_name(here.here, ascii_only=True) == f"layer {MIXED} experts expert 0 unit 0"
    assert here.row == MIXED + 1


@at_every_size
@in_loop
async def test_it_opens_on_the_largest_units_and_sets_them_to_zero(size: tuple[int, int]) -> None:
    async with opened(size) as (stage, screen):
        await stage.shows('largest units of all layers, logit of "cylinder" minus "sphere"')
        await stage.shows("these 40", "all 576 units", "error 3.0e-7", "layer 9 MLP unit 0: -0.50")
        await stage.shows("promotes", "suppresses", "experts 0", "K zeroes it")
        assert asked(stage) == [NeuronsRequest(top=TOP)]
        await stage.press("j", "j")
        await stage.shows("layer 7 MLP unit 0: +0.40", "K zeroes these 3, one by one")
        await stage.press("K")
        await stage.shows("at zero: 0.20 lower", "zeroed")
        assert asked(stage)[-1] == NeuronsRequest(top=TOP, ablate=3)
        assert isinstance(stage.worker, NeuronsWorker)
        stage.worker.holds_neurons = True
        await stage.press("a")
        await stage.shows("1 of 40 set to zero")
        await stage.press("a")
        await stage.shows("stopped; what has been read stays")
        assert stage.worker.read_ids[-1] in stage.worker.cancelled_readings
        assert sum(unit.effect is not None for unit in screen.looking.units) == 3
        assert_harmless(stage)


@pytest.mark.slow
@in_loop
async def test_one_layer_and_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as (stage, screen):
        await stage.press("f")
        await stage.shows("largest units of layer 9")
        await stage.until(lambda: asked(stage)[-1] == NeuronsRequest(top=TOP, layer=9))
        await stage.until(lambda: screen.reading is not None)
        rests: list[Callable[[], None] | None] = []
        with monkeypatch.context() as held:  # the keys rest when this test says so
            held.setattr(screen, "_once_it_rests", rests.append)
            await stage.press(*["left_parenthesis"] * (9 - BARE))
            await stage.until(lambda: len(rests) == 9 - BARE)
        assert len(asked(stage)) == 2
        rested = rests[-1]
        assert rested is not None
        rested()
        await stage.shows(f"layer {BARE} has no units: its MLP ends in a convolution")
        assert asked(stage)[2:] == [NeuronsRequest(top=TOP, layer=BARE)]  # none of those between
        await stage.press("plus")
        await stage.shows("there are no more units to show")
        await stage.press("f")
        await stage.shows("largest units of all layers", "these 40")
        assert screen.reading is not None
        assert len(asked(stage)) == 3


@pytest.mark.slow
@in_loop
async def test_words_are_explained_that_are_typed_and_other_positions() -> None:
    async with opened((80, 24)) as (stage, _):
        await stage.press("slash", *"dog", "enter")
        await stage.until(lambda: asked(stage)[-1] == NeuronsRequest(top=TOP, of=("dog",)))
        await stage.shows('logit of "dog"')
        await stage.press("less_than_sign")
        wanted = NeuronsRequest(top=TOP, position=COUNT - 2, of=("dog",))
        await stage.until(lambda: asked(stage)[-1] == wanted)
        await stage.press("W", *",a,b", "enter")
        await stage.shows("at most two words")
        await stage.shows("layer 9 MLP unit 0")
        await stage.press("enter")
        await stage.until(lambda: len(stage.app.screen_stack) == 1)
        assert stage.app.state.place == COUNT - 2
        assert stage.app.main.table.cursor == LAYERS


@pytest.mark.slow
@in_loop
async def test_closing_cancels_what_is_read() -> None:
    async with opened() as (stage, _):
        assert isinstance(stage.worker, NeuronsWorker)
        stage.worker.holds_neurons = True
        await stage.press("a")
        await stage.shows("1 of 40 set to zero")
        await stage.press("q")
        await stage.until(lambda: stage.worker.read_ids[-1] in stage.worker.cancelled_readings)


@pytest.mark.slow
@in_loop
async def test_what_was_interrupted_is_read_on() -> None:
    async with opened() as (stage, screen):
        assert isinstance(stage.worker, NeuronsWorker)
        stage.worker.holds_neurons = True
        await stage.press("K")
        await stage.shows("1 of 1 set to zero")
        run = screen.looking.run.run.id
        stage.worker.tell(ReadingDropped(run, stage.worker.read_ids[-1]))
        await stage.shows("the reading was interrupted: r reads on")
        await stage.press("r")
        await stage.until(lambda: len(asked(stage)) == 3)
        error = Trouble("memory ran out \x1b[31m", run, request_id=stage.worker.read_ids[-1])
        stage.worker.tell(error)
        await stage.shows("memory ran out \\x1b[31m")
        assert_harmless(stage)


@pytest.mark.slow
@in_loop
async def test_what_fails_its_proof_is_struck_out() -> None:
    proof = ReadingProof("the units' additions", 0.3, 1e-5, False)

    def made(request: Request) -> Reading | None:
        if isinstance(request, NeuronsRequest):
            return neurons_reading(request, LAYERS, COUNT, proof=proof)
        return None

    async with opened(made=made) as (stage, screen):
        await stage.shows("do not believe these shares")
        numbers = [each for each in screen.list.render_line(1) if "-0.50" in each.text]
        assert numbers
        assert all(each.style and each.style.strike for each in numbers)
        assert "█" not in screen.list.render_line(1).text


@pytest.mark.slow
@in_loop
async def test_a_stored_session_shows_its_units_without_a_model() -> None:
    run = replace(
        finished_run(picture=Picture(str(samples.DEFAULT_PICTURE))),
        readings=(reading(), reading(ablate=1)),
    )
    now = "2026-11-22T03:00:00Z"
    session = Session(created=now, saved=now, runs=(run,))
    async with explorer(startup={**WITH_PICTURE, "options": None, "session": session}) as stage:
        await stage.until(lambda: stage.app.state.current)
        await stage.press("9")
        await stage.shows("these 40", "at zero: 0.25 higher")
        await stage.press("f")
        await stage.shows("what each unit adds is not known: this needs the model")


@pytest.mark.slow
@in_loop
async def test_hostile_words_are_harmless() -> None:
    async with opened((80, 24), words=[HOSTILE] * 10) as (stage, _):
        assert_harmless(stage)


@pytest.mark.slow
@in_loop
async def test_signs_are_told_without_colours() -> None:
    async with opened((80, 24), startup={"ascii": True}) as (stage, _):
        await stage.shows("--|", "|++")
        assert stage.text.isascii()
