"""Decides what the picture pane shows: the picture, or what the model sees of it."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from engine.events import ModelReady, ReadingMade, RunEnded, RunStarted
from engine.methods.seen import SeenReading, SeenRequest
from engine.records import Picture
from tui.disk.remembered import Remembered
from tui.main_screen import MainScreen
from tui.state.changed_since import is_same_picture
from tui.state.dispatch import Dispatch
from tui.state.view_state import ViewState
from tui.views.picture.preview import Preview
from tui.worker.asker import Asker

_WITHOUT_PIXELS = frozenset({"none", "unk", "unk-all", "other"})
"""Counterfactuals without pixels that the worker could show."""


class PictureShown:
    """Keeps the picture pane in step with the question and the shown run."""

    def __init__(
        self, main: MainScreen, state: ViewState, asker: Asker, remembered: Remembered
    ) -> None:
        self._main = main
        self._state = state
        self._asker = asker
        self._remembered = remembered
        self.shows_seen = False
        self._opened: Picture | None = None
        """The picture in the pane, or the one that was to be opened there."""

    def connect(self, dispatch: Dispatch) -> None:
        """Register for the events that concern the picture."""
        dispatch.on(ModelReady, self._model_ready)
        dispatch.on(RunStarted, lambda _: self._another_run())
        dispatch.on(RunEnded, lambda _: self.show_facts())
        dispatch.on(ReadingMade, self._reading_made)

    def open(self) -> None:
        """Show the picture of the next run."""
        picture = self._state.question.picture
        if picture is None and self._asker.bundled is not None:
            picture = Picture(str(self._asker.bundled))
        if picture is None:
            self._opened = None
            self._main.preview.clear()
        elif self._main.shows_picture:
            self._opened = picture
            run = self._state.current
            asked = run.run.question.picture if run is not None else None
            if asked is not None and is_same_picture(asked, picture):
                # The run's own record has what is needed where the file is not, or not any more.
                self._main.preview.open(asked, of_run=True)
            else:
                self._main.preview.open(picture)

    def keep_up(self) -> None:
        """Show the picture of the next run if the pane shows another."""
        if not is_same_picture(self._opened, self._state.question.picture):
            self.forget_seen()
            self.open()
        self.show_facts()

    def show_facts(self) -> None:
        """Show below the picture what the processor made of it in the shown run."""
        run = self._state.current
        if run is None or not self.is_of(run.run.question.picture):
            self._main.preview.tell(None, 0)
            return
        tokens = sum(token.kind == "image" for token in run.run.tokens)
        self._main.preview.tell(run.run.processed, tokens)

    def show_seen(self, run_id: str, seen: SeenReading) -> None:
        """Show what the model sees of the picture, if this run is still shown."""
        run = self._state.current
        if run is not None and run.run.id == run_id:
            self.shows_seen = True
            self._main.preview.show_seen(seen)

    def forget_seen(self) -> None:
        """Return to the picture itself, because another picture or run is shown."""
        if self.shows_seen:
            self.shows_seen = False
            self._main.preview.show_original()

    def show_replacement(self) -> None:
        """Show what the model was shown instead of the picture."""
        run = self._state.current
        counterfactual = run.run.question.counterfactual if run is not None else None
        if run is None or counterfactual is None or counterfactual.name in _WITHOUT_PIXELS:
            return
        if run.seen is not None:
            self.show_seen(run.run.id, run.seen)
        else:
            self._asker.read(run, SeenRequest())

    def is_of(self, picture: Picture | None) -> bool:
        """Return whether this is the shown picture."""
        shown = self._state.question.picture
        return picture is not None and is_same_picture(picture, shown)

    def opened(self, opened: Preview.Opened, say: Callable[[str], None]) -> None:
        """Use the picture that has been opened in the next run."""
        known, path = self._state.question.picture, opened.picture.path
        self._opened = opened.picture
        if opened.of_run or (self._asker.bundled is not None and path == str(self._asker.bundled)):
            return
        if known is not None and known.path == path:
            if not known.sha256:  # from now on a change of the file is noticed
                self._state.question = replace(self._state.question, picture=_named(opened.picture))
                if opened.picture.note:
                    say(opened.picture.note)
                return
            if known.sha256 == opened.picture.sha256:
                return
        self._asker.set_picture(_named(opened.picture))
        self._remembered.note_picture(path)
        self.show_facts()
        note = opened.picture.note
        say(f"{note}; r asks about it" if note else "r asks about this picture")

    def _reading_made(self, event: ReadingMade) -> None:
        if isinstance(event.reading, SeenReading):
            self.show_seen(event.run_id, event.reading)

    def _another_run(self) -> None:
        self.forget_seen()
        self.show_facts()

    def _model_ready(self, event: ModelReady) -> None:
        if self._state.question.picture is None:
            reason = "" if event.takes_pictures else "this model reads text only"
            self._opened = None
            self._main.preview.clear(reason)


def _named(picture: Picture) -> Picture:
    """Return a picture without its preview: the file itself is asked about and enlarged."""
    return replace(picture, preview=None)
