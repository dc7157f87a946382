"""What to ask for of knockout, and the effects in what was found."""

from __future__ import annotations

from engine.methods.knockout import KnockoutPart, KnockoutReading, KnockoutRequest
from tui.views.attention.effects import Clean, Effect, Effects


def panel_request(position: int) -> KnockoutRequest:
    """Return the request for the usual pairs of sources and targets."""
    return KnockoutRequest(position=position)


def patch_request(position: int, patch: int) -> KnockoutRequest:
    """Return the request for one token of the picture that the position may not look at."""
    return KnockoutRequest(sources=(str(patch),), targets=("last",), position=position)


def take(effects: Effects, found: KnockoutReading | KnockoutPart) -> None:
    """Add what was found to the effects of its position."""
    if found.log_probability is not None:
        answer = found.answer
        effects.clean = Clean(answer.id, answer.text, found.log_probability)
    for cell in found.cells:
        answered = cell.answer
        effects.add(
            Effect(
                (_named(cell.source), _named(cell.target)),
                *cell.layers,
                log_probability=cell.log_probability,
                text="" if answered is None else answered.text,
                token=-1 if answered is None else answered.id,
                probability=0.0 if answered is None else answered.probability,
                reason=cell.reason or "",
            )
        )


def _named(tokens: str) -> str:
    """Return the name of a group, or "token 7"."""
    return f"token {tokens}" if tokens.isdigit() else tokens
