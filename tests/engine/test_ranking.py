"""The best tokens and the ranks of tokens against Python's own sorting; ties go to the lower id."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.lens import ranking
from engine.lens.ranking import Blocks
from tests.engine.test_readout import best_first

WIDTHS = [1, 2, 5, 31, 32, 33, 63, 257, 1000, 4096, 5001]
few_values = st.sampled_from([-3.0, -0.0, 0.0, 0.5, 1.0, 2.0, 20.0, -math.inf])
"""So few that ties are common, as heads in bfloat16 have them."""


def ranks_in_both_ways(logits: Tensor, ids: Tensor) -> list[list[int]]:
    """Compared, as on an accelerator, and counted."""
    found = Blocks.of(logits, 5).ranks(ids)
    counted = ranking._counted_ranks(logits, ids, logits.gather(1, ids))
    assert torch.equal(found, counted) and counted.dtype == found.dtype == torch.int64
    return [[int(rank) for rank in row] for row in found]


@given(st.data())
def test_ties_go_to_the_lower_id(data: st.DataObject) -> None:
    width = data.draw(st.sampled_from([1, 3, 6, 40, 70]))
    rows = st.lists(few_values, min_size=width, max_size=width)
    logits = torch.tensor(data.draw(st.lists(rows, min_size=1, max_size=3)))
    count = data.draw(st.sampled_from([1, 4, 5, 50, 100]))
    best = Blocks.of(logits, count).best(count)
    every = torch.arange(width).expand(len(logits), -1)
    for row, found, ranks in zip(logits, best, ranks_in_both_ways(logits, every), strict=True):
        order = best_first(row)
        assert found.tolist() == order[:count]
        assert ranks == [order.index(token) + 1 for token in range(width)]


@pytest.mark.parametrize("kind", ["plain", "rounded", "ruled out", "by a number"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_width(width: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vocabularies that fill their last block and that do not."""
    logits = torch.randn(6, width, generator=torch.Generator().manual_seed(width)) * 4
    if kind == "rounded":
        logits = (logits / 4).bfloat16().float()
    if kind in ("ruled out", "by a number"):
        logits[..., 1::3] = -math.inf if kind == "ruled out" else torch.finfo(torch.float32).min
    orders = [best_first(row) for row in logits]
    assert Blocks.of(logits, 5).best(5).tolist() == [order[:5] for order in orders]
    ids = torch.randint(0, width, (6, 3), generator=torch.Generator().manual_seed(1))
    wanted = [
        [order.index(token) + 1 for token in tokens]
        for order, tokens in zip(orders, ids.tolist(), strict=True)
    ]
    assert ranks_in_both_ways(logits, ids) == wanted


@pytest.mark.parametrize("ties", [1, 10, 16, 17, 40, 200])
def test_many_ties(ties: int) -> None:
    logits = torch.randn(5, 300).clamp(max=1.0)
    logits[:, 300 - ties :] = 2.0
    assert Blocks.of(logits, 5).best(5).tolist() == [best_first(row)[:5] for row in logits]


def test_ranks_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a device: on the one that computes nothing, parts have the right shapes."""
    monkeypatch.setattr(ranking, "COMPARED_AT_ONCE", 3 * 2 * 1000)
    blocks = Blocks.of(torch.empty(10, 1000, device="meta"))
    ranks = blocks.ranks(torch.zeros(10, 2, dtype=torch.int64, device="meta"))
    assert ranks.shape == (10, 2)


def test_a_row_that_is_partly_not_a_number_does_not_disturb_others() -> None:
    logits = torch.randn(3, 100)
    logits[1, 50] = math.nan
    best = Blocks.of(logits, 5).best(5)
    for row in (0, 2):
        assert best[row].tolist() == best_first(logits[row])[:5]
    assert bool(((best[1] >= 0) & (best[1] < 100)).all())
