"""Shows the state on the main screen; only what has changed is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace
from textual.app import App
from textual.timer import Timer

from engine.counterfactuals.grammar import label
from engine.events import RunEnded
from engine.records import Question
from tui.main_screen import MainScreen
from tui.showing.visits import Visits
from tui.state.changed_since import changed_since
from tui.state.dispatch import Dispatch
from tui.state.presets import Preset
from tui.state.run_view import RunView
from tui.state.view_state import CANCELLING, NOT_ENDED, Note, ViewState
from tui.text.show import plain_line
from tui.widgets import status
from tui.widgets.captions import put_title
from tui.widgets.places import title_words
from tui.widgets.run_title import run_title
from tui.widgets.two_runs import Tells
from tui.widgets.view_context import ViewContext

if TYPE_CHECKING:
    from PIL.Image import Image

_UNASKED: Final = "not asked yet"
_LIVE: Final = "live"
REST_SECONDS: Final = 0.1
"""Seconds that the cursor must rest before the views that follow it are drawn."""
GRACE_SECONDS: Final = 0.1
"""Seconds for which the table keeps its rows, and says of which position they are, while those of
another position are read: most arrive within them, and nothing flickers."""

NOTE_SECONDS: Final = 12.0
"""How long a message stays that is no error."""

AFTER_LETTER_SECONDS: Final = 0.05
"""Seconds after a letter in live mode until the rows are marked as of the text before: the letter
is not to wait for it, and nobody has read them by then."""


class _Waiting(Enum):
    """What keeps the table at the position that it shows."""

    NOTHING = "nothing"
    REST = "rest"
    GRACE = "grace"


class Presenter:
    """Shows the state and decides nothing else."""

    def __init__(
        self,
        app: App[Any],
        main: MainScreen,
        state: ViewState,
        context: ViewContext,
        visits: Visits,
    ) -> None:
        self._app = app
        self._main = main
        self._state = state
        self._keymap = context.keymap
        self._ascii = context.ascii_only
        self._visits = visits
        self._rest: Timer | None = None
        self._waiting = _Waiting.NOTHING
        self._at: tuple[str, int] | None = None
        """The run and the position that the table shows."""
        self._clock: Timer | None = None
        self._timed: Note | None = None
        """The message whose time runs."""
        self._note_timer: Timer | None = None
        self._captions_are_due = False
        self.presets: tuple[Preset, ...] = ()
        self._followed = 0
        """The row that the views that follow the cursor show."""
        self._has_ended = False
        """Whether a run has ended since the table was last shown."""
        self.shown: RunView | None = None
        """The run on the screen: while events are applied, the one before them."""
        self.changed: tuple[str, ...] = ()
        """What the question beside the table has different from that of its run."""

    def connect(self, dispatch: Dispatch) -> None:
        """Register for the events that concern the table, and start the clock for elapsed times."""
        dispatch.on(RunEnded, lambda _: self._run_ended())
        self._clock = self._app.set_interval(1, self.show_lines, pause=True)

    @property
    def is_showing(self) -> bool:
        """Whether the panes exist: a callback may arrive after the app has exited."""
        return self._main.is_running and self._main.table.is_attached

    def show_all(self) -> None:
        """Show the current state."""
        if not self.is_showing:
            return
        run, main = self._state.current, self._main
        if run is not None:
            main.make_room_for(run.run.layers + 1)
            if not main.table.keeps_rows_for(run):
                run.before = None  # the table has shown another run meanwhile
        self.shown = run
        shown = self._in_table()
        main.table.show(shown, self._state.look)
        self._go_to_formation(shown)
        main.table.put_notes(self._state.notes)
        self.show_captions()
        if not self._awaits_answer():
            main.line("answer").put(status.answer_text(run, ascii_only=self._ascii))
        self.follow_cursor()
        if self._clock is not None:
            (self._clock.resume if self._state.waiting else self._clock.pause)()

    def show_lines(self) -> None:
        """Show the lines above and below the panes."""
        if not self.is_showing:
            return
        self._show_title()
        self._show_message()

    def _show_title(self) -> None:
        width = self._app.size.width
        self._main.line("title").put(status.title_line(self._state, width, ascii_only=self._ascii))

    def _show_message(self) -> None:
        self._time_note()
        width, row = self._app.size.width, self._main.table.cursor
        message = status.message_line(self._state, self._keymap, width, row, ascii_only=self._ascii)
        self._main.line("message").put(message)

    def _time_note(self) -> None:
        """Let go of a message once it has been read; an error stays until something else is
        done. A screen that covers the message shows it itself."""
        note = self._state.note
        if note is self._timed:
            return
        self._timed = note
        if isinstance(self._app.screen, Tells):
            self._app.screen.tell(note.text if note is not None else "")
        if self._note_timer is not None:
            self._note_timer.stop()
            self._note_timer = None
        if note is not None and note.kind != "error" and note not in (CANCELLING, NOT_ENDED):
            self._note_timer = self._app.set_timer(NOTE_SECONDS, lambda: self._let_go(note))

    def _let_go(self, note: Note) -> None:
        if self._state.note is note:
            self._state.note = None
            self.show_lines()

    def show_asked(self) -> None:
        """Show that a question has been asked, which is all that has changed: the pass is beginning
        and needs the interpreter's lock."""
        if self._state.asked is None:
            self.show_all()  # it waits for the model, or was refused
            return
        self.show_lines()
        if self._clock is not None:
            self._clock.resume()

    def show_draft_asked(self) -> None:
        """Show that a half-typed text has been asked: nothing is drawn, unless it takes long."""
        if self.is_showing and self._clock is not None:
            self._clock.resume()

    def _awaits_answer(self) -> bool:
        """Whether the answer of an earlier text stays on the screen, because the draft that is
        shown has none yet."""
        run = self._state.current
        return (
            run is not None
            and self._state.is_draft
            and bool(run.still_before)
            and run.answer is None
        )

    def follow_cursor(self) -> None:
        """Update the views that follow the cursor."""
        if self.is_showing:
            self._followed = self._main.table.cursor
            self._main.lower.show(self._in_table(), self._followed)
            self.show_place()
            self._show_title()

    def cursor_moved(self) -> None:
        """Update what follows the table's cursor, unless that was done when the app moved it."""
        if self._rest is not None or self._followed != self._main.table.cursor:
            self.follow_cursor_soon()

    def follow_cursor_soon(self) -> None:
        """Update the table and the views that follow the cursor once the cursor has rested."""
        self._wait(_Waiting.REST, REST_SECONDS, self._rested)

    def show_place(self) -> None:
        """Mark the position under the cursor, before the table and the views follow it."""
        if not self.is_showing:
            return
        run, state = self._state.current, self._state
        place = run.place(state.place) if run is not None else 0
        self._main.strip.show(run, place, unfolded=state.unfolded)
        self._main.lower.put_place(place, unfolded=state.unfolded)
        self._show_message()

    def _wait(self, waiting: _Waiting, seconds: float, then: Callable[[], object]) -> None:
        if self._rest is not None:
            self._rest.stop()
        self._waiting = waiting
        self._rest = self._app.set_timer(seconds, then)

    def _rested(self) -> None:
        """Show the position under the cursor in the table; if its rows must be read, wait a little
        for them."""
        run = self._state.current
        place = run.place(self._state.place) if run is not None else 0
        if run is not None and self._at != (run.run.id, place) and run.at(place) is None:
            self._visits.want(run, place)
            if self._visits.is_asked(run, place):
                self._wait(_Waiting.GRACE, GRACE_SECONDS, self._follow)
                return
        self._follow()

    def _follow(self) -> None:
        self._rest, self._waiting = None, _Waiting.NOTHING
        if not self.is_showing:
            return
        run = self._state.current
        before, shown = self._at, self._in_table()
        if run is not None and before != self._at:
            self._main.table.show(shown, self._state.look)
            self._caption_table(self.changed)
        self.follow_cursor()

    def _in_table(self) -> RunView | None:
        """Return the shown run at the position that the table shows: the one under the cursor, once
        the cursor has rested there."""
        run = self._state.current
        if run is None:
            self._at = None
            return None
        place = run.place(self._state.place)
        same_run = self._at is not None and self._at[0] == run.run.id
        stays = self._waiting is _Waiting.REST or (
            self._waiting is _Waiting.GRACE and run.at(place) is None
        )
        if stays and same_run and self._at is not None:
            place = run.place(self._at[1])
        self._at = (run.run.id, place)
        found = run.at(place)
        if found is None:
            found = run.blank_at(place, self._visits.want(run, place))
        return found

    def follow_live(self) -> None:
        """Scroll to the newest row until the user has moved the cursor; not in a draft, whose rows
        take the place of others."""
        live, state = self._state.live, self._state
        if live is not None and not (self._main.table.touched or live is state.drafts.view):
            self._main.table.reveal_row(len(live.rows) - 1)

    def show_captions(self) -> None:
        """Show what the panes hold: in the editor's caption which preset the prompt is, and in all
        of them whether the question beside the table has been asked."""
        if not self.is_showing:
            return
        main, run, question = self._main, self._state.current, self.question()
        self.changed = changed_since(run, question, self._state.model) if run is not None else ()
        self._caption_table(self.changed)
        place = next(
            (preset.place for preset in self.presets if preset.prompt == question.prompt), ""
        )
        fate = self._fate_of_prompt()
        # Beside a place in a set there is no room for the word in the narrowest column.
        name = "" if place and fate else "prompt"
        title = ", ".join(part for part in (name, place, fate) if part)
        put_title(main.editor, plain_line(title, ascii_only=self._ascii))
        is_earlier = self.changed or self._awaits_answer()
        put_title(main.line("answer"), "earlier answer" if is_earlier else "answer")
        main.editor.instead = "run" if self._state.drafts.on else ""
        main.preview.remark(self._remark(run))

    def show_captions_after_edit(self) -> None:
        """Show what the panes hold after the text in the editor has been changed: in live mode,
        where every letter may change all of it, after the frame that shows the letter."""
        if not self._state.drafts.on:
            self.show_captions()
        elif not self._captions_are_due:
            self._captions_are_due = True
            self._app.set_timer(AFTER_LETTER_SECONDS, self._show_due_captions)

    def _show_due_captions(self) -> None:
        self._captions_are_due = False
        self.show_captions()

    def _fate_of_prompt(self) -> str:
        """Return whether the prompt in the editor has been asked, in words."""
        drafts = self._state.drafts
        if drafts.on:
            return f"{_LIVE}: cannot be asked" if drafts.refused else _LIVE
        return _UNASKED * ("prompt" in self.changed)

    def _caption_table(self, changed: tuple[str, ...]) -> None:
        table, run, runs = self._main.table, self._state.current, self._state.runs
        place = f"run {runs.index(run) + 1}/{len(runs)}" if run in runs and len(runs) > 1 else ""
        at = title_words(run, self._at[1]) if run is not None and self._at is not None else ""
        if self._state.is_draft and self._state.drafts.stands:
            place = f"not kept ({self._keymap.first('run') or 'the palette'} keeps it)"
        place = ", ".join(part for part in (at, place) if part)
        before = run.still_before if run is not None else ()
        title = run_title(
            run,
            place,
            changed,
            table.size.width - 4,
            live=self._state.drafts.on or bool(before),
            before=before,
            ascii_only=self._ascii,
        )
        first = before[0][0] if before else None
        table.put_caption(title, changed_from=0 if changed else first)

    def _remark(self, run: RunView | None) -> str:
        """Return what must be known about the picture beside the table."""
        if "picture" in self.changed:
            return _UNASKED
        counterfactual = run.run.question.counterfactual if run is not None else None
        if counterfactual is None:
            return ""
        return f"replaced by {plain_line(label(counterfactual), ascii_only=self._ascii)}"

    @contextmanager
    def as_asked(self, image: Image | None) -> Iterator[None]:
        """Show beside the table what its run was asked meanwhile, for a picture of the screen:
        nothing is sent to the terminal. `image` is the run's picture, opened, if another is shown
        now."""
        run, main, changed = self._state.current, self._main, self.changed
        if run is None or not changed:
            yield
            return
        asked = run.run.question
        tokens = sum(token.kind == "image" for token in run.run.tokens)
        with ExitStack() as shown:
            shown.callback(self._as_before, self._state.note)
            if "prompt" in changed:
                shown.enter_context(main.editor.showing(asked.prompt))
            if "picture" in changed:
                shown.enter_context(
                    main.preview.showing(asked.picture, image, run.run.processed, tokens)
                )
            self._caption_table(())
            put_title(main.editor, "prompt")
            put_title(main.line("answer"), "answer")
            self._state.note = None
            self.show_lines()
            yield

    def _as_before(self, note: Note | None) -> None:
        self._state.note = note
        self.show_lines()
        self.show_captions()

    def put_prompt(self, prompt: str) -> bool:
        """Replace the text in the editor by a prompt; return whether it was typed and not asked:
        then it stays in the menu of prompts."""
        typed = self._main.editor.prompt
        known = {preset.prompt for preset in self.presets}
        known |= {view.run.question.prompt for view in self._state.runs}
        is_kept = bool(typed.strip()) and typed != prompt and typed not in known
        if is_kept:
            self._state.keep_typed(typed)
        self._main.editor.put(prompt)
        self.show_captions()
        return is_kept

    def question(self) -> Question:
        """Return the question of the next run."""
        return replace(
            self._state.question,
            prompt=self._main.editor.prompt,
            top_k=self._state.top_k,
            counterfactual=None,
            model=None,
            text="",
        )

    def _run_ended(self) -> None:
        self._has_ended = True

    def _go_to_formation(self, run: RunView | None) -> None:
        """Move the cursor to the formation row of a run that has ended, unless the user has moved
        it."""
        ended, self._has_ended = self._has_ended, False
        table = self._main.table
        if ended and run is not None and run.formation is not None and not table.touched:
            table.put_cursor(run.formation)
