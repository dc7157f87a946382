"""What has been read of the attention of one position, as plain arrays. Without Textual."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from engine.errors import BadInput
from engine.methods.attention import (
    AttentionPart,
    AttentionReading,
    AttentionRequest,
    BestHead,
    LayerAttention,
    Way,
)
from engine.prompts.token_groups import GROUPS
from engine.records import Reading
from tui.state.maps import OF_ATTENTION, Map, on_patches
from tui.text.numbers import number

_MISFIT: Final = "two readings of this position's attention do not fit: they have other {what}"

Floats = npt.NDArray[np.float32]
Keys = Literal["tokens", "states"]
Key = tuple[int, Keys]
"""A layer, and what it looks at."""


@dataclass(frozen=True, eq=False)
class LayerShares:
    """What is known of one line: of the attention of a layer on one kind of keys."""

    layer: int
    keys: Keys = "tokens"
    heads: int = 0
    reason: str = ""
    """Why there is nothing to show; untrusted."""
    raw: Floats | None = None
    """float32 [heads, groups + 1]; the last is the weight on learned sinks."""
    without: Floats | None = None
    """float32 [heads, groups]: without the weight on sinks; None until sinks are known."""
    reach: int = 0
    """The first token that the layer may look at."""
    states: int = 0
    """How many states are looked at, where they are no tokens."""
    is_read: bool = False

    @property
    def key(self) -> Key:
        """Which line it is."""
        return (self.layer, self.keys)

    def raw_of(self, head: int | None) -> Floats | None:
        """Return float32 [groups + 1] of a head, or the mean of all; None if there are none."""
        return _of_head(self.raw, head)

    def without_of(self, head: int | None) -> Floats | None:
        """Return float32 [groups] without sinks; NaN for a head that looks at sinks alone. The
        mean is over the heads that do not."""
        return _of_head(self.without, head)


class KnownAttention:
    """Collects what readings, and parts of readings, say about one position of a run."""

    def __init__(self, layers: int, position: int) -> None:
        self.layers = layers
        self.position = position
        self.groups: tuple[str, ...] = GROUPS
        """Untrusted, as the file that they come from."""
        self.sinks: tuple[int, ...] | None = None
        """Positions; None until they are known."""
        self.best: tuple[BestHead, ...] = ()
        self.neutral = ""
        """The prompt that relative maps are relative to; untrusted."""
        self.proof = ""
        """The proof of the shares in words."""
        self.version = 0
        """Incremented whenever something has been taken."""
        self._lines: dict[Key, LayerShares] = {}
        self._ordered: tuple[LayerShares, ...] | None = None
        self._cells: tuple[int, ...] = ()
        self._maps: dict[tuple[Way, int | None], dict[int, Floats]] = {}
        """Way and head (None is the mean) -> layer -> float32 [cells]."""
        self._map_reasons: dict[tuple[Way, Key], str] = {}
        """Why there are shares of a layer and no map; untrusted."""
        self._asked: list[AttentionRequest] = []

    def take_all(self, readings: Iterable[Reading]) -> None:
        """Take the readings of this position. Raises BadInput, once the others have been taken, if
        one is damaged or does not fit those before it."""
        refused: list[BadInput] = []
        for reading in readings:
            if isinstance(reading, AttentionReading) and reading.position == self.position:
                try:
                    self.take(reading.request, reading)
                except BadInput as error:
                    refused.append(error)
        if refused:
            raise refused[0]

    def take(self, request: AttentionRequest, found: AttentionReading | AttentionPart) -> None:
        """Take what was found on a request. Raises BadInput if it is damaged or does not fit what
        has been taken before."""
        if found.position != self.position:
            return
        self._check(found)
        self.version += 1
        self._ordered = None
        self._cells = found.cells.integers
        is_whole = isinstance(found, AttentionReading)
        if isinstance(found, AttentionReading):
            self.groups = found.groups
        for each in found.layers:
            self._take_layer(each, request.way, is_whole=is_whole)
        if isinstance(found, AttentionReading):
            self._asked.append(request)
            self.sinks = found.sinks
            if found.best:
                self.best = found.best
            if found.neutral:
                self.neutral = found.neutral
            if found.proof is not None:
                words = "proof" if found.proof.passed else "proof failed"
                self.proof = f"{words} {number(found.proof.error)}"

    def _check(self, found: AttentionReading | AttentionPart) -> None:
        """Raise BadInput where what was found cannot be shown beside what has been taken."""
        groups = found.groups if isinstance(found, AttentionReading) else self.groups
        heads = {key: line.heads for key, line in self._lines.items() if line.heads}
        for each in found.layers:
            if each.shares is not None and each.shares.shape[-1] != len(groups) + 1:
                raise BadInput(_MISFIT.format(what="groups of tokens"))
            if each.heads and heads.setdefault((each.layer, each.keys), each.heads) != each.heads:
                raise BadInput(_MISFIT.format(what="heads"))
        if self._lines and groups != self.groups:
            raise BadInput(_MISFIT.format(what="groups of tokens"))
        if self._lines and found.cells.integers != self._cells:
            raise BadInput(_MISFIT.format(what="tokens of the picture"))

    def _take_layer(self, each: LayerAttention, way: Way, *, is_whole: bool) -> None:
        """Take a layer. In a part sinks are not known yet, nor the neutral prompt's weights."""
        key: Key = (each.layer, each.keys)
        before = self._lines.get(key, LayerShares(each.layer, each.keys))
        failed = each.proof is not None and not each.proof.passed
        reason = each.reason or ("its proof failed: do not believe it" if failed else "")
        raw = None if each.shares is None or reason else np.asarray(each.shares.values)
        without = each.shares_without_sinks if is_whole and not reason else None
        if reason:
            before = LayerShares(each.layer, each.keys)
            if each.keys == "tokens":
                for known in self._maps.values():
                    known.pop(each.layer, None)
        line = replace(
            before,
            heads=each.heads or before.heads,
            reason=reason,
            raw=before.raw if raw is None else raw,
            without=before.without if without is None else np.asarray(without.values),
            reach=each.reach,
            is_read=True,
        )
        if each.map_reason:
            self._map_reasons[way, key] = each.map_reason
        if each.map is not None and not reason and (is_whole or way != "relative"):
            values = np.asarray(each.map.values)
            if each.keys == "states":
                line = replace(line, states=int(values.shape[-1]))
            else:
                self._take_map(each.layer, values, way)
        self._lines[key] = line

    def _take_map(self, layer: int, values: npt.NDArray[Any], way: Way) -> None:
        if values.ndim == 1:
            self._maps.setdefault((way, None), {})[layer] = values
            return
        for head, of_head in enumerate(values):
            self._maps.setdefault((way, head), {})[layer] = of_head
        self._maps.setdefault((way, None), {})[layer] = values.mean(axis=0)

    @property
    def lines(self) -> tuple[LayerShares, ...]:
        """Every layer, whether it has been read or not; a layer with cross-attention twice. They
        are the same as before as long as nothing has been taken."""
        if self._ordered is None:
            self._ordered = self._in_order()
        return self._ordered

    def _in_order(self) -> tuple[LayerShares, ...]:
        found = []
        for layer in range(self.layers):
            mine = [self._lines[layer, keys] for keys in _KEYS if (layer, keys) in self._lines]
            found += mine or [LayerShares(layer)]
        return tuple(found)

    @property
    def has_shares(self) -> bool:
        """Whether the shares of all layers have been read."""
        return any(not request.layers for request in self._asked)

    def has_answer(self, request: AttentionRequest) -> bool:
        """Whether a request has been answered: asking again would find the same."""
        return request in self._asked

    def has_map(self, way: Way, head: int | None, layer: int) -> bool:
        """Return whether nothing more can be read about a map: it is known, or the layer has
        none."""
        line = self._lines.get((layer, "tokens"))
        if line is not None and (line.reason or (self.has_shares and not self._cells)):
            return True
        known = self._maps.get((way, head), {})
        return layer in known or bool(self.map_reason(way, (layer, "tokens")))

    def map_reason(self, way: Way, key: Key) -> str:
        """Return why there is no map of a layer, though it has shares; untrusted."""
        return self._map_reasons.get((way, key), "")

    def map(self, way: Way, head: int | None, patches: Sequence[int]) -> Map | None:
        """Return the map of a head, or the mean of all, of the layers that are known for the
        patches at these positions; None if none is known. Patches that a sliding window does not
        reach have no number."""
        known = self._maps.get((way, head), {})
        if not known or not patches:
            return None
        layers = tuple(sorted(known))
        values = np.stack([known[layer] for layer in layers])
        made = on_patches(layers, self._cells, values, patches, OF_ATTENTION[way])
        places = np.array(patches)
        for index, layer in enumerate(layers):
            made.values[index, places < self._lines[layer, "tokens"].reach] = np.nan
        return made

    def picture_shares(self) -> tuple[Floats, Floats] | None:
        """Return the share of the picture of every layer and head, raw and without sinks, each
        float32 [layers, heads]; NaN where a layer has none. None if nothing is known."""
        if "picture" not in self.groups or not self._lines:
            return None
        at = self.groups.index("picture")
        heads = max(line.heads for line in self._lines.values())
        shares = np.full((2, self.layers, heads), np.nan, np.float32)
        for line in self._lines.values():
            if line.keys == "tokens":
                for which, each in enumerate((line.raw, line.without)):
                    if each is not None:
                        shares[which, line.layer, : each.shape[0]] = each[:, at]
        return (shares[0], shares[1])


_KEYS: Final[tuple[Keys, ...]] = ("tokens", "states")


def _of_head(shares: Floats | None, head: int | None) -> Floats | None:
    if shares is None or not shares.shape[0]:
        return None
    if head is not None:
        return shares[head] if head < shares.shape[0] else None
    counts = (~np.isnan(shares)).sum(axis=0)
    sums = np.nan_to_num(shares).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = (sums / counts).astype(np.float32)
    return mean
