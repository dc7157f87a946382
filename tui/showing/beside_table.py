"""Keeps the picture, the prompt and the settings beside the table those of the shown run."""

from __future__ import annotations

from msgspec.structs import replace

from engine.events import RunStarted
from engine.records import Picture, Question
from tui.main_screen import MainScreen
from tui.showing.picture_shown import PictureShown
from tui.showing.presenter import Presenter
from tui.state.changed_since import is_asked_in_chat, is_same_picture
from tui.state.dispatch import Dispatch
from tui.state.view_state import ViewState


class BesideTable:
    """Lets the panes beside the table follow the run that is shown.

    A run that the user chooses brings its whole question with it. A run that starts by itself (the
    next of a queue) brings what the user has not changed.
    """

    def __init__(
        self, main: MainScreen, state: ViewState, presenter: Presenter, picture: PictureShown
    ) -> None:
        self._main = main
        self._state = state
        self._presenter = presenter
        self._picture = picture

    def connect(self, dispatch: Dispatch) -> None:
        """Register for runs that start."""
        dispatch.on(RunStarted, lambda _: self._run_started())

    def put(self, asked: Question) -> tuple[str, ...]:
        """Put a run's question beside the table; return what was there and has not been asked:
        "prompt", "picture" or both."""
        state, present = self._state, self._presenter.question()
        unasked = []
        if self._presenter.put_prompt(asked.prompt):
            unasked.append("prompt")
        picture = present.picture
        if not is_same_picture(picture, asked.picture):
            if not self._was_asked_about(picture):
                unasked.append("picture")
            picture = asked.picture
        in_chat = is_asked_in_chat(present, state.model)
        state.question = replace(
            asked,
            picture=picture,
            # The template may be missing only in the model that answered.
            chat=present.chat if asked.chat == in_chat else asked.chat,
            top_k=present.top_k,
            counterfactual=None,
            model=None,
            text="",
        )
        self._picture.keep_up()
        self._presenter.show_captions()
        return tuple(unasked)

    def _was_asked_about(self, picture: Picture | None) -> bool:
        return picture is None or any(
            is_same_picture(view.run.question.picture, picture) for view in self._state.runs
        )

    def _run_started(self) -> None:
        before, run = self._presenter.shown, self._state.current
        self._presenter.shown = run
        if run is None or run is before:
            return
        asked, present, editor = run.run.question, self._presenter.question(), self._main.editor
        old = before.run.question if before is not None else None
        is_typed = editor.has_focus or old is None or present.prompt != old.prompt
        if not is_typed and present.prompt != asked.prompt:
            self._presenter.put_prompt(asked.prompt)
        if _is_followed(present.picture, old, asked.picture):
            self._state.question = replace(self._state.question, picture=asked.picture)
            self._picture.keep_up()
        self._presenter.show_captions()


def _is_followed(present: Picture | None, old: Question | None, asked: Picture | None) -> bool:
    """Return whether the picture of a run that has started takes the place of the present one: if
    that is of the run before, or the same file before it was written again."""
    if asked is None or is_same_picture(present, asked):
        return False
    if old is not None and is_same_picture(present, old.picture):
        return True
    return present is not None and present.path == asked.path
