"""One section of a report: its words, and its tables, which scroll sideways."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip

from engine.sweeps.section import Section
from tui.sharing.section_lines import PageLine, section_lines
from tui.text.glossary import Term
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption, Kind
from tui.widgets.strips import strip_of
from tui.widgets.styles import Segments


class Match(NamedTuple):
    """Where a text was found: a line of the section, and characters of it."""

    line: int
    start: int
    end: int


class SectionPane(DrawnLines):
    """Draws the lines of a section, of tables what has been scrolled to, and marks what is found.

    A table that is wider than the page shows a sign at the side where there is more.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"section-pane--{kind}" for kind in ("title", "faint", "sign", "match", "match-at")
    }
    DEFAULT_CSS = """
    SectionPane {
        width: 100%;
        height: auto;
        & > .section-pane--title { text-style: bold; }
        & > .section-pane--faint { color: $faint; }
        & > .section-pane--sign { color: $primary; }
        & > .section-pane--match { text-style: underline; color: $primary; }
        & > .section-pane--match-at { text-style: reverse; color: $primary; }
    }
    """

    def __init__(self, section: Section, *, ascii_only: bool) -> None:
        super().__init__()
        self.section = section
        self._ascii = ascii_only
        self._lines: list[PageLine] = []
        self._lines_width = -1
        self._across = 0
        self._matches: tuple[Match, ...] = ()
        self._at: Match | None = None

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As high as its lines are at this width."""
        return len(self.lines(width))

    def lines(self, width: int = 0) -> list[PageLine]:
        """The lines on a page of so many cells; of the present page without it."""
        width = width or self.size.width
        if width != self._lines_width:
            self._lines = section_lines(self.section, width, ascii_only=self._ascii)
            self._lines_width = width
        return self._lines

    @property
    def beyond(self) -> int:
        """How many cells the widest table is wider than the page."""
        return max((line.width for line in self.lines()), default=0) - self.size.width

    def scroll_across(self, across: int) -> None:
        """Show tables from so many cells after their names on."""
        self._across = across
        self.redraw()

    def find(self, wanted: str) -> tuple[Match, ...]:
        """Return where a text is, in any case, at the present width."""
        pattern = re.compile(re.escape(wanted), re.IGNORECASE)
        return tuple(
            Match(number, *found.span())
            for number, line in enumerate(self.lines())
            for found in (pattern.finditer(line.text) if wanted else ())
        )

    def mark(self, matches: tuple[Match, ...], at: Match | None) -> None:
        """Mark what was found, and the one that is looked at."""
        if (matches, at) != (self._matches, self._at):
            self._matches, self._at = matches, at
            self.redraw()

    def across_to(self, match: Match) -> int | None:
        """Return how far tables have to be scrolled sideways for a match to be seen; None if it
        is seen."""
        line = self.lines()[match.line]
        if line.width <= self.size.width or match.start < line.names:
            return None
        room = self.size.width - cell_len(line.text[: line.names])
        start, end = (cell_len(line.text[line.names : place]) for place in (match.start, match.end))
        if self._across < start and end < self._across + room:
            return None
        return max(start - room // 2, 0)

    def captions(self) -> Iterable[Caption]:
        """Return the title and the names of the columns; what is no term of the glossary stands for
        what the section says of itself."""
        section = self.section
        what = Term(section.title, section.words or section.title)
        for number, line in enumerate(self.lines()):
            if line.kind in ("title", "head"):
                kind = Kind.COLUMNS if line.kind == "head" else Kind.WORDS
                yield Caption(number, kind=kind, named={section.title: what}, otherwise=what)

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        styles = {
            kind: self.rich_style + self.get_component_rich_style(f"section-pane--{kind}")
            for kind in ("title", "faint", "sign", "match", "match-at")
        }
        by_line: dict[int, list[Match]] = {}
        for match in self._matches:
            by_line.setdefault(match.line, []).append(match)
        return [
            self._seen(line, self._segments(line, by_line.get(number, []), styles), styles["sign"])
            for number, line in enumerate(self.lines())
        ]

    def _segments(self, line: PageLine, matches: list[Match], styles: dict[str, Style]) -> Segments:
        own = {"title": styles["title"], "head": styles["faint"]}.get(line.kind, self.rich_style)
        segments: Segments = []
        done = 0
        for match in matches:
            style = styles["match-at" if match == self._at else "match"]
            segments += [(line.text[done : match.start], own)]
            segments += [(line.text[match.start : match.end], style)]
            done = match.end
        return [*segments, (line.text[done:], own)]

    def _seen(self, line: PageLine, segments: Segments, sign: Style) -> Strip:
        """Return what of a line is seen: its names, and what has been scrolled to beside them."""
        width, base = self.size.width, self.rich_style
        if line.width <= width:
            return strip_of(segments, width, base)
        whole = strip_of(segments, max(line.width, cell_len(line.text)), base)
        names = cell_len(line.text[: line.names])
        across = min(self._across, line.width - width)
        start, end = names + across, across + width
        left, right = "<>" if self._ascii else "‹›"
        parts = [whole.crop(0, names)]
        if across:
            parts.append(
                Strip.join([strip_of([(left, sign)], 1, base), whole.crop(start + 1, end)])
            )
        else:
            parts.append(whole.crop(start, end))
        seen = Strip.join(parts)
        if end < line.width:
            seen = Strip.join([seen.crop(0, width - 1), strip_of([(right, sign)], 1, base)])
        return seen
