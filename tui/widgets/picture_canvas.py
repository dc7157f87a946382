"""The picture under the map, with one patch framed. Only what changes is drawn again.

Slow work (opening the picture, scaling it) runs in a daemon thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from engine.errors import LenscopeError
from engine.records import Picture
from tui.state.maps import NO_STEP, STEPS, Steps
from tui.state.patches import NO_PATCHES, Patches
from tui.text.show import display_text, show_pieces
from tui.widgets.background import in_thread
from tui.widgets.half_blocks import Colours, centred_words
from tui.widgets.pixel_lines import Codes, Marks, cells_that_differ, marked_line
from tui.widgets.thumb import open_thumb
from tui.widgets.tint import AROUND_ZERO, FROM_LOW, Plan, plan

if TYPE_CHECKING:
    from PIL.Image import Image

SINK: Final = "×"
_NO_MARKS: Final[Marks] = {}
_ROOM_FOR_WORDS: Final = 7
"""Cells of a patch in which its own word is written."""
_MOST_KEPT: Final = 4
"""How many scaled pictures are kept: for sheets, and for sizes."""
_LEAST_SHARE: Final = 0.01
"""Tokens less probable than this are not written: they would look like a finding."""
_SURE: Final = 0.5
"""From this probability on a word is written in bold."""
_ON_DARK: Final = (Style(color="rgb(196,200,212)"), Style(color="rgb(255,255,255)", bold=True))
_ON_LIGHT: Final = (Style(color="rgb(72,52,40)"), Style(color="rgb(24,16,32)", bold=True))


@dataclass(frozen=True, eq=False)
class Scene:
    """What is shown of the picture."""

    patches: Patches = NO_PATCHES
    sheet: int = 0
    steps: Steps | None = None
    """Of all patches; None without a map."""
    framed: int | None = None
    sinks: frozenset[int] = frozenset()
    words: Callable[[], Mapping[int, tuple[str, float]]] | None = None
    """Returns patch -> a token's text, untrusted, that is written onto it if there is room, and its
    probability."""
    signed: bool = False
    """Whether the steps are those of `tui.state.maps.signed_scale`."""


class PictureCanvas(Widget):
    """Shows the picture of a run and a map over it."""

    TITLE_TERM: ClassVar[str] = "patch"
    ALLOW_SELECT = False

    @dataclass
    class Picked(Message):
        """A patch has been clicked."""

        patch: int

    @dataclass
    class Refused(Message):
        """The picture cannot be shown."""

        error: str

    @dataclass
    class Opened(Message):
        """The picture has been opened."""

        image: Any

    @dataclass
    class Planned(Message):
        """The picture has been scaled for a size and a sheet."""

        key: tuple[object, ...]
        plan: Plan

    def __init__(self, *, colours: Colours) -> None:
        super().__init__()
        self._colours = colours
        self._image: Image | None = None
        self._picture_size = (0, 0)
        self._scene = Scene()
        self._version = 0
        """Incremented whenever other patches are shown."""
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._planning: tuple[object, ...] | None = None
        self._plan: Plan | None = None
        """The one that is visible."""
        self._codes: Codes | None = None
        self._marks: Mapping[int, Marks] = {}
        self._strips: list[Strip] = []

    @property
    def drawn(self) -> bool:
        """Whether a picture is visible."""
        return bool(self._strips)

    @property
    def has_room_for_words(self) -> bool:
        """Whether a token fits onto a patch; true as long as no picture is visible."""
        return self._plan is None or _widest(self._plan) >= _ROOM_FOR_WORDS

    def open(self, picture: Picture) -> None:
        """Open the picture of the shown run: from its preview if it has one, else from its file."""

        def work() -> None:
            try:
                image, record = open_thumb(picture, of_run=True)
            except LenscopeError as error:
                self._post(self.Refused(str(error)))
                return
            width, height = picture.width or record.width, picture.height or record.height
            self._picture_size = (width or image.width, height or image.height)
            self._post(self.Opened(image))

        in_thread(work, lambda line: self._post(self.Refused(line)))

    def show(self, scene: Scene) -> None:
        """Show a scene, as soon as the picture has been scaled for it."""
        if scene.patches is not self._scene.patches:
            self._plans.clear()
            self._version += 1
        self._scene = scene
        made = self._planned()
        if made is not None:
            self._draw(made, scene)

    def on_picture_canvas_opened(self, message: PictureCanvas.Opened) -> None:
        """Draw the picture, which is now open."""
        message.stop()
        self._image = message.image
        self.show(self._scene)

    def on_picture_canvas_planned(self, message: PictureCanvas.Planned) -> None:
        """Draw the picture, which is scaled."""
        message.stop()
        if len(self._plans) >= _MOST_KEPT:
            self._plans.clear()
        self._plans[message.key] = message.plan
        if self._planning == message.key:
            self._planning = None
        self.show(self._scene)

    def on_resize(self) -> None:
        """Fit the new size."""
        self.show(self._scene)

    def render_line(self, y: int) -> Strip:
        """Draw a line, centred."""
        width, height = self.size
        blank = self.rich_style
        if not self._strips:
            words = "opening the picture"
            return centred_words(words, y, (width, height), blank, self.app.console)
        left, top = self._corner
        if not 0 <= y - top < len(self._strips):
            return Strip.blank(width, blank)
        margin = [Segment(" " * left, blank)] if left else []
        return Strip([*margin, *self._strips[y - top]]).adjust_cell_length(width, blank)

    def on_click(self, event: events.Click) -> None:
        """Pick the clicked patch."""
        offset = event.get_content_offset(self)
        if offset is None or self._plan is None:
            return
        left, top = self._corner
        x, y = offset.x - left, 2 * (offset.y - top)
        found = (self._plan.patch_at(x, each) for each in (y, y + 1))
        patch = next((patch for patch in found if patch is not None), None)
        if patch is not None:
            self.post_message(self.Picked(patch))

    # ------------------------------------------------------------------ scaling

    def _planned(self) -> Plan | None:
        """Return the picture for the present size, or have it made."""
        image, size, scene = self._image, self.size, self._scene
        if image is None or min(size) < 3:
            return None
        key = (size.width, size.height, scene.sheet, scene.signed, self._version)
        if key in self._plans or self._planning == key:
            return self._plans.get(key)
        self._planning = key
        behind = self.background_colors[1]
        make = partial(
            plan,
            image,
            (size.width, size.height),
            self._picture_size,
            scene.patches,
            scene.sheet,
            even=self._colours is not Colours.FINE,
            indexed=self._colours is Colours.INDEXED,
            background=(behind.r, behind.g, behind.b),
            ramp=AROUND_ZERO if scene.signed else FROM_LOW,
        )
        in_thread(
            lambda: self._post(self.Planned(key, make())),
            lambda line: self._post(self.Refused(line)),
        )
        return None

    # ------------------------------------------------------------------ drawing

    def _draw(self, made: Plan, scene: Scene) -> None:
        codes = made.pixels(scene.steps, scene.framed)
        before, old_marks = self._codes, self._marks
        self._plan, self._codes, self._marks = made, codes, _marks(made, scene)
        if before is None or before.shape != codes.shape:
            self._strips = [self._line(y) for y in range(codes.shape[0] // 2)]
            self.refresh()
            return
        left, top = self._corner
        spans = cells_that_differ(before, codes)
        for y in self._marks.keys() | old_marks.keys():
            if self._marks.get(y, _NO_MARKS) != old_marks.get(y, _NO_MARKS):
                spans.append((y, 0, codes.shape[1]))
        for y, _, _ in spans:
            self._strips[y] = self._line(y)
        if spans:
            self.refresh(*(Region(left + a, top + y, b - a, 1) for y, a, b in spans))

    def _line(self, y: int) -> Strip:
        assert self._plan is not None
        assert self._codes is not None
        upper, lower = self._codes[2 * y].tolist(), self._codes[2 * y + 1].tolist()
        marks = self._marks.get(y, _NO_MARKS)
        return marked_line(upper, lower, marks, indexed=self._plan.indexed)

    @property
    def _corner(self) -> tuple[int, int]:
        if self._codes is None:
            return (0, 0)
        lines, columns = self._codes.shape[0] // 2, self._codes.shape[1]
        return (max((self.size.width - columns) // 2, 0), max((self.size.height - lines) // 2, 0))

    def _post(self, message: Message) -> None:
        with suppress(RuntimeError):  # the screen has closed
            self.post_message(message)


def _widest(made: Plan) -> int:
    """Return the width of the widest patch in cells."""
    return max((right - left for left, _, right, _ in made.frames.values()), default=0)


def _marks(made: Plan, scene: Scene) -> dict[int, Marks]:
    """Return line -> what is written there: a mark on sinks, and words in the middle of patches
    that are wide enough."""
    roomy = scene.words is not None and _widest(made) >= _ROOM_FOR_WORDS
    words = scene.words() if roomy and scene.words is not None else {}
    if not words and not scene.sinks:
        return {}
    lines: dict[int, dict[int, tuple[str, Style]]] = {}
    for patch, (y, x) in zip(made.patches.tolist(), made.middles.tolist(), strict=True):
        left, _, right, _ = made.frames[patch]
        text, share = SINK if patch in scene.sinks else "", 1.0
        word, likely = words.get(patch, ("", 0.0))
        if likely >= _LEAST_SHARE and right - left >= _ROOM_FOR_WORDS:
            share = likely
            text = display_text(word.removeprefix(" ") or word, right - left - 1).rstrip()
        # The last cell of a patch stays blank, so that words side by side do not run together.
        column = max(min(x - cell_len(text) // 2, right - 1 - cell_len(text)), left, 0)
        line = lines.setdefault(y // 2, {})
        step = NO_STEP if scene.steps is None else int(scene.steps[patch])
        style = (_ON_LIGHT if STEPS - 3 < step < STEPS else _ON_DARK)[share >= _SURE]
        for piece in show_pieces(text, spaces=False):
            if column + piece.width <= made.shape[1]:
                line[column] = (piece.text, style)
            column += piece.width
    return {y: line for y, line in lines.items() if line}
