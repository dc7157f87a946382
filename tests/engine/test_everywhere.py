"""Any position of a run: visited, followed and deepened like its own; kept for the newest runs."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import samples
from engine import Lens
from engine.asking.asking import Asking
from engine.counterfactuals.grammar import parse_against
from engine.errors import BadInput, Cancelled, CannotLoad, CannotRead, Remedy
from engine.events import (
    LoadOptions,
    ModelFailed,
    ModelReady,
    ReadingDropped,
    ReadingGrew,
    ReadingMade,
    RunEnded,
    Trouble,
)
from engine.lens.grid import GridFill
from engine.methods.asked_run import AskedRun
from engine.methods.everywhere import Everywhere, resolved
from engine.methods.grid import GridPart, GridReading, GridRequest
from engine.methods.kept_runs import EVERYWHERE_REMEMBERED, KeptRuns
from engine.methods.method import Subject, carry_out, read_whole
from engine.methods.registry import method_of
from engine.methods.requests import request_of
from engine.methods.visit import VisitReading, VisitRequest
from engine.methods.words import WordsReading, WordsRequest
from engine.models.loading import LoadedModel
from engine.passes.whole_streams import WholeStreams
from engine.records import LayerReading, Picture, Question, Run
from engine.worker import Worker
from tests.engine.conftest import PATIENCE, Ears
from tests.families import FAMILIES

QUESTION = Question("Shape of the main object:", picture=Picture(path=str(samples.DEFAULT_PICTURE)))


@pytest.fixture
def asked(bundled: LoadedModel) -> AskedRun:
    asking = Asking(bundled, QUESTION)
    return AskedRun(asking, asking.run())


def read(asked: AskedRun, name: str, **settings: Any) -> Any:
    method = method_of(name)
    return asked.read(method, request_of(method, settings))


def alike(found: LayerReading, expected: LayerReading) -> None:
    assert found.layer == expected.layer
    assert [token.id for token in found.top] == [token.id for token in expected.top]
    for mine, its in zip(found.top, expected.top, strict=True):
        assert mine.probability == pytest.approx(its.probability, abs=1e-5)
        assert mine.logit == pytest.approx(its.logit, abs=1e-4)
    assert found.entropy == pytest.approx(expected.entropy, abs=1e-4)
    assert found.rms == pytest.approx(expected.rms, rel=1e-5)


def test_a_visited_position_is_a_run_read_there(asked: AskedRun, bundled: LoadedModel) -> None:
    inputs = asked.subject.inputs
    visit = read(asked, "visit", positions=(3, -4, 3))
    count = len(asked.run.tokens)
    assert [other.position for other in visit.others] == [3, count - 4]
    assert [other.position for other in asked.run.others] == [3, count - 4]
    for other in visit.others:
        streamed = list(bundled.lens.stream(inputs, position=other.position, top_k=10))
        for found, expected in zip(other.rows, streamed, strict=True):
            alike(found, expected)
        answer = other.rows[-1].top[0]
        (tracked,) = [each for each in other.tracked if each.why == "answer"]
        assert tracked.id == answer.id and tracked.rank[-1] == 1
        for row in other.rows:
            assert row.answer is not None and row.kl_to_last is not None
            assert row.answer.probability == pytest.approx(tracked.probability[row.layer])
        assert other.rows[-1].kl_to_last == 0


def test_its_own_position_is_not_among_the_others(asked: AskedRun) -> None:
    assert read(asked, "visit", positions=(-1,)).others == ()
    assert asked.run.others == ()


@pytest.mark.parametrize("position", [1000, -1000])
@pytest.mark.parametrize("name", ["visit", "grid", "words"])
def test_a_position_that_there_is_not(asked: AskedRun, name: str, position: int) -> None:
    words = {"words": ("cube",)} if name == "words" else {}
    with pytest.raises(BadInput, match="there is no position"):
        read(asked, name, positions=(position,), **words)


def test_positions_are_ascending_and_counted_from_either_end(asked: AskedRun) -> None:
    count = len(asked.run.tokens)
    assert resolved(asked.run, (-1, 0, count - 1, 2)) == (0, 2, count - 1)


def test_tokens_are_followed_and_rows_deepened_at_any_position(asked: AskedRun) -> None:
    read(asked, "visit", positions=(3,))
    read(asked, "track", words="cube", position=3)
    read(asked, "deepen", layer=2, count=20, position=3)
    (other,) = asked.run.others
    (cube,) = [each for each in other.tracked if each.why == "user"]
    assert all(each.why != "user" for each in asked.run.tracked)
    assert len(other.rows[2].top) == 20 and len(asked.run.rows[2].top) == 10
    grid = read(asked, "grid")
    place = grid.positions.index(3)
    words = read(asked, "words", words=(f"#{cube.id}",))
    found = words.probability.values[0, :, place]
    assert np.allclose(found, np.array(cube.probability, dtype="f4"), atol=1e-5)
    assert other.rows[2].top[0].id == grid.ids.values[2, place, 0]


def test_a_grid_says_what_the_runs_own_rows_say(asked: AskedRun) -> None:
    grid = read(asked, "grid", top=3)
    place = grid.positions.index(asked.run.position)
    for index, row in enumerate(asked.run.rows):
        assert grid.ids.values[index, place].tolist() == [token.id for token in row.top[:3]]
        assert grid.texts[row.top[0].id] == row.top[0].text
        assert grid.entropy.values[index, place] == pytest.approx(row.entropy, abs=1e-4)
    kl = read(asked, "grid", kl=True).kl_to_last.values[:, place]
    expected = [row.kl_to_last for row in asked.run.rows]
    assert np.allclose(kl, np.array(expected, dtype="f4"), atol=1e-4)


def test_a_grid_against_rows_that_changed_fails_its_proof(asked: AskedRun) -> None:
    """The kept streams are compared with what was read from them while the pass ran."""
    streams = asked.subject.streams()
    with torch.inference_mode():
        streams.rows[2].stream[-1] += torch.randn(streams.rows[2].stream.shape[-1])
    assert not read(asked, "grid").proof.passed


def test_one_grid_for_whichever_row_was_first(asked: AskedRun) -> None:
    first = read(asked, "grid", first=4)
    read(asked, "grid", first=0)
    assert len(asked.run.readings) == 1 and first.request == GridRequest()
    with_kl = read(asked, "grid", kl=True)
    assert with_kl.fulfils(GridRequest()) and not first.fulfils(GridRequest(kl=True))


def test_what_has_been_read_is_not_read_again(
    asked: AskedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid with divergences serves words, and a grid without them."""
    read(asked, "grid", kl=True)
    monkeypatch.setattr(GridFill, "_read", None)
    plain = read(asked, "grid")
    assert plain.kl_to_last is None and plain.proof.passed
    assert read(asked, "words", words=("cube",)).proof.passed
    monkeypatch.undo()
    asked.subject.everywhere._fills.clear()
    read(asked, "grid")
    assert read(asked, "grid", kl=True).kl_to_last is not None


def test_words_are_summed_over_their_spellings(asked: AskedRun) -> None:
    whole = read(asked, "words", words=("cube",))
    (word,) = whole.words
    assert len(word.ids) > 1
    each = [read(asked, "words", words=(f"#{token}",)).probability.values for token in word.ids]
    assert np.allclose(sum(each), whole.probability.values, atol=1e-6)
    assert whole.proof is not None and whole.proof.passed
    with pytest.raises(BadInput, match="no token of this model begins"):
        read(asked, "words", words=("\ud800",))


def test_the_variant_of_vl_interp_is_computed_as_theirs(
    asked: AskedRun, bundled: LoadedModel
) -> None:
    found = read(asked, "words", words=("cube",), way="vl-interp")
    assert found.proof.passed and "vl-interp" in found.reason  # the proof is the last row's
    raw = bundled.lens.logits(asked.subject.inputs, found.positions, norm=False)[:, 0]
    top = raw.topk(50)
    shares = top.values.softmax(-1)
    ids = torch.tensor(found.words[0].ids)
    theirs = (shares * torch.isin(top.indices, ids)).amax(-1)
    assert np.allclose(found.probability.values[0], theirs.numpy(), atol=1e-5)


def test_without_the_norm_the_grid_is_without_it(bundled: LoadedModel) -> None:
    asking = Asking(bundled, Question("Shape:", picture=QUESTION.picture, norm=False))
    asked = AskedRun(asking, asking.run())
    grid = read(asked, "grid")
    assert grid.proof.passed
    raw = bundled.lens.logits(asked.subject.inputs, grid.positions, norm=False)[:, 0]
    assert np.allclose(grid.lse.values, raw.logsumexp(-1).numpy(), atol=1e-4)
    assert read(asked, "words", words=("cube",)).proof.passed
    (other,) = read(asked, "visit", positions=(3,)).others
    assert other.rows[1].top[0].id == grid.ids.values[1, grid.positions.index(3), 0]


# What is kept


def test_streams_are_kept_for_the_newest_runs(bundled: LoadedModel) -> None:
    kept, ids = KeptRuns(), []
    for _ in range(EVERYWHERE_REMEMBERED + 1):
        asking = Asking(bundled, QUESTION)
        run = asking.run()
        assert asking.prepared is not None and not isinstance(asking.streams, str)
        inputs, everywhere = asking.prepared.inputs, Everywhere(asking.streams)
        kept.add(Subject(bundled, run, inputs, asking.kept, everywhere=everywhere))
        ids.append(run.id)
    grid = method_of("grid")
    with pytest.raises(BadInput, match="no longer kept") as caught:
        list(grid.read(kept.subject(ids[0]), GridRequest(), lambda: False))
    assert caught.value.remedies == (Remedy.RUN_AGAIN,)
    for run_id in ids[1:]:
        assert isinstance(read_whole(grid, kept.subject(run_id), GridRequest()), GridReading)
    # Its own position can still be read.
    track = method_of("track")
    assert list(track.read(kept.subject(ids[0]), request_of(track, {"ids": (3,)}), lambda: False))


def test_a_run_that_was_asked_together_with_others_is_read_by_another_pass(
    asked: AskedRun,
) -> None:
    asked.ask_against(parse_against(["black", "white", "noise"]))
    for run in asked.others:
        subject = asked._subjects[run.id]
        grid: Any = read_whole(method_of("grid"), subject, GridRequest())
        assert grid.proof.passed
        place = grid.positions.index(run.position)
        own = [row.top[0].id for row in run.rows]
        assert grid.ids.values[:, place, 0].tolist() == own


def test_what_does_not_fit_is_read_where_it_is_asked_for(
    bundled: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WholeStreams.__init__, "__defaults__", (True, 2**16))
    asking = Asking(bundled, QUESTION)
    run = asking.run()
    assert run.status == "done" and "would take" in str(asking.streams)
    asked = AskedRun(asking, run)
    with pytest.raises(BadInput, match="positions would take"):
        read(asked, "grid")
    some = read(asked, "grid", positions=(3, -1))
    assert some.positions == (3, run.position) and some.proof.passed
    (other,) = read(asked, "visit", positions=(3,)).others
    assert other.rows[4].top[0].id == some.ids.values[4, 0, 0]
    assert read(asked, "words", words=("cube",), positions=(3, -1)).proof.passed


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "pix2struct", "granite4_vision", "t5"])
def test_any_position_of_families_that_differ_in_kind(family: str) -> None:
    """A replay, rows with notes, an encoder and a decoder."""
    tiny = FAMILIES[family]()
    lens = Lens(tiny.model)
    streams = lens.streams(tiny.inputs)
    for position in (streams.positions[0], streams.positions[-1]):
        _, other = streams.at(position)
        expected = list(lens.stream(tiny.inputs, position=position, top_k=10))
        for found, row in zip(other.rows, expected, strict=True):
            alike(found, row)
            assert found.approximate == row.approximate


def test_sinks_are_found_by_their_size() -> None:
    tiny = FAMILIES["llama"]()
    streams = Lens(tiny.model).streams(tiny.inputs)
    assert streams.sinks() == ()  # 20 rms need more than 400 channels
    wide = 512
    rows = tuple(
        read._replace(stream=torch.randn(len(streams.positions), wide)) for read in streams.rows
    )
    for read_ in rows[1:]:
        read_.stream[0, 7] = 2000.0
        read_.stream[2, 7] = 3000.0
        read_.stream[3, 9] = 3000.0  # large, but not where the first token is
    assert replace(streams, rows=rows).sinks() == (0, 2)


# The worker


def run_of(worker: Worker, ears: Ears) -> str:
    """The id of a run that has ended."""
    worker.load(LoadOptions(model=str(samples.MODEL)))
    ears.wait_for(ModelReady)
    run_id = worker.ask(QUESTION)
    ears.wait_for(RunEnded)
    return run_id


def without_end(begun: threading.Event) -> Callable[..., Iterator[None]]:
    """What stands for the reading of rows: it sets `begun`, and gives way for ever."""

    def steps(*args: Any) -> Iterator[None]:
        begun.set()
        while True:
            time.sleep(0.01)
            yield

    return steps


def test_a_fill_in_the_background_gives_way_and_is_dropped(worker: Worker, ears: Ears) -> None:
    worker.load(LoadOptions(model=str(samples.MODEL)))
    ready = ears.wait_for(ModelReady)
    assert ready.keeps_everywhere == EVERYWHERE_REMEMBERED
    run_id = worker.ask(QUESTION)
    run: Run = ears.wait_for(RunEnded).run
    request_id = worker.read(run_id, GridRequest(first=3))
    made = ears.wait_for(ReadingMade)
    assert made.request_id == request_id and isinstance(made.reading, GridReading)
    parts: list[Any] = [each.part for each in ears.heard if isinstance(each, ReadingGrew)]
    assert parts and all(isinstance(part, GridPart) for part in parts)
    assert 3 in parts[0].rows
    worker.read(run_id, WordsRequest(words=("cube",)))
    assert isinstance(ears.wait_for(ReadingMade).reading, WordsReading)
    worker.read(run_id, VisitRequest(positions=(2,)))
    found = ears.wait_for(ReadingMade).reading
    assert isinstance(found, VisitReading)
    assert found.merged(run).others == found.others


def test_an_older_run_is_told_in_one_line(worker: Worker, ears: Ears) -> None:
    worker.load(LoadOptions(model=str(samples.MODEL)))
    ears.wait_for(ModelReady)
    ids = []
    for _ in range(3):
        ids.append(worker.ask(QUESTION))
        ears.wait_for(RunEnded)
    request_id = worker.read(ids[0], VisitRequest(positions=(2,)))
    trouble = ears.wait_for(Trouble)
    assert (trouble.run_id, trouble.request_id) == (ids[0], request_id)
    assert "no longer kept" in trouble.error and trouble.remedies == (Remedy.RUN_AGAIN,)


def test_memory_that_runs_out_in_a_fill_is_told(
    worker: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_of(worker, ears)

    def out_of_memory(*args: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    with monkeypatch.context() as patch:
        patch.setattr("engine.lens.grid.tallied", out_of_memory)
        worker.read(run_id, GridRequest())
        assert "memory ran out" in ears.wait_for(Trouble).error
    worker.read(run_id, GridRequest())
    assert isinstance(ears.wait_for(ReadingMade).reading, GridReading)


def test_a_new_run_ends_a_fill(worker: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = run_of(worker, ears)
    begun = threading.Event()
    monkeypatch.setattr(GridFill, "_read", without_end(begun))
    request_id = worker.read(run_id, GridRequest())
    assert begun.wait(PATIENCE)
    worker.ask(QUESTION)
    assert ears.wait_for(ReadingDropped).request_id == request_id
    assert ears.wait_for(RunEnded).run.status == "done"


def test_another_model_does_not_wait_beside_one_that_is_still_read(
    worker: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading that was interrupted holds its model no longer than until the next is loaded."""
    run_id = run_of(worker, ears)
    begun = threading.Event()
    monkeypatch.setattr(GridFill, "_read", without_end(begun))
    worker.read(run_id, GridRequest())
    assert begun.wait(PATIENCE)
    assert worker._loaded is not None
    model = weakref.ref(worker._loaded.model)
    alive: list[bool] = []

    def load(*args: Any) -> Any:
        gc.collect()
        alive.append(model() is not None)
        raise CannotLoad("not now")

    monkeypatch.setattr("engine.models.loading.load_with", load)
    worker.load(LoadOptions(model=str(samples.MODEL)))
    ears.wait_for(ModelFailed)
    assert alive == [False]


@pytest.mark.parametrize("name, more", [("track", {"ids": (5,)}), ("deepen", {"layer": 2})])
def test_more_is_read_at_positions_counted_from_the_end(
    asked: AskedRun, name: str, more: dict[str, Any]
) -> None:
    read(asked, "visit", positions=(-3,))
    reading = read(asked, name, position=-3, **more)
    assert reading.request.position == len(asked.run.tokens) - 3
    own = read(asked, name, position=-1, **more)
    assert own.request.position is None
    (other,) = asked.run.others
    if name == "track":
        assert [each.id for each in other.tracked if each.why == "user"] == [5]
        assert 5 in [each.id for each in asked.run.tracked]
        read(asked, "visit", positions=(-3,))  # again: what the user follows there stays
        assert [each.id for each in asked.run.others[0].tracked if each.why == "user"] == [5]
        with pytest.raises(BadInput, match="has not been visited"):
            read(asked, "track", ids=(5,), position=2)
    else:
        assert len(other.rows[2].top) == len(asked.run.rows[2].top) == 50


def test_more_is_read_where_all_positions_do_not_fit(
    bundled: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WholeStreams.__init__, "__defaults__", (True, 2**16))
    asking = Asking(bundled, QUESTION)
    asked = AskedRun(asking, asking.run())
    read(asked, "visit", positions=(5,))
    monkeypatch.setattr(type(bundled.lens), "streams", None)  # those of the last are remembered
    assert read(asked, "track", ids=(3,), position=5).tracked[0].id == 3


def test_a_visit_is_proved(asked: AskedRun) -> None:
    streams = asked.subject.streams()
    with torch.inference_mode():
        streams.rows[-1].stream[3] += torch.randn(streams.rows[-1].stream.shape[-1])
    with pytest.raises(CannotRead, match="the proof failed"):
        read(asked, "visit", positions=(3,))
    assert read(asked, "visit", positions=(4,)).others


@pytest.mark.parametrize("positions", [(), (3,)])
def test_words_fail_with_their_grid(asked: AskedRun, positions: tuple[int, ...]) -> None:
    streams = asked.subject.streams()
    with torch.inference_mode():
        streams.own[3] += 1.0
    words = read(asked, "words", words=("cube",), positions=positions)
    assert not words.proof.passed and not words.worth_keeping


def test_a_reading_that_no_array_can_hold_is_refused_first(
    asked: AskedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.methods.grid.MOST_BYTES", 4 * 11 * len(asked.run.tokens))
    assert read(asked, "grid").proof.passed
    for name, more in (("grid", {"top": 2}), ("words", {"words": ("cube", "sphere")})):
        with pytest.raises(BadInput, match="name fewer") as caught:
            read(asked, name, **more)
        assert caught.value.remedies == (Remedy.SOME_POSITIONS,)


def test_words_can_be_cancelled_between_rows(asked: AskedRun) -> None:
    read(asked, "grid")
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 5

    words = method_of("words")
    with pytest.raises(Cancelled):
        list(carry_out(words, asked.subject, request_of(words, {"words": ("cube",)}), stop))
    assert calls == 6


def test_a_long_prompt_has_a_grid(bundled: LoadedModel) -> None:
    """Longer than one chunk of cells: the parts of a row are put together."""
    tiny = FAMILIES["llama"]()
    ids = torch.randint(5, 90, (1, 700))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    lens = Lens(tiny.model)
    grid = lens.grid(inputs)
    assert grid.ids.shape[1] == 700 and grid.proof.passed
    some = lens.grid(inputs, positions=[600, 650])
    assert np.allclose(some.lse, grid.lse[:, [600, 650]], atol=1e-5)
