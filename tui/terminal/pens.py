"""What a cell looks like besides its character, and how a terminal is taken from one look to
another."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from rich.color import Color, ColorSystem, ColorType
from rich.style import Style


class Pen(NamedTuple):
    """Colours, attributes and link, as in SGR parameters (ECMA-48, xterm's for colours).

    Equal looks are usually the same object (`pen_of`), so comparing rows of pens is fast.
    """

    foreground: str = ""
    """``2;255;0;0`` for 24 bits, ``5;240`` for one of 256, ``9`` for one of 16; empty for the
    terminal's own colour."""
    background: str = ""
    attributes: tuple[str, ...] = ()
    """The parameters that turn its attributes on, as in ``("1", "4")``."""
    link: str = ""
    """Parameters and address of a hyperlink (OSC 8); empty for none."""


PLAIN: Final = Pen()

_ON: Final = (
    ("bold", "1"), ("dim", "2"), ("italic", "3"), ("underline", "4"), ("blink", "5"),
    ("blink2", "6"), ("reverse", "7"), ("conceal", "8"), ("strike", "9"), ("underline2", "21"),
    ("frame", "51"), ("encircle", "52"), ("overline", "53"),
)  # fmt: skip
_OFF: Final = {
    "1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "6": "25", "7": "27", "8": "28",
    "9": "29", "21": "24", "51": "54", "52": "54", "53": "55",
}  # fmt: skip
_UNSEEN_ON_BLANKS: Final = frozenset({"1", "2", "3", "8"})
"""Attributes that do not show where there is no glyph."""


@lru_cache(maxsize=16384)
def pen_of(style: Style | None, system: ColorSystem) -> Pen:
    """Return the pen of a style as a terminal with these colours shows it."""
    if style is None:
        return PLAIN
    return _the_pen(
        _colour(style.color, system),
        _colour(style.bgcolor, system),
        tuple(code for name, code in _ON if getattr(style, name)),
        # An address that could end the sequence, or begin another one, is left out.
        f"id={style.link_id};{style.link}" if style.link and style.link.isprintable() else "",
    )


@lru_cache(maxsize=16384)
def blank_pen(pen: Pen) -> Pen:
    """Return the pen of a blank: its foreground does not show, unless an attribute uses it."""
    if pen.link or not _UNSEEN_ON_BLANKS.issuperset(pen.attributes):
        return pen
    return _the_pen("", pen.background, (), "")


@lru_cache(maxsize=16384)
def pen_for_blank(held: Pen, blank: Pen) -> Pen:
    """Return a pen with which a blank looks as with the pen `blank`, and that is as near as can
    be to the pen held."""
    if blank.foreground or blank.attributes or blank.link:
        return blank
    attributes = held.attributes if _UNSEEN_ON_BLANKS.issuperset(held.attributes) else ()
    return _the_pen(held.foreground, blank.background, attributes, "")


def has_two_colours(pen: Pen) -> bool:
    """Whether all of a half-block's look is its two colours."""
    return bool(pen.foreground and pen.background and not pen.attributes)


@lru_cache(maxsize=16384)
def turned(pen: Pen) -> Pen:
    """Return the pen with foreground and background exchanged."""
    return _the_pen(pen.background, pen.foreground, pen.attributes, pen.link)


@lru_cache(maxsize=16384)
def change(held: Pen, wanted: Pen) -> str:
    """Return the shortest sequence that takes a terminal from one pen to another."""
    if held == wanted:
        return ""
    text = ""
    if held.link != wanted.link:
        text = f"\x1b]8;{wanted.link or ';'}\x1b\\"
    codes = min(_codes(held, wanted), _codes_after_reset(wanted), key=_length)
    if codes == ["0"]:
        codes = [""]
    return f"{text}\x1b[{';'.join(codes)}m" if codes else text


def _codes(held: Pen, wanted: Pen) -> list[str]:
    codes: list[str] = []
    lost = [code for code in held.attributes if code not in wanted.attributes]
    off = dict.fromkeys(_OFF[code] for code in lost)
    codes.extend(off)
    # Turning one of a pair off (bold and dim, say) turns off the other.
    codes.extend(
        code for code in wanted.attributes if code not in held.attributes or _OFF[code] in off
    )
    if held.foreground != wanted.foreground:
        codes.append(_parameter(wanted.foreground, 30))
    if held.background != wanted.background:
        codes.append(_parameter(wanted.background, 40))
    return codes


def _codes_after_reset(wanted: Pen) -> list[str]:
    codes = ["0", *wanted.attributes]
    if wanted.foreground:
        codes.append(_parameter(wanted.foreground, 30))
    if wanted.background:
        codes.append(_parameter(wanted.background, 40))
    return codes


def _parameter(colour: str, first: int) -> str:
    """Return what sets a colour; `first` is 30 for the foreground, 40 for the background."""
    if not colour:
        return str(first + 9)
    if ";" in colour:
        return f"{first + 8};{colour}"
    number = int(colour)
    return str(first + number if number < 8 else first + 60 + number - 8)


def _length(codes: list[str]) -> int:
    return sum(len(code) + 1 for code in codes)


def _colour(colour: Color | None, system: ColorSystem) -> str:
    if colour is None or colour.is_default:
        return ""
    lowered = colour.downgrade(system)
    if lowered.type is ColorType.TRUECOLOR and lowered.triplet is not None:
        return "2;{};{};{}".format(*lowered.triplet)
    return f"5;{lowered.number}" if lowered.type is ColorType.EIGHT_BIT else f"{lowered.number}"


@lru_cache(maxsize=16384)
def _the_pen(foreground: str, background: str, attributes: tuple[str, ...], link: str) -> Pen:
    return Pen(foreground, background, attributes, link)
