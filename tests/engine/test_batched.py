"""The numbers of a batch against their definitions, on rows that are made by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.anatomy.tail import RowStream
from engine.lens.batched import BatchedPass, BatchNumbers

LAYERS, ITEMS, WIDTH, VOCABULARY = 5, 3, 4, 9
TRUTHS = ((5, 2), (), (0,))
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
        self.parts = SimpleNamespace(layers=[None] * LAYERS, dtype=dtype, tail=tail, note=self.note)
        self.projected: list[int] = []
        self.inside = False

    def run(self, on_row: Callable[[int, RowStream], None]) -> Tensor:
        assert self.inside
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

    def note(self, row: int, read: RowStream) -> str | None:
        before = read.before_addition
        return None if before is None else f"{row}: {before.tolist()} {read.stream.tolist()}"

    def numbers(self, count: int = 4, unnormed: bool = True) -> BatchNumbers:
        made: Any = self
        return BatchedPass(made).run(self.around()).numbers(TRUTHS, count, unnormed)

    def logits(self, row: int, item: int, norm: bool) -> Tensor:
        if row == LAYERS:
            return self.model_logits[item]
        return self.streams[row].stream[item] @ self.heads[norm]


def rank(logits: Tensor, token: int) -> int:
    return sorted(range(VOCABULARY), key=lambda each: (-float(logits[each]), each)).index(token) + 1


def test_every_number_of_every_row_of_every_item() -> None:
    by_hand = ByHand()
    items = by_hand.numbers().items()
    assert len(items) == ITEMS and not by_hand.inside
    for place, (item, truth) in enumerate(zip(items, TRUTHS, strict=True)):
        last = by_hand.model_logits[place].log_softmax(-1)
        final = int(last.argmax())
        assert item.unnormed is not None
        assert item.notes == (None,) * (LAYERS + 1)
        for rows, norm, count in ((item.rows, True, LAYERS + 1), (item.unnormed, False, LAYERS)):
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
        assert item.rms.tolist() == pytest.approx(wanted)
        assert item.proof.passed and item.proof.method == "replay"


def test_the_last_row_is_the_models_own_and_the_bare_ones_only_if_asked_for() -> None:
    by_hand = ByHand()
    by_hand.model_logits = by_hand.model_logits + 2.0**-20
    numbers = by_hand.numbers(unnormed=False)
    assert numbers.are_ready  # nothing is waited for without a GPU
    for place, item in enumerate(numbers.items()):
        assert item.unnormed is None
        assert item.rows.top_logits[-1, 0] == by_hand.model_logits[place].max()
        assert item.rows.kl_to_last[-1] == 0 and item.rows.final_rank[-1] == 1
    assert by_hand.projected == [1, LAYERS]  # the proof, and the rows below the last


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bad", range(ITEMS))
def test_a_proof_fails_where_the_models_logits_are_others(bad: int, sign: int) -> None:
    by_hand = ByHand()
    by_hand.model_logits[bad, 3] += sign * 0.25
    for place, item in enumerate(by_hand.numbers().items()):
        assert item.proof.passed is (place != bad)
        wanted = 0.25 if place == bad else 0.0
        assert item.proof.max_abs_difference == pytest.approx(wanted, abs=1e-6)
        size = max(1.0, float(by_hand.model_logits[place].abs().max()))
        assert item.proof.tolerance == pytest.approx(2**-16 * size)


def test_the_tolerance_is_that_of_the_dtype() -> None:
    for dtype, unit in ((torch.float16, 2**-10), (torch.bfloat16, 2**-7)):
        by_hand = ByHand(dtype)
        by_hand.model_logits[0, 0] += 2**-7
        first = by_hand.numbers().items()[0]
        assert first.proof.passed is (dtype == torch.bfloat16)
        size = max(1.0, float(by_hand.model_logits[0].abs().max()))
        assert first.proof.tolerance == pytest.approx(unit * size)


def test_logits_that_are_no_numbers_are_no_proof() -> None:
    by_hand = ByHand()
    by_hand.model_logits[1, 4] = math.nan
    items = by_hand.numbers().items()
    assert [item.proof.passed for item in items] == [True, False, True]
    assert items[1].proof.max_abs_difference is None
    assert items[1].rows.entropy[-1].isnan() and not items[1].rows.entropy[0].isnan()


def test_a_token_that_is_ruled_out_on_both_sides_is_no_difference() -> None:
    by_hand = ByHand()
    own = by_hand.project

    def ruling_out(rows: Sequence[RowStream], norm: bool = True) -> Tensor:
        logits = own(rows, norm)
        logits[:, 2] = -INF
        return logits

    by_hand.project = ruling_out  # type: ignore[method-assign]
    assert [item.proof.passed for item in by_hand.numbers().items()] == [False] * ITEMS
    by_hand.model_logits[:, 2] = -INF
    for item in by_hand.numbers().items():
        assert item.proof.passed
        assert item.proof.max_abs_difference == pytest.approx(0.0, abs=1e-6)
        assert bool(item.rows.kl_to_last.isfinite().all())


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_few_rows_at_a_time_have_the_same_numbers(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ByHand().numbers().items()
    size = at_once * ITEMS * VOCABULARY
    monkeypatch.setattr("engine.lens.batched.LOGITS_AT_ONCE_ON_CPU", size)
    by_hand = ByHand()
    for item, same in zip(by_hand.numbers().items(), whole, strict=True):
        assert item.unnormed is not None and same.unnormed is not None
        for rows, others in ((item.rows, same.rows), (item.unnormed, same.unnormed)):
            for one, other in zip(rows, others, strict=True):
                assert torch.allclose(one, other, atol=1e-6)
        assert torch.equal(item.rms, same.rms)
    assert max(by_hand.projected) == at_once
    # Less than one row is one row.
    monkeypatch.setattr("engine.lens.batched.LOGITS_AT_ONCE_ON_CPU", 1)
    by_hand = ByHand()
    assert len(by_hand.numbers().items()) == ITEMS
    assert max(by_hand.projected) == 1


def test_notes_are_of_the_item() -> None:
    by_hand = ByHand()
    stream = by_hand.streams[2].stream
    before = torch.arange(ITEMS * WIDTH).view(ITEMS, WIDTH).float()
    by_hand.streams[2] = RowStream(stream, (), before)
    for place, item in enumerate(by_hand.numbers().items()):
        own = slice(place, place + 1)
        note = f"2: {before[own].tolist()} {stream[own].tolist()}"
        assert item.notes == (None, None, note, *[None] * (LAYERS - 2))
