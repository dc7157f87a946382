"""Carrying out a sweep: from a source's questions to lines in its folder.

Pictures are taken some at a time; their first questions make a batch, then their second ones, and
so on, so that all but the first find the pictures' vision pass in memory. Whatever goes wrong with
one item is one line among the failures; memory that runs out halves the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from itertools import islice
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.tail import Tail
from engine.asking.asking import explain
from engine.errors import BadInput, CannotRead, LenscopeError
from engine.lens.batched import BatchNumbers, ItemNumbers, RowNumbers
from engine.lens.lens import describe_failure
from engine.lens.readout import finite
from engine.passes.collating import batch_key, most_at_once
from engine.passes.vision_reuse import SharedVision
from engine.prompts.processors import tokenizer_of
from engine.prompts.spellings import Spelled, spelled, vocabulary_of
from engine.prompts.token_texts import texts_for
from engine.records import Token
from engine.sweeps.preparing import PreparedPicture, PreparedTask, Preparing, decoded, worker_count
from engine.sweeps.records import (
    STORED_TOP,
    Failure,
    ItemPicture,
    Standing,
    Sweep,
    SweepItem,
    SweepRow,
)
from engine.sweeps.sizing import START_ON_CPU, BatchSize
from engine.sweeps.sources.tasks import PictureTasks, Source, Task, shard_of
from engine.sweeps.store import SAME_AS, Store, item_id, task_key
from engine.system.memory import free_memory, give_memory_back, is_out_of_memory
from engine.system.transfers import sent

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel
    from engine.records import Question

CHECKED = 4
"""Pictures that are read again, when a sweep goes on, to see that they are the same."""
MOST_ON_CPU = 16
"""Larger batches gain nothing on a CPU."""


@dataclass
class Progress:
    """How far a sweep has come; changed in place while it runs."""

    total: int
    """Questions of this shard, less what earlier runs have done."""
    done: int = 0
    failed: int = 0
    duplicates: int = 0
    """The same question about the same picture under another name: kept once."""
    batch_size: int = 0
    notes: dict[str, str] = field(default_factory=dict)


class _Item(NamedTuple):
    picture: PreparedPicture
    task: PreparedTask

    @property
    def inputs(self) -> dict[str, Any]:
        return self.task.inputs


class _Running(NamedTuple):
    """A batch that has been given to the device."""

    batch: Sequence[_Item]
    numbers: BatchNumbers
    began: float


class Sweeping:
    """One shard of a sweep. `run()` once; it can be left at any time, and taken up again."""

    def __init__(
        self,
        loaded: LoadedModel,
        source: Source,
        store: Store,
        question: Question,
        sweep: Sweep,
        batch_size: int | None = None,
        limit: int | None = None,
        retry: bool = False,
        share: bool = True,
    ) -> None:
        """`sweep` is what the store belongs to; `limit` counts the pictures of all shards."""
        self._loaded = loaded
        self._lens = loaded.lens
        self._source = source
        self._store = store
        self._question = question
        self._sweep = sweep
        self._limit = limit
        self._text_of = texts_for(loaded.model)
        tokenizer = tokenizer_of(loaded.processor)
        self._spell = spelled(tokenizer, self._text_of, vocabulary_of(loaded.model, tokenizer))
        self._spelled: dict[str, Spelled] = {}
        self._fixed_size = batch_size
        self._size = BatchSize(batch_size)
        self._sized = False
        self._unnormed: dict[Hashable, bool] = {}
        self._share = share
        self._shared: SharedVision | None = None
        self._sharing_proved = False
        self._remembered: tuple[str, ...] = ()
        """The pictures of the pass that is in memory."""
        self._on_device: dict[str, tuple[list[Any], Tensor, int]] = {}
        """Pixels of the last batch: of each item, together, and the version of these."""
        self._running: _Running | None = None
        self._finished = 0.0
        """When the last batch was, as `time.perf_counter` counts."""
        if retry:
            store.forget_failures(
                {
                    task_key(picture.path, task)
                    for picture in self._of_this_shard(source.listing)
                    for task in picture.tasks
                }
            )
        self._done = store.done()
        self._refuse_changed_pictures()
        left = self._still_to_ask(source.listing)
        self.progress = Progress(
            sum(len(picture.tasks) for picture in left), batch_size=self._size.now
        )

    def run(self, told: Callable[[Progress], None] = lambda progress: None) -> Progress:
        """Ask everything that has not been asked. Raises CannotWrite, CannotRead."""
        preparing = Preparing(self._loaded, self._question, worker_count(self._lens.device))
        block: list[PreparedPicture] = []
        wanted = self._still_to_ask(self._source.pictures)
        ended: LenscopeError | None = None
        try:
            with closing(preparing.pictures(wanted, self._ahead)) as pictures:
                while True:
                    try:
                        picture = next(pictures, None)
                    except LenscopeError as error:
                        ended = error  # what has been made ready before is asked all the same
                        break
                    if picture is None:
                        break
                    for task, reason in picture.failed:
                        self._fail(picture, task, reason)
                    if picture.tasks:
                        block.append(picture)
                    if len(block) >= self._size.now:
                        self._run_block(block, told)
                        block = []
                    told(self.progress)
            if block:
                self._run_block(block, told)
        finally:
            self._finish_batch()
        if ended is not None:
            raise ended
        rounding = self._lens.batches.rounding
        if rounding:
            self.progress.notes["rounding"] = (
                f"in a batch of two, logits were {rounding:.2g} from those of an item alone, "
                f"as {self._sweep.model.dtype} rounds them; --batch-size 1 does not"
            )
        told(self.progress)
        self._store.note(self.progress.notes)
        return self.progress

    def _ahead(self, picture: PreparedPicture) -> int:
        """Two blocks, if main memory has room for them."""
        inputs = picture.tasks[0].inputs
        self._find_size(inputs)
        size = sum(value.nbytes for value in inputs.values() if isinstance(value, Tensor))
        return int(min(2 * self._size.limit, free_memory() // 4 // max(1, size)))

    def _of_this_shard(self, pictures: Iterable[PictureTasks]) -> Iterator[PictureTasks]:
        if self._limit is not None:
            pictures = islice(pictures, self._limit)
        return shard_of(pictures, self._store.shard, self._store.shards)

    def _still_to_ask(self, pictures: Iterable[PictureTasks]) -> Iterator[PictureTasks]:
        for picture in self._of_this_shard(pictures):
            left = tuple(
                task for task in picture.tasks if task_key(picture.path, task) not in self._done
            )
            if left:
                yield PictureTasks(picture.path, picture.file, left, picture.read)

    def _refuse_changed_pictures(self) -> None:
        """Some of the pictures that have results must still be those that were asked about."""
        known = dict(islice(self._store.pictures.items(), CHECKED))
        if not known:
            return
        for picture in self._source.pictures:
            if picture.path not in known:
                continue
            try:
                digest = decoded(picture).sha256
            except BadInput:
                digest = "none"
            if digest != known.pop(picture.path):
                raise BadInput(
                    f"{self._store.folder} holds results of another picture "
                    f"{picture.path}: choose another --out"
                )
            if not known:
                return

    # One block: some pictures, all their questions

    def _run_block(
        self, block: Sequence[PreparedPicture], told: Callable[[Progress], None]
    ) -> None:
        self._find_size(block[0].tasks[0].inputs)
        for alike in self._alike(block, padded=True):
            left = alike
            while left:
                size = self._size.now
                self._run_pictures(left[:size], told)
                left = left[size:]

    def _alike(
        self, block: Sequence[PreparedPicture], padded: bool
    ) -> Iterator[list[PreparedPicture]]:
        """Pictures whose questions can go together, first with first, second with second and so
        on; one by one where the model is not proved to take them together."""
        groups: dict[Hashable, list[PreparedPicture]] = {}
        for picture in block:
            key = tuple(batch_key(task.inputs, padded) for task in picture.tasks)
            groups.setdefault(key, []).append(picture)
        for group in groups.values():
            refused = self._refusal(group)
            if refused is None:
                yield group
            elif padded:
                self.progress.notes["padding"] = f"only equal lengths together: {refused}"
                yield from self._alike(group, padded=False)
            else:
                self.progress.notes["batches"] = f"one item at a time: {refused}"
                yield from ([picture] for picture in group)

    def _refusal(self, group: Sequence[PreparedPicture]) -> str | None:
        if len(group) == 1 or self._size.now == 1:
            return None
        try:
            for number in range(len(group[0].tasks)):
                items = [picture.tasks[number].inputs for picture in group]
                refused = self._lens.batches.refusal(items, may_round=True)
                if refused is not None:
                    return refused
        except Exception as error:
            if not _concerns_items(error):
                raise
            reason = explain(error)
            error.__traceback__ = None
            give_memory_back()
            return reason
        return None

    def _run_pictures(
        self, pictures: Sequence[PreparedPicture], told: Callable[[Progress], None]
    ) -> None:
        """All questions about pictures that go together: all but the first passes find in memory
        what the model sees of them."""
        count = len(pictures[0].tasks)
        # Few pictures with many questions: several questions of each at a time.
        at_once = max(1, self._size.now // len(pictures))
        for start in range(0, count, at_once):
            items = [
                _Item(picture, picture.tasks[number])
                for number in range(start, min(start + at_once, count))
                for picture in pictures
            ]
            together = len(items) <= len(pictures) or self._takes(items)
            for batch in [items] if together else [[item] for item in items]:
                self._run_batch(batch, shared=count > at_once)
                told(self.progress)
        self._forget_pictures()

    def _takes(self, items: Sequence[_Item]) -> bool:
        """Whether different questions about the same pictures can go together."""
        try:
            inputs = [item.inputs for item in items]
            return self._lens.batches.refusal(inputs, may_round=True) is None
        except Exception as error:
            if not _concerns_items(error):
                raise
            return False

    def _find_size(self, inputs: dict[str, Any]) -> None:
        """From the first item that the model takes."""
        if self._sized:
            return
        try:
            alone = self._lens.reads_alone(inputs)
        except Exception as error:
            if not _concerns_items(error):
                raise
            return  # its own pass will say so
        self._sized = True
        if self._fixed_size is None:
            device = self._lens.device
            most = most_at_once(self._lens.model, inputs, device, all_logits=not alone)
            if device.type == "cpu":
                self._size = BatchSize(None, min(most, MOST_ON_CPU), START_ON_CPU)
            else:
                self._size = BatchSize(None, most)

    # One batch

    def _run_batch(self, batch: Sequence[_Item], shared: bool) -> None:
        """Give a batch to the device; then keep what the last one has given, while it works."""
        began = time.perf_counter()
        try:
            numbers = self._read(batch, shared)
        except Exception as error:
            if not _concerns_items(error):
                raise
            out_of_memory = is_out_of_memory(error)
            reason = str(error) if isinstance(error, CannotRead) else explain(error)
            error.__traceback__ = None  # lets go of the tensors of the broken pass
        else:
            self._size.went_well(len(batch), time.perf_counter() - began)
            self.progress.batch_size = self._size.now
            self._finish_batch()
            self._running = _Running(batch, numbers, began)
            if numbers.are_there:
                self._finish_batch()
            return
        self._finish_batch()
        self._forget_pictures()
        give_memory_back()
        if len(batch) == 1:
            self._fail(batch[0].picture, batch[0].task.task, reason)
            return
        if out_of_memory:
            self._size.ran_out(len(batch))
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            self._run_batch(half, shared=False)

    def _finish_batch(self) -> None:
        """Keep what the batch gives that is on the device, if one is. Raises CannotRead where the
        device has failed, and CannotWrite."""
        if self._running is None:
            return
        (batch, numbers, began), self._running = self._running, None
        try:
            found = numbers.items()
        except RuntimeError as error:
            raise CannotRead(f"the device has failed: {explain(error)}") from error
        now = time.perf_counter()
        # Batches overlap: what counts is since when this one had the device to itself.
        seconds = (now - max(began, self._finished)) / len(batch)
        self._finished = now
        for item, each in zip(batch, found, strict=True):
            self._keep(item, each, seconds)

    def _forget_pictures(self) -> None:
        """Let go of what one batch has for the next about the same pictures."""
        if self._shared is not None:
            self._shared.forget()
        self._remembered = ()
        self._on_device = {}

    def _together(self, batch: Sequence[_Item]) -> dict[str, Any]:
        """The inputs of one pass. Pixels that the last one had are on the device still, and are the
        same tensors: nothing is copied or compared twice."""
        items = [item.inputs for item in batch]
        again: dict[str, Tensor] = {}
        for name, (values, tensor, version) in self._on_device.items():
            theirs = [item.get(name) for item in items]
            unchanged = tensor._version == version
            if unchanged and len(theirs) == len(values) and all(map(is_, theirs, values)):
                again[name] = tensor
        if again:
            items = [
                {name: value for name, value in item.items() if name not in again} for item in items
            ]
        together = dict(items[0]) if len(items) == 1 else self._lens.collated(items)
        for name, value in together.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                tensor = together[name] = sent(value, self._lens.device)
                self._on_device[name] = [item[name] for item in items], tensor, tensor._version
        return {**together, **again}

    def _read(self, batch: Sequence[_Item], shared: bool) -> BatchNumbers:
        lens, first = self._lens, batch[0].inputs
        lens.learn(first)
        kind = frozenset(first)
        if kind not in self._unnormed:
            lens.reads_alone(first)
            self._unnormed[kind] = self._can_leave_norm_out()
        inputs = self._together(batch)
        truths = [self._spelling(item.task.task.truth).ids for item in batch]

        def read(around: AbstractContextManager[object] | None) -> BatchNumbers:
            return lens.read_batch(inputs, truths, STORED_TOP, self._unnormed[kind], around)

        sharing = self._sharing() if shared else None
        if sharing is None:
            return read(None)
        pictures = tuple(item.picture.sha256 for item in batch)
        again, self._remembered = pictures == self._remembered, pictures
        found = read(sharing.remembering())
        if self._sharing_proved:
            return found
        # Only of the same pictures do answers from memory say what it is good for.
        if again and not sharing.hits:
            self._share, self._shared = False, None
            self.progress.notes["sharing"] = "off: nothing is asked twice ahead of the layers"
        elif again:
            sharing.keep_only_useful()
            own = read(None)
            self._prove_sharing(found.items(), own.items())
            return found if self._share else own
        return read(None) if sharing.hits else found

    def _sharing(self) -> SharedVision | None:
        if not self._share:
            return None
        if self._shared is None:
            if not isinstance(self._lens.parts.tail, Tail):
                self._share = False
                self.progress.notes["sharing"] = "off: rows are read by running the model again"
                return None
            self._shared = SharedVision(self._lens.parts.before)
        return self._shared

    def _prove_sharing(self, shared: list[ItemNumbers], own: list[ItemNumbers]) -> None:
        """The same rows with the vision pass from memory as with one of its own, or none is."""
        self._sharing_proved = True
        gap = max(
            difference(one.rows.top_logits, other.rows.top_logits)
            for one, other in zip(shared, own, strict=True)
        )
        limit = tolerance(self._lens.parts.dtype, own[0].rows.top_logits)
        if gap <= limit:
            self.progress.notes["sharing"] = "prompts of a picture share its vision pass"
            return
        self._share = False
        self._shared = None
        self.progress.notes["sharing"] = f"off: rows differ by {gap:.3g} ({limit:.3g} allowed)"

    def _can_leave_norm_out(self) -> bool:
        try:
            self._lens.parts.tail.refuse_norm_off()
        except CannotRead as error:
            self.progress.notes["norm"] = f"not read without it: {error}"
            return False
        return True

    # One item

    def _spelling(self, truth: str | None) -> Spelled:
        if truth is None:
            return Spelled((), False)
        if truth not in self._spelled:
            self._spelled[truth] = self._spell(truth)
        return self._spelled[truth]

    def _keep(self, item: _Item, numbers: ItemNumbers, seconds: float) -> None:
        if not numbers.proof.passed:
            self._fail(item.picture, item.task.task, describe_failure(numbers.proof))
            return
        task, spelling = item.task.task, self._spelling(item.task.task.truth)
        knows = bool(spelling.ids)
        record = SweepItem(
            item=item_id(self._sweep, item.picture.sha256, task),
            picture=ItemPicture(item.picture.path, item.picture.sha256),
            prompt=task.prompt,
            group=task.group,
            truth=task.truth,
            spellings=spelling.ids,
            rows=self._rows(numbers.rows, numbers, knows),
            rows_unnormed=None
            if numbers.unnormed is None
            else self._rows(numbers.unnormed, numbers, knows),
            proof=numbers.proof,
            seconds={"pass": seconds},
            several_tokens=spelling.several_tokens,
        )
        if self._store.add(record):
            self.progress.done += 1
        else:
            self._store.fail(self._failure(item.picture, task, f"{SAME_AS}{record.item}"))
            self.progress.duplicates += 1

    def _rows(self, read: RowNumbers, numbers: ItemNumbers, knows: bool) -> tuple[SweepRow, ...]:
        columns = [column.tolist() for column in read]
        text_of = self._text_of
        return tuple(
            SweepRow(
                layer=layer,
                top=()
                if entropy != entropy
                else tuple(
                    Token(token, text_of(token), share, finite(logit))
                    for token, share, logit in zip(ids, shares, logits, strict=True)
                ),
                entropy=finite(entropy),
                rms=finite(spread),
                kl_to_last=finite(divergence),
                truth=_standing(true_share, true_rank) if knows else None,
                final=_standing(final_share, final_rank),
                approximate=note,
            )
            for layer, (
                (
                    ids, shares, logits, entropy, divergence,
                    true_share, true_rank, final_share, final_rank,
                ),
                spread,
                note,
            ) in enumerate(
                zip(zip(*columns, strict=True), numbers.rms.tolist(), numbers.notes, strict=False)
            )
        )  # fmt: skip

    def _fail(self, picture: PreparedPicture, task: Task, error: str) -> None:
        self._store.fail(self._failure(picture, task, error))
        self.progress.failed += 1

    def _failure(self, picture: PreparedPicture, task: Task, error: str) -> Failure:
        return Failure(
            item=item_id(self._sweep, picture.sha256, task) if picture.sha256 else "",
            picture=picture.path,
            prompt=task.prompt,
            error=error,
            group=task.group,
            truth=task.truth,
        )


def _standing(probability: float, rank: int) -> Standing | None:
    return None if probability != probability else Standing(min(probability, 1.0), rank)


def _concerns_items(error: Exception) -> bool:
    """Whether an error came out of the model, which raises anything: other items may fare
    better."""
    return isinstance(error, CannotRead) or not isinstance(error, LenscopeError)
