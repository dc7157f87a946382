"""Contrast rows against VDD's formula in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadInput
from engine.methods.contrast import contrast, mean_reference

ROW = st.lists(
    st.tuples(st.floats(-50, 50, width=32), st.floats(-50, 50, width=32)), min_size=1, max_size=9
)


def rows(seed: int, count: int = 3, vocabulary: int = 300) -> torch.Tensor:
    return torch.randn(count, vocabulary, generator=torch.Generator().manual_seed(seed)) * 4


def published(picture: torch.Tensor, reference: torch.Tensor, a: float, b: float) -> Any:
    """As in vcd_sample.py: cutoff = log(b) + max; diffs.masked_fill(z < cutoff, -inf)."""
    z, other = picture.double().numpy(), reference.double().numpy()
    with np.errstate(divide="ignore"):
        cutoff = np.log(b) + z.max(-1, keepdims=True)
    return np.where(z < cutoff, -math.inf, (1 + a) * z - a * other)


@pytest.mark.parametrize("a", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("b", [0.0, 0.1, 0.2, 1.0])
def test_the_published_formula(a: float, b: float) -> None:
    picture, reference = rows(0), rows(1)
    found = contrast(picture, reference, a, b)
    assert found.dtype == torch.float32
    wanted = published(picture, reference, a, b)
    assert found.numpy() == pytest.approx(wanted, rel=1e-5, abs=1e-4)
    shares = np.exp(wanted - wanted.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    assert found.softmax(-1).numpy() == pytest.approx(shares, rel=1e-4, abs=1e-6)


@given(ROW, st.sampled_from([0.001, 0.1, 0.2, 0.9]))
def test_a_0_gives_the_pictures_ranking(pairs: list[tuple[float, float]], b: float) -> None:
    picture, reference = torch.tensor(pairs).T
    found = contrast(picture, reference, a=0.0, b=b)
    kept = found > -math.inf
    assert bool(kept[picture.argmax()])
    assert torch.equal(found[kept], picture[kept])
    worst = picture[kept].min()
    assert bool((picture[~kept] < worst).all())


@given(ROW)
def test_b_1_leaves_the_best_and_its_ties(pairs: list[tuple[float, float]]) -> None:
    picture, reference = torch.tensor(pairs).T
    found = contrast(picture, reference, b=1.0)
    assert torch.equal(found > -math.inf, picture == picture.max())


def test_b_1_leaves_one_token() -> None:
    found = contrast(torch.tensor([3.0, 5.0, 4.9]), torch.tensor([0.0, 9.0, -9.0]), b=1.0)
    assert found.softmax(-1).tolist() == [0.0, 1.0, 0.0]


def test_the_picture_wins_over_the_prior() -> None:
    """The prior's answer leads with the picture too, but the picture favours another answer."""
    picture, reference = torch.tensor([3.0, 2.9, -9.0]), torch.tensor([4.0, 0.0, -30.0])
    found = contrast(picture, reference)
    assert int(picture.argmax()) == 0
    assert int(found.argmax()) == 1
    assert float(found[2]) == -math.inf  # however little the reference thought of it


def test_masked_tokens_stay_out_and_make_no_infinity() -> None:
    inf = math.inf
    picture = torch.tensor([-inf, 2.0, 1.0, 0.0])
    reference = torch.tensor([-inf, 1.0, -inf, -3.0])
    for a in (0.0, 1.0):
        for b in (0.0, 0.1):
            found = contrast(picture, reference, a, b)
            assert float(found[0]) == -inf
            assert bool(found[1:].isfinite().all())
            assert bool(found.softmax(-1).isfinite().all())
    assert float(contrast(picture, reference, 1.0, 0.0)[2]) == 2 * 1.0 - -3.0


def test_rows_of_low_precision_are_worked_out_in_float32() -> None:
    picture, reference = rows(0).bfloat16(), rows(1).bfloat16()
    found = contrast(picture, reference)
    assert torch.equal(found, contrast(picture.float(), reference.float()))


def test_both_is_the_mean_of_logits() -> None:
    none, unk = rows(1), rows(2)
    assert torch.allclose(mean_reference(none, unk), (none + unk) / 2)
    assert torch.equal(mean_reference(none), none)


@pytest.mark.parametrize(
    ("a", "b"), [(-0.1, 0.1), (math.nan, 0.1), (math.inf, 0.1), (1, -0.1), (1, 1.1), (1, math.nan)]
)
def test_settings_that_cannot_be(a: float, b: float) -> None:
    with pytest.raises(BadInput, match="contrast"):
        contrast(rows(0), rows(1), a, b)
