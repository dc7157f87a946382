"""Carrying out a sweep: from a source's questions to lines in its folder.

Pictures are taken some at a time; their first questions make a batch, then their second ones, and
so on, so that all but the first find the pictures' vision pass in memory. Whatever goes wrong with
one item is one line among the failures; memory that runs out halves the batch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.asking import explain
from engine.batched import ItemNumbers, RowNumbers
from engine.batches import batch_key, length_of, most_at_once
from engine.errors import Cancelled, CannotRead
from engine.lens import describe_failure
from engine.logit_map import difference, tolerance
from engine.memory import give_memory_back, is_out_of_memory
from engine.processors import tokenizer_of
from engine.readout import finite
from engine.records import Token
from engine.sharing import SharedVision
from engine.spellings import Spelled, spelled, vocabulary_of
from engine.sweeps.preparing import PreparedPicture, PreparedTask, Preparing
from engine.sweeps.records import (
    STORED_TOP,
    Failure,
    ItemPicture,
    Standing,
    Sweep,
    SweepItem,
    SweepRow,
)
from engine.sweeps.sizing import MOST, BatchSize
from engine.sweeps.sources.tasks import PictureTasks, Source, Task, shard_of
from engine.sweeps.store import Store, item_id, task_key
from engine.tail import Tail
from engine.tokens import texts_for

if TYPE_CHECKING:
    from engine.loading import Loaded
    from engine.records import Question

SWITCH_SECONDS = 0.0005
"""For how long a thread keeps the interpreter from others that want it."""
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


class Sweeping:
    """One shard of a sweep. `run()` once; it can be left at any time, and taken up again."""

    def __init__(
        self,
        loaded: Loaded,
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
        self._size = BatchSize(batch_size, MOST)
        self._sized = False
        self._unnormed: dict[Hashable, bool] = {}
        self._share = share
        self._shared: SharedVision | None = None
        self._sharing_proved = False
        self._done = store.done(retry)
        self.progress = Progress(
            sum(len(picture.tasks) for picture in self._still_to_ask()), batch_size=self._size.now
        )

    def run(self, told: Callable[[Progress], None] = lambda progress: None) -> Progress:
        """Ask everything that has not been asked. Raises CannotWrite, CannotRead."""
        ahead = 0 if self._lens.device.type == "cpu" else 2 * MOST
        preparing = Preparing(self._loaded, self._question, ahead)
        block: list[PreparedPicture] = []
        # The thread that makes inputs would else hold up every operation of the pass.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            for picture in preparing.pictures(self._still_to_ask()):
                for task, error in picture.failed:
                    self._fail(picture, task, error)
                if picture.tasks:
                    block.append(picture)
                if len(block) >= self._size.now:
                    self._run_block(block, told)
                    block = []
                told(self.progress)
            if block:
                self._run_block(block, told)
            told(self.progress)
        finally:
            preparing.close()
            sys.setswitchinterval(interval)
        self._store.note(self.progress.notes)
        return self.progress

    def _still_to_ask(self) -> Iterator[PictureTasks]:
        pictures: Any = self._source.pictures
        if self._limit is not None:
            pictures = (picture for picture, _ in zip(pictures, range(self._limit), strict=False))
        for picture in shard_of(pictures, self._store.shard, self._store.shards):
            left = tuple(
                task for task in picture.tasks if task_key(picture.path, task) not in self._done
            )
            if left:
                yield PictureTasks(picture.path, picture.file, left, picture.read)

    # One block: some pictures, all their questions

    def _run_block(
        self, block: Sequence[PreparedPicture], told: Callable[[Progress], None]
    ) -> None:
        # Few pictures with many questions: several questions of each at a time.
        at_once = max(1, self._size.now // len(block))
        most = max(len(picture.tasks) for picture in block)
        for start in range(0, most, at_once):
            items = [
                _Item(picture, picture.tasks[number])
                for number in range(start, min(start + at_once, most))
                for picture in block
                if number < len(picture.tasks)
            ]
            for batch in self._batches(items):
                self._run_batch(batch, shared=most > at_once)
                told(self.progress)
        if self._shared is not None:
            self._shared.forget()

    def _batches(self, items: Sequence[_Item]) -> Iterator[list[_Item]]:
        """Those that can go together, in order; the size may shrink while they are asked."""
        alike: dict[Hashable, list[_Item]] = {}
        for item in items:
            alike.setdefault(batch_key(item.inputs), []).append(item)
        for group in alike.values():
            for same in self._together(group):
                left = same
                while left:
                    size = self._size.now
                    yield left[:size]
                    left = left[size:]

    def _together(self, group: list[_Item]) -> list[list[_Item]]:
        """A group cut where the model is not proved to take its items together."""
        try:
            if not self._sized:
                self._find_size(group[0])
            if len(group) == 1 or self._size.now == 1:
                return [[item] for item in group]
            refused = self._lens.refuses_batch([item.inputs for item in group])
            if refused is None:
                return [group]
            lengths: dict[int, list[_Item]] = {}
            for item in group:
                lengths.setdefault(length_of(item.inputs), []).append(item)
            if len(lengths) == 1:
                self.progress.notes["batches"] = f"one item at a time: {refused}"
                return [[item] for item in group]
            self.progress.notes["padding"] = f"only equal lengths together: {refused}"
            return [part for same in lengths.values() for part in self._together(same)]
        except Exception as error:
            if isinstance(error, Cancelled) or not _concerns_items(error):
                raise
            give_memory_back()
            return [[item] for item in group]

    def _find_size(self, item: _Item) -> None:
        self._lens.learn(item.inputs)
        self._sized = True
        if self._fixed_size is None:
            device = self._lens.device
            most = most_at_once(self._lens.model, item.inputs, device)
            self._size = BatchSize(None, min(most, MOST_ON_CPU if device.type == "cpu" else MOST))

    # One batch

    def _run_batch(self, batch: Sequence[_Item], shared: bool) -> None:
        began = time.perf_counter()
        try:
            found = self._read(batch, shared)
        except Exception as error:
            if not _concerns_items(error):
                raise
            out_of_memory = is_out_of_memory(error)
            reason = str(error) if isinstance(error, CannotRead) else explain(error)
            error.__traceback__ = None  # lets go of the tensors of the broken pass
            found = None
        if found is None:
            if self._shared is not None:
                self._shared.forget()
            give_memory_back()
            if len(batch) == 1:
                self._fail(batch[0].picture, batch[0].task.task, reason)
                return
            if out_of_memory:
                self._size.ran_out(len(batch))
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                self._run_batch(half, shared=False)
            return
        seconds = (time.perf_counter() - began) / len(batch)
        self._size.went_well(len(batch))
        self.progress.batch_size = self._size.now
        for item, numbers in zip(batch, found, strict=True):
            self._keep(item, numbers, seconds)

    def _read(self, batch: Sequence[_Item], shared: bool) -> list[ItemNumbers]:
        lens, first = self._lens, batch[0].inputs
        lens.learn(first)
        kind = frozenset(first)
        if kind not in self._unnormed:
            self._unnormed[kind] = self._can_leave_norm_out()
        inputs = first if len(batch) == 1 else lens.collated([item.inputs for item in batch])
        truths = [self._spelling(item.task.task.truth).ids for item in batch]

        def read(around: AbstractContextManager[object] | None) -> list[ItemNumbers]:
            return lens.read_batch(inputs, truths, STORED_TOP, self._unnormed[kind], around)

        sharing = self._sharing() if shared else None
        if sharing is None:
            return read(None)
        found = read(sharing.remembering())
        if sharing.hits and not self._sharing_proved:
            sharing.keep_only_useful()
            self._prove_sharing(found, read(None))
        return found if self._share else read(None)

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
            if not isinstance(self._lens.parts.tail, Tail):
                raise CannotRead("the tail of this model cannot be taken apart")
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
            self._store.fail(self._failure(item.picture, task, f"the same as {record.item}"))
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


def _concerns_items(error: BaseException) -> bool:
    """Whether an error came out of the model, so that others may fare better."""
    models = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)
    return isinstance(error, (CannotRead, MemoryError, *models))
