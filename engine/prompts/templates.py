"""A model's chat template, and how its processor writes a picture into a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from engine.errors import BadInput, one_line
from engine.prompts.processors import takes_pictures, tokenizer_of
from engine.prompts.template_bounds import TemplateTooExpensive, bounded_template, refuse_long

SENTINEL = "QzLenscope{}zQ"
"""Marks the place of the user's text in a rendered template."""


def has_chat_template(processor: Any) -> bool:
    """Whether the processor or its tokenizer has a chat template."""
    return bool(
        getattr(processor, "chat_template", None)
        or getattr(tokenizer_of(processor), "chat_template", None)
    )


@dataclass(frozen=True)
class PictureSpan:
    """How a model's processor writes a picture into a text."""

    text: str
    """The placeholder with its begin and end marks; empty where the processor writes them
    itself."""
    placeholder: str
    """The string that the processor expands into image tokens."""


_writers: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def _writes_the_picture_itself(processor: Any) -> bool:
    """Whether the processor adds the picture to a text without a placeholder; tried once."""
    if processor not in _writers:
        from PIL import Image

        plain = tokenizer_of(processor)("a")["input_ids"]
        grey = Image.new("RGB", (56, 56), (127, 127, 127))
        try:
            ids = processor(text=["a"], images=[grey], return_tensors="pt")["input_ids"][0].tolist()
        except Exception:  # it requires its placeholder
            ids = plain
        known = tokenizer_of(processor).convert_tokens_to_ids(known_placeholders(processor))
        _writers[processor] = any(token in ids and token not in plain for token in known)
    return _writers[processor]


def picture_span(processor: Any) -> PictureSpan | None:
    """What the chat template adds to a text for a picture; without a template, the placeholder that
    the processor or the tokenizer names. None where neither is known."""
    tokenizer = tokenizer_of(processor)
    known = known_placeholders(processor)
    if has_chat_template(processor):
        probe = SENTINEL.format("X")
        without = render(processor, probe, None, picture=False)
        with_picture = render(processor, probe, None, picture=True)
        inserted = _inserted(without, with_picture)
        # What is also there without a picture (a default system turn, say) does not mark one.
        marks = {mark for mark in special_strings(tokenizer) if mark not in without} | set(known)
        found = [(inserted.find(mark), mark) for mark in marks if mark in inserted]
        if found:
            start = min(place for place, _ in found)
            end = max(inserted.rfind(mark) + len(mark) for _, mark in found)
            span = inserted[start:end]
            placeholder = next((token for token in known if token in span), span)
            return PictureSpan(span, placeholder)
    if not known:
        return None
    return PictureSpan("" if _writes_the_picture_itself(processor) else known[0], known[0])


def render(processor: Any, prompt: str, system: str | None, picture: bool) -> str:
    """The chat template's text. The content of a turn is a list of parts where the template takes
    one for that role, else a plain string with the picture's placeholder before the prompt.

    Raises BadInput where the template refuses the question."""
    user: Any = prompt
    if _takes_parts(processor, []):
        user = [{"type": "text", "text": prompt}]
        if picture:
            user.insert(0, {"type": "image"})
    elif picture:
        user = f"{known_placeholders(processor)[0]}\n{prompt}"
    messages: list[dict[str, Any]] = [{"role": "user", "content": user}]
    if system:
        in_parts = _takes_parts(processor, messages)
        content = [{"type": "text", "text": system}] if in_parts else system
        messages.insert(0, {"role": "system", "content": content})
    try:
        return _apply_template(processor, messages)
    except TemplateTooExpensive:
        raise
    except Exception as error:  # a template is a program that comes with the checkpoint
        raise BadInput(
            f"the model's chat template refuses this question: {one_line(error)}"
        ) from None


def _takes_parts(processor: Any, following: list[dict[str, Any]]) -> bool:
    """Whether the template takes a list of parts as the content of a turn: the user's or, with
    turns following it, the system's. Some take lists for one role and print them for the other."""
    if not takes_pictures(processor):
        return False
    only_parts = not known_placeholders(processor) and not following
    probe = SENTINEL.format("C")
    content = [{"type": "text", "text": probe}]
    message = {"role": "system" if following else "user", "content": content}
    try:
        rendered = _apply_template(processor, [message, *following])
    except TemplateTooExpensive:
        raise
    except Exception:  # rendering the question itself will show whether plain strings work
        return only_parts
    return (probe in rendered and "{'type'" not in rendered) or only_parts


def _apply_template(processor: Any, messages: list[dict[str, Any]]) -> str:
    owner = processor if getattr(processor, "chat_template", None) else tokenizer_of(processor)
    with bounded_template(owner):
        rendered = owner.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return refuse_long(str(rendered))


def known_placeholders(processor: Any) -> list[str]:
    """The placeholders that processor and tokenizer name as theirs."""
    tokenizer = tokenizer_of(processor)
    named = [
        token
        for owner in (processor, tokenizer)
        for name in ("image_token", "boi_token")
        if isinstance(token := getattr(owner, name, None), str) and token
    ]
    image = getattr(processor, "image_token_id", None)
    if not named and isinstance(image, int):
        named = [str(tokenizer.convert_ids_to_tokens(image))]
    return named


def _inserted(without: str, with_picture: str) -> str:
    """The part of one text that the other does not have, between their common ends."""
    prefix = 0
    while prefix < len(without) and without[prefix] == with_picture[prefix]:
        prefix += 1
    suffix = 0
    while (
        suffix < min(len(without), len(with_picture)) - prefix
        and without[-1 - suffix] == with_picture[-1 - suffix]
    ):
        suffix += 1
    return with_picture[prefix : len(with_picture) - suffix]


def special_strings(tokenizer: Any) -> set[str]:
    """The texts of all special tokens."""
    added = getattr(tokenizer, "added_tokens_decoder", {}) or {}
    strings = {str(token) for token in added.values() if getattr(token, "special", False)}
    return {text for text in strings | set(tokenizer.all_special_tokens) if text}
