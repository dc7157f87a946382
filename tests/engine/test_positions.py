"""Positions of items that are padded on either side, or preceded by features of a picture."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from engine.passes.positions import attention_of, resolve

LENGTH = 7
SPANS = st.lists(
    st.tuples(st.integers(0, LENGTH - 1), st.integers(1, LENGTH)).filter(
        lambda span: sum(span) <= LENGTH
    ),
    min_size=1,
    max_size=4,
)
"""For each item, how much padding there is before its tokens, and how many tokens."""


def attention(*spans: tuple[int, int]) -> torch.Tensor:
    mask = torch.zeros(len(spans), LENGTH, dtype=torch.bool)
    for row, (before, count) in zip(mask, spans, strict=True):
        row[before : before + count] = True
    return mask


@example(spans=[(0, LENGTH)], features=2, wanted=-LENGTH - 2)
@example(spans=[(1, LENGTH - 1)], features=2, wanted=-LENGTH)
@example(spans=[(1, LENGTH - 1)], features=2, wanted=-LENGTH + 1)
@given(SPANS, st.integers(0, 3), st.integers(-12, 12))
def test_every_position_is_of_the_items_own_tokens(
    spans: list[tuple[int, int]], features: int, wanted: int
) -> None:
    """As counted by hand: negative ones from the last token to the first thing attended to."""
    length, found = features + LENGTH, []
    for before, count in spans:
        # Padding on the left would stand before the features of the picture.
        first = 0 if not before else features + before
        end = features + before + count
        place = end + wanted if wanted < 0 else wanted
        found.append(place if (first if wanted < 0 else 0) <= place < length else None)
    batch = len(spans)
    if None in found:
        with pytest.raises(IndexError, match=f"position {wanted} is outside"):
            resolve([wanted], attention(*spans), batch, length)
    else:
        assert resolve([wanted], attention(*spans), batch, length).tolist() == [
            [place] for place in found
        ]


def test_positions_of_each_item_and_of_all() -> None:
    mask = attention((0, 7), (2, 5), (0, 4))
    assert resolve([-1, 0, -4], mask, 3, LENGTH).tolist() == [[6, 0, 3], [6, 0, 3], [3, 0, 0]]
    own = torch.tensor([[-1, 2], [-5, 3], [0, -2]], dtype=torch.int32)
    found = resolve(own, mask, 3, LENGTH)
    assert found.tolist() == [[6, 2], [2, 3], [0, 2]]
    assert found.dtype == torch.int64 and found.device.type == "cpu"
    with pytest.raises(IndexError, match="position -5 is outside a sequence of 7 positions"):
        resolve([-5], mask, 3, LENGTH)
    with pytest.raises(IndexError, match="position 7 "):
        resolve([3, 7, -1], mask, 3, LENGTH)


def test_without_a_mask_of_the_sequence_all_of_it_counts() -> None:
    longer = torch.ones(2, LENGTH + 1, dtype=torch.bool)
    longer[:, 4:] = False
    for mask in (None, longer):
        assert resolve([-1, -LENGTH, LENGTH - 1], mask, 2, LENGTH).tolist() == [[6, 0, 6]] * 2
        for outside in (LENGTH, -LENGTH - 1):
            with pytest.raises(IndexError):
                resolve([outside], mask, 2, LENGTH)


def test_positions_of_another_shape_are_refused() -> None:
    for wanted in (torch.zeros(3, 1), torch.zeros(2, 1, 1), torch.tensor(3)):
        with pytest.raises(ValueError, match=r"a list, or an int tensor \[2, n\]"):
            resolve(wanted.long(), None, 2, LENGTH)


def test_the_mask_is_that_of_the_sequence_of_the_logits() -> None:
    own, encoders = torch.tensor([[1, 1, 0]]), torch.tensor([[1, 0]])
    mask = attention_of({"attention_mask": own})
    assert mask is not None and mask.dtype == torch.bool and mask.tolist() == [[True, True, False]]
    both = {"attention_mask": encoders, "decoder_attention_mask": own}
    alone = attention_of(both)  # no decoder's ids: what the first mask covers
    assert alone is not None and alone.tolist() == [[True, False]]
    mask = attention_of({**both, "decoder_input_ids": own})
    assert mask is not None and mask.tolist() == [[True, True, False]]
    for none in ({}, {"attention_mask": None}, {"attention_mask": own[None]}):
        assert attention_of(none) is None
    assert attention_of({"attention_mask": encoders, "decoder_input_ids": own}) is None
