"""Batches that go on from the keys and values of what their questions have in common.

All questions about a picture begin with the same tokens: a template and the picture. One pass over
these beginnings, a batch of one for each picture, leaves their keys and values; every batch of
questions gets a copy of its pictures' and runs only what follows.

Beginnings of one pass have one length, so that nothing of them is padding, and what follows needs
no mask: a mask over the whole sequence makes some models count positions wrongly. What follows is
padded on the right all the same, since a causal model never sees what comes after the token that
is read.

Nothing is known of any family. For each kind of inputs (their names; whether pictures are asked
more than once in a batch; whether there is padding) the first batch also runs as a whole, and all
rows of all items must agree; so does one of every `PROVED_AGAIN` after that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from engine.errors import typed_line
from engine.lens.batched import BatchedPass
from engine.lens.input_kinds import kind_of
from engine.lens.lens import Lens
from engine.lens.reuse_kinds import (
    ENCODED,
    FEATURES_FIRST,
    NO_CACHE,
    NO_IDS,
    PROVED_AGAIN,
    REPLAYED,
    Kind,
    is_encoder_decoder,
    sequences_along,
    told,
    windows_in,
)
from engine.passes.prefix_cache import IDS, MASK, PASSED, Beginning, GoingOn, Passed
from engine.records import MOST_SHORT
from engine.system.memory import is_out_of_memory

WAYS: Final[tuple[Passed, ...]] = tuple(each for each in PASSED if each != "all")
"""What a batch is given that goes on. A model that needs all inputs at every step would get the
pixels of all items once more."""
MOST_TRIES: Final = 3
"""How many beginnings of one kind may fail before no more are tried: a picture may be at fault."""
OTHER_TOKENS: Final = "its tokens are not those that were read ahead"
NOT_KEPT: Final = "the rows of a batch are read at the last token alone"


class _Pattern(NamedTuple):
    """What tells batches of one kind apart."""

    kind: frozenset[str]
    repeats: bool
    """Whether several items go on from one beginning."""
    pads: bool
    """Whether items have different lengths."""


class BatchReuse:
    """What has been found out about batches of one model's inputs."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self._refused: dict[frozenset[str], str] = {}
        """By the names of inputs, why their beginnings are not kept."""
        self._failed: dict[frozenset[str], int] = {}
        """How many of them have failed."""
        self._kinds: dict[_Pattern, Kind] = {}
        self.gap = 0.0
        """The largest difference of any row to a whole pass that a proof has found and allowed."""

    def refusal(self, inputs: Mapping[str, Any], repeats: bool) -> str | None:
        """Why a batch of such inputs does not go on, several items from one beginning if it
        `repeats`; None if it does, or if that has not been tried. Runs nothing."""
        kind = self._kinds.get(_pattern(inputs, repeats))
        refused = None if kind is None else kind.refused.get("prefix")
        return self._refused.get(kind_of(inputs), refused)

    def _unkept(self, inputs: Mapping[str, Any]) -> str | None:
        """Why the beginnings of inputs of these names are not kept."""
        kind = kind_of(inputs)
        if kind not in self._refused:
            ids = inputs.get(IDS)
            if is_encoder_decoder(self._lens.model):
                self._refused[kind] = ENCODED
            elif self._lens.learn(inputs).tail.replays:
                self._refused[kind] = REPLAYED
            elif not isinstance(ids, Tensor) or ids.ndim != 2:
                self._refused[kind] = NO_IDS
        return self._refused.get(kind)

    def begin(self, inputs: Mapping[str, Any], count: int) -> Beginning | str:
        """What a pass over the first `count` tokens leaves, of a batch of one item for each picture
        of which none has padding there; or why it leaves nothing. Raises where memory runs out."""
        kind = kind_of(inputs)
        refused = self._unkept(inputs)
        if refused is not None:
            return refused
        along = sequences_along(inputs, inputs[IDS])
        first = {name: v[:, :count] if name in along else v for name, v in inputs.items()}
        try:
            with self._lens.reuse.lock:
                forward = self._lens.batch_forward(first, leaves=True)
                forward.run(lambda row, read: None)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return self._has_failed(kind, typed_line(error))
        if forward.cache is None or forward.length != count:
            why = NO_CACHE if forward.cache is None else FEATURES_FIRST
            return self._refused.setdefault(kind, why)
        sequences = {name: first[name].cpu() for name in along}
        return Beginning(sequences, forward.cache, forward.left, NOT_KEPT, least=count)

    def goes_on(
        self,
        inputs: Mapping[str, Any],
        beginning: Beginning,
        items: Sequence[int],
        whole: Callable[[], Mapping[str, Any]],
    ) -> GoingOn | str:
        """How a batch of `inputs` goes on from these of the beginnings; or why it does not. All
        tokens are among the inputs; what else a pass over them all needs is only in `whole()`,
        which is called where going on has to be proved. Whose tokens are others than those of its
        beginning does not go on, which says nothing about others of the kind. Raises where memory
        runs out, and what a whole pass raises."""
        pattern = _pattern(inputs, len({*items}) < len(items))
        kind = self._kinds.get(pattern)
        if kind is None:
            windows = frozenset(windows_in(getattr(self._lens.model, "config", None)))
            kind = self._kinds.setdefault(pattern, Kind(windows=windows))
        if "prefix" in kind.refused:
            return kind.refused["prefix"]
        if not _begin_with(inputs, beginning, items):
            return OTHER_TOKENS
        going_on = GoingOn(beginning, beginning.length, kind.passed, tuple(items))
        length = int(inputs[IDS].shape[1])
        new = length - beginning.length
        kind.uses += 1
        # A window that is set at the beginning's end may leave few tokens as they are, and change
        # more.
        was_proved = kind.fewest_new <= new <= kind.most_new
        if not (was_proved and kind.covers("prefix", length, new)) or kind.uses >= PROVED_AGAIN:
            why = self._prove(inputs, whole(), going_on, kind)
            if why is not None:
                return self._refuse(kind, why)
            kind.proved.add("prefix")
            kind.proved_with(length, new)
            kind.uses = 0
        return replace(going_on, passed=kind.passed)

    def refuse(self, inputs: Mapping[str, Any], items: Sequence[int], why: str) -> str:
        """Let no batch like this one go on any more, which did and has failed. Returns why."""
        kind = self._kinds[_pattern(inputs, len({*items}) < len(items))]
        return self._refuse(kind, why)

    def _refuse(self, kind: Kind, why: str) -> str:
        kind.refused["prefix"] = why[:MOST_SHORT]
        kind.proved.discard("prefix")
        return kind.refused["prefix"]

    def _prove(
        self, inputs: Mapping[str, Any], whole: Mapping[str, Any], first: GoingOn, kind: Kind
    ) -> str | None:
        """Why rows are not those of a pass over the whole; None if they are. Raises where memory
        runs out, and what that pass raises."""
        why = ""
        with self._lens.reuse.lock:
            plain = BatchedPass(self._lens.batch_forward(whole)).run()
            for passed in (kind.passed,) if "prefix" in kind.proved else WAYS:
                going_on = replace(first, passed=passed)
                try:
                    forward = self._lens.batch_forward(inputs, going_on=going_on)
                    gap = BatchedPass(forward).run().gap_to(plain)
                except Exception as error:
                    if is_out_of_memory(error):
                        raise
                    why = why or f"the model does not go on from its cache: {typed_line(error)}"
                    continue
                if gap.is_allowed:
                    kind.passed = passed
                    self.gap = max(self.gap, gap.largest)
                    return None
                why = told(gap)
        return why

    def _has_failed(self, kind: frozenset[str], why: str) -> str:
        self._failed[kind] = self._failed.get(kind, 0) + 1
        if self._failed[kind] >= MOST_TRIES:
            self._refused[kind] = why[:MOST_SHORT]
        return why[:MOST_SHORT]


def _begin_with(inputs: Mapping[str, Any], beginning: Beginning, items: Sequence[int]) -> bool:
    """Whether every item has the tokens of its beginning: its place alone is no proof of that."""
    for name, first in beginning.sequences.items():
        mine = inputs.get(name)
        if not isinstance(mine, Tensor):
            return False
        if not torch.equal(mine[:, : beginning.length].cpu(), first[torch.tensor(items)]):
            return False
    return True


def _pattern(inputs: Mapping[str, Any], repeats: bool) -> _Pattern:
    mask = inputs.get(MASK)
    pads = isinstance(mask, Tensor) and not bool((mask != 0).all())
    return _Pattern(kind_of(inputs), repeats, pads)
