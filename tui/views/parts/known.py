"""What has been read of the parts of one logit, as plain records. Without Textual."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import structs

from engine.methods.parts import PartShare, PartsPart, PartsReading, PartsRequest, Sent
from engine.records import Reading, Token
from tui.state.explained import Explained

Key = tuple[int | None, str, int | None]
"""Layer, name and head of a part."""


class KnownParts:
    """Collects what readings, and parts of readings, say about one logit."""

    def __init__(self, explained: Explained) -> None:
        self.explained = explained
        self.of: tuple[Token, ...] = ()
        """The token, or the two; untrusted. None of them while nothing is known."""
        self.parts: tuple[PartShare, ...] = ()
        """In the order of the layers, with every effect that is known."""
        self.heads: tuple[PartShare, ...] = ()
        self.value: float | None = None
        self.error: float | None = None
        self.reading: PartsReading | None = None
        """The newest one."""
        self.failed = False
        """Whether a proof has failed, so that none of it can be trusted."""
        self._effects: dict[Key, float | None] = {}
        self._sent: dict[tuple[int, int], Sent] = {}
        self._no_source: set[tuple[int, int]] = set()
        self.is_whole = False
        """Whether it has been read of all parts, not only of one: readings of one lack the words of
        the others."""
        self.heads_read = False
        """Whether all heads have been asked for: a model may have none that can be told apart."""

    def take_all(self, readings: Iterable[Reading]) -> None:
        """Take the readings of this logit, the oldest first."""
        for reading in readings:
            if isinstance(reading, PartsReading):
                self.take(reading)

    def take(self, reading: PartsReading) -> bool:
        """Take a reading; return whether it is of this logit."""
        request = reading.request
        if not self._is_asked(request, reading.position):
            return False
        self.reading, self.of = reading, reading.of
        self.value, self.error = reading.value, reading.error
        self.failed = reading.proof is not None and not reading.proof.passed
        self._take_shares(reading.parts, reading.heads)
        if request.layer is None and not request.without:
            self.is_whole = True
            self.heads_read = self.heads_read or request.heads
        if reading.sent is not None:
            self._sent[reading.sent.layer, reading.sent.head] = reading.sent
        elif request.layer is not None and request.head is not None:
            self._no_source.add((request.layer, request.head))
        return True

    def take_part(self, request: PartsRequest, part: PartsPart) -> None:
        """Take the parts with those that have been taken out so far."""
        if self._is_asked(request, part.position):
            self.of = part.of
            self._take_shares(part.parts, part.heads)

    def _is_asked(self, request: PartsRequest, position: int) -> bool:
        return Explained(position, request.of, request.against) == self.explained

    def _take_shares(self, parts: tuple[PartShare, ...], heads: tuple[PartShare, ...]) -> None:
        for each in (*parts, *heads):
            if each.effect is not None:
                self._effects[key_of(each)] = each.effect
        self.parts = self._merged(self.parts, parts)
        self.heads = self._merged(self.heads, heads)

    def _merged(
        self, before: tuple[PartShare, ...], now: tuple[PartShare, ...]
    ) -> tuple[PartShare, ...]:
        """Return the new shares with all known effects, and with the words of the old ones where
        they have none."""
        known = {key_of(each): each for each in before}
        merged = []
        for each in now or before:
            key = key_of(each)
            effect = self._effects.get(key)
            old = known.get(key)
            if old is not None and not each.promotes and not each.suppresses:
                each = structs.replace(each, promotes=old.promotes, suppresses=old.suppresses)
            merged.append(structs.replace(each, effect=effect))
        return tuple(merged)

    @property
    def is_read(self) -> bool:
        """Whether the parts are known."""
        return bool(self.parts)

    def sent(self, layer: int, head: int) -> Sent | None:
        """Return what a head was sent, if that has been read."""
        return self._sent.get((layer, head))

    def has_source(self, layer: int, head: int) -> bool:
        """Return whether nothing more can be read about what a head was sent."""
        return (layer, head) in self._sent or (layer, head) in self._no_source


def key_of(part: PartShare) -> Key:
    """By which a part is the same in two readings of one logit."""
    return (part.layer, part.name, part.head)


@dataclass(frozen=True)
class PartLine:
    """A line of the list: a part, or a layer's attention and MLP side by side."""

    parts: tuple[int, ...]
    """Indices into the parts."""
    together: float
    """The sum of this line and all above it."""


def lines_of(parts: tuple[PartShare, ...], *, by_size: bool) -> tuple[PartLine, ...]:
    """Return the lines in the order of the layers, or each part with the largest first."""
    groups = _largest_first(parts) if by_size else _by_layer(parts)
    lines, together = [], 0.0
    for group in groups:
        together += sum(parts[index].share or 0.0 for index in group)
        lines.append(PartLine(group, together))
    return tuple(lines)


def _largest_first(parts: tuple[PartShare, ...]) -> list[tuple[int, ...]]:
    order = sorted(range(len(parts)), key=lambda index: -abs(parts[index].share or 0.0))
    return [(index,) for index in order]


PAIR = ("attention", "MLP")
"""What stands side by side if a layer has these two and no other parts."""


def _by_layer(parts: tuple[PartShare, ...]) -> list[tuple[int, ...]]:
    of_layer: dict[int, list[int]] = {}
    for index, part in enumerate(parts):
        if part.layer is not None:
            of_layer.setdefault(part.layer, []).append(index)
    groups: list[tuple[int, ...]] = []
    paired: set[int] = set()
    for index, part in enumerate(parts):
        if index in paired:
            continue
        mine = of_layer.get(-1 if part.layer is None else part.layer, [])
        named = {parts[at].name: at for at in mine if parts[at].name in PAIR}
        if (
            part.name in PAIR
            and len(named) == 2
            and sum(parts[at].name in PAIR for at in mine) == 2
        ):
            groups.append((named[PAIR[0]], named[PAIR[1]]))
            paired |= {*named.values()}
        else:
            groups.append((index,))
    return groups


def is_between(part: PartShare) -> bool:
    """Return whether a part is added between two layers; its layer is then the row after it."""
    return part.name.startswith("added before row")


def can_be_taken_out(part: PartShare) -> bool:
    """Return whether a part may be taken out: neither the embedding nor a bias can, nor what is
    added between layers."""
    return part.layer is not None and not is_between(part)
