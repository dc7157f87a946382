"""The caption of the table: which run it shows, what is special about it, and, where the question
beside it has been changed since, which question its rows belong to."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from engine.counterfactuals.grammar import label
from engine.records import Question
from tui.state.changed_since import differences
from tui.state.run_view import Phase, RunView
from tui.text.show import display_text, plain_line

Before = Sequence[tuple[int, Question]]
"""Rows of earlier questions: the first of them, and the question."""

_LEAST_QUESTION = 30
"""Cells for the question of the rows, before words in front of it are left out."""
_MOST_PICTURE = 24


def run_title(
    run: RunView | None,
    place: str,
    changed: Sequence[str] = (),
    room: int = 0,
    *,
    live: bool = False,
    before: Before = (),
    ascii_only: bool = False,
) -> str:
    """Return the caption for a run at a place among the others, such as "run 2/5".

    `changed` names what the next question has different; then the caption fits into `room` cells.
    In live mode (`live`) that needs no words, since it will be asked by itself: the caption says of
    which text the rows are. `before` are rows below the run's own that belong to earlier questions,
    each named with what it has different from the run's.
    """
    if run is None:
        return "layers"
    if live and (changed or before):
        head = ", ".join(part for part in ("layers", place) if part)
        asked = run.run.question
        texts = [f"of: {_in_live(asked, changed, ascii_only)}"] if changed and run.rows else []
        texts += [
            f"{f'from {row} ' if row else ''}"
            f"of: {_in_live(earlier, differences(earlier, asked), ascii_only)}"
            for row, earlier in before
        ]
        return _cut(f"{head}; {', '.join(texts)}", room, ascii_only)
    if not changed:
        return ", ".join(part for part in ("layers", place, *_settings(run), *_fate(run)) if part)
    mark = f"not asked yet: {', '.join(changed)}"
    words = ["layers", *filter(None, [place]), *_fate(run), mark]
    heads = [f"{', '.join(words[left_out:])}; asked: " for left_out in range(len(words))]
    head = next((one for one in heads if cell_len(one) + _LEAST_QUESTION <= room), heads[-1])
    return _cut(head + _question(run.run.question, changed, ascii_only), room, ascii_only)


def _settings(run: RunView) -> list[str]:
    """Return what is special about how the question was asked."""
    question = run.run.question
    parts = []
    if not question.norm:
        parts.append("norm off, except for the model's own row")
    if not question.chat:
        parts.append("raw")
    return parts


def _fate(run: RunView) -> list[str]:
    """Return how the run ended, if not well, and what replaced its picture."""
    parts = []
    if run.phase is Phase.CANCELLED:
        parts.append(f"cancelled after {len(run.rows)} of {run.run.layers + 1} rows")
    if run.phase is Phase.FAILED:
        parts.append("refused" if run.refused else "failed")
    if run.run.question.counterfactual is not None:
        name = label(run.run.question.counterfactual)
        parts.append(display_text(name, spaces=False, ascii_only=True))
    return parts


def _in_live(question: Question, changed: Sequence[str], ascii_only: bool) -> str:
    """Return what rows belong to, with the picture only if it has been changed, or replaced."""
    words = _question(question, changed, ascii_only, picture="picture" in changed)
    if question.counterfactual is None:
        return words
    return f"{_safe(label(question.counterfactual), ascii_only)}, {words}"


def _question(
    question: Question, changed: Sequence[str], ascii_only: bool, *, picture: bool = True
) -> str:
    """Return what rows belong to: model, settings, picture (if wanted) and prompt."""
    parts = []
    if "model" in changed and question.model is not None:
        parts.append(_safe(question.model.name.rstrip("/").rsplit("/", 1)[-1], ascii_only))
    if not question.norm:
        parts.append("norm off")
    elif "norm" in changed:
        parts.append("norm on")
    if not question.chat:
        parts.append("raw")
    elif "chat template" in changed:
        parts.append("chat template")
    for name, value in (("system prompt", question.system), ("prefix", question.prefix)):
        if name in changed:
            parts.append(f"{name} {_quoted(value, ascii_only)}" if value else f"no {name}")
    if question.picture is not None and picture:
        name = _safe(question.picture.path.rsplit("/", 1)[-1], ascii_only)
        parts.append(_cut(name, _MOST_PICTURE, ascii_only))
    elif "picture" in changed:
        parts.append("no picture")
    parts.append(_quoted(question.prompt, ascii_only))
    return ", ".join(parts)


def _quoted(text: str, ascii_only: bool) -> str:
    return f'"{_safe(text, ascii_only)}"'


def _safe(text: str, ascii_only: bool) -> str:
    # A prompt may be as long as a file; no border is this wide.
    return plain_line(text[:1000], ascii_only=ascii_only)


def _cut(text: str, room: int, ascii_only: bool) -> str:
    if cell_len(text) <= room:
        return text
    return display_text(text, max(room, 1), spaces=False, ascii_only=ascii_only).rstrip()
