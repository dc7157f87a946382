"""Keys about the picture: hide it, enlarge it, see it as the model does."""

from __future__ import annotations

from engine.methods.seen import SeenReading, SeenRequest
from engine.records import Picture
from tui.explorer.base import ExplorerBase
from tui.views.picture.preview import Preview


class PictureKeys(ExplorerBase):
    """What the picture pane can do."""

    _shows_seen = False

    def action_picture(self) -> None:
        """Show or hide the picture."""
        if self.startup.ascii:
            self.say("no picture with --ascii")
        elif self._main.toggle_picture():
            self.call_after_refresh(self.show_picture)

    def action_seen(self) -> None:
        """Switch between the picture and what the model sees of it."""
        run = self.state.current
        if self._shows_seen:
            self._shows_seen = False
            self.preview.show_original()
        elif run is None or not run.has_picture:
            self.say("this run has no picture")
        elif run.seen is not None:
            self.show_seen(run.run.id, run.seen)
        elif self.asker.read(run, SeenRequest()) is None:
            self.say("what the model sees needs the model and a run of it: r runs the question")
        if self._main.has_class("-no-picture") and not self.startup.ascii:
            self.action_picture()

    def show_seen(self, run_id: str, seen: SeenReading) -> None:
        """Show what the worker has told of the model's view."""
        run = self.state.current
        if run is not None and run.run.id == run_id:
            self._shows_seen = True
            self.preview.show_seen(seen)

    def action_zoom_picture(self) -> None:
        """Show the picture as large as the screen."""
        from tui.views.picture.picture_view import PictureView

        run, picture = self.state.current, self.state.question.picture
        if picture is None:
            self.say("there is no picture")
            return
        seen = run.seen if run is not None and self._is_of(run.run.question.picture) else None
        self.push_screen(
            PictureView(
                picture,
                seen,
                ascii_only=self.startup.ascii,
                truecolour=self.is_truecolour,
            )
        )

    def show_picture_facts(self) -> None:
        """Say under the picture what became of it in the run that is shown."""
        run = self.state.current
        if run is None or not self._is_of(run.run.question.picture):
            self.preview.tell(None, 0)
            return
        tokens = sum(token.kind == "image" for token in run.run.tokens)
        self.preview.tell(run.run.processed, tokens)

    def forget_seen(self) -> None:
        """Another picture or run is shown: it is seen as it is."""
        if self._shows_seen:
            self._shows_seen = False
            self.preview.show_original()

    def _is_of(self, picture: Picture | None) -> bool:
        shown = self.state.question.picture
        return picture is not None and shown is not None and picture.path == shown.path

    def on_preview_refused(self, message: Preview.Refused) -> None:
        """A picture that cannot be shown is a line, not an end."""
        self._shows_seen = False
        self.say(message.error, "error")

    def on_preview_opened(self, message: Preview.Opened) -> None:
        """A picture that could be opened is what the next run asks about."""
        shown = message.picture.path
        known = self.state.question.picture
        if self.asker.bundled is not None and shown == str(self.asker.bundled):
            return
        if known is None or known.path != shown:
            self.asker.set_picture(Picture(shown))
            self.remembered.note_picture(shown)
            self.show_picture_facts()
            self.say("r asks about this picture")
