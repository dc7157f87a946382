"""How much of the attention of several positions lies on the picture, read in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from engine.anatomy.attention_rows import AttentionRow
from engine.lens.attention import NONE_HERE, NOT_PROVED
from engine.lens.lens import Lens
from engine.passes.attention_taps import Tap

NO_CELLS: Final = "the picture has no tokens of its own in this sequence"
PLACEHOLDER: Final = (
    "the model looks at the picture by cross-attention: its token in the sequence is a placeholder"
)
BOTH: Final = "its keys are tokens and something else side by side"


class PictureShares(NamedTuple):
    """The shares of the picture, or why there are none."""

    shares: Tensor | None
    """float32 [positions], on the CPU: the weight on the picture's tokens, mean over all heads of
    all layers that have attention on tokens."""
    reason: str | None


def picture_shares(
    lens: Lens,
    inputs: Mapping[str, Any],
    positions: Sequence[int],
    cells: Sequence[int],
    stop: Callable[[], bool] = lambda: False,
) -> PictureShares:
    """Read them at these positions of a batch of one; `cells` are those of the picture's tokens.

    Every layer with attention on tokens is proved at every position; if one cannot be read, there
    are no shares. Raises what `Lens.attention` raises, and Cancelled within one layer after
    `stop()` is true.
    """
    if not cells:
        return PictureShares(None, NO_CELLS)
    places = [*cells]

    def keep(row: AttentionRow) -> AttentionRow:
        # Cross-attention may have fewer keys than there are tokens; it is left out below.
        there = row.weights.shape[-1] > places[-1]
        on_picture = row.weights[..., places if there else []].sum(-1, keepdim=True)
        return replace(row, weights=on_picture, value=None, output=row.output[..., :0])

    taps = lens.read_attention_along(inputs, positions, keep, stop)
    own = [tap for tap in taps if tap.keys != "states"]
    if len(own) < len(taps) and len(places) < 2:
        return PictureShares(None, PLACEHOLDER)
    total, heads = torch.zeros(len(positions)), 0
    for tap in own:
        reason = _reason(tap)
        if reason is not None or tap.row is None:
            return PictureShares(None, f"layer {tap.layer}: {reason}")
        on_picture = tap.row.weights[..., 0].cpu()  # [positions, heads]
        total += on_picture.sum(-1)
        heads += on_picture.shape[1]
    return PictureShares(total / heads, None) if heads else PictureShares(None, NONE_HERE)


def _reason(tap: Tap) -> str | None:
    if tap.row is None:
        return tap.reason
    if tap.keys == "both":
        return BOTH
    errors, limits = tap.row.checks.cpu()
    if bool((errors <= limits).all()):
        return None
    worst = int((errors / limits).nan_to_num(torch.inf).argmax())
    return NOT_PROVED.format(error=float(errors[worst]), limit=float(limits[worst]))
