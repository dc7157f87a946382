"""From the numbers of a pass to the lines of a sweep's folder."""

from __future__ import annotations

from engine.lens.batched import ItemNumbers, RowNumbers
from engine.lens.failures import describe_failure
from engine.prompts.token_texts import TextOf
from engine.records import Token, finite
from engine.sweeps.items import Item
from engine.sweeps.names import quoted
from engine.sweeps.preparing import PreparedPicture
from engine.sweeps.progress import Progress
from engine.sweeps.records import Failure, ItemPicture, Standing, Sweep, SweepItem, SweepRow
from engine.sweeps.sources.tasks import Task
from engine.sweeps.store import SAME_AS, Store, item_id
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
    ) -> None:
        self._store = store
        self._sweep = sweep
        self._text_of = text_of
        self._spellings = spellings
        self._progress = progress

    def keep(self, item: Item, numbers: ItemNumbers, seconds: float) -> None:
        """Store one item that took `seconds`; a failure where its proof failed, or where the same
        question about the same picture is stored already. Raises CannotWrite."""
        task = item.task.task
        if not numbers.proof.passed:
            self.fail(item.picture, task, describe_failure(numbers.proof))
            return
        record = self._record(item, numbers, seconds)
        if self._store.add(record):
            self._progress.done += 1
        else:
            self._store.fail(self._failure(item.picture, task, f"{SAME_AS}{record.item}"))
            self._progress.duplicates += 1

    def fail(self, picture: PreparedPicture, task: Task, error: str) -> None:
        """Store why a question could not be asked. Raises CannotWrite."""
        self._store.fail(self._failure(picture, task, error))
        self._progress.failed += 1

    def _record(self, item: Item, numbers: ItemNumbers, seconds: float) -> SweepItem:
        task, spelling = item.task.task, self._spellings.of(item.task.task.truth)
        knows_truth, unnormed = bool(spelling.ids), numbers.unnormed
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
            rows=self._rows(numbers.rows, numbers, knows_truth),
            rows_unnormed=None if unnormed is None else self._rows(unnormed, numbers, knows_truth),
            proof=numbers.proof,
            seconds={"pass": seconds},
            several_tokens=spelling.several_tokens,
        )

    def _rows(
        self, read: RowNumbers, numbers: ItemNumbers, knows_truth: bool
    ) -> tuple[SweepRow, ...]:
        columns = [column.tolist() for column in read]
        return tuple(
            SweepRow(
                layer=layer,
                # Entropy is NaN where the row's logits are: it has no best tokens.
                top=() if entropy != entropy else self._top(ids, shares, logits),
                entropy=finite(entropy),
                rms=finite(rms),
                kl_to_last=finite(divergence),
                truth=_standing(true_share, true_rank) if knows_truth else None,
                final=_standing(final_share, final_rank),
                approximate=note,
            )
            for layer, (
                (
                    ids, shares, logits, entropy, divergence,
                    true_share, true_rank, final_share, final_rank,
                ),
                rms,
                note,
            ) in enumerate(
                zip(zip(*columns, strict=True), numbers.rms.tolist(), numbers.notes, strict=False)
            )
        )  # fmt: skip

    def _top(self, ids: list[int], shares: list[float], logits: list[float]) -> tuple[Token, ...]:
        return tuple(
            Token(token, self._text_of(token), share, finite(logit))
            for token, share, logit in zip(ids, shares, logits, strict=True)
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
        )


def _standing(probability: float, rank: int) -> Standing | None:
    return None if probability != probability else Standing(min(probability, 1.0), rank)
