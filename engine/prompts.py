"""From a question to what the model receives: the text exactly as tokenised, the model's inputs,
and for every token of the prompt what it is and which part of the question it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from msgspec import structs

from engine.errors import BadInput
from engine.processors import takes_pictures, tokenizer_of
from engine.quiet import quiet
from engine.records import PromptToken, Question, TokenKind, TokenPart
from engine.tokens import TokenTexts

if TYPE_CHECKING:
    from PIL.Image import Image

_SENTINEL = "QzLenscope{}zQ"


@dataclass(frozen=True)
class Prepared:
    """What goes into the model for one question, and what it is made of."""

    inputs: dict[str, Any]
    tokens: tuple[PromptToken, ...]
    text: str
    """Exactly what was tokenised, with the picture's placeholder not yet expanded."""


@dataclass(frozen=True)
class _Span:
    """Characters [start, end) of the text that belong to one part of the question."""

    start: int
    end: int
    part: TokenPart


def has_chat_template(processor: Any) -> bool:
    """Whether processor or tokenizer bring a chat template."""
    return bool(
        getattr(processor, "chat_template", None)
        or getattr(tokenizer_of(processor), "chat_template", None)
    )


def prepare(model: Any, processor: Any, question: Question, image: Image | None) -> Prepared:
    """Render and tokenise the question, once. Raises BadInput, naming what cannot be asked."""
    if image is not None and not takes_pictures(processor):
        raise BadInput("this model takes no pictures: ask without one (--no-image)")
    if not (question.prompt.strip() or question.prefix):
        raise BadInput("the prompt is empty: type a question")
    for part in (question.prompt, question.system or "", question.prefix):
        _refuse_unencodable(part)
    encoder_decoder = bool(getattr(model.config, "is_encoder_decoder", False))
    prefix = question.prefix
    if encoder_decoder:
        question = structs.replace(question, prefix="")  # it begins the decoder's own sequence
    chat = question.chat and has_chat_template(processor)
    picture = picture_span(processor) if takes_pictures(processor) else None
    if chat:
        _refuse_special_tokens(processor, question, picture)
        text, spans = _chat_text(processor, question, image is not None, picture)
    else:
        text, spans = _raw_text(question, image is not None, picture)
    bos = getattr(tokenizer_of(processor), "bos_token", None)
    add_special = not (chat and bos and text.startswith(bos))
    with quiet():
        inputs = _tokenise(processor, text, image, add_special)
        ids: list[int] = inputs["input_ids"][0].tolist()
        _refuse_too_long(model, len(ids))
        kinds = _kinds(model, processor, ids)
        parts = _parts(processor, text, spans, ids, add_special)
    if encoder_decoder:
        ids, kinds, parts = _decoder_prompt(model, processor, prefix, inputs)
    texts = TokenTexts(tokenizer_of(processor))
    tokens = tuple(
        PromptToken(id=token, text=texts(token), kind=kind, part=part)
        for token, kind, part in zip(ids, kinds, parts, strict=True)
    )
    return Prepared(_in_dtype(model, inputs), tokens, text)


@dataclass(frozen=True)
class PictureSpan:
    """How this family writes a picture into its text."""

    text: str
    """The placeholder with the begin and end marks around it."""
    placeholder: str
    """What the processor expands."""


def picture_span(processor: Any) -> PictureSpan | None:
    """Found by rendering the chat template with and without a picture; where there is no
    template, the processor's or tokenizer's own placeholder."""
    tokenizer = tokenizer_of(processor)
    known = _known_placeholders(processor)
    if has_chat_template(processor):
        probe = _SENTINEL.format("X")
        without = _render(processor, probe, None, picture=False)
        with_picture = _render(processor, probe, None, picture=True)
        inserted = _inserted(without, with_picture)
        marks = sorted(_special_strings(tokenizer) | set(known), key=len, reverse=True)
        found = [(inserted.find(mark), mark) for mark in marks if mark in inserted]
        if found:
            start = min(place for place, _ in found)
            end = max(inserted.rfind(mark) + len(mark) for _, mark in found)
            span = inserted[start:end]
            placeholder = next((token for token in known if token in span), span)
            return PictureSpan(span, placeholder)
    return PictureSpan(known[0], known[0]) if known else None


def _chat_text(
    processor: Any, question: Question, picture: bool, span: PictureSpan | None
) -> tuple[str, list[_Span]]:
    rendered = _render(processor, question.prompt, question.system, picture)
    marked: dict[TokenPart, str] = {
        "system": _SENTINEL.format("S"),
        "prompt": _SENTINEL.format("P"),
    }
    frame = _render(
        processor, marked["prompt"], marked["system"] if question.system else None, picture
    )
    if question.system and marked["system"] not in frame:
        raise BadInput("the model's chat template has no system turn: leave --system out")
    typed: dict[TokenPart, str] = {"system": question.system or "", "prompt": question.prompt}
    spans = _locate(rendered, frame, marked, typed)
    if picture and span is not None:
        start = rendered.find(span.text)
        if start >= 0:
            spans.append(_Span(start, start + len(span.text), "picture"))
    spans.append(_Span(len(rendered), len(rendered) + len(question.prefix), "prefix"))
    return rendered + question.prefix, spans


def _locate(
    rendered: str, frame: str, marked: dict[TokenPart, str], typed: dict[TokenPart, str]
) -> list[_Span]:
    """Where system and prompt stand in `rendered`: where their marks stand in `frame`, as they
    were typed, or as the template has trimmed them."""
    order = sorted((frame.find(mark), part) for part, mark in marked.items() if mark in frame)
    spans: list[_Span] = []
    written, passed = 0, 0
    for index, (place, part) in enumerate(order):
        begin = written + place - passed
        passed = place + len(marked[part])
        for text in (typed[part], typed[part].strip()):
            if rendered.startswith(text, begin):
                end = begin + len(text)
                break
        else:
            last = index + 1 == len(order)
            following = frame[passed : len(frame) if last else order[index + 1][0]]
            end = len(rendered) - len(following) if last else rendered.find(following, begin)
        if not begin <= end <= len(rendered):
            return []
        spans.append(_Span(begin, end, part))
        written = end
    return spans


def _raw_text(
    question: Question, picture: bool, span: PictureSpan | None
) -> tuple[str, list[_Span]]:
    text = (question.system or "") + question.prompt + question.prefix
    count = text.count(span.placeholder) if span else 0
    if count > int(picture):
        assert span is not None
        raise BadInput(
            f"the prompt holds {count} picture placeholder{'s' * (count > 1)} "
            f"({span.placeholder}) for {int(picture)} picture{'s' * (not picture)}"
        )
    spans: list[_Span] = []
    offset = 0
    if picture and span is not None:
        if count:
            written = span.text if span.text in text else span.placeholder
            start = text.find(written)
            spans.append(_Span(start, start + len(written), "picture"))
        else:
            text = span.text + text
            offset = len(span.text)
            spans.append(_Span(0, offset, "picture"))
    parts: tuple[tuple[TokenPart, str], ...] = (
        ("system", question.system or ""),
        ("prompt", question.prompt),
        ("prefix", question.prefix),
    )
    for part, typed in parts:
        spans.append(_Span(offset, offset + len(typed), part))
        offset += len(typed)
    return text, spans


def _render(processor: Any, prompt: str, system: str | None, picture: bool) -> str:
    """The chat template's text. Contents are lists of parts where the template takes them, else
    plain strings with the picture's placeholder ahead of the prompt."""
    in_parts = takes_pictures(processor) and _takes_parts(processor)

    def content(text: str) -> Any:
        return [{"type": "text", "text": text}] if in_parts else text

    user = content(prompt)
    if picture and in_parts:
        user = [{"type": "image"}, *user]
    elif picture:
        user = f"{_known_placeholders(processor)[0]}\n{prompt}"
    messages: list[dict[str, Any]] = [{"role": "user", "content": user}]
    if system:
        messages.insert(0, {"role": "system", "content": content(system)})
    try:
        return _apply_template(processor, messages)
    except Exception as error:  # a template is a program of the checkpoint's
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"the model's chat template refuses this question: {reason}") from None


def _takes_parts(processor: Any) -> bool:
    probe = _SENTINEL.format("C")
    message = {"role": "user", "content": [{"type": "text", "text": probe}]}
    try:
        rendered = _apply_template(processor, [message])
    except Exception:  # the question itself will show whether plain strings do better
        return not _known_placeholders(processor)
    return (probe in rendered and "{'type'" not in rendered) or not _known_placeholders(processor)


def _apply_template(processor: Any, messages: list[dict[str, Any]]) -> str:
    owner = processor if getattr(processor, "chat_template", None) else tokenizer_of(processor)
    return str(owner.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def _known_placeholders(processor: Any) -> list[str]:
    """What processor and tokenizer themselves call their placeholder."""
    return [
        token
        for owner in (processor, tokenizer_of(processor))
        for name in ("image_token", "boi_token")
        if isinstance(token := getattr(owner, name, None), str) and token
    ]


def _inserted(without: str, with_picture: str) -> str:
    ahead = 0
    while ahead < len(without) and without[ahead] == with_picture[ahead]:
        ahead += 1
    behind = 0
    while (
        behind < min(len(without), len(with_picture)) - ahead
        and without[-1 - behind] == with_picture[-1 - behind]
    ):
        behind += 1
    return with_picture[ahead : len(with_picture) - behind]


def _special_strings(tokenizer: Any) -> set[str]:
    added = getattr(tokenizer, "added_tokens_decoder", {}) or {}
    strings = {str(token) for token in added.values() if getattr(token, "special", False)}
    return {text for text in strings | set(tokenizer.all_special_tokens) if text}


def _refuse_special_tokens(processor: Any, question: Question, picture: PictureSpan | None) -> None:
    marks = _special_strings(tokenizer_of(processor))
    if picture is not None:
        marks.add(picture.placeholder)
    typed = (
        ("prompt", question.prompt),
        ("system text", question.system or ""),
        ("prefix", question.prefix),
    )
    for name, text in typed:
        for mark in sorted(marks, key=len, reverse=True):
            if mark in text:
                raise BadInput(
                    f"the {name} contains the special token {mark}: "
                    "it is not interpreted in a chat; ask it raw (--raw)"
                )


def _refuse_unencodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput("the prompt is no valid Unicode text") from None


def _refuse_too_long(model: Any, length: int) -> None:
    text_config = model.config.get_text_config(decoder=True)
    limit = getattr(text_config, "max_position_embeddings", None)
    if isinstance(limit, int) and 0 < limit < length:
        raise BadInput(f"the prompt is {length} tokens long; the model's context holds {limit}")


def _tokenise(processor: Any, text: str, image: Image | None, add_special: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"return_tensors": "pt", "add_special_tokens": add_special}
    if image is not None:
        options["images"] = [image]
    try:
        return dict(processor(text=[text], **options))
    except (ValueError, TypeError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"the model's processor refuses this question: {reason}") from error


def _kinds(model: Any, processor: Any, ids: list[int]) -> list[TokenKind]:
    tokenizer = tokenizer_of(processor)
    image = getattr(model.config, "image_token_id", None)
    if image is None:
        image = getattr(processor, "image_token_id", None)
    special = set(tokenizer.all_special_ids)
    added = getattr(tokenizer, "added_tokens_decoder", {}) or {}
    special |= {token for token, text in added.items() if getattr(text, "special", False)}
    return [
        "image" if token == image else "special" if token in special else "text" for token in ids
    ]


def _parts(
    processor: Any, text: str, spans: list[_Span], ids: list[int], add_special: bool
) -> list[TokenPart]:
    """The part of every token, by aligning the plain tokenisation of the text with the ids in
    which the processor has expanded the placeholder."""
    tokenizer = tokenizer_of(processor)
    if not getattr(tokenizer, "is_fast", False):
        return ["template"] * len(ids)
    plain = tokenizer(text, add_special_tokens=add_special, return_offsets_mapping=True)
    own: list[int] = plain["input_ids"]
    parts = [_part_at(spans, start, end) for start, end in plain["offset_mapping"]]
    if own == ids:
        return parts
    picture = [index for index, part in enumerate(parts) if part == "picture"]
    if picture:
        before, after = picture[0], len(own) - picture[-1] - 1
        if own[:before] == ids[:before] and own[len(own) - after :] == ids[len(ids) - after :]:
            middle: list[TokenPart] = ["picture"] * (len(ids) - before - after)
            return parts[:before] + middle + parts[len(parts) - after :]
    return ["template"] * len(ids)


def _part_at(spans: list[_Span], start: int, end: int) -> TokenPart:
    if end <= start:
        return "template"
    for span in sorted(spans, key=lambda span: get_args(TokenPart).index(span.part) != 2):
        if span.start < end <= span.end:
            return span.part
    return "template"


def _decoder_prompt(
    model: Any, processor: Any, prefix: str, inputs: dict[str, Any]
) -> tuple[list[int], list[TokenKind], list[TokenPart]]:
    """Encoder-decoders are read along the decoder's own sequence: start token, then prefix."""
    import torch

    generation = getattr(model, "generation_config", None)
    start = getattr(generation, "decoder_start_token_id", None)
    if start is None:
        start = getattr(model.config.get_text_config(decoder=True), "decoder_start_token_id", None)
    if start is None:
        raise BadInput("the model does not say with which token its decoder starts")
    tokenizer = tokenizer_of(processor)
    typed = tokenizer(prefix, add_special_tokens=False)["input_ids"] if prefix else []
    ids = [int(start), *typed]
    inputs["decoder_input_ids"] = torch.tensor([ids])
    kinds: list[TokenKind] = ["text"] * len(typed)
    parts: list[TokenPart] = ["prefix"] * len(typed)
    return ids, ["special", *kinds], ["template", *parts]


def _in_dtype(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {
        key: value.to(model.dtype)
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else value
        for key, value in inputs.items()
    }
