"""Draws two runs side by side, row by row; pure, so that it can be tested without an app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich.cells import cell_len
from rich.style import Style

from engine.records import LayerReading, Token
from tui.state.comparing import AlignedRow, AlignedRuns, align, same_token
from tui.state.finding import matches
from tui.state.run_view import RunView
from tui.text.bars import probability_bar
from tui.text.numbers import figure, ordinal
from tui.text.show import display_text
from tui.views.compare.pair_columns import PairColumns
from tui.widgets.styles import FOUND, Segments, Styles

_PARTS: Final = "part here"
_FOR_GOOD: Final = "for good"


class PairRows:
    """Two aligned runs and the colours of their tokens."""

    def __init__(self, left: RunView, right: RunView, *, find: str = "", ascii_only: bool) -> None:
        """Tokens whose text contains `find` are marked."""
        self.sides = (left, right)
        self.compared = align(left, right)
        self.ascii_only = ascii_only
        self._find = find
        self._hue_of = _hues(self.compared, self.sides)

    def run_line(self, side: int, words: Sequence[str], width: int, styles: Styles) -> Segments:
        """Draw the heading of one side: its run's answer and formation row, then the given words
        or else the run's name."""
        run = self.sides[side]
        segments: Segments = [((" left  ", " right ")[side], styles.faint)]
        answer = run.answer
        if answer is not None:
            style = styles.struck if run.refused else self.token_style(answer, styles)[0]
            shown = display_text(answer.text, 10, ascii_only=self.ascii_only).rstrip()
            segments.append((f"{shown} {figure(answer.probability).strip()}", style))
            segments.append((f" from row {run.formation}  ", styles.faint))
        said = [*(["proof failed"] if run.refused else []), *(words or [run.name])]
        said[:0] = [run.blank] if run.blank else []
        room = max(width - sum(cell_len(text) for text, _ in segments), 0)
        shown = display_text("; ".join(said), room, spaces=False, ascii_only=self.ascii_only)
        return [*segments, (shown, styles.error if run.refused else styles.text)]

    def heading(self, plan: PairColumns, styles: Styles) -> Segments:
        """Draw the names of the columns of both sides."""
        places = range(plan.first, plan.first + plan.count)
        ranks = "".join(ordinal(place + 1).ljust(plan.each) for place in places)
        text = " " + "row".rjust(3).ljust(plan.layer)
        return [(text + ranks + " " * plan.mark + ranks, styles.faint)]

    def row(
        self, row: int, plan: PairColumns, styles: Styles, *, until: int | None = None
    ) -> Segments:
        """Draw one row of both runs; `until` is the last of the rows that are folded into it."""
        pair = self.compared.rows[row]
        word = f"{pair.left_layer:>3} "
        if self.compared.by_depth:
            word = f"{pair.left_layer:>3}/{pair.right_layer}"
        elif until is not None:
            word += f"-{until}"
        mark, mark_style = self._mark(row, pair, plan, styles)
        segments: Segments = [(word.ljust(plan.layer), styles.faint)]
        segments += self._side(pair.left, pair, 0, plan, styles)
        segments.append((mark.center(plan.mark - 1).ljust(plan.mark), mark_style))
        segments += self._side(pair.right, pair, 1, plan, styles)
        return segments

    def token_style(self, token: Token, styles: Styles) -> tuple[Style, Style]:
        """Return the style of a token: the left run's answer has the answer's colour, and every
        other token has the same hue on both sides."""
        left = self.sides[0].answer
        if left is not None and same_token(token, left, self.compared.by_text):
            return styles.answer, styles.answer_bar
        return styles.of_hue(self._hue_of(token))

    def _mark(
        self, row: int, pair: AlignedRow, plan: PairColumns, styles: Styles
    ) -> tuple[str, Style]:
        compared = self.compared
        if row == compared.parts:
            return (_PARTS if plan.mark > len(_PARTS) else "part"), styles.cursor
        if row == compared.parts_for_good and plan.mark > len(_FOR_GOOD):
            return _FOR_GOOD, styles.cursor
        unlike, like = ("!=", "=") if self.ascii_only else ("≠", "=")
        word = "" if pair.same is None else like if pair.same else unlike
        return word, styles.faint

    def _side(
        self,
        reading: LayerReading | None,
        pair: AlignedRow,
        side: int,
        plan: PairColumns,
        styles: Styles,
    ) -> Segments:
        if reading is None:
            dot = "." if self.ascii_only else "·"
            return [(dot.ljust(plan.side), styles.faint)]
        segments: Segments = []
        for rank in range(plan.first, plan.first + plan.count):
            if rank >= len(reading.top):
                segments.append((" " * plan.each, styles.faint))
                continue
            token = reading.top[rank]
            text, bar = self.token_style(token, styles)
            if self.sides[side].refused:
                text = bar = styles.struck
            elif pair.same:
                text = bar = styles.faint
            shown = display_text(token.text, plan.token, ascii_only=self.ascii_only)
            found = bool(self._find) and matches(token, self._find)
            segments += [(shown, text + FOUND if found else text), (" ", text)]
            if plan.bar:
                drawn = probability_bar(token.probability, plan.bar, ascii_only=self.ascii_only)
                segments.append((drawn + " ", bar))
            segments.append((figure(token.probability) + " ", text))
        return segments


def _hues(compared: AlignedRuns, sides: tuple[RunView, RunView]) -> Callable[[Token], int | None]:
    """Return a function from tokens to hues: the left run's, and further ones for tokens that
    are top-1 only on the right."""
    left, right = sides

    def key(token: Token) -> int | str:
        return token.text if compared.by_text else token.id

    hues = {key(token): left.hues[token.id] for token in left.leaders}
    for token in (*right.leaders, *compared.tracked):
        hues.setdefault(key(token), len(hues))
    return lambda token: hues.get(key(token))
