"""From the numbers of a pass to the lines of a sweep's folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec import UNSET, structs

from engine.lens.batched import ItemNumbers
from engine.lens.failures import describe_failure
from engine.prompts.spellings import Spelled
from engine.prompts.token_texts import TextOf
from engine.records import Made, Proof
from engine.sweeps.attention import attention_shares
from engine.sweeps.item_reader import ItemReader
from engine.sweeps.items import Item
from engine.sweeps.names import quoted
from engine.sweeps.preparing import PreparedPicture
from engine.sweeps.progress import Progress
from engine.sweeps.reads import ATTENTION
from engine.sweeps.records import (
    AttentionShares,
    DecodedAnswers,
    DepthReading,
    Failure,
    ItemPicture,
    Sweep,
    SweepItem,
)
from engine.sweeps.rows import Rows, rows_of
from engine.sweeps.sources.tasks import Task
from engine.sweeps.store import SAME_AS, UNREAD, Store, item_id
from engine.sweeps.truths import TruthSpellings
from engine.system.files import storable

LONGEST_REASON = 2000
"""Characters of a reason why a question could not be asked."""


class Lines:
    """Stores items and failures of one sweep, and counts them."""

    def __init__(
        self,
        store: Store,
        sweep: Sweep,
        text_of: TextOf,
        spellings: TruthSpellings,
        progress: Progress,
        readers: Sequence[ItemReader] = (),
        stored: Callable[[], None] = lambda: None,
    ) -> None:
        """`readers` read every item just before it is stored; `stored` is called after each
        item."""
        self._store = store
        self._sweep = sweep
        self._text_of = text_of
        self._spellings = spellings
        self._progress = progress
        self._readers = tuple(readers)
        self._stored = stored

    @property
    def take_passes(self) -> bool:
        """Whether storing an item takes passes of its own."""
        return bool(self._readers)

    def keep(
        self,
        batch: Sequence[Item],
        numbers: ItemNumbers,
        seconds: float,
        unread: str,
        how: Made,
    ) -> None:
        """Store the items of a batch, of which each took `seconds`, with `how` its pass was made,
        and beside them why attention is `unread` that was wanted; a failure where its proof failed,
        or where the same question about the same picture is stored already. Raises CannotWrite."""
        spelled = [self._spellings.of(item.task.task.truth) for item in batch]
        known = [bool(each.ids) for each in spelled]
        rows = rows_of(numbers.rows, numbers, known, self._text_of)
        bare: Sequence[Rows | None] = [None] * len(batch)
        if numbers.unnormed is not None:
            bare = rows_of(numbers.unnormed, numbers, known, self._text_of)
        looked = numbers.attention or [None] * len(batch)
        made = zip(batch, spelled, rows, bare, numbers.proofs, looked, strict=True)
        for item, spelling, normed, unnormed, proof, look in made:
            if not proof.passed:
                self.fail(item.picture, item.task.task, describe_failure(proof))
                continue
            record = self._record(item, spelling, normed, unnormed, proof, seconds, how)
            found = unread if look is None else attention_shares(look)
            self._read_and_store(item, record, found)

    def _read_and_store(
        self, item: Item, record: SweepItem, attention: AttentionShares | str
    ) -> None:
        """Store an item with its readings; a failure if a reader says that its question fails.
        `attention` is a text if it was not read: why not, or empty if it was not wanted."""
        unread = attention if isinstance(attention, str) else ""
        readings: list[AttentionShares | DecodedAnswers | DepthReading] = []
        if not isinstance(attention, str):
            readings.append(attention)
        for reader in () if self._store.holds(record.item) else self._readers:
            began = time.perf_counter()
            found = reader.read(item, record)
            if isinstance(found, str):
                self.fail(item.picture, item.task.task, found)
                self._stored()
                return
            if found is not None:
                took = time.perf_counter() - began
                record = structs.replace(record, seconds={**record.seconds, reader.name: took})
                readings.append(found)
        if readings:
            record = structs.replace(record, readings=tuple(readings))
        self._store_one(item, record, unread)
        self._stored()

    def _store_one(self, item: Item, record: SweepItem, unread: str) -> None:
        """Store an item; a failure beside it with the reason why its attention is `unread`."""
        if self._store.add(record):
            self._progress.done += 1
            if unread:
                error = f"{UNREAD}{ATTENTION}: {unread}"
                self._store.fail(self._failure(item.picture, item.task.task, error))
                self._progress.notes.setdefault(ATTENTION, f"not read of every item: {unread}")
        else:
            failure = self._failure(item.picture, item.task.task, f"{SAME_AS}{record.item}")
            self._store.fail(failure)
            self._progress.duplicates += 1

    def fail(self, picture: PreparedPicture, task: Task, error: str) -> None:
        """Store why a question could not be asked. Raises CannotWrite."""
        self._store.fail(self._failure(picture, task, error))
        self._progress.failed += 1

    def _record(
        self,
        item: Item,
        spelling: Spelled,
        rows: Rows,
        unnormed: Rows | None,
        proof: Proof,
        seconds: float,
        how: Made,
    ) -> SweepItem:
        task = item.task.task
        return SweepItem(
            item=item_id(self._sweep, item.picture.sha256, task),
            picture=ItemPicture(
                path=storable(item.picture.path),
                sha256=item.picture.sha256,
                note=item.picture.note,
                quoted=quoted(item.picture.path),
            ),
            prompt=task.prompt,
            group=task.group,
            truth=task.truth,
            spellings=spelling.ids,
            rows=rows,
            rows_unnormed=unnormed,
            proof=proof,
            seconds={"pass": seconds},
            several_tokens=spelling.several_tokens,
            against=task.against or UNSET,
            counterfactual=item.task.counterfactual or UNSET,
            made=UNSET if how == Made() else how,
        )

    def _failure(self, picture: PreparedPicture, task: Task, error: str) -> Failure:
        return Failure(
            item=item_id(self._sweep, picture.sha256, task) if picture.sha256 else "",
            picture=storable(picture.path),
            prompt=task.prompt,
            error=storable(error)[:LONGEST_REASON],
            group=task.group,
            truth=task.truth,
            quoted=quoted(picture.path),
            against=task.against or UNSET,
        )
