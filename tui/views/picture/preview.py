"""The picture pane: the picture, or what the model sees of it, with its sizes and token count.

All slow work (Pillow, term-image, opening, scaling) runs in a daemon thread after the first frame
and produces strips, so that a repaint costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from textual.message import Message
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from engine.errors import LenscopeError
from engine.methods.seen import SeenReading
from engine.records import Picture, Processed
from tui.text.show import plain_line
from tui.widgets.background import in_thread
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.half_blocks import NO_TERM_IMAGE, Colours, centred, centred_words, picture_strips
from tui.widgets.thumb import open_thumb

if TYPE_CHECKING:
    from PIL.Image import Image

_SETTLE_SECONDS = 0.1
_MOST_KEPT = 8
"""Number of pane sizes for which strips are cached."""


class Preview(Widget):
    """Shows a picture, fitted into the pane with its aspect ratio kept."""

    TITLE_TERM: ClassVar[str] = "question"
    ALLOW_SELECT = False

    @dataclass
    class Opened(Message):
        """The picture has been opened; `picture` has its size and digest."""

        asked: int
        picture: Picture
        of_run: bool = False
        """Whether it is the picture of the shown run."""

    @dataclass
    class Refused(Message):
        """The picture cannot be opened or drawn."""

        asked: int
        error: str
        missing: Picture | None = None
        """The picture of the shown run, where it is this one that cannot be opened."""

    @dataclass
    class Thumb(Message):
        """A small version of the picture, or of what the model sees, has been made."""

        asked: int
        image: Any
        seen: bool

    @dataclass
    class Drawn(Message):
        """The picture has been drawn as strips for one size."""

        size: tuple[int, int]
        asked: int
        seen: bool
        strips: list[Strip]

    def __init__(self, *, colours: Colours, identity: str = "picture") -> None:
        super().__init__(id=identity)
        self._colours = colours
        self._asked = 0
        self._image: Image | None = None
        self._seen: Image | None = None
        self._wants_seen = self._shows_seen = False
        self._picture: Picture | None = None
        self._processed: Processed | None = None
        self._tokens = 0
        self._strips: list[Strip] = []
        self._reason = ""
        self._remark = ""
        self._drawn_for: tuple[int, int] = (0, 0)
        self._drawing = False
        self._settling: Timer | None = None
        self._cache: dict[tuple[tuple[int, int], bool], list[Strip]] = {}

    @property
    def drawn(self) -> bool:
        """Whether a picture is visible."""
        return bool(self._strips)

    @property
    def named(self) -> bool:
        """Whether a picture is visible or being opened."""
        return self._picture is not None

    def open(self, picture: Picture, *, of_run: bool = False) -> None:
        """Open and show a picture: from its preview if it has one, else from its file.

        The previous picture stays until then, and stays if the new one cannot be opened. With
        `of_run` it is the picture of the shown run, beside which no other may stay: if it cannot be
        opened, or its file has another content now, the reason is shown in its place.
        """
        self._asked += 1
        asked = self._asked
        self._wants_seen = self._drawing = False
        if self._image is None:
            self._picture = picture
            self._caption()

        def work() -> None:
            try:
                image, record = open_thumb(picture, of_run=of_run)
            except LenscopeError as error:
                self._post(self.Refused(asked, str(error), picture if of_run else None))
                return
            self._post(self.Thumb(asked, image, seen=False))
            self._post(self.Opened(asked, record, of_run))

        in_thread(work, lambda line: self._post(self.Refused(asked, line)))

    def show_seen(self, seen: SeenReading) -> None:
        """Show what the model sees of the picture."""
        asked = self._asked
        self._wants_seen = True

        def work() -> None:
            from engine.pictures.opening import open_preview

            try:
                image = open_preview(seen.preview)
            except LenscopeError as error:
                self._post(self.Refused(asked, str(error)))
                return
            self._post(self.Thumb(asked, image, seen=True))

        in_thread(work, lambda line: self._post(self.Refused(asked, line)))

    def show_original(self) -> None:
        """Show the picture itself."""
        self._wants_seen = False
        if self._shows_seen:
            self._shows_seen = False
            self._caption()
            self._draw()

    def remark(self, words: str) -> None:
        """Show a remark on the picture beside its name; an empty one removes it."""
        self._remark = words
        self._caption()

    def tell(self, processed: Processed | None, image_tokens: int) -> None:
        """Show the size that the processor gave the picture, and how many tokens it became."""
        self._processed, self._tokens = processed, image_tokens
        self._caption()

    def clear(self, reason: str = "") -> None:
        """Show no picture, and the reason if given."""
        self._asked += 1
        self._picture = self._processed = None
        self._empty(reason)

    def _empty(self, reason: str) -> None:
        self._drawing = False
        self._image = self._seen = None
        self._tokens = 0
        self._wants_seen = self._shows_seen = False
        self._cache.clear()
        self._strips = []
        self._reason = plain_line(reason)
        self.refresh()
        self._caption()

    def on_preview_thumb(self, message: Preview.Thumb) -> None:
        """Draw the picture for the current size."""
        message.stop()
        if message.asked != self._asked or (message.seen and not self._wants_seen):
            return
        if message.seen:
            self._seen = message.image
        else:
            self._image, self._seen = message.image, None
        self._shows_seen = message.seen
        self._cache.clear()
        self._draw()
        if not self._drawing:
            self._caption()

    def on_preview_refused(self, message: Preview.Refused) -> None:
        """Ignore the failure of a picture that is no longer wanted; show in its place why that of
        the shown run is missing."""
        if message.asked != self._asked:
            message.stop()
        elif message.missing is not None:
            self._picture = message.missing
            self._empty(message.error.removeprefix(f"{message.missing.path}: "))
        self._drawing = False

    def on_preview_drawn(self, message: Preview.Drawn) -> None:
        """Show the strips, which are ready."""
        message.stop()
        if message.asked == self._asked:
            if len(self._cache) >= _MOST_KEPT:
                self._cache.clear()
            self._cache[message.size, message.seen] = message.strips
            self._drawing = False
            self._caption()
            if message.size == self._room and message.seen == self._shows_seen:
                self._strips, self._drawn_for = message.strips, message.size
                self.refresh()

    def on_preview_opened(self, message: Preview.Opened) -> None:
        """Show the picture's size in the caption."""
        if message.asked == self._asked:
            self._picture = message.picture
            if not self._drawing:  # otherwise the caption is set with the picture, in one repaint
                self._caption()
        else:
            message.stop()  # another picture, or none, has replaced it meanwhile

    def on_resize(self) -> None:
        """Draw again once the size is stable."""
        self._caption()
        if self._settling is not None:
            self._settling.stop()
        self._settling = self.set_timer(_SETTLE_SECONDS, self._draw)

    def render_line(self, y: int) -> Strip:
        """Draw a line of the picture, centred."""
        width, height = self.size
        if self._reason and self._image is None:
            return centred_words(
                self._reason, y, (width, height), self.rich_style, self.app.console
            )
        strips = self._strips if self._drawn_for == (width, height) else []
        return centred(strips, y, width, height, self.rich_style)

    @property
    def _room(self) -> tuple[int, int]:
        return (self.size.width, self.size.height)

    def _caption(self) -> None:
        """Set the title and subtitle, each only if it has changed, since that repaints the pane."""
        picture = self._picture
        title = _name(picture)
        if self._shows_seen:
            title = "what the model sees"
        elif self._remark:
            title += f", {self._remark}"
        put_title(self, title)
        facts = picture_facts(picture, self._processed, self._tokens, self.size.width - 4)
        put_subtitle(self, facts)

    def _draw(self) -> None:
        seen, size, asked = self._shows_seen, self._room, self._asked
        image = self._seen if seen else self._image
        if image is None or min(size) < 2:
            return
        if (size, seen) in self._cache:
            self._strips, self._drawn_for = self._cache[size, seen], size
            self.refresh()
            return
        self._drawing = True
        colours = self._colours

        def work() -> None:
            try:
                strips = picture_strips(image, *size, colours=colours)
            except ImportError:
                self._post(self.Refused(asked, NO_TERM_IMAGE))
                return
            self._post(self.Drawn(size, asked, seen, strips))

        in_thread(work, lambda line: self._post(self.Refused(asked, line)))

    @contextmanager
    def showing(
        self, picture: Picture | None, image: Image | None, processed: Processed | None, tokens: int
    ) -> Iterator[None]:
        """Show another picture meanwhile, or none, with its name and its figures; what is shown or
        being opened stays as it is."""
        kept = (self._strips, self._drawn_for, self._reason)
        self._strips, self._drawn_for, self._reason = [], self._room, ""
        if image is not None and min(self._room) > 1:
            with suppress(ImportError):
                self._strips = picture_strips(image, *self._room, colours=self._colours)
        put_title(self, _name(picture))
        put_subtitle(self, picture_facts(picture, processed, tokens, self.size.width - 4))
        self.refresh()
        try:
            yield
        finally:
            self._strips, self._drawn_for, self._reason = kept
            self._caption()
            self.refresh()

    def _post(self, message: Message) -> None:
        try:
            self.post_message(message)
        except RuntimeError:  # the app has exited meanwhile
            return


def _name(picture: Picture | None) -> str:
    return "no picture" if picture is None else plain_line(picture.path.rsplit("/", 1)[-1])


def picture_facts(
    picture: Picture | None, processed: Processed | None, tokens: int, room: int
) -> str:
    """Return the picture's size, its size after the processor and its number of tokens, as far
    as they fit: "640x480 → 336x336, 576 tokens"."""
    if picture is None or not picture.width:
        return ""
    size = f"{picture.width}×{picture.height}"
    made = ""
    if processed is not None:
        tiles = f"{processed.tiles} × " if processed.tiles > 1 else ""
        made = f" → {tiles}{processed.width}×{processed.height}"
    count = f", {tokens} tokens" if tokens else ""
    for text in (f"{size}{made}{count}", f"{size}{count}", count[2:] or size):
        if cell_len(text) <= room:
            return text
    return ""
