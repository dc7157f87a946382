"""Collects the steps of an answer, and packs their numbers into arrays; imported with torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.anatomy.logit_map import difference
from engine.arrays import Array, Kind
from engine.asking.drawing import answer_text
from engine.errors import CannotRead
from engine.lens.answer import AnswerStep, worse
from engine.methods.answer import SHOWN, AnswerPart, StepArrays
from engine.methods.grid import Approximate
from engine.methods.method import Subject
from engine.models.loading import LoadedModel
from engine.prompts.token_texts import texts_for
from engine.records import Proof, ReadingProof

PROVED = "row L of every step as the lens computes it, against the model's own logits"
_FIRST_STEP = 16
"""How many tolerances the first step may differ from the run: `generate` takes other kernels than a
plain pass, but where it runs on something else than the run's inputs, the logits are far apart."""


class StepsFound:
    """The steps of one answer so far."""

    def __init__(self, loaded: LoadedModel, most: int) -> None:
        self.proof: ReadingProof | None = None
        """The worst of all steps."""
        self._loaded = loaded
        self._most = most
        self._steps: list[AnswerStep] = []
        self._worst: Proof | None = None
        self._notes: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, steps: Sequence[AnswerStep], subject: Subject) -> None:
        """Add the next steps. Raises CannotRead if the first is not at the run's position."""
        if steps and not self._steps:
            _check_first(steps[0], subject)
        for step in steps:
            # Its logits are no longer needed, and those of 512 steps are hundreds of megabytes.
            self._steps.append(replace(step, logits=step.logits.new_empty(0)))
            self._worst = worse(self._worst, step.proof)
            for row, note in enumerate(step.notes):
                if note is not None:
                    self._notes.setdefault(row, note)
        if self._worst is not None:
            found = self._worst
            self.proof = ReadingProof(
                PROVED, found.max_abs_difference, found.tolerance, found.passed
            )

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens that were taken."""
        return tuple(step.token for step in self._steps)

    @property
    def text(self) -> str:
        """The whole answer so far, without special tokens."""
        return answer_text(self._loaded, self.tokens)

    @property
    def approximate(self) -> tuple[Approximate, ...]:
        """The rows that are not exactly the truncated model's in some step, and why."""
        return tuple(Approximate(row, note) for row, note in sorted(self._notes.items()))

    def arrays(self, first: int) -> StepArrays:
        """The numbers of the steps from `first` on."""
        steps = self._steps[first:]

        def singles(values: list[Any], kind: Kind) -> Array:
            return Array.of(np.array(values), kind)

        def pairs(which: int, none: float, kind: Kind) -> Array:
            found = np.full((len(steps), SHOWN), none)
            for step, line in zip(steps, found, strict=True):
                line[: len(step.after)] = [pair[which] for pair in step.after]
            return Array.of(found, kind)

        def rows(name: str, kind: Kind = "<f4") -> Array:
            like: Tensor = getattr(self._steps[0].numbers, name)
            values = [getattr(step.numbers, name) for step in steps]
            stacked = torch.stack(values) if values else like.new_empty(0, *like.shape)
            return Array.of(stacked.numpy(), kind)

        return StepArrays(
            tokens=singles([step.token for step in steps], "<i4"),
            taken=singles([step.taken for step in steps], "<f4"),
            probability=singles([step.probability for step in steps], "<f4"),
            removed=singles([step.removed for step in steps], "<i4"),
            after_ids=pairs(0, -1, "<i4"),
            after=pairs(1, 0.0, "<f4"),
            ids=rows("ids", "<i4"),
            logits=rows("logits"),
            lse=rows("lse"),
            entropy=rows("entropy"),
            rms=rows("rms"),
        )

    def texts(self, first: int) -> dict[int, str]:
        """The text of every id in the steps from `first` on."""
        text_of = texts_for(self._loaded.model)
        ids = {step.token for step in self._steps[first:]}
        for step in self._steps[first:]:
            ids.update(token for token, _ in step.after)
            ids.update(step.numbers.ids.flatten().tolist())
        return {token: text_of(token) for token in sorted(ids)}

    def part(self, first: int, drawn: int = 0, *, ended: bool = False) -> AnswerPart:
        """The steps from `first` on, as a part of the reading."""
        return AnswerPart(
            first=first,
            **self.arrays(first),
            texts=self.texts(first),
            text=self.text,
            of=self._most,
            drawn=drawn,
            ended=ended,
        )


def _check_first(step: AnswerStep, subject: Subject) -> None:
    """Raise CannotRead where the first step is not what the run has read at its position."""
    if subject.stream is None:
        return
    own = subject.stream.model_logits[0]
    error = difference(step.logits, own) if step.logits.shape == own.shape else float("inf")
    if error > _FIRST_STEP * step.proof.tolerance:
        raise CannotRead(
            "`generate` does not begin with this run's pass: its first logits differ by "
            f"{error:.3g} from the run's"
        )
