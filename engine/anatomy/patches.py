"""Finds which token of the stream every pixel value feeds, by watching the model.

With all vision layers bypassed (`engine.anatomy.bypassing`), a picture token depends on its own
patch only. If a pixel value feeds one token only, then for any weights w the gradient of
sum_t w_t f_t with respect to it, divided by that of sum_t f_t, is the weight of that token. Weights
that are the digits of a token's position therefore give the position, for all pixel values at
once. If a value feeds several tokens, the quotient is no digit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from engine.anatomy.bypassing import Stop, differentiable, entering_stream
from engine.anatomy.parts import ModelParts
from engine.errors import Cancelled

NOTHING: Final = -1
"""The number of a pixel value that feeds no token."""
SEVERAL: Final = -2
"""The number of a pixel value that feeds several tokens."""

SINGLE: Final = 0.98
"""From this share of the gradient on, a relation in which values feed one token only is exact: the
rest is rounding, where a gradient is nearly 0."""
COLOURS: Final = 16
"""Into how many groups tokens that share pixels are divided at random, so that most of those that
share one are in different groups."""
ROUNDS: Final = 2
"""How often they are divided."""
CODE_TRIES: Final = 16
"""How often pixels are changed to see which tokens are codes of them; some codes stay the same."""
STRAY: Final = 0.03
"""A token that has less than this share of the pixel values that others have is none."""
CHANGED: Final = 1e-3
"""A token has changed if it differs by this share of what others differ by."""
AWRY: Final = 0.01
"""A token is not as expected if it is off by this share of what its pixels change."""
AWRY_COARSE: Final = 0.4
"""Likewise in 16 bits, where single pixel values are taken for another token's."""

Kind = Literal["single", "shared", "codes", "whole", "absent"]
"""How tokens depend on pixels: a pixel feeds one token; several, one of them most; pixels become
codes, which have no gradient; each token sees the whole picture; no token sees any pixel."""


@dataclass(frozen=True)
class PatchRelation:
    """How the tokens of the stream depend on the pixel values of one input."""

    kind: Kind
    length: int
    """Of the stream, in positions."""
    followers: tuple[int, ...] = ()
    """The positions of the tokens that change with the pixels, ascending."""
    name: str = ""
    """The input that holds the pixel values."""
    numbers: Tensor | None = None
    """int32 on the CPU, of that input's shape: the position of the token that each value feeds,
    or feeds most; NOTHING or SEVERAL. None unless `kind` is "single" or "shared"."""
    share: float = 0.0
    """The share of the gradient, by magnitude, in values that feed one token only."""
    mistaken: int | None = None
    """When the pixels of half of the tokens were changed: how many tokens were not as if all pixels
    had been changed (if theirs were), or none. None if that was not tried."""
    tried: int = 0
    """How many tokens were so compared."""


def relate(
    model: nn.Module, parts: ModelParts, inputs: Mapping[str, Any], stop: Stop
) -> PatchRelation:
    """Find which token each pixel value feeds, for a batch of one.

    `inputs` are on the model's device. Gradients are taken with respect to the inputs only; the
    parameters, their `requires_grad` and the caller's gradient mode stay as they are. Raises
    Cancelled soon after `stop()` is true.
    """
    with differentiable(inputs) as (changed, leaves):
        if not leaves:
            return PatchRelation("absent", parts.stream_shape[parts.tail.position_axis])
        stream = entering_stream(model, parts, changed, stop, gradients=True)
        length = len(stream)
        coded = _Coded(stream, leaves, stop)
        plain = coded.gradients(torch.ones(length)) if stream.requires_grad else {}
        found = [
            _single(coded, name, gradient) for name, gradient in plain.items() if gradient.any()
        ]
        stream = stream.detach()
        # Of two towers that see the picture, the one that keeps tokens apart.
        best = max(found, key=lambda each: each.share, default=None)
        if best is not None and best.share >= SINGLE:
            return _tried(model, parts, inputs, stream, best, stop)
        fed = best
        if best is not None:
            fed = _shared(coded, best)
    names = list(leaves) if fed is None else [fed.name]
    followers = _following(model, parts, inputs, names, stream, stop, bypass=True)
    if fed is not None and fed.kind == "shared":
        return replace(fed, followers=followers or fed.followers)
    if followers and fed is None:
        followers = _following(
            model, parts, inputs, names, stream, stop, bypass=True, tries=CODE_TRIES
        )
        return PatchRelation("codes", length, followers, names[0])
    if not followers:
        whole = entering_stream(model, parts, inputs, stop, bypass=False)
        followers = _following(model, parts, inputs, names, whole, stop, bypass=False)
        if length - 1 in followers:  # the last token is text: the picture is added to all of them
            followers = ()
    return PatchRelation("whole" if followers else "absent", length, followers)


class _Coded:
    """Gradients of weighted sums over the tokens of one stream."""

    def __init__(self, stream: Tensor, leaves: Mapping[str, Tensor], stop: Stop) -> None:
        self.length = len(stream)
        self.leaves = dict(leaves)
        self._stop = stop
        self._generator = torch.Generator().manual_seed(0)
        direction = torch.randn(stream.shape[1], generator=self._generator)
        self._features = stream.float() @ direction.to(stream.device)  # [positions]
        self._scale = 1.0
        coarse = any(leaf.element_size() < 4 for leaf in leaves.values()) or (
            stream.element_size() < 4
        )
        # Weights are 0 to base - 1: quotients of 16-bit gradients are right to about a percent.
        self.base, self.tolerance, self.codes = (8, 0.3, 2) if coarse else (128, 0.03, 1)
        self.least = 0.05 if coarse else 1e-3

    def gradients(self, weights: Tensor) -> dict[str, Tensor]:
        """d sum_t w_t f_t / d each input that the stream depends on, float32 on the CPU."""
        if self._stop():
            raise Cancelled("cancelled")
        total = (self._features * weights.to(self._features)).sum()
        for _ in range(8):
            found = torch.autograd.grad(
                total * self._scale,
                list(self.leaves.values()),
                retain_graph=True,
                allow_unused=True,
            )
            largest = max(
                (float(each.abs().max()) for each in found if each is not None), default=1
            )
            if not math.isfinite(largest):
                self._scale /= 2**8
            elif 0 < largest < 2**-8:  # in float16 the smaller ones would vanish
                self._scale *= 2 ** min(16, -round(math.log2(largest)))
            else:
                break
        named = zip(self.leaves, found, strict=True)
        return {
            name: each.detach().float().cpu() / self._scale
            for name, each in named
            if each is not None
        }

    def positions(self, name: str, among: Tensor, plain: Tensor) -> Tensor:
        """The position that each value's quotients spell, int64; SEVERAL where they spell none.

        `among` [positions] is 1 for the tokens that count and 0 for others; `plain` is the
        gradient of their plain sum.
        """
        spelt = torch.zeros(plain.shape, dtype=torch.int64)
        # Where a gradient is nearly 0, its quotients are rounding.
        clean = plain.abs() > self.least * plain[plain != 0].abs().median()
        for digit, weights in enumerate(self._digits()):
            quotient = self.gradients(weights * among).get(name, torch.zeros_like(plain)) / plain
            whole = quotient.round()
            clean &= (quotient - whole).abs() <= self.tolerance
            clean &= (whole >= 0) & (whole < self.base)
            spelt += torch.where(clean, whole, 0).long() * self.base**digit
        clean &= spelt < self.length
        # A second code: a value that feeds two tokens may spell a third one.
        for _ in range(self.codes):
            signs = self.signs()
            expected = signs[spelt.clamp(max=self.length - 1)]
            quotient = self.gradients(signs * among).get(name, torch.zeros_like(plain)) / plain
            clean &= (quotient - expected).abs() <= self.tolerance
        return _without_strays(torch.where(clean, spelt, SEVERAL))

    def signs(self) -> Tensor:
        """A random sign for every token."""
        return torch.randint(0, 2, (self.length,), generator=self._generator) * 2.0 - 1.0

    def colours(self) -> Tensor:
        """A random group for every token."""
        if self.length <= COLOURS:
            return torch.arange(self.length)
        return torch.randint(0, COLOURS, (self.length,), generator=self._generator)

    def _digits(self) -> Sequence[Tensor]:
        places = torch.arange(self.length)
        count = max(1, math.ceil(math.log(max(2, self.length), self.base) - 1e-9))
        return [(places // self.base**digit % self.base).float() for digit in range(count)]


def _without_strays(numbers: Tensor) -> Tensor:
    """The numbers without those of tokens that hardly any value spells: where a gradient is nearly
    0, its quotients are rounding."""
    counts = torch.bincount(numbers[numbers >= 0])
    if not len(counts):
        return numbers
    # Half of all values belong to tokens with so many of them, or more.
    ordered = counts.sort().values
    typical = ordered[int(torch.searchsorted(ordered.cumsum(0), ordered.sum() / 2))]
    rare = counts < STRAY * typical
    return torch.where((numbers >= 0) & rare[numbers.clamp(min=0)], SEVERAL, numbers)


def _single(coded: _Coded, name: str, plain: Tensor) -> PatchRelation:
    """The relation in which each value feeds one token only."""
    numbers = coded.positions(name, torch.ones(coded.length), plain)
    share = float(plain.abs()[numbers >= 0].sum() / plain.abs().sum())
    numbers = torch.where(plain == 0, NOTHING, numbers).int()
    followers = tuple(numbers[numbers >= 0].unique().tolist())
    return PatchRelation("single", coded.length, followers, name, numbers, share)


def _shared(coded: _Coded, single: PatchRelation) -> PatchRelation:
    """The relation of each value to the token that it feeds most."""
    name = single.name
    assert single.numbers is not None
    most = torch.zeros(single.numbers.shape)
    total = torch.zeros(single.numbers.shape)
    numbers = torch.full(single.numbers.shape, NOTHING, dtype=torch.int64)
    for _ in range(1 if coded.length <= COLOURS else ROUNDS):
        colours = coded.colours()
        for colour in colours.unique().tolist():
            among = (colours == colour).float()
            plain = coded.gradients(among).get(name)
            if plain is None or not plain.any():
                continue
            spelt = coded.positions(name, among, plain)
            size = torch.where(spelt >= 0, plain.abs(), 0.0)
            total += plain.abs()
            numbers = torch.where(size > most, spelt, numbers)
            most = torch.maximum(size, most)
    alone = float(most.sum() / total.sum().clamp(min=1e-30))
    followers = tuple(numbers[numbers >= 0].unique().tolist())
    kind: Kind = "shared" if followers else "whole"
    return PatchRelation(kind, coded.length, followers, name, numbers.int(), alone)


def _tried(
    model: nn.Module,
    parts: ModelParts,
    inputs: Mapping[str, Any],
    stream: Tensor,
    found: PatchRelation,
    stop: Stop,
) -> PatchRelation:
    """The relation, with what happened when the pixels of half of the tokens were changed."""
    assert found.numbers is not None
    generator = torch.Generator().manual_seed(1)
    chosen = torch.zeros(found.length, dtype=torch.bool)
    followers = torch.tensor(found.followers)
    order = torch.randperm(len(followers), generator=generator)
    chosen[followers[order[: (len(followers) + 1) // 2]]] = True
    theirs = (found.numbers >= 0) & chosen[found.numbers.clamp(min=0).long()]
    values = inputs[found.name]
    known = (found.numbers >= 0).to(values.device)
    other = torch.where(known, _other_pixels(values), values)
    some = torch.where(theirs.to(values.device), other, values)
    try:
        moved, all_moved = (
            entering_stream(model, parts, {**inputs, found.name: pixels}, stop).float().cpu()
            for pixels in (some, other)
        )
    except (IndexError, RuntimeError, ValueError):
        return found  # among the pixel values are others that may not be changed
    # A token must be as if all pixels were changed, or as if none were. Those of which is not known
    # what they feed, where a gradient is nearly 0, stay as they are.
    still = stream.float().cpu()
    expected = torch.where(chosen[:, None], all_moved, still)
    off = (moved - expected).norm(dim=1)
    range_ = (all_moved - still).norm(dim=1)
    mistaken = off > (AWRY_COARSE if stream.element_size() < 4 else AWRY) * range_
    mistaken |= chosen & (range_ == 0)
    return replace(found, mistaken=int(mistaken.sum()), tried=found.length)


def _following(
    model: nn.Module,
    parts: ModelParts,
    inputs: Mapping[str, Any],
    names: Sequence[str],
    stream: Tensor,
    stop: Stop,
    *,
    bypass: bool,
    tries: int = 2,
) -> tuple[int, ...]:
    """The positions whose stream changes with the pixels, in one of so many tries."""
    changed = torch.zeros(len(stream), dtype=torch.bool)
    for tried in range(tries):
        # Codes may stay the same when pixels change a little.
        times = 8 if tried % 2 else 1
        other = {name: _other_pixels(inputs[name], tried) * times for name in names}
        try:
            moved = entering_stream(model, parts, {**inputs, **other}, stop, bypass=bypass)
        except (IndexError, RuntimeError, ValueError):
            continue  # among the values are others that may not be changed
        if moved.shape == stream.shape:
            changed |= _differing(stream, moved)
        if tried and not changed.any():
            break
    return tuple(changed.nonzero().flatten().tolist())


def _other_pixels(values: Tensor, seed: int = 0) -> Tensor:
    """Other pixel values of about the same size."""
    generator = torch.Generator().manual_seed(seed)
    size = max(1.0, float(values.float().std())) if values.numel() > 1 else 1.0
    noise = torch.randn(values.shape, generator=generator) * size
    return (values.float() * 0.5 + noise.to(values.device)).to(values.dtype)


def _differing(one: Tensor, other: Tensor) -> Tensor:
    """Which rows [positions, width] differ by more than rounding; bool on the CPU."""
    gaps = (one.float() - other.float()).abs().amax(1).cpu()
    return gaps > CHANGED * gaps.max() if bool((gaps > 0).any()) else torch.zeros_like(gaps).bool()
