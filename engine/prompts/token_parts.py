"""The kind of every token of a prompt, and the part of the question that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, get_args

from engine.prompts.processors import tokenizer_of
from engine.records import TokenKind, TokenPart


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of the text that belong to one part of the question."""

    start: int
    end: int
    part: TokenPart


def image_token(model: Any, processor: Any) -> int | None:
    """The id of the tokens that stand for the picture; None if neither names one."""
    found = getattr(model.config, "image_token_id", None)
    return getattr(processor, "image_token_id", None) if found is None else found


def token_kinds(model: Any, processor: Any, ids: list[int]) -> list[TokenKind]:
    tokenizer = tokenizer_of(processor)
    image = image_token(model, processor)
    special = set(tokenizer.all_special_ids)
    added = getattr(tokenizer, "added_tokens_decoder", {}) or {}
    special |= {token for token, text in added.items() if getattr(text, "special", False)}
    return [
        "image" if token == image else "special" if token in special else "text" for token in ids
    ]


def token_parts(
    processor: Any,
    text: str,
    spans: list[Span],
    ids: list[int],
    kinds: list[TokenKind],
    add_special: bool,
) -> list[TokenPart]:
    """The part of every token, found by aligning the plain tokenisation of the text with `ids`, in
    which the processor expanded the placeholder and to which it may have added text."""
    plain_ids, parts = _plain(processor, text, spans, add_special)
    if plain_ids == ids:
        return parts
    found: list[TokenPart] = ["template"] * len(ids)
    aligned = SequenceMatcher(None, plain_ids, ids, autojunk=False).get_matching_blocks()
    own_end = ids_end = 0
    for block in aligned:
        between = slice(ids_end, block.b)
        beside = {*parts[own_end : block.a], *parts[max(0, own_end - 1) : own_end]}
        beside |= {*parts[block.a : block.a + 1]}
        if "image" in kinds[between] or "picture" in beside:
            found[between] = ["picture"] * (block.b - ids_end)
        own_end, ids_end = block.a + block.size, block.b + block.size
        found[block.b : ids_end] = parts[block.a : own_end]
    begin = tokenizer_of(processor).bos_token_id
    return ["template" if token == begin else part for token, part in zip(ids, found, strict=True)]


def added_after(processor: Any, text: str, ids: list[int], add_special: bool) -> bool:
    """Whether the processor added text of its plain_ids after the prompt (an answer mark, say)."""
    plain_ids, _ = _plain(processor, text, [], add_special)
    blocks = SequenceMatcher(None, plain_ids, ids, autojunk=False).get_matching_blocks()
    last = [block.b + block.size for block in blocks if block.size]
    return bool(last) and last[-1] < len(ids)


def _plain(
    processor: Any, text: str, spans: list[Span], add_special: bool
) -> tuple[list[int], list[TokenPart]]:
    """The tokenizer's plain_ids ids of the text, and the part of each."""
    tokenizer = tokenizer_of(processor)
    if not getattr(tokenizer, "is_fast", False):
        ids: list[int] = tokenizer(text, add_special_tokens=add_special)["input_ids"]
        return ids, ["template"] * len(ids)
    plain = tokenizer(text, add_special_tokens=add_special, return_offsets_mapping=True)
    return plain["input_ids"], [_part_at(spans, *offsets) for offsets in plain["offset_mapping"]]


def _part_at(spans: list[Span], start: int, end: int) -> TokenPart:
    if end <= start:
        return "template"
    for span in sorted(spans, key=lambda span: get_args(TokenPart).index(span.part) != 2):
        if span.start < end <= span.end:
            return span.part
    return "template"
