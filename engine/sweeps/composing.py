"""Composes the inputs of a prompt about a picture from what is known of both.

A processor processes the picture, and writes the prompt's tokens, which depend on the picture's
size and on what was made of it, but not on what it shows. Where a processor has been seen to add
nothing else, a known prompt about another picture of the same geometry needs only the image
processor; the rest of a processor's call takes about three times as long as that.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from engine.passes.collating import sequences
from engine.passes.vision_reuse import same
from engine.prompts.bounds import bounded
from engine.system.panics import panics_as_errors

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_KNOWN = 1000
"""How many token sequences are kept."""


class _Made(NamedTuple):
    """What the image processor makes of one picture."""

    values: dict[str, Tensor]
    """In the dtype of the model."""
    geometry: Hashable
    """What of it may determine a prompt's tokens: all but the floating-point numbers."""


class _Known(NamedTuple):
    """The inputs of a prompt about pictures of one geometry."""

    texts: dict[str, Tensor]
    """Those that are its tokens', and the same for all these pictures."""
    names: tuple[str, ...]
    """All of them; what is not among the texts is the picture's."""


class Composing:
    """A processor whose picture is processed once for all its prompts, and what is known of it."""

    def __init__(self, processor: Any, dtype: torch.dtype) -> None:
        """`dtype` is the model's, into which floating-point inputs are converted. The processor
        given stays as it is."""
        self.processor = copy.copy(processor)
        self._dtype = dtype
        self._last: _LastPicture | None = None
        inner = getattr(processor, "image_processor", None)
        if inner is not None and inner is not processor:
            self._last = self.processor.image_processor = _LastPicture(inner)
        self._call: _Call | None = None
        """How the processor calls its image processor."""
        self._known: dict[tuple[str, Hashable], _Known] = {}
        self._picture: Image | None = None
        self._made: _Made | None = None
        """Of `_picture`; None where it cannot be used."""

    def inputs(self, prompt: str, image: Image) -> dict[str, Any] | None:
        """The inputs of a prompt about a picture; None where they are not known, so that the
        processor has to be called. The tensors of one picture are the same for all prompts."""
        made = self._made_of(image)
        known = None if made is None else self._known.get((prompt, made.geometry))
        if made is None or known is None:
            return None
        return {
            name: known.texts[name] if name in known.texts else made.values[name]
            for name in known.names
        }

    def learn(self, prompt: str, image: Image, inputs: dict[str, Any]) -> None:
        """Learn from what the processor has just made of a prompt and a picture."""
        call = None if self._last is None else self._last.call(image)
        if self._last is None or call is None or len(self._known) >= MOST_KNOWN:
            return
        if self._call is None:
            self._call = call
        made = self._checked(image, self._last.gave)
        texts = sequences(inputs)
        others = inputs.keys() - texts.keys()
        if made is None or not self._call.is_like(call):
            return
        if all(name in made.values and same(inputs[name], made.values[name]) for name in others):
            self._known[prompt, made.geometry] = _Known(texts, tuple(inputs))
            self._picture, self._made = image, made

    def _made_of(self, image: Image) -> _Made | None:
        if self._picture is not image:
            self._picture, self._made = image, self._process(image)
        return self._made

    def _process(self, image: Image) -> _Made | None:
        if self._call is None or self._last is None or not self._known:
            return None
        try:
            with panics_as_errors(), bounded(image):
                self._call.repeat(self._last, image)
        except Exception:  # the processor itself will say what is wrong
            return None
        return self._checked(image, self._last.gave)

    def _checked(self, image: Image, gave: Any) -> _Made | None:
        """None where it holds something that cannot be recognised again."""
        parts: list[Hashable] = [image.size]
        values: dict[str, Tensor] = {}
        for name, value in sorted(gave.items()):
            if not isinstance(value, Tensor):
                if not _is_plain(value):
                    return None
                parts.append((name, repr(value)))
                continue
            parts.append((name, tuple(value.shape), value.dtype))
            if value.is_floating_point():
                values[name] = value.to(self._dtype)
                continue
            values[name] = value
            data = value.contiguous().numpy().tobytes()
            parts.append(hashlib.blake2b(data, digest_size=16).digest())
        return _Made(values, tuple(parts))


def _is_plain(value: Any) -> bool:
    """Whether `repr` tells all of a value."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


class _Call(NamedTuple):
    """A call of an image processor, with any picture in the place of the one that it got."""

    placed: Callable[[Image], Any]
    """From a picture to the first argument."""
    args: tuple[Any, ...]
    settings: dict[str, Any]

    def is_like(self, other: _Call) -> bool:
        """Whether both give the same for the same picture."""
        mark: Any = object()
        arguments = (self.placed(mark), self.args, self.settings)
        return same(arguments, (other.placed(mark), other.args, other.settings))

    def repeat(self, processor: Any, image: Image) -> Any:
        """Process another picture in the same way."""
        return processor(self.placed(image), *self.args, **self.settings)


class _LastPicture:
    """An image processor that returns its last result again for equal arguments."""

    def __init__(self, inner: Any) -> None:
        self.__dict__["_inner"] = inner
        self.__dict__["_asked"] = None
        self.__dict__["gave"] = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_inner"], name, value)

    def __call__(self, images: Any = None, *args: Any, **settings: Any) -> Any:
        state = self.__dict__
        asked = (images, args, settings)
        if state["_asked"] is None or not same(state["_asked"], asked):
            state["gave"] = state["_inner"](images, *args, **settings)
            state["_asked"] = asked
        gave = copy.copy(state["gave"])
        if isinstance(getattr(gave, "data", None), dict):
            gave.data = dict(gave.data)  # processors remove entries
        return gave

    def call(self, image: Image) -> _Call | None:
        """The last call; None where it got something else than this picture, or gave something
        else than a mapping."""
        if self.__dict__["_asked"] is None or not hasattr(self.__dict__["gave"], "items"):
            return None
        images, args, settings = self.__dict__["_asked"]
        placed = _placing(images, image)
        return None if placed is None else _Call(placed, args, settings)


def _placing(images: Any, image: Image) -> Callable[[Image], Any] | None:
    """A function that puts any picture in the place of `image`, or of a copy, in a nested list;
    None where there is anything else in it."""
    if images is image or (isinstance(images, type(image)) and images == image):
        return lambda another: another
    if isinstance(images, list) and len(images) == 1:
        inner = _placing(images[0], image)
        return None if inner is None else lambda another: [inner(another)]
    return None
