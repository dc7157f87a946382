"""Numbers with a sign: their bars, their steps, and their marks and colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.state.maps import NO_STEP, STEPS, Map, signed_scale, signed_steps
from tui.text.numbers import signed_figure
from tui.widgets.legend import scale_shown
from tui.widgets.marks import SIGNED_MARKS
from tui.widgets.signed_bars import signed_bar
from tui.widgets.tint import AROUND_ZERO, FROM_LOW


@given(st.floats(-9, 9), st.floats(0, 9), st.integers(0, 40), st.booleans())
def test_a_bar_has_its_width_and_lies_on_the_side_of_its_sign(
    value: float, most: float, width: int, ascii_only: bool
) -> None:
    bar = signed_bar(value, most, width, ascii_only=ascii_only)
    assert len(bar) == width
    if width < 3:
        return
    left, right = bar.split("|" if ascii_only else "│")
    assert bool(left.strip()) == (value < 0 < most)
    assert bool(right.strip()) == (value > 0 and most > 0)


def test_bars_in_characters() -> None:
    assert signed_bar(1.0, 1.0, 9, ascii_only=False) == "    │████"
    assert signed_bar(-0.375, 1.0, 9, ascii_only=False) == "  ▐█│    "
    assert signed_bar(0.4, 1.0, 9, ascii_only=False) == "    │█▌  "
    assert signed_bar(-1e-9, 1.0, 9, ascii_only=False) == "   ▐│    "
    assert signed_bar(-0.5, 1.0, 9, ascii_only=True) == "  --|    "
    assert signed_bar(9.0, 1.0, 8, ascii_only=True) == "   |+++ "
    assert signed_bar(None, 1.0, 5, ascii_only=True) == "  |  "
    assert signed_bar(float("nan"), 1.0, 5, ascii_only=True) == "  |  "


def test_steps_lie_around_zero() -> None:
    values = np.array([-2.0, -0.1, -0.0, 0.0, 0.1, 1.0, np.nan, np.inf], np.float32)
    scale = signed_scale(values)
    assert (scale.low, scale.high) == (-2.0, 2.0)
    assert signed_steps(values, scale).tolist() == [0, 3, NO_STEP, NO_STEP, 4, 6, NO_STEP, NO_STEP]
    assert signed_scale(np.array([np.nan], np.float32)).high == 0
    shown = Map((0,), values[None], "share")
    assert shown.scale(log=True) == scale
    assert scale_shown("sent", shown, scale, "").signed
    assert not scale_shown("p", Map((0,), values[None], "p"), scale, "").signed


def test_marks_and_colours_tell_signs_apart() -> None:
    assert len(SIGNED_MARKS) == len(set(SIGNED_MARKS)) == STEPS
    for ramp in (AROUND_ZERO, FROM_LOW):
        assert len({*ramp.colours}) == len({*ramp.of_256}) == STEPS
        assert ramp.frame not in ramp.colours
    light = [0.299 * red + 0.587 * green + 0.114 * blue for red, green, blue in AROUND_ZERO.colours]
    assert light[:4] == sorted(light[:4], reverse=True)
    assert light[4:] == sorted(light[4:])
    for red, _, blue in AROUND_ZERO.colours[:4]:
        assert red > blue
    for red, _, blue in AROUND_ZERO.colours[4:]:
        assert blue > red


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4.314, "+4.31"), (-0.02, "-0.02"), (0.001, "+<.01"), (-1e-9, "-<.01"), (0.0, "0"),
        (99.996, "+100"), (-12345.6, "-12346"), (2.5e7, "+2e7"), (None, "-"), (float("nan"), "-"),
    ],
)  # fmt: skip
def test_figures_with_a_sign(value: float | None, text: str) -> None:
    assert signed_figure(value) == text
    assert len(text) <= 6
