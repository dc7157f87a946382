"""A widget that draws all of its lines at once, and writes those that have changed."""

from __future__ import annotations

from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.strips import redraw_changes


class DrawnLines(Widget):
    """Keeps the lines that it has drawn; a subclass draws them, to the width that it has then."""

    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self._strips: list[Strip] = []

    def draw(self) -> list[Strip]:
        """The lines, each as wide as the widget."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw anew, and refresh the lines that have changed."""
        if self.size.width:
            old, self._strips = self._strips, self.draw()
            redraw_changes(self, old, self._strips)

    def on_resize(self) -> None:
        """Fit the new size."""
        self._strips = self.draw()
        self.refresh()

    def notify_style_update(self) -> None:
        """Redraw with the colours of the new theme."""
        super().notify_style_update()
        self._strips = []

    def render_line(self, y: int) -> Strip:
        """Draw a line."""
        if not self._strips or self._strips[0].cell_length != self.size.width:
            self._strips = self.draw()
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self.rich_style)
