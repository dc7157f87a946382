"""From pictures and questions to the model's inputs, ahead of the passes, in threads.

Files are read and decoded in several threads. Processor and tokenizer are no good in two threads at
once, so one thread has copies of its own, and hands out pictures in their order. Where the model
runs on the CPU nothing is made ahead: the passes want every core, and a thread beside them costs
them more than it saves.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from msgspec import structs
from torch import Tensor

from engine.batches import sequences
from engine.errors import BadInput, LenscopeError
from engine.files import read_file
from engine.pictures import MAX_BYTES, DecodedPicture, decode_picture
from engine.prompts import Prepared, prepare, prepare_again
from engine.quiet import quiet
from engine.records import Question
from engine.sharing import same
from engine.sweeps.sources.tasks import PictureTasks, Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from engine.loading import Loaded

MOST_KNOWN = 1000
"""Prompts whose rendered text is kept, and whose tokens are."""
MOST_NUMBERS = 20_000
"""Of whole numbers that are compared to know a picture's geometry again."""
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
    """Makes inputs ahead of whoever iterates, `ahead` pictures at most; 0 makes them when they are
    asked for. Close it."""

    def __init__(self, loaded: Loaded, question: Question, ahead: Callable[[], int]) -> None:
        """`question` says how all are asked; its prompt and picture do not count."""
        self._model = loaded.model
        self._question = question
        self._ahead = ahead
        self._known: dict[str, Prepared] = {}
        self._written: dict[tuple[Hashable, str], dict[str, Tensor]] = {}
        """What a prompt is written as beside a picture of some geometry: its sequences of tokens.
        """
        with quiet():
            self._processor = copy.deepcopy(loaded.processor)
        _remember_pixels(self._processor)
        self._decoders = ThreadPoolExecutor(min(DECODERS, os.cpu_count() or 1), "decode")
        self._preparer = ThreadPoolExecutor(1, "prepare")

    def pictures(self, wanted: Iterable[PictureTasks]) -> Iterator[PreparedPicture]:
        """The pictures in their order, prepared."""
        if not self._ahead():
            for picture in wanted:
                yield self._prepared(picture, partial(decoded, picture))
            return
        waiting: deque[Future[PreparedPicture]] = deque()
        for picture in wanted:
            decoding = self._decoders.submit(decoded, picture)
            waiting.append(self._preparer.submit(self._prepared, picture, decoding.result))
            while len(waiting) > self._ahead():
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

    def _all_inputs(self, tasks: Sequence[Task], image: Image) -> Iterator[dict[str, Any] | str]:
        """The inputs of each task, or why there are none."""
        first: dict[str, Any] | None = None
        key: Hashable = None
        for task in tasks:
            try:
                written = self._written.get((key, task.prompt)) if first is not None else None
                if first is not None and written is not None:
                    yield {**first, **written}
                    continue
                inputs = self._inputs(task.prompt, image)
            except LenscopeError as error:
                yield str(error)
                continue
            except Exception as error:  # processors raise anything
                text = " ".join(str(error).split()) or type(error).__name__
                yield f"the model's processor failed: {text[:300]}"
                continue
            yield inputs
            if first is None:
                first, key = inputs, _geometry(task.prompt, inputs)
            elif key is not None and len(self._written) < MOST_KNOWN:
                texts = sequences(inputs)
                others = inputs.keys() - texts.keys()
                same = all(torch.equal(inputs[name], first[name]) for name in others & first.keys())
                if same and inputs.keys() == first.keys():
                    self._written[key, task.prompt] = texts

    def _prepared(
        self, picture: PictureTasks, decode: Callable[[], DecodedPicture]
    ) -> PreparedPicture:
        try:
            opened = decode()
        except BadInput as error:
            failed = tuple((task, str(error)) for task in picture.tasks)
            return PreparedPicture(picture.path, "", (), failed)
        made: list[PreparedTask] = []
        failures: list[tuple[Task, str]] = []
        found = self._all_inputs(picture.tasks, opened.image)
        for task, inputs in zip(picture.tasks, found, strict=True):
            if isinstance(inputs, str):
                failures.append((task, inputs))
            else:
                made.append(PreparedTask(task, inputs))
        return PreparedPicture(picture.path, opened.sha256, tuple(made), tuple(failures))


def _geometry(prompt: str, inputs: dict[str, Any]) -> Hashable:
    """What of a picture decides how the prompts beside it are written: the shapes of all that it
    has become, whole numbers among it, and how one prompt is written. None where that cannot be
    told."""
    parts: list[Hashable] = [prompt]
    for name, value in sorted(inputs.items()):
        if not isinstance(value, Tensor):
            return None
        parts.append((name, tuple(value.shape), value.dtype))
        if not value.is_floating_point():
            if value.numel() > MOST_NUMBERS:
                return None
            parts.append(tuple(value.flatten().tolist()))
    return tuple(parts)


def decoded(picture: PictureTasks) -> DecodedPicture:
    """The picture of some tasks. Raises BadInput, saying what is wrong with it."""
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
        if own["_asked"] is None or not same(own["_asked"], asked):
            own["_gave"] = own["_inner"](images, *args, **settings)
            own["_asked"] = asked
        gave = copy.copy(own["_gave"])
        if isinstance(getattr(gave, "data", None), dict):
            gave.data = dict(gave.data)  # processors take entries out
        return gave
