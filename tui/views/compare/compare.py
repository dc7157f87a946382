"""Two runs side by side, row by row, and where they part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from rich.cells import cell_len
from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen

from engine.counterfactuals.defaults import CONTRAST_A, CONTRAST_B
from engine.methods.contrast import ContrastReading, ContrastRow
from engine.records import Comparison, LayerReading, Token
from tui.state.comparing import Change, Compared, ComparedRow, compare, differences, same_token
from tui.state.run_view import RunView
from tui.text.bars import probability_bar
from tui.text.numbers import FIGURE_WIDTH, figure
from tui.text.show import display_text, plain_line
from tui.views.compare.divergence_plot import DivergencePlot
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.line_input import LineInput
from tui.widgets.row_list import RowList, place_text
from tui.widgets.styles import Segments, Styles

_LAYER: Final = 4
_TWO_LAYERS: Final = 8
_CHANGE: Final = 7
"""A signed figure and the blank behind it."""
_LEAST_SIDE: Final = 17
_WISHED_TOKEN: Final = 9
_MOST_BAR: Final = 12
_APART_BAR: Final = 6
_APART: Final = 4 + 1 + _APART_BAR + 1
"""Cells of a divergence: figure, bar and blanks."""
_CONTRAST: Final = 20
_LN_2: Final = math.log(2)
"""The largest divergence that there is."""
_PARTS = "part here"
_FOR_GOOD = "for good"


@dataclass(frozen=True)
class CompareColumns:
    """How wide the columns are."""

    layer: int
    count: int
    """Tokens on either side."""
    token: int
    bar: int
    mark: int
    change_bar: int

    @property
    def each(self) -> int:
        """Cells of one token, the blank behind it included."""
        return self.token + 1 + (self.bar + 1 if self.bar else 0) + FIGURE_WIDTH + 1

    @property
    def side(self) -> int:
        """Cells of one run's tokens."""
        return self.count * self.each

    @property
    def change(self) -> int:
        """Cells of one answer's difference."""
        return _CHANGE + self.change_bar + 1


def plan_compare(width: int, answers: int, by_depth: bool, top_k: int = 3) -> CompareColumns:
    """Return the columns for so many cells: one token on either side at least, then bars, then
    more tokens."""
    layer = _TWO_LAYERS if by_depth else _LAYER
    wide = width >= 110
    mark = 11 if wide else 5
    change_bar = min(5 + 2 * max((width - 80) // 20, 0), 13)
    room = width - layer - mark - answers * (_CHANGE + change_bar + 1)
    side = max(room // 2, _LEAST_SIDE)
    count = max(1, min(top_k, side // (_LEAST_SIDE + 3)))
    spare = side // count - FIGURE_WIDTH - 2
    bar = min(max(3, (spare - _WISHED_TOKEN) // 2), _MOST_BAR) if spare >= 12 else 0
    token = min(max(spare - (bar + 1 if bar else 0), 1), 24)
    return CompareColumns(layer, count, token, bar, mark, change_bar)


def diverging_bar(share: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar of exactly `width` cells (an odd number) from the middle outwards, in half
    cells: to the right for a gain, to the left for a loss."""
    side = width // 2
    halves = min(round(abs(share) * side * 2), side * 2)
    full, half = divmod(halves, 2)
    if ascii_only:
        line, middle, ends = "=", "|", ("-", "-")
    else:
        line, middle, ends = "━", "│", ("╺", "╸")
    if share < 0:
        return (ends[0] * half + line * full).rjust(side) + middle + " " * side
    return " " * side + middle + (line * full + ends[1] * half).ljust(side)


def signed_figure(difference: float) -> str:
    """Return a difference of probabilities in percentage points, six cells wide."""
    if abs(difference) < 0.00005:
        return "0".rjust(_CHANGE - 1)
    sign = "+" if difference > 0 else "-"
    return (sign + figure(abs(difference)).strip()).rjust(_CHANGE - 1)


class CompareTable(RowList):
    """Two runs' tokens in the same rows, and what became of the answers.

    Of a counterfactual also how far the rows are apart, and what is left when the one is taken
    from the other.
    """

    def __init__(
        self,
        left: RunView,
        right: RunView,
        *,
        ascii_only: bool,
        comparison: Comparison | None = None,
    ) -> None:
        super().__init__(ascii_only=ascii_only)
        self._comparison = comparison
        self._js = {row.layer: row.js for row in comparison.rows} if comparison else {}
        self._contrast: dict[int, ContrastRow] = {}
        self.sides = (left, right)
        self.compared = compare(left, right)
        self._hues = _hues(self.compared, self.sides)

    def swap(self) -> None:
        """Put the left run to the right."""
        self.sides = (self.sides[1], self.sides[0])
        self.compared = compare(*self.sides)
        self._hues = _hues(self.compared, self.sides)
        self.forget_rows()

    def show_contrast(self, rows: Sequence[ContrastRow]) -> None:
        """Show contrast rows in a column of their own."""
        self._contrast = {row.layer: row for row in rows}
        self.forget_rows()

    @property
    def count(self) -> int:
        """The rows of the deeper run."""
        return len(self.compared.rows)

    @property
    def head_height(self) -> int:
        """Two runs, the verdict, how they were matched (or a blank line), the columns."""
        return 5

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw what is compared, what came of it, and the columns' names."""
        if line < 2:
            return self._run_line(line, width, styles)
        if line == 4:
            return self._columns_line(width, styles)
        words, style = (self.verdict, styles.text) if line == 2 else (self.matching, styles.faint)
        return [(" " + display_text(words, width - 1, spaces=False, ascii_only=self._ascii), style)]

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw one row of both."""
        compared = self.compared
        pair = compared.rows[row]
        plan = self._plan(width)
        word = f"{pair.left_layer:>3} "
        if compared.by_depth:
            word = f"{pair.left_layer:>3}/{pair.right_layer}"
        mark, mark_style = self._mark(row, pair, plan, styles)
        segments: Segments = [(word.ljust(plan.layer), styles.faint)]
        segments += self._side(pair.left, pair, 0, plan, styles)
        segments.append((mark.center(plan.mark - 1).ljust(plan.mark), mark_style))
        segments += self._side(pair.right, pair, 1, plan, styles)
        for answer, change in zip(self._answers, pair.changes, strict=False):
            segments += self._change(answer, change, plan, styles)
        if self._comparison is not None:
            segments += self._apart(row, styles)
        return segments

    @property
    def _answers(self) -> Sequence[Token]:
        """Whose changes have a column; beside the divergence there is room for the left one's."""
        answers = self.compared.answers
        return answers[:1] if self._comparison is not None else answers

    def _apart(self, row: int, styles: Styles) -> Segments:
        """The divergence of two rows, and the first token of their contrast."""
        js = self._js.get(row)
        if js is None:
            segments: Segments = [("-".rjust(4).ljust(_APART), styles.faint)]
        else:
            bar = probability_bar(js / _LN_2, _APART_BAR, ascii_only=self._ascii)
            segments = [(f"{js:.2f} ", styles.text), (f"{bar} ", styles.cursor)]
        reading = self._contrast.get(row)
        if reading is None or not reading.top:
            return [*segments, ("-", styles.faint)]
        token = reading.top[0]
        shown = display_text(token.text, _CONTRAST - FIGURE_WIDTH - 1, ascii_only=self._ascii)
        return [
            *segments,
            (f"{shown} {figure(token.probability)}", self._token_style(token, styles)[0]),
        ]

    @property
    def verdict(self) -> str:
        """Where the runs part, in words."""
        if self._comparison is not None and self._comparison.rows:
            return self._what_the_picture_adds(self._comparison)
        compared = self.compared
        known = sum(row.same is not None for row in compared.rows)
        if not known:
            return "no row can be compared"
        whole = known == len(compared.rows)
        if compared.parts is None:
            return f"top-1 is the same in {'every row' if whole else 'all rows that both have'}"
        if compared.parts_for_good == compared.parts:
            return f"top-1 differs from row {compared.parts} on, for good"
        first = f"top-1 first differs in row {compared.parts}"
        if not whole:
            return f"{first}; later rows have not been read"
        if compared.parts_for_good is None:
            return f"{first}, and is the same in the end"
        return f"{first}, for good from row {compared.parts_for_good}"

    def _what_the_picture_adds(self, comparison: Comparison) -> str:
        answers = [side.answer for side in self.sides]
        words = f"the picture counts from row {comparison.layer} on"
        if comparison.layer is None:
            words = "the picture never counts for good"
        words += f" (JS above {comparison.threshold:g} nats)"
        if answers[0] is not None and answers[1] is not None:
            same = answers[0].id == answers[1].id
            prior = display_text(answers[1].text, 12, ascii_only=self._ascii).strip()
            words += f"; the prior says {prior}, " + (
                "and so does the picture" if same else "the picture "
            )
            if not same:
                words += display_text(answers[0].text, 12, ascii_only=self._ascii).strip()
        return words

    @property
    def matching(self) -> str:
        """How rows and tokens were matched, where the models are not alike."""
        words = []
        if self.compared.by_depth:
            left, right = (run.run.layers for run in self.sides)
            words.append(f"{left} and {right} layers: rows matched by depth")
        if self.compared.by_text:
            words.append("different models: tokens matched by text")
        return "; ".join(words)

    def _plan(self, width: int) -> CompareColumns:
        compared = self.compared
        beside = _APART + _CONTRAST if self._comparison is not None else 0
        return plan_compare(width - beside, len(self._answers), compared.by_depth)

    def _run_line(self, side: int, width: int, styles: Styles) -> Segments:
        run = self.sides[side]
        segments: Segments = [((" left  ", " right ")[side], styles.faint)]
        answer = run.answer
        if answer is not None:
            style = styles.struck if run.refused else self._token_style(answer, styles)[0]
            shown = display_text(answer.text, 10, ascii_only=self._ascii).rstrip()
            segments.append((f"{shown} {figure(answer.probability).strip()}", style))
            segments.append((f" from row {run.formation}  ", styles.faint))
        words = [run.name] if run.run.title else []
        for name, *values in differences(*(view.run.question for view in self.sides)):
            if self._comparison is not None and name == "in its stead":
                words.append(values[side] if side else "with the picture")
                continue
            words.append(values[side] if name == "prompt" else f"{name} {values[side]}")
        if not words:
            words = [run.name]
        if run.refused:
            words.insert(0, "proof failed")
        room = max(width - sum(cell_len(text) for text, _ in segments), 0)
        shown = display_text("; ".join(words), room, spaces=False, ascii_only=self._ascii)
        return [*segments, (shown, styles.error if run.refused else styles.text)]

    def _columns_line(self, width: int, styles: Styles) -> Segments:
        plan = self._plan(width - 1)
        ranks = [rank.ljust(plan.each) for rank in ("1st", "2nd", "3rd")[: plan.count]]
        text = " " + "row".rjust(3).ljust(plan.layer)
        text += "".join(ranks) + " " * plan.mark + "".join(ranks)
        segments: Segments = [(text, styles.faint)]
        for answer in self._answers:
            shown = display_text(answer.text, plan.change - 4, ascii_only=self._ascii).rstrip()
            title = ("d " if self._ascii else "Δ ") + shown
            style = self._token_style(answer, styles)[0]
            segments.append((title + " " * max(plan.change - cell_len(title), 0), style))
        if self._comparison is not None:
            segments.append(("JS".ljust(_APART) + "contrast", styles.faint))
        return segments

    def _mark(
        self, row: int, pair: ComparedRow, plan: CompareColumns, styles: Styles
    ) -> tuple[str, Style]:
        compared = self.compared
        if row == compared.parts:
            return (_PARTS if plan.mark > len(_PARTS) else "part"), styles.cursor
        if row == compared.parts_for_good and plan.mark > len(_FOR_GOOD):
            return _FOR_GOOD, styles.cursor
        unlike, like = ("!=", "=") if self._ascii else ("≠", "=")
        word = "" if pair.same is None else like if pair.same else unlike
        return word, styles.faint

    def _side(
        self,
        reading: LayerReading | None,
        pair: ComparedRow,
        side: int,
        plan: CompareColumns,
        styles: Styles,
    ) -> Segments:
        if reading is None:
            return [(("." if self._ascii else "·").ljust(plan.side), styles.faint)]
        segments: Segments = []
        for rank in range(plan.count):
            if rank >= len(reading.top):
                segments.append((" " * plan.each, styles.faint))
                continue
            token = reading.top[rank]
            text, bar = self._token_style(token, styles)
            if self.sides[side].refused:
                text = bar = styles.struck
            elif pair.same:
                text = bar = styles.faint
            segments.append(
                (display_text(token.text, plan.token, ascii_only=self._ascii) + " ", text)
            )
            if plan.bar:
                drawn = probability_bar(token.probability, plan.bar, ascii_only=self._ascii)
                segments.append((drawn + " ", bar))
            segments.append((figure(token.probability) + " ", text))
        return segments

    def _change(
        self, answer: Token, change: Change, plan: CompareColumns, styles: Styles
    ) -> Segments:
        difference = change.difference
        if difference is None:
            return [("-".rjust(_CHANGE - 1).ljust(plan.change), styles.faint)]
        bar = diverging_bar(difference, plan.change_bar, ascii_only=self._ascii)
        return [(f"{signed_figure(difference)} {bar} ", self._token_style(answer, styles)[0])]

    def _token_style(self, token: Token, styles: Styles) -> tuple[Style, Style]:
        """The left run's answer is the answer; any other token has one hue on both sides."""
        left = self.sides[0].answer
        if left is not None and same_token(token, left, self.compared.by_text):
            return styles.answer, styles.answer_bar
        return styles.of_hue(self._hues(token))


class Compare(ModalScreen[None]):
    """Two runs, over the whole screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,b,B", "dismiss", show=False),
        Binding("s", "swap", show=False),
        Binding("plus,=", "contrast(0.25, 1)", show=False),
        Binding("minus", "contrast(-0.25, 1)", show=False),
        Binding("right_square_bracket", "contrast(0, 2)", show=False),
        Binding("left_square_bracket", "contrast(0, 0.5)", show=False),
        Binding("r", "reference", show=False),
        Binding("P", "plot", show=False),
        Binding("d", "debias", show=False),
    ]

    @dataclass
    class DebiasWanted(Message):
        """A list of answers is wanted beside what they have without the picture."""

        of: str
        against: str
        answers: str

    @dataclass
    class ContrastWanted(Message):
        """Contrast rows with other settings are wanted."""

        of: str
        references: tuple[str, ...]
        a: float
        b: float

    CSS = """
    Compare { align: center middle; background: $background; }
    Compare .dialog {
        width: 100%; max-width: 100%; height: 100%; max-height: 100%; padding: 0;
    }
    Compare.-ascii .dialog { border: ascii $primary; }
    """

    def __init__(
        self,
        left: RunView,
        right: RunView,
        *,
        ascii_only: bool,
        comparison: Comparison | None = None,
        references: Sequence[tuple[str, tuple[str, ...]]] = (),
    ) -> None:
        """`comparison`: of the left run with the right one, its counterfactual; `references`: what
        the contrast may be taken from, by name and run ids."""
        super().__init__()
        self._sides = (left, right)
        self._ascii = ascii_only
        self._comparison = comparison
        self._settings = (CONTRAST_A, CONTRAST_B)
        self._references = tuple(references)
        self._reference = 0
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """The table, in a box whose lower edge says what can be pressed."""
        with Vertical(classes="dialog") as box:
            put_title(box, "two runs")
            put_subtitle(box, self._keys)
            yield CompareTable(*self._sides, ascii_only=self._ascii, comparison=self._comparison)
            if self._comparison is not None:
                yield DivergencePlot(*self._sides, self._comparison, ascii_only=self._ascii)

    def on_mount(self) -> None:
        """Begin where they part."""
        self.call_after_refresh(self._begin)

    def on_row_list_place_changed(self) -> None:
        """Say which rows can be seen."""
        self._say_place()

    def action_swap(self) -> None:
        """Put the left run to the right; a counterfactual stays there."""
        if self._comparison is None:
            self._table.swap()

    def action_contrast(self, more: float, times: float) -> None:
        """Ask for the contrast with another a or b; no new pass is needed."""
        if self._comparison is None:
            return
        a, b = self._settings
        self._settings = (min(max(a + more, 0.0), 8.0), min(max(b * times, 0.003125), 1.0))
        self._want_contrast()

    def action_reference(self) -> None:
        """Take the contrast from the next reference: one counterfactual, or both together."""
        if self._references:
            self._reference = (self._reference + 1) % len(self._references)
            self._want_contrast()

    def _want_contrast(self) -> None:
        if self._comparison is not None and self._references:
            _, references = self._references[self._reference]
            self.post_message(self.ContrastWanted(self._comparison.of, references, *self._settings))

    def action_plot(self) -> None:
        """Plot the answer's probability with the picture and without it, and the divergence."""
        for plot in self.query(DivergencePlot):
            plot.toggle()

    def action_debias(self) -> None:
        """Type answers to be debiased."""
        if self._comparison is not None:
            self.app.push_screen(
                LineInput("answers, with commas", "", ascii_only=self._ascii), self._take_answers
            )

    def _take_answers(self, answers: str | None) -> None:
        if answers and self._comparison is not None:
            of, against = self._comparison.of, self._comparison.against
            self.post_message(self.DebiasWanted(of, against, answers))

    def show_contrast(self, run_id: str, contrasted: ContrastReading) -> None:
        """Show contrast rows, if they are of these runs."""
        known = self._comparison
        ids = [references for _, references in self._references]
        if known is not None and known.of == run_id and contrasted.references in ids:
            self._reference = ids.index(contrasted.references)
            self._settings = (contrasted.request.a, contrasted.request.b)
            self._table.show_contrast(contrasted.rows)
            put_subtitle(self.query_one(Vertical), self._keys)

    @property
    def _keys(self) -> str:
        if self._comparison is None:
            return "jk rows, s swaps the sides, q closes"
        a, b = self._settings
        name = self._references[self._reference][0] if self._references else ""
        words = f"contrast with {name} (r): + - a={a:g}, [ ] b={b:.2g}; P plots, d debiases"
        return plain_line(words, ascii_only=self._ascii)

    @property
    def _table(self) -> CompareTable:
        return self.query_one(CompareTable)

    def _begin(self) -> None:
        self._table.put_cursor(self._table.compared.parts or 0)

    def _say_place(self) -> None:
        place = place_text(self._table)
        title = f"two runs, rows {place}" if place else "two runs"
        put_title(self.query_one(Vertical), title)


def _hues(compared: Compared, sides: tuple[RunView, RunView]) -> Callable[[Token], int | None]:
    """The left run's hues, and further ones for what leads only on the right."""
    left, right = sides

    def key(token: Token) -> int | str:
        return token.text if compared.by_text else token.id

    hues = {key(token): left.hues[token.id] for token in left.leaders}
    for token in right.leaders:
        hues.setdefault(key(token), len(hues))
    return lambda token: hues.get(key(token))
