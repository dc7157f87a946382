"""Between Textual's compositor and its driver: only changed cells are written, and nothing while
the terminal does not read."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable, Iterator

from rich.color import ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.geometry import Size
from textual.strip import Strip

from tui.terminal.grid import Grid


class Patch(CompositorUpdate):
    """What takes the terminal from what it shows to what was composed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def render_segments(self, console: Console) -> str:
        """Return what is to be written."""
        return self.text


class Output:
    """Keeps the grid of one terminal."""

    def __init__(self, accepts: Callable[[], bool]) -> None:
        """`accepts` says whether the terminal would take more output at once."""
        self._accepts = accepts
        self._grid = Grid(0, 0)
        self.is_behind = False
        """Whether something was composed that has not been written yet."""

    @property
    def size(self) -> Size:
        """The size of the last frame that was composed."""
        return Size(self._grid.width, self._grid.height)

    def compose(self, update: CompositorUpdate, size: Size, console: Console) -> None:
        """Take over what Textual composed."""
        if self.size != size:
            self._grid = Grid(size.width, size.height)
        # As Textual does: without a colour system its filters have made everything grey.
        system = COLOR_SYSTEMS.get(console.color_system or "", ColorSystem.TRUECOLOR)
        for x, y, strips, end in _painted(update):
            for strip in strips:
                x = self._grid.paint(x, y, strip, system, end)
        self.is_behind = True

    def patch(self) -> Patch | None:
        """Return what is to be written now: None if that is nothing, or if the terminal has not
        read what was written before. Then everything composed until it reads is written at
        once."""
        if not self.is_behind or not self._accepts():
            return None
        self.is_behind = False
        text = self._grid.patch()
        return Patch(text) if text else None

    def forget(self) -> None:
        """Note that the terminal may show anything: the next patch writes every cell."""
        self._grid.forget()
        self.is_behind = True


def knows(update: object) -> bool:
    """Whether the update is of a kind whose cells are known."""
    return isinstance(update, ChopsUpdate | LayoutUpdate)


def is_writable(file: int) -> bool:
    """Whether a terminal takes more output at once."""
    try:
        return bool(select.select([], [file], [], 0)[1])
    except (OSError, ValueError):  # it is closed: writing reports that
        return True


def _painted(update: CompositorUpdate) -> Iterator[tuple[int, int, Iterable[Strip], int]]:
    """Yield column, line and strips of everything that an update writes, and the column in
    which it ends: what a strip has beyond that is not what is to be seen there."""
    if isinstance(update, LayoutUpdate):
        for y, line in enumerate(update.strips, update.region.y):
            yield update.region.x, y, line, update.region.right
    elif isinstance(update, ChopsUpdate):
        for y, left, right in update.spans:
            for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                if strip is not None and x <= right and end > left:
                    yield x, y, (strip,), min(end, right)
