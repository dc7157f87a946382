"""The cells that pyte shows after every patch are the ones that were painted."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Literal

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyte.graphics import FG_BG_256
from rich.color import Color, ColorSystem, ColorType
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from tests.terminal.seen import Seen, as_seen, seen_of
from tui.terminal.cells import cells_of_text
from tui.terminal.grid import Grid
from tui.terminal.pens import PLAIN, change, pen_of

CELLS = [
    "a", "b", " ", "│", "█", "▍", "▀", "▄", "␣", "世", "界", "한", "é", "e\u0301", "n\u0303", "…",
]  # fmt: skip
"""What pyte and Rich give the same width."""
COLOURS = [None, "default", "red", "bright_blue", "color(240)", "#102030", "#f0a010", "#102031"]
SYSTEMS: dict[ColorSystem, Literal["standard", "256", "truecolor"]] = {
    ColorSystem.STANDARD: "standard",
    ColorSystem.EIGHT_BIT: "256",
    ColorSystem.TRUECOLOR: "truecolor",
}
MARKS = ["bold", "dim", "italic", "underline", "reverse", "strike", "blink"]
NAMES = ("black", "red", "green", "brown", "blue", "magenta", "cyan", "white")


@dataclass
class Painted:
    """What should be in a cell; None where nothing is known."""

    text: str
    style: Style


@st.composite
def styles(draw: st.DrawFn) -> Style:
    marks = draw(st.lists(st.sampled_from(MARKS), max_size=draw(st.sampled_from([0, 0, 3]))))
    return Style(
        color=draw(st.sampled_from(COLOURS)),
        bgcolor=draw(st.sampled_from(COLOURS)),
        **dict.fromkeys(marks, True),  # type: ignore[arg-type]
    )


few_styles = st.lists(styles(), min_size=1, max_size=4)


@dataclass
class Terminal:
    """A grid, the terminal that it writes to, and what should be seen there."""

    width: int
    height: int
    system: ColorSystem
    grid: Grid = field(init=False)
    screen: pyte.Screen = field(init=False)

    def __post_init__(self) -> None:
        self.resize(self.width, self.height)

    def resize(self, width: int, height: int) -> None:
        """Start anew on a terminal that shows something else."""
        self.width, self.height = width, height
        self.grid = Grid(width, height)
        self.screen = pyte.Screen(width, height)
        self.screen.reset_mode(pyte.modes.DECAWM)
        self.spoil()
        self.expected: list[list[Painted | None]] = [[None] * width for _ in range(height)]

    def spoil(self) -> None:
        """Write what the grid knows nothing of."""
        feed(self.screen, "".join(f"\x1b[{y + 1}H" + "@" * self.width for y in range(self.height)))

    def paint(self, x: int, y: int, pieces: list[tuple[list[str], Style]]) -> None:
        segments = [Segment("".join(cells), style) for cells, style in pieces]
        self.grid.paint(x, y, segments, self.system)
        if not 0 <= y < self.height:
            return
        row = self.expected[y]
        for cells, style in pieces:
            for cell in cells:
                width = 2 if unicodedata.east_asian_width(cell[0]) == "W" else 1
                for part in range(width):
                    if x < self.width:
                        text = cell if part == 0 else ""
                        if width == 2 and part == 0 and x + 1 == self.width:
                            text = " "
                        mend(row, x)
                        row[x] = Painted(text, style)
                    x += 1

    def patch(self) -> str:
        text = self.grid.patch()
        feed(self.screen, text)
        return text

    def bytes_of_a_whole_frame(self) -> int:
        """What Textual writes to show all of it."""
        console = Console(color_system=SYSTEMS[self.system], force_terminal=True)
        strips = [
            [Strip([Segment(p.text, p.style) if p else Segment(" ") for p in row])]
            for row in self.expected
        ]
        update = LayoutUpdate([*strips], Region(0, 0, self.width, self.height))
        return len(update.render_segments(console).encode())

    def bytes_of_places(self) -> int:
        """What telling the terminal the column again takes after cells whose width it may take
        for another one."""
        return sum(len(p.text) > 1 for row in self.expected for p in row if p) * len("\x1b[24G")

    def check(self) -> None:
        for y, row in enumerate(self.expected):
            for x, painted in enumerate(row):
                if painted is not None:
                    shown = self.screen.buffer[y][x]
                    assert seen_of(shown) == seen(painted, self.system), (x, y)


def mend(row: list[Painted | None], x: int) -> None:
    """Make a blank of the half that is left of a wide character."""
    old = row[x]
    if old is not None and old.text == "":
        left = row[x - 1]
        if left is not None and unicodedata.east_asian_width(left.text or " ") == "W":
            row[x - 1] = Painted(" ", left.style)
    if x + 1 < len(row):
        right = row[x + 1]
        if right is not None and right.text == "" and (old is None or old.text != ""):
            row[x + 1] = Painted(" ", right.style)


def feed(screen: pyte.Screen, text: str) -> None:
    pyte.Stream(screen).feed(text)


def colour(value: Color | None, system: ColorSystem) -> str:
    """A colour as pyte names it."""
    if value is None or value.is_default:
        return "default"
    lowered = value.downgrade(system)
    number = lowered.number
    if lowered.type is ColorType.TRUECOLOR or number is None:
        assert lowered.triplet is not None
        return "".join(f"{channel:02x}" for channel in lowered.triplet)
    if lowered.type is ColorType.EIGHT_BIT:
        return str(FG_BG_256[number])
    return NAMES[number] if number < 8 else "bright" + NAMES[number - 8]


def seen(painted: Painted, system: ColorSystem) -> Seen:
    style = painted.style
    marks = (style.bold, style.italic, style.underline, style.strike, style.reverse, style.blink)
    return as_seen(
        unicodedata.normalize("NFC", painted.text),
        colour(style.color, system),
        colour(style.bgcolor, system),
        tuple(bool(mark) for mark in marks),
    )


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_terminal_shows_what_was_painted(data: st.DataObject) -> None:
    draw_frames(data)


@pytest.mark.slow
@settings(deadline=None, max_examples=4000)
@given(st.data())
def test_it_does_so_in_thousands_of_draws(data: st.DataObject) -> None:
    draw_frames(data)


def draw_frames(data: st.DataObject) -> None:
    system = data.draw(st.sampled_from(list(SYSTEMS)))
    known = data.draw(few_styles)
    sizes = st.tuples(st.integers(1, 24), st.integers(1, 5))
    terminal = Terminal(*data.draw(sizes), system)
    pieces = st.lists(
        st.tuples(st.lists(st.sampled_from(CELLS), max_size=12), st.sampled_from(known)),
        max_size=4,
    )
    for _ in range(data.draw(st.integers(1, 6))):
        step = data.draw(st.sampled_from(["paint", "paint", "paint", "forget", "resize", "scroll"]))
        if step == "resize":
            terminal.resize(*data.draw(sizes))
        elif step == "forget":
            terminal.spoil()
            terminal.grid.forget()
        elif step == "scroll":
            # As a scrolled list is composed: every line gets what the next one has.
            for y in range(terminal.height):
                terminal.paint(0, y, data.draw(pieces))
        for _ in range(data.draw(st.integers(0, 5))):
            x, y = data.draw(st.integers(-1, 24)), data.draw(st.integers(-1, 5))
            terminal.paint(max(x, 0), y, data.draw(pieces))
        text = terminal.patch()
        terminal.check()
        assert terminal.patch() == ""
        assert len(text.encode()) <= terminal.bytes_of_a_whole_frame() + terminal.bytes_of_places()


def test_what_follows_a_disputed_width_is_in_its_place() -> None:
    # pyte gives this flag two columns for each of its halves, Rich two for both.
    for text in ("🇩🇪", "👩‍🚀", "✌️", "\u0b95\u0bbf"):
        terminal = Terminal(20, 1, ColorSystem.TRUECOLOR)
        terminal.grid.paint(0, 0, [Segment(text + "abc")], terminal.system)
        terminal.patch()
        start = len(cells_of_text(text))
        assert "".join(terminal.screen.buffer[0][start + i].data for i in range(3)) == "abc"


def test_control_characters_never_reach_the_terminal() -> None:
    terminal = Terminal(12, 1, ColorSystem.TRUECOLOR)
    terminal.grid.paint(0, 0, [Segment("a\x1b]0;x\x07b\x9bc\r\n")], terminal.system)
    assert terminal.grid.patch() == "\x1b[1Ha]0;xbc"


def test_links_open_and_close() -> None:
    terminal = Terminal(8, 1, ColorSystem.TRUECOLOR)
    style = Style(link="https://example.org")
    terminal.grid.paint(0, 0, [Segment("ab", style), Segment("cd")], terminal.system)
    link = f"\x1b]8;id={style.link_id};https://example.org\x1b\\"
    assert terminal.grid.patch() == f"\x1b[1H{link}ab\x1b]8;;\x1b\\cd"
    terminal.grid.paint(0, 0, [Segment("xy", Style(link="\x1b\\\x1b]0;PWNED"))], terminal.system)
    assert terminal.grid.patch() == "\x1b[1Hxy"


def test_a_change_of_one_colour_names_no_other() -> None:
    red = pen_of(Style(color="#ff0000", bgcolor="#000000", bold=True), ColorSystem.TRUECOLOR)
    blue = pen_of(Style(color="#0000ff", bgcolor="#000000", bold=True), ColorSystem.TRUECOLOR)
    assert change(red, blue) == "\x1b[38;2;0;0;255m"
    assert change(red, PLAIN) == "\x1b[m"
    dim = pen_of(Style(color="#ff0000", bgcolor="#000000", dim=True), ColorSystem.TRUECOLOR)
    assert change(red, dim) == "\x1b[22;2m"
