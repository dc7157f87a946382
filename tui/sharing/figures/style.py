"""How figures look: sizes, fonts and colours of print, and text that a font can draw."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from engine.errors import BadInput
from tui.text.show import display_text, plain_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS: Final = {1: 85 / 25.4, 2: 174 / 25.4}
"""Columns of a page -> the width in inches: 85 mm and 174 mm, as most journals have them."""
DPI: Final = 300
ANSWER: Final = "#000000"
# Okabe and Ito (2008): colour-blind readers can tell them apart. Black is the answer's.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
_FALLBACKS: Final = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "Unifont")
_LONGEST: Final = 60
"""Characters of one text."""


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of print while the context lasts. Raises BadInput without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise BadInput("figures need matplotlib: pip install 'lenscope[report]'") from None
    settings: Any = {
        "font.family": list(_fonts()),
        "font.size": 8,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.2,
        "legend.frameon": False,
        "legend.fontsize": 7,
        # Whole fonts instead of outlines, so that text in a PDF can be searched and edited; an SVG
        # has outlines, since what opens it may not have the font.
        "pdf.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "lenscope",
        # Tokens are text: no formulas in them.
        "text.parse_math": False,
        "text.usetex": False,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def figure(
    columns: int, height: float, rows: int = 1, **settings: Any
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure, as wide as so many columns of a page and `height` inches high, and
    its axes below one another."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(WIDTHS[columns], height), layout="constrained")
    axes = made.subplots(rows, 1, squeeze=False, **settings)[:, 0]
    return made, list(axes)


def with_gaps(values: Sequence[float | None]) -> list[float]:
    """Return values of which None is not drawn: no line bridges it."""
    return [math.nan if value is None else value for value in values]


def token(text: str) -> str:
    """Return a token as it is shown: spaces visible, nothing that the fonts cannot draw."""
    return _drawable(display_text(text[:_LONGEST]))


def line(text: str) -> str:
    """Return a prompt or a name as it is shown, on one line."""
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return _drawable(plain_line(short))


def _drawable(text: str) -> str:
    """Replace what no font here can draw by its code point, as in U+6F22."""
    return "".join(char if _has_glyph(char) else f"U+{ord(char):04X}" for char in text)


@cache
def _fonts() -> tuple[str, ...]:
    """The fonts that are there, of those that together draw most scripts."""
    from matplotlib.font_manager import fontManager

    names = set(fontManager.get_font_names())
    return tuple(name for name in _FALLBACKS if name in names) or ("sans-serif",)


@cache
def _has_glyph(char: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    return any(
        FT2Font(findfont(FontProperties(family=[name]))).get_char_index(ord(char))
        for name in _fonts()
    )
