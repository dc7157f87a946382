"""Pictures as half-blocks. Only this module imports term_image, and only when it is needed."""

from __future__ import annotations

import re
import warnings
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from tui.text.show import display_text
from tui.widgets.evened import LEAST_OFF, MOST_OFF, evened

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import Console

NO_TERM_IMAGE = "the preview needs term-image: pip install term-image"

_CSI = re.compile(r"\x1b\[([0-9;]*)m")


class Colours(Enum):
    """How finely a picture is coloured."""

    FINE = "24 bits"
    """Neighbours that nobody can tell apart share a colour (`evened`): a third of the bytes of
    exact colours."""
    EVEN = "24 bits, neighbours evened out"
    """Neighbours that are nearly alike share a colour: an eighth of the bytes."""
    INDEXED = "256 colours"

    @property
    def most_off(self) -> int:
        """How far, of 255, a channel may be from the picture's."""
        return LEAST_OFF if self is Colours.FINE else MOST_OFF


def picture_strips(image: Image, columns: int, rows: int, *, colours: Colours) -> list[Strip]:
    """Return an RGB image as half-block strips that fit into `columns` x `rows` cells."""
    # Ignore two warnings of term-image: that it runs outside a terminal, and that it calls a
    # deprecated function of Pillow.
    for message in ("It seems this process is not running within", r"Image\.Image\.getdata"):
        warnings.filterwarnings("ignore", message=message)
    import term_image

    # Without this, drawing queries the terminal's colours and swallows what the user types.
    term_image.disable_queries()
    from term_image.image import BlockImage

    scale = min(columns / image.width, 2 * rows / image.height)
    width = max(round(image.width * scale), 1)
    height = max(round(image.height * scale / 2), 1)
    small = image.resize((width, height * 2), 4)  # 4 = BOX: exact enough, and ten times faster
    if colours is not Colours.INDEXED:
        small.putdata(evened(small.tobytes(), width, colours.most_off))
    block = BlockImage(small)
    block.set_size(width, height)
    block.set_render_method("indexed" if colours is Colours.INDEXED else "direct")
    return [_parse_line(line) for line in format(block, "1.1#").split("\n")]


def _parse_line(line: str) -> Strip:
    """Return a line of ANSI as a strip, ten times faster than rich's `Text.from_ansi`."""
    segments: list[Segment] = []
    colours: tuple[str, str] = ("", "")
    start = 0
    for match in _CSI.finditer(line):
        if match.start() > start:
            segments.append(Segment(line[start : match.start()], _style(*colours)))
        colours = _next_colours(colours, match.group(1))
        start = match.end()
    if start < len(line):
        segments.append(Segment(line[start:], _style(*colours)))
    return Strip(segments)


def _next_colours(colours: tuple[str, str], sgr: str) -> tuple[str, str]:
    if sgr.startswith("38;"):
        return (sgr[3:], colours[1])
    if sgr.startswith("48;"):
        return (colours[0], sgr[3:])
    return ("", "")


@lru_cache(maxsize=8192)
def _style(foreground: str, background: str) -> Style:
    return Style(color=_colour(foreground), bgcolor=_colour(background))


def _colour(sgr: str) -> Color | None:
    kind, *values = sgr.split(";") if sgr else [""]
    if kind == "2":
        red, green, blue = (int(value) for value in values)
        return Color.from_rgb(red, green, blue)
    return Color.from_ansi(int(values[0])) if kind == "5" else None


def centred(strips: list[Strip], y: int, width: int, height: int, blank: Style) -> Strip:
    """Return line `y` of a picture in the middle of a pane."""
    top = max((height - len(strips)) // 2, 0)
    if not 0 <= y - top < len(strips):
        return Strip.blank(width, blank)
    line = strips[y - top]
    left = max((width - line.cell_length) // 2, 0)
    margin = [Segment(" " * left, blank)] if left else []
    return Strip([*margin, *line]).adjust_cell_length(width, blank)


def centred_words(
    words: str,
    y: int,
    size: tuple[int, int],
    style: Style,
    console: Console,
    *,
    ascii_only: bool = False,
) -> Strip:
    """Return line `y` of a sentence shown in place of a picture, dim, wrapped and centred in a room
    of (width, height) cells. What has no room ends with an ellipsis."""
    width, height = size
    shown = Text(display_text(words, spaces=False, ascii_only=ascii_only))
    lines = [line.plain.rstrip() for line in shown.wrap(console, max(width, 1))]
    if len(lines) > height:
        lines = [*lines[: height - 1], " ".join(lines[height - 1 :])]
    index = y - (height - len(lines)) // 2
    if not 0 <= index < len(lines):
        return Strip.blank(width, style)
    left = max((width - cell_len(lines[index])) // 2, 0)
    fitted = display_text(lines[index], width - left, spaces=False, ascii_only=ascii_only)
    return Strip([Segment(" " * left + fitted, style + Style(dim=True))]).adjust_cell_length(
        width, style
    )
