"""From the attention that a pass has found to what a line of a sweep holds of it."""

from __future__ import annotations

from typing import Final

from engine.lens.attention import why_nothing_is_read, worst_proof
from engine.lens.batch_attention import ItemAttention, MeanShares
from engine.prompts.token_groups import GROUPS
from engine.records import finite
from engine.sweeps.records import AttentionShares, LayerShares

WORST: Final = "the worst layer's error, as a share of its tolerance"


def attention_shares(found: ItemAttention) -> AttentionShares | str:
    """The reading of one item, or the reason why there is none."""
    proof = worst_proof(found.layers, WORST)
    if proof is None:
        return why_nothing_is_read(found.layers)
    return AttentionShares(
        groups=GROUPS,
        layers=tuple(map(_layer, found.layers)),
        sinks=found.sinks,
        proof=proof,
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
