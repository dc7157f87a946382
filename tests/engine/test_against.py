"""A run beside its counterfactuals: rows compared as they stream, contrast, debias, the worker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

import samples
from engine.against import Against, contrast_rows
from engine.asking import Asking
from engine.counterfactuals.grammar import parse_against
from engine.divergence import compare, logits_of, picture_layer
from engine.errors import BadInput
from engine.events import (
    AnswersDebiased,
    Compared,
    Contrasted,
    LoadOptions,
    ModelReady,
    RunEnded,
    Trouble,
)
from engine.kept import KeptStream
from engine.loading import Loaded
from engine.records import Comparison, Picture, Question, Run
from engine.worker import Worker
from tests.engine.conftest import Ears

Opened = Callable[[str], Loaded]
QUESTION = Question(
    prompt="Shape of the main object:", picture=Picture(path=str(samples.DEFAULT_PICTURE))
)


def asked(loaded: Loaded, question: Question = QUESTION) -> tuple[Run, KeptStream]:
    asking = Asking(loaded, question)
    run = asking.run()
    assert asking.kept is not None
    return run, asking.kept


@pytest.mark.parametrize("norm", [True, False])
def test_rows_compared_as_they_stream_are_those_compared_afterwards(
    bundled: Loaded, norm: bool
) -> None:
    run, kept = asked(bundled, replace(QUESTION, norm=norm))
    (none,) = parse_against("none")
    against = Against(bundled, run, kept, none)
    grown: list[Comparison] = []
    other, comparison = against.run(compared=grown.append)
    assert other.status == "done"
    assert other.question.counterfactual is not None
    assert other.question.counterfactual.name == "none"
    assert (comparison.of, comparison.against) == (run.id, other.id)
    assert [row.layer for row in comparison.rows] == list(range(run.layers + 1))
    assert len(grown) > 1
    assert len(grown[0].rows) < run.layers + 1  # while later layers were still to run
    assert against.asking.kept is not None
    afterwards = compare(range(run.layers + 1), logits_of(kept), logits_of(against.asking.kept))
    for row, later in zip(comparison.rows, afterwards, strict=True):
        assert row.js == pytest.approx(later.js, abs=1e-6)
        assert row.kl == pytest.approx(later.kl, rel=1e-4, abs=1e-5)
    assert comparison.layer == picture_layer([row.js for row in comparison.rows])
    assert comparison.layer is not None
    assert comparison.threshold == 0.1
    # The picture's answer is followed through the rows without it.
    answer = run.rows[-1].top[0].id
    assert any(tracked.id == answer for tracked in other.tracked)


def test_the_same_picture_never_parts(bundled: Loaded) -> None:
    run, kept = asked(bundled)
    (other,) = parse_against(f"other={samples.DEFAULT_PICTURE}")
    _, comparison = Against(bundled, run, kept, other).run()
    assert comparison.layer is None
    assert max(row.js or 0 for row in comparison.rows) < 1e-6


def test_what_a_model_cannot_take_is_said_and_the_rest_goes_on(opened: Opened) -> None:
    loaded = opened("qwen2_vl")
    run, kept = asked(loaded, replace(QUESTION, prompt="Place:"))
    (unk,) = parse_against("unk")
    other, comparison = Against(loaded, run, kept, unk).run()
    assert (other.status == "failed") == (comparison.unavailable is not None)
    if comparison.unavailable is not None:
        assert other.error == comparison.unavailable
        assert comparison.rows == ()


def test_contrast_rows(bundled: Loaded) -> None:
    run, kept = asked(bundled)
    (none,) = parse_against("none")
    against = Against(bundled, run, kept, none)
    against.run()
    reference = against.asking.kept
    assert reference is not None
    same = contrast_rows(kept, [reference], 0.0, 0.0)
    for row, plain in zip(same, run.rows, strict=True):
        assert [token.id for token in row.top] == [token.id for token in plain.top]
    one = contrast_rows(kept, [reference], 1.0, 1.0)
    assert all(len(row.top) == 1 for row in one)
    both = contrast_rows(kept, [reference, reference], 1.0, 0.1)
    single = contrast_rows(kept, [reference], 1.0, 0.1)
    assert [row.top[0].id for row in both] == [row.top[0].id for row in single]
    with pytest.raises(BadInput):
        contrast_rows(kept, [reference], -1.0, 0.1)


def test_the_worker_asks_contrasts_and_debiases(worker: Worker, ears: Ears) -> None:
    worker.load(LoadOptions(str(samples.MODEL)))
    ears.wait_for(ModelReady)
    picture = worker.ask(QUESTION)
    first = ears.wait_for(RunEnded).run
    assert first.id == picture
    runs = worker.ask_against(picture, parse_against("none,black"))
    ended: dict[str, Run] = {}
    compared: dict[str, Comparison] = {}
    while len(ended) < 2:
        run = ears.wait_for(RunEnded).run
        ended[run.id] = run
    for event in ears.heard:
        if isinstance(event, Compared):
            compared[event.comparison.against] = event.comparison
    assert tuple(ended) == runs
    assert all(len(compared[run].rows) == first.layers + 1 for run in runs)
    worker.contrast(picture, runs[:1], 1.0, 0.1)
    assert len(ears.wait_for(Contrasted).rows) == first.layers + 1
    worker.debias(picture, runs[:1], "cube, sphere, cylinder")
    debiased = ears.wait_for(AnswersDebiased).answers
    assert [each.answer for each in debiased] == ["cube", "sphere", "cylinder"]
    assert sum(each.debiased for each in debiased) == pytest.approx(1)
    worker.debias(picture, runs[:1], "cube")
    assert "at least two" in ears.wait_for(Trouble).error
    worker.contrast(picture, ["0" * 16], 1.0, 0.1)
    assert "no longer kept" in ears.wait_for(Trouble).error
