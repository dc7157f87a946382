"""What to ask for of knockout, and what is known of it at one position. Without Textual."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from engine.methods.knockout import KnockoutPart, KnockoutReading, KnockoutRequest, window_of
from engine.records import Reading
from tui.text.numbers import number
from tui.views.attention.effects import Clean, Effect, Effects

_FAILED: Final = "the proof of knockout failed ({error}): its effects are not shown"


def panel_request(position: int) -> KnockoutRequest:
    """Return the request for the usual pairs of sources and targets."""
    return KnockoutRequest(position=position)


def patch_request(position: int, patch: int) -> KnockoutRequest:
    """Return the request for one token of the picture that the position may not look at."""
    return KnockoutRequest(sources=(str(patch),), targets=("last",), position=position)


class KnownKnockout:
    """Collects the effects of one position, as far as they may be believed."""

    def __init__(self, layers: int, position: int, readings: Iterable[Reading] = ()) -> None:
        """Take those of these readings that are knockouts of the position."""
        self.position = position
        self.effects = Effects(layers)
        self.failed = ""
        """Why the effects of the newest reading are not shown; empty if they are."""
        self._sound: list[KnockoutReading] = []
        """Readings of the position, the newest last."""
        self._has_parts = False
        for reading in readings:
            if isinstance(reading, KnockoutReading):
                self.take(reading)

    def take(self, reading: KnockoutReading) -> None:
        """Take a reading. One that failed its proof takes with it all parts that are not proved,
        since its own are among them."""
        if reading.position != self.position:
            return
        known = self.answer(reading.request)
        if reading.proof is None or reading.proof.passed:
            if known is not None:
                self._sound.remove(known)
            self._sound.append(reading)
            self.failed, self._has_parts = "", False
            self._add(reading.request, reading)
        elif known is None:
            self.failed = _FAILED.format(error=number(reading.proof.error))
            self._has_parts = False
            self.effects = Effects(self.effects.layers)
            for sound in self._sound:
                self._add(sound.request, sound)

    def take_part(self, request: KnockoutRequest, part: KnockoutPart) -> None:
        """Take what has been read so far on a request; it is not proved yet."""
        if part.position == self.position:
            self._has_parts = True
            self._add(request, part)

    def bring_back(self, request: KnockoutRequest) -> bool:
        """Make the pairs of an answered request the newest; return whether it has been answered:
        asking again would find the same."""
        known = self.answer(request)
        if known is not None:
            for cell in known.cells:
                self.effects.renew((_named(cell.source), _named(cell.target)))
        return known is not None

    def answer(self, request: KnockoutRequest) -> KnockoutReading | None:
        """Return the reading that answers a request; None where there is none."""
        return next((each for each in self._sound if each.fulfils(request)), None)

    @property
    def caption(self) -> str:
        """The largest error of the proofs, and the notes of the newest reading; untrusted."""
        errors = [
            each.proof.error
            for each in self._sound
            if each.proof is not None and each.proof.error is not None
        ]
        proof = f"proof {number(max(errors))}" if errors else ""
        notes = self._sound[-1].notes if self._sound else ()
        return "; ".join([*filter(None, ["not proved yet" if self._has_parts else proof]), *notes])

    def _add(self, request: KnockoutRequest, found: KnockoutReading | KnockoutPart) -> None:
        effects = self.effects
        if found.log_probability is not None:
            answer = found.answer
            effects.clean = Clean(answer.id, answer.text, found.log_probability)
        only = window_of(request, effects.layers) >= effects.layers
        for cell in found.cells:
            answered = cell.answer
            effect = Effect(
                (_named(cell.source), _named(cell.target)),
                *cell.layers,
                log_probability=cell.log_probability,
                text="" if answered is None else answered.text,
                token=-1 if answered is None else answered.id,
                probability=0.0 if answered is None else answered.probability,
                reason=cell.reason or "",
            )
            effects.add(effect, only=only)


def _named(tokens: str) -> str:
    """Return the name of a group, or "token 7"."""
    return f"token {tokens}" if tokens.isdigit() else tokens
