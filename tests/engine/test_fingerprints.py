"""Telling the weights of one checkpoint from those of another."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.models.fingerprints import SAMPLED, weights_digest


def of(weight: torch.Tensor) -> str:
    module = nn.Module()
    module.weight = nn.Parameter(weight, requires_grad=False)
    return weights_digest(module)


@pytest.mark.parametrize("size", [1, 2, SAMPLED, 1000, 2**25 + 4])
@pytest.mark.parametrize("place", [0, -1])
def test_the_first_and_the_last_number_count(size: int, place: int) -> None:
    """Also for large weights, whose number of elements float32 cannot represent."""
    weight = torch.zeros(size, dtype=torch.bfloat16)
    before = of(weight)
    assert of(weight.clone()) == before
    weight[place] = 1.0
    assert of(weight) != before


def test_shape_dtype_and_emptiness_count() -> None:
    digests = {
        of(torch.zeros(shape, dtype=dtype))
        for shape in ((0,), (6,), (2, 3), (3, 2))
        for dtype in (torch.float32, torch.bfloat16)
    }
    assert len(digests) == 8
    with torch.device("meta"):
        assert of(torch.zeros(6)) not in digests
