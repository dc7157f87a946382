"""What a proof of batches accepts and refuses, on a lens whose rows are worked out by hand."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import Cancelled, CannotRead
from engine.lens.batch_proofs import REPLAYS_ALONE, BatchProofs
from engine.passes.collating import collate

PAD, OTHER_PAD = 60, 5
TOLERANCE = {torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10, torch.float32: 2.0**-16}

Effect = Callable[[Tensor, Mapping[str, Any]], Tensor]
"""f(rows [2, items, 1, 3], the inputs of the pass) -> the rows that the model gives."""


class ByHand:
    """A lens over rows that depend on an item's own tokens, changed by an effect; every number is
    a multiple of 2^-6, so that sums with small powers of two are exact."""

    def __init__(
        self, effect: Effect, dtype: torch.dtype, takes_batches: bool, pad_id: int
    ) -> None:
        self._pad_id = pad_id
        config = SimpleNamespace(pad_token_id=pad_id, get_text_config=lambda decoder: None)
        self.model = SimpleNamespace(config=config)
        self.passes: list[Tensor] = []
        self._effect = effect
        self._parts = SimpleNamespace(
            dtype=dtype, tail=SimpleNamespace(takes_batches=takes_batches)
        )

    def learn(self, inputs: Mapping[str, Any]) -> Any:
        return self._parts

    def collated(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return collate(items, self._pad_id)

    def logits(
        self, inputs: Mapping[str, Any], *, stop: Callable[[], bool] = lambda: False
    ) -> Tensor:
        if stop():
            raise Cancelled("cancelled")
        self.passes.append(inputs["input_ids"])
        rows = []
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
            own = ids[mask.bool()].float()
            rows.append(torch.stack([own.sum() % 64, own[-1] % 64, own[0] % 64]) / 64)
        found = torch.stack(rows)
        return self._effect(torch.stack([found, -found])[:, :, None], inputs)


def proofs(
    effect: Effect = lambda rows, inputs: rows,
    dtype: torch.dtype = torch.bfloat16,
    takes_batches: bool = True,
    pad_id: int = PAD,
) -> tuple[BatchProofs, ByHand]:
    lens = ByHand(effect, dtype, takes_batches, pad_id)
    return BatchProofs(lens), lens


def refusal(effect: Effect, *items: Mapping[str, Any], may_round: bool = True) -> str | None:
    """What a first proof says."""
    found, _lens = proofs(effect)
    return found.refusal(items, may_round=may_round)


def item(*ids: int, **more: Any) -> dict[str, Any]:
    tokens = torch.tensor([ids])
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), **more}


SHORT, LONG = item(3, 9, OTHER_PAD), item(11, 2, 8, 7, 4)


def shifted_by(amount: float) -> Effect:
    """Whatever is in a batch is shifted alike, as by rounding."""
    return lambda rows, inputs: rows + amount * (rows.shape[1] > 1)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rows_that_agree_within_the_tolerance_are_accepted(dtype: torch.dtype) -> None:
    limit = TOLERANCE[dtype]
    for share, accepted in ((0.0, True), (0.5, True), (1.0, True), (1.5, False)):
        for sign in (1, -1):
            found, _ = proofs(shifted_by(sign * share * limit), dtype)
            refused = found.refusal([SHORT, LONG])
            assert (refused is None) is accepted
            if refused is not None:
                assert refused.startswith(f"rows differ by {1.5 * limit:.3g} from")
                assert f"({limit:.3g} allowed)" in refused
            assert found.rounding == (0.0 if accepted or dtype == torch.float32 else 1.5 * limit)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_half_precision_may_round_by_four_tolerances(dtype: torch.dtype) -> None:
    limit, is_half = TOLERANCE[dtype], dtype != torch.float32
    for times, may in ((2.0, is_half), (4.0, is_half), (4.5, False)):
        found, lens = proofs(shifted_by(times * limit), dtype)
        assert (found.refusal([SHORT, LONG], may_round=True) is None) is may
        assert found.rounding == (times * limit if may else 0.0)
        assert found.refusal([SHORT, LONG]) is not None
        # Together, each alone; then pairs of each, another neighbour, another padding.
        assert len(lens.passes) == (7 if may else 3)


def test_the_largest_rounding_is_kept() -> None:
    amount = [3.0, 2.0]
    limit = TOLERANCE[torch.bfloat16]

    def effect(rows: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        return shifted_by(amount[0] * limit)(rows, inputs)

    found, _ = proofs(effect)
    assert found.refusal([SHORT, LONG], may_round=True) is None
    amount[0] = 2.0
    assert found.refusal([SHORT, SHORT], may_round=True) is None
    assert found.rounding == 3.0 * limit


def test_the_tolerance_is_that_of_the_item_with_the_smaller_logits() -> None:
    def effect(rows: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        sizes = torch.where(inputs["attention_mask"].sum(1) == 5, 16.0, 1.0)
        return rows * sizes[None, :, None, None] + 2.0**-6 * (rows.shape[1] > 1)

    for items in ((SHORT, LONG), (LONG, SHORT)):
        assert "0.00781 allowed" in str(refusal(effect, *items, may_round=False))


def sees(what: Callable[[Tensor, Mapping[str, Any]], Tensor]) -> Effect:
    """Rounding, and a difference in the last bits that comes from elsewhere."""

    def effect(rows: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        if rows.shape[1] == 1:
            return rows
        return rows + 2.0**-6 + what(rows, inputs)[None, :, None, None] * 2.0**-16

    return effect


def of_the_other(place: int) -> Effect:
    """The item at `place` depends on the last token of the other."""

    def what(rows: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        seen = torch.zeros(2)
        last = inputs["attention_mask"].sum(1) - 1
        seen[place] = inputs["input_ids"][1 - place, last[1 - place]]
        return seen

    return sees(what)


@pytest.mark.parametrize(
    "effect",
    [
        of_the_other(0),
        of_the_other(1),
        sees(lambda rows, inputs: inputs["input_ids"][:, -1].float()),
    ],
    ids=["of the second", "of the first", "of padding"],
)
def test_what_comes_from_another_item_or_from_padding_is_no_rounding(effect: Effect) -> None:
    for pad_id in (PAD, 0):
        found, _lens = proofs(effect, pad_id=pad_id)
        refused = found.refusal([SHORT, LONG], may_round=True)
        assert refused is not None and refused.startswith("rows differ by")
        assert found.rounding == 0.0
    assert refusal(shifted_by(2.0**-6), SHORT, LONG) is None


@pytest.mark.parametrize(("pair", "may"), [(1.0, True), (0.5, True), (0.45, False), (0.0, False)])
def test_rows_differ_at_most_twice_as_much_as_in_a_batch_of_copies(pair: float, may: bool) -> None:
    def effect(rows: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        mask = inputs["attention_mask"]
        if len(mask) == 1:
            return rows
        is_padded = (mask == 0).any(1)
        shift = torch.where(is_padded, 1.0, 0.0)
        if not is_padded.any() and mask.shape[1] == 3:
            shift = torch.full((2,), pair)  # copies of the item that is padded beside the other
        return rows + shift[None, :, None, None] * 2.0**-6

    assert (refusal(effect, SHORT, LONG) is None) is may


def test_the_shortest_and_the_longest_are_tried() -> None:
    found, lens = proofs()
    between = item(1, 2, 3, 4)
    assert found.refusal([between, SHORT, LONG, between]) is None
    together, *alone = lens.passes
    assert together.tolist() == [[11, 2, 8, 7, 4], [3, 9, OTHER_PAD, PAD, PAD]]
    assert [ids.tolist() for ids in alone] == [
        LONG["input_ids"].tolist(),
        SHORT["input_ids"].tolist(),
    ]


def test_a_proof_is_made_once_for_a_kind_and_for_more_padding() -> None:
    found, lens = proofs()

    def passes(*items: Mapping[str, Any]) -> int:
        before = len(lens.passes)
        assert found.refusal(items) is None
        return len(lens.passes) - before

    four, longest = item(1, 2, 3, 4), item(*range(1, 8))
    assert passes(SHORT, SHORT) == 3
    assert passes(LONG, LONG) == passes(SHORT) == 0  # of one length, however long
    assert passes(SHORT, four) == 3  # padding is another proof
    assert passes(four, LONG) == 0  # as much padding
    assert passes(SHORT, LONG) == 3  # more
    assert passes(SHORT, four) == 0
    assert passes(longest, SHORT) == 3
    assert passes(item(2, 2, a=1), item(2, 2, 2, a=1)) == 3  # padded,
    assert passes(item(2, 2, a=1), item(2, 3, a=1)) == 3  # and of one length: that is another
    kind = [item(1, 2, b=1), item(1, 2, b=1)]
    assert passes(*kind) == 3 and passes(*kind) == 0
    assert passes(*[{**each, "use_cache": False} for each in kind]) == 0  # the lens adds it


def test_what_is_refused_is_refused_for_more_padding_and_what_rounds_is_proved_again() -> None:
    longest = item(*range(1, 8))
    for times, again in ((2.0, 7), (16.0, 0)):
        found, lens = proofs(shifted_by(times * TOLERANCE[torch.bfloat16]))
        assert found.refusal([SHORT, LONG]) is not None
        before = len(lens.passes)
        assert found.refusal([SHORT, longest]) is not None
        assert len(lens.passes) - before == again


def test_inputs_of_different_shapes_are_not_tried() -> None:
    found, lens = proofs()
    pixels = [item(1, 2, pixel_values=torch.zeros(1, size)) for size in (3, 4)]
    assert found.refusal(pixels) == "their inputs have different shapes"
    assert lens.passes == []
    assert found.refusal(pixels[:1]) is None


def test_a_model_that_is_read_by_running_it_again_takes_one_at_a_time() -> None:
    found, lens = proofs(takes_batches=False)
    assert found.refusal([SHORT, LONG], may_round=True) == REPLAYS_ALONE
    assert lens.passes == []


@pytest.mark.parametrize(
    "error",
    [CannotRead("no"), IndexError("no"), RuntimeError("no"), TypeError("no"), ValueError("no")],
)
def test_a_model_that_does_not_take_them_together_says_why(error: Exception) -> None:
    def effect(rows: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        if rows.shape[1] > 1:
            raise error
        return rows

    found, _ = proofs(effect)
    refused = found.refusal([SHORT, LONG], may_round=True)
    assert refused == f"this model does not take them together ({type(error).__name__}: no)"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory"), KeyError("a fault"), Cancelled("c")],
)
def test_other_errors_are_no_refusal(error: Exception) -> None:
    def effect(rows: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        if len(fails):
            raise error
        return rows

    fails = [True]
    found, _ = proofs(effect)
    with pytest.raises(type(error)):
        found.refusal([SHORT, LONG])
    fails.clear()
    assert found.refusal([SHORT, LONG]) is None  # and nothing was concluded


def has_made(lens: ByHand, passes: int) -> bool:
    return len(lens.passes) >= passes


def test_every_pass_of_a_proof_can_be_cancelled() -> None:
    """However far it has come."""
    for end in range(7):
        found, lens = proofs(shifted_by(2.0**-6))
        with pytest.raises(Cancelled):
            found.refusal([SHORT, LONG], partial(has_made, lens, end))
        assert len(lens.passes) == end
        assert found.rounding == 0.0


def test_a_proof_keeps_no_model() -> None:
    found, lens = proofs()
    assert found.refusal([SHORT, LONG]) is None
    kept = weakref.ref(lens)
    del lens
    assert kept() is None
