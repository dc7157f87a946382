"""The shares of all heads as a matrix of layers x heads. Without Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.methods.parts import PartShare
from tui.state.maps import Floats

Place = tuple[int, int]
"""A layer and a column: the heads of a second attention of a layer stand after those of its
first."""


@dataclass(frozen=True, eq=False)
class HeadTable:
    """Where every head stands, and its share."""

    shares: Floats
    """float32 [layers, columns]; NaN where there is no head."""
    heads: dict[Place, PartShare] = field(default_factory=dict)

    @classmethod
    def of(cls, heads: Sequence[PartShare], layers: int) -> HeadTable:
        """Take the heads of a reading; what comes from no head has no place."""
        counts: dict[int, int] = {}
        found: dict[Place, PartShare] = {}
        for each in heads:
            if each.head is not None and each.layer is not None and each.layer < layers:
                column = counts.get(each.layer, 0)
                counts[each.layer] = column + 1
                found[each.layer, column] = each
        shares = np.full((layers, max(counts.values(), default=0)), np.nan, np.float32)
        for place, each in found.items():
            shares[place] = np.nan if each.share is None else each.share
        return cls(shares, found)

    @property
    def by_size(self) -> list[Place]:
        """The places, the largest share first."""
        return sorted(self.heads, key=lambda place: -abs(self.heads[place].share or 0.0))

    def nearest(self, place: Place) -> Place:
        """Return a place with a head: this one, the last one of its layer, or the first of the
        nearest layer that has any."""
        if place in self.heads or not self.heads:
            return place
        layer, column = place
        nearest = min({at for at, _ in self.heads}, key=lambda at: (abs(at - layer), at))
        last = max(at for in_layer, at in self.heads if in_layer == nearest)
        return nearest, min(max(column, 0), last)
