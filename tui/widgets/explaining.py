"""What is on a screen that stands for something: column heads, captions, marks.

A widget that has some of its own offers `captions`; titles in borders are found by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol, runtime_checkable

from rich.cells import cell_len
from textual.content import Content
from textual.errors import NoWidget
from textual.geometry import Offset, Region
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from tui.text.glossary import Term
from tui.text.phrases import TERMS, Span, marks_of, phrases_of, spans_in, unexplained

EXPLAINED: Final = "explained"
"""The class of a `Static` whose words are captions."""
_TITLE_FROM: Final = 3
"""Cells of a border before its title, and after its subtitle."""


class Kind(Enum):
    """What a caption is."""

    COLUMNS = "columns"
    """Names of columns: each word stands for something."""
    WORDS = "words"
    """Words and data, some of which stand for something."""
    MARKS = "marks"
    """Marks beside data, where a click of the left button means the data."""


@dataclass(frozen=True)
class Caption:
    """A part of a line that holds what stands for something."""

    line: int
    """Of the widget's content, as it is drawn."""
    start: int = 0
    stop: int | None = None
    """Cells of the line; None for its end."""
    kind: Kind = Kind.COLUMNS
    named: Mapping[str, Term] = field(default_factory=dict)
    """What data call there, such as a token that a column is about."""
    otherwise: Term | None = None
    """What every word stands for that is not known."""
    marks: str = ""
    """Which marks stand there; empty for words."""


@runtime_checkable
class HasCaptions(Protocol):
    """A widget with lines that hold captions."""

    def captions(self) -> Iterable[Caption]: ...


@runtime_checkable
class HasColumnCursor(Protocol):
    """A widget with a cursor that stands in one of its columns."""

    def cursor_column(self) -> int | None:
        """A cell of the column under the cursor, counted from the left of the content; None where
        there is none."""
        ...


@dataclass(frozen=True)
class Explained:
    """Something on the screen, and what it stands for."""

    widget: Widget
    region: Region
    """On the screen."""
    text: str
    """As it is written there."""
    term: Term
    kind: Kind

    @property
    def key(self) -> tuple[str, str]:
        """What is alike for those of which one explanation is enough."""
        return ("" if self.kind is Kind.MARKS else self.text, self.term.word)


@dataclass(frozen=True)
class _Line:
    """A line that holds captions, as it is on the screen."""

    widget: Widget
    at: Offset
    text: str
    room: Region
    """What is visible of it."""
    phrases: Mapping[str, Term]
    kind: Kind
    otherwise: Term | None = None
    title_term: Term | None = None
    """What a title stands for that holds nothing else."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """What stands for something."""
        columns = self.kind is Kind.COLUMNS
        found = tuple(spans_in(self.text, self.phrases, self.otherwise, columns=columns))
        if found or self.title_term is None:
            return found
        return (Span(0, len(self.text.partition(",")[0]), self.title_term),)


def explained_on(screen: Screen[object], y: int | None = None) -> list[Explained]:
    """Return everything on a screen that stands for something, pane by pane, from the top; only
    what is on line `y` of it if that is given."""
    found = []
    for line in _lines(screen):
        if y is not None and line.at.y != y:
            continue
        for start, end, term in line.spans:
            left = line.at.x + cell_len(line.text[:start])
            region = Region(left, line.at.y, cell_len(line.text[start:end]), 1)
            if line.room.contains_region(region):
                found.append(Explained(line.widget, region, line.text[start:end], term, line.kind))
    return found


def unexplained_on(screen: Screen[object]) -> list[str]:
    """Return every name of a column and every title on a screen that stands for nothing."""
    found = []
    for line in _lines(screen):
        if line.kind is Kind.COLUMNS:
            found += unexplained(line.text, line.spans)
        elif line.at.y == line.widget.region.y and line.widget.border_title and not line.spans:
            found.append(line.text)
    return found


def each_once(found: Sequence[Explained]) -> list[Explained]:
    """Return what is found without what is written and means the same elsewhere, and one mark for
    each meaning."""
    kept: dict[tuple[str, str], Explained] = {}
    for each in found:
        kept.setdefault(each.key, each)
    return list(kept.values())


def at_cursor(screen: Screen[object], found: Sequence[Explained]) -> Explained | None:
    """Return what stands for something where the cursor is: the name of its column, or else the
    caption of the pane that has the focus."""
    focused = screen.focused
    inside = [each for each in found if focused in each.widget.ancestors_with_self]
    if not inside:  # the screen moves the cursor of its panes, the first of which is the main one
        panes = [each.widget for each in found if each.widget.border_title]
        inside = [each for each in found if panes and each.widget is panes[0]]
    for widget in dict.fromkeys(each.widget for each in inside):
        column = widget.cursor_column() if isinstance(widget, HasColumnCursor) else None
        if column is not None:
            x = widget.content_region.x + column
            names = [each for each in inside if each.kind is Kind.COLUMNS]
            before = [each for each in names if each.widget is widget and each.region.x <= x]
            if before:
                return max(before, key=lambda each: each.region.x)
    return next(iter([*inside, *found]), None)


def _lines(screen: Screen[object]) -> Iterator[_Line]:
    view = getattr(screen, "VIEW", "")
    shown = [(widget, region) for widget in screen.walk_children(Widget)
             if (region := _visible(screen, widget))]  # fmt: skip
    for widget, room in sorted(shown, key=lambda each: (each[1].y, each[1].x)):
        yield from _in_border(widget, view, room)
        for caption in _captions_of(widget):
            content = widget.content_region
            if caption.line >= content.height:
                continue
            line, start = widget.render_line(caption.line), caption.start
            text = line.crop(start, caption.stop).text
            phrases = marks_of(caption.marks) if caption.marks else phrases_of(view, caption.named)
            at = Offset(content.x + start, content.y + caption.line)
            yield _Line(widget, at, text, room, phrases, caption.kind, caption.otherwise)


def _captions_of(widget: Widget) -> Iterable[Caption]:
    if isinstance(widget, HasCaptions):
        return widget.captions()
    if isinstance(widget, Static) and widget.has_class(EXPLAINED):
        return [Caption(line, kind=Kind.WORDS) for line in range(widget.content_region.height)]
    return ()


def _in_border(widget: Widget, view: str, room: Region) -> Iterator[_Line]:
    """Yield the title, and the subtitle unless it names the keys of a dialog."""
    top, bottom = widget.styles.border_top[0], widget.styles.border_bottom[0]
    phrases, region = phrases_of(view), widget.region
    corner = _TITLE_FROM - 1
    inside = room.intersection(
        Region(region.x + corner, region.y, max(region.width - 2 * corner, 0), region.height)
    )
    if widget.border_title and top not in ("", "none"):
        text = Content.from_markup(widget.border_title).plain
        own = TERMS.get(getattr(widget, "TITLE_TERM", ""))
        at = Offset(region.x + _TITLE_FROM, region.y)
        yield _Line(widget, at, text, inside, phrases, Kind.WORDS, title_term=own)
    is_box = widget.has_class("dialog") or widget.has_class("whole-dialog")
    if widget.border_subtitle and bottom not in ("", "none") and not is_box:
        text = Content.from_markup(widget.border_subtitle).plain
        left = region.right - _TITLE_FROM - cell_len(text)
        at = Offset(left, region.bottom - 1)
        yield _Line(widget, at, text, inside, phrases, Kind.WORDS)


def _visible(screen: Screen[object], widget: Widget) -> Region:
    """Return what is visible of a widget; nothing if it is hidden."""
    try:
        return screen.find_widget(widget).visible_region
    except NoWidget:
        return Region()
