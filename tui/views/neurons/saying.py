"""What the screen of neurons says in words. Pure; every sentence is safe for display."""

from __future__ import annotations

import math
from typing import Final

from engine.methods.neurons import Unit
from tui.text.numbers import number, ordinal, signed_figure
from tui.text.show import display_text
from tui.views.neurons.looking import Looking

MEANING: Final = "Shares say which units wrote it, not which were needed: K zeroes them."
_MOST_EXPERTS: Final = 5


def unit_name(unit: Unit, *, ascii_only: bool) -> str:
    """Return such as "layer 3 MLP unit 812", or "layer 3 experts expert 5 unit 812"."""
    module = display_text(unit.module, spaces=False, ascii_only=ascii_only)
    expert = "" if unit.expert is None else f" expert {unit.expert}"
    return f"layer {unit.layer} {module}{expert} unit {unit.index}"


def share_words(looking: Looking, *, ascii_only: bool) -> str:
    """Return the share and the activation of the unit under the cursor."""
    unit = looking.here
    if unit is None:
        return ""
    place = ordinal(looking.cursor + 1)
    name = unit_name(unit, ascii_only=ascii_only)
    return f"{name}: {signed_figure(unit.share)}, {place}, activation {number(unit.activation)}"


def effect_words(looking: Looking) -> tuple[str, bool]:
    """Return what setting the unit under the cursor to zero does, or how to find out; and whether
    that is known."""
    unit = looking.here
    if unit is None:
        return "", False
    if unit.effect is None:
        count = looking.cursor + 1
        return f"K zeroes {'it' if count == 1 else f'these {count}, one by one'}", False
    way = "lower" if unit.effect >= 0 else "higher"
    return f"at zero: {abs(unit.effect):.2f} {way}", True


def sum_words(looking: Looking) -> str:
    """Return what the units that are shown, and all of them, sum to; empty while nothing is
    known."""
    reading = looking.reading
    if reading is None:
        return ""
    errors = [each.error for each in reading.layers if each.error is not None]
    error = number(max(errors, default=None), "not a number")
    if looking.failed:
        return f"proof failed, error {error}: do not believe these shares"
    shown = math.fsum(each.share or 0.0 for each in looking.units)
    every = math.fsum(each.share or 0.0 for each in reading.layers)
    count = sum(each.units for each in reading.layers)
    value = f"the whole {signed_figure(reading.value)}"
    return (
        f"these {len(looking.units)} {signed_figure(shown)}, all {count:,} units "
        f"{signed_figure(every)}, {value}; error {error}"
    )


def layer_words(looking: Looking, *, ascii_only: bool) -> str:
    """Return what all units of the layer under the cursor sum to, or why it has none."""
    layer = looking.layer_here
    if layer is None:
        return ""
    reason = ""
    if layer.reason:
        reason = display_text(layer.reason, spaces=False, ascii_only=ascii_only)
    if not layer.units:
        return f"layer {layer.layer} has no units: {reason}"
    words = (
        f"layer {layer.layer}: {layer.units:,} units {signed_figure(layer.share)} "
        f"({signed_figure(layer.positive)} and {signed_figure(layer.negative)})"
    )
    return f"{words}; {reason}" if reason else words


def expert_words(looking: Looking) -> str:
    """Return the experts of that layer that the router has chosen; empty without a mixture."""
    experts = looking.experts_here
    if not experts:
        return ""
    listed = "  ".join(
        f"{each.index} {signed_figure(each.share)} (weight {number(each.weight)})"
        for each in experts[:_MOST_EXPERTS]
    )
    return f"experts    {listed}"


def layers_words(looking: Looking) -> str:
    """Return the layers whose units have the largest shares, and how many have none; empty where
    the proof has failed."""
    if looking.failed:
        return ""
    layers = sorted(looking.layers, key=lambda each: -abs(each.share or 0.0))
    known = [each for each in layers if each.units]
    listed = ", ".join(f"{each.layer} {signed_figure(each.share)}" for each in known[:6])
    none = len(layers) - len(known)
    without = f"; {none} without units" if none else ""
    return f"all units by layer: {listed}{without}" if listed else ""
