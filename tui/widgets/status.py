"""The lines above and below the panes: model, progress, messages and keys."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from engine.records import ModelCard, Run
from tui.actions.keymap import Hint, Keymap
from tui.state.changed_since import is_same_model, is_same_name
from tui.state.run_view import Phase, RunView
from tui.state.view_state import ModelPhase, ModelView, ViewState
from tui.text.numbers import number, total_seconds
from tui.text.show import display_text, plain_line
from tui.widgets.explaining import Caption, Kind
from tui.widgets.places import place_words, title_words
from tui.widgets.remedies import with_keys

_PROGRESS = 24
_CANCELS = "   ^c cancels"
_REVISION = 12
"""Characters of a commit that tell it from others."""
_KEPT_HINTS = 2
"""Number of hints at the end of the key bar (help and quit) that are shown at any width."""


class Line(Static):
    """One line of text, redrawn only when it changes."""

    def __init__(self, identity: str) -> None:
        super().__init__("", id=identity, markup=False)
        self._line: Content | None = None

    def put(self, line: Content) -> None:
        """Show a line."""
        if self._line is None or not self._line.is_same(line):
            self._line = line
            self.update(line, layout=False)

    def captions(self) -> Iterable[Caption]:
        """Return the line."""
        return [Caption(0, kind=Kind.WORDS)]


class KeyBar(Widget):
    """The keys that act here. Textual's Footer is not used: it writes 7 kB per change of focus."""

    ALLOW_SELECT = False
    editing: reactive[bool] = reactive(False)

    def __init__(self, keymap: Keymap) -> None:
        super().__init__(id="keys")
        self._keymap = keymap
        self._shown: list[Hint] = []

    def render(self) -> Content:
        """Return as many hints as fit."""
        hints = self._keymap.bar(editing=self.editing)
        kept = hints[-_KEPT_HINTS:]
        room = self.size.width - sum(hint.width for hint in kept)
        shown: list[Hint] = []
        for hint in hints[:-_KEPT_HINTS]:
            room -= hint.width
            if room < 0:
                break
            shown.append(hint)
        self._shown = [*shown, *kept]
        parts: list[Content] = []
        for hint in self._shown:
            parts += [
                Content.styled(f" {hint.key} ", "$primary bold"),
                Content.styled(hint.word + " ", "$faint"),
            ]
        return Content.assemble(*parts)

    async def on_click(self, event: events.Click) -> None:
        """Perform the action of the clicked hint."""
        event.stop()
        right = 0
        for hint in self._shown:
            right += hint.width
            if event.x < right:
                if hint.action == "leave":
                    await self.app.run_action("leave_clicked")
                elif hint.action:
                    await self.app.run_action(f"do({hint.action!r})")
                return


def title_line(state: ViewState, width: int, *, ascii_only: bool) -> Content:
    """Return the top line: the program and the model on the left, the run's facts on the right."""
    risk = ("  ! not on disk" if state.at_risk else "", "bold $error")
    left = Content.assemble((" lenscope ", "bold $primary"), ("  ", ""), _model_name(state), risk)
    facts = _facts(state, ascii_only)
    separator = "  " if ascii_only else " · "
    while facts and left.cell_length + _length(facts, separator) + 3 > width:
        facts = facts[1:]
    right = Content.styled(separator, "$faint").join(facts) if facts else Content("")
    room = width - left.cell_length - right.cell_length - 1
    return Content.assemble(left, " " * max(room, 1), right)


def message_line(
    state: ViewState, keymap: Keymap, width: int, row: int = 0, *, ascii_only: bool
) -> Content:
    """Return the message line: an error, the progress or the outcome; at another position than the
    run's own, what the row there says."""
    note = state.note
    if note is not None:
        colour = {"error": "$error", "good": "$success"}.get(note.kind, "$foreground")
        sign = {"error": "! ", "good": ""}.get(note.kind, "")
        words = with_keys(sign + note.text, note.remedies, keymap)
        text = plain_line(words, ascii_only=ascii_only)
        hint = f"   {note.hint}" if note.hint else ""
        room = width - 2 - len(hint)
        return Content.assemble((f" {_cut(text, room, ascii_only)}", colour), (hint, "$foreground"))
    progress = _progress(state, ascii_only)
    if progress is not None:
        return progress
    at_place = _at_place(state, row, width, ascii_only)
    if at_place is not None:
        return at_place
    outcome = _outcome(state, ascii_only)
    if state.offer:
        offer = _cut(state.offer, width - 2, ascii_only)
        room = width - outcome.cell_length - cell_len(offer) - 2
        if room < 0:
            return Content.styled(f" {offer}", "$warning")
        return Content.assemble(outcome, " " * (room + 1), (offer, "$warning"))
    return outcome


def answer_text(run: RunView | None, *, ascii_only: bool) -> Content:
    """Return the answer's token, or all of the newest answer, for the answer pane."""
    if run is None:
        return Content.styled("no answer yet", "$faint")
    answer = run.answer
    if answer is None:
        word = {Phase.RUNNING: "reading the layers", Phase.CANCELLED: "cancelled"}
        return Content.styled(word.get(run.phase, "no answer"), "$faint")
    if run.refused:
        return Content.styled("refused: the proof failed", "$error")
    whole = run.whole_answer
    first, more, hint = answer.text, "", "   c continues"
    if whole is not None:
        text = plain_line(whole.text, ascii_only=ascii_only).lstrip()
        begin, hint = _word(first, ascii_only), ""
        first, more = (first, text[len(begin) :]) if text.startswith(begin) else ("", text)
    return Content.assemble(
        (_word(first, ascii_only), "bold $answer"),
        (more, "$foreground"),
        (hint, "$faint"),
    )


def _model_name(state: ViewState) -> Content:
    """Return the model of the shown run, and which other one would answer now."""
    run, model = state.current, state.model
    card = run.run.question.model if run is not None else None
    if card is None:
        if model.name:
            return Content.styled(_short_name(model.name), "$foreground")
        return Content.styled("no model", "$faint")
    name = _short_name(card.name)
    if model.phase is ModelPhase.NONE:
        return Content.styled(f"{name} (reopened)", "$foreground")
    if is_same_model(card, model):
        return Content.styled(name, "$foreground")
    return Content.assemble((name, "$foreground"), (f" ({_other_model(card, model)})", "$warning"))


def _other_model(card: ModelCard, model: ModelView) -> str:
    """Return what would answer instead of a run's model: its name, or what else is different."""
    ready = model.ready.model if model.ready is not None else None
    name = _short_name(model.name).rsplit("/", 1)[-1]
    if ready is not None and is_same_name(card, model):
        name = ready.dtype if ready.dtype != card.dtype else (ready.revision or name)[:_REVISION]
    did = {ModelPhase.LOADING: "is loading", ModelPhase.FAILED: "did not load"}
    return f"{plain_line(name)} {did.get(model.phase, 'is loaded')}"


def _short_name(model: str) -> str:
    """Return a hub id unchanged, and the last two parts of a folder."""
    parts = [part for part in model.split("/") if part]
    return plain_line("/".join(parts[-2:]) if len(parts) > 2 else model)


def _facts(state: ViewState, ascii_only: bool) -> list[Content]:
    run = state.current
    card = run.run.question.model if run is not None else None
    if card is None and state.model.ready is not None:
        card = state.model.ready.model
    facts: list[Content] = []
    if card is not None:
        facts += [Content.styled(plain_line(text), "$faint") for text in (card.device, card.dtype)]
    if run is not None:
        proof = _proof(run.run, ascii_only)
        if proof is not None:
            facts.append(proof)
        seconds = total_seconds(run.run)
        if seconds is not None:
            facts.append(Content.styled(f"{number(seconds)} s", "$faint"))
        if run.run.made.prefix:
            reused = f"{run.run.made.prefix} tokens from the cache"
            facts.insert(0, Content.styled(reused, "$faint"))
        at = title_words(run, run.place(state.place))
        if at:
            facts.append(Content.styled(at, "$foreground"))
    return facts


def _proof(run: Run, ascii_only: bool) -> Content | None:
    proof = run.proof
    if proof is None:
        return None
    if proof.passed:
        sign = "proof ok" if ascii_only else "✓ proof"
        return Content.styled(f"{sign} {number(proof.max_abs_difference)}", "$success")
    sign = "PROOF FAILED" if ascii_only else "✗ proof failed"
    return Content.styled(f"{sign} {number(proof.max_abs_difference)}", "bold $error")


def _progress(state: ViewState, ascii_only: bool) -> Content | None:
    model, live = state.model, state.live
    if model.phase is ModelPhase.LOADING:
        stage = plain_line(model.stage or "loading the model", ascii_only=ascii_only)
        return _bar(stage + _elapsed(model.began) + _CANCELS, model.fraction, ascii_only)
    if live is not None:
        done, all_rows = len(live.rows), live.run.layers + 1
        layer = f"layer {max(done - 1, 0)} of {all_rows - 1}{_elapsed(state.asked_at)}"
        text = _queue(state) + layer
        return _bar(text + _CANCELS, done / all_rows, ascii_only)
    if state.asked:
        text = f"{_queue(state)}reading the picture and the prompt{_elapsed(state.asked_at)}"
        return _bar(text + _CANCELS, None, ascii_only)
    return None


def _queue(state: ViewState) -> str:
    """Return which question of the queue is being asked, such as "run 2 of 5: ", or nothing."""
    if not state.queue_length:
        return ""
    return f"run {state.queue_length - len(state.queued)} of {state.queue_length}: "


def _elapsed(since: float) -> str:
    """Return the elapsed whole seconds, if any, so that long work does not look stuck."""
    seconds = int(monotonic() - since)
    return f", {seconds} s" if seconds else ""


def _bar(text: str, fraction: float | None, ascii_only: bool) -> Content:
    full, empty = ("#", "-") if ascii_only else ("━", "─")
    if fraction is None:
        return Content.styled(f" {text}", "$foreground")
    done = round(min(max(fraction, 0), 1) * _PROGRESS)
    return Content.assemble(
        " ",
        (full * done, "$primary"),
        (empty * (_PROGRESS - done), "$frame"),
        (f"  {text}", "$foreground"),
    )


def _at_place(state: ViewState, row: int, width: int, ascii_only: bool) -> Content | None:
    run = state.current
    if run is None or run.place(state.place) == run.run.position:
        return None
    words = place_words(run, run.place(state.place), row, ascii_only=ascii_only)
    return Content.styled(f" {_cut(words, width - 2, ascii_only)}", "$foreground")


def _outcome(state: ViewState, ascii_only: bool) -> Content:
    run = state.current
    if run is None:
        hint = "press r to run the question, ? for help"
        if state.model.phase in (ModelPhase.NONE, ModelPhase.FAILED):
            hint = "no model is loaded: M chooses one, o opens a session"
        return Content.styled(" " + hint, "$faint")
    answer, formation = run.answer, run.formation
    if answer is None or formation is None:
        return Content.styled(f" {run.phase.value}", "$faint")
    shown = display_text(answer.text, ascii_only=ascii_only)
    return Content.assemble(
        (f" {shown}", "bold $answer"),
        (f" {answer.probability:.1%}", "$answer"),
        (f"   top-1 for good from layer {formation} of {run.run.layers}", "$faint"),
    )


def _word(text: str, ascii_only: bool) -> str:
    """Return a token as running text; visible marks are used only if it is all blanks."""
    if not text:
        return ""
    plain = plain_line(text, ascii_only=ascii_only).lstrip()
    return plain or display_text(text, ascii_only=ascii_only)


def _length(parts: list[Content], separator: str) -> int:
    return sum(part.cell_length for part in parts) + len(separator) * max(len(parts) - 1, 0)


def _cut(text: str, width: int, ascii_only: bool) -> str:
    if cell_len(text) <= width:
        return text
    return display_text(text, max(width, 1), spaces=False, ascii_only=ascii_only)
