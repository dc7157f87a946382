"""What the user looks at: the largest units of all layers or of one, and one of them. Without
Textual."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Final

from msgspec.structs import replace

from engine.methods.neurons import (
    MOST_UNITS,
    Expert,
    LayerUnits,
    NeuronsPart,
    NeuronsReading,
    NeuronsRequest,
    Unit,
)
from engine.records import Reading, Token
from tui.state.explained import Explained
from tui.state.run_view import RunView

TOP: Final = 40
"""How many units are shown at first."""

Key = tuple[int, str, int | None, int]
"""Layer, module, expert and index of a unit."""


class Looking:
    """A logit of one position of a run, and which of its largest units is under the cursor."""

    def __init__(self, run: RunView, row: int, position: int) -> None:
        """Look at the units of a position in all layers; the layer that ends with a row is the one
        that is shown when there is to be one."""
        self.run = run
        self.explained = Explained(run.place(position))
        self.layer = min(max(row - 1, 0), max(run.run.layers - 1, 0))
        self.one_layer = False
        self.top = TOP
        self.cursor = 0
        self.reading: NeuronsReading | None = None
        """The newest reading of what is shown."""
        self.of: tuple[Token, ...] = ()
        """The token, or the two; untrusted. None of them while nothing is known."""
        self._growing: tuple[Unit, ...] = ()
        self._effects: dict[Key, float] = {}
        """What setting a unit to zero does, for the logit that is explained."""
        self._heard: list[NeuronsReading] = []
        """Readings of this visit, also those that the session does not keep."""

    # ------------------------------------------------------------------ what is known

    @property
    def asked_position(self) -> int:
        """As requests name it: the last token is -1, as by default."""
        last = len(self.run.run.tokens) - 1
        return -1 if self.explained.position == last else self.explained.position

    @property
    def request(self) -> NeuronsRequest:
        """What reads the units that are shown."""
        return NeuronsRequest(
            position=self.asked_position,
            layer=self.layer if self.one_layer else None,
            top=self.top,
            of=self.explained.of,
        )

    def zero_request(self, count: int) -> NeuronsRequest:
        """Return what sets so many of the shown units to zero, the first ones."""
        return replace(self.request, ablate=min(max(count, 1), max(len(self.units), 1)))

    def zeroes(self, request: NeuronsRequest) -> bool:
        """Return whether a request sets units that are shown to zero."""
        return bool(request.ablate) and replace(request, ablate=0) == self.request

    def missing(self) -> NeuronsRequest | None:
        """Return the request for what is to be shown and is not known; None if all of it is."""
        return self.request if self.reading is None else None

    def explain(self, explained: Explained) -> None:
        """Look at the units of another logit, as far as they are known."""
        self.explained, self._effects, self.of = explained, {}, ()
        self.choose()

    def choose(self) -> None:
        """Take what is known of what is to be shown now."""
        self.reading, self._growing, self.cursor = None, (), 0
        self._forget()
        self.take_stored()

    def take_stored(self) -> None:
        """Take what the run holds."""
        own = self.run.own
        shown = own.unsaved_readings.get("neurons")
        stored: Iterable[Reading] = (*own.run.readings, *([shown] if shown is not None else []))
        for reading in (*stored, *self._heard):
            if isinstance(reading, NeuronsReading):
                self._take(reading)

    def take(self, reading: NeuronsReading) -> None:
        """Take a reading."""
        self._heard.append(reading)
        self._take(reading)

    def _take(self, reading: NeuronsReading) -> None:
        request = reading.request
        if (reading.position, request.of) != (self.explained.position, self.explained.of):
            return
        self._take_effects(reading.units)
        if replace(request, ablate=0, position=self.asked_position) == self.request:
            self.reading, self.of = reading, reading.of
        self._forget()

    def take_part(self, request: NeuronsRequest, part: NeuronsPart) -> None:
        """Take the units with those that have been set to zero so far."""
        if not self.zeroes(request):
            return
        self._take_effects(part.units)
        self.of, self._growing = part.of, part.units
        self._forget()

    def _take_effects(self, units: Iterable[Unit]) -> None:
        for unit in units:
            if unit.effect is not None:
                self._effects[key_of(unit)] = unit.effect

    def _forget(self) -> None:
        self.__dict__.pop("units", None)
        self.cursor = min(self.cursor, max(len(self.units) - 1, 0))

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """The units, the largest |share| first, with every effect that is known."""
        shown = self._growing if self.reading is None else self.reading.units
        return tuple(replace(unit, effect=self._effects.get(key_of(unit))) for unit in shown)

    @property
    def failed(self) -> bool:
        """Whether the proof has failed, so that none of it can be trusted."""
        proof = None if self.reading is None else self.reading.proof
        return proof is not None and not proof.passed

    # ------------------------------------------------------------------ moving

    @property
    def here(self) -> Unit | None:
        """The unit under the cursor."""
        units = self.units
        return units[self.cursor] if self.cursor < len(units) else None

    def go_to(self, index: int) -> None:
        """Go to a unit, as far as there are such."""
        self.cursor = min(max(index, 0), max(len(self.units) - 1, 0))

    def show_one_layer(self, is_wanted: bool) -> None:
        """Show the units of the layer under the cursor alone, or those of all layers."""
        here = self.here
        if is_wanted and here is not None:
            self.layer = here.layer
        self.one_layer = is_wanted
        self.choose()

    def step_layer(self, by: int) -> None:
        """Show the units of the next layer, or of the one before."""
        if self.one_layer:
            self.layer = (self.layer + by) % max(self.run.run.layers, 1)
        self.one_layer = True
        self.choose()

    def show_more(self) -> bool:
        """Show twice as many units; return whether there are more."""
        count = sum(each.units for each in self.layers)
        if self.top >= MOST_UNITS or (self.reading is not None and self.top >= count):
            return False
        self.top = min(self.top * 2, MOST_UNITS)
        self.choose()
        return True

    # ------------------------------------------------------------------ layers and experts

    @property
    def layers(self) -> tuple[LayerUnits, ...]:
        """What is known of all units of each layer that is shown."""
        return () if self.reading is None else self.reading.layers

    @property
    def layer_here(self) -> LayerUnits | None:
        """The layer of the unit under the cursor, or the one that is shown."""
        here = self.here
        wanted = self.layer if here is None else here.layer
        return next((each for each in self.layers if each.layer == wanted), None)

    @property
    def experts_here(self) -> list[Expert]:
        """The experts that the router has chosen in the layer of the unit under the cursor, the
        largest |share| first."""
        layer = self.layer_here
        if self.reading is None or layer is None:
            return []
        mine = (each for each in self.reading.experts if each.layer == layer.layer)
        return sorted(mine, key=lambda each: -abs(each.share or 0.0))

    @property
    def row(self) -> int:
        """The row that the unit under the cursor is added to."""
        here = self.here
        return min((self.layer if here is None else here.layer) + 1, self.run.run.layers)


def key_of(unit: Unit) -> Key:
    """By which a unit is the same in two readings of one logit."""
    return (unit.layer, unit.module, unit.expert, unit.index)
