"""Draws two runs side by side, row by row; pure, so that it can be tested without an app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich.cells import cell_len
from rich.style import Style

from engine.records import LayerReading, Token
from tui.state.comparing import AlignedRow, AlignedRuns, Change, align, same_token
from tui.state.run_view import RunView
from tui.text.bars import probability_bar
from tui.text.numbers import figure
from tui.text.show import display_text
from tui.views.compare.pair_columns import CHANGE, PairColumns, diverging_bar, signed_figure
from tui.widgets.styles import Segments, Styles

_POINTS_FROM: Final = 16
"""Cells of a column of differences from which its heading has room for the word points."""
_PARTS: Final = "part here"
_FOR_GOOD: Final = "for good"


class PairRows:
    """Two aligned runs and the colours of their tokens."""

    def __init__(self, left: RunView, right: RunView, *, ascii_only: bool) -> None:
        self.sides = (left, right)
        self.compared = align(left, right)
        self._ascii = ascii_only
        self._hue_of = _hues(self.compared, self.sides)

    def run_line(self, side: int, words: Sequence[str], width: int, styles: Styles) -> Segments:
        """Draw the heading of one side: its run's answer and formation row, then the given words
        or else the run's name."""
        run = self.sides[side]
        segments: Segments = [((" left  ", " right ")[side], styles.faint)]
        answer = run.answer
        if answer is not None:
            style = styles.struck if run.refused else self.token_style(answer, styles)[0]
            shown = display_text(answer.text, 10, ascii_only=self._ascii).rstrip()
            segments.append((f"{shown} {figure(answer.probability).strip()}", style))
            segments.append((f" from row {run.formation}  ", styles.faint))
        said = [*(["proof failed"] if run.refused else []), *(words or [run.name])]
        room = max(width - sum(cell_len(text) for text, _ in segments), 0)
        shown = display_text("; ".join(said), room, spaces=False, ascii_only=self._ascii)
        return [*segments, (shown, styles.error if run.refused else styles.text)]

    def heading(self, plan: PairColumns, answers: Sequence[Token], styles: Styles) -> Segments:
        """Draw the column names."""
        ranks = [rank.ljust(plan.each) for rank in ("1st", "2nd", "3rd")[: plan.count]]
        text = " " + "row".rjust(3).ljust(plan.layer)
        text += "".join(ranks) + " " * plan.mark + "".join(ranks)
        segments: Segments = [(text, styles.faint)]
        for answer in answers:
            unit = " points" if plan.change >= _POINTS_FROM else " pt"
            room = plan.change - 3 - len(unit)
            shown = display_text(answer.text, room, ascii_only=self._ascii).rstrip()
            title = ("d " if self._ascii else "Δ ") + shown + unit
            style = self.token_style(answer, styles)[0]
            segments.append((title + " " * max(plan.change - cell_len(title), 0), style))
        return segments

    def row(
        self, row: int, plan: PairColumns, answers: Sequence[Token], styles: Styles
    ) -> Segments:
        """Draw one row of both runs, and the changes of the answers' probabilities."""
        pair = self.compared.rows[row]
        word = f"{pair.left_layer:>3} "
        if self.compared.by_depth:
            word = f"{pair.left_layer:>3}/{pair.right_layer}"
        mark, mark_style = self._mark(row, pair, plan, styles)
        segments: Segments = [(word.ljust(plan.layer), styles.faint)]
        segments += self._side(pair.left, pair, 0, plan, styles)
        segments.append((mark.center(plan.mark - 1).ljust(plan.mark), mark_style))
        segments += self._side(pair.right, pair, 1, plan, styles)
        for answer, change in zip(answers, pair.changes, strict=False):
            segments += self._change(answer, change, plan, styles)
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
        unlike, like = ("!=", "=") if self._ascii else ("≠", "=")
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
            return [(("." if self._ascii else "·").ljust(plan.side), styles.faint)]
        segments: Segments = []
        for rank in range(plan.count):
            if rank >= len(reading.top):
                segments.append((" " * plan.each, styles.faint))
                continue
            token = reading.top[rank]
            text, bar = self.token_style(token, styles)
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

    def _change(self, answer: Token, change: Change, plan: PairColumns, styles: Styles) -> Segments:
        difference = change.difference
        if difference is None:
            return [("-".rjust(CHANGE - 1).ljust(plan.change), styles.faint)]
        bar = diverging_bar(difference, plan.change_bar, ascii_only=self._ascii)
        return [(f"{signed_figure(difference)} {bar} ", self.token_style(answer, styles)[0])]


def _hues(compared: AlignedRuns, sides: tuple[RunView, RunView]) -> Callable[[Token], int | None]:
    """Return a function from tokens to hues: the left run's, and further ones for tokens that
    are top-1 only on the right."""
    left, right = sides

    def key(token: Token) -> int | str:
        return token.text if compared.by_text else token.id

    hues = {key(token): left.hues[token.id] for token in left.leaders}
    for token in right.leaders:
        hues.setdefault(key(token), len(hues))
    return lambda token: hues.get(key(token))
