"""The answer: its text above, a column for each of its tokens with every row below it, and how it
was decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from msgspec.structs import replace
from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget

from engine.events import Event
from engine.lens.decoding_settings import MOST_NEW_TOKENS
from engine.methods.answer import AnswerReading, AnswerRequest
from engine.records import Reading
from tui.state.answer_steps import AnswerSteps
from tui.state.run_view import RunView
from tui.state.tints import Tint
from tui.text.decoding import checkpoint_counts, checkpoint_words, decoding_words
from tui.text.numbers import number
from tui.text.show import display_text, plain_line
from tui.views.answer.along import Along
from tui.views.answer.answer_grid import AnswerGrid
from tui.views.answer.answer_legend import AnswerLegend
from tui.views.answer.answer_text import AnswerText
from tui.views.answer.asking import AskingAnswer
from tui.views.answer.settings_dialog import DecodingDialog
from tui.views.answer.token_panel import TokenPanel
from tui.views.reading_screen import STEPS, ReadingScreen
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.legend import ScaleShown
from tui.widgets.places import PlaceChosen
from tui.widgets.view_context import ViewContext

_HEIGHTS: Final = [(0, "-h-low"), (20, "-h-middle"), (30, "-h-high"), (50, "-h-huge")]
_BORDER: Final = 6
"""Cells of a line in a border that are not its text."""
_LEAST_PANEL: Final = 4
_KEYS: Final = (
    "<> token", "jk row", "f tint", "e settings", "c more", "tab texts", "n next by tint",
    "% heat", "r reads", "Y copies", "enter table", "q closes",
)  # fmt: skip
_DECODING: Final = "decoding: "
_HAS_ENDED: Final = "the model has ended this answer"
_MEANING: Final = "A column has the rows before its token: gold where that token is the best."


class AnswerScreen(ReadingScreen[AskingAnswer]):
    """Shows the newest answer of a run, and decodes others."""

    VIEW: ClassVar[str] = "answer"
    DEFAULT_CSS = """
    AnswerScreen { background: $background; }
    AnswerScreen AnswerText, AnswerScreen AnswerGrid {
        width: 100%; border: round $frame; border-title-color: $faint;
        border-subtitle-color: $faint; background: $background;
    }
    AnswerScreen AnswerGrid { height: 1fr; }
    AnswerScreen AnswerText { height: 4; }
    AnswerScreen.-h-low AnswerText { height: 3; }
    AnswerScreen.-h-high AnswerText { height: 6; }
    AnswerScreen.-h-huge AnswerText { height: 8; }
    AnswerScreen TokenPanel { width: 100%; }
    AnswerScreen.-h-low TokenPanel { display: none; }
    AnswerScreen AnswerLegend { height: 4; }
    AnswerScreen.-ascii AnswerText, AnswerScreen.-ascii AnswerGrid { border: ascii $frame; }
    """
    VERTICAL_BREAKPOINTS = _HEIGHTS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("q,5,1", "dismiss", show=False),
        Binding("right,l,greater_than_sign", "move(1)", show=False),
        Binding("left,h,less_than_sign", "move(-1)", show=False),
        Binding("j,down", "line(1)", show=False),
        Binding("k,up", "line(-1)", show=False),
        *STEPS,
        Binding("f", "tint(1)", show=False),
        Binding("F", "tint(-1)", show=False),
        Binding("n", "by_tint(1)", show=False),
        Binding("N", "by_tint(-1)", show=False),
        Binding("percent_sign", "heat", show=False),
        Binding("tab", "panel", show=False),
        Binding("e", "settings", show=False),
        Binding("c", "more", show=False),
        Binding("Y", "copy", show=False),
    ]

    def __init__(
        self,
        run: RunView,
        request: AnswerRequest,
        context: ViewContext,
        *,
        others: Callable[[], Sequence[RunView]],
        remember: Callable[[AnswerRequest], None],
        decodes: bool,
    ) -> None:
        """Show a run's newest answer; with `decodes`, the one that has been decoded with the
        settings of `request`. If there is none, decode it. `remember` is told with which
        settings answers are decoded from now on; `others` returns the run's counterfactuals."""
        super().__init__(AskingAnswer(run.own, context, others), context)
        self.run = run.own
        self.request = request
        self.along = Along(self.run)
        self.reading: AnswerReading | None = None
        """The shown answer, once it is whole."""
        self._remember = remember
        self._decodes = decodes
        self._beside = (request.attention, request.against)
        """What is read beside every answer because the user has set it, and not for a tint."""
        self._arriving = AnswerSteps()
        """The steps of the answer that is being decoded."""
        self.text = AnswerText(self.along, ascii_only=self._ascii)
        self.grid = AnswerGrid(self.along, ascii_only=self._ascii)
        self.panel = TokenPanel(self.along, ascii_only=self._ascii)
        self.legend = AnswerLegend(_KEYS, ascii_only=self._ascii, marks=False)

    def compose(self) -> ComposeResult:
        """Lay out the text, the columns and the lines below."""
        yield self.text
        yield self.grid
        yield self.panel
        yield self.legend

    def on_mount(self) -> None:
        """Show the answer that the run holds, or decode one."""
        known = self.run.reading_of("answer", self.request if self._decodes else None)
        if isinstance(known, AnswerReading):
            self._take(known)
            self.request = known.request
            self.along.step = 0
        else:
            self._decode(self.request)
        self.show()

    # ------------------------------------------------------------------ the answer

    def _decode(self, request: AnswerRequest, *, chosen: bool = False) -> None:
        """Decode an answer in place of the one that is shown; `chosen` are settings that the user
        has entered."""
        self.request = request
        if not self._asking.decode(request):
            return
        self._note_settings(request, chosen=chosen)
        again = self.reading is not None and replace(
            request, attention=False, against=""
        ) == replace(self.reading.request, attention=False, against="")
        if not again:
            self.reading = None
            self.along.follows = True
            self.along.put(AnswerSteps())
        self._arriving = AnswerSteps()

    def _note_settings(self, request: AnswerRequest, *, chosen: bool) -> None:
        """Remember the settings for further answers, without what only a tint has needed."""
        if chosen:
            self._beside = (request.attention, request.against)
        attention, against = self._beside
        self._remember(replace(request, attention=attention, against=against))

    def hear(self, events: Sequence[Event]) -> None:
        """Take what has been decoded."""
        made = self._heard(events)
        for part in self._asking.take_parts():
            self._arriving.take_part(part)
            if self.reading is None:
                self.along.put(self._arriving)
        for each in made:
            if not isinstance(each.reading, AnswerReading):
                continue
            its, wanted = each.reading.request, self.request
            if replace(its, draws=wanted.draws) == wanted and its.draws <= wanted.draws:
                self._take(each.reading)
                if its.draws < wanted.draws:
                    self.request = its
                    self._note = f"stopped: {its.draws:,} of {wanted.draws:,} answers are kept"
        self.show()

    def _take(self, reading: Reading) -> None:
        assert isinstance(reading, AnswerReading)
        self.reading = self.panel.reading = reading
        self.along.put(AnswerSteps.of_reading(reading))

    def cancel(self) -> bool:
        """Stop decoding; return whether anything was on its way."""
        if not self._asking.is_under_way:
            return False
        self._asking.stop()
        steps = self.along.steps
        self._note = f"stopped after {steps.count} tokens, none is kept: r decodes again"
        if steps.drawn:
            self._note = f"stopping: {steps.drawn + 1:,} answers are kept"
        if self.reading is not None:
            self._note = "stopped: r reads on"
        self.show()
        return True

    # ------------------------------------------------------------------ keys

    def action_leave(self) -> None:
        """Stop decoding, or else close."""
        if not self.cancel():
            self.dismiss()

    def action_move(self, by: int) -> None:
        """Go to a later or an earlier token."""
        self.along.go_to(self.along.step + by)
        self._moved()

    def action_line(self, by: int) -> None:
        """Go down or up by rows."""
        self.along.row = min(max(self.along.row + by, 0), self.run.run.layers)
        self._moved()

    def action_edge(self, side: int) -> None:
        """Go to the first or the last row."""
        self.along.row = 0 if side < 0 else self.run.run.layers
        self._moved()

    def action_tint(self, by: int) -> None:
        """Tint the text by the next measure."""
        self.along.tint = self.along.tint.after(by)
        self._moved()

    def action_by_tint(self, by: int) -> None:
        """Go to the token with the next largest tint."""
        step = self.along.best_by_tint(by)
        if step is None:
            self._moved("f chooses by what the tokens are ordered")
        else:
            self.along.go_to(step)
            self._moved()

    def action_heat(self) -> None:
        """Colour the cells by the next measure."""
        self.along.next_heat()
        self._moved()

    def action_panel(self) -> None:
        """Show the token, the texts or the settings below the columns."""
        self.panel.panel = self.panel.panel.next
        self._moved()

    def action_settings(self) -> None:
        """Ask for the settings, and decode with them."""
        self.app.push_screen(
            DecodingDialog(self.request, ascii_only=self._ascii), self._take_settings
        )

    def _take_settings(self, request: AnswerRequest | None) -> None:
        if request is None:
            return
        known = self.run.reading_of("answer", request)
        if isinstance(known, AnswerReading):
            self._asking.stop()
            self.request = request
            self._note_settings(request, chosen=True)
            self._take(known)
        else:
            self._decode(request, chosen=True)
        self._moved()

    def action_more(self) -> None:
        """Decode the answer with twice as many tokens, if it was cut off."""
        if self._asking.is_under_way:
            has_ended = self.along.steps.ended
            self._moved(_HAS_ENDED if has_ended else "the answer is still growing")
        elif self.reading is None:
            self._decode(self.request)
            self._moved()
        elif self.reading.ended:
            self._moved(_HAS_ENDED)
        elif self.request.max_new_tokens >= MOST_NEW_TOKENS:
            self._moved(f"an answer has at most {MOST_NEW_TOKENS} tokens")
        else:
            twice = min(2 * self.request.max_new_tokens, MOST_NEW_TOKENS)
            self._decode(replace(self.request, max_new_tokens=twice))
            self._moved()

    def action_read_again(self) -> None:
        """Decode what was stopped or refused, or once more with what the tint needs."""
        request, tint = self.request, self.along.tint
        if self._asking.is_under_way:
            self._moved("it is being read")
            return
        if self.reading is not None and not tint.is_known(self.along.steps):
            if tint is Tint.PICTURE:
                request = replace(request, attention=True)
            elif tint is Tint.JS:
                request = replace(request, against=request.against or "none")
        known = self.run.reading_of("answer", request)
        if self._is_newest and isinstance(known, AnswerReading):
            self._moved("there is nothing more to read")
        else:
            self._decode(request)
            self._moved()

    def action_choose(self) -> None:
        """Close, and show the token's own table on the main screen, at this row."""
        if self.reading is None and self.along.step:
            self._moved("the tables of its tokens can be opened once the answer has ended")
            return
        if self.along.step and not self._is_newest:
            self._moved("only tokens of the newest answer have tables: r decodes this one again")
            return
        self.app.post_message(PlaceChosen(self.along.position, self.along.row))
        self.dismiss()

    @property
    def _is_newest(self) -> bool:
        """Whether the shown answer has the tokens that stand at the positions after the prompt."""
        newest = tuple(token.id for token in self.run.answer_tokens)
        return self.reading is not None and self.along.steps.tokens == newest

    def on_answer_grid_cell_picked(self, message: AnswerGrid.CellPicked) -> None:
        """Go to the clicked cell."""
        message.stop()
        self.along.go_to(message.step, message.row)
        self._moved()

    def on_answer_text_token_picked(self, message: AnswerText.TokenPicked) -> None:
        """Go to the clicked token."""
        message.stop()
        self.along.go_to(message.step)
        self._moved()

    def _moved(self, note: str = "") -> None:
        self._note = note
        self.show()

    # ------------------------------------------------------------------ showing

    def show(self) -> None:
        """Show everything as it is now; only what has changed is drawn again."""
        if not self.is_attached:
            return
        self._show_panel()
        self.text.redraw()
        self.grid.show()
        self._put_captions()
        self._show_legend()

    def _show_panel(self) -> None:
        panel = self.panel
        panel.settings = tuple(self._settings_lines())
        wanted = panel.lines_wanted()
        height = min(max(wanted, _LEAST_PANEL), max(self.size.height // 3, _LEAST_PANEL))
        if panel.styles.height is None or panel.styles.height.value != height:
            panel.styles.height = height
        panel.redraw()

    def _put_captions(self) -> None:
        steps, reading = self.along.steps, self.reading
        name = display_text(self.run.name, 30, spaces=False, ascii_only=self._ascii).rstrip()
        how = "" if self.request.vdd is None else " with VDD"
        title = f"answer{how}, {steps.count} tokens, {name}"
        if self._asking.is_under_way:
            title = f"answer{how}, {self._asking.progress or 'decoding'}, {name}"
        elif reading is not None and not reading.ended:
            title = f"answer{how}, cut off after {steps.count} tokens, {name}"
        self._put(self.text, title, "")
        heat = f"every token's rows, {self.along.heat.caption}"
        proof = ""
        if reading is not None and reading.proof is not None:
            proof = (
                f"proof{'' if reading.proof.passed else ' failed'} {number(reading.proof.error)}"
            )
        words = self.along.cell_words(ascii_only=self._ascii)
        self._put(self.grid, heat, "  ".join(part for part in (words, proof) if part))

    def _put(self, widget: Widget, title: str, subtitle: str) -> None:
        room = max(self.size.width - _BORDER, 1)
        for put, words in ((put_title, title), (put_subtitle, subtitle)):
            shown = display_text(words, spaces=False, ascii_only=self._ascii)
            if len(shown) > room:
                shown = display_text(words, room, spaces=False, ascii_only=self._ascii).rstrip()
            put(widget, shown)

    def _settings_lines(self) -> list[str]:
        reading = self.reading
        used = reading.settings if reading is not None else None
        request = reading.request if reading is not None else self.request
        lines = [f"{_DECODING}{decoding_words(request, used, ascii_only=self._ascii)}"]
        if reading is not None:
            lines += checkpoint_words(reading, ascii_only=self._ascii)
        return lines

    def _show_legend(self) -> None:
        tint, steps = self.along.tint, self.along.steps
        place = f"row {self.along.row} of 0-{self.run.run.layers}, token {self.along.step}"
        scale = ScaleShown(tint.caption, place=place)
        if tint is not Tint.NOTHING and tint.is_known(steps) and steps.count:
            low, high = tint.shown(0.0), tint.shown(tint.top(steps))
            scale = ScaleShown(tint.caption, low, high, "linear", place)
        self.legend.show(scale, (self._settings_line(), "good"), self._last_line())

    def _settings_line(self) -> str:
        """The settings in one line, with fewer words about the checkpoint's own where it is too
        narrow; the panel has them all."""
        decoding, *own = self._settings_lines()
        counts = [checkpoint_counts(self.reading)] if self.reading is not None and own else []
        tries = ["; ".join([decoding, *words]) for words in (own, own[:1], counts)]
        tries.append(tries[-1].removeprefix(_DECODING))
        room = self.size.width - 1
        return next((words for words in tries if cell_len(words) <= room), tries[-1])

    def _last_line(self) -> tuple[str, str]:
        steps, tint = self.along.steps, self.along.tint
        wrong = steps.failed or self._asking.trouble
        if self._note:
            return (self._note, "good")
        if wrong:
            return (plain_line(wrong, ascii_only=self._ascii), "error")
        if self._asking.is_under_way:
            keeps = f", and keeps the {steps.drawn + 1:,}" if steps.drawn else ""
            return (f"{self._asking.progress or 'decoding'}: esc or ^c stops{keeps}", "good")
        if self.reading is not None and not tint.is_known(steps):
            reason = self.reading.picture_reason if tint is Tint.PICTURE else ""
            asked = self.reading.request.attention if tint is Tint.PICTURE else False
            words = f"r reads {tint.caption}: the same answer is decoded again"
            if asked and reason:
                words = f"{tint.caption}: {reason}"
            return (plain_line(words, ascii_only=self._ascii), "strong")
        if self.reading is not None and self.reading.approximate:
            first = self.reading.approximate[0]
            words = f"row {first.row} is approximate: {first.reason}"
            return (plain_line(words, ascii_only=self._ascii), "faint")
        return (_MEANING, "faint")
