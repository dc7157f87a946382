"""A run and its counterfactuals: rows compared while they stream, contrast, debias, the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from msgspec.structs import replace

import samples
from engine.asking.asking import Asking
from engine.counterfactuals.grammar import parse_against
from engine.errors import BadInput
from engine.events import (
    ComparisonGrew,
    LoadOptions,
    ModelReady,
    RunEnded,
    Trouble,
)
from engine.lens.divergence import compare_passes, kept_logits, picture_layer
from engine.lens.kept import KeptStream
from engine.methods.against import Against, Listener, ask_against
from engine.methods.contrast import ContrastReading, ContrastRequest, contrast_rows
from engine.methods.debias import DebiasReading, DebiasRequest
from engine.models.loading import LoadedModel
from engine.records import Comparison, LayerReading, Picture, Question, Run
from engine.worker import Worker
from tests.engine.conftest import Ears

Opened = Callable[[str], LoadedModel]
QUESTION = Question(
    prompt="Shape of the main object:", picture=Picture(path=str(samples.DEFAULT_PICTURE))
)


def asked(loaded: LoadedModel, question: Question = QUESTION) -> tuple[Run, KeptStream]:
    asking = Asking(loaded, question)
    run = asking.run()
    assert asking.kept is not None
    return run, asking.kept


def ask(
    *againsts: Against, compared: Callable[[Comparison], None] = lambda comparison: None
) -> list[tuple[Run, Comparison]]:
    """Ask them, batched where possible; what each of them ended with, in order."""
    found: dict[str, tuple[Run, Comparison]] = {}

    def ended(against: Against, run: Run, comparison: Comparison) -> None:
        found[against.run_id] = run, comparison

    ask_against(againsts, Listener(compared=compared, ended=ended))
    return [found[against.run_id] for against in againsts]


@pytest.mark.parametrize("norm", [True, False])
def test_rows_compared_as_they_stream_are_those_compared_afterwards(
    bundled: LoadedModel, norm: bool
) -> None:
    run, kept = asked(bundled, replace(QUESTION, norm=norm))
    (none,) = parse_against("none")
    against = Against(bundled, run, kept, none)
    grown: list[Comparison] = []
    ((other, comparison),) = ask(against, compared=grown.append)
    assert other.status == "done"
    assert other.question.counterfactual is not None
    assert other.question.counterfactual.name == "none"
    assert (comparison.of, comparison.against) == (run.id, other.id)
    assert [row.layer for row in comparison.rows] == list(range(run.layers + 1))
    assert len(grown) > 1
    assert len(grown[0].rows) < run.layers + 1  # while later layers were still to run
    assert against.asking.kept is not None
    afterwards = compare_passes(
        range(run.layers + 1), kept_logits(kept), kept_logits(against.asking.kept)
    )
    for row, later in zip(comparison.rows, afterwards, strict=True):
        # Un-normed logits run to hundreds: in float32 two orders of adding differ by this much.
        assert row.js == pytest.approx(later.js, abs=5e-6)
        assert row.kl == pytest.approx(later.kl, rel=1e-4, abs=1e-5)
    assert comparison.layer == picture_layer([row.js for row in comparison.rows])
    assert comparison.layer is not None
    assert comparison.threshold == 0.1
    # The picture's answer is followed through the rows without it.
    answer = run.rows[-1].top[0].id
    assert any(tracked.id == answer for tracked in other.tracked)


def test_the_same_picture_never_parts(bundled: LoadedModel) -> None:
    run, kept = asked(bundled)
    (other,) = parse_against(f"other={samples.DEFAULT_PICTURE}")
    ((_, comparison),) = ask(Against(bundled, run, kept, other))
    assert comparison.layer is None
    assert max(row.js or 0 for row in comparison.rows) < 1e-6


def test_what_a_model_cannot_take_is_said_and_the_rest_goes_on(opened: Opened) -> None:
    loaded = opened("qwen2_vl")
    run, kept = asked(loaded, replace(QUESTION, prompt="Place:"))
    (unk,) = parse_against("unk")
    ((other, comparison),) = ask(Against(loaded, run, kept, unk))
    assert (other.status == "failed") == (comparison.unavailable is not None)
    if comparison.unavailable is not None:
        assert other.error == comparison.unavailable
        assert comparison.rows == ()


ALL = "none,unk,unk-all,noise,noise-pure,zero,one,black,white,blur,mean-patch"


class Watched:
    """Counts the items of every pass of a model; runs out of memory above `most` of them."""

    def __init__(
        self, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, most: int = 99
    ) -> None:
        self.passes: list[int] = []
        own = loaded.model.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            items = len(kwargs["input_ids"])
            self.passes.append(items)
            if items > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return own(*args, **kwargs)

        monkeypatch.setattr(loaded.model, "forward", forward)


def alike(one: Run, other: Run) -> None:
    """The rows are the same except for rounding, as the order of computation differs."""
    assert (one.status, one.tokens, one.position) == (other.status, other.tokens, other.position)
    for row, same in zip(one.rows, other.rows, strict=True):
        for token, twin in zip(row.top[:3], same.top[:3], strict=True):
            assert token.probability == pytest.approx(twin.probability, abs=1e-5)
        assert row.entropy == pytest.approx(same.entropy, abs=1e-4)
        assert row.rms == pytest.approx(same.rms, rel=1e-4)


def test_all_counterfactuals_in_a_few_passes(
    bundled: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, kept = asked(bundled)
    alone = [ask(Against(bundled, run, kept, each))[0] for each in parse_against(ALL)]
    monkeypatch.setattr(bundled.lens.batches, "_verdicts", {})
    watched = Watched(bundled, monkeypatch)
    together = ask(*(Against(bundled, run, kept, each) for each in parse_against(ALL)))
    # Pictures of one size, and without a picture prompts of unequal lengths; the two proofs have
    # a pass of two items and two of one each.
    assert sorted(watched.passes) == [1] * 4 + [2, 2, 3, 8]
    for (one, comparison), (other, compared) in zip(together, alone, strict=True):
        alike(one, other)
        assert one.proof is not None and one.proof.passed
        assert [row.js for row in comparison.rows] == pytest.approx(
            [row.js for row in compared.rows], abs=1e-5
        )
        assert comparison.layer == compared.layer
    # What is kept of one item is its own: the contrast is read from it.
    watched.passes.clear()
    ask(*(Against(bundled, run, kept, each) for each in parse_against("black,white,none")))
    assert watched.passes == [2, 1]  # proved before


def test_rows_of_a_batch_come_while_later_layers_run(bundled: LoadedModel) -> None:
    run, kept = asked(bundled)
    told: list[tuple[str, int]] = []
    againsts = [Against(bundled, run, kept, each) for each in parse_against("black,white")]
    listener = Listener(read=lambda run, rows: told.append((run.id, len(rows))))
    ask_against(againsts, listener)
    for against in againsts:
        groups = [count for run_id, count in told if run_id == against.run_id]
        assert len(groups) > 2 and sum(groups) == run.layers + 1


def test_where_memory_runs_out_they_go_one_by_one(
    bundled: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, kept = asked(bundled)
    watched = Watched(bundled, monkeypatch, most=2)
    found = ask(*(Against(bundled, run, kept, each) for each in parse_against("black,white,one")))
    assert watched.passes[-4:] == [3, 1, 1, 1]
    assert [run.status for run, _ in found] == ["done"] * 3
    assert all(len(comparison.rows) == run.layers + 1 for run, comparison in found)


def test_a_model_whose_rows_change_in_a_batch_is_asked_one_by_one(
    bundled: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, kept = asked(bundled)
    monkeypatch.setattr(bundled.lens.batches, "_verdicts", {})
    watched = Watched(bundled, monkeypatch)
    own = bundled.model.forward

    def mixing(*args: Any, **kwargs: Any) -> Any:
        if len(kwargs["input_ids"]) > 1:
            kwargs["pixel_values"] = kwargs["pixel_values"].roll(1, 0)
        return own(*args, **kwargs)

    monkeypatch.setattr(bundled.model, "forward", mixing)
    found = ask(*(Against(bundled, run, kept, each) for each in parse_against("black,white,one")))
    assert max(watched.passes[-3:]) == 1
    assert [run.status for run, _ in found] == ["done"] * 3


def test_cancelling_one_of_a_batch_cancels_all(bundled: LoadedModel) -> None:
    run, kept = asked(bundled)
    againsts = [Against(bundled, run, kept, each) for each in parse_against("black,white,none")]
    ended: dict[str, Run] = {}

    def cancel(run: Run, rows: Sequence[LayerReading]) -> None:
        for against in againsts:
            against.cancel()

    listener = Listener(
        read=cancel,
        ended=lambda against, run, comparison: ended.update({against.run_id: run}),
    )
    ask_against(againsts, listener)
    assert [ended[against.run_id].status for against in againsts] == ["cancelled"] * 3
    assert not ended[againsts[-1].run_id].rows


def test_contrast_rows(bundled: LoadedModel) -> None:
    run, kept = asked(bundled)
    (none,) = parse_against("none")
    against = Against(bundled, run, kept, none)
    ask(against)
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
        if isinstance(event, ComparisonGrew):
            compared[event.comparison.against] = event.comparison
    assert tuple(ended) == runs
    assert all(len(compared[run].rows) == first.layers + 1 for run in runs)
    worker.read(picture, ContrastRequest(runs[:1], 1.0, 0.1))
    contrasted = ears.wait_for_reading(ContrastReading, picture)
    assert len(contrasted.rows) == first.layers + 1
    assert (contrasted.against, contrasted.refers_to) == (runs[0], runs[:1])
    for mine, its in zip(contrasted.rows, compared[runs[0]].rows, strict=True):
        assert (mine.js, mine.kl) == pytest.approx((its.js, its.kl), abs=1e-5)
    worker.read(picture, DebiasRequest(("cube", "sphere", "cylinder"), runs[:1]))
    debiased = ears.wait_for_reading(DebiasReading, picture).answers
    assert [each.text for each in debiased] == ["cube", "sphere", "cylinder"]
    for row in range(first.layers + 1):
        assert sum(each.after[row] for each in debiased) == pytest.approx(1)
    worker.read(picture, DebiasRequest(("cube",), runs[:1]))
    assert "at least two" in ears.wait_for(Trouble).error
    worker.read(picture, ContrastRequest(("0" * 16,), 1.0, 0.1))
    assert "no longer kept" in ears.wait_for(Trouble).error
