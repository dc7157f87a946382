"""A real application on pyte: after every frame the terminal shows what the compositor holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import pyte
import pytest
from rich.cells import split_graphemes
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual._context import visible_screen_stack
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.driver import Driver
from textual.drivers.headless_driver import HeadlessDriver
from textual.geometry import Region, Size
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input, Static

from tests.terminal.seen import Seen, seen_of
from tests.terminal.test_grid import CELLS, Painted, seen
from tests.terminal.test_grid import SYSTEMS as NAMES_OF_SYSTEMS
from tests.tui.stage import in_loop
from tui.terminal.terminal_app import TerminalApp

SYSTEMS = {name: system for system, name in NAMES_OF_SYSTEMS.items()}


class Recorder(HeadlessDriver):
    """Takes what is written, as a terminal that reads or does not."""

    written: list[str]

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self.written = []

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        self.written.append(data)


class Noise(ScrollView):
    """Draws random cells in random colours; scrolls."""

    DEFAULT_CSS = "Noise { height: 1fr; }"

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice
        self.virtual_size = Size(60, 80)
        self._lines = [self._draw() for _ in range(80)]

    def change(self) -> None:
        for _ in range(self._dice.randrange(1, 6)):
            line = self._dice.randrange(80)
            self._lines[line] = self._draw()
            self.refresh(Region(0, line - self.scroll_offset.y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        line = self._lines[(y + self.scroll_offset.y) % 80]
        return line.crop_extend(0, self.size.width, Style())

    def _draw(self) -> Strip:
        dice = self._dice
        colours = ["red", "color(99)", "#204060", "#f08010", None]
        return Strip(
            [
                Segment(
                    "".join(dice.choices(CELLS, k=dice.randrange(1, 9))),
                    Style(
                        color=dice.choice(colours),
                        bgcolor=dice.choice(colours),
                        bold=dice.choice([None, True]),
                        underline=dice.choice([None, None, True]),
                        reverse=dice.choice([None, None, None, True]),
                    ),
                )
                for _ in range(dice.randrange(1, 8))
            ]
        )


class Dialog(ModalScreen[None]):
    DEFAULT_CSS = "Dialog { align: center middle; } Dialog Static { width: 14; height: 3; }"

    def compose(self) -> ComposeResult:
        yield Static("a dialog\n世界", markup=False)


class Noisy(TerminalApp):
    def __init__(self, dice: random.Random, *, diff: bool = True) -> None:
        super().__init__(diff=diff)
        self.dice = dice
        self.reads = True

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Noise(self.dice)
            with Vertical():
                yield Noise(self.dice)
                yield Static("between", markup=False)
        line = Input("typed")
        line.cursor_blink = False  # or a frame could differ by the time of the comparison
        yield line

    def get_driver_class(self) -> type[Driver]:
        return Recorder

    def _terminal_reads(self) -> bool:
        return self.reads

    @property
    def is_drawing(self) -> bool:
        """Whether Textual still has something to compose."""
        screen = self.screen
        return bool(
            screen._dirty_widgets
            or screen._layout_widgets
            or screen._layout_required
            or screen._repaint_required
            or screen._compositor._dirty_regions
        )

    @property
    def driver(self) -> Recorder:
        assert isinstance(self._driver, Recorder)
        return self._driver


class Terminal:
    """pyte on the other end of the line."""

    def __init__(self, app: Noisy, system: ColorSystem) -> None:
        self._app = app
        self._system = system
        self._read = 0
        self.screen = pyte.Screen(*app.size)
        self.screen.reset_mode(pyte.modes.DECAWM)

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)

    def read(self) -> None:
        stream = pyte.Stream(self.screen)
        for data in self._app.driver.written[self._read :]:
            stream.feed(data)
        self._read = len(self._app.driver.written)

    def check(self) -> None:
        self.read()
        for y, (shown, wanted) in enumerate(zip(self.lines(), self.wanted(), strict=True)):
            assert shown == wanted, f"line {y}"

    def lines(self) -> list[list[Seen]]:
        columns, lines = self.screen.columns, self.screen.lines
        return [[seen_of(self.screen.buffer[y][x]) for x in range(columns)] for y in range(lines)]

    def wanted(self) -> list[list[Seen]]:
        """The compositor's cells, split one by one by Rich. A character of two columns that it
        lets the next widget cover by one is a blank."""
        compositor = self._app.screen._compositor
        token = visible_screen_stack.set(self._app._background_screens)
        chops = compositor._render_chops(compositor.size.region, lambda _: True)
        visible_screen_stack.reset(token)
        return [self._line(line, compositor.size.width) for line in chops]

    def _line(self, chops: Mapping[int, Strip | None], width: int) -> list[Seen]:
        cells: dict[int, Painted] = {}
        for x, strip in chops.items():
            for segment in strip or ():
                for text in _cells(segment.text):
                    cells[x] = Painted(text, segment.style or Style())
                    x += 1
        row = [cells[x] for x in range(width)]
        for x, cell in enumerate(row):
            after = row[x + 1].text if x + 1 < width else None
            if len(_cells(cell.text)) == 2 and after != "":
                row[x] = Painted(" ", cell.style)
        return [seen(cell, self._system) for cell in row]


def _cells(text: str) -> list[str]:
    cells: list[str] = []
    for start, end, width in split_graphemes(text)[0]:
        # Where Textual has cut a mark off its character, the mark is left out.
        cells += [text[start:end], *[""] * (width - 1)] if width else []
    return cells


async def play(seed: int, colours: Literal["standard", "256", "truecolor"], steps: int) -> None:
    dice = random.Random(seed)
    app = Noisy(dice)
    app.console = Console(color_system=colours, force_terminal=True)
    async with app.run_test(headless=False, size=(50, 14)) as pilot:
        terminal = Terminal(app, SYSTEMS[colours])
        await pilot.pause()
        terminal.check()
        for _ in range(steps):
            match dice.choice(["change", "change", "scroll", "type", "dialog", "resize", "redraw"]):
                case "change":
                    for noise in app.screen_stack[0].query(Noise):
                        noise.change()
                case "scroll":
                    noise = dice.choice([*app.screen_stack[0].query(Noise)])
                    noise.scroll_to(y=dice.randrange(70), animate=False)
                case "type":
                    await pilot.press(dice.choice("xyz"))
                case "dialog":
                    if len(app.screen_stack) == 1:
                        app.push_screen(Dialog())
                    else:
                        app.pop_screen()
                case "resize":
                    size = (dice.randrange(20, 70), dice.randrange(5, 20))
                    terminal.read()
                    terminal.resize(*size)
                    await pilot.resize_terminal(*size)
                case "redraw":
                    terminal.screen.reset()
                    terminal.screen.reset_mode(pyte.modes.DECAWM)
                    app.redraw()
            await pilot.pause()
            while app.is_drawing:
                await pilot.pause(0.02)
            terminal.check()


@pytest.mark.parametrize("colours", list(SYSTEMS))
@in_loop
async def test_every_frame_is_what_was_composed(
    colours: Literal["standard", "256", "truecolor"],
) -> None:
    await play(1, colours, 25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
@in_loop
async def test_hundreds_of_frames_are_what_was_composed(seed: int) -> None:
    await play(seed, list(SYSTEMS)[seed % 3], 60)


@in_loop
async def test_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    await play(2, "truecolor", 15)


@in_loop
async def test_without_the_diff_textual_writes_its_own_frames() -> None:
    sizes = []
    for diff in (True, False):
        app = Noisy(random.Random(3), diff=diff)
        app.console = Console(color_system="truecolor", force_terminal=True)
        async with app.run_test(headless=False, size=(50, 14)) as pilot:
            await pilot.pause()
            for _ in range(3):
                app.screen.refresh(layout=True)
                await pilot.pause(0.05)
            sizes.append(sum(map(len, app.driver.written)))
    assert sizes[0] < sizes[1] / 3


@in_loop
async def test_a_terminal_that_does_not_read_gets_everything_at_once_when_it_reads() -> None:
    app = Noisy(random.Random(4))
    app.console = Console(color_system="truecolor", force_terminal=True)
    async with app.run_test(headless=False, size=(50, 14)) as pilot:
        terminal = Terminal(app, ColorSystem.TRUECOLOR)
        await pilot.pause()
        terminal.check()
        before = len(app.driver.written)
        app.reads = False
        for _ in range(20):
            app.query(Noise).last().change()
            await pilot.pause()
        assert len(app.driver.written) == before
        app.reads = True
        await pilot.pause(0.1)
        assert len(app.driver.written) == before + 1
        terminal.check()


@in_loop
async def test_an_unchanged_frame_writes_nothing() -> None:
    app = Noisy(random.Random(5))
    async with app.run_test(headless=False, size=(50, 14)) as pilot:
        await pilot.pause()
        before = len(app.driver.written)
        app.screen.refresh(layout=True)
        await pilot.pause(0.1)
        assert len(app.driver.written) == before


class Page(ModalScreen[None]):
    """A dialog whose field has the focus once it is there."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss")]

    def compose(self) -> ComposeResult:
        yield Input()


class Typing(TerminalApp):
    """Notes which keys reach the application itself."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("j", "note('j')"),
        ("q", "note('q')"),
        ("H", "page"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []
        self.typed = ""

    def action_note(self, key: str) -> None:
        self.noted.append(key)

    def action_page(self) -> None:
        self.push_screen(Page())

    def on_input_changed(self, event: Input.Changed) -> None:
        self.typed = event.value

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds; raises TimeoutError after a while."""
        async with asyncio.timeout(15):
            while not holds():
                await asyncio.sleep(0.02)


@in_loop
async def test_keys_typed_ahead_mean_what_they_mean_when_typed_slowly() -> None:
    app = Typing()
    async with app.run_test():
        for key in ["H", "escape", "j", "H", *"dog", "escape", "q", "H", *"cat"]:
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await app.until(lambda: app.typed == "cat")
        assert app.noted == ["j", "q"]


@in_loop
async def test_a_key_that_vanishes_with_its_widget_holds_the_others_back_for_a_moment_only() -> (
    None
):
    app = Typing()
    async with app.run_test() as pilot:
        app._typed.sent()
        app.post_message(events.Key("j", "j"))
        await pilot.pause(0.1)
        assert app.noted == []
        await app.until(lambda: app.noted == ["j"])
