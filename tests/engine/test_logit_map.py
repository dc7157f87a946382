"""The map from head output to logits is fitted to what a model was seen to do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from engine.anatomy.logit_map import LogitMap, difference, fit_logit_map, tolerance


def head_output(width: int = 50) -> Tensor:
    return torch.randn(9, width, generator=torch.Generator().manual_seed(1)) * 5


CASES = {
    "identity": LogitMap(50),
    "scale": LogitMap(50, scale=1 / 24),
    "odd scale": LogitMap(50, scale=0.7310001),
    "cap": LogitMap(50, cap=3.0),
    "scale then cap": LogitMap(50, scale=2.0, cap=30.0),
    "cut": LogitMap(44),
    "masked": LogitMap(50, masked=torch.tensor([4, 7]), mask_value=torch.finfo().min),
    "ruled out": LogitMap(50, masked=torch.tensor([0]), mask_value=-math.inf),
    "bias": LogitMap(50, shift=torch.linspace(-1, 1, 50)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_map_is_found(name: str) -> None:
    raw, truth = head_output(), CASES[name]
    found = fit_logit_map(raw, truth(raw), torch.float32, guesses=[30.0, 24.0])
    assert found is not None
    fresh = head_output() * 1.5
    limit = tolerance(torch.float32, truth(fresh))
    assert difference(found(fresh), truth(fresh)) <= limit


def test_a_cap_is_found_without_a_guess() -> None:
    raw = head_output() * 10
    truth = LogitMap(50, cap=30.0)
    found = fit_logit_map(raw, truth(raw), torch.float32, guesses=[])
    assert found is not None and found.cap == pytest.approx(30.0, rel=1e-3)


def test_what_is_none_of_these_is_not_taken_for_one() -> None:
    raw = head_output()
    assert fit_logit_map(raw, raw.abs(), torch.float32, [30.0]) is None
    assert fit_logit_map(raw, raw.flip(1), torch.float32, [30.0]) is None


def test_tolerance_follows_dtype_and_size() -> None:
    logits = torch.tensor([0.5, -20.0, -math.inf, torch.finfo().min])
    assert tolerance(torch.float32, logits) == 20 * 2.0**-16
    assert tolerance(torch.float16, logits) == 20 * 2.0**-10
    assert tolerance(torch.bfloat16, logits) == 20 * 2.0**-7
    assert tolerance(torch.float32, logits[:1]) == 2.0**-16


def test_difference_is_infinite_where_one_side_is_not_a_number() -> None:
    a = torch.tensor([1.0, -math.inf])
    assert difference(a, a.clone()) == 0.0
    assert difference(a, torch.tensor([1.0, math.nan])) == math.inf
    assert difference(a, torch.tensor([1.0, 0.0])) == math.inf
