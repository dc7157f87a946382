"""Where the heads of a batch's items look, read in the pass that reads their rows.

Everything is summed up on the device, and nothing waits for it before `BatchAttention.items`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.anatomy.attention_rows import AttentionRow
from engine.lens.attention import NONE_HERE, NOT_PROVED, PROVED
from engine.lens.attention_shares import shares_of
from engine.passes.attention_taps import AttentionTaps, Keys
from engine.prompts.token_groups import GROUPS, KeyGroups
from engine.records import ReadingProof, finite
from engine.system.transfers import Fetched, sent

UNKNOWN_KEYS = "what its keys stand for is not known"


@dataclass(frozen=True)
class MeanShares:
    """The attention of one layer of one item: means over the heads."""

    layer: int
    keys: Keys
    shares: tuple[float, ...] | None = None
    """[groups + 1], see `engine.lens.attention_shares.Shares`; None if there are none, see
    `reason`."""
    on_sinks: tuple[float, ...] | None = None
    """[groups]"""
    without_sinks: tuple[float, ...] | None = None
    """[groups]; NaN where all heads look at sinks alone."""
    reason: str | None = None
    proof: ReadingProof | None = None


@dataclass(frozen=True)
class ItemAttention:
    """Where the heads of one item look from the position that is read."""

    layers: tuple[MeanShares, ...]
    """In the order of the layers; every layer has at least one."""
    sinks: int
    """How many tokens have massive activations."""


class BatchAttention:
    """The attention of a batch, which the device may still be computing."""

    def __init__(self, taps: AttentionTaps, groups: Sequence[KeyGroups]) -> None:
        """`groups` are those of the items' keys. To be made in the model's eval mode."""
        self._count = len(taps.parts.layers)
        self._items = len(groups)
        self._taps = [(tap.layer, tap.keys, tap.reason) for tap in taps.taps]
        self._places: list[int | None] = []
        """For each tap, its index into what is fetched."""
        absolute = taps.forward.absolute_positions
        assert absolute is not None
        # The last attended token is read: what follows it is padding.
        lengths = [place + 1 for place in absolute[:, 0].tolist()]
        sinks = self._sinks(taps, lengths)
        found: list[Tensor] = []
        known: dict[tuple[Keys, int], Tensor | None] = {}
        for tap in taps.taps:
            numbers = None
            if tap.row is not None:
                key = tap.keys, tap.row.weights.shape[-1]
                if key not in known:
                    device = tap.row.weights.device
                    known[key] = _groups_of_keys(*key, groups, lengths, device)
                numbers = _numbers(tap.row, known[key], sinks if tap.keys == "tokens" else None)
            self._places.append(None if numbers is None else len(found))
            if numbers is not None:
                found.append(numbers)
        counts = torch.zeros(self._items) if sinks is None else sinks.sum(-1).float()
        values = [each.to(counts.device).flatten() for each in (counts, *found)]
        self._fetched = Fetched([torch.cat(values)])

    def _sinks(self, taps: AttentionTaps, lengths: Sequence[int]) -> Tensor | None:
        """bool [items, positions], without those of the padding."""
        if taps.sinks is None:
            return None
        inside = torch.arange(taps.sinks.shape[1]) < torch.tensor(lengths).unsqueeze(1)
        return taps.sinks & inside.to(taps.sinks.device)

    @property
    def is_ready(self) -> bool:
        """Whether `items` returns without waiting for a device."""
        return self._fetched.is_there

    def items(self) -> tuple[ItemAttention, ...]:
        """The attention of all items; waits until the device has computed it."""
        (values,) = self._fetched.wait()
        sinks = values[: self._items].tolist()
        each = values[self._items :].view(-1, self._items, 3 * len(GROUPS) + 3).tolist()
        found = []
        for item in range(self._items):
            layers: dict[int, list[MeanShares]] = {}
            for (layer, keys, reason), place in zip(self._taps, self._places, strict=True):
                if place is None:
                    made = MeanShares(layer, keys, reason=reason or UNKNOWN_KEYS)
                else:
                    made = _mean_shares(layer, keys, each[place][item])
                layers.setdefault(layer, []).append(made)
            nothing = NONE_HERE
            found.append(
                ItemAttention(
                    tuple(
                        one
                        for layer in range(self._count)
                        for one in layers.get(layer, [MeanShares(layer, "tokens", reason=nothing)])
                    ),
                    int(sinks[item]),
                )
            )
        return tuple(found)


def _numbers(row: AttentionRow, groups: Tensor | None, sinks: Tensor | None) -> Tensor | None:
    """[items, 3 * groups + 3]: the shares of a layer, its error and what is allowed; None where it
    is not known what the keys stand for."""
    if groups is None:
        return None
    device = row.weights.device
    if sinks is None:
        is_sink = torch.zeros(groups.shape, dtype=torch.bool, device=device)
    else:
        is_sink = sinks.to(device)
    found = shares_of(row.weights, row.sink, groups.to(device), is_sink, len(GROUPS))
    return torch.cat(
        [
            found.raw.mean(1),
            found.on_sinks.mean(1),
            found.without_sinks.nanmean(1),
            row.checks.T.to(device),
        ],
        -1,
    )


def _groups_of_keys(
    keys: Keys,
    count: int,
    groups: Sequence[KeyGroups],
    lengths: Sequence[int],
    device: torch.device,
) -> Tensor | None:
    """int64 [items, keys]; nothing looks at the padding, which is in the first group."""
    if keys == "both":
        return None
    if keys == "tokens":
        rows = [each.of_tokens(length) for each, length in zip(groups, lengths, strict=True)]
    else:
        longest = max(len(each.source or b"") for each in groups)
        whole = longest == count
        rows = [
            each.source if each.source is not None and whole else each.of_states(count)
            for each in groups
        ]
    if max(map(len, rows)) != count or not all(rows):
        return None
    return sent(torch.tensor([[*row, *[0] * (count - len(row))] for row in rows]), device)


def _mean_shares(layer: int, keys: Keys, numbers: Sequence[float]) -> MeanShares:
    *shares, error, limit = numbers
    proof = ReadingProof(PROVED, finite(error), limit, error <= limit)
    if not proof.passed:
        reason = NOT_PROVED.format(error=error, limit=limit)
        return MeanShares(layer, keys, reason=reason, proof=proof)
    count = len(GROUPS)
    return MeanShares(
        layer,
        keys,
        shares=tuple(shares[: count + 1]),
        on_sinks=tuple(shares[count + 1 : 2 * count + 1]),
        without_sinks=tuple(shares[2 * count + 1 :]),
        proof=proof,
    )
