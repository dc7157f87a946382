"""From the attention that a pass has found to what a line of a sweep holds of it."""

from __future__ import annotations

from typing import Final

from engine.lens.attention import why_nothing_is_read
from engine.lens.batch_attention import ItemAttention, MeanShares
from engine.prompts.token_groups import GROUPS
from engine.records import ReadingProof, finite
from engine.sweeps.records import AttentionShares, LayerShares

WORST: Final = "the worst layer's error, as a share of its tolerance"


def attention_shares(found: ItemAttention) -> AttentionShares | str:
    """The reading of one item, or the reason why there is none."""
    ratios = [
        each.proof.error / each.proof.tolerance
        for each in found.layers
        if each.shares is not None and each.proof is not None and each.proof.error is not None
    ]
    if not ratios:
        return why_nothing_is_read(found.layers)
    return AttentionShares(
        groups=GROUPS,
        layers=tuple(map(_layer, found.layers)),
        sinks=found.sinks,
        proof=ReadingProof(WORST, max(ratios), 1.0, max(ratios) <= 1.0),
    )


def _layer(each: MeanShares) -> LayerShares:
    without = tuple(map(finite, each.without_sinks or ()))
    return LayerShares(
        layer=each.layer,
        keys="tokens" if each.keys == "tokens" else "states",
        shares=each.shares,
        on_sinks=each.on_sinks,
        without_sinks=without if any(share is not None for share in without) else None,
        reason=each.reason,
    )
