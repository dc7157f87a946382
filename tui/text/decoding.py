"""How an answer was decoded, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import fields

from engine.methods.answer import AnswerReading, AnswerRequest, setting_text
from tui.text.show import plain_line

_GREEDY: Final = "greedy"
_DOT, _DOT_ASCII = " · ", ", "


def decoding_words(
    request: AnswerRequest, used: Mapping[str, bool | float] | None = None, *, ascii_only: bool
) -> str:
    """Return the settings of an answer in one line; `used` are those of its reading, by the names
    of `generate`, and without them those that the request will use."""
    settings = request.settings.explicit if used is None else used
    words = [*_sampling(settings)] if settings.get("do_sample") else [_GREEDY]
    if settings.get("repetition_penalty", 1.0) != 1.0:
        words.append(f"repetition penalty {setting_text(settings['repetition_penalty'])}")
    if settings.get("do_sample"):
        words.append(f"seed {settings.get('seed', 0)}")
    if request.vdd is not None:
        alpha, beta = setting_text(request.alpha), setting_text(request.beta)
        words.append(f"VDD {request.vdd}, alpha {alpha}, beta {beta}")
    if request.draws > 1:
        words.append(f"{request.draws} draws")
    if request.attention:
        words.append("attention")
    if request.against:
        words.append(plain_line(f"against {request.against}", ascii_only=ascii_only))
    words.append(f"at most {settings.get('max_new_tokens', request.max_new_tokens)} tokens")
    return (_DOT_ASCII if ascii_only else _DOT).join(words)


def _sampling(settings: Mapping[str, bool | float]) -> Sequence[str]:
    off = {"top_k": ("top-k", 0), "top_p": ("top-p", 1.0), "min_p": ("min-p", 0.0)}
    words = [f"T {setting_text(settings.get('temperature', 1.0))}"]
    words += [
        f"{shown} {setting_text(settings[name])}"
        for name, (shown, none) in off.items()
        if settings.get(name, none) != none
    ]
    return words


def checkpoint_words(reading: AnswerReading, *, ascii_only: bool) -> list[str]:
    """Return which of the checkpoint's own settings were not used, and which were, a line each;
    safe for display."""
    lines = []
    for what, of in (("not used", reading.left_out), ("kept", reading.kept)):
        if of:
            words = ", ".join(of)
            lines.append(plain_line(f"{what}: {words}", ascii_only=ascii_only))
    return lines


def checkpoint_counts(reading: AnswerReading) -> str:
    """Return how many of the checkpoint's own settings were not used, and how many were."""
    return f"{len(reading.left_out)} not used, {len(reading.kept)} kept"


def as_pairs(request: AnswerRequest) -> str:
    """Return the settings that are not the usual ones as on the command line:
    `temperature=0.7,draws=20`."""
    usual = AnswerRequest()
    pairs = []
    for each in fields(request):
        value = getattr(request, each.name)
        if value != getattr(usual, each.name):
            shown = str(value).lower() if isinstance(value, bool) else f"{value}"
            quoted = f'"{shown}"' if "," in shown or " " in shown else shown
            pairs.append(f"{each.encode_name}={quoted}")
    return ",".join(pairs)
