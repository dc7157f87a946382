"""What the user looks at: a position's attention, a layer, a head, a patch. Without Textual."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, get_args

import numpy as np
from msgspec.structs import replace

from engine.methods.attention import (
    AttentionPart,
    AttentionReading,
    AttentionRequest,
    Way,
)
from engine.methods.geometry import GeometryReading
from engine.records import Reading
from tui.state.maps import Map, Scale, Steps
from tui.state.patches import NO_PATCHES, Patches
from tui.state.run_view import RunView
from tui.text.numbers import figure, number
from tui.text.show import plain_line
from tui.views.attention.known import Key, KnownAttention, LayerShares

WAYS: Final[tuple[Way, ...]] = get_args(Way)
_WAY_NAMES: Final[dict[Way, str]] = {
    "weight": "attention weight",
    "contribution": "what arrives, |a W_O v|",
    "relative": "weight relative to a neutral prompt",
}
_NUMBERS: Final[dict[Way, str]] = {
    "weight": "weight",
    "contribution": "contribution",
    "relative": "weight",
}
"""What a patch without a number has none of."""
_MOST_LISTED: Final = 8
_MOST_BEST: Final = 6


class Gaze:
    """Where one position of a run looks, and which part of that is shown."""

    def __init__(self, run: RunView, layer: int, position: int) -> None:
        """Look from a position, at a layer."""
        self.run = run
        self.head: int | None = None
        """None is the mean over the heads."""
        self.way: Way = "weight"
        self.log = self.per_layer = False
        self.patch = 0
        self.geometry: GeometryReading | None = None
        self.patches = NO_PATCHES
        self.rank = -1
        """The place of the head that was gone to last, among the best; -1 for none."""
        self._key: Key = (min(max(layer, 0), max(run.run.layers - 1, 0)), "tokens")
        self._heard: list[AttentionReading] = []
        """Readings of this visit, also those that the session does not keep."""
        self._made: dict[tuple[object, ...], Map | None] = {}
        self._scale: tuple[tuple[object, ...], Scale] | None = None
        self.known = KnownAttention(run.run.layers, run.place(position))

    # ------------------------------------------------------------------ what is known

    def place_patches(self, reading: GeometryReading) -> None:
        """Take the patches. Raises BadInput if they are damaged."""
        self.geometry = reading
        self.patches = (
            NO_PATCHES if reading.how == "none" else Patches.of(reading, len(self.run.run.tokens))
        )
        self.patch = self.patches.first

    def look_from(self, position: int) -> None:
        """Look from another position, as far as it is known. Raises BadInput if a reading of it is
        damaged."""
        self.known = KnownAttention(self.run.run.layers, self.run.place(position))
        self.rank = -1
        self.take_stored()

    def take_stored(self) -> None:
        """Take what the run holds. Raises BadInput if a reading is damaged."""
        own = self.run.own
        shown = own.unsaved_readings.get("attention")
        stored: Iterable[Reading] = (*own.run.readings, *([shown] if shown is not None else []))
        self.known.take_all((*stored, *self._heard))

    def take(self, reading: AttentionReading) -> None:
        """Take a reading that was made. Raises BadInput if it is damaged, or does not fit what is
        known."""
        self.known.take(reading.request, reading)
        self._heard.append(reading)

    def take_part(self, request: AttentionRequest, part: AttentionPart) -> None:
        """Take the layers that have been read so far. Raises BadInput if they are damaged."""
        self.known.take(request, part)

    @property
    def position(self) -> int:
        """The position that looks, an index into the run's tokens."""
        return self.known.position

    @property
    def asked_position(self) -> int:
        """As requests name it: the last token is -1, as by default."""
        return -1 if self.position == len(self.run.run.tokens) - 1 else self.position

    def missing(self) -> AttentionRequest | None:
        """Return the request for what is to be shown and is not known; None if all of it is."""
        position = self.asked_position
        request = AttentionRequest(position=position)
        if self.known.has_shares:
            layer, keys = self._key
            if keys == "states" or self.known.has_map(self.way, self.head, layer):
                return None
            request = AttentionRequest(position=position, way=self.way)
            if self.head is not None:
                request = replace(request, layers=(layer,), heads="all")
        return None if self.known.has_answer(request) else request

    # ------------------------------------------------------------------ moving

    @property
    def lines(self) -> tuple[LayerShares, ...]:
        """One for each layer; two for a layer that has cross-attention as well."""
        return self.known.lines

    @property
    def cursor(self) -> int:
        """The index of the line that is looked at."""
        lines = self.lines
        keys = [line.key for line in lines]
        return keys.index(self._key) if self._key in keys else self._nearest(lines)

    def _nearest(self, lines: tuple[LayerShares, ...]) -> int:
        layers = [line.layer for line in lines]
        return layers.index(self.layer) if self.layer in layers else 0

    @property
    def line(self) -> LayerShares:
        """The line that is looked at."""
        return self.lines[self.cursor] if self.lines else LayerShares(0)

    @property
    def layer(self) -> int:
        """The layer that is looked at."""
        return self._key[0]

    @property
    def heads(self) -> int:
        """How many heads the layer has; 0 while that is not known."""
        return self.line.heads

    def go_to_line(self, index: int) -> None:
        """Go to a line, as far as there are such."""
        lines = self.lines
        if lines:
            self._key = lines[min(max(index, 0), len(lines) - 1)].key

    def go_to(self, layer: int, head: int | None) -> None:
        """Go to a head of a layer."""
        self._key, self.head, self.rank = (layer, "tokens"), head, -1

    def step_head(self, step: int) -> None:
        """Go to the next head, or the one before; the mean comes before the first."""
        count = self.heads
        if count:
            now = -1 if self.head is None else min(self.head, count - 1)
            wanted = (now + 1 + step) % (count + 1) - 1
            self.head = None if wanted < 0 else wanted
            self.rank = -1

    def go_to_best_head(self, step: int) -> bool:
        """Go to the next of the heads that localise best; return whether there are any."""
        best = self.known.best
        if not best:
            return False
        self.rank = min(max(self.rank + step, 0), len(best) - 1)
        self._key, self.head = (best[self.rank].layer, "tokens"), best[self.rank].head
        return True

    def next_way(self, step: int) -> None:
        """Map the next of weight, contribution and relative weight."""
        self.way = WAYS[(WAYS.index(self.way) + step) % len(WAYS)]

    def go_to_patch(self, patch: int) -> None:
        """Go to a patch, as far as there are such."""
        if len(self.patches):
            self.patch = min(max(patch, 0), len(self.patches) - 1)

    @property
    def patch_position(self) -> int | None:
        """The token of the patch under the cursor; None without patches."""
        return self.patches.positions[self.patch] if len(self.patches) else None

    @property
    def sheet(self) -> int:
        """The sheet of patches that is shown."""
        return self.patches.sheet_of(self.patch) if len(self.patches) else 0

    # ------------------------------------------------------------------ the map

    @property
    def map(self) -> Map | None:
        """The map that is shown, of all layers that are known; None if none is."""
        key = (self.known, self.known.version, self.patches, self.way, self.head)
        if key not in self._made:
            self._made = {key: self.known.map(self.way, self.head, self.patches.positions)}
        return self._made[key]

    @property
    def scale(self) -> Scale:
        """Its scale: the same for all layers, or this layer's own. Sinks are left out of it: they
        would leave everything else dark."""
        shown = self.map
        if shown is None:
            return Scale(0.0, 1.0)
        key = (shown, self.log, self.layer if self.per_layer else None, self.known.sinks)
        if self._scale is None or self._scale[0] != key:
            self._scale = (key, self._scale_of(shown))
        return self._scale[1]

    def _scale_of(self, shown: Map) -> Scale:
        values = shown.values
        if self.sink_patches:
            values = np.delete(values, [*self.sink_patches], axis=1)
        if self.per_layer:
            values = values[[at for at, row in enumerate(shown.rows) if row == self.layer]]
        return Map(shown.rows, values, shown.unit).scale(log=self.log)

    @property
    def steps(self) -> Steps | None:
        """uint8 [n]: the steps of the patches in the layer; None without a map of it."""
        shown = self.map
        if shown is None or self._key[1] == "states" or self.layer not in shown.rows:
            return None
        return self.scale.steps(shown.row(self.layer))

    @property
    def sink_patches(self) -> frozenset[int]:
        """The patches that are sinks."""
        found = (self.patches.at(position) for position in self.known.sinks or ())
        return frozenset(patch for patch in found if patch is not None)

    # ------------------------------------------------------------------ in words

    @property
    def head_name(self) -> str:
        """Which head: "mean of 8 heads", "head 3 of 0-7"."""
        if self.head is not None:
            return f"head {self.head} of 0-{max(self.heads - 1, self.head)}"
        return f"mean of {self.heads} heads" if self.heads else "mean of the heads"

    @property
    def short_head_name(self) -> str:
        """The same in fewer words."""
        return "mean" if self.head is None else f"head {self.head}"

    @property
    def way_name(self) -> str:
        """What the map shows."""
        return _WAY_NAMES[self.way]

    def title(self) -> str:
        """Return what is mapped of which picture; not safe for display."""
        picture = self.run.run.question.picture
        file = "" if picture is None else picture.path.rsplit("/", 1)[-1]
        instead = f"replaced by {self.run.counterfactual}" if self.run.counterfactual else ""
        return ", ".join(part for part in (self.way_name, file, instead) if part)

    def sinks(self) -> str:
        """Return the sinks with their positions; empty while they are not known."""
        sinks = self.known.sinks
        if sinks is None:
            return ""
        if not sinks:
            return "no sinks"
        more = f" and {len(sinks) - _MOST_LISTED} more" if len(sinks) > _MOST_LISTED else ""
        return f"sinks: {', '.join(map(str, sinks[:_MOST_LISTED]))}{more}"

    def reach(self) -> str:
        """Return from which token on the layer looks, if it does not look at all of them."""
        line = self.line
        return f"layer {line.layer} sees from token {line.reach} on" if line.reach else ""

    def no_map(self) -> str:
        """Return why there is no map of the layer; empty if there is one, or may yet be. Not safe
        for display."""
        line = self.line
        if line.reason:
            return f"layer {line.layer}: {line.reason}"
        if not self.run.has_picture:
            return "this run has no picture"
        if self.geometry is not None and not len(self.patches):
            return self.geometry.reason or "no token shows a part of the picture"
        reason = self.known.map_reason(self.way, line.key)
        if reason and self.steps is None:
            return f"layer {line.layer}: no map: {reason}"
        if line.keys == "states":
            return f"layer {line.layer} looks at {line.states} states, which are no tokens"
        return ""

    def at_patch(self) -> str:
        """Return the number of the patch under the cursor and its place among all; not safe for
        display."""
        shown, position = self.map, self.patch_position
        if shown is None or position is None or self.steps is None:
            return ""
        row = shown.row(self.layer)
        value = float(row[self.patch])
        name = f"{self.patches.short_name(self.patch)} (position {position})"
        if self.patch in self.sink_patches:
            name += ", a sink"
        if np.isnan(value) and position < self.line.reach:
            return f"{name}: out of this layer's reach"
        if np.isnan(value):
            also = ", nor with the neutral prompt" if self.way == "relative" else ""
            return f"{name}: no {_NUMBERS[self.way]} here{also}"
        place = int((row > value).sum()) + 1
        return f"{name}: {shown.text(value)}, rank {place} of {int((~np.isnan(row)).sum())}"

    def best_heads(self) -> str:
        """Return the heads that localise best: layer.head, picture share, entropy in nats."""
        best = self.known.best[:_MOST_BEST]
        if not best:
            return ""
        listed = (
            f"{each.layer}.{each.head} {figure(each.share).strip()} {number(each.entropy)}"
            for each in best
        )
        return f"best heads (layer.head, picture, nats): {', '.join(listed)}"

    def relative_to(self, *, ascii_only: bool) -> str:
        """Return the neutral prompt of the shown map; safe for display."""
        if self.way != "relative" or not self.known.neutral:
            return ""
        return plain_line(f'relative to "{self.known.neutral}"', ascii_only=ascii_only)
