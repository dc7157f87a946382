"""Saliency at the pixels of a tiny LLaVA, against captum: gradient x input, integrated gradients,
occlusion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Occlusion
from torch import Tensor

from engine.lens.lens import Lens
from engine.lens.saliency_leaves import Leaf, Target
from engine.lens.saliency_ways import integrated, occluded, times_input
from tests.engine.test_saliency import at_pixels
from tests.families import Tiny
from tests.families.llava import llava

TOKEN = 7


@pytest.fixture
def tiny() -> Tiny:
    made = llava()
    with torch.no_grad():
        for parameter in made.model.parameters():
            if parameter.ndim > 1:
                parameter *= 3  # so that the picture counts
    return made


def answer_of(tiny: Tiny) -> Any:
    """f(pixels [n, 3, 12, 12]) -> the log-probability [n]."""
    others = {name: value for name, value in tiny.inputs.items() if name != "pixel_values"}

    def answer(pixels: Tensor) -> Tensor:
        logits = [
            tiny.model(**others, pixel_values=each[None]).logits[0, -1].float() for each in pixels
        ]
        together: Tensor = torch.stack(logits)
        return together.log_softmax(-1)[:, TOKEN]

    return answer


def cells_of(attributions: Tensor) -> Tensor:
    """The sums over the 3 x 3 patches of 4 x 4 pixels."""
    patches = attributions[0].unflatten(1, (3, 4)).unflatten(3, (3, 4))
    cells: Tensor = patches.sum((0, 2, 4)).flatten().double()
    return cells


def site_of(tiny: Tiny, stand_in: bool = False) -> Leaf:
    """Of the pixels, each of the patch in which it lies: captum knows no tokens."""
    leaf = at_pixels(tiny, Target((TOKEN,)), stand_in)
    patches = torch.arange(1, 10).reshape(3, 3).repeat_interleave(4, 0).repeat_interleave(4, 1)
    same = (leaf.owners[0] == patches).float().mean()
    assert float(same) > 0.99  # by gradients, some of which are nearly 0
    leaf.owners = (patches.expand(tiny.inputs["pixel_values"].shape),)
    return leaf


def test_gradient_times_input(tiny: Tiny) -> None:
    leaf = site_of(tiny)
    pixels = tiny.inputs["pixel_values"].clone().requires_grad_()
    wanted = InputXGradient(answer_of(tiny)).attribute(pixels)
    found = times_input(leaf, leaf.slope(leaf.start))[1:10]
    assert found == pytest.approx(cells_of(wanted.detach()), rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_integrated_gradients(tiny: Tiny) -> None:
    leaf = site_of(tiny, stand_in=True)
    assert leaf.stand_in is not None
    wanted = IntegratedGradients(answer_of(tiny)).attribute(
        tiny.inputs["pixel_values"],
        baselines=leaf.stand_in[0],
        n_steps=8,
        method="riemann_middle",
    )
    *_, found = integrated(leaf, leaf.stand_in, 1.0, 8, 8)
    assert found.sums[1:10] == pytest.approx(cells_of(wanted), rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_occlusion(tiny: Tiny) -> None:
    leaf = site_of(tiny, stand_in=True)
    pixels = tiny.inputs["pixel_values"]
    with torch.no_grad():
        wanted = Occlusion(answer_of(tiny)).attribute(
            pixels,
            sliding_window_shapes=(3, 4, 4),
            strides=(3, 4, 4),
            baselines=float(pixels.mean()),
        )
    blocks = [[token] for token in range(1, 10)]
    *_, found = occluded(leaf, blocks, leaf.value(leaf.start), Lens(tiny.model))
    # Every pixel of a patch has the patch's fall.
    assert found.sums[1:10] == pytest.approx(cells_of(wanted) / 48, rel=1e-3, abs=1e-5)
