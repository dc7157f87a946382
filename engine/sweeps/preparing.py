"""From pictures and questions to the model's inputs, ahead of the passes, in threads.

Files are read and decoded in several threads. Processor and tokenizer are no good in two threads at
once, so one thread has copies of its own, and hands out pictures in their order.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import structs

from engine.errors import BadInput, LenscopeError
from engine.files import read_file
from engine.pictures import MAX_BYTES, DecodedPicture, decode_picture
from engine.prompts import Prepared, prepare, prepare_again
from engine.quiet import quiet
from engine.records import Question
from engine.sweeps.sources.tasks import PictureTasks, Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from engine.loading import Loaded

MOST_KNOWN = 1000
"""Prompts whose rendered text is kept."""
DECODERS = 4
"""Threads at most; there are never more than the machine has cores."""


@dataclass(frozen=True)
class PreparedTask:
    """One question, ready for the model."""

    task: Task
    inputs: dict[str, Any]


@dataclass(frozen=True)
class PreparedPicture:
    """A picture's questions, those that can be asked and those that cannot."""

    path: str
    sha256: str
    """Empty where the picture could not be read."""
    tasks: tuple[PreparedTask, ...]
    failed: tuple[tuple[Task, str], ...]


class Preparing:
    """Makes inputs ahead of whoever iterates, `ahead` pictures at most. Close it."""

    def __init__(self, loaded: Loaded, question: Question, ahead: int) -> None:
        """`question` says how all are asked; its prompt and picture do not count."""
        self._model = loaded.model
        self._question = question
        self._ahead = ahead
        self._known: dict[str, Prepared] = {}
        with quiet():
            self._processor = copy.deepcopy(loaded.processor)
        _remember_pixels(self._processor)
        self._decoders = ThreadPoolExecutor(min(DECODERS, os.cpu_count() or 1), "decode")
        self._preparer = ThreadPoolExecutor(1, "prepare")

    def pictures(self, wanted: Iterable[PictureTasks]) -> Iterator[PreparedPicture]:
        """The pictures in their order, prepared."""
        waiting: deque[Future[PreparedPicture]] = deque()
        for picture in wanted:
            decoding = self._decoders.submit(_decoded, picture)
            waiting.append(self._preparer.submit(self._prepared, picture, decoding))
            if len(waiting) > self._ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """Stop, whatever is still waiting."""
        for pool in (self._preparer, self._decoders):
            pool.shutdown(wait=False, cancel_futures=True)

    def _inputs(self, prompt: str, image: Image) -> dict[str, Any]:
        known = self._known.get(prompt)
        if known is not None:
            return prepare_again(self._model, self._processor, known, image)
        question = structs.replace(self._question, prompt=prompt)
        prepared = prepare(self._model, self._processor, question, image)
        if len(self._known) < MOST_KNOWN:
            # Its pixels are not needed again.
            inputs = {
                name: value
                for name, value in prepared.inputs.items()
                if name == "decoder_input_ids"
            }
            self._known[prompt] = dataclasses.replace(prepared, inputs=inputs, tokens=())
        return prepared.inputs

    def _prepared(self, picture: PictureTasks, decoding: Future[DecodedPicture]) -> PreparedPicture:
        try:
            decoded = decoding.result()
        except BadInput as error:
            failed = tuple((task, str(error)) for task in picture.tasks)
            return PreparedPicture(picture.path, "", (), failed)
        made, failures = [], []
        for task in picture.tasks:
            try:
                made.append(PreparedTask(task, self._inputs(task.prompt, decoded.image)))
            except LenscopeError as error:
                failures.append((task, str(error)))
            except Exception as error:  # processors raise anything
                text = " ".join(str(error).split()) or type(error).__name__
                failures.append((task, f"the model's processor failed: {text[:300]}"))
        return PreparedPicture(picture.path, decoded.sha256, tuple(made), tuple(failures))


def _decoded(picture: PictureTasks) -> DecodedPicture:
    if picture.read is not None:
        return decode_picture(picture.read(), picture.path)
    if picture.file is None:
        raise BadInput(f"{picture.path}: no picture")
    return decode_picture(read_file(picture.file, "picture", MAX_BYTES), picture.path)


def _remember_pixels(processor: Any) -> None:
    """Let a processor make the pixels of a picture once for all the questions about it."""
    inner = getattr(processor, "image_processor", None)
    if inner is not None and inner is not processor:
        processor.image_processor = _LastPicture(inner)


class _LastPicture:
    """An image processor that gives what it gave last where it is asked the same again."""

    def __init__(self, inner: Any) -> None:
        self.__dict__["_inner"] = inner
        self.__dict__["_asked"] = None
        self.__dict__["_gave"] = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_inner"], name, value)

    def __call__(self, images: Any = None, *args: Any, **settings: Any) -> Any:
        own = self.__dict__
        asked = (images, args, settings)
        if own["_asked"] is None or not _alike(own["_asked"], asked):
            own["_gave"] = own["_inner"](images, *args, **settings)
            own["_asked"] = asked
        gave = copy.copy(own["_gave"])
        if isinstance(getattr(gave, "data", None), dict):
            gave.data = dict(gave.data)  # processors take entries out
        return gave


def _alike(one: Any, other: Any) -> bool:
    """Whether two calls are the same: pictures by identity, settings by value."""
    if one is other:
        return True
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    simple = (bool, int, float, str, type(None))
    return isinstance(one, simple) and type(one) is type(other) and one == other
