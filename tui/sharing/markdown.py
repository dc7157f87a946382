"""Rows of a run as a Markdown table that a renderer shows as the terminal does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from engine.records import LayerReading, Run, Token, Tracked
from tui.state.column_names import COLUMN_NAMES
from tui.text.numbers import figure, number, ordinal
from tui.text.show import display_text, plain_line

# Whatever means something in Markdown. The pipe is an entity: not every renderer knows \\|.
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>()#+.!~$-])")


def markdown_table(
    run: Run,
    rows: Sequence[LayerReading],
    top_k: int,
    figures: Sequence[str],
    *,
    ascii_only: bool = False,
) -> str:
    """Return the rows with `top_k` tokens each and the columns by choice; those that have nothing
    to show in this run are left out."""
    tracked = next((token for token in reversed(run.tracked) if token.why == "user"), None)
    figures = [name for name in figures if name in COLUMN_NAMES and (name != "tracked" or tracked)]
    heads = ["layer", *(ordinal(rank) for rank in range(1, top_k + 1))]
    for name in figures:
        if name == "tracked" and tracked is not None:
            heads.append(_escaped(tracked.text, ascii_only))
        else:
            heads.append("KL" if name == "kl" else name)
    lines = [heads, ["---:", *["---"] * top_k, *["---:"] * len(figures)]]
    for row in rows:
        tokens = [_cell(token, ascii_only) for token in row.top[:top_k]]
        blanks = [""] * (top_k - len(tokens))
        chosen = [_figure(name, row, tracked) for name in figures]
        lines.append([str(row.layer), *tokens, *blanks, *chosen])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(token: Token, ascii_only: bool) -> str:
    return f"{_escaped(token.text, ascii_only)} {_percent(token.probability)}"


def _figure(name: str, row: LayerReading, tracked: Tracked | None) -> str:
    if name == "answer":
        answer = row.answer
        return _place(answer.probability, answer.rank) if answer is not None else "-"
    if name == "tracked":
        if tracked is None or row.layer >= len(tracked.probability):
            return "-"
        return _place(tracked.probability[row.layer], tracked.rank[row.layer])
    return number({"entropy": row.entropy, "rms": row.rms, "kl": row.kl_to_last}[name])


def _place(probability: float | None, rank: int | None) -> str:
    if probability is None:
        return "-"
    return _percent(probability) + ("" if rank is None else f" (rank {rank})")


def _percent(probability: float) -> str:
    return figure(probability).strip().replace("<", "&lt;")


def escaped(text: str) -> str:
    """Return running text such that a renderer of Markdown shows it as it is."""
    return _literally(plain_line(text))


def _escaped(text: str, ascii_only: bool) -> str:
    """A token as it is shown, such that a renderer of Markdown shows it so."""
    return _literally(display_text(text, ascii_only=ascii_only))


def _literally(shown: str) -> str:
    shown = shown.replace("&", "&amp;")
    return _SPECIAL.sub(r"\\\1", shown).replace("|", "&#124;")
