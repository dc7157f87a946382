"""Batches that go on from what their pictures' questions have in common: their rows are those of
every item alone, or nothing is gone on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import Lens
from engine.lens import batch_reuse
from engine.lens.batch_reuse import MOST_TRIES, OTHER_TOKENS, BatchReuse
from engine.lens.reuse_kinds import worst_gap
from engine.passes.prefix_cache import Beginning, GoingOn
from tests.conftest import hooks_of
from tests.engine.test_reuse import (
    AHEAD,
    DIFFER,
    NEAR,
    NOT_CONTINUED,
    WITHOUT_IDS,
    asked_about,
    off,
    with_another_picture,
)
from tests.families import FAMILIES

QUICK = ("gemma3", "llama", "llava", "paligemma", "qwen2_vl", "qwen3_5")
"""Families that differ in kind: see `tests.engine.test_reuse`."""
AT_EVERY_STEP = {"evolla": DIFFER, "idefics": "the model does not go on", "kosmos-2": "the model"}
"""Families that go on only where they are given the picture at every step."""
KEPT = {"dots3_note", "mllama"}
"""What they do not keep of a longer sequence is there where the beginning is all there is."""
REFUSED = {name: why for name, why in NOT_CONTINUED.items() if name not in KEPT}
BATCHED_OTHERWISE = {"dots3_note"}
"""Whose plain batches of four are not what each item gives alone, though those of two are."""
ONE_PICTURE = {"minicpm_ocr", "minicpmv4_6", "minicpmv4_7"}
"""Families that take no two pictures in a pass."""

Questions = Sequence[Sequence[int]]
QUESTIONS: Questions = ([7, 8, 5], [9, 10, 11], [7, 8, 9, 10, 11])
"""Two of one length, and one of another."""


def items_of(inputs: dict[str, Any], pictures: int, questions: Questions) -> list[dict[str, Any]]:
    """Questions about pictures, all those with the same number together."""
    end = inputs["input_ids"].shape[1] - 2
    shown = (inputs, with_another_picture(inputs))[:pictures]
    return [asked_about(picture, tail, end) for tail in questions for picture in shown]


class Going:
    """A family whose questions go on from their pictures' beginnings."""

    def __init__(self, name: str) -> None:
        self.tiny = FAMILIES[name]()
        self.lens = Lens(self.tiny.model)
        self.reuse = BatchReuse(self.lens)
        self.pictures = 1 if name in ONE_PICTURE else 2
        self.end = self.tiny.inputs["input_ids"].shape[1] - 2
        self.items = items_of(self.tiny.inputs, self.pictures, QUESTIONS)
        self.lens.supports_logits_to_keep(self.items[0])

    def begin(self) -> Beginning | str:
        first = self.items[: self.pictures]
        return self.reuse.begin(self.lens.collated(first), self.end)

    def goes_on(
        self, beginning: Beginning, items: Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, Any], GoingOn | str]:
        inputs = self.lens.collated(items)
        places = [place % self.pictures for place in range(len(items))]
        return inputs, self.reuse.goes_on(inputs, beginning, places, lambda: inputs)

    def best(self, inputs: Mapping[str, Any], going_on: GoingOn | None) -> tuple[Tensor, Tensor]:
        """Ids and logits of the best tokens, [items, rows, 5] each."""
        items = len(inputs["input_ids"])
        found = self.lens.read_batch(inputs, [()] * items, 5, False, going_on=going_on).items()
        assert all(proof.passed for proof in found.proofs)
        return found.rows.top_ids, found.rows.top_logits


def check_rows(
    going: Going, items: Sequence[Mapping[str, Any]], found: tuple[Tensor, Tensor]
) -> None:
    """The numbers are those of each item alone, in a plain pass."""
    for item, ids, logits in zip(items, *found, strict=True):
        alone = going.lens.logits(item)[:, 0, 0]
        assert off(logits, alone.gather(1, ids.long())) <= NEAR
        assert off(logits, alone.topk(5).values) <= NEAR


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(FAMILIES.keys() - WITHOUT_IDS)
    ],
)
def test_all_rows_are_those_of_each_item_alone(name: str) -> None:
    """One question about each picture, then two of one length, then two with padding."""
    going = Going(name)
    beginning = going.begin()
    if isinstance(beginning, str):
        assert beginning.startswith(REFUSED[name])
        return
    step = going.pictures
    first, second, third = (going.items[at : at + step] for at in range(0, 3 * step, step))
    batches = [first, [*first, *second], [*second, *third]]
    refusals: set[str] = set()
    for items in batches:
        if len(items) > 1 and going.lens.batches.refusal(items) is not None:
            continue
        inputs, going_on = going.goes_on(beginning, items)
        if isinstance(going_on, str):
            refusals.add(going_on)
        elif name in BATCHED_OTHERWISE:
            found, plain = going.best(inputs, going_on), going.best(inputs, None)
            assert off(found[1], plain[1]) <= NEAR
        else:
            check_rows(going, items, going.best(inputs, going_on))
    assert bool(refusals) == (name in REFUSED or name in AT_EVERY_STEP)
    for refused in refusals:
        expected = {**REFUSED, **AT_EVERY_STEP}[name]
        assert refused.startswith(DIFFER if expected == AHEAD else expected)
    assert hooks_of(going.tiny.model) == 0


def test_a_beginning_is_read_only() -> None:
    """Batches that go on from one, in whatever order, find it as it was left."""
    going = Going("qwen3_5")
    beginning = going.begin()
    assert isinstance(beginning, Beginning)
    batches = [going.items[:2], going.items[2:4], going.items, going.items[:2]]
    found = []
    for items in batches:
        inputs, going_on = going.goes_on(beginning, items)
        assert isinstance(going_on, GoingOn)
        found.append(going.best(inputs, going_on))
    assert torch.equal(found[0][1], found[3][1])
    check_rows(going, going.items, found[2])


def test_no_picture_gets_the_beginning_of_another() -> None:
    going = Going("llava")
    beginning = going.begin()
    assert isinstance(beginning, Beginning)
    inputs = going.lens.collated(going.items[:2])
    wrong = going.reuse.goes_on(inputs, beginning, [1, 0], lambda: inputs)
    assert isinstance(wrong, str) and wrong.startswith(DIFFER)


def test_an_item_whose_tokens_are_others_does_not_go_on() -> None:
    """Not even where batches like it are proved, which they stay."""
    going = Going("llava")
    beginning = going.begin()
    assert isinstance(beginning, Beginning)
    assert isinstance(going.goes_on(beginning, going.items[:2])[1], GoingOn)
    other = [{**item, "input_ids": item["input_ids"].clone()} for item in going.items[:2]]
    other[1]["input_ids"][0, going.end - 1] += 1
    assert going.goes_on(beginning, other)[1] == OTHER_TOKENS
    assert isinstance(going.goes_on(beginning, going.items[:2])[1], GoingOn)


def test_the_largest_difference_is_kept_beside_the_worst() -> None:
    plain = torch.tensor([[2.0**20, 0.0], [1.0, 0.0]])
    reused = plain + torch.tensor([[1.0, 0.0], [2.0**-10, 0.0]])
    gap = worst_gap(torch.float32, reused, plain)
    assert gap == (2.0**-10, 2.0**-16, 1.0)
    assert not gap.is_allowed
    first, second = (
        worst_gap(torch.float32, reused[row : row + 1], plain[row : row + 1]) for row in (0, 1)
    )
    assert first.is_allowed
    assert first.joined(second) == second.joined(first) == gap


def spoilt(self: Beginning, items: Sequence[int], own: Any = Beginning.of_items) -> Any:
    """A copy of the cache in which one layer's values are others."""
    cache = own(self, items)
    cache.layers[0].values = cache.layers[0].values * 1.5
    return cache


def test_what_has_become_another_is_found_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_reuse, "PROVED_AGAIN", 3)
    going = Going("llava")
    beginning = going.begin()
    assert isinstance(beginning, Beginning)
    passes: list[GoingOn | str] = [going.goes_on(beginning, going.items[:2])[1]]
    monkeypatch.setattr(Beginning, "of_items", spoilt)
    passes += [going.goes_on(beginning, going.items[:2])[1] for _ in range(4)]
    assert [isinstance(each, str) for each in passes] == [False, False, False, True, True]
    # What was found of one pattern says nothing about others.
    monkeypatch.undo()
    assert isinstance(going.goes_on(beginning, going.items)[1], GoingOn)


def test_a_longer_sequence_is_proved_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    going = Going("llava")
    beginning = going.begin()
    assert isinstance(beginning, Beginning)
    assert isinstance(going.goes_on(beginning, going.items[:2])[1], GoingOn)
    monkeypatch.setattr(Beginning, "of_items", spoilt)
    assert isinstance(going.goes_on(beginning, going.items[:2])[1], GoingOn)
    many = items_of(going.tiny.inputs, 2, [[5, 6, 7, 8]])
    assert isinstance(going.goes_on(beginning, many)[1], str)


def test_beginnings_that_fail_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    going = Going("llava")
    own = Lens.batch_forward
    tried: list[int] = []

    def broken(self: Lens, inputs: Any, leaves: bool = False, **others: Any) -> Any:
        if leaves:
            tried.append(1)
            raise RuntimeError("a kernel has failed")
        return own(self, inputs, leaves, **others)

    monkeypatch.setattr(Lens, "batch_forward", broken)
    for _ in range(MOST_TRIES + 2):
        assert going.begin() == "RuntimeError: a kernel has failed"
    assert len(tried) == MOST_TRIES

    def full(self: Lens, inputs: Any, **others: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    other = Going("llava")
    monkeypatch.setattr(Lens, "batch_forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        other.begin()
    monkeypatch.undo()
    assert isinstance(other.begin(), Beginning)
