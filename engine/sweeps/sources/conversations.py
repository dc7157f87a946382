"""Conversations as training data of chat models have them, in their two usual spellings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

ASKING = ("human", "user")
ANSWERING = ("gpt", "assistant", "model", "bot", "chatbot")
MOST_CHARACTERS = 2**22


@dataclass(frozen=True)
class Exchange:
    """The first question of a conversation."""

    question: str
    answer: str | None
    later: int
    """How many questions follow it."""


def first_exchange(value: Any) -> Exchange | None:
    """The first question and its answer; None where nothing is asked.

    Turns are `{from, value}` (LLaVA), `{role, content}` where the content is text or a list of
    parts, or `{user, assistant}`; a text is read as JSON.
    """
    if isinstance(value, str) and len(value) <= MOST_CHARACTERS:
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
    if not isinstance(value, (list, tuple)):
        return None
    turns = [turn for each in value if isinstance(each, Mapping) for turn in _turns(each)]
    asked = [number for number, (who, _) in enumerate(turns) if who == "asking"]
    if not asked:
        return None
    first = asked[0]
    following = turns[first + 1] if first + 1 < len(turns) else ("", "")
    answer = following[1] if following[0] == "answering" else None
    return Exchange(turns[first][1], answer or None, len(asked) - 1)


def _turns(turn: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who says what in an entry; `user` and `assistant` may share one."""
    who = turn.get("from", turn.get("role"))
    said = _said(turn.get("value", turn.get("content")))
    if isinstance(who, str):
        name = who.strip().lower()
        kind = "asking" if name in ASKING else "answering" if name in ANSWERING else "other"
        return [(kind, said)] if said or kind != "asking" else []
    found = []
    for name, kind in (("user", "asking"), ("assistant", "answering")):
        if _said(turn.get(name)):
            found.append((kind, _said(turn[name])))
    return found


def _said(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str) and part)
    return ""
