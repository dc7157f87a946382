"""Where every head looks: the attention of one position on all tokens before it, in every layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta, Struct, structs

from engine.arrays import Array, check_shape
from engine.errors import BadInput, CannotRead, Remedy
from engine.methods.everywhere import last_position, resolved
from engine.methods.geometry import Geometry, GeometryReading, GeometryRequest
from engine.methods.grid import Positions
from engine.methods.method import Method, Stop, Subject
from engine.prompts.token_groups import GROUPS, key_groups, picture_cells
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
from engine.tables import Cell, Column, Table

if TYPE_CHECKING:
    import numpy as np

    from engine.asking.asking import Asking
    from engine.lens.attention import AttentionFound, HeadWeights

Way = Literal["weight", "contribution", "relative"]
NEUTRAL: Final = "Write a general description of the image."
"""The prompt of the pass that relative maps are divided by, as in mllms_know."""
BEST: Final = 3
"""How many of the heads that localise best are named."""
WORST: Final = (
    "in every layer the weights times the values against the attention's own output, as a share "
    "of what is allowed"
)
NOT_SUMMED: Final = "what arrives from its tokens does not add up to what arrives"
CHANGED: Final = "its heads' outputs go through {name} before they are put together"
GATED: Final = "something multiplies its heads' outputs (a gate): taken as it is at this position"
NOT_FOUND: Final = "where its heads' outputs are put together was not found"
NOT_TOKENS: Final = "its keys are not tokens of the prompt"


class AttentionRequest(Request, frozen=True):
    """Which attention to read."""

    own_pass: ClassVar[bool] = True

    position: int = -1
    """The position whose row is read; negative ones count back from the last token of the prompt,
    and those from its length on are the tokens of the newest answer."""
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
    """What is looked at: the tokens of the run's own sequence; or the states of an encoder or of a
    vision tower, alone or together with the tokens."""
    heads: NonNegative = 0
    reason: Short | None = None
    """Why there are no weights: no attention here, or they could not be proved."""
    shares: Array | None = None
    """float32 [heads, groups + 1]: the weight of each head on each group; the last is the weight on
    learned sinks, which lies on no token. None where the group of the states is not known."""
    shares_without_sinks: Array | None = None
    """float32 [heads, groups]: the same without the weight on sinks, scaled to sum to 1; NaN for a
    head that looks at sinks alone."""
    map: Array | None = None
    """float32 [cells] or [heads, cells], see `AttentionRequest`. Of "states": [states], or [heads,
    states]."""
    reach: NonNegative = 0
    """The first token that this layer may look at: later than 0 in a sliding window."""
    map_reason: Short | None = None
    """Why there are weights, but no map; or what has to be known of the map."""
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
    """Index into the run's tokens, followed by those of its newest answer."""
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
        if not isinstance(self.cells, Array):
            return
        cells = self.cells.shape[0] if len(self.cells.shape) == 1 else 0
        check_shape("cells", self.cells, "<i4", (cells,))
        for each in self.layers:
            check_layer(each, len(self.groups), cells)

    @property
    def reaches(self) -> int:
        """See `Reading.reaches`."""
        return self.position

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        places = [self.position, *self.sinks, *self.cells.integers]
        if any(not 0 <= place <= last_position(run) for place in places):
            return f"a position beyond {last_position(run) + 1} tokens"
        if any(each.layer >= run.layers for each in self.layers):
            return f"layers beyond {run.layers}"
        if any(each.layer >= run.layers for each in self.best):
            return f"heads in layers beyond {run.layers}"
        if self.cells.integers != picture_cells(run.tokens):
            return "its cells are not the tokens of the picture"
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


class Attention(Method[AttentionRequest, AttentionReading]):
    """Reads one row of every head's attention, in a pass of its own over the run's inputs."""

    name: ClassVar[str] = "attention"
    title: ClassVar[str] = "Where the heads of each layer look from one position"
    request = AttentionRequest
    reading = AttentionReading

    def read(
        self, subject: Subject, request: AttentionRequest, stop: Stop
    ) -> Iterator[AttentionPart | AttentionReading]:
        """Watch a pass, and hand out its layers as they come.

        Raises BadInput for a position or layer out of range, or if a relative map is asked for
        without a picture; CannotRead if no layer has attention that can be read.
        """
        from engine.lens.attention import why_nothing_is_read, worst_proof

        run = subject.run
        (position,) = resolved(run, [request.position])
        for layer in request.layers:
            if layer >= run.layers:
                raise BadInput(f"there is no layer {layer}: they go from 0 to {run.layers - 1}")
        cells = picture_cells(run.tokens)
        if request.way == "relative" and not cells:
            raise BadInput("a relative map needs a picture with tokens of its own in the prompt")
        wanted = {*request.layers} or {*range(run.layers)}
        projected = wanted if request.way == "contribution" else ()
        neutral_run = _neutral_run(subject, cells) if request.way == "relative" else None
        reached = subject.reaching([position])
        steps = subject.loaded.lens.read_attention(reached.inputs, position, projected, stop)
        while True:
            try:
                grown = next(steps)
            except StopIteration as end:
                found: AttentionFound = end.value
                break
            look = _Look(reached, request)
            layers = tuple(look.record(each) for each in grown if each.layer in wanted)
            yield AttentionPart(layers=layers, position=position, cells=look.cells, of=run.layers)
        if all(each.weights is None for each in found.layers):
            raise CannotRead(why_nothing_is_read(found.layers))
        neutral = None if neutral_run is None else _neutral(subject, neutral_run, stop)
        look = _Look(reached, request, found, neutral)
        yield AttentionReading(
            request=request,
            position=position,
            layers=tuple(look.record(each) for each in found.layers if each.layer in wanted),
            sinks=look.sinks,
            cells=look.cells,
            best=_best(subject, found, cells, stop),
            neutral=None if neutral is None else NEUTRAL,
            proof=worst_proof(found.layers, WORST),
        )

    def tables(self, reading: AttentionReading) -> tuple[Table, ...]:
        """The shares of every layer, raw and without sinks; the heads that localise best."""
        import numpy as np

        names = reading.groups
        raw = [each.shares.values.mean(0) for each in reading.layers if each.shares is not None]
        used = np.array(raw).max(0) > 0 if raw else np.zeros(len(names) + 1, dtype=bool)
        shown = [index for index in range(len(names) + 1) if used[index]]
        heads = [*names, "nowhere"]

        def lines(field: str, columns: Sequence[int]) -> tuple[tuple[Cell, ...], ...]:
            rows: list[tuple[Cell, ...]] = []
            for each in reading.layers:
                array = getattr(each, field)
                place = f"{each.layer}" if each.keys == "tokens" else f"{each.layer} states"
                if array is None:
                    rows.append((place, *(None for _ in columns), each.reason or NOT_TOKENS))
                    continue
                values = _mean(array.values)
                rows.append((place, *(_number(values[index]) for index in columns), ""))
            return tuple(rows)

        def columns(of: Sequence[int]) -> tuple[Column, ...]:
            shares = tuple(Column(heads[index], "share") for index in of)
            return (Column("layer"), *shares, Column("note"))

        without = [index for index in shown if index < len(names)]
        where = f"from position {reading.position}, mean over the heads"
        sinks = ", ".join(map(str, reading.sinks)) or "none"
        best: tuple[tuple[Cell, ...], ...] = tuple(
            (each.layer, each.head, each.share, each.entropy) for each in reading.best
        )
        return (
            Table(f"attention, {where}", columns(shown), lines("shares", shown)),
            Table(
                "the same without sinks",
                columns(without),
                lines("shares_without_sinks", without),
                (f"sinks, which hold attention and no content, at: {sinks}",),
            ),
            Table(
                "heads that look at one place of the picture",
                (
                    Column("layer", "count"),
                    Column("head", "count"),
                    Column("share", "share", "on the picture"),
                    Column("entropy", "number", "entropy of its regions"),
                ),
                best,
            ),
        )


class _Look:
    """Makes records of what was found."""

    def __init__(
        self,
        subject: Subject,
        request: AttentionRequest,
        whole: AttentionFound | None = None,
        neutral: dict[int, np.ndarray[Any, Any]] | None = None,
    ) -> None:
        """Without `whole`, the records are of a part, to which maps that come later are missing."""
        import numpy as np

        self._subject, self._request, self._neutral = subject, request, neutral
        self._is_whole = whole is not None
        sinks = () if whole is None else whole.sinks
        run = subject.run
        count = len(run.tokens)
        self.sinks = tuple(place for place in sinks if place < count)
        self._places = [*picture_cells(run.tokens)]
        self.cells = Array.of(np.array(self._places), "<i4")
        loaded = subject.loaded
        self._groups = key_groups(loaded.model, loaded.processor, subject.inputs, run.tokens)

    def record(self, found: HeadWeights) -> LayerAttention:
        """The record of one layer."""
        import torch

        from engine.lens.attention_shares import shares_of

        plain = LayerAttention(
            layer=found.layer,
            keys="tokens" if found.keys == "tokens" else "states",
            reason=found.reason,
            proof=found.proof,
        )
        if found.weights is None or found.sink is None:
            return plain
        heads, keys = found.weights.shape
        groups, sinks = self._groups.of_tokens(len(self._subject.run.tokens)), self.sinks
        places: Sequence[int] | slice = self._places
        if found.keys != "tokens":
            groups = self._groups.of_states(keys) if found.keys == "states" else b""
            sinks, places = (), slice(None)
        shares = without = None
        if len(groups) == keys:
            is_sink = torch.zeros(keys, dtype=torch.bool)
            is_sink[[*sinks]] = True
            summed = shares_of(
                found.weights, found.sink, torch.tensor([*groups]), is_sink, len(GROUPS)
            )
            shares = Array.of(summed.raw.numpy(), "<f4")
            without = Array.of(summed.without_sinks.numpy(), "<f4")
        shown, reason = self._map(found, places)
        return structs.replace(
            plain,
            heads=heads,
            shares=shares,
            shares_without_sinks=without,
            map=None if shown is None else Array.of(shown, "<f4"),
            map_reason=reason,
            reach=found.reach if found.keys == "tokens" else 0,
        )

    def _map(
        self, found: HeadWeights, places: Sequence[int] | slice
    ) -> tuple[np.ndarray[Any, Any] | None, str | None]:
        """The map of one layer [cells] or [heads, cells], or why there is none."""
        every = self._request.heads == "all"
        assert found.weights is not None
        if self._request.way != "weight" and not self._is_whole:
            return None, None
        if self._request.way == "contribution":
            sent = found.contribution
            if sent is None:
                return None, NOT_FOUND
            if sent.passes_through:
                return None, CHANGED.format(name=sent.passes_through)
            if not sent.proof.passed:
                return None, NOT_SUMMED
            shown = (sent.heads if every else sent.together).numpy()[..., places]
            return shown, GATED if sent.gated else None
        weights = found.weights.numpy()
        shown = (weights if every else weights.mean(0))[..., places]
        if self._request.way != "relative":
            return shown, None
        other = None
        if self._neutral is not None and found.keys == "tokens":
            other = self._neutral.get(found.layer)
        if other is None:
            return None, NOT_TOKENS
        import numpy as np

        with np.errstate(all="ignore"):
            return shown / (other if every else other.mean(0)), None


def _mean(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The mean over heads [heads, groups] -> [groups], but for those that look at sinks alone."""
    import numpy as np

    known = ~np.isnan(values)
    counts = known.sum(0)
    sums = np.where(known, values, 0.0).sum(0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _number(value: Any) -> float | None:
    return None if value != value else float(value)


def _neutral_run(subject: Subject, cells: Sequence[int]) -> Asking:
    """The neutral prompt about the run's own picture, prepared.

    Raises BadInput if the picture cannot be opened, is another by now, or has another number of
    tokens there.
    """
    from engine.asking.asking import Asking

    question = structs.replace(subject.run.question, prompt=NEUTRAL, prefix="", model=None, text="")
    asking = Asking(subject.loaded, question)
    run = asking.prepare()
    before, now = subject.run.question.picture, run.question.picture
    if before is not None and now is not None and before.sha256 != now.sha256:
        raise BadInput(f"{now.path} is another picture by now: ask again", Remedy.RUN_AGAIN)
    if len(picture_cells(run.tokens)) != len(cells):
        raise BadInput("with the neutral prompt the picture has another number of tokens")
    return asking


def _neutral(subject: Subject, asking: Asking, stop: Stop) -> dict[int, np.ndarray[Any, Any]]:
    """The weights [heads, cells] that a neutral prompt's last position puts on the same picture,
    for each layer that has any."""
    from engine.system.steps import finished

    assert asking.prepared is not None
    found = finished(subject.loaded.lens.read_attention(asking.prepared.inputs, -1, stop=stop))
    places = [*picture_cells(asking.begun.tokens)]
    return {
        each.layer: each.weights.numpy()[:, places]
        for each in found.layers
        if each.weights is not None and each.keys == "tokens"
    }


def _best(
    subject: Subject, found: AttentionFound, cells: Sequence[int], stop: Stop
) -> tuple[BestHead, ...]:
    """The heads that localise best; none if it is not known where the cells are."""
    import numpy as np
    import torch

    from engine.lens.localising_heads import CellGrid, localising_heads

    geometry = _geometry(subject, stop)
    if geometry is None or not cells:
        return ()
    index = {token: place for place, token in enumerate(geometry.tokens.values.tolist())}
    at = np.array([index.get(cell, -1) for cell in cells])

    def placed(array: Array) -> torch.Tensor:
        return torch.from_numpy(np.where(at < 0, -1, array.values[at]))

    grid = CellGrid(placed(geometry.tile), placed(geometry.row), placed(geometry.column))
    maps = [
        (each.layer, each.weights[:, [*cells]])
        for each in found.layers
        if each.weights is not None and each.keys == "tokens"
    ]
    return tuple(
        BestHead(each.layer, each.head, each.share, each.entropy)
        for each in localising_heads(maps, grid, BEST)
    )


def _geometry(subject: Subject, stop: Stop) -> GeometryReading | None:
    for known in subject.run.readings:
        if isinstance(known, GeometryReading):
            return known if known.tokens.shape[0] else None
    method = Geometry()
    if method.supports(subject) is not None:
        return None
    *_, reading = method.read(subject, GeometryRequest(), stop)
    return reading if reading.tokens.shape[0] else None
