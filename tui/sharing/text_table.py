"""The rows of a run as plain aligned text: what `lenscope run` prints."""

from __future__ import annotations

from engine.records import LayerReading, Run
from tui.text.bars import probability_bar
from tui.text.numbers import FIGURE_WIDTH, figure
from tui.text.show import display_text

PLAIN_WIDTH = 100
"""Columns of the table where there is no terminal to fit."""


class TextTable:
    """Makes the lines of a table, part by part, as the rows come."""

    def __init__(self, top_k: int, width: int = PLAIN_WIDTH, *, ascii_only: bool = False) -> None:
        self._top_k = top_k
        self._ascii = ascii_only
        cell = (width - 6 - 8) // top_k - 2
        self._bar = max(0, min(10, cell - FIGURE_WIDTH - 12))
        self._token = max(6, min(24, cell - FIGURE_WIDTH - self._bar - 2))

    def start(self, run: Run) -> list[str]:
        """Return the question, then the head of the table."""
        lines: list[str] = []
        picture = run.question.picture
        if picture is not None:
            lines.append(f"picture  {self._safe(picture.path)}  {picture.width}x{picture.height}")
        lines.append(f"prompt   {self._safe(run.question.prompt)}")
        counted = f"{len(run.tokens)} tokens"
        images = sum(token.kind == "image" for token in run.tokens)
        lines.append(f"input    {counted}{f', {images} of the picture' if images else ''}")
        return [*lines, "", self.head()]

    def head(self) -> str:
        """Return the names of the columns."""
        cell = self._token + self._bar + FIGURE_WIDTH + 2
        heads = "  ".join(f"top-{rank}".ljust(cell) for rank in range(1, self._top_k + 1))
        return f"layer  {heads}  entropy"

    def row(self, row: LayerReading) -> str:
        """Return the line of a row."""
        cells = "  ".join(self._cell(row, rank) for rank in range(self._top_k))
        entropy = "-" if row.entropy is None else f"{row.entropy:.3f}"
        note = f"  ({row.approximate})" if row.approximate else ""
        return f"{row.layer:>5}  {cells}  {entropy:>7}{note}"

    def end(self, run: Run) -> list[str]:
        """Return the answer and the proof; nothing of a run that has none."""
        if run.status != "done" or run.proof is None:
            return []
        top = run.rows[-1].top[0]
        answer = display_text(top.text, ascii_only=self._ascii)
        lines = ["", f"answer   {answer}  {figure(top.probability).strip()}  (id {top.id})"]
        if not run.question.norm:
            lines.append(
                f"norm     off for rows 0 to {run.layers - 1}; "
                f"row {run.layers} is the model's own, with its norm"
            )
        gap = run.proof.max_abs_difference
        lines.append(
            f"proof    passed: the last row is the model's own output "
            f"(largest difference {0.0 if gap is None else gap:.2g}, "
            f"tolerance {run.proof.tolerance:.2g}, by {run.proof.method})"
        )
        return lines

    def _cell(self, row: LayerReading, rank: int) -> str:
        if rank >= len(row.top):
            return " " * (self._token + self._bar + FIGURE_WIDTH + 2)
        token = row.top[rank]
        text = display_text(token.text, self._token, ascii_only=self._ascii)
        bar = probability_bar(token.probability, self._bar, ascii_only=self._ascii)
        return f"{text} {bar} {figure(token.probability)}"

    def _safe(self, text: str) -> str:
        return display_text(text, spaces=False, ascii_only=self._ascii)


def plain_table(run: Run, top_k: int, width: int = PLAIN_WIDTH, *, ascii_only: bool = False) -> str:
    """Return a whole run as text, whatever its status."""
    table = TextTable(top_k, width, ascii_only=ascii_only)
    rows = [table.row(row) for row in run.rows]
    lines = [*table.start(run), *rows, *table.end(run)]
    return "\n".join(line.rstrip() for line in lines) + "\n"
