"""The passes of a generation, each read at its last position: first the pass over the question,
then one for each token."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import hooked
from engine.anatomy.parts import ModelParts
from engine.anatomy.tail import PassMemory, RowStream
from engine.passes.ending import end_if
from engine.passes.forward import Forward


class Stepping(Forward):
    """The passes that `generate` runs, whatever it calls the model with.

    Somebody else runs them, and says when one has ended by taking its rows.
    """

    def __init__(self, model: nn.Module, parts: ModelParts, inputs: Mapping[str, Any]) -> None:
        """`inputs` are those of a pass over the question alone, without a KV cache."""
        super().__init__(model, parts, inputs, [-1])
        # What `generate` reads is the last position of a batch of one, which is never padded.
        self._attention = None
        self._question: PassMemory | None = None
        """Of a plain pass over the question, for replays."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A context in which the passes of the calling thread are watched.

        Each raises Cancelled within one layer after `cancelled` is set. A model that is read by
        replay runs a plain pass over the question first: `generate` may call it with other inputs.
        """
        if self.replays:
            plain = Forward(self.model, self.parts, self.inputs, [-1])
            plain.cancelled = self.cancelled
            plain.run(lambda row, read: None)
            self._question = plain.memory
        self._thread = threading.get_ident()
        self._on_row, self._on_tail = self._keep, lambda: None
        self._begin()
        with hooked(*self._watches()):
            yield

    def take(self) -> tuple[RowStream, ...]:
        """Rows 0..L of the pass that has just ended, [1, *rest] each; the next one may begin.

        Raises Cancelled if it was cancelled after its last layer.
        """
        end_if(self.cancelled)
        if self._last is None:
            raise RuntimeError("the pass never reached the layers that were found before")
        while self._next_row <= len(self._layers):
            self._hand_out(self._next_row, self._last, self._whole_last)
        rows = tuple(self._rows)
        self._begin()
        return rows

    def project(self, rows: Sequence[RowStream], norm: bool = True) -> Tensor:
        """See `Forward.project`; to be called between two passes.

        A replay repeats the pass over the question, with these rows in the places of its positions:
        what follows the layers treats each by itself.
        """
        with self.reading():
            return self._tail.logits(rows, norm, self._question)

    def _index(self, rows: Tensor) -> Tensor:
        # At once the last position only, where the model goes on with that alone.
        return rows[0, -1:].clone()

    def _begin(self) -> None:
        self._next_row = 0
        self._rows: list[RowStream] = []
        self._last, self._whole_last = None, RowStream(torch.empty(0))
        self._output_before = None
        self.absolute_positions, self._position = None, None
        self._memory = PassMemory({})

    def _keep(self, row: int, read: RowStream) -> None:
        self._rows.append(read)
