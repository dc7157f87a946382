"""What a decoder layer adds to the residual stream, as a sum of outputs of the modules inside it.

Found by observation: the fewest outputs of which a weighted sum is the change of the stream, by
least squares. So norms after a block, scaled branches, parallel branches and layers of three parts
need no name, and a layer that is no such sum is seen to be none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

MOST_TERMS: Final = 3
MOST_CANDIDATES: Final = 32
CLOSE: Final = 1e-5
"""What may be left of the change, as a share of it, beside rounding."""
_NOISE: Final = 2.0
"""A term is taken for real if without it more than so many times as much is left over."""
_ALLOWED: Final = 2.0
"""How many times its rounding a number may be off, in the mean square."""
_LEAST_KEPT: Final = 0.01
_LOOKED_AT: Final = 4
"""Of how many sets of each size, the best by their squares, what is left is computed."""
_REFINED: Final = 2
_DECIMALS: Final = 4


class Fit(NamedTuple):
    """A weighted sum that is a change."""

    terms: tuple[int, ...]
    """Indices of the candidates."""
    factors: tuple[float, ...]
    left: float
    """The norm of what the sum misses."""


@dataclass(frozen=True)
class Term:
    """The output of one call of a module, and its weight in the sum."""

    module: nn.Module
    call: int
    """Which of the module's calls in one run of the layer, from 0."""
    factor: float
    name: str
    """"attention", "MLP", or the name that the module has in its layer."""
    source: nn.Module | None = None
    """Where `module` is only a norm or the like: the module whose output it takes."""
    attends: bool = False
    """Whether an attention call was seen in `module` or `source`."""

    @property
    def origin(self) -> nn.Module:
        """The module that computes what the term is about."""
        return self.module if self.source is None else self.source


@dataclass(frozen=True)
class LayerSum:
    """stream out = kept * stream in + the sum of the terms."""

    terms: tuple[Term, ...] = ()
    """Empty if the layer is no such sum."""
    kept: float = 1.0
    """The factor of the stream itself: 1 in nearly all models."""


def fitted(
    before: Tensor, after: Tensor, outputs: Sequence[Tensor], dtype: torch.dtype
) -> tuple[float, Fit] | None:
    """The factor of the stream, and the sum of some of `outputs` that takes `before` to `after`.

    All are float64 [positions, *rest], samples of tensors that the model computed in `dtype`. None
    if there is no such sum of up to MOST_TERMS.
    """
    if not outputs:
        return None
    # In units of the rounding of each number: a few huge channels would drown all others.
    unit = rounding(before, after, dtype)
    stream, change = (before / unit).flatten(), ((after - before) / unit).flatten()
    candidates = torch.stack([(each / unit).flatten() for each in outputs[:MOST_CANDIDATES]])
    allowed = _ALLOWED * len(change) ** 0.5
    found = sparse_sum(change, candidates, allowed)
    if found is not None:
        return 1.0, found
    # The layer may scale all of its output, and so the stream that it was given.
    target = (after / unit).flatten()
    scaled = sparse_sum(target, torch.cat([stream[None], candidates]), allowed, always=1)
    # Where an output is the new stream itself, nothing has been taken apart.
    if scaled is None or scaled.factors[0] < _LEAST_KEPT:
        return None
    terms = tuple(term - 1 for term in scaled.terms[1:])
    return scaled.factors[0], Fit(terms, scaled.factors[1:], scaled.left)


def rounding(before: Tensor, after: Tensor, dtype: torch.dtype) -> Tensor:
    """By how much each number of the new stream may differ from the sum that it was computed as,
    float64 [positions, *rest]: it was rounded to `dtype` after every addition."""
    change = after - before
    size = change.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (change.ndim - 1))
    eps = torch.finfo(dtype).eps
    tiny = torch.finfo(torch.float64).tiny
    return eps * (torch.maximum(before.abs(), after.abs()) + size) + CLOSE * size + tiny


def is_rounding(rest: Tensor, before: Tensor, after: Tensor, dtype: torch.dtype) -> bool:
    """Whether what a sum misses of `after` is no more than rounding: float64 [positions, *rest]."""
    ratios = rest / rounding(before, after, dtype)
    return float(ratios.square().mean().sqrt()) <= 2.0 * _ALLOWED


def sparse_sum(target: Tensor, candidates: Tensor, allowed: float, always: int = 0) -> Fit | None:
    """The smallest weighted sum of candidates [k, n] that misses `target` [n] by no more than
    `allowed`; None if there is none of up to MOST_TERMS besides the first `always`, which are in
    every sum. Float64."""
    lengths = candidates.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    units = candidates / lengths[:, None]
    squares, along = units @ units.T, units @ target
    best: list[Fit] = []
    for size in range(1, MOST_TERMS + 2):
        sets = list(_sets(len(candidates), size, always))
        if not sets:
            break
        best.append(_best_of(sets, target, units, lengths, squares, along))
        if len(best) > 1 and best[-2].left <= allowed:
            fewer, more = best[-2:]
            if fewer.left <= _NOISE * more.left or size == MOST_TERMS + 1:
                return _rounded(fewer, target, candidates, allowed)
    last = best[-1] if best else None
    if last is None or len(last.terms) - always > MOST_TERMS or last.left > allowed:
        return None
    return _rounded(last, target, candidates, allowed)


def _sets(count: int, size: int, always: int) -> Iterator[tuple[int, ...]]:
    for others in combinations(range(always, count), size):
        yield (*range(always), *others)


def _best_of(
    sets: Sequence[tuple[int, ...]],
    target: Tensor,
    units: Tensor,
    lengths: Tensor,
    squares: Tensor,
    along: Tensor,
) -> Fit:
    index = torch.tensor(sets)  # [sets, size]
    # Many modules return what another one has returned: not every set has a unique solution.
    inverse = torch.linalg.pinv(squares[index[:, :, None], index[:, None, :]], hermitian=True)
    right = along[index].unsqueeze(-1)
    solved = (inverse @ right).squeeze(-1)  # [sets, size], of candidates of length 1
    explained = (solved * along[index]).sum(1)
    fits = []
    for each in explained.topk(min(_LOOKED_AT, len(sets))).indices.sort().values.tolist():
        matrix = units[index[each]]  # [size, n]
        factors = solved[each]
        for _ in range(_REFINED):
            factors = factors + inverse[each] @ (matrix @ (target - factors @ matrix))
        left = float((target - factors @ matrix).norm())
        fits.append(Fit(sets[each], tuple((factors / lengths[index[each]]).tolist()), left))
    return min(fits, key=lambda fit: fit.left)


def _rounded(fit: Fit, target: Tensor, candidates: Tensor, allowed: float) -> Fit:
    """The same with factors as code has them (1, 0.8), if these explain the change as well."""
    for decimals in range(1, _DECIMALS + 1):
        factors = tuple(round(factor, decimals) for factor in fit.factors)
        made = torch.tensor(factors, dtype=target.dtype) @ candidates[list(fit.terms)]
        left = float((target - made).norm())
        if all(factors) and left <= max(allowed / 2, 1.1 * fit.left):
            return Fit(fit.terms, factors, left)
    return fit
