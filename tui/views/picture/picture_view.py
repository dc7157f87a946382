"""The picture on the whole screen, with zoom, panning and the model's view."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget

from engine.errors import LenscopeError
from engine.methods.seen import SeenReading
from engine.records import Picture
from tui.text.show import plain_line
from tui.widgets.background import in_thread
from tui.widgets.captions import put_title
from tui.widgets.half_blocks import NO_TERM_IMAGE, Colours, centred, centred_words, picture_strips
from tui.widgets.later import draw_later

if TYPE_CHECKING:
    from PIL.Image import Image

ZOOMS: Final = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
_LONG_SIDE: Final = 2048
_STEP: Final = 0.25
"""Fraction of the visible part by which a key moves."""


class PictureView(ModalScreen[None]):
    """Shows a picture on the whole screen."""

    VIEW: ClassVar[str] = "picture"
    DEFAULT_CSS = """
    PictureView { background: $background; }
    PictureView Canvas {
        width: 100%; height: 100%; border: round $primary;
        border-title-color: $primary; border-subtitle-color: $faint; background: $background;
    }
    PictureView.-ascii Canvas { border: ascii $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,z,ctrl+c", "dismiss", show=False),
        Binding("plus,=", "zoom(1)", show=False),
        Binding("minus", "zoom(-1)", show=False),
        Binding("0", "fit", show=False),
        Binding("v", "switch", show=False),
        Binding("left,h", "move(-1,0)", show=False),
        Binding("right,l", "move(1,0)", show=False),
        Binding("up,k", "move(0,-1)", show=False),
        Binding("down,j", "move(0,1)", show=False),
    ]

    @dataclass
    class Ready(Message):
        """A picture has been opened."""

        image: Any
        seen: bool
        facts: str

    @dataclass
    class Drawn(Message):
        """The picture has been drawn as strips."""

        seen: bool
        facts: str
        strips: list[Strip]

    @dataclass
    class Refused(Message):
        """The picture cannot be shown."""

        error: str

    def __init__(
        self,
        picture: Picture,
        seen: SeenReading | None,
        *,
        ascii_only: bool,
        colours: Colours,
    ) -> None:
        super().__init__()
        self._picture = picture
        self._seen = seen
        self._ascii = ascii_only
        self._colours = colours
        self._images: dict[bool, tuple[Image, str]] = {}
        self._shows_seen = False
        self._zoom = 0
        self._centre = (0.5, 0.5)
        self._drawing = self._wish = False
        self._drawn: tuple[object, ...] = ()
        """What the canvas shows or will show: a key held at an edge draws nothing new."""
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the canvas."""
        canvas = Canvas(classes="whole-dialog")
        keys = "" if self._ascii else "+ - zoom, arrows move, 0 fits, v model's view, "
        canvas.border_subtitle = f"{keys}q closes"
        yield canvas

    def on_mount(self) -> None:
        """Open the picture in the background."""
        self._caption("opening")
        if self._ascii:
            self.query_one(Canvas).say("no picture in plain ASCII")
            self._caption("")
            return
        self._open(seen=False)

    def on_resize(self) -> None:
        """Fit the new size."""
        draw_later(self, self._draw)

    def action_zoom(self, step: int) -> None:
        """Zoom in or out."""
        self._zoom = min(max(self._zoom + step, 0), len(ZOOMS) - 1)
        self._draw()

    def action_fit(self) -> None:
        """Show the whole picture."""
        self._zoom, self._centre = 0, (0.5, 0.5)
        self._draw()

    def action_move(self, right: int, down: int) -> None:
        """Move the visible part of a zoomed picture."""
        x, y = self._centre
        share = _STEP / ZOOMS[self._zoom]
        self._centre = (x + right * share, y + down * share)
        self._draw()

    def action_switch(self) -> None:
        """Switch between the picture and what the model sees of it."""
        if self._ascii:
            return
        if self._seen is None:
            self._caption("what the model sees has not been read yet: v on the main screen")
            return
        self._shows_seen = not self._shows_seen
        if self._shows_seen in self._images:
            self._draw()
        else:
            self._open(seen=self._shows_seen)

    def on_picture_view_ready(self, message: PictureView.Ready) -> None:
        """Draw the picture, which is now open."""
        self._images[message.seen] = (message.image, message.facts)
        self._draw()

    def on_picture_view_drawn(self, message: PictureView.Drawn) -> None:
        """Show the strips; draw again if something else is wanted meanwhile."""
        self._drawing = False
        if message.seen == self._shows_seen:
            self._caption(message.facts)
            self.query_one(Canvas).show(message.strips)
        else:
            self._drawn = ()
        if self._wish:
            self._draw()

    def on_picture_view_refused(self, message: PictureView.Refused) -> None:
        """Show why the picture cannot be shown."""
        self._drawing = self._wish = False
        self._drawn = ()
        self.query_one(Canvas).say(plain_line(message.error))
        self._caption("")

    def _open(self, *, seen: bool) -> None:
        picture, view = self._picture, self._seen

        def work() -> None:
            from engine.pictures.opening import open_picture, open_preview

            note = picture.note
            try:
                if seen and view is not None:
                    image, facts = open_preview(view.preview), view.how
                elif picture.preview:
                    image = open_preview(picture.preview)
                    facts = f"{picture.width}×{picture.height}, a small preview of it"
                else:
                    opened = open_picture(picture.path)
                    image = opened.image
                    facts = f"{opened.record.width}×{opened.record.height}"
                    image.thumbnail((_LONG_SIDE, _LONG_SIDE))
                    note = opened.record.note
                if note is not None and not seen:
                    facts += f"; {note}"
            except LenscopeError as error:
                self._post(self.Refused(str(error)))
                return
            self._post(self.Ready(image, seen, facts))

        in_thread(work, lambda line: self._post(self.Refused(line)))

    def _draw(self) -> None:
        known = self._images.get(self._shows_seen)
        canvas = self.query_one(Canvas)
        width, height = canvas.size
        if known is None or min(width, height) < 2:
            return
        self._wish = self._drawing
        if self._wish:  # a held key must not queue drawings that are never seen
            return
        image, facts = known
        zoom = ZOOMS[self._zoom]
        box, self._centre = window(image.size, (width, 2 * height), zoom, self._centre)
        seen, colours = self._shows_seen, self._colours
        look = (seen, zoom, box, width, height)
        if look == self._drawn:
            return
        self._drawn, self._drawing = look, True

        def work() -> None:
            try:
                strips = picture_strips(image.crop(box), width, height, colours=colours)
            except ImportError:
                self._post(self.Refused(NO_TERM_IMAGE))
                return
            self._post(self.Drawn(seen, facts, strips))

        in_thread(work, lambda line: self._post(self.Refused(line)))

    def _caption(self, facts: str) -> None:
        name = "what the model sees" if self._shows_seen else self._picture.path.rsplit("/", 1)[-1]
        zoom = f"{ZOOMS[self._zoom]:g}x"
        title = ", ".join(part for part in (name, facts, zoom) if part)
        put_title(self.query_one(Canvas), plain_line(title, ascii_only=self._ascii))

    def _post(self, message: Message) -> None:
        with suppress(RuntimeError):  # the screen has closed
            self.post_message(message)


class Canvas(Widget):
    """Shows a picture, or a sentence in place of it."""

    TITLE_TERM: ClassVar[str] = "question"
    ALLOW_SELECT = False

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._strips: list[Strip] = []
        self._words = ""

    def show(self, strips: list[Strip]) -> None:
        """Show the strips of a picture."""
        self._strips, self._words = strips, ""
        self.refresh()

    def say(self, words: str) -> None:
        """Show a sentence in place of a picture."""
        self._strips, self._words = [], words
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw a line, centred."""
        width, height = self.size
        if self._words:
            return centred_words(self._words, y, (width, height), self.rich_style, self.app.console)
        return centred(self._strips, y, width, height, self.rich_style)


def window(
    size: tuple[int, int], room: tuple[int, int], zoom: float, centre: tuple[float, float]
) -> tuple[tuple[int, int, int, int], tuple[float, float]]:
    """Return the box of the picture that fills the canvas at a zoom, and its centre, kept
    inside."""
    scale = min(room[0] / size[0], room[1] / size[1]) * zoom
    box: list[int] = []
    middle: list[float] = []
    for length, space, share in zip(size, room, centre, strict=True):
        part = min(space / scale, length)
        half = part / length / 2
        share = min(max(share, half), 1 - half)
        first = round(share * length - part / 2)
        box.append(min(max(first, 0), length - 1))
        box.append(min(box[-1] + max(round(part), 1), length))
        middle.append(share)
    return (box[0], box[2], box[1], box[3]), (middle[0], middle[1])
