"""From pictures and questions to the model's inputs, ahead of the passes, in other processes.

Reading, decoding and processing a picture is work for the interpreter, which a pass needs for
itself; so it is torch's DataLoader that does it, the picture's inputs coming back in order. Where
the model runs on the CPU nothing is made ahead: the passes want every core, and whoever works
beside them costs them more than it saves.
"""

from __future__ import annotations

import copy
import ctypes
import dataclasses
import os
import signal
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from msgspec import structs
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from engine.batches import sequences
from engine.errors import BadInput, CannotRead, LenscopeError
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
PR_SET_PDEATHSIG = 1
"""Linux: the signal that a process gets when the one that has made it ends."""
MOST_WORKERS = 8
"""Processes that make inputs for one that runs passes."""


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


def worker_count(device: torch.device) -> int:
    """How many processes make inputs beside passes on `device`: as many as there are cores for.

    They are forked, so that they need not load anything; where that is not safe there are none.
    """
    if device.type != "cuda":
        return 0
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1") or 1)
    return max(1, min(MOST_WORKERS, (os.cpu_count() or 1) // processes - 1))


class Preparing:
    """Makes inputs of pictures, in `workers` other processes or, with 0, when they are asked
    for."""

    def __init__(self, loaded: Loaded, question: Question, workers: int = 0) -> None:
        """`question` says how all are asked; its prompt and picture do not count."""
        self._model = loaded.model
        self._question = question
        self._workers = workers
        self._known: dict[str, Prepared] = {}
        self._written: dict[tuple[Hashable, str], dict[str, Tensor]] = {}
        """What a prompt is written as beside a picture of some geometry: its sequences of tokens.
        """
        with quiet():
            self._processor = copy.deepcopy(loaded.processor)
        _remember_pixels(self._processor)

    def pictures(
        self,
        wanted: Iterable[PictureTasks],
        ahead: Callable[[PreparedPicture], int] = lambda picture: 2 * MOST_WORKERS,
    ) -> Generator[PreparedPicture, None, None]:
        """The pictures in their order, prepared; close the iterator.

        The first that can be asked about is made in turn; shown it, `ahead` says how many are to
        be ready in other processes before they are asked for. Raises CannotRead where one of those
        is ended from outside.
        """
        pictures = iter(wanted)
        for picture in pictures:
            prepared = self.prepared(picture)
            yield prepared
            if self._workers and prepared.tasks:
                yield from self._made_ahead(pictures, ahead(prepared))

    def _made_ahead(
        self, pictures: Iterator[PictureTasks], ahead: int
    ) -> Iterator[PreparedPicture]:
        # The workers are copies of this process, in which other threads may hold anything.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        made = iter(
            DataLoader(
                _Pictures(self),
                sampler=pictures,
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=self._workers,
                prefetch_factor=max(1, ahead // self._workers),
                multiprocessing_context="fork",
                worker_init_fn=partial(_end_with, os.getpid()),
            )
        )
        while True:
            try:
                packed = next(made)
            except StopIteration:
                return
            except RuntimeError as error:
                raise CannotRead(
                    "a process that prepares pictures was ended from outside "
                    f"({' '.join(str(error).split())[:200]}); the same command goes on"
                ) from None
            yield packed.opened()

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

    def prepared(self, picture: PictureTasks) -> PreparedPicture:
        """One picture's questions, here and now."""
        try:
            opened = decoded(picture)
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


class _Pictures(Dataset["_Packed"]):
    """What a worker has; its index is what it is to prepare."""

    def __init__(self, preparing: Preparing) -> None:
        self._preparing = preparing

    def __getitem__(self, picture: PictureTasks) -> _Packed:
        return _Packed.of(self._preparing.prepared(picture))


class _Bytes(NamedTuple):
    """A tensor, packed."""

    data: np.ndarray[Any, Any]
    dtype: torch.dtype
    shape: torch.Size


class _Packed(NamedTuple):
    """A prepared picture without tensors, which torch would send through shared memory: there is
    little of that in containers."""

    picture: PreparedPicture
    """Its tasks' inputs lack what is a tensor."""
    tensors: tuple[_Bytes, ...]
    places: tuple[dict[str, int], ...]
    """Of each task, which of the tensors its inputs are."""

    @classmethod
    def of(cls, picture: PreparedPicture) -> _Packed:
        """Packs what two tasks have in common once, to be one tensor again."""
        tensors: dict[int, Tensor] = {}
        tasks: list[PreparedTask] = []
        places: list[dict[str, int]] = []
        for task in picture.tasks:
            own = {name: each for name, each in task.inputs.items() if isinstance(each, Tensor)}
            others = {name: each for name, each in task.inputs.items() if name not in own}
            tensors |= {id(each): each for each in own.values()}
            numbers = {key: number for number, key in enumerate(tensors)}
            places.append({name: numbers[id(each)] for name, each in own.items()})
            tasks.append(PreparedTask(task.task, others))
        packed = tuple(
            _Bytes(each.reshape(-1).view(torch.uint8).numpy(), each.dtype, each.shape)
            for each in tensors.values()
        )
        return cls(dataclasses.replace(picture, tasks=tuple(tasks)), packed, tuple(places))

    def opened(self) -> PreparedPicture:
        """The picture as it was."""
        tensors = [
            torch.from_numpy(each.data).view(each.dtype).reshape(each.shape)
            for each in self.tensors
        ]
        tasks = tuple(
            PreparedTask(task.task, task.inputs | {name: tensors[at] for name, at in place.items()})
            for task, place in zip(self.picture.tasks, self.places, strict=True)
        )
        return dataclasses.replace(self.picture, tasks=tasks)


def _as_it_is(packed: Any) -> Any:
    return packed


def _end_with(parent: int, worker: int) -> None:
    """In a worker: who is to end is for the process that runs the passes to say; without it there
    is nothing to do, and a worker that stayed would keep its lock and its device's memory."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


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
