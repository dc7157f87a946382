"""The worker's thread: which events it tells, in which order, and that only `stop` ends it."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import engine.models.loading
import engine.prompts.preparing
from engine.errors import Remedy
from engine.events import (
    Event,
    LoadOptions,
    ModelFailed,
    ModelLoading,
    ModelReady,
    ReadingGrew,
    ReadingMade,
    RowsRead,
    RunEnded,
    RunStarted,
    SpellingsFound,
    Trouble,
)
from engine.lens.streaming import StreamedPass
from engine.methods.answer import AnswerReading, AnswerRequest
from engine.methods.deepen import DeepenReading, DeepenRequest
from engine.methods.kept_runs import REMEMBERED, REPLAYS_REMEMBERED
from engine.methods.seen import SeenReading, SeenRequest
from engine.methods.track import TrackReading, TrackRequest
from engine.models.loading import LoadedModel
from engine.pictures.opening import open_preview
from engine.records import Picture, Question
from engine.worker import Worker
from tests.conftest import hooks_of
from tests.engine.conftest import PATIENCE, Ears

QUESTION = Question(prompt="What?")


class Gate:
    """A layer that blocks until it is opened."""

    def __init__(self, layer: Any) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self._handle = layer.register_forward_pre_hook(self._wait)

    def _wait(self, *_: Any) -> None:
        self.reached.set()
        self.open.wait(PATIENCE)

    def remove(self) -> None:
        self.open.set()
        self._handle.remove()


@pytest.fixture
def tiny(opened: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """The model that the worker gets, no matter what it is told to load."""
    loaded = opened("llama")
    monkeypatch.setattr(engine.models.loading, "load_with", lambda options, progress: loaded)
    return loaded


@pytest.fixture
def ready(worker: Worker, ears: Ears, tiny: LoadedModel) -> Worker:
    worker.load(LoadOptions(model="tiny"))
    ears.wait_for(ModelReady)
    return worker


@pytest.fixture
def gate(tiny: LoadedModel) -> Iterator[Gate]:
    made = Gate(tiny.lens.layers[2])
    yield made
    made.remove()


def test_from_a_folder_to_a_finished_run(
    worker: Worker, ears: Ears, saved: Callable[[str], Path], red_picture: Path
) -> None:
    worker.load(LoadOptions(model=str(saved("llava"))))
    run_id = worker.ask(Question(prompt="What?", picture=Picture(str(red_picture))))
    ready = ears.wait_for(ModelReady)
    ended = ears.wait_for(RunEnded)
    assert (ready.layers, ready.takes_pictures, ready.has_chat_template) == (4, True, True)
    assert ready.method in ("tail", "replay")
    assert {"importing", "reading", "learning", "proving", "digest"} < set(ready.phases)
    assert 0 < sum(ready.phases.values()) <= ready.seconds
    assert ended.run.id == run_id
    assert ended.run.status == "done"
    kinds = [type(event) for event in ears.heard]
    loading = kinds.index(ModelReady)
    assert loading > 1
    assert set(kinds[:loading]) == {ModelLoading}
    assert kinds[loading + 1] is RunStarted
    assert set(kinds[loading + 2 : -1]) == {RowsRead}
    assert kinds[-1] is RunEnded
    groups = [event for event in ears.heard if isinstance(event, RowsRead)]
    assert {event.run_id for event in groups} == {run_id}
    assert [row.layer for event in groups for row in event.rows] == [0, 1, 2, 3, 4]
    for event in ears.heard:
        if isinstance(event, ModelLoading):
            assert event.fraction is None or 0 <= event.fraction <= 1


def test_orders_are_carried_out_in_order(ready: Worker, ears: Ears) -> None:
    ids = [ready.ask(QUESTION) for _ in range(3)]
    assert [ears.wait_for(RunEnded).run.id for _ in ids] == ids
    assert len(set(ids)) == 3


def test_rows_are_told_while_a_layer_blocks(ready: Worker, ears: Ears, gate: Gate) -> None:
    ready.ask(QUESTION)
    assert gate.reached.wait(PATIENCE)
    told: list[int] = []
    while len(told) < 2:
        told += [row.layer for row in ears.wait_for(RowsRead).rows]
    assert told == [0, 1]
    assert not gate.open.is_set()
    gate.open.set()
    assert ears.wait_for(RunEnded).run.status == "done"


def test_a_cancel_ends_a_blocked_pass_at_its_next_layer(
    ready: Worker, ears: Ears, gate: Gate, tiny: LoadedModel
) -> None:
    run_id = ready.ask(QUESTION)
    assert gate.reached.wait(PATIENCE)
    ready.cancel()
    gate.open.set()
    run = ears.wait_for(RunEnded).run
    assert (run.id, run.status) == (run_id, "cancelled")
    assert len(run.rows) <= 4
    assert run.proof is None
    assert hooks_of(tiny.model) == 0
    ready.ask(QUESTION)
    assert ears.wait_for(RunEnded).run.status == "done"


def test_a_cancel_ends_what_was_asked_before_it_and_nothing_else(
    ready: Worker, ears: Ears, gate: Gate
) -> None:
    ids = [ready.ask(QUESTION), ready.ask(QUESTION)]
    assert gate.reached.wait(PATIENCE)
    ready.cancel()
    ids.append(ready.ask(QUESTION))
    gate.open.set()
    ended = [ears.wait_for(RunEnded).run for _ in ids]
    assert [run.id for run in ended] == ids
    assert [run.status for run in ended] == ["cancelled", "cancelled", "done"]
    assert ended[1].rows == ()


def test_a_cancel_while_the_question_is_prepared_is_not_lost(
    ready: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine.asking.asking

    prepare = engine.prompts.preparing.prepare

    def cancelled_meanwhile(*arguments: Any) -> Any:
        ready.cancel()
        return prepare(*arguments)

    monkeypatch.setattr(engine.asking.asking, "prepare", cancelled_meanwhile)
    ready.ask(QUESTION)
    assert ears.wait_for(RunEnded).run.status == "cancelled"


def test_a_cancel_as_the_question_is_taken_up_is_not_lost(
    ready: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag must not be lost between taking the order and starting the pass."""
    import engine.asking.asking

    class CancelledAtBirth(engine.asking.asking.Asking):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            ready.cancel()
            super().__init__(*arguments, **settings)

    monkeypatch.setattr(engine.asking.asking, "Asking", CancelledAtBirth)
    ready.ask(QUESTION)
    assert ears.wait_for(RunEnded).run.status == "cancelled"


def test_a_run_that_is_forgotten_ends_and_nothing_else_does(
    ready: Worker, ears: Ears, gate: Gate, tiny: LoadedModel
) -> None:
    ids = [ready.ask(QUESTION), ready.ask(QUESTION), ready.ask(QUESTION)]
    assert gate.reached.wait(PATIENCE)
    ready.forget(ids[0])
    ready.forget(ids[1])
    gate.open.set()
    ended = [ears.wait_for(RunEnded).run for _ in ids]
    assert [run.id for run in ended] == ids
    assert [run.status for run in ended] == ["cancelled", "cancelled", "done"]
    assert len(ended[0].rows) <= 4
    assert ended[1].rows == ()
    assert hooks_of(tiny.model) == 0


def test_nothing_is_kept_of_a_run_that_is_forgotten(ready: Worker, ears: Ears) -> None:
    ids = [ready.ask(QUESTION), ready.ask(QUESTION)]
    for _ in ids:
        ears.wait_for(RunEnded)
    ready.forget(ids[0])
    ready.read(ids[0], TrackRequest(ids=(1,)))
    refused = ears.wait_for(Trouble)
    assert (refused.run_id, refused.remedies) == (ids[0], (Remedy.RUN_AGAIN,))
    ready.read(ids[1], TrackRequest(ids=(1,)))
    assert ears.wait_for(ReadingMade).run_id == ids[1]


def test_what_reads_a_run_that_is_forgotten_is_cancelled(ready: Worker, ears: Ears) -> None:
    run_id = ready.ask(QUESTION)
    ears.wait_for(RunEnded)
    ears.react = lambda event: ready.forget(run_id) if isinstance(event, ReadingGrew) else None
    ready.read(run_id, AnswerRequest(max_new_tokens=400))
    grown = 0
    while not isinstance(ears.wait_for(ReadingGrew, ReadingMade, Trouble), Trouble):
        grown += 1
    assert grown <= 2


@pytest.mark.parametrize("all_of_it", [False, True])
def test_an_answer_is_stopped_while_more_are_drawn(
    ready: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch, all_of_it: bool
) -> None:
    """Cancelled alone it ends with what is whole; a cancel of everything drops it."""
    monkeypatch.setattr("engine.asking.drawing.MOST_TOGETHER", 1)
    run_id = ready.ask(QUESTION)
    ears.wait_for(RunEnded)
    made = ""

    def react(event: Any) -> None:
        if isinstance(event, ReadingGrew) and getattr(event.part, "drawn", 0) == 2:
            ready.cancel() if all_of_it else ready.cancel_reading(made)

    ears.react = react
    made = ready.read(run_id, AnswerRequest(max_new_tokens=2, temperature=2.0, draws=900))
    if all_of_it:
        assert ears.wait_for(Trouble).request_id == made
        return
    reading = ears.wait_for_reading(AnswerReading)
    assert isinstance(reading.request, AnswerRequest) and reading.request.draws == 3
    assert sum(each.count for each in reading.draws) == 3


def test_a_cancel_with_nothing_to_cancel(ready: Worker, ears: Ears) -> None:
    ready.cancel()
    ready.ask(QUESTION)
    assert ears.wait_for(RunEnded).run.status == "done"


# Trouble


def test_a_question_without_a_model(worker: Worker, ears: Ears) -> None:
    run_id = worker.ask(QUESTION)
    assert ears.wait_for(Trouble).run_id == run_id


def test_a_question_that_cannot_be_asked(ready: Worker, ears: Ears) -> None:
    for question in (
        Question(prompt=""),
        Question(prompt="word " * 20_000),
        Question(prompt="What?", picture=Picture("/no/such/picture.png")),
        Question(prompt="\udcff"),
    ):
        run_id = ready.ask(question)
        trouble = ears.wait_for(Trouble)
        assert trouble.run_id == run_id
        assert "\n" not in trouble.error
    ready.ask(QUESTION)
    assert ears.wait_for(RunEnded).run.status == "done"


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError(), IndexError()], ids=repr)
def test_an_error_in_the_pass(
    ready: Worker, ears: Ears, tiny: LoadedModel, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    handle = tiny.lens.layers[1].register_forward_pre_hook(fail)
    try:
        ready.ask(QUESTION)
        run = ears.wait_for(RunEnded).run
    finally:
        handle.remove()
    assert run.status == "failed"
    assert run.error
    ready.ask(QUESTION)
    assert ears.wait_for(RunEnded).run.status == "done"


def test_a_fault_in_preparing(ready: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.asking.asking

    def fail(*_: Any) -> None:
        raise KeyError("a fault\nof ours")

    monkeypatch.setattr(engine.asking.asking, "prepare", fail)
    run_id = ready.ask(QUESTION)
    trouble = ears.wait_for(Trouble)
    assert trouble.run_id == run_id
    assert "\n" not in trouble.error
    monkeypatch.undo()


def test_a_model_that_does_not_load_then_one_that_does(
    worker: Worker, ears: Ears, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    worker.load(LoadOptions(model=str(tmp_path / "missing")))
    asked = worker.ask(QUESTION)
    worker.load(LoadOptions(model=str(saved("llama"))))
    worker.ask(QUESTION)
    assert "missing" in ears.wait_for(ModelFailed).error
    assert ears.wait_for(Trouble).run_id == asked
    ears.wait_for(ModelReady)
    assert ears.wait_for(RunEnded).run.status == "done"


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError(), KeyError("a\nb")], ids=repr)
def test_a_fault_in_loading(
    worker: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(engine.models.loading, "load_with", fail)
    worker.load(LoadOptions(model="tiny"))
    failed = ears.wait_for(ModelFailed)
    assert "tiny" in failed.error
    assert "\n" not in failed.error


def test_a_listener_that_fails_once(ready: Worker, ears: Ears) -> None:
    def fail(event: Event) -> None:
        ears.react = lambda event: None
        raise RuntimeError("the listener's fault")

    ears.react = fail
    ready.ask(QUESTION)
    ready.ask(QUESTION)
    while True:
        ended = ears.wait_for(RunEnded, Trouble)
        if isinstance(ended, RunEnded) and ended.run.status == "done":
            break


# More of a run, without a new pass


def test_tokens_are_tracked_and_rows_deepened_without_a_pass(
    ready: Worker, ears: Ears, tiny: LoadedModel
) -> None:
    run_id = ready.ask(QUESTION, [9, 10**9])
    run = ears.wait_for(RunEnded).run
    assert 9 in [each.id for each in run.tracked]
    passes: list[int] = []
    handle = tiny.lens.layers[0].register_forward_pre_hook(lambda *_: passes.append(1))
    ready.read(
        run_id,
        TrackRequest(
            ids=(
                9,
                12,
            )
        ),
    )
    tracked = ears.wait_for_reading(TrackReading, run_id)
    assert [each.id for each in tracked.tracked] == [9, 12]
    asked = next(each for each in run.tracked if each.id == 9)
    assert tracked.tracked[0].probability == asked.probability
    ready.read(run_id, DeepenRequest(layer=2, count=50))
    deeper = ears.wait_for_reading(DeepenReading, run_id).row
    assert (deeper.layer, len(deeper.top)) == (2, 50)
    assert deeper.top[: len(run.rows[2].top)] == run.rows[2].top
    assert (deeper.answer, deeper.entropy, deeper.kl_to_last) == (
        run.rows[2].answer,
        run.rows[2].entropy,
        run.rows[2].kl_to_last,
    )
    handle.remove()
    assert passes == []


def test_what_more_cannot_be_read(ready: Worker, ears: Ears) -> None:
    run_id = ready.ask(QUESTION)
    ears.wait_for(RunEnded)
    for order in (
        lambda: ready.read(run_id, TrackRequest(ids=(10**9,))),
        lambda: ready.read(run_id, TrackRequest(ids=(-1,))),
        lambda: ready.read(run_id, DeepenRequest(layer=99, count=5)),
        lambda: ready.read(run_id, DeepenRequest(layer=-1, count=5)),
        lambda: ready.read(run_id, SeenRequest()),
    ):
        order()
        trouble = ears.wait_for(Trouble)
        assert trouble.run_id == run_id
        assert trouble.error
        assert "\n" not in trouble.error


def test_a_run_whose_stream_is_not_kept(ready: Worker, ears: Ears) -> None:
    ears.react = lambda event: ready.cancel() if isinstance(event, RunStarted) else None
    cancelled = ready.ask(QUESTION)
    assert ears.wait_for(RunEnded).run.status == "cancelled"
    ears.react = lambda event: None
    forgotten = ready.ask(QUESTION)
    for _ in range(REMEMBERED):
        ready.ask(QUESTION)
    for run_id in (cancelled, forgotten, "0123456789abcdef"):
        ready.read(run_id, TrackRequest(ids=(3,)))
        ready.read(run_id, DeepenRequest(layer=1, count=20))
        ready.read(run_id, SeenRequest())
        for _ in range(3):
            trouble = ears.wait_for(Trouble)
            assert trouble.run_id == run_id
            run_again = "run it again" in trouble.error and Remedy.RUN_AGAIN in trouble.remedies
            assert run_again or "no picture" in trouble.error


def test_reading_more_can_be_cancelled(ready: Worker, ears: Ears, gate: Gate) -> None:
    gate.open.set()
    run_id = ready.ask(QUESTION)
    ears.wait_for(RunEnded)
    gate.open.clear()
    gate.reached.clear()
    ready.ask(QUESTION)
    assert gate.reached.wait(PATIENCE)
    ready.read(run_id, TrackRequest(ids=(3,)))
    ready.read(run_id, DeepenRequest(layer=1, count=20))
    ready.cancel()
    ready.read(run_id, TrackRequest(ids=(4,)))
    gate.open.set()
    assert [ears.wait_for(Trouble).run_id for _ in range(2)] == [run_id, run_id]
    assert [each.id for each in ears.wait_for_reading(TrackReading).tracked] == [4]


def test_memory_that_runs_out_while_more_is_read(
    ready: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ready.ask(QUESTION)
    ears.wait_for(RunEnded)

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("engine.lens.kept.read", fail)
        ready.read(run_id, TrackRequest(ids=(3,)))
        trouble = ears.wait_for(Trouble)
    assert trouble.run_id == run_id
    assert trouble.error.startswith("memory ran out")
    ready.read(run_id, TrackRequest(ids=(3,)))
    ears.wait_for_reading(TrackReading)


def test_fewer_runs_are_kept_of_a_model_that_is_replayed(
    ready: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = StreamedPass.keep
    monkeypatch.setattr(
        StreamedPass, "keep", lambda *args: dataclasses.replace(keep(*args), replays=True)
    )
    ids = [ready.ask(QUESTION) for _ in range(REPLAYS_REMEMBERED + 2)]
    for run_id in ids:
        ready.read(run_id, TrackRequest(ids=(3,)))
    told = [ears.wait_for(Trouble, ReadingMade) for _ in ids]
    assert [type(event) for event in told] == [Trouble] * 2 + [ReadingMade] * REPLAYS_REMEMBERED


def test_a_new_model_frees_the_old_one_and_all_that_was_kept(
    worker: Worker, ears: Ears, saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_with, made = engine.models.loading.load_with, []

    def watched(*arguments: Any) -> LoadedModel:
        loaded = load_with(*arguments)
        made.append(weakref.ref(loaded.model))
        return loaded

    monkeypatch.setattr(engine.models.loading, "load_with", watched)
    worker.load(LoadOptions(model=str(saved("llama"))))
    run_id = worker.ask(QUESTION)
    ears.wait_for(RunEnded)
    worker.read(run_id, TrackRequest(ids=(3,)))
    ears.wait_for_reading(TrackReading)
    worker.load(LoadOptions(model=str(saved("llama"))))
    ears.wait_for(ModelReady)
    assert [model() is None for model in made] == [True, False]
    worker.read(run_id, TrackRequest(ids=(3,)))
    assert "run it again" in ears.wait_for(Trouble).error


def test_spellings(ready: Worker, ears: Ears) -> None:
    ready.spellings("a")
    found = ears.wait_for(SpellingsFound)
    assert found.typed == "a"
    assert {each.text for each in found.spellings if each.whole} == {"a", "A"}
    ready.spellings("\udcff")
    assert ears.wait_for(SpellingsFound).spellings == ()


def test_spellings_and_more_without_a_model(worker: Worker, ears: Ears) -> None:
    worker.spellings("cube")
    assert "no model is loaded" in ears.wait_for(Trouble).error
    worker.read("0123456789abcdef", TrackRequest(ids=(1,)))
    worker.read("0123456789abcdef", SeenRequest())
    assert ears.wait_for(Trouble).run_id == ears.wait_for(Trouble).run_id == "0123456789abcdef"


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_what_the_model_sees(
    name: str, worker: Worker, ears: Ears, saved: Callable[[str], Path], red_picture: Path
) -> None:
    worker.load(LoadOptions(model=str(saved(name))))
    run_id = worker.ask(Question(prompt="What?", picture=Picture(str(red_picture))))
    run = ears.wait_for(RunEnded).run
    assert run.processed is not None
    worker.read(run_id, SeenRequest())
    seen = ears.wait_for_reading(SeenReading, run_id)
    assert (seen.width, seen.height) == (run.processed.width, run.processed.height)
    assert seen.how == run.processed.how
    image = open_preview(seen.preview)
    assert image.size == (seen.width, seen.height)
    middle = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(middle, tuple)
    assert max(abs(a - b) for a, b in zip(middle, (200, 30, 30), strict=True)) <= 3


# The end


def test_stop_does_not_wait_for_a_blocked_layer(ears: Ears, tiny: LoadedModel, gate: Gate) -> None:
    worker = Worker(ears.tell)
    worker.start()
    worker.load(LoadOptions(model="tiny"))
    worker.ask(QUESTION)
    assert gate.reached.wait(PATIENCE)
    began = time.monotonic()
    worker.stop()
    assert time.monotonic() - began < 1.0
    assert not gate.open.is_set()
    assert worker._thread.daemon
    gate.open.set()
    worker._thread.join(PATIENCE)
    assert not worker._thread.is_alive()
    assert ears.wait_for(RunEnded).run.status == "cancelled"


def test_stop_begins_nothing_new(ears: Ears, tiny: LoadedModel, gate: Gate) -> None:
    worker = Worker(ears.tell)
    worker.start()
    worker.load(LoadOptions(model="tiny"))
    worker.ask(QUESTION)
    assert gate.reached.wait(PATIENCE)
    worker.ask(QUESTION)
    worker.stop()
    gate.open.set()
    worker._thread.join(PATIENCE)
    ended = [event.run for event in ears.heard if isinstance(event, RunEnded)]
    assert {run.status for run in ended} == {"cancelled"}


def test_a_worker_that_never_worked_stops(ears: Ears) -> None:
    worker = Worker(ears.tell)
    worker.start()
    worker.stop()
    worker._thread.join(PATIENCE)
    assert not worker._thread.is_alive()
    assert ears.heard == []


def test_no_thread_keeps_the_program_alive(ready: Worker, ears: Ears) -> None:
    ready.ask(QUESTION)
    ears.wait_for(RunEnded)
    alive = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    assert ready._thread in alive
    assert all(thread.daemon for thread in alive if thread.name in ("worker", "passes"))


class Panic(BaseException):
    """As code in Rust raises it: no Exception."""


@pytest.mark.parametrize("error", [Panic("inside"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_whatever_a_job_raises_ends_that_job(
    worker: Worker, ears: Ears, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(engine.models.loading, "load_with", fail)
        worker.load(LoadOptions(model="tiny"))
        assert ears.wait_for(ModelFailed).error.startswith("tiny: ")
    worker.load(LoadOptions(model="tiny"))
    ears.wait_for(ModelReady)
    with monkeypatch.context() as patch:
        patch.setattr(StreamedPass, "__iter__", fail)
        run_id = worker.ask(QUESTION)
        assert ears.wait_for(Trouble).run_id == run_id
    run = worker.ask(QUESTION)
    assert ears.wait_for(RunEnded).run.status == "done"
    with monkeypatch.context() as patch:
        patch.setattr("engine.methods.reading_job.carry_out", fail)
        request = worker.read(run, DeepenRequest(layer=1, count=20))
        assert ears.wait_for(Trouble).request_id == request
    with monkeypatch.context() as patch:
        patch.setattr("engine.prompts.spellings.speller_of", fail)
        worker.spellings("red")
        assert ears.wait_for(Trouble).error
    with monkeypatch.context() as patch:
        patch.setattr("engine.worker.Worker._ask", fail)  # outside of what it handles itself
        assert worker.ask(QUESTION) == ears.wait_for(Trouble).run_id
    worker.ask(QUESTION)
    assert ears.wait_for(RunEnded).run.status == "done"


def test_a_worker_that_has_died_is_started_again(ready: Worker, ears: Ears) -> None:
    died, first = threading.Event(), ready._thread

    def deaf(event: Event) -> None:
        ears.react = lambda event: None
        died.set()
        raise Panic("the listener")

    ears.react = deaf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda _: None)
        patch.setattr(Worker, "_order", lambda worker, order, *_: worker._lanes.put(order))
        ready.spellings("red")
        assert died.wait(PATIENCE)
        first.join(PATIENCE)
    assert not first.is_alive()
    ready.ask(QUESTION)
    assert ears.wait_for(RunEnded).run.status == "done"
    assert ready._thread is not first
