"""The rows of a run as plain aligned text: what `lenscope run` prints."""

from __future__ import annotations

from engine.methods.registry import tables_of
from engine.records import LayerReading, Reading, Run
from engine.run_tables import candidates
from engine.tables import Column
from tui.sharing.renderers.plain import PlainRows, plain_lines
from tui.text.numbers import FIGURE_WIDTH, figure
from tui.text.show import display_text

PLAIN_WIDTH = 100
"""The table's width in cells where stdout is no terminal."""


_HEAD = 2
"""The blank line and the names of the columns, at the end of a table's start."""


class TextTable:
    """Makes the lines of a table step by step, as rows arrive."""

    def __init__(self, top_k: int, width: int = PLAIN_WIDTH, *, ascii_only: bool = False) -> None:
        self._top_k = top_k
        self._ascii = ascii_only
        cell = (width - 6 - 8) // top_k - 2
        bar = max(0, min(10, cell - FIGURE_WIDTH - 12))
        token = max(6, min(24, cell - FIGURE_WIDTH - bar - 2))
        columns = [
            Column("layer", "count"),
            *(Column(f"top-{rank}", "candidate") for rank in range(1, top_k + 1)),
            Column("entropy", "number", decimals=3),
        ]
        widths = [5, *[token + bar + FIGURE_WIDTH + 2] * top_k, 7]
        self._rows = PlainRows(columns, widths, bar=bar, ascii_only=ascii_only)

    def start(self, run: Run) -> list[str]:
        """Return the question and the head of the table."""
        lines: list[str] = []
        picture = run.question.picture
        if picture is not None:
            lines.append(f"picture  {self._safe(picture.path)}  {picture.width}x{picture.height}")
            if picture.note:
                lines.append(f"         {self._safe(picture.note)}")
        lines.append(f"prompt   {self._safe(run.question.prompt)}")
        counted = f"{len(run.tokens)} tokens"
        images = sum(token.kind == "image" for token in run.tokens)
        lines.append(f"input    {counted}{f', {images} of the picture' if images else ''}")
        return [*lines, "", self.head()]

    def head(self) -> str:
        """Return the names of the columns."""
        return self._rows.head()

    def row(self, row: LayerReading) -> str:
        """Return the line of a row."""
        line = self._rows.row((row.layer, *candidates(row, self._top_k), row.entropy))
        return line + (f"  ({row.approximate})" if row.approximate else "")

    def end(self, run: Run) -> list[str]:
        """Return the answer and the proof, as far as the run has them."""
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

    def _safe(self, text: str) -> str:
        return _safe(text, self._ascii)


def plain_table(
    run: Run, top_k: int, width: int = PLAIN_WIDTH, *, where: str = "", ascii_only: bool = False
) -> str:
    """Return a whole run as text; it need not have ended. `where` says at which position its rows
    were read if that is not the run's own."""
    table = TextTable(top_k, width, ascii_only=ascii_only)
    rows = [table.row(row) for row in run.rows]
    # The answer and the proof are those of the run's own position.
    start, end = table.start(run), [] if where else table.end(run)
    card = run.question.model
    notes = [_safe(where, ascii_only)] if where else []
    notes += [f"note     {_safe(note, ascii_only)}" for note in (card.notes if card else ())]
    lines = [*start[:-_HEAD], *notes, *start[-_HEAD:], *rows, *end]
    for reading in run.readings:
        lines += reading_lines(reading, ascii_only=ascii_only)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _safe(text: str, ascii_only: bool) -> str:
    return display_text(text, spaces=False, ascii_only=ascii_only)


def reading_lines(reading: Reading, *, ascii_only: bool = False) -> list[str]:
    """Return a reading as text: its tables, each after a blank line, and its proof."""
    lines: list[str] = []
    for table in tables_of(reading):
        lines += ["", *plain_lines(table, ascii_only=ascii_only)]
    proof = reading.proof
    if proof is not None:
        gap = "not finite" if proof.error is None else f"{proof.error:.2g}"
        state = "passed" if proof.passed else "FAILED: do not believe these numbers"
        lines.append(f"proof    {state}: {proof.what} ({gap}, tolerance {proof.tolerance:.2g})")
    return lines
