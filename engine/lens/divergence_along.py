"""How far a model's distribution at each step of an answer is from that after other inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from engine.lens.divergence import CHUNK, divergences
from engine.lens.lens import Lens
from engine.prompts.extended import extended

MOST_BYTES: Final = 2**28
"""Of the logits of one pass that are kept at a time."""


class Asked(NamedTuple):
    """What an answer follows."""

    inputs: Mapping[str, Any]
    """A batch of one."""
    position: int
    """Where the first token of the answer is predicted."""


def divergence_along(
    lens: Lens,
    one: Asked,
    other: Asked,
    tokens: Sequence[int],
    stop: Callable[[], bool] = lambda: False,
) -> Tensor:
    """The Jensen-Shannon divergence, in nats, of the model's own distributions after each and
    after the same beginning of the answer `tokens`: float32 [tokens], on the CPU.

    One pass over each, or several where the logits of all steps would take too much memory. Raises
    what `Lens.streams` raises, and Cancelled within one layer after `stop()` is true.
    """
    text: Any = lens.model.config.get_text_config(decoder=True)
    of_one = (getattr(text, "vocab_size", None) or 2**18) * torch.float32.itemsize
    most = max(1, MOST_BYTES // of_one)
    found = []
    for first in range(0, len(tokens), most):
        steps = range(first, min(first + most, len(tokens)))
        mine, its = (_logits(lens, each, tokens, steps, stop) for each in (one, other))
        found += [
            divergences(mine[start : start + CHUNK], its[start : start + CHUNK]).js.cpu()
            for start in range(0, len(steps), CHUNK)
        ]
    return torch.cat(found)


def _logits(
    lens: Lens, asked: Asked, tokens: Sequence[int], steps: range, stop: Callable[[], bool]
) -> Tensor:
    """The model's own logits of some steps, [steps, vocabulary] in its own dtype."""
    inputs = extended(lens.model, asked.inputs, tokens[: steps[-1]])
    positions = [asked.position + step for step in steps]
    return lens.streams(inputs, positions, stop=stop).own
