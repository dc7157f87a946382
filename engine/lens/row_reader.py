"""Reads the rows of one batch item: each as it comes, and what is only known at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from msgspec import structs
from torch import Tensor

from engine.anatomy.tail import RowStream
from engine.lens.as_records import Why, answer_readings, layer_readings, tracked_tokens
from engine.lens.kept import KeptStream, in_main_memory
from engine.lens.readout import read
from engine.passes.forward import Project
from engine.prompts.token_texts import TextOf
from engine.records import LayerReading, Tracked, finite

OnLogits = Callable[[Sequence[int], Tensor, Project], object]
"""f(row numbers, their logits [n, vocabulary], how this pass turns streams into logits)."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of one item in addition to its rows."""

    track: Sequence[int] = ()
    """Tokens to follow in addition to the answer and every top-1; ids outside the vocabulary are
    ignored."""
    on_logits: OnLogits | None = None
    """Called with every group of rows as it is read. Its third argument can project the rows of
    another pass too, unless this pass is read by replay."""


class ItemRows(NamedTuple):
    """All rows of one item, once its pass has ended, and the tokens followed through them."""

    rows: tuple[LayerReading, ...]
    tracked: tuple[Tracked, ...]


class RowReader:
    """Reads rows 0..L of one item.

    Two threads may use it; they must hold a common lock to call what `read` returns, and to look
    up rows.
    """

    def __init__(
        self,
        layers: int,
        top_k: int,
        text_of: TextOf,
        project: Project,
        note: Callable[[int, RowStream], str | None],
        wanted: Wanted,
    ) -> None:
        self._layers = layers
        self._top_k = top_k
        self._text_of = text_of
        self._project = project
        self._note = note
        self._wanted = wanted
        self._read: dict[int, LayerReading] = {}
        self._logits: dict[int, Tensor] = {}
        self._streams: dict[int, RowStream] = {}
        self._groups: list[tuple[int, ...]] = []
        self._model_logits: Tensor | None = None
        self._rows: tuple[LayerReading, ...] = ()

    def read(self, rows: Sequence[int], reads: Sequence[RowStream]) -> Callable[[], None]:
        """Take rows through the tail, and return a quick function that adds their readings."""
        logits = self._project(reads)
        device = reads[0].stream.device
        streams = torch.cat([each.stream.to(device) for each in reads])  # [rows, *rest]
        block = read(logits, self._top_k, streams)
        notes = [self._note(row, each) for row, each in zip(rows, reads, strict=True)]
        found = layer_readings(rows, block.numbers(), self._text_of, notes)
        if self._wanted.on_logits is not None:
            self._wanted.on_logits(rows, logits, self._project)

        def add() -> None:
            for row, stream, reading, row_logits in zip(rows, reads, found, logits, strict=True):
                self._read[row] = reading
                self._logits[row] = row_logits
                self._streams[row] = stream
            self._groups.append(tuple(rows))

        return add

    def __contains__(self, row: int) -> bool:
        return row in self._read

    def __getitem__(self, row: int) -> LayerReading:
        return self._read[row]

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Rows 0..L-1 in the groups in which they were read."""
        return tuple(sorted(self._groups))

    def finish(self, last: RowStream, model_logits: Tensor) -> ItemRows:
        """All rows and the tracked tokens, once the pass has ended. To be called once.

        Row L is read from the model's own logits, float32 [1, vocabulary]; `last` is its stream.
        """
        numbers = read(model_logits, self._top_k, last.stream).numbers()
        (reading,) = layer_readings([self._layers], numbers, self._text_of, [None])
        logits = torch.stack(
            [self._logits[row].to(model_logits.device) for row in range(self._layers)]
            + [model_logits[0]]
        )
        self._logits.clear()
        rows = [self._read[row] for row in range(self._layers)] + [reading]
        answer = reading.top[0].id if reading.top else None
        # A token that was pinned for another model may not exist in this one.
        wanted = [token for token in self._wanted.track if 0 <= token < logits.shape[-1]]
        why = _reasons(rows, answer, wanted)
        whole = read(logits, followed=list(why), reference=model_logits.log_softmax(-1)).numbers()
        tracked = tracked_tokens(why, [whole], self._text_of)
        # The answer is the first token that is followed.
        answers = [None] * len(rows) if answer is None else answer_readings(whole)
        if self._wanted.on_logits is not None:
            self._wanted.on_logits([self._layers], model_logits, self._project)
        self._model_logits = model_logits
        self._streams[self._layers] = last
        self._rows = tuple(
            structs.replace(row, answer=place, kl_to_last=finite(divergence))
            for row, place, divergence in zip(rows, answers, whole.kl.tolist(), strict=True)
        )
        return ItemRows(self._rows, tracked)

    def keep(self, model: Any, lock: threading.Lock, project: Project, replays: bool) -> KeptStream:
        """The kept stream, once the pass has ended and its proof has passed."""
        assert self._model_logits is not None
        return KeptStream(
            model=model,
            lock=lock,
            readings=self._rows,
            streams={row: in_main_memory(stream) for row, stream in self._streams.items()},
            groups=self.groups,
            model_logits=self._model_logits.cpu(),
            device=self._model_logits.device,
            project=project,
            text_of=self._text_of,
            replays=replays,
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
