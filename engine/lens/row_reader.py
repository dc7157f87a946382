"""Reads the rows of one batch item: each group as it comes, and what is only known at the end.

Reading has two halves. What is launched may be given to a device by the thread of the pass, between
two layers: it waits for nothing. What has been launched is collected, once its numbers have come to
main memory, by the thread that reads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from msgspec import structs
from torch import Tensor

from engine.anatomy.logit_map import errors_and_limits
from engine.anatomy.parts import ModelParts, as_proof
from engine.anatomy.tail import RowStream
from engine.lens.as_records import Why, answer_readings, layer_readings, tracked_tokens
from engine.lens.group_readout import ReadsGroups
from engine.lens.kept import KeptStream, in_main_memory
from engine.lens.readout import Block, Numbers, read, root_mean_square
from engine.passes.forward import Project
from engine.prompts.token_texts import TextOf
from engine.records import LayerReading, Proof, Tracked, finite
from engine.system.transfers import Fetched, sent

Collect = Callable[[], object]
OnLogits = Callable[[Sequence[int], Tensor, Project], Collect | None]
"""f(row numbers, their logits [n, vocabulary], how this pass turns streams into logits) -> what to
call once the numbers of these rows have arrived."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of one item in addition to its rows."""

    track: Sequence[int] = ()
    """Tokens to follow in addition to the answer and every top-1; ids outside the vocabulary are
    ignored."""
    on_logits: OnLogits | None = None
    """Called with every group of rows as it is launched, perhaps in the thread of the pass: it must
    not wait for the device. Its third argument can project the rows of another pass too, unless
    this pass is read by replay."""


class ItemRows(NamedTuple):
    """All rows of one item, once its pass has ended, and the tokens followed through them."""

    rows: tuple[LayerReading, ...]
    tracked: tuple[Tracked, ...]
    proof: Proof


@dataclass(frozen=True)
class LaunchedGroup:
    """A group of rows whose numbers may still be computed."""

    rows: tuple[int, ...]
    block: Block
    fetched: Fetched
    """The block's values, and a flag for each of `doubtful`."""
    doubtful: tuple[int, ...]
    """Rows whose note depends on a flag: whether the model has added nothing to them."""
    collect: Collect | None


@dataclass(frozen=True)
class LaunchedEnd:
    """What is only known at the end, and may still be computed."""

    block: Block
    """Of all rows; what has been read of rows 0..L-1 before is read again."""
    fetched: Fetched
    """The block's values, the rms of row L, the ids of the followed tokens, and error and limit of
    the proof."""
    model_logits: Tensor
    collect: Collect | None


class RowReader:
    """Reads rows 0..L of one item.

    Two threads may use it: one launches, the other collects.
    """

    def __init__(
        self,
        parts: ModelParts,
        top_k: int,
        text_of: TextOf,
        read_group: ReadsGroups,
        project: Project,
        wanted: Wanted,
    ) -> None:
        """`project` is for `wanted.on_logits`."""
        self._parts = parts
        self._layers = len(parts.layers)
        self._top_k = top_k
        self._text_of = text_of
        self._read_group = read_group
        self._project = project
        self._wanted = wanted
        self._logits: dict[int, Tensor] = {}
        self._best: list[Tensor] = []
        """The ids of the best tokens of every group, int32 [rows]."""
        self._streams: dict[int, RowStream] = {}
        self._groups: list[tuple[int, ...]] = []
        self._read: dict[int, LayerReading] = {}
        self._model_logits: Tensor | None = None
        self._rows: tuple[LayerReading, ...] = ()

    def launch(self, rows: Sequence[int], reads: Sequence[RowStream]) -> LaunchedGroup:
        """Take rows through the tail."""
        logits, block = self._read_group(reads)
        flags: dict[int, Tensor] = {}
        for row, each in zip(rows, reads, strict=True):
            unchanged = self._parts.unchanged(row, each)
            if unchanged is not None:
                flags[row] = unchanged
        fetched = Fetched([block.values, *flags.values()])
        collect = None
        if self._wanted.on_logits is not None:
            collect = self._wanted.on_logits(rows, logits, self._project)
        self._logits.update(zip(rows, logits, strict=True))
        self._best.append(block.ids[:, 0])
        self._streams.update(zip(rows, reads, strict=True))
        self._groups.append(tuple(rows))
        return LaunchedGroup(tuple(rows), block, fetched, tuple(flags), collect)

    def collect(self, launched: LaunchedGroup) -> list[LayerReading]:
        """The readings of a group; waits for its numbers."""
        values, *flags = launched.fetched.wait()
        unchanged = {row: bool(flag) for row, flag in zip(launched.doubtful, flags, strict=True)}
        notes = [None if unchanged.get(row) else self._parts.notes[row] for row in launched.rows]
        numbers = launched.block._replace(values=values).numbers()
        found = layer_readings(launched.rows, numbers, self._text_of, notes)
        self._read.update(zip(launched.rows, found, strict=True))
        if launched.collect is not None:
            launched.collect()
        return found

    def __contains__(self, row: int) -> bool:
        return row in self._read

    def __getitem__(self, row: int) -> LayerReading:
        return self._read[row]

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Rows 0..L-1 in the groups in which they were read."""
        return tuple(sorted(self._groups))

    @property
    def streams(self) -> Mapping[int, RowStream]:
        """Row -> its stream [1, *rest], of the rows that have been launched."""
        return self._streams

    def launch_end(self, last: RowStream, own: Tensor, computed: Tensor) -> LaunchedEnd:
        """Read what is only known once rows 0..L-1 have been launched and the pass has ended.

        Row L is read from the model's own logits `own`, float32 [1, vocabulary]; `last` is its
        stream, of which the lens has `computed` the same logits, for the proof.
        """
        device = own.device
        row_logits = [self._logits[row].to(device) for row in range(self._layers)]
        logits = torch.stack([*row_logits, own[0]])  # [L + 1, vocabulary]
        # A token that was pinned for another model may not exist in this one.
        wanted = [token for token in self._wanted.track if 0 <= token < own.shape[-1]]
        pinned = [sent(torch.tensor(wanted, dtype=torch.int32), device)] if wanted else []
        best = [each.to(device) for each in self._best]
        # The first of the largest is the one of the lowest id.
        tokens = torch.cat([own.argmax(-1).to(torch.int32), *best, *pinned]).long()
        if device.type == "cpu":
            tokens = tokens.unique()  # elsewhere, it would wait for the device
        block = read(logits, self._top_k, tokens=tokens, reference=own.log_softmax(-1))
        rms = root_mean_square(last.stream)
        proof = errors_and_limits(self._parts.dtype, computed.to(device), own)
        collect = None
        if self._wanted.on_logits is not None:
            collect = self._wanted.on_logits([self._layers], own, self._project)
        self._streams[self._layers] = last
        fetched = Fetched([block.values, rms, tokens, proof])
        return LaunchedEnd(block, fetched, own, collect)

    def finish(self, launched: LaunchedEnd) -> ItemRows:
        """All rows, the tracked tokens and the proof; waits for their numbers."""
        values, rms, tokens, proof = launched.fetched.wait()
        last = launched.block._replace(values=values[-1:]).numbers()._replace(rms=rms)
        (reading,) = layer_readings([self._layers], last, self._text_of, [None])
        rows = [self._read[row] for row in range(self._layers)] + [reading]
        answer = reading.top[0].id if reading.top else None
        place: dict[int, int] = {}
        for index, token in enumerate(tokens.tolist()):
            place.setdefault(token, index)
        wanted = [token for token in self._wanted.track if token in place]
        why = _reasons(rows, answer, wanted)
        whole = launched.block._replace(values=values).numbers()
        followed = _of_tokens(whole, [place[token] for token in why])
        tracked = tracked_tokens(why, [followed], self._text_of)
        # The answer is the first token that is followed.
        answers = [None] * len(rows) if answer is None else answer_readings(followed)
        if launched.collect is not None:
            launched.collect()
        self._model_logits = launched.model_logits
        self._rows = tuple(
            structs.replace(row, answer=standing, kl_to_last=finite(divergence))
            for row, standing, divergence in zip(rows, answers, whole.kl.tolist(), strict=True)
        )
        ((error,), (limit,)) = proof.tolist()
        return ItemRows(self._rows, tracked, as_proof(error, limit, self._parts.tail.method))

    def forget_logits(self) -> None:
        """Free the logits of the rows, once the end has been launched for good."""
        self._logits.clear()

    def keep(self, model: Any, lock: threading.Lock, project: Project) -> KeptStream:
        """The kept stream, once the pass has ended and its proof has passed."""
        assert self._model_logits is not None
        return KeptStream(
            model=model,
            lock=lock,
            readings=self._rows,
            streams=in_main_memory(self._streams),
            groups=self.groups,
            model_logits=self._model_logits.cpu(),
            device=self._model_logits.device,
            project=project,
            text_of=self._text_of,
            replays=self._parts.tail.replays,
        )


def _of_tokens(numbers: Numbers, places: Sequence[int]) -> Numbers:
    """The same, of some of the followed tokens."""
    return numbers._replace(
        followed_logits=numbers.followed_logits[:, places],
        followed_probabilities=numbers.followed_probabilities[:, places],
        followed_ranks=numbers.followed_ranks[:, places],
    )


def _reasons(
    rows: Sequence[LayerReading], answer: int | None, wanted: Sequence[int]
) -> dict[int, Why]:
    """The tokens to track, and why: the answer, every row's top-1, and `wanted`, in this order."""
    why: dict[int, Why] = {} if answer is None else {answer: "answer"}
    for row in rows:
        if row.top:
            why.setdefault(row.top[0].id, "top-1")
    for token in wanted:
        why.setdefault(token, "user")
    return why
