"""What the user looks at: the parts of one logit, one of them, or a head. Without Textual."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Final

import numpy as np
from msgspec.structs import replace

from engine.methods.geometry import GeometryReading
from engine.methods.parts import PartShare, PartsPart, PartsReading, PartsRequest, Sent, part_name
from engine.prompts.token_groups import GROUPS, groups_of
from engine.records import PromptToken, Reading
from tui.state.explained import Explained
from tui.state.maps import Map, Scale, Steps, signed_scale, signed_steps
from tui.state.patches import NO_PATCHES, Patches
from tui.state.run_view import RunView
from tui.views.parts.head_table import HeadTable, Place
from tui.views.parts.known import (
    KnownParts,
    PartLine,
    can_be_taken_out,
    is_between,
    lines_of,
)

TOP: Final = 10
"""How many of the largest parts are taken out at first."""


class Looking:
    """A logit of one position of a run, and which of its parts is under the cursor."""

    def __init__(self, run: RunView, row: int, position: int) -> None:
        """Look at the parts of a position, first at those of the layer that ends with a row; at the
        embedding, from row 0."""
        self.run, self._first_row = run, row
        self.by_size = self.all_heads = False
        self.part = -1
        """The part under the cursor, an index; -1 until they are known."""
        self.place: Place = (min(max(row - 1, 0), max(run.run.layers - 1, 0)), 0)
        """The head under the cursor; of its layer is the first part that is shown."""
        self.patch = 0
        self.geometry: GeometryReading | None = None
        self.patches = NO_PATCHES
        self.known = KnownParts(Explained(run.place(position)))
        self._gone_to: int | Place | None = None
        """Where the largest parts have been gone to one after the other."""
        self._heard: list[PartsReading] = []
        """Readings of this visit, also those that the session does not keep."""

    # ------------------------------------------------------------------ what is known

    @property
    def explained(self) -> Explained:
        """Which logit is taken apart."""
        return self.known.explained

    @property
    def asked_position(self) -> int:
        """As requests name it: the last token is -1, as by default."""
        last = len(self.run.run.tokens) - 1
        return -1 if self.explained.position == last else self.explained.position

    def explain(self, explained: Explained) -> None:
        """Take another logit apart, as far as it is known."""
        self.known = KnownParts(explained)
        self._forget()
        self.take_stored()

    def take_stored(self) -> None:
        """Take what the run holds."""
        own = self.run.own
        shown = own.unsaved_readings.get("parts")
        stored: Iterable[Reading] = (*own.run.readings, *([shown] if shown is not None else []))
        self.known.take_all((*stored, *self._heard))
        self._settle()

    def take(self, reading: PartsReading) -> None:
        """Take a reading."""
        self._heard.append(reading)
        self.known.take(reading)
        self._settle()

    def take_part(self, request: PartsRequest, part: PartsPart) -> None:
        """Take the parts with those that have been taken out so far."""
        self.known.take_part(request, part)
        self._settle()

    def place_patches(self, reading: GeometryReading) -> None:
        """Take the patches. Raises BadInput if they are damaged."""
        self.geometry = reading
        self.patches = (
            NO_PATCHES if reading.how == "none" else Patches.of(reading, len(self.run.run.tokens))
        )
        self.patch = self.patches.first

    def _forget(self) -> None:
        for name in ("table", "lines", "most"):
            self.__dict__.pop(name, None)

    def _settle(self) -> None:
        """Let the cursor stand on something that there is."""
        self._forget()
        parts = self.known.parts
        if parts and not 0 <= self.part < len(parts):
            layer = self.place[0]
            mine = (
                index
                for index, each in enumerate(parts)
                if each.layer == layer and not is_between(each)
            )
            self.part = next(mine, 0) if self._first_row else 0
        self.place = self.table.nearest(self.place)

    def missing(self) -> PartsRequest | None:
        """Return the request for what is to be shown and is not known; None if all of it is."""
        request = self.request
        known = self.known
        if not known.is_whole:
            return replace(request, heads=self.all_heads)
        if self.all_heads and not known.heads_read:
            return replace(request, heads=True)
        head = self.head
        if head is None or head.layer is None or known.has_source(head.layer, head.head or 0):
            return None
        return replace(request, layer=head.layer, head=head.head)

    @property
    def request(self) -> PartsRequest:
        """What reads the parts."""
        explained = self.explained
        return PartsRequest(
            position=self.asked_position, of=explained.of, against=explained.against
        )

    def top_request(self) -> PartsRequest:
        """Return what takes the largest parts out: twice as many as are known, up to all."""
        shown = self.known.heads if self.all_heads else self.known.parts
        by_share = sorted(shown, key=lambda each: -abs(each.share or 0.0))
        can_be = [each for each in by_share if can_be_taken_out(each)]
        done = next((n for n, each in enumerate(can_be) if each.effect is None), len(can_be))
        most = TOP
        while most <= done:
            most *= 2
        return replace(self.request, heads=self.all_heads, ablate=min(most, max(len(can_be), 1)))

    def one_request(self, part: PartShare) -> PartsRequest:
        """Return what takes a part out."""
        return replace(self.request, heads=part.head is not None, without=part_name(part))

    def takes_out(self, request: PartsRequest) -> bool:
        """Return whether a request takes parts of the shown logit out."""
        is_of_this = self.request == replace(request, heads=False, ablate=0, without="")
        return is_of_this and bool(request.ablate or request.without)

    # ------------------------------------------------------------------ moving

    @cached_property
    def lines(self) -> tuple[PartLine, ...]:
        """The lines of the list."""
        return lines_of(self.known.parts, by_size=self.by_size)

    @cached_property
    def table(self) -> HeadTable:
        """The heads of all layers."""
        return HeadTable.of(self.known.heads, self.run.run.layers)

    @cached_property
    def most(self) -> float:
        """The largest absolute share of a part, at which bars end."""
        return max((abs(each.share or 0.0) for each in self.known.parts), default=0.0)

    @property
    def cursor(self) -> int:
        """The line of the part under the cursor."""
        found = (at for at, line in enumerate(self.lines) if self.part in line.parts)
        return next(found, 0)

    @property
    def side(self) -> int:
        """Which part of its line is under the cursor."""
        lines = self.lines
        parts = lines[self.cursor].parts if lines else ()
        return parts.index(self.part) if self.part in parts else 0

    @property
    def head(self) -> PartShare | None:
        """The head under the cursor; None unless heads are shown."""
        return self.table.heads.get(self.place) if self.all_heads else None

    @property
    def here(self) -> PartShare | None:
        """The part or the head under the cursor."""
        if self.all_heads:
            return self.head
        parts = self.known.parts
        return parts[self.part] if 0 <= self.part < len(parts) else None

    def show_heads(self, is_wanted: bool) -> None:
        """Show every head in place of the parts, first one of the layer under the cursor; or the
        parts again, with the cursor at the attention of the head."""
        self.all_heads = is_wanted
        parts = self.known.parts
        if is_wanted and 0 <= self.part < len(parts):
            layer = parts[self.part].layer
            self.place = (self.place[0] if layer is None else layer, self.place[1])
        head = self.table.heads.get(self.place)
        if not is_wanted and head is not None:
            key = (head.layer, head.name)
            mine = (at for at, each in enumerate(parts) if (each.layer, each.name) == key)
            self.part = next(mine, self.part)
        self._settle()

    def order_by_size(self, is_wanted: bool) -> None:
        """Order the parts by the size of their shares, or by layer."""
        self.by_size = is_wanted
        self._forget()

    @property
    def sheet(self) -> int:
        """The sheet of patches that is shown."""
        return self.patches.sheet_of(self.patch) if len(self.patches) else 0

    def step(self, by: int) -> None:
        """Go down or up by lines, or by layers of heads."""
        if self.all_heads:
            layers = sorted({layer for layer, _ in self.table.heads})
            if layers:
                at = layers.index(self.place[0]) if self.place[0] in layers else 0
                layer = layers[min(max(at + by, 0), len(layers) - 1)]
                self.place = self.table.nearest((layer, self.place[1]))
        else:
            self.go_to_line(self.cursor + by)

    def go_to_line(self, index: int) -> None:
        """Go to a line, as far as there are such; to its side of the cursor, if it has that."""
        lines = self.lines
        if lines:
            side, parts = self.side, lines[min(max(index, 0), len(lines) - 1)].parts
            self.part = parts[min(side, len(parts) - 1)]

    def go_to_edge(self, side: int) -> None:
        """Go to the first or the last line or layer."""
        self.step(side * (len(self.known.parts) + self.run.run.layers))

    def go_to_side(self, by: int) -> None:
        """Go to the part beside this one."""
        lines = self.lines
        if lines:
            parts = lines[self.cursor].parts
            self.part = parts[min(max(self.side + by, 0), len(parts) - 1)]

    def step_head(self, by: int) -> bool:
        """Go to the next head of the layer, or the one before; return whether heads are shown."""
        if not self.all_heads:
            return False
        count = sum(layer == self.place[0] for layer, _ in self.table.heads)
        self.place = (self.place[0], (self.place[1] + by) % max(count, 1))
        return True

    def go_to_next_by_size(self, by: int) -> int:
        """Go to the largest part or head, and from where this has gone before to the next smaller
        one or the next larger one; return its rank from 1 on, 0 where there are none."""
        rank, count = self.rank
        if not count:
            return 0
        rank = min(max(rank + by, 1), count) if self._gone_to == self._cursor else 1
        if self.all_heads:
            self.place = self.table.by_size[rank - 1]
        else:
            (self.part,) = lines_of(self.known.parts, by_size=True)[rank - 1].parts
        self._gone_to = self._cursor
        return rank

    @property
    def _cursor(self) -> int | Place:
        return self.place if self.all_heads else self.part

    @property
    def rank(self) -> tuple[int, int]:
        """The place of the part or head under the cursor among all by the size of its share, from 1
        on (0 where there is none), and how many there are."""
        if self.all_heads:
            places = self.table.by_size
            return (places.index(self.place) + 1 if self.place in places else 0, len(places))
        order = [line.parts[0] for line in lines_of(self.known.parts, by_size=True)]
        return (order.index(self.part) + 1 if self.part in order else 0, len(order))

    @property
    def row(self) -> int:
        """The row that the part under the cursor is added to; row 0 for the embedding."""
        here = self.here
        if here is None:
            return self.place[0]
        if here.layer is None:
            return 0 if here.name == "embedding" else self.run.run.layers
        return min(here.layer + (not is_between(here)), self.run.run.layers)

    # ------------------------------------------------------------------ the map of a head

    @property
    def sent(self) -> Sent | None:
        """What the head under the cursor was sent."""
        head = self.head
        if head is None or head.layer is None or head.head is None:
            return None
        return self.known.sent(head.layer, head.head)

    @property
    def map(self) -> Map | None:
        """What every patch has sent through the head; None unless that is known and can be
        trusted."""
        sent = self.sent
        if self.known.failed or sent is None or sent.keys != "tokens" or not len(self.patches):
            return None
        values = np.asarray(sent.shares.values, np.float32)
        if self.patches.positions[-1] >= len(values):
            return None
        return Map((sent.layer,), values[None, list(self.patches.positions)], "share")

    @property
    def scale(self) -> Scale:
        """From the strongest to the strongest of the other sign: of what patches sent, or of the
        heads where there is no map."""
        shown = self.map
        return signed_scale(self.table.shares if shown is None else shown.values)

    @property
    def scaled(self) -> Map | None:
        """What the scale is of; None where there are no numbers that can be trusted."""
        shown = self.map
        if shown is not None or self.known.failed or not self.table.shares.size:
            return shown
        return Map(tuple(range(len(self.table.shares))), self.table.shares, "share")

    @property
    def steps(self) -> Steps | None:
        """uint8 [n]: the steps of the patches; None without a map."""
        shown = self.map
        return None if shown is None else signed_steps(shown.values[0], self.scale)

    @property
    def sources(self) -> tuple[PromptToken, ...]:
        """The tokens that have sent through the head, those of the answer after the prompt's; none
        where that is not known, or other states have."""
        sent = self.sent
        if sent is None or sent.keys != "tokens":
            return ()
        return (*self.run.own.run.tokens, *self.run.answer_tokens)[: sent.shares.shape[0]]

    def by_group(self) -> list[tuple[str, float]]:
        """Return what each group of tokens has sent through the head; empty where that is not
        known, or comes from no tokens of this run."""
        sent, tokens = self.sent, self.sources
        if sent is None or not tokens or sent.shares.shape[0] != len(tokens):
            return []
        groups = groups_of(tokens)
        sums = {group: 0.0 for group in GROUPS if group in groups}
        for group, share in zip(groups, sent.shares.values.tolist(), strict=True):
            sums[group] += share
        return [*sums.items()]

    def largest_sources(self, count: int) -> list[tuple[int, float]]:
        """Return the positions that have sent most through the head, with what each sent."""
        sent = self.sent
        if sent is None:
            return []
        shares = sent.shares.values.tolist()
        order = sorted(range(len(shares)), key=lambda key: -abs(shares[key]))[:count]
        return [(key, shares[key]) for key in order]
