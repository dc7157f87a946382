"""Which part of the photograph each picture token shows: exactly, approximately, or not at all."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from engine.anatomy.patches import PatchRelation, relate
from engine.errors import BadInput, Cancelled, typed_line
from engine.lens.lens import Lens, model_lock
from engine.passes.thread import waited_for
from engine.pictures.model_view import Process
from engine.pictures.patch_boxes import TokenBoxes, boxes_of, even_grid, in_even_grids
from engine.pictures.pixels import PIXELS
from engine.pictures.tile_maps import located
from engine.system.memory import is_out_of_memory

How = Literal["exact", "approximate", "none"]
Stop = Callable[[], bool]

WHOLE: Final = "this model's picture tokens each see the whole picture"
ABSENT: Final = "the picture has no tokens in this model's stream"
SHARED: Final = (
    "neighbouring tokens share pixels here: each box holds the pixels on which its token depends "
    "most"
)
CODES: Final = (
    "the model turns pixels into codes, which have no gradient: the order of its tokens is taken "
    "to be that of a grid, row by row"
)
NOT_BOXES: Final = "the pixels of a token do not form a box here; each box holds most of them"
UNWATCHED: Final = "the model does not run without its vision layers, or not back: {error}"
UNTRIED: Final = "that its tokens change with these pixels only could not be tried"
CONTRADICTED: Final = (
    "when the pixels of half of the tokens were changed, {mistaken} of the stream's {tried} tokens "
    "changed otherwise than these boxes say"
)
FILLED: Final = 0.95
"""The least share of a box's pixels that feed its own token, for boxes to be exact."""
APART: Final = 0.75
"""Likewise, for boxes of tokens that share pixels; else an even grid is tried."""
MOST_KINDS: Final = 16
"""Kinds of inputs that are remembered for a model."""


@dataclass(frozen=True)
class PicturePatches:
    """The boxes of a picture's tokens."""

    how: How
    reason: str
    """Why it is not exact; empty if it is."""
    boxes: TokenBoxes | None
    """None where `how` is "none"."""
    relation: PatchRelation
    size: tuple[int, int]
    """Width and height of the photograph."""


_remembered: WeakKeyDictionary[Any, dict[Any, tuple[PicturePatches, list[int]]]] = (
    WeakKeyDictionary()
)
_guard = threading.Lock()


def picture_patches(
    lens: Lens,
    processor: Any,
    inputs: Mapping[str, Any],
    size: tuple[int, int],
    process: Process,
    stop: Stop = lambda: False,
) -> PicturePatches:
    """The boxes of the tokens of a photograph of this size, from which `process` made `inputs`.

    It depends on the kind of inputs only: shapes, grids, sizes. It is found once for each kind,
    with a pass to the first layer and a few passes back, in the model's thread, and kept as long
    as the model. Raises Cancelled soon after `stop()` is true.
    """
    if stop():
        raise Cancelled("cancelled")
    kind, tokens = (size, _kind_of(inputs)), _tokens_of(inputs)
    with _guard:
        known = _remembered.setdefault(lens.model, {})
        remembered = known.get(kind)
    if remembered is not None:
        moved = _moved(*remembered, tokens)
        if moved is not None:
            return moved
    try:
        found = _found(lens, processor, inputs, size, process, stop)
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        # Kernels of some kinds of weights have no backward pass.
        if is_out_of_memory(error):
            raise
        reason = UNWATCHED.format(error=typed_line(error))
        return PicturePatches("none", reason, None, PatchRelation("absent", 0), size)
    with _guard:
        while len(known) >= MOST_KINDS:
            known.pop(next(iter(known)))
        known[kind] = found, tokens
    return found


def token_relation(
    lens: Lens, inputs: Mapping[str, Any], stop: Stop = lambda: False
) -> PatchRelation:
    """Which token each pixel value feeds. Raises Cancelled soon after `stop()` is true, CannotRead
    if the model cannot be read."""
    moved = lens.on_device(inputs)
    parts = lens.learn(moved)

    def job() -> PatchRelation:
        with model_lock(lens.model):
            return relate(lens.model, parts, moved, stop)

    return waited_for(lens.model, job)


def _found(
    lens: Lens,
    processor: Any,
    inputs: Mapping[str, Any],
    size: tuple[int, int],
    process: Process,
    stop: Stop,
) -> PicturePatches:
    relation = token_relation(lens, inputs, stop)
    if relation.kind in ("whole", "absent"):
        reason = WHOLE if relation.kind == "whole" else ABSENT
        return PicturePatches("none", reason, None, relation, size)
    try:
        unpack, maps = located(processor, inputs, size, process)
    except BadInput as error:
        return PicturePatches("none", str(error), None, relation, size)
    if stop():
        raise Cancelled("cancelled")
    if relation.kind == "codes":
        numbers = _in_order(relation, unpack(inputs))
    else:
        numbers = _tiled(relation, inputs, unpack)
    if numbers is None:
        reason = "which pixels of the picture its tokens see is not known"
        return PicturePatches("none", reason, None, relation, size)
    boxes = boxes_of(numbers, maps)
    if relation.kind == "shared" and not _apart(boxes):
        even = in_even_grids(numbers)
        if even is None:
            return PicturePatches("none", WHOLE, None, relation, size)
        boxes = boxes_of(even, maps)
    how, reason = _verdict(relation, boxes)
    return PicturePatches(how, reason, None if how == "none" else boxes, relation, size)


def _verdict(relation: PatchRelation, boxes: TokenBoxes) -> tuple[How, str]:
    if relation.kind == "codes":
        return "approximate", CODES
    if relation.kind == "shared":
        return "approximate", SHARED
    if relation.mistaken is None:
        return "approximate", UNTRIED
    if relation.mistaken:
        told = {"mistaken": relation.mistaken, "tried": relation.tried}
        return "approximate", CONTRADICTED.format(**told)
    if boxes.filled < FILLED:
        return "approximate", NOT_BOXES
    return "exact", ""


def _apart(boxes: TokenBoxes) -> bool:
    """Whether boxes of tokens that share pixels keep them apart well enough."""
    return boxes.filled >= APART and boxes.overlap <= 1 / APART


def _tiled(relation: PatchRelation, inputs: Mapping[str, Any], unpack: Any) -> Tensor | None:
    """The numbers as tiles [n, height, width, 3]; None where they are of other pixels than those
    that are put together."""
    if relation.numbers is None or relation.name not in PIXELS:
        return None
    with_numbers = {**inputs, relation.name: relation.numbers.float()}
    if any(
        name != relation.name and inputs.get(name) is not None
        for name in PIXELS[: PIXELS.index(relation.name)]
    ):
        return None
    tiles: Tensor = unpack(with_numbers).round().int()
    return tiles


def _in_order(relation: PatchRelation, tiles: Tensor) -> Tensor | None:
    """The numbers of tokens in a grid, row by row over one tile, if so many fit evenly."""
    count, height, width = tiles.shape[:3]
    tokens = len(relation.followers)
    if count != 1 or not tokens:
        return None
    side = round((height * width / tokens) ** 0.5)
    if side * side * tokens != height * width or height % side or width % side:
        return None
    grid = even_grid(torch.tensor(relation.followers), height, width, height // side)
    return grid[None, ..., None]


def _kind_of(inputs: Mapping[str, Any]) -> Any:
    """What of the inputs decides which pixels its tokens see: the shapes of what is given about
    the picture, and the numbers in what counts patches and sizes."""
    length = len(_tokens_of(inputs))
    facts: list[Any] = []
    for name, value in sorted(inputs.items()):
        if not isinstance(value, Tensor):
            facts.append((name, repr(value)))
        elif value.shape[-1:] != (length,) or value.ndim != 2:  # else a number for each token
            numbers = None if value.is_floating_point() else _digest_of(value)
            facts.append((name, tuple(value.shape), str(value.dtype), numbers))
    return tuple(facts)


def _digest_of(numbers: Tensor) -> str:
    return hashlib.sha256(numbers.cpu().contiguous().numpy().tobytes()).hexdigest()


def _tokens_of(inputs: Mapping[str, Any]) -> list[int]:
    ids = inputs.get("input_ids")
    return ids[0].tolist() if isinstance(ids, Tensor) and ids.ndim == 2 else []


def _moved(found: PicturePatches, before: list[int], now: list[int]) -> PicturePatches | None:
    """What was found with some tokens, for the same picture among others; None where it is not
    certain which of them are the picture's."""
    if before == now or found.boxes is None:
        return found
    followers = found.relation.followers
    if found.relation.length != len(before):
        return None
    ids = {before[position] for position in followers}
    old = [position for position, token in enumerate(before) if token in ids]
    new = [position for position, token in enumerate(now) if token in ids]
    if len(old) != len(new):
        return None
    to = dict(zip(old, new, strict=True))
    tokens = torch.tensor([to[token] for token in found.boxes.tokens.tolist()], dtype=torch.int64)
    numbers = found.relation.numbers
    if numbers is not None:
        places = torch.arange(len(before), dtype=numbers.dtype)
        places[old] = torch.tensor(new, dtype=numbers.dtype)
        numbers = torch.where(numbers >= 0, places[numbers.clamp(min=0).long()], numbers)
    relation = replace(
        found.relation,
        length=len(now),
        followers=tuple(to[position] for position in followers),
        numbers=numbers,
    )
    return replace(found, boxes=replace(found.boxes, tokens=tokens), relation=relation)
