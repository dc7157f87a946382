"""Makes the model's inputs for a question: the text exactly as it is tokenised, the tensors, and
for every token its kind and the part of the question that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import structs

from engine.errors import BadInput, Remedy, typed_line
from engine.prompts.bounds import bounded
from engine.prompts.processors import (
    NO_PROCESSOR,
    misses_processor,
    takes_pictures,
    tokenizer_of,
)
from engine.prompts.templates import (
    SENTINEL,
    PictureSpan,
    has_chat_template,
    picture_span,
    render,
    special_strings,
)
from engine.prompts.token_parts import Span, added_after, token_kinds, token_parts
from engine.prompts.token_texts import TokenTexts
from engine.records import PromptToken, Question, TokenKind, TokenPart
from engine.system.panics import panics_as_errors
from engine.system.quiet import quiet

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Prepared:
    """The model's inputs for one question, a batch of one, and what they are made of."""

    inputs: dict[str, Any]
    tokens: tuple[PromptToken, ...]
    text: str
    """Exactly what was tokenised; the picture's placeholder is not yet expanded."""
    add_special: bool = True
    """Whether the tokenizer added its own special tokens around the text."""


@panics_as_errors()
def prepare(model: Any, processor: Any, question: Question, image: Image | None) -> Prepared:
    """Render and tokenise the question, once. Raises BadInput, naming what cannot be asked."""
    if image is not None and not takes_pictures(processor):
        reason = "this model takes no pictures"
        if misses_processor(model, processor):
            reason = f"this model cannot be shown a picture: {NO_PROCESSOR}"
        raise BadInput(f"{reason}; ask without one", Remedy.NO_PICTURE)
    if not (question.prompt.strip() or question.prefix):
        raise BadInput("the prompt is empty: type a question")
    for part in (question.prompt, question.system or "", question.prefix):
        _refuse_unencodable(part)
    encoder_decoder = bool(getattr(model.config, "is_encoder_decoder", False))
    prefix = question.prefix
    if encoder_decoder:
        # There the prefix is part of the decoder's own sequence.
        question = structs.replace(question, prefix="")
    chat = question.chat and has_chat_template(processor)
    picture = picture_span(processor) if takes_pictures(processor) else None
    if chat:
        _refuse_special_tokens(processor, question, picture)
        text, spans = _chat_text(processor, question, image is not None, picture)
    else:
        text, spans = _raw_text(question, image is not None, picture)
    with quiet():
        add_special = not (chat and _begins_with_lead(processor, text))
        inputs, ids = _tokenise(processor, text, image, add_special, closed=encoder_decoder)
        if add_special and _lead_twice(processor, text, ids):
            add_special = False
            inputs, ids = _tokenise(processor, text, image, add_special, closed=encoder_decoder)
        _refuse_too_long(model, len(ids))
        kinds = token_kinds(model, processor, ids)
        _refuse_unknown_ids(model, processor, ids, kinds)
        if image is None and not encoder_decoder and "image" in kinds:
            raise BadInput("the prompt holds a picture's tokens, and there is no picture")
        if question.prefix and added_after(processor, text, ids, add_special):
            raise BadInput(
                "this model's processor adds text after the prompt: no prefix can begin the answer"
            )
        parts = token_parts(processor, text, spans, ids, kinds, add_special)
    if encoder_decoder:
        ids, kinds, parts = _decoder_prompt(model, processor, prefix, inputs)
    texts = TokenTexts(tokenizer_of(processor))
    tokens = tuple(
        PromptToken(id=token, text=texts(token), kind=kind, part=part)
        for token, kind, part in zip(ids, kinds, parts, strict=True)
    )
    return Prepared(_in_dtype(model, inputs), tokens, text, add_special)


def prepare_again(model: Any, processor: Any, prepared: Prepared, image: Image) -> dict[str, Any]:
    """The inputs of a prepared question for another picture. Raises BadInput."""
    decoder = prepared.inputs.get("decoder_input_ids")
    inputs, ids = _tokenise(
        processor, prepared.text, image, prepared.add_special, closed=decoder is not None
    )
    if decoder is not None:
        inputs["decoder_input_ids"] = decoder
    _refuse_too_long(model, len(ids))
    return _in_dtype(model, inputs)


def _chat_text(
    processor: Any, question: Question, picture: bool, span: PictureSpan | None
) -> tuple[str, list[Span]]:
    rendered = render(processor, question.prompt, question.system, picture)
    marked: dict[TokenPart, str] = {
        "system": SENTINEL.format("S"),
        "prompt": SENTINEL.format("P"),
    }
    frame = render(
        processor, marked["prompt"], marked["system"] if question.system else None, picture
    )
    if question.system and marked["system"] not in frame:
        raise BadInput(
            "the model's chat template has no system turn: leave the system prompt out",
            Remedy.NO_SYSTEM,
        )
    typed: dict[TokenPart, str] = {"system": question.system or "", "prompt": question.prompt}
    spans = _locate(rendered, frame, marked, typed)
    if picture and span is not None:
        start = rendered.find(span.text)
        if start >= 0:
            spans.append(Span(start, start + len(span.text), "picture"))
    spans.append(Span(len(rendered), len(rendered) + len(question.prefix), "prefix"))
    return rendered + question.prefix, spans


def _locate(
    rendered: str, frame: str, marked: dict[TokenPart, str], typed: dict[TokenPart, str]
) -> list[Span]:
    """Where system text and prompt are in `rendered`: at the places of their marks in `frame`, as
    they were typed or as the template trimmed them."""
    order = sorted((frame.find(mark), part) for part, mark in marked.items() if mark in frame)
    spans: list[Span] = []
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
        spans.append(Span(begin, end, part))
        written = end
    return spans


def _raw_text(
    question: Question, picture: bool, span: PictureSpan | None
) -> tuple[str, list[Span]]:
    text = (question.system or "") + question.prompt + question.prefix
    count = text.count(span.placeholder) if span else 0
    if count > int(picture):
        assert span is not None
        raise BadInput(
            f"the prompt holds {count} picture placeholder{'s' * (count > 1)} "
            f"({span.placeholder}) for {int(picture)} picture{'s' * (not picture)}"
        )
    spans: list[Span] = []
    offset = 0
    if picture and span is not None:
        if count:
            written = span.text if span.text and span.text in text else span.placeholder
            start = text.find(written)
            spans.append(Span(start, start + len(written), "picture"))
        else:
            text = span.text + text
            offset = len(span.text)
            spans.append(Span(0, offset, "picture"))
    parts: tuple[tuple[TokenPart, str], ...] = (
        ("system", question.system or ""),
        ("prompt", question.prompt),
        ("prefix", question.prefix),
    )
    for part, typed in parts:
        spans.append(Span(offset, offset + len(typed), part))
        offset += len(typed)
    return text, spans


def _refuse_special_tokens(processor: Any, question: Question, picture: PictureSpan | None) -> None:
    marks = special_strings(tokenizer_of(processor))
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
                    "it is not interpreted in a chat; ask it raw",
                    Remedy.RAW,
                )


def _refuse_unencodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput("the prompt is not valid Unicode text") from None


def _refuse_too_long(model: Any, length: int) -> None:
    text_config = model.config.get_text_config(decoder=True)
    limit = getattr(text_config, "max_position_embeddings", None)
    if isinstance(limit, int) and 0 < limit < length:
        raise BadInput(f"the prompt is {length} tokens long; the model's context holds {limit}")


def _refuse_unknown_ids(
    model: Any, processor: Any, ids: Sequence[int], kinds: Sequence[TokenKind]
) -> None:
    """Raise BadInput for a token that the embedding has no row for: on a GPU, such an id ends the
    whole process. A picture's placeholders are replaced before they are looked up."""
    rows = _embedding_rows(model)
    if rows is None:
        return
    for token, kind in zip(ids, kinds, strict=True):
        if kind != "image" and not 0 <= token < rows:
            text = tokenizer_of(processor).convert_ids_to_tokens(token)
            raise BadInput(
                f"the prompt holds the token {token} ({text!r}), and the model has {rows} "
                f"(0 to {rows - 1}): its tokenizer is another model's, or its embedding was not "
                "resized"
            )


def _embedding_rows(model: Any) -> int | None:
    """How many ids the model's embedding has a row for; None where its weights do not tell. Some
    keep the rows of added tokens in a second matrix."""
    weights = [each for each in model.get_input_embeddings().parameters() if each.ndim == 2]
    if not weights or not weights[0].is_floating_point():
        return None
    return sum(int(each.shape[0]) for each in weights if each.shape[1] == weights[0].shape[1])


def _lead(processor: Any) -> list[int]:
    """The ids that the tokenizer adds before every text."""
    return list(tokenizer_of(processor)("")["input_ids"])


def _begins_with_lead(processor: Any, text: str) -> bool:
    """Whether the text itself begins with the tokens that the tokenizer would add before it."""
    lead = _lead(processor)
    ids = tokenizer_of(processor)(text, add_special_tokens=False)["input_ids"]
    return bool(lead) and ids[: len(lead)] == lead


def _lead_twice(processor: Any, text: str, ids: list[int]) -> bool:
    """Whether the tokens that the tokenizer adds before a text are there twice: some processors
    write its begin token themselves."""
    lead = _lead(processor)
    plain: list[int] = tokenizer_of(processor)(text, add_special_tokens=True)["input_ids"]
    return bool(lead) and ids.count(lead[0]) > plain.count(lead[0])


def _cut_closing(processor: Any, inputs: dict[str, Any]) -> None:
    """Remove the tokens that the tokenizer adds after every text (BERT's [SEP]): the answer begins
    before them, and rows that are read after them would answer another question."""
    tokenizer = tokenizer_of(processor)
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    closed = tokenizer("a")["input_ids"]
    place = next((i for i in range(len(closed)) if closed[i : i + len(bare)] == bare), None)
    closing = [] if place is None else closed[place + len(bare) :]
    ids = inputs["input_ids"][0].tolist() if "input_ids" in inputs else []
    if not closing or ids[-len(closing) :] != closing:
        return
    for name, value in inputs.items():
        if tuple(getattr(value, "shape", ())) == (1, len(ids)):
            inputs[name] = value[:, : -len(closing)]


def _tokenise(
    processor: Any, text: str, image: Image | None, add_special: bool, closed: bool
) -> tuple[dict[str, Any], list[int]]:
    """The processor's inputs for the text and the picture, and the token ids; `closed` keeps the
    tokens that the tokenizer adds after a text."""
    options: dict[str, Any] = {"return_tensors": "pt", "add_special_tokens": add_special}
    if image is not None:
        options["images"] = [image]
    try:
        with bounded(image):
            inputs = dict(processor(text=[text], **options))
    except (ValueError, TypeError, LookupError, ArithmeticError, AssertionError) as error:
        about = "" if image is None else f" about {image.width} x {image.height} pixels"
        raise BadInput(
            f"the model's processor refuses this question{about}: {typed_line(error)}"
        ) from error
    inputs.pop("labels", None)  # labels are for training: a loss would be computed for nothing
    if not closed:
        _cut_closing(processor, inputs)
    return inputs, inputs["input_ids"][0].tolist() if "input_ids" in inputs else []


def _decoder_prompt(
    model: Any, processor: Any, prefix: str, inputs: dict[str, Any]
) -> tuple[list[int], list[TokenKind], list[TokenPart]]:
    """The decoder's own sequence, along which encoder-decoders are read: start token and prefix."""
    import torch

    owners = (
        getattr(model, "generation_config", None),
        model.config,
        model.config.get_text_config(decoder=True),
    )
    # As `generate` chooses it: the decoder's start token, or else the begin token.
    said = [
        getattr(owner, name, None)
        for name in ("decoder_start_token_id", "bos_token_id")
        for owner in owners
    ]
    start = next((token for token in said if isinstance(token, int)), None)
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
