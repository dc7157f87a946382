"""Which words and marks on the screen stand for which term of the glossary. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from tui.text.glossary import OWN, STANDARD, Term

TERMS: Final[Mapping[str, Term]] = {term.word: term for term in (*STANDARD, *OWN)}
"""Every term of the glossary, by its word."""

_ORDINAL: Final = r"(?<!\w)(?:\d*1st|\d*2nd|\d*3rd|\d+th)(?!\w)"
_WORD: Final = r"\S*[^\W\d_]\S*"
"""A word that has a letter."""

_EVERYWHERE: Final = {
    "proof": ("proof",),
    "row": ("row", "rows"),
    "layer": ("layer", "layers"),
    "head": ("head", "heads", "layer.head"),
    "p": ("p", "probability"),
    "logits": ("logit", "logits", "log p"),
    "rank": ("rank", "#"),
    "entropy": ("entropy",),
    "nat": ("nats",),
    "KL divergence": ("KL",),
    "Jensen-Shannon divergence": ("JS",),
    "rms": ("rms",),
    "token": ("token", "tokens", "next token"),
    "raw, id, sum": ("raw", "id", "sum"),
    "moved, left": ("moved", "left", "layer detail"),
    "position": ("position", "positions"),
    "patch": ("patch", "patches"),
    "answer": ("answer", "next here", "runner-up"),
    "question": ("prompt", "question", "picture", "item", "settings"),
    "formation row": ("from row", "top-1 for good"),
    "top-k": ("top-1",),
    "tracked token": ("track tokens", "tracked"),
    "counterfactual": ("instead", "instead of the picture"),
    "points, part, for good": ("pt", "points", "Δ", "parts at", "differs"),
    "verdict, truth": ("verdict", "verdic", "truth"),
    "grid": ("grid",),
    "heat": ("in eighths",),
    "sink": ("sinks",),
    "approximate row": ("≈",),
    "method": ("reading",),
}  # fmt: skip
"""Term -> how it is written on the screen, unless a view means something else by it."""

_GROUPS: Final = (
    "first token", "first", "template", "system", "picture", "question", "answer so far",
)  # fmt: skip
_OF_VIEW: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "table": {
        "row": ("layer", "layers"),
        "position": ("at",),
        "whole answer": ("continues",),
    },
    "words": {"contrast": ("contrast",), "row": ("layer",)},
    "attention": {
        "attention weight": ("attention weight", "weight", "contribution"),
        "share": ("shares", "raw", "mean", *_GROUPS),
        "sink": ("sinks", "without sinks", "no sinks", "w/o"),
        "nowhere": ("Nowh", "Nowhere"),
        "knockout": ("if it may not", "without", "may not", "all layers"),
        "reach": ("≥", ">="),
    },
    "answer": {
        "whole answer": ("answer", "every token's rows", "end", "∎", "#", "tok"),
        "taken": ("after settings", "before settings", "ruled out"),
        "greedy decoding": ("greedy", "decoding", "T"),
        "formation row": ("from", "not best"),
        "attention weight": ("attention",),
        "share": ("share",),
    },
    "parts": {
        "direct logit attribution": ("logit", "part", "parts", "largest"),
        "layer": ("layer", "attention", "MLP", "embedding", "bias"),
        "share, sum, out": ("share", "sum", "out", "they sum to"),
        "promotes, suppresses": ("promotes", "suppresses"),
        "ablation": ("taken out", "takes it out"),
        "share": ("sent by", *_GROUPS),
        "position": ("most from",),
        "final norm": ("final norm",),
    },
    "tracing": {
        "activation patching": ("patched", "tracing"),
        "recovery": ("brought back", "recovery", "taken away", "lost"),
        "clean, corrupt, site": ("clean", "corrupt", "site"),
        "residual stream": ("residual stream",),
    },
    "saliency": {
        "saliency": (
            "saliency", "occlusion", "gradient", "gradient x input", "gradient x attention",
            "SmoothGrad", "way", "pixels",
        ),
        "integrated gradients": ("integrated gradients", "completeness"),
        "ins, del, random": ("ins", "del", "random"),
        "insertion and deletion": ("insertion", "deletion"),
    },
    "neurons": {
        "neuron": ("unit", "units", "module", "MLP"),
        "active": ("active", "activation"),
        "share, sum, out": ("share", "zeroed"),
        "ablation": ("at zero",),
        "promotes, suppresses": ("promotes", "suppresses"),
    },
    "compare": {
        "points, part, for good": ("part here", "part", "for good", "≠", "="),
        "two runs": ("two runs", "left", "right"),
    },
    "without": {
        "points, part, for good": ("part here", "part", "for good", "≠", "="),
        "two runs": ("two runs", "left", "right"),
        "contrast": ("contrast",),
        "counterfactual": ("prior says",),
        "debias": ("share", "prior", "debiased"),
    },
    "track": {"tracked token": ("top-10", "peak", "last")},
    "history": {
        "question": ("runs", "question", "picture"),
        "from, norm, status, time, +": ("from", "norm", "status", "time", "not saved"),
    },
    "sweep": {
        "sweep": ("sweep", "items", "group"),
        "sink": ("learned sinks",),
        "from, norm, status, time, +": ("from",),
    },
}  # fmt: skip
"""View -> what it means by words that stand for something else elsewhere, or nowhere."""

_OF_MARKS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "rows": {
        "emb, out, own": ("emb", "out", "own"),
        "marks of a row": ("○", "●", "╎", "│", "o", "*", ":", "|"),
    },
    "pairs": {"points, part, for good": ("part here", "part", "for good", "≠", "=", "!=")},
    "prompt": {
        "marks of the prompt": (
            "«", "»", "<<", ">>", "{", "}", "(", ")", "[", "]", "▸", "▣", "▾", "patches",
        )
    },
    "moves": {"moved, left": ("▲", "▼", "new", "+", "-", "*")},
    "names": {},
}  # fmt: skip
"""Where marks stand -> what they mean there; beside names that data give, no word means anything
else."""


class Span(NamedTuple):
    """A word or mark in a line, and what it stands for."""

    start: int
    end: int
    """Characters of the line."""
    term: Term


def phrases_of(view: str, named: Mapping[str, Term] | None = None) -> dict[str, Term]:
    """Return how terms are written in a view. `named` are texts that data give there, such as the
    token that a column is about."""
    return {**(named or {}), **_inverted(_EVERYWHERE), **_inverted(_OF_VIEW.get(view, {}))}


def marks_of(place: str) -> dict[str, Term]:
    """Return the marks that stand in a place: beside rows, between two runs, in the prompt."""
    return _inverted(_OF_MARKS[place])


def spans_in(
    line: str, phrases: Mapping[str, Term], otherwise: Term | None = None, *, columns: bool = False
) -> Iterator[Span]:
    """Yield what stands for a term in a line, from the left; the longest text wins where several
    begin at one place. Every other word stands for `otherwise`, if that is given; numbers explain
    themselves. Among names of `columns`, 1st, 2nd, ... are ranks of tokens."""
    words = [*map(_as_word, sorted(filter(None, phrases), key=len, reverse=True))]
    words += [_ORDINAL] * columns + [_WORD] * (otherwise is not None)
    for match in re.finditer("|".join(words), line) if words else ():
        term = phrases.get(match[0])
        if term is None:
            is_ordinal = columns and re.fullmatch(_ORDINAL, match[0]) is not None
            term = TERMS["top-k"] if is_ordinal else otherwise
        if term is not None:
            yield Span(match.start(), match.end(), term)


def unexplained(line: str, spans: Iterable[Span]) -> list[str]:
    """Return the words of a line that stand for nothing."""
    rest = list(line)
    for start, end, _ in spans:
        rest[start:end] = " " * (end - start)
    return re.findall(_WORD, "".join(rest))


def _inverted(written: Mapping[str, tuple[str, ...]]) -> dict[str, Term]:
    return {phrase: TERMS[word] for word, phrases in written.items() for phrase in phrases}


def _as_word(phrase: str) -> str:
    before = r"(?<!\w)" if phrase[0].isalnum() else ""
    after = r"(?!\w)" if phrase[-1].isalnum() else ""
    return before + re.escape(phrase) + after
