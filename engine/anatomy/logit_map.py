"""What a model does to its head's output before it returns logits (scale, soft-cap, bias, mask).

The map is fitted to the observed head outputs and logits; numbers in the config are only first
guesses.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

RULED_OUT = 1e30
"""Logits of this size or larger stand for minus infinity."""
FIT_POSITIONS = 32
"""About how many positions of the watched pass the map is fitted on."""


@dataclass(frozen=True)
class LogitMap:
    """logits = mask(cap * tanh(scale * (head + shift) / cap)), cut to `width` columns."""

    width: int
    scale: float = 1.0
    cap: float | None = None
    shift: Tensor | None = None
    """float32 [vocabulary]: a bias that the model adds outside its head."""
    masked: Tensor | None = None
    """int64 [n]: ids of the tokens that the model rules out, ascending."""
    mask_value: float = -math.inf

    def described(self) -> list[str]:
        """The steps in words, in the order in which they are applied."""
        steps = []
        if self.shift is not None:
            steps.append("a bias")
        if self.scale != 1.0:
            steps.append(f"scale {self.scale:.6g}")
        if self.cap is not None:
            steps.append(f"soft-cap {self.cap:.6g}")
        if self.masked is not None:
            steps.append(f"{len(self.masked)} masked ids")
        return [*steps, f"{self.width} logits"]

    def __call__(self, raw: Tensor) -> Tensor:
        """Head output [..., vocabulary or wider] -> float32 logits [..., vocabulary]."""
        return self.of(raw[..., : self.width], slice(0, self.width))

    def of(self, raw: Tensor, places: slice | Tensor) -> Tensor:
        """Some columns of the head's output -> their float32 logits, of the same shape.

        `places` says which columns `raw` holds: a slice within `width`, or ids, int64 [m].
        """
        logits = raw.float()
        if self.shift is not None:
            logits = logits + self.shift.to(logits.device)[places]
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.cap is not None:
            logits = self.cap * torch.tanh(logits / self.cap)
        if self.masked is not None:
            here = self._masked_among(places).to(logits.device)
            logits = logits.index_fill(-1, here, self.mask_value)
        return logits

    @cached_property
    def _ids_masked(self) -> list[int]:
        """Ascending, in main memory: a device is waited for once."""
        assert self.masked is not None
        found: list[int] = self.masked.tolist()
        return found

    def _masked_among(self, places: slice | Tensor) -> Tensor:
        """The indices, within some columns, of those that the model rules out."""
        assert self.masked is not None
        if isinstance(places, slice):
            start, stop, _ = places.indices(self.width)
            if (start, stop) == (0, self.width):
                return self.masked  # which needs no wait for a device
            first, last = (bisect_left(self._ids_masked, each) for each in (start, stop))
            return self.masked[first:last] - start
        return torch.isin(places.to(self.masked.device), self.masked).nonzero().flatten()


def tolerance(dtype: torch.dtype, logits: Tensor) -> float:
    """The largest difference allowed between two computations of `logits` in this dtype:
    2^-16 (float32), 2^-10 (float16) or 2^-7 (bfloat16) times max(1, max|logit|)."""
    return float(tolerances(dtype, logits.reshape(1, -1))) if logits.numel() else _unit(dtype)


def tolerances(dtype: torch.dtype, logits: Tensor) -> Tensor:
    """`tolerance` of each row, [n, vocabulary] -> [n], without waiting for the device."""
    return _unit(dtype) * largest_sizes(logits).clamp_min(1.0)


def largest_sizes(logits: Tensor) -> Tensor:
    """The largest size of a logit in each row but for tokens that the model rules out, [n,
    vocabulary] -> float32 [n], without waiting for the device."""
    sizes = logits.float().abs()
    # Tokens that a model rules out have a logit of minus infinity, or of similar size.
    return sizes.masked_fill(~(sizes < RULED_OUT), 0.0).amax(-1)


def errors_and_limits(dtype: torch.dtype, computed: Tensor, own: Tensor) -> Tensor:
    """`difference` and `tolerance` of each row of two computations of the same logits, both
    float32 [n, vocabulary]: float32 [2, n], without waiting for the device."""
    # Tokens that the model rules out are minus infinity on both sides: no difference.
    errors = (computed - own).abs().masked_fill(computed == own, 0.0).amax(-1)
    return torch.stack([errors.nan_to_num(math.inf, math.inf), tolerances(dtype, own)])


def _unit(dtype: torch.dtype) -> float:
    units = {torch.float32: 2.0**-16, torch.float64: 2.0**-16, torch.float16: 2.0**-10}
    return units.get(dtype, 2.0**-7)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference; infinite if either holds a NaN, or only one is infinite."""
    a, b = a.float(), b.float()
    same = a == b
    errors = torch.where(same, torch.zeros_like(a), (a - b).abs())
    worst = float(errors.max()) if errors.numel() else 0.0
    return math.inf if math.isnan(worst) else worst


def fit_logit_map(
    raw: Tensor, logits: Tensor, dtype: torch.dtype, guesses: Iterable[float]
) -> LogitMap | None:
    """The map from `raw` (head output [n, vocabulary or wider]) to `logits` [n, vocabulary].

    None if no scale, soft-cap, bias or mask explains the logits within the tolerance of `dtype`.
    `guesses` are numbers in the config that may be a scale, its inverse, or a soft-cap.
    """
    width = logits.shape[-1]
    if raw.shape[-1] < width or raw.shape[0] != logits.shape[0]:
        return None
    step = max(1, raw.shape[0] // FIT_POSITIONS)
    source, target = raw[::step, :width].float(), logits[::step].float()
    limit = tolerance(dtype, target)
    absent = (target <= torch.finfo(torch.float16).min) & (source > -1e4)
    masked = absent.all(dim=0).nonzero().flatten()
    plain: dict[str, Tensor | float] = {}
    if len(masked):
        plain = {"masked": masked, "mask_value": float(target[0, masked[0]])}
        keep = torch.ones(width, dtype=torch.bool, device=target.device)
        keep[masked] = False
        source, target = source[:, keep], target[:, keep]
        limit = tolerance(dtype, target)

    best = min(
        _scales_and_caps(source, target, list(guesses)),
        key=lambda pair: difference(LogitMap(source.shape[-1], *pair)(source), target),
    )
    if difference(LogitMap(source.shape[-1], *best)(source), target) <= limit:
        return LogitMap(width, *best, **plain)  # type: ignore[arg-type]
    shift = (target - source).mean(dim=0)
    if not plain and len(source) > 1 and difference(source + shift, target) <= limit:
        return LogitMap(width, shift=shift)
    return None


def _scales_and_caps(
    source: Tensor, target: Tensor, guesses: list[float]
) -> list[tuple[float, float | None]]:
    """Candidate (scale, cap) pairs, the simplest first: the first of equally good ones wins."""
    guesses = [guess for guess in guesses if guess > 0 and math.isfinite(guess)]
    pairs: list[tuple[float, float | None]] = [(1.0, None)]
    pairs += [(scale, None) for guess in guesses for scale in (guess, 1.0 / guess)]
    power = float((source.double() ** 2).sum())
    if power > 0:
        pairs.append((float((source.double() * target.double()).sum()) / power, None))
    for cap in guesses:
        pairs += [(1.0, cap), (_scale_under_cap(source, target, cap), cap)]
    fitted = _fit_cap(source, target)
    return [*pairs, (1.0, fitted)] if fitted is not None else pairs


def _scale_under_cap(source: Tensor, target: Tensor, cap: float) -> float:
    """Least-squares k in cap * atanh(y / cap) = k * x, over entries that are not saturated."""
    x, y = source.double().flatten(), target.double().flatten() / cap
    inner = y.abs() < 0.9
    x, y = x[inner], cap * torch.atanh(y[inner])
    power = float(x @ x)
    return float(x @ y) / power if power else 1.0


def _fit_cap(source: Tensor, target: Tensor) -> float | None:
    """Solve cap * tanh(x / cap) = y for cap at the entries of largest |x|, by bisection on
    log cap."""
    if not source.numel():
        return None
    x, y = source.double().abs().flatten(), target.double().abs().flatten()
    top = x.topk(min(256, len(x))).indices
    x, y = x[top], y[top]
    low, high = math.log(max(float(y.max()), 1e-6)), math.log(max(float(x.max()), 1e-6)) + 12
    for _ in range(80):
        middle = (low + high) / 2
        cap = math.exp(middle)
        if float((cap * torch.tanh(x / cap) - y).sum()) > 0:
            high = middle
        else:
            low = middle
    return math.exp((low + high) / 2)
