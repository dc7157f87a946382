"""A run beside the same question with something else in the picture's stead, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import structs
from torch import Tensor

from engine.asking import STORED_TOP, Asking
from engine.contrast import contrast, mean_reference
from engine.counterfactuals.unavailable import Unavailable
from engine.divergence import (
    CHUNK,
    THRESHOLD,
    StreamingDivergence,
    compare,
    logits_of,
    logits_through,
    picture_layer,
)
from engine.kept import KeptStream
from engine.loading import Loaded
from engine.readout import finite, top_tokens
from engine.records import Comparison, ComparisonRow, Counterfactual, LayerReading, Run
from engine.stamps import new_run_id, now
from engine.streaming import Project


class Against:
    """One counterfactual of a run that is done. `run()` once; `cancel()` from any thread."""

    def __init__(
        self,
        loaded: Loaded,
        picture: Run,
        kept: KeptStream,
        counterfactual: Counterfactual,
        run_id: str | None = None,
        threshold: float = THRESHOLD,
    ) -> None:
        """`picture` is the run with its picture, `kept` what that pass has left."""
        self._picture = picture
        self._kept = kept
        self._threshold = threshold
        self._run_id = run_id or new_run_id()
        self._comparison_id = new_run_id()
        self._question = structs.replace(
            picture.question, counterfactual=counterfactual, model=None, text=""
        )
        # A replay runs the model itself: its rows are compared when both passes are over.
        self._streaming = None if kept.replays else StreamingDivergence(self._picture_rows)
        self._project: Project | None = None
        self._compared: Callable[[Comparison], None] = lambda comparison: None
        self.asking = Asking(
            loaded,
            self._question,
            self._run_id,
            track=[tracked.id for tracked in picture.tracked],
            beside=self._beside if self._streaming is not None else None,
        )

    def run(
        self,
        started: Callable[[Run], None] = lambda run: None,
        read: Callable[[Sequence[LayerReading]], None] = lambda rows: None,
        compared: Callable[[Comparison], None] = lambda comparison: None,
    ) -> tuple[Run, Comparison]:
        """Ask; the run and the comparison, whatever their status.

        What this model cannot take comes back as a failed run without rows, and a comparison that
        says why. `started` and `read`: as in `Asking.run`; `compared` is told the comparison
        whenever it has grown.
        """
        self._compared = compared
        try:
            run = self.asking.run(started, read)
        except Unavailable as error:
            return self._failed(str(error)), self._comparison((), unavailable=str(error))
        kept = self.asking.kept
        if self._streaming is not None:
            rows = self._streaming.rows
        elif kept is not None:
            rows = compare(range(run.layers + 1), logits_of(self._kept), logits_of(kept))
        else:
            rows = ()
        done = run.status == "done"
        layer = picture_layer([row.js for row in rows], self._threshold) if done else None
        return run, self._comparison(rows, layer=layer)

    def cancel(self) -> None:
        """End the run at its next layer."""
        self.asking.cancel()

    def _picture_rows(self, rows: Sequence[int]) -> Tensor:
        assert self._project is not None
        return logits_through(self._kept, self._project)(rows)

    def _beside(self, layers: Sequence[int], logits: Tensor, project: Project) -> None:
        assert self._streaming is not None
        self._project = project
        self._streaming.feed(layers, logits)
        self._compared(self._comparison(self._streaming.rows))

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
            against=self._run_id,
            position=self._picture.position,
            rows=rows,
            threshold=self._threshold,
            layer=layer,
            unavailable=unavailable,
        )

    def _failed(self, reason: str) -> Run:
        return Run(
            id=self._run_id,
            created=now(),
            status="failed",
            layers=self._picture.layers,
            question=structs.replace(self._question, model=self._picture.question.model),
            tokens=(),
            position=0,
            rows=(),
            error=reason,
        )


def contrast_rows(
    picture: KeptStream,
    references: Sequence[KeptStream],
    a: float,
    b: float,
) -> tuple[LayerReading, ...]:
    """Rows of the contrast of a pass with others, read from what they have left.

    Published for the last row; for the others it is an extension. rms is None. Raises BadInput
    for settings that the contrast cannot have.
    """
    layers = len(picture.readings)
    read = logits_of(picture)
    others = [logits_of(reference) for reference in references]
    rows: list[LayerReading] = []
    for start in range(0, layers, CHUNK):
        some = range(start, min(start + CHUNK, layers))
        z = contrast(read(some), mean_reference(*(other(some) for other in others)), a, b)
        log_p = z.log_softmax(-1)
        p = log_p.exp()
        entropies = -(p * log_p.masked_fill(p == 0, 0)).sum(-1)
        for row, logits, logs, entropy in zip(some, z, log_p, entropies.tolist(), strict=True):
            top = top_tokens(logits, logs, STORED_TOP, picture.text_of)
            kept = tuple(token for token in top if token.logit is not None)
            rows.append(LayerReading(layer=row, top=kept, entropy=finite(entropy), rms=None))
    return tuple(rows)
