"""A pane with the picture under a map; marks in place of it where it cannot be shown."""

from __future__ import annotations

import os

from textual.app import ComposeResult
from textual.containers import Container

from engine.records import Picture
from tui.text.show import display_text, whole_parts
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.half_blocks import Colours
from tui.widgets.marks import MARKS, SIGNED_MARKS, MarkCanvas
from tui.widgets.picture_canvas import PictureCanvas, Scene


class PatchPane(Container):
    """Shows a scene: as a picture, or as marks in plain ASCII, without colours, and where the
    picture cannot be opened."""

    DEFAULT_CSS = """
    PatchPane { width: 1fr; height: 100%; }
    PatchPane PictureCanvas, PatchPane MarkCanvas {
        width: 100%; height: 100%; border: round $primary; background: $background;
        border-title-color: $primary; border-subtitle-color: $faint;
    }
    PatchPane.-ascii PictureCanvas, PatchPane.-ascii MarkCanvas { border: ascii $primary; }
    """

    def __init__(self, *, colours: Colours, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self.marks_only = without_colours(ascii_only=ascii_only)
        """Whether marks are shown in place of the picture."""
        self.canvas = PictureCanvas(colours=colours)
        self.mark_canvas = MarkCanvas(ascii_only=ascii_only)
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out both; one of them is visible."""
        yield self.canvas
        yield self.mark_canvas

    def on_mount(self) -> None:
        """Show the one that is wanted."""
        self._choose()

    def open(self, picture: Picture | None) -> None:
        """Open the picture in the background, if there is one and it is to be drawn."""
        if picture is not None and not self.marks_only:
            self.canvas.open(picture)

    def show(self, scene: Scene, otherwise: str) -> None:
        """Show a scene; `otherwise` is shown in place of marks where it has no patches."""
        if not self.marks_only:
            self.canvas.show(scene)
        elif scene.patches.sheets:
            marks = SIGNED_MARKS if scene.signed else MARKS
            self.mark_canvas.show(
                scene.patches, scene.sheet, scene.steps, scene.framed, scene.sinks, marks
            )
        else:
            self.mark_canvas.say(otherwise)

    def show_marks(self) -> None:
        """Show marks from now on."""
        self.marks_only = True
        self._choose()

    def put_captions(self, title: str, subtitle: str) -> None:
        """Set the texts in the borders, made safe and fitted to the width (Textual's own ellipsis
        is not ASCII): the title is cut, of the facts in the subtitle whole ones are left out."""
        shown = self.mark_canvas if self.marks_only else self.canvas
        room = max(shown.size.width - 4, 1)
        title = display_text(title, room, spaces=False, ascii_only=self._ascii).rstrip()
        put_title(shown, title)
        put_subtitle(shown, whole_parts(subtitle, room, ascii_only=self._ascii))

    def _choose(self) -> None:
        self.canvas.display = not self.marks_only
        self.mark_canvas.display = self.marks_only


def without_colours(*, ascii_only: bool) -> bool:
    """Return whether what colours say must be said by letters and marks."""
    return ascii_only or "NO_COLOR" in os.environ
