"""Where every head looks: the attention of one position on all tokens before it, in every layer."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from msgspec import Meta, Struct

from engine.arrays import Array, check_shape
from engine.methods.grid import Positions
from engine.records import (
    MOST_LAYERS,
    Layer,
    NonNegative,
    Number,
    Part,
    Reading,
    ReadingProof,
    Request,
    Run,
    Share,
    Short,
)

Group = Literal["first", "template", "system", "picture", "question", "answer"]
GROUPS: Final[tuple[Group, ...]] = get_args(Group)
"""What a token counts as: the first token of the sequence; the chat template; the system turn; the
picture; what was asked; what has been answered so far."""

Way = Literal["weight", "contribution", "relative"]


class AttentionRequest(Request, frozen=True):
    """Which attention to read."""

    position: int = -1
    """The position whose row is read; negative ones count back from the last token of the prompt.
    """
    layers: Annotated[tuple[Layer, ...], Meta(max_length=MOST_LAYERS)] = ()
    """All if empty. Layer l takes row l to row l + 1."""
    heads: Literal["mean", "all"] = "mean"
    """Whether maps are the mean over the heads of a layer, or one for each head."""
    way: Way = "weight"
    """What maps show. "weight": the attention weight. "contribution": the norm of what arrives from
    a token through a head, |a W_O v|. "relative": the weight divided by that of a neutral prompt on
    the same picture (Zhang et al. 2025, arXiv 2502.17422)."""


class LayerAttention(Struct, frozen=True):
    """The attention of one layer at the position; a layer with cross-attention has two of these."""

    layer: Layer
    keys: Literal["tokens", "states"] = "tokens"
    """What is looked at: the tokens of the run's own sequence, or in cross-attention the states of
    an encoder or of a vision tower."""
    heads: NonNegative = 0
    reason: Short | None = None
    """Why there are no weights: no attention here, or they could not be proved."""
    shares: Array | None = None
    """float32 [heads, groups + 1]: the weight of each head on each group; the last is the weight on
    learned sinks, which lies on no token."""
    shares_without_sinks: Array | None = None
    """float32 [heads, groups]: the same without the weight on sinks, scaled to sum to 1; NaN for a
    head that looks at sinks alone."""
    map: Array | None = None
    """float32 [cells] or [heads, cells], see `AttentionRequest`. Of "states": [states], or [heads,
    states]."""
    reach: NonNegative = 0
    """The first token that this layer may look at: later than 0 in a sliding window."""
    proof: ReadingProof | None = None


class BestHead(Struct, frozen=True):
    """A head whose attention on the picture is concentrated in few places (Kang et al. 2025, arXiv
    2503.06287)."""

    layer: Layer
    head: NonNegative
    share: Share
    """Of its weight, on the picture."""
    entropy: Number
    """Of the weight's distribution over connected regions of cells above the mean, in nats."""


class AttentionPart(Part, frozen=True):
    """Some layers of the reading, as the pass reaches them."""

    layers: tuple[LayerAttention, ...]
    position: NonNegative
    cells: Array
    of: Layer
    """How many layers the model has."""


class AttentionReading(Reading, frozen=True, kw_only=True, tag="attention"):
    """The attention of one position in every layer that was asked for."""

    request: AttentionRequest
    position: NonNegative
    """Index into the run's tokens."""
    groups: Annotated[tuple[Short, ...], Meta(max_length=100)] = GROUPS
    layers: Annotated[tuple[LayerAttention, ...], Meta(max_length=2 * MOST_LAYERS)]
    """Ascending."""
    sinks: Positions = ()
    """Tokens with massive activations, which are taken out of `shares_without_sinks`; see
    `GridReading.sinks`. None where the model has no such tokens."""
    cells: Array
    """int32 [cells]: the positions of the picture's tokens, to which the maps belong."""
    best: Annotated[tuple[BestHead, ...], Meta(max_length=100)] = ()
    """The heads of all layers that localise best, the best one first; none where the grid of the
    picture's tokens is not known."""
    neutral: Short | None = None
    """The neutral prompt of a relative map."""

    def __post_init__(self) -> None:
        cells = self.cells.shape[0] if len(self.cells.shape) == 1 else 0
        check_shape("cells", self.cells, "<i4", (cells,))
        for each in self.layers:
            check_layer(each, len(self.groups), cells)

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        count = len(run.tokens)
        places = [self.position, *self.sinks, *self.cells.integers]
        if any(not 0 <= place < count for place in places):
            return f"a position beyond {count} tokens"
        if any(each.layer >= run.layers for each in self.layers):
            return f"layers beyond {run.layers}"
        return None


def check_layer(each: LayerAttention, groups: int, cells: int) -> None:
    """Raise ValueError where the arrays of a layer have other shapes than the reading needs."""
    if each.shares is not None:
        check_shape("shares", each.shares, "<f4", (each.heads, groups + 1))
    if each.shares_without_sinks is not None:
        check_shape("shares_without_sinks", each.shares_without_sinks, "<f4", (each.heads, groups))
    if each.map is not None:
        shape = each.map.shape
        count = cells if each.keys == "tokens" else shape[-1] if shape else 0
        allowed = ((count,), (each.heads, count))
        check_shape("map", each.map, "<f4", shape if shape in allowed else allowed[0])
