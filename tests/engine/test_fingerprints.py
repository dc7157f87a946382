"""Telling the weights of one checkpoint from those of another."""

from __future__ import annotations

import hashlib
from typing import Any

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


def one_by_one(model: nn.Module) -> str:
    """What sessions hold, computed parameter by parameter."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters(), key=lambda each: each[0]):
        values: list[float] = []
        if not parameter.is_meta and parameter.numel():
            flat = parameter.detach().reshape(-1)
            last = parameter.numel() - 1
            values = [float(flat[k * last // (SAMPLED - 1)].float()) for k in range(SAMPLED)]
        digest.update(repr((name, tuple(parameter.shape), str(parameter.dtype), values)).encode())
    return digest.hexdigest()


class Mixed(nn.Module):
    """Parameters of several dtypes, shapes and strides; one empty, one offloaded, one shared."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        values = [torch.randn(7, 5), torch.randn(3).to(torch.bfloat16), torch.randn(9, 4).t()]
        values += [torch.empty(0, 4), torch.randn(2, 2, 2, dtype=torch.float64), torch.tensor(0.1)]
        values.append(torch.empty(4, device="meta"))
        self.all = nn.ParameterList(values)
        self.tied = self.all[0]
        self.packed = nn.Parameter(torch.arange(40, dtype=torch.uint8), requires_grad=False)


def test_it_is_the_one_that_sessions_hold() -> None:
    model = Mixed()
    assert weights_digest(model) == one_by_one(model)


def test_a_device_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU would be waited for wherever numbers become Python's."""
    waits: list[str] = []

    def counted(name: str) -> None:
        own = getattr(torch.Tensor, name)

        def count(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            waits.append(name)
            return own(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, count)

    for name in ("tolist", "item", "cpu", "numpy", "__float__", "__bool__", "__int__"):
        counted(name)
    weights_digest(nn.Sequential(*(nn.Linear(20, 20) for _ in range(30))))
    assert waits == ["tolist"]
