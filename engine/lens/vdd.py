"""Visual debiased decoding: what the model says without the picture is taken off while it decodes
(Zhang et al. 2024, arXiv 2403.05262), as in the released code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from engine.lens.lens import Lens
from engine.passes.in_step import InStep


class Vdd(LogitsProcessor):  # type: ignore[misc]
    """z = (1 + alpha) z_picture - alpha z_prior, where z_prior is the mean of the priors' logits;
    then tokens with z_picture < ln(beta) + max z_picture are ruled out.

    For one `generate`; it comes before all other processors. See `vdd`.
    """

    def __init__(self, priors: Sequence[InStep], alpha: float, beta: float) -> None:
        self._alpha, self._beta = alpha, beta
        # Nothing is taken off with 0, not even an infinite logit.
        self._priors = priors if alpha else ()
        self._prompt: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores to go on with, float32 [batch, vocabulary]; `scores` are the model's own."""
        if self._prompt is None:
            self._prompt = input_ids.shape[1]
        taken = input_ids[:, self._prompt :]
        left = scores
        if self._priors:
            priors = [each.logits(taken).to(scores.device) for each in self._priors]
            prior = torch.stack(priors).mean(0)
            left = (1 + self._alpha) * scores - self._alpha * prior
        ruled_out = scores.isneginf()
        if self._beta > 0:
            most = scores.amax(-1, keepdim=True)
            ruled_out = ruled_out | (scores < math.log(self._beta) + most)
        return left.masked_fill(ruled_out, -torch.inf)


def vdd(
    lens: Lens, priors: Sequence[Mapping[str, Any]], alpha: float = 1.0, beta: float = 0.1
) -> Callable[[Callable[[], bool]], Vdd]:
    """f(whether to stop) -> a processor for one `generate`, which raises Cancelled within one layer
    of its passes; `priors` are inputs without the picture, a batch of one each.

    The lens must have learned inputs like the answer's: from these it knows what the answer's own
    pass leaves on the model's modules. Raises CannotRead if the lens cannot read the priors.
    """
    learned = [(lens.on_device(each), lens.learn(each)) for each in priors]

    def make(stop: Callable[[], bool]) -> Vdd:
        state = lens.reuse.state
        in_step = [InStep(lens.model, inputs, parts, state, stop) for inputs, parts in learned]
        return Vdd(in_step, alpha, beta)

    return make
