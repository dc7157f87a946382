"""The picture in half-blocks. The only module that imports term_image, and only when needed.

Everything slow (Pillow, term-image, opening, scaling) happens in a daemon thread after the first
frame; what comes back is strips, so a repaint costs nothing.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from engine.errors import LenscopeError
from engine.records import Picture
from tui.show import plain_line

if TYPE_CHECKING:
    from PIL.Image import Image

_CSI = re.compile(r"\x1b\[([0-9;]*)m")
_SETTLE_SECONDS = 0.1
_THUMB = 512


class Preview(Widget):
    """A picture, fitted into the pane with its aspect kept."""

    ALLOW_SELECT = False

    @dataclass
    class Opened(Message):
        """The picture could be opened; `picture` has its size and digest."""

        asked: int
        picture: Picture

    @dataclass
    class Refused(Message):
        """The picture could not be opened or drawn."""

        error: str

    @dataclass
    class Thumb(Message):
        """The picture, small."""

        asked: int
        image: Any

    @dataclass
    class Drawn(Message):
        """The strips for one size."""

        size: tuple[int, int]
        asked: int
        strips: list[Strip]

    def __init__(self, *, truecolour: bool) -> None:
        super().__init__(id="picture")
        self._truecolour = truecolour
        self._asked = 0
        self._image: Image | None = None
        self._strips: list[Strip] = []
        self._reason = ""
        self._drawn_for: tuple[int, int] = (0, 0)
        self._cache: dict[tuple[int, int], list[Strip]] = {}

    @property
    def drawn(self) -> bool:
        """Whether a picture shows."""
        return bool(self._strips)

    def open(self, picture: Picture) -> None:
        """Open and show a picture: from its preview if it carries one, else from its file.

        What showed before stays until then, and stays if the picture is refused.
        """
        self._asked += 1
        asked = self._asked
        if self._image is None:
            self._title(picture)

        def work() -> None:
            try:
                image, record = _open(picture)
            except LenscopeError as error:
                self._post(self.Refused(str(error)))
                return
            self._post(self.Thumb(asked, image))
            self._post(self.Opened(asked, record))

        _in_background(work)

    def clear(self, reason: str = "") -> None:
        """Show no picture, and why there is none."""
        self._asked += 1
        self._image = None
        self._cache.clear()
        self._strips = []
        self._reason = reason
        self.refresh()
        self.border_title = "no picture"
        self.border_subtitle = ""

    def on_preview_thumb(self, message: Preview.Thumb) -> None:
        """The picture is here; draw it for the present size."""
        message.stop()
        if message.asked == self._asked:
            self._image = message.image
            self._cache.clear()
            self._draw()

    def on_preview_drawn(self, message: Preview.Drawn) -> None:
        """Strips are ready."""
        message.stop()
        if message.asked == self._asked:
            self._cache[message.size] = message.strips
            if message.size == self._room:
                self._strips, self._drawn_for = message.strips, message.size
                self.refresh()

    def on_preview_opened(self, message: Preview.Opened) -> None:
        """Say how large the picture is."""
        if message.asked == self._asked:
            self._title(message.picture)
        else:
            message.stop()  # another picture, or none, has taken its place meanwhile

    def on_resize(self) -> None:
        """Draw again once the size has settled."""
        if self._image is not None:
            self.set_timer(_SETTLE_SECONDS, self._draw)

    def render_line(self, y: int) -> Strip:
        """Draw a line of the picture, centred."""
        width, height = self.size
        blank = self.rich_style
        if self._reason and self._image is None and y == height // 2:
            words = self._reason.center(width)[:width]
            return Strip([Segment(words, self.visual_style.rich_style + Style(dim=True))])
        top = max((height - len(self._strips)) // 2, 0)
        if not 0 <= y - top < len(self._strips) or self._drawn_for != (width, height):
            return Strip.blank(width, blank)
        line = self._strips[y - top]
        left = (width - line.cell_length) // 2
        margin = [Segment(" " * left, blank)] if left else []
        return Strip([*margin, *line]).adjust_cell_length(width, blank)

    @property
    def _room(self) -> tuple[int, int]:
        return (self.size.width, self.size.height)

    def _title(self, picture: Picture) -> None:
        name = plain_line(picture.path.rsplit("/", 1)[-1])
        self.border_title = Content(name)  # type: ignore[assignment]
        self.border_subtitle = f"{picture.width}×{picture.height}" if picture.width else ""

    def _draw(self) -> None:
        image, size, asked = self._image, self._room, self._asked
        if image is None or min(size) < 2:
            return
        if size in self._cache:
            self._strips, self._drawn_for = self._cache[size], size
            self.refresh()
            return
        truecolour = self._truecolour

        def work() -> None:
            try:
                strips = picture_strips(image, *size, truecolour=truecolour)
            except ImportError:
                self._post(self.Refused("the preview needs term-image: pip install term-image"))
                return
            self._post(self.Drawn(size, asked, strips))

        _in_background(work)

    def _post(self, message: Message) -> None:
        try:
            self.post_message(message)
        except RuntimeError:  # the app has left meanwhile
            return


def picture_strips(image: Image, columns: int, rows: int, *, truecolour: bool) -> list[Strip]:
    """Return an RGB image as half-block strips that fit into `columns` x `rows` cells."""
    # term-image warns outside a terminal, and calls what Pillow deprecates; neither matters here.
    for message in ("It seems this process is not running within", r"Image\.Image\.getdata"):
        warnings.filterwarnings("ignore", message=message)
    import term_image

    # Without this, drawing asks the terminal for its colours and eats what the user types.
    term_image.disable_queries()
    from term_image.image import BlockImage

    scale = min(columns / image.width, 2 * rows / image.height)
    width = max(round(image.width * scale), 1)
    height = max(round(image.height * scale / 2), 1)
    small = image.resize((width, height * 2), 4)  # 4 = BOX: exact enough, and ten times faster
    block = BlockImage(small)
    block.set_size(width, height)
    block.set_render_method("direct" if truecolour else "indexed")
    return [_parse_line(line) for line in format(block, "1.1#").split("\n")]


def _parse_line(line: str) -> Strip:
    """Return a line of ANSI as a strip. Faster than rich's `Text.from_ansi` by a factor of ten."""
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


def _open(picture: Picture) -> tuple[Image, Picture]:
    from engine.pictures import open_picture, open_preview

    if picture.preview:
        return open_preview(picture.preview), picture
    opened = open_picture(picture.path)
    image = opened.image
    image.thumbnail((_THUMB, _THUMB))
    return image, opened.record


def _in_background(work: Callable[[], None]) -> None:
    """Run in a daemon thread: a worker of Textual's would hold up leaving until it is done."""
    threading.Thread(target=work, daemon=True).start()
