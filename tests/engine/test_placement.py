"""Where the weights of a model are read to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.events import LoadOptions
from engine.models.placement import GPU_SHARE, placement_for

GPU = torch.device("cuda")
FREE = 1000


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with `FREE` bytes."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (FREE, 2 * FREE))


def placed(on: torch.device, size: int = FREE // 2, **options: Any) -> dict[str, Any]:
    return placement_for(LoadOptions("model", **options), on, lambda: size)


def test_a_cpu_needs_no_map() -> None:
    assert placed(torch.device("cpu")) == {}
    assert placed(torch.device("cpu"), device="cpu") == {}


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "xpu"])
def test_weights_are_read_straight_onto_a_device(name: str) -> None:
    assert placed(torch.device(name), device=name) == {"device_map": {"": name}}


def test_what_does_not_fit_one_gpu_is_spread() -> None:
    most = int(GPU_SHARE * FREE)
    assert placed(GPU, most) == {"device_map": {"": "cuda"}}
    assert placed(GPU, most + 1) == {"device_map": "auto"}
    assert placed(GPU, most + 1, device="cuda") == {"device_map": {"": "cuda"}}


def test_a_map_that_was_asked_for_stands() -> None:
    assert placed(GPU, device_map="sequential") == {"device_map": "sequential"}
    assert placed(torch.device("cpu"), device_map={"": 0}) == {"device_map": {"": 0}}


def test_quantised_weights_have_a_map_everywhere() -> None:
    for device, wanted, map_ in (
        ("cpu", "auto", "auto"),
        ("cpu", "cpu", {"": "cpu"}),
        ("cuda", "auto", "auto"),
        ("cuda:1", "cuda:1", {"": "cuda:1"}),
    ):
        found = placed(torch.device(device), device=wanted, quantize="8bit")
        assert found["quantization_config"].load_in_8bit
        assert found["device_map"] == map_
