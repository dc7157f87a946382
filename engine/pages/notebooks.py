"""A run in a notebook: as a table with bars, and as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from engine.errors import BadInput
from engine.numbers import figure, number, ordinal
from engine.pages.markup import escaped, table_html, token
from engine.run_tables import candidates, tokens_table
from engine.tables import Column, Table

if TYPE_CHECKING:
    from engine.records import Run

# Notebooks have their own background, light or dark: only what reads on both is coloured.
_LOOK: Final = """<style>
.lenscope-run table { border-collapse: collapse; font: 13px/1.4 ui-monospace, Menlo, Consolas,
  monospace; }
.lenscope-run td, .lenscope-run th { padding: 1px 10px; text-align: left; white-space: pre; }
.lenscope-run .right { text-align: right; }
.lenscope-run .bar { color: #6f9ceb; vertical-align: middle; }
.lenscope-run .answer, .lenscope-run .answer .bar { color: #c08a2f; font-weight: 600; }
</style>"""
_TOP: Final = 3


def run_html(run: Run) -> str:
    """Return a run for a notebook: the question, the rows with bars, the answer and the proof."""
    return f'{_LOOK}<div class="lenscope-run">{run_markup(run)}</div>'


def run_markup(run: Run) -> str:
    """Return a run as HTML without a look: nothing in it needs a style sheet or a script."""
    top = max(1, min(_TOP, max((len(row.top) for row in run.rows), default=1)))
    columns = (
        Column("layer", "count"),
        *(Column(f"token_{rank}", "candidate", ordinal(rank)) for rank in range(1, top + 1)),
        Column("entropy", "number"),
    )
    rows = tuple((row.layer, *candidates(row, top), row.entropy) for row in run.rows)
    last = run.rows[-1].top[0] if run.status == "done" and run.rows and run.rows[-1].top else None
    gold = {
        (at, place)
        for at, row in enumerate(run.rows)
        for place, each in enumerate(row.top[:top], 1)
        if last is not None and each.id == last.id
    }
    table = table_html(Table("", columns, rows), gold)
    said = escaped(run.error or run.status)
    if last is not None:
        share = escaped(figure(last.probability).strip())
        said = f'<span class="answer">{token(last.text)} {share}</span>{_formed(run)}'
    return f"<p>{escaped(run.question.prompt)} → {said}</p>{_norm(run)}{table}{_proof(run)}"


def _norm(run: Run) -> str:
    if run.question.norm:
        return ""
    below = f"rows 0 to {run.layers - 1}" if run.layers > 1 else "row 0"
    return f"<p>final norm off for {below}; row {run.layers} is the model's own</p>"


def _formed(run: Run) -> str:
    return "" if run.formation is None else f", top-1 for good from layer {run.formation}"


def _proof(run: Run) -> str:
    if run.proof is None:
        return ""
    state = "passed" if run.proof.passed else "FAILED: do not believe these rows"
    gap = number(run.proof.max_abs_difference, "not finite")
    return (
        f"<p>proof {state} (largest difference {gap}, tolerance {number(run.proof.tolerance)})</p>"
    )


def frame_of(run: Run) -> Any:
    """Return a pandas DataFrame with a line per row and token, every figure of the row in it.

    Raises BadInput where pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise BadInput("to_pandas needs pandas: pip install pandas") from None
    table = tokens_table(run.rows, None)
    names = [column.name for column in table.columns]
    return pandas.DataFrame.from_records(list(table.rows), columns=names)
