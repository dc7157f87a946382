"""Counterfactuals in the space of a processor's output: pixels normalised, cut and tiled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.counterfactuals.grammar import STEPS
from engine.counterfactuals.unavailable import Unavailable
from engine.pictures.pixels import PIXELS, patches_of
from engine.records import Counterfactual

NAMES = ("noise", "noise-pure", "zero", "one", "mean-patch")


def pixels_instead(
    counterfactual: Counterfactual, inputs: Mapping[str, Any], settings: Any
) -> dict[str, Any]:
    """The model's inputs with other pixels; `settings` is the image processor.

    Raises Unavailable where the model receives more of the picture than pixel values.
    """
    floats = {
        name: value
        for name, value in inputs.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    names = [name for name in floats if any(name.endswith(known) for known in PIXELS)]
    others = sorted(floats.keys() - set(names))
    if not names or others:
        raise Unavailable(
            f"{counterfactual.name}: this model's picture goes in as "
            f"{', '.join([*names, *others]) or 'something else'}, not as pixel values alone"
        )
    if (
        counterfactual.name == "zero"
        and "pixel_attention_mask" in inputs
        and any(floats[name].ndim == 5 for name in names)
    ):
        raise Unavailable("zero: this model treats tiles of zeros as padding and drops them")
    generator = torch.Generator().manual_seed(counterfactual.seed or 0)
    changed = dict(inputs)
    for name in names:
        pixels = floats[name]
        made = _made(counterfactual, name, pixels.cpu().float(), inputs, settings, generator)
        changed[name] = made.to(pixels.device, pixels.dtype)
    return changed


def shares_at(step: int) -> tuple[float, float]:
    """The weights of picture and noise at a step of the diffusion schedule: sqrt(abar) and
    sqrt(1 - abar), where beta rises from 1e-5 to 0.005 along a sigmoid (-6..6).

    Source: the released code of VCD and VDD.
    """
    ramp = torch.linspace(-6, 6, STEPS, dtype=torch.float64).sigmoid()
    kept = float((1 - (ramp * (0.5e-2 - 1e-5) + 1e-5)).cumprod(0)[step])
    return math.sqrt(kept), math.sqrt(1 - kept)


def _made(
    counterfactual: Counterfactual,
    name: str,
    pixels: Tensor,
    inputs: Mapping[str, Any],
    settings: Any,
    generator: torch.Generator,
) -> Tensor:
    match counterfactual.name:
        case "zero":
            return torch.zeros_like(pixels)
        case "one":
            return torch.ones_like(pixels)
        case "mean-patch":
            return _mean(name, pixels, inputs)
        case "noise-pure":
            return _noise_like(pixels, settings, generator)
    picture, noise = shares_at(counterfactual.parameters["step"])
    return picture * pixels + noise * _noise_like(pixels, settings, generator)


def _noise_like(pixels: Tensor, settings: Any, generator: torch.Generator) -> Tensor:
    """Gaussian noise. A picture that goes in as several equal frames gets the same noise in each:
    independent noise would average out and be weaker than its step says."""
    noise = torch.randn(pixels.shape, generator=generator)
    frames = getattr(settings, "temporal_patch_size", 1)
    if not isinstance(frames, int) or pixels.ndim != 2 or pixels.shape[-1] % (3 * frames):
        return noise
    cut = pixels.reshape(len(pixels), 3, frames, -1)
    if not torch.equal(cut, cut[:, :, :1].expand_as(cut)):
        return noise
    return noise.reshape(cut.shape)[:, :, :1].expand_as(cut).reshape(pixels.shape)


def _mean(name: str, pixels: Tensor, inputs: Mapping[str, Any]) -> Tensor:
    """The mean patch in place of every patch, or else the mean colour in place of every pixel."""
    patches = patches_of({**inputs, name: pixels})
    if patches is not None:
        rest = pixels.shape[1:] if pixels.ndim != 3 else pixels.shape[2:]
        return patches.mean(0).view(rest).expand_as(pixels).clone()
    if pixels.ndim < 4 or 3 not in (pixels.shape[-3], pixels.shape[-1]):
        raise Unavailable("mean-patch: how this model's processor orders pixels is not known")
    first = pixels.shape[-3] == 3
    points = pixels.movedim(-3, -1) if first else pixels
    colour = points[_seen(points, inputs)].mean(0)
    filled = colour.expand_as(points)
    return (filled.movedim(-1, -3) if first else filled).clone()


def _seen(points: Tensor, inputs: Mapping[str, Any]) -> Tensor:
    """Which pixels, [..., height, width], are not padding according to the processor's masks."""
    mask = inputs.get("pixel_attention_mask")
    if isinstance(mask, Tensor) and mask.shape == points.shape[:-1] and bool(mask.any()):
        return mask.cpu().bool()
    whole = points.shape[:-1]
    empty = (points == 0).flatten(-3).all(-1)  # tiles that only fill up the batch
    return torch.ones(whole, dtype=torch.bool) & (~empty | empty.all())[..., None, None]
