"""The numbers of a batch against their definitions, on rows that are made by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.anatomy.parts import ModelParts
from engine.anatomy.tail import RowStream
from engine.lens.batched import BatchedPass, BatchNumbers, RowNumbers

LAYERS, ITEMS, WIDTH, VOCABULARY = 5, 3, 4, 9
TRUTHS = ((5, 2), (), (0,))
NOTES = (None, None, "the third is not exact", *[None] * (LAYERS - 2))
INF = math.inf


class ByHand:
    """A pass whose rows are random streams, read by a matrix, or by another without the norm."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        self.streams = [RowStream(random(ITEMS, WIDTH)) for _ in range(LAYERS + 1)]
        self.heads = {norm: random(WIDTH, VOCABULARY) for norm in (True, False)}
        self.model_logits = self.streams[-1].stream @ self.heads[True]
        tail = SimpleNamespace(method="replay")
        parts: Any = SimpleNamespace(layers=[None] * LAYERS, dtype=dtype, tail=tail, notes=NOTES)
        parts.unchanged = partial(ModelParts.unchanged, parts)
        self.parts = parts
        self.projected: list[int] = []
        self.inside = False

    def run(self, on_row: Callable[[int, RowStream], None], attached: Sequence[object]) -> Tensor:
        assert self.inside and not attached
        for row, stream in enumerate(self.streams):
            on_row(row, stream)
        return self.model_logits

    @contextmanager
    def around(self) -> Iterator[None]:
        self.inside = True
        yield
        self.inside = False

    def evaluating(self) -> AbstractContextManager[None]:
        return nullcontext()

    def project(self, rows: Sequence[RowStream], norm: bool = True) -> Tensor:
        self.projected.append(len(rows))
        return torch.cat([row.stream for row in rows]) @ self.heads[norm]

    def numbers(self, count: int = 4, unnormed: bool = True) -> BatchNumbers:
        made: Any = self
        return BatchedPass(made).run(self.around()).numbers(TRUTHS, count, unnormed)

    def logits(self, row: int, item: int, norm: bool) -> Tensor:
        if row == LAYERS:
            return self.model_logits[item]
        return self.streams[row].stream[item] @ self.heads[norm]


def of_item(rows: RowNumbers | None, place: int) -> RowNumbers:
    assert rows is not None
    return RowNumbers(*(column[place] for column in rows))


def rank(logits: Tensor, token: int) -> int:
    return sorted(range(VOCABULARY), key=lambda each: (-float(logits[each]), each)).index(token) + 1


def test_every_number_of_every_row_of_every_item() -> None:
    by_hand = ByHand()
    found = by_hand.numbers().items()
    assert not by_hand.inside
    assert found.notes == (NOTES,) * ITEMS
    for place, truth in enumerate(TRUTHS):
        last = by_hand.model_logits[place].log_softmax(-1)
        final = int(last.argmax())
        for all_rows, norm, count in (
            (found.rows, True, LAYERS + 1),
            (found.unnormed, False, LAYERS),
        ):
            rows = of_item(all_rows, place)
            assert {len(column) for column in rows} == {count}
            assert rows.top_ids.shape == (count, 4)
            for row in range(count):
                logits = by_hand.logits(row, place, norm)
                p = logits.softmax(-1)
                best = logits.topk(4)
                assert rows.top_ids[row].tolist() == best.indices.tolist()
                assert torch.allclose(rows.top_logits[row], best.values)
                assert torch.allclose(rows.top_probabilities[row], p[best.indices])
                assert torch.allclose(rows.entropy[row], torch.special.entr(p).sum())
                assert torch.allclose(rows.kl_to_last[row], (p * (p.log() - last)).sum(), atol=1e-6)
                assert torch.allclose(rows.final_probability[row], p[final])
                assert int(rows.final_rank[row]) == rank(logits, final)
                assert torch.allclose(rows.truth_probability[row], p[list(truth)].sum())
                if truth:
                    assert int(rows.truth_rank[row]) == min(rank(logits, each) for each in truth)
        wanted = [float(each.stream[place].pow(2).mean().sqrt()) for each in by_hand.streams]
        assert found.rms[place].tolist() == pytest.approx(wanted)
        assert found.proofs[place].passed and found.proofs[place].method == "replay"


def test_the_last_row_is_the_models_own_and_the_bare_ones_only_if_asked_for() -> None:
    by_hand = ByHand()
    by_hand.model_logits = by_hand.model_logits + 2.0**-20
    numbers = by_hand.numbers(unnormed=False)
    assert numbers.are_ready  # nothing is waited for without a GPU
    found = numbers.items()
    assert found.unnormed is None
    assert torch.equal(found.rows.top_logits[:, -1, 0], by_hand.model_logits.amax(-1))
    assert (found.rows.kl_to_last[:, -1] == 0).all() and (found.rows.final_rank[:, -1] == 1).all()
    assert by_hand.projected == [1, LAYERS]  # the proof, and the rows below the last


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bad", range(ITEMS))
def test_a_proof_fails_where_the_models_logits_are_others(bad: int, sign: int) -> None:
    by_hand = ByHand()
    by_hand.model_logits[bad, 3] += sign * 0.25
    for place, proof in enumerate(by_hand.numbers().items().proofs):
        assert proof.passed is (place != bad)
        wanted = 0.25 if place == bad else 0.0
        assert proof.max_abs_difference == pytest.approx(wanted, abs=1e-6)
        size = max(1.0, float(by_hand.model_logits[place].abs().max()))
        assert proof.tolerance == pytest.approx(2**-16 * size)


def test_the_tolerance_is_that_of_the_dtype() -> None:
    for dtype, unit in ((torch.float16, 2**-10), (torch.bfloat16, 2**-7)):
        by_hand = ByHand(dtype)
        by_hand.model_logits[0, 0] += 2**-7
        first = by_hand.numbers().items().proofs[0]
        assert first.passed is (dtype == torch.bfloat16)
        size = max(1.0, float(by_hand.model_logits[0].abs().max()))
        assert first.tolerance == pytest.approx(unit * size)


def test_logits_that_are_no_numbers_are_no_proof() -> None:
    by_hand = ByHand()
    by_hand.model_logits[1, 4] = math.nan
    found = by_hand.numbers().items()
    assert [proof.passed for proof in found.proofs] == [True, False, True]
    assert found.proofs[1].max_abs_difference is None
    assert found.rows.entropy[1, -1].isnan() and not found.rows.entropy[1, 0].isnan()


def test_a_token_that_is_ruled_out_on_both_sides_is_no_difference() -> None:
    by_hand = ByHand()
    own = by_hand.project

    def ruling_out(rows: Sequence[RowStream], norm: bool = True) -> Tensor:
        logits = own(rows, norm)
        logits[:, 2] = -INF
        return logits

    by_hand.project = ruling_out  # type: ignore[method-assign]
    assert not any(proof.passed for proof in by_hand.numbers().items().proofs)
    by_hand.model_logits[:, 2] = -INF
    found = by_hand.numbers().items()
    for proof in found.proofs:
        assert proof.passed
        assert proof.max_abs_difference == pytest.approx(0.0, abs=1e-6)
    assert bool(found.rows.kl_to_last.isfinite().all())


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_few_rows_at_a_time_have_the_same_numbers(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ByHand().numbers().items()
    size = at_once * ITEMS * VOCABULARY
    monkeypatch.setattr("engine.lens.batched.LOGITS_AT_ONCE_ON_CPU", size)
    by_hand = ByHand()
    found = by_hand.numbers().items()
    assert found.unnormed is not None and whole.unnormed is not None
    for rows, others in ((found.rows, whole.rows), (found.unnormed, whole.unnormed)):
        for one, other in zip(rows, others, strict=True):
            assert torch.allclose(one, other, atol=1e-6)
    assert torch.equal(found.rms, whole.rms)
    assert max(by_hand.projected) == at_once
    # Less than one row is one row.
    monkeypatch.setattr("engine.lens.batched.LOGITS_AT_ONCE_ON_CPU", 1)
    by_hand = ByHand()
    assert len(by_hand.numbers().items().proofs) == ITEMS
    assert max(by_hand.projected) == 1


def test_a_row_needs_no_note_where_the_model_added_nothing() -> None:
    by_hand = ByHand()
    for row in (1, 2):  # the first of the two has no note
        stream = by_hand.streams[row].stream
        before = stream.clone()
        before[0, 1] += 1.0
        before[2, -1] = math.nan
        by_hand.streams[row] = RowStream(stream, (), before)
    exact = (None,) * (LAYERS + 1)
    assert by_hand.numbers().items().notes == (NOTES, exact, NOTES)
