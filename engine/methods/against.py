"""Compares a run, row by row, with the same question asked with something else instead of the
picture."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs
from torch import Tensor

from engine.asking.asking import Asking, ask_together
from engine.counterfactuals.unavailable import Unavailable
from engine.errors import Cancelled, LenscopeError, TooManyAtOnce
from engine.lens.divergence import (
    THRESHOLD,
    StreamingDivergence,
    compare_passes,
    kept_logits,
    kept_logits_through,
    picture_layer,
)
from engine.lens.kept import KeptStream
from engine.lens.row_reader import Collect
from engine.models.loading import LoadedModel
from engine.passes.collating import batch_key, length_of, most_at_once
from engine.passes.forward import Project
from engine.records import (
    Comparison,
    ComparisonRow,
    Counterfactual,
    LayerReading,
    Run,
)
from engine.system.memory import give_memory_back, is_out_of_memory
from engine.system.stamps import new_run_id, now


class Against:
    """One counterfactual of a finished run; `ask_against` asks several of them."""

    def __init__(
        self,
        loaded: LoadedModel,
        picture: Run,
        kept: KeptStream,
        counterfactual: Counterfactual,
        run_id: str | None = None,
        threshold: float = THRESHOLD,
        reuse: bool = False,
    ) -> None:
        """`picture` is the run with its picture, `kept` its kept stream; for `reuse` see `Asking`.

        A picture counts as seen in rows whose Jensen-Shannon divergence is above `threshold` nats.
        """
        self._picture = picture
        self._kept = kept
        self._threshold = threshold
        self.run_id = run_id or new_run_id()
        self._comparison_id = new_run_id()
        self._question = structs.replace(
            picture.question, counterfactual=counterfactual, model=None, text=""
        )
        self._project: Project | None = None
        self._streaming = StreamingDivergence(self._picture_rows)
        self.asking = Asking(
            loaded,
            self._question,
            self.run_id,
            track=[tracked.id for tracked in picture.tracked],
            # A replay cannot project the picture's rows mid-pass: they are compared afterwards.
            on_logits=None if kept.replays else self._compare_logits,
            reuse=reuse,
        )

    def begin(self) -> Run:
        """Prepare the run, and return it without rows. Raises what `Asking.prepare` raises, and
        Unavailable if this model cannot take the counterfactual."""
        self._streaming = StreamingDivergence(self._picture_rows)
        return self.asking.prepare()

    def unavailable(self, reason: str) -> tuple[Run, Comparison]:
        """A failed run without rows, and a comparison with the reason."""
        return self._failed(reason), self._comparison((), unavailable=reason)

    @property
    def comparison(self) -> Comparison:
        """The comparison, with the rows that have been compared so far."""
        return self._comparison(self._streaming.rows)

    def finish(self, run: Run) -> Comparison:
        """The whole comparison, once the run has ended."""
        rows = self._streaming.rows
        if self._kept.replays:
            other = self.asking.kept
            layers = range(run.layers + 1)
            rows = (
                ()
                if other is None
                else compare_passes(layers, kept_logits(self._kept), kept_logits(other))
            )
        done = run.status == "done"
        layer = picture_layer([row.js for row in rows], self._threshold) if done else None
        return self._comparison(rows, layer=layer)

    @property
    def inputs(self) -> dict[str, Any]:
        """What the model receives; known once `begin` has returned."""
        assert self.asking.prepared is not None
        return self.asking.prepared.inputs

    def cancel(self) -> None:
        """End the run at its next layer."""
        self.asking.cancel()

    def _picture_rows(self, rows: Sequence[int]) -> Tensor:
        assert self._project is not None
        return kept_logits_through(self._kept, self._project)(rows)

    def _compare_logits(self, layers: Sequence[int], logits: Tensor, project: Project) -> Collect:
        self._project = project
        return self._streaming.launch(layers, logits)

    def _comparison(
        self,
        rows: tuple[ComparisonRow, ...],
        layer: int | None = None,
        unavailable: str | None = None,
    ) -> Comparison:
        return Comparison(
            id=self._comparison_id,
            kind="counterfactual",
            of=self._picture.id,
            against=self.run_id,
            position=self._picture.position,
            rows=rows,
            threshold=self._threshold,
            layer=layer,
            unavailable=unavailable,
        )

    def _failed(self, reason: str) -> Run:
        return Run(
            id=self.run_id,
            created=now(),
            status="failed",
            layers=self._picture.layers,
            question=structs.replace(self._question, model=self._picture.question.model),
            tokens=(),
            position=0,
            rows=(),
            error=reason,
        )


@dataclass(frozen=True)
class Listener:
    """What `ask_against` calls as it goes, in the thread that asks."""

    started: Callable[[Run], None] = lambda run: None
    """Called when the pass of a run starts."""
    read: Callable[[Run, Sequence[LayerReading]], None] = lambda run, rows: None
    """Called with every group of a run's rows; see `Asking.run`."""
    compared: Callable[[Comparison], None] = lambda comparison: None
    """Called whenever a comparison has grown."""
    ended: Callable[[Against, Run, Comparison], None] = lambda against, run, comparison: None
    """Called with the finished run and the whole comparison."""
    refused: Callable[[Against, LenscopeError], None] | None = None
    """Called for a counterfactual that cannot be asked at all; if None, its error is raised."""


def ask_against(againsts: Sequence[Against], told: Listener) -> None:
    """Ask several counterfactuals of one run.

    Those whose inputs have the same shape share a pass, if the model is proved to give the same
    rows in a batch and memory permits; the others are asked one after the other, as are those that
    leave what later passes about the same pixels can go on from, which a batch does not. A
    counterfactual that this model cannot take ends as a failed run without rows, and a comparison
    with the reason.
    """
    ready: list[Against] = []
    for against in againsts:
        try:
            against.begin()
            ready.append(against)
        except Unavailable as error:
            told.ended(against, *against.unavailable(str(error)))
        except LenscopeError as error:
            if told.refused is None:
                raise
            told.refused(against, error)
    waiting = [*_batches(ready)]
    while waiting:
        batch = waiting.pop(0)
        if any(against.asking.cancelled for against in batch):
            for against in batch:
                told.ended(against, against.asking.begun, against.comparison)
            continue
        try:
            _ask_batch(batch, told)
        except TooManyAtOnce:
            batch[0].asking.loaded.lens.reuse.drop()
            give_memory_back()
            for against in batch:
                against.begin()
            waiting = [[against] for against in batch] + waiting
        except LenscopeError as error:
            if told.refused is None:
                raise
            for against in batch:
                told.refused(against, error)


def _ask_batch(batch: Sequence[Against], told: Listener) -> None:
    for against in batch:
        told.started(against.asking.begun)

    def read(item: int, rows: Sequence[LayerReading]) -> None:
        told.read(batch[item].asking.begun, rows)
        told.compared(batch[item].comparison)

    runs = ask_together([against.asking for against in batch], read)
    for against, run in zip(batch, runs, strict=True):
        told.ended(against, run, against.finish(run))


def _batches(ready: Sequence[Against]) -> Iterator[list[Against]]:
    alike: dict[Hashable, list[Against]] = {}
    for against in ready:
        if against.asking.may_go_on:
            yield [against]
            continue
        alike.setdefault(batch_key(against.inputs), []).append(against)
    for group in alike.values():
        size = _most_together(group) if len(group) > 1 else 1
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _most_together(group: Sequence[Against]) -> int:
    lens, inputs = group[0].asking.loaded.lens, [against.inputs for against in group]
    most = most_at_once(lens.model, max(inputs, key=length_of), lens.device)
    if most < 2:
        return 1

    def stop() -> bool:
        return any(against.asking.cancelled for against in group)

    try:
        return 1 if lens.batches.refusal(inputs, stop) else most
    except Cancelled:
        return 1  # the caller then ends all of them without a pass
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return 1
