"""The layer detail of both runs side by side, below their table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.strip import Strip

from engine.records import LayerReading
from tui.state.comparing import AlignedRow
from tui.state.run_view import RunView
from tui.text.show import plain_line
from tui.views.detail.detail_captions import detail_captions
from tui.views.detail.detail_rows import DetailLook, capacity, detail_lines
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption
from tui.widgets.strips import strip_of
from tui.widgets.styles import Segments


class PairDetail(DrawnLines):
    """Shows the tokens of a row of both runs; hidden until it is opened."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"pair-detail--faint", "pair-detail--answer"}
    DEFAULT_CSS = """
    PairDetail { height: 12; width: 100%; display: none; }
    PairDetail.-open { display: block; }
    PairDetail > .pair-detail--faint { color: $faint; }
    PairDetail > .pair-detail--answer { color: $answer; text-style: bold; }
    """

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._sides: tuple[RunView, RunView] | None = None
        self._pair: AlignedRow | None = None
        self._first = 0
        """How many of the top tokens are scrolled out above, where a side holds so many more."""

    def show(self, sides: tuple[RunView, RunView], pair: AlignedRow | None) -> None:
        """Show a row of two runs."""
        self._sides, self._pair = sides, pair
        if self.has_class("-open"):
            self.redraw()

    def toggle(self) -> None:
        """Open or close it."""
        self._strips = []
        self.toggle_class("-open")

    def scroll_tokens(self, pages: float) -> bool:
        """Scroll through the tokens that the sides hold; return whether that was possible."""
        before = self._first
        readings = [self._reading(side) for side in (0, 1)]
        most = max((len(reading.top) for reading in readings if reading is not None), default=0)
        step = round(pages * self._room) or (1 if pages > 0 else -1)
        self._first = min(max(self._first + step, 0), max(most - self._room, 0))
        if self._sides is not None and self._first != before:
            self.show(self._sides, self._pair)
        return self._first != before

    @property
    def _room(self) -> int:
        """How many tokens of a side fit."""
        return capacity((self.size.width - 1) // 2, self.size.height)

    def _reading(self, side: int) -> LayerReading | None:
        if self._pair is None or self._sides is None:
            return None
        return self._sides[side].reading((self._pair.left_layer, self._pair.right_layer)[side])

    def captions(self) -> Iterable[Caption]:
        """Return those of the row of either side, each in its half."""
        half, height = (self.size.width - 1) // 2, self.size.height
        for side, (start, stop) in enumerate(((0, half), (half + 1, None))):
            reading = self._reading(side)
            if reading is not None:
                size, held = (half, height), len(reading.top)
                first = self._skipped(reading, size)
                yield from detail_captions(size, held, first, start=start, stop=stop)

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`: lines of both sides."""
        base, (width, height) = self.rich_style, self.size
        look = DetailLook(
            text=base,
            faint=base + self.get_component_rich_style("pair-detail--faint"),
            answer=base + self.get_component_rich_style("pair-detail--answer"),
        )
        half = (width - 1) // 2
        left, right = (self._side(side, half, height, look) for side in (0, 1))
        bar = "|" if self._ascii else "│"
        strips = []
        for y in range(height):
            one = strip_of(left[y] if y < len(left) else [], half, base)
            other = strip_of(right[y] if y < len(right) else [], width - half - 1, base)
            strips.append(Strip([*one, *strip_of([(bar, look.faint)], 1, base), *other], width))
        return strips

    def _side(self, side: int, width: int, height: int, look: DetailLook) -> list[Segments]:
        if self._pair is None or self._sides is None:
            return []
        run = self._sides[side]
        reading = self._reading(side)
        if reading is None:
            why = plain_line(run.blank, ascii_only=self._ascii) or "not read"
            return [[(f" {why}", look.faint)]]
        answer = run.answer
        return detail_lines(
            reading,
            run.reading(reading.layer - 1),
            answer.id if answer else None,
            (width, height),
            look,
            first=self._skipped(reading, (width, height)),
            answer_name=run.answer_name,
            ascii_only=self._ascii,
        )

    def _skipped(self, reading: LayerReading, size: tuple[int, int]) -> int:
        """Return how many tokens of a side of this size are scrolled out."""
        return min(self._first, max(len(reading.top) - capacity(*size), 0))
