"""The beginning of a sequence as a pass has left it: its keys and values, from which another pass
goes on, and its residual streams.

A beginning is only read. What goes on from it gets a copy of the cache, cut to the tokens that both
sequences have in common, or, in a batch, with the item's own beginning for every item.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from engine.anatomy.tail import RowStream
from engine.passes.model_state import ModelState, Place
from engine.passes.whole_streams import MOST_BYTES, WholeStreams, too_much

CACHE: Final = "past_key_values"
"""transformers' name for the keys and values of earlier tokens, as an argument and in outputs."""
IDS: Final = "input_ids"
MASK: Final = "attention_mask"
USE_CACHE: Final = "use_cache"
"""transformers' name for the argument that lets a model return them."""


@dataclass(frozen=True)
class Leaving:
    """What a pass leaves so that others can go on from it."""

    state: ModelState
    """Knows what is left on the model's modules."""
    past: bool = True
    """Whether the cache keeps what lies before its windows, without which it cannot be cut."""


@dataclass(frozen=True)
class Kept:
    """The residual streams and the model's own logits at the first positions of a sequence."""

    rows: tuple[RowStream, ...]
    """Rows 0..L, tensors [positions, *rest]."""
    logits: Tensor
    """[positions, vocabulary] in the model's own dtype."""

    @classmethod
    def of(cls, whole: WholeStreams) -> Kept | str:
        """What `whole` has kept of all positions of a pass that has ended; or why it has not."""
        if whole.refusal is not None or whole.logits is None:
            return whole.refusal or "the pass has kept no streams"
        return cls(whole.rows, whole.logits)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return self.logits.nbytes + sum(_bytes(row) for row in self.rows)

    def first(self, count: int) -> Kept:
        """Views of the first `count` positions."""
        rows = tuple(_cut(row, count) for row in self.rows)
        return Kept(rows, self.logits[:count])

    def followed_by(self, more: Kept) -> Kept:
        """Copies of these positions and of those that follow, together."""
        rows = tuple(one.followed_by(two) for one, two in zip(self.rows, more.rows, strict=True))
        return Kept(rows, torch.cat([self.logits, more.logits]))


@dataclass(frozen=True)
class Beginning:
    """What one pass has left of n sequences of T tokens; n is 1 but in sweeps."""

    sequences: Mapping[str, Tensor]
    """The inputs that run along the sequence, its ids among them: [n, T, ...], on the CPU."""
    cache: Any
    """The keys and values of all T tokens, as the model returned them."""
    state: Mapping[Place, Tensor | None]
    """What the pass left on the model's modules."""
    kept: Kept | str
    """The streams at all T positions; or why they are not kept."""
    least: int = 0
    """The cache cannot be cut to fewer tokens than this."""

    @property
    def length(self) -> int:
        """T."""
        return int(self.sequences[IDS].shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors that are kept."""
        streams = 0 if isinstance(self.kept, str) else self.kept.nbytes
        return bytes_in(self.cache) + streams

    def shared_with(self, sequences: Mapping[str, Tensor]) -> int:
        """How many tokens at the start are the same in another sequence, and can be gone on
        from; 0 if the cache cannot be cut to them."""
        if self.sequences.keys() != sequences.keys():
            return 0
        shared = min(
            same_at_start(mine[0], sequences[name][0]) for name, mine in self.sequences.items()
        )
        shared = min(shared, int(sequences[IDS].shape[1]) - FEWEST_NEW)
        return shared if shared >= max(self.least, 1) else 0

    def cut(self, count: int) -> Any:
        """A copy of the cache with the first `count` tokens."""
        cache = copy.deepcopy(self.cache)
        # The number of tokens to remove is given as a negative one. Without any to remove, caches
        # that have kept more than a layer needs drop that.
        if count < self.length or _records(cache):
            cache.crop(count - self.length)
        return cache

    def of_items(self, items: Sequence[int]) -> Any:
        """A copy of the cache with these of the n sequences, one after the other."""
        # Choosing copies every tensor, so that what it is chosen from need not be copied first.
        shared = {id(each): each for each in _tensors_in(self.cache)}
        cache = copy.deepcopy(self.cache, dict(shared))
        cache.reorder_cache(torch.tensor(items))
        # What it has no choice of is the same for all items, but may be written to in place.
        if any(each.numel() and id(each) in shared for each in _tensors_in(cache)):
            cache = copy.deepcopy(cache)
        return cache

    def state_of_items(self, items: Sequence[int]) -> dict[Place, Tensor | None]:
        """What the pass left on the model's modules for these of the n sequences."""
        count = len(next(iter(self.sequences.values())))
        places = torch.tensor(items)
        return {
            place: value[places.to(value.device)]
            if value is not None and value.ndim and len(value) == count
            else value
            for place, value in self.state.items()
        }


FEWEST_NEW: Final = 2
"""How many tokens are run at least: the last one, where the rows are read, and one more, since many
models treat a single token in a way of its own."""
Passed = Literal["ids", "sequences", "all"]
"""Which inputs a model that goes on from a cache is given: the new ids; what else runs along the
sequence for the new tokens, too; or all inputs, which some models need at every step. Never the
mask of the whole sequence: with one, some models count positions wrongly."""
PASSED: Final[tuple[Passed, ...]] = ("ids", "sequences", "all")
"""In the order in which they are tried: the fewest first."""


@dataclass(frozen=True)
class GoingOn:
    """How a pass goes on from a beginning."""

    beginning: Beginning
    count: int
    """How many of its tokens are taken from the cache."""
    passed: Passed = "ids"
    items: tuple[int, ...] | None = None
    """Which of the beginning's sequences every item of a batch goes on from, of which all tokens
    are taken; None for a batch of one."""

    def inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the model is given of the `inputs` of the whole sequence, with a copy of the
        cache."""
        along = self.beginning.sequences.keys() - {MASK}
        names = {"ids": {IDS}, "sequences": along, "all": inputs.keys() - {MASK}}[self.passed]
        given = {
            name: value[:, self.count :] if name in along else value
            for name, value in inputs.items()
            if name in names or name == USE_CACHE
        }
        beginning, items = self.beginning, self.items
        cache = beginning.cut(self.count) if items is None else beginning.of_items(items)
        return {**given, CACHE: cache}

    @property
    def state(self) -> Mapping[Place, Tensor | None]:
        """What has to be on the model's modules."""
        beginning, items = self.beginning, self.items
        return beginning.state if items is None else beginning.state_of_items(items)

    @property
    def streams(self) -> Kept | str:
        """The streams of these tokens; or why they are not kept."""
        kept = self.beginning.kept
        return kept if isinstance(kept, str) else kept.first(self.count)


def together(first: Kept | str, then: Kept | str) -> Kept | str:
    """The streams of a beginning and of what follows it, copied into one; or why they are not."""
    if isinstance(first, str) or isinstance(then, str):
        return first if isinstance(first, str) else then
    size = first.nbytes + then.nbytes
    if size > MOST_BYTES:
        return too_much(len(first.logits) + len(then.logits), size, MOST_BYTES)
    return first.followed_by(then)


def can_be_cut(cache: Any) -> bool:
    """Whether a cache can be cut to fewer tokens: recurrent layers hold the state after the last
    one alone."""
    return bool(getattr(cache, "is_croppable", False))


def least_after(cache: Any, count: int) -> int:
    """To how many tokens a cache can be cut that was cut to `count` and has grown again: layers
    with a window have dropped what lies before."""
    return count if _records(cache) else 0


def record_past(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Let the cache among the arguments of the first layer keep what lies before its windows."""
    for value in (*args, *kwargs.values()):
        activate = getattr(value, "activate_past_recording", None)
        if callable(activate):
            activate()


def is_cache(value: Any) -> bool:
    """Whether this is a cache that can be copied, cut and handed to the model again."""
    return callable(getattr(value, "crop", None)) and bool(getattr(value, "layers", None))


def bytes_in(value: Any, seen: set[int] | None = None) -> int:
    """Bytes of all tensors in a structure of plain objects."""
    return sum(each.nbytes for each in _tensors_in(value, seen))


def _tensors_in(value: Any, seen: set[int] | None = None) -> Iterator[Tensor]:
    """All tensors in a structure of plain objects, each once."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
        return
    if isinstance(value, Mapping):
        inner: Sequence[Any] = list(value.values())
    elif isinstance(value, (list, tuple)):
        inner = value
    else:
        inner = list(getattr(value, "__dict__", {}).values())
    for each in inner:
        yield from _tensors_in(each, seen)


def _records(cache: Any) -> bool:
    return any(getattr(layer, "record_past", False) for layer in cache.layers)


def same_at_start(one: Tensor, other: Tensor) -> int:
    """How many entries are the same, from the first one on, [n, ...] and [m, ...]."""
    count = min(len(one), len(other))
    if one.shape[1:] != other.shape[1:] or one.dtype != other.dtype:
        return 0
    differs = (one[:count] != other[:count]).reshape(count, -1).any(-1)
    where = differs.nonzero()
    return int(where[0]) if len(where) else count


def _bytes(row: RowStream) -> int:
    before = row.before_addition
    return (
        row.stream.nbytes
        + sum(each.nbytes for each in row.companions)
        + (0 if before is None else before.nbytes)
    )


def picked(row: RowStream, place: int) -> RowStream:
    """A row at one place: views [1, *rest]."""
    return row.mapped(lambda tensor: tensor[place : place + 1])


def _cut(row: RowStream, count: int) -> RowStream:
    return row.mapped(lambda tensor: tensor[:count])
