"""The ways that were tried on a run, with what insertion and deletion say of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

from textual.strip import Strip

from tui.text.show import display_text
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption
from tui.widgets.strips import strip_of
from tui.widgets.styles import Segments

_AREA: Final = 6
_RANDOM: Final = 10
HEAD: Final = 1


@dataclass(frozen=True)
class WayLine:
    """A way that was tried."""

    name: str
    """Safe for display."""
    insertion: str = ""
    deletion: str = ""
    random: str = ""
    shown: bool = False
    """Whether its map is the one that is shown."""
    failed: bool = False


class WayTable(DrawnLines):
    """Shows a line for every way."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"ways--faint", "ways--here", "ways--struck"}
    DEFAULT_CSS = """
    WayTable {
        & > .ways--faint { color: $faint; }
        & > .ways--here { color: $primary; text-style: bold; }
        & > .ways--struck { color: $error; text-style: strike; }
    }
    """

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._ways: tuple[WayLine, ...] = ()

    def show(self, ways: tuple[WayLine, ...]) -> None:
        """Show these ways; the last ones, if there are too many, and always the shown one."""
        self._ways = ways
        self.redraw()

    def captions(self) -> Iterable[Caption]:
        """Return the names of the columns."""
        return [Caption(0)]

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, height, base = self.size.width, self.size.height, self.rich_style
        looks = {
            kind: base + self.get_component_rich_style(f"ways--{kind}")
            for kind in ("faint", "here", "struck")
        }
        room = max(width - 2 - 2 * _AREA - _RANDOM, 4)
        numbers = f"{'ins':>{_AREA}}{'del':>{_AREA}}{'random':>{_RANDOM}}"
        lines = [strip_of([(f" {'way':<{room}}{numbers}", looks["faint"])], width, base)]
        for way in self._visible(max(height - HEAD, 1)):
            mark = (">" if self._ascii else "▌") if way.shown else " "
            name = display_text(way.name, room, spaces=False, ascii_only=self._ascii)
            style = looks["struck"] if way.failed else looks["here"] if way.shown else base
            line: Segments = [(mark, looks["here"]), (name, style)]
            if way.insertion and not way.failed:
                areas = f"{way.insertion:>{_AREA}}{way.deletion:>{_AREA}}"
                line += [(areas, base), (f"{way.random:>{_RANDOM}}", looks["faint"])]
            lines.append(strip_of(line, width, base))
        return lines

    def _visible(self, count: int) -> tuple[WayLine, ...]:
        if len(self._ways) <= count:
            return self._ways
        shown = next((at for at, way in enumerate(self._ways) if way.shown), len(self._ways) - 1)
        first = min(max(shown - count + 1, 0), len(self._ways) - count)
        return self._ways[max(first, 0) : first + count]
