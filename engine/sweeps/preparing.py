"""Makes the model's inputs from pictures and questions before they are needed, in other processes.

Reading, decoding and processing a picture occupies the interpreter, which a pass needs for itself.
Each process has a pipe of its own: those of torch's DataLoader and of concurrent.futures share
locks, and a process that is killed at the wrong moment (memory ran out) would keep a lock, for
which all others would wait forever. Where the model runs on the CPU nothing is prepared in advance:
passes use every core, and work next to them costs more than it saves.
"""

from __future__ import annotations

import ctypes
import dataclasses
import io
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from msgspec import structs
from torch import Tensor

from engine.counterfactuals.inputs import edited_inputs
from engine.counterfactuals.pictures import NAMES as OTHER_PICTURES
from engine.counterfactuals.pictures import picture_instead
from engine.counterfactuals.tokens import NAMES as OTHER_TOKENS
from engine.errors import BadInput, CannotRead, LenscopeError, typed_line
from engine.passes.collating import sequences
from engine.passes.vision_reuse import same
from engine.pictures.opening import MAX_BYTES, DecodedPicture, decode_picture
from engine.prompts.preparing import Prepared, prepare, prepare_again
from engine.prompts.token_groups import KeyGroups, key_groups
from engine.records import Counterfactual, PromptToken, Question
from engine.sweeps.composing import Composing
from engine.sweeps.replacing import asked_as
from engine.sweeps.sources.tasks import PictureTasks, Task
from engine.system.files import read_file

if TYPE_CHECKING:
    from PIL.Image import Image

    from engine.models.loading import LoadedModel

MOST_KNOWN = 1000
"""How many prompts are kept, rendered and tokenised."""
PR_SET_PDEATHSIG = 1
"""Linux: the option for the signal that a process gets when its parent ends."""
MOST_WORKERS = 8
"""How many processes at most make inputs for one that runs passes."""


@dataclass(frozen=True)
class PreparedTask:
    """One question, ready for the model."""

    task: Task
    inputs: dict[str, Any]
    counterfactual: Counterfactual | None = None
    """What stands in the place of the picture, with everything needed to repeat it."""
    groups: KeyGroups | None = None
    """What its tokens count as in attention, if that is wanted."""
    tokens: tuple[PromptToken, ...] = ()
    """What each of its tokens belongs to, if that is wanted."""
    compared: PreparedTask | str | None = None
    """The same question with what it is compared with instead of the picture, or why the model does
    not allow that; None if it is compared with nothing."""


@dataclass(frozen=True)
class PreparedPicture:
    """A picture's questions: those that can be asked, and those that cannot with the reason."""

    path: str
    sha256: str
    """Empty where the picture could not be read."""
    tasks: tuple[PreparedTask, ...]
    failed: tuple[tuple[Task, str], ...]
    note: str | None = None
    """What had to be chosen to show it."""


def worker_count(device: torch.device) -> int:
    """How many processes make inputs while passes run on `device`: one for each core but one.

    They are forked, so that they need not load anything, and end with this process: on Linux only.
    """
    if device.type != "cuda" or sys.platform != "linux":
        return 0
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1") or 1)
    return max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) // processes - 1))


class Preparing:
    """Makes the inputs for pictures, in `workers` other processes, or on demand where that is 0.
    Close it."""

    def __init__(
        self,
        loaded: LoadedModel,
        question: Question,
        workers: int = 0,
        against: Iterable[Counterfactual] = (),
        with_groups: bool = False,
        with_tokens: bool = False,
        compared: Counterfactual | None = None,
    ) -> None:
        """`question` tells how all are asked; its prompt and picture are not used. `against` are
        what tasks name that have something else instead of the picture. `with_groups` says what
        every token counts as in attention, `with_tokens` what it belongs to; questions about the
        picture are `compared` with the same one about what stands in its place."""
        self._loaded = loaded
        self._model = loaded.model
        self._question = question
        self._workers = workers
        self._with_groups, self._with_tokens = with_groups, with_tokens
        self._compared = "" if compared is None else asked_as(compared)
        others = () if compared is None else (compared,)
        self._against = {asked_as(each): each for each in (*against, *others)}
        self._known: dict[str, Prepared] = {}
        self._tokens: dict[tuple[str, bytes], tuple[PromptToken, ...]] = {}
        """By prompt and token ids."""
        self._composing = Composing(loaded.processor, loaded.model.dtype)
        self._killed: list[_Worker] = []

    def close(self) -> None:
        """Wait for the end of the other processes. They are killed once the last picture is there,
        but their ends take as long as a pass; the passes need not wait for them."""
        for worker in self._killed:
            worker.close()
        self._killed = []

    def pictures(
        self,
        wanted: Iterable[PictureTasks],
        ahead: Callable[[PreparedPicture], int] = lambda picture: 2 * MOST_WORKERS,
    ) -> Generator[PreparedPicture, None, None]:
        """The pictures in their order, prepared; close the iterator.

        The first one that can be asked about is prepared in this process; given it, `ahead` tells
        how many of the next ones to prepare in advance in other processes. Raises CannotRead where
        one of those processes was ended from outside.
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
        # The workers are copies of this process, in which another thread may hold any lock.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        workers: list[_Worker] = []
        for _ in range(self._workers):
            workers.append(_Worker(self, workers))
        free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in workers:
            free.put(worker)
        waiting: deque[Future[PreparedPicture]] = deque()
        with ThreadPoolExecutor(self._workers, "prepare") as callers:
            try:
                for picture in pictures:
                    waiting.append(callers.submit(_ask_a_free_one, free, picture))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
                while len(waiting) > 1:
                    yield waiting.popleft().result()
                last = waiting.popleft().result() if waiting else None
            finally:
                callers.shutdown(wait=False, cancel_futures=True)
                for worker in workers:
                    worker.kill()  # so that the threads that wait for it end
                self._killed += workers
        if last is not None:
            yield last

    def _inputs(self, prompt: str, image: Image) -> dict[str, Any]:
        found = self._composing.inputs(prompt, image)
        if found is not None:
            return found
        found = self._processed(prompt, image)
        self._composing.learn(prompt, image, found)
        return found

    def _processed(self, prompt: str, image: Image) -> dict[str, Any]:
        processor, known = self._composing.processor, self._known.get(prompt)
        if known is not None:
            return prepare_again(self._model, processor, known, image)
        question = structs.replace(self._question, prompt=prompt)
        prepared = prepare(self._model, processor, question, image)
        if len(self._known) < MOST_KNOWN:
            # Its pixels are not needed any more.
            inputs = {
                name: value
                for name, value in prepared.inputs.items()
                if name == "decoder_input_ids"
            }
            self._known[prompt] = dataclasses.replace(prepared, inputs=inputs, tokens=())
        return prepared.inputs

    def _all_inputs(self, tasks: Sequence[Task], image: Image) -> Iterator[PreparedTask | str]:
        """Each task with its inputs, or the reason why there are none."""
        pictured = _Pictured(image)
        first: dict[str, dict[str, Any]] = {}
        """By what stands in the place of the picture."""
        for task in tasks:
            try:
                made = self._prepared_task(task, pictured)
            except LenscopeError as error:
                yield str(error)
                continue
            except Exception as error:  # processors may raise anything
                yield f"the model's processor failed: {typed_line(error)}"
                continue
            yield _sharing(made, first)

    def _prepared_task(self, task: Task, pictured: _Pictured) -> PreparedTask:
        made = self._asked(task, pictured)
        if task.against or not self._compared:
            return made
        compared: PreparedTask | str
        try:
            compared = self._asked(dataclasses.replace(task, against=self._compared), pictured)
        except LenscopeError as error:
            compared = str(error)
        except Exception as error:  # processors may raise anything
            compared = f"the model's processor failed: {typed_line(error)}"
        return dataclasses.replace(made, compared=compared)

    def _asked(self, task: Task, pictured: _Pictured) -> PreparedTask:
        if not task.against:
            inputs = self._with_picture(task.prompt, pictured)
            return self._grouped(PreparedTask(task, inputs), pictured.image)
        counterfactual = self._against[task.against]
        if counterfactual.name in OTHER_PICTURES:
            if task.against not in pictured.instead:
                made = picture_instead(counterfactual, pictured.image)
                pictured.instead[task.against] = made
            other, counterfactual = pictured.instead[task.against]
            inputs = self._inputs(task.prompt, other)
            return self._grouped(PreparedTask(task, inputs, counterfactual), other)
        own = self._with_picture(task.prompt, pictured)
        tokens: tuple[PromptToken, ...] = ()
        if counterfactual.name in OTHER_TOKENS:
            tokens = self._tokens_of(task.prompt, pictured.image, own)
        edited, counterfactual = edited_inputs(
            self._loaded, Prepared(own, tokens, ""), counterfactual
        )
        found = PreparedTask(task, edited.inputs, counterfactual)
        return self._grouped(found, pictured.image, edited.tokens)

    def _grouped(
        self, task: PreparedTask, image: Image, tokens: tuple[PromptToken, ...] = ()
    ) -> PreparedTask:
        """With its tokens and their groups, if they are wanted; `tokens` if they are known."""
        if not self._with_groups and not self._with_tokens:
            return task
        known = tokens or self._tokens_of(task.task.prompt, image, task.inputs)
        groups = None
        if self._with_groups:
            groups = key_groups(self._model, self._composing.processor, task.inputs, known)
        return dataclasses.replace(task, groups=groups, tokens=known if self._with_tokens else ())

    def _with_picture(self, prompt: str, pictured: _Pictured) -> dict[str, Any]:
        if prompt not in pictured.inputs:
            pictured.inputs[prompt] = self._inputs(prompt, pictured.image)
        return pictured.inputs[prompt]

    def _tokens_of(
        self, prompt: str, image: Image, inputs: dict[str, Any]
    ) -> tuple[PromptToken, ...]:
        """The tokens of a prompt about a picture, and what each belongs to."""
        texts = sequences(inputs).items()
        key = (
            prompt,
            b"".join(name.encode() + value.contiguous().numpy().tobytes() for name, value in texts),
        )
        if key not in self._tokens:
            question = structs.replace(self._question, prompt=prompt)
            found = prepare(self._model, self._composing.processor, question, image).tokens
            if len(self._tokens) >= MOST_KNOWN:
                return found
            self._tokens[key] = found
        return self._tokens[key]

    def prepared(self, picture: PictureTasks) -> PreparedPicture:
        """Prepare one picture's questions in this process."""
        try:
            opened = decoded(picture)
        except BadInput as error:
            failed = tuple((task, str(error)) for task in picture.tasks)
            return PreparedPicture(picture.path, "", (), failed)
        made: list[PreparedTask] = []
        failures: list[tuple[Task, str]] = []
        found = self._all_inputs(picture.tasks, opened.image)
        for task, prepared in zip(picture.tasks, found, strict=True):
            if isinstance(prepared, str):
                failures.append((task, prepared))
            else:
                made.append(prepared)
        return PreparedPicture(
            picture.path, opened.sha256, tuple(made), tuple(failures), opened.note
        )


def _sharing(task: PreparedTask, first: dict[str, dict[str, Any]]) -> PreparedTask:
    """The task with the tensors that it has in common with the first one about the same pixels:
    what prompts of a picture have in common is one tensor, recognised by its identity."""
    inputs = task.inputs
    known = first.setdefault(task.task.against, inputs)
    own = sequences(inputs).keys()
    shared = {
        name: known[name]
        for name in inputs.keys() - own
        if name in known and same(inputs[name], known[name])
    }
    compared = task.compared
    if isinstance(compared, PreparedTask):
        compared = _sharing(compared, first)
    return dataclasses.replace(task, inputs={**inputs, **shared}, compared=compared)


class _Pictured:
    """What has been made of one picture for its tasks."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.inputs: dict[str, dict[str, Any]] = {}
        """Of prompts about the picture itself."""
        self.instead: dict[str, tuple[Image, Counterfactual]] = {}
        """The pictures that are shown in its place."""


class _Worker:
    """A process that prepares pictures, one at a time, and ends with this one."""

    def __init__(self, preparing: Preparing, others: Sequence[_Worker]) -> None:
        context = get_context("fork")
        self._connection, theirs = context.Pipe()
        # A forked process has copies of all connections, and a connection ends with its last copy.
        ours = [self._connection, *(other._connection for other in others)]
        self._process = context.Process(
            target=_serve, args=(preparing, theirs, ours, os.getpid()), daemon=True
        )
        self._process.start()
        theirs.close()

    def prepared(self, picture: PictureTasks) -> PreparedPicture:
        """Raises CannotRead where the process was ended from outside."""
        try:
            self._connection.send(picture)
            found = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise CannotRead(
                "a process that prepares pictures was ended from outside; the same command resumes"
            ) from None
        assert isinstance(found, PreparedPicture)
        return found

    def kill(self) -> None:
        """End the process, whatever it is working on, without waiting for that."""
        self._process.kill()

    def close(self) -> None:
        """Wait until the process has ended, and close the connection, once no thread uses it."""
        self._process.join()
        self._connection.close()


def _ask_a_free_one(free: SimpleQueue[_Worker], picture: PictureTasks) -> PreparedPicture:
    worker = free.get()
    try:
        return worker.prepared(picture)
    finally:
        free.put(worker)


def _serve(
    preparing: Preparing, asked: Connection, parents: Sequence[Connection], parent: int
) -> None:
    """The work of a forked process. It leaves signals from the terminal to the process that runs
    passes, and ends with it: otherwise it would keep that one's file lock and device memory."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    for connection in parents:
        connection.close()
    # They may be a progress bar's, whose lock another thread held when this process was forked.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    torch.set_num_threads(1)
    with suppress(EOFError, OSError):
        while True:
            asked.send_bytes(_made(preparing, asked.recv()))


def _made(preparing: Preparing, picture: PictureTasks) -> bytes:
    try:
        return _packed(preparing.prepared(picture))
    except Exception as error:  # what cannot be pickled, or whatever a processor raises
        reason = f"it cannot be prepared: {typed_line(error)}"
        failed = tuple((task, reason) for task in picture.tasks)
        return _packed(PreparedPicture(picture.path, "", (), failed))


class _Packer(pickle.Pickler):
    """Pickles tensors as bytes: torch would send them through shared memory, of which containers
    have little. A tensor that two tasks have in common is sent once, and is one tensor again."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return NotImplemented
        data = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        return _tensor, (data, value.dtype, tuple(value.shape))


def _packed(picture: PreparedPicture) -> bytes:
    stream = io.BytesIO()
    _Packer(stream, pickle.HIGHEST_PROTOCOL).dump(picture)
    return stream.getvalue()


def _tensor(data: np.ndarray[Any, Any], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(data).view(dtype).reshape(shape)


def decoded(picture: PictureTasks) -> DecodedPicture:
    """Decode the picture of some tasks. Raises BadInput, saying what is wrong with it."""
    if picture.read is not None:
        return decode_picture(picture.read(), picture.path)
    if picture.file is None:
        raise BadInput(f"{picture.path}: {picture.missing or 'no picture'}")
    return decode_picture(read_file(picture.file, "picture", MAX_BYTES), picture.path)
