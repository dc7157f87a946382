"""Reads a group of rows: through the tail, and to the block of their numbers.

On an accelerator the whole of it is captured as a graph, once for every size of group: launched one
by one, its fifty kernels hold up a pass that is bound by launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from engine.anatomy.columns import is_one_matrix
from engine.anatomy.explicit import ExplicitTail
from engine.anatomy.hooks import evaluating, is_hooked
from engine.anatomy.tail import RowStream, Tail
from engine.lens.readout import Block, read
from engine.passes.forward import Project
from engine.system.side_streams import Captured, SideStream


class ReadGroup(NamedTuple):
    """What has been launched for a group of rows; a device may still be computing it."""

    logits: Tensor
    """float32 [rows, vocabulary]"""
    block: Block


class ReadsGroups(Protocol):
    """Launches the readout of a group of rows at one position of one item."""

    def __call__(self, rows: Sequence[RowStream]) -> ReadGroup: ...


def group_reader(project: Project, top_k: int) -> ReadsGroups:
    """A readout that launches kernel after kernel."""

    def launch(rows: Sequence[RowStream]) -> ReadGroup:
        logits = project(rows)
        device = rows[0].stream.device
        streams = torch.cat([each.stream.to(device) for each in rows])  # [rows, *rest]
        return ReadGroup(logits, read(logits, top_k, streams))

    return launch


@dataclass(frozen=True)
class _Graph:
    """The readout of groups of one size."""

    streams: Tensor
    """[rows, *rest]: what a replay reads."""
    captured: Captured[ReadGroup]
    places: tuple[int, ...]
    """Where the tail's weights were when it was captured."""

    def fits(self, stream: Tensor) -> bool:
        """Whether a row's stream, [1, *rest], can be copied into the graph's input."""
        mine = self.streams
        return (stream.shape[1:], stream.dtype, stream.device) == (
            mine.shape[1:],
            mine.dtype,
            mine.device,
        )


class GroupGraphs:
    """The captured readouts of one tail. They are freed with this object."""

    def __init__(
        self, model: nn.Module, tail: Tail, side: SideStream, norm: bool, top_k: int
    ) -> None:
        self._model = model
        self._tail = tail
        self._modules = _modules(tail)
        self._side = side
        self._norm = norm
        self._top_k = top_k
        self._graphs: dict[int, _Graph] = {}
        self.are_possible = side.has_graphs and _can_be_captured(tail)
        """Whether this tail can have graphs, as far as is known: one that failed shows that not."""

    def prepare(self, sizes: Sequence[int], like: RowStream) -> None:
        """Capture the readout of groups of these sizes, of streams like this one [1, *rest]; of
        others nothing is kept. Not where a module of the tail has hooks: a graph does not call
        them.

        Must not be called while a pass of the model runs. A graph whose numbers are not those of
        the plain launches to the bit is not used, nor any other of this tail after it.
        """
        if not self.are_possible or like.stream.device != self._tail.device:
            return
        if any(map(is_hooked, self._modules)):
            return
        try:
            places = _places(self._modules)
            self._graphs = {
                size: known
                for size, known in self._graphs.items()
                if size in sizes and known.places == places and known.fits(like.stream)
            }
            for size in sizes:
                if size not in self._graphs:
                    self._graphs[size] = self._captured(size, like.stream, places)
        except Exception:  # whatever a module or a driver raises: plain launches always work
            self.are_possible = False
            self._graphs.clear()

    def reader(self, plain: ReadsGroups) -> ReadsGroups:
        """A readout that replays the graph of a group's size, and launches `plain` where there is
        none, or where a module of the tail has hooks."""
        if not self.are_possible or any(map(is_hooked, self._modules)):
            return plain
        places = _places(self._modules)

        def launch(rows: Sequence[RowStream]) -> ReadGroup:
            graph = self._graphs.get(len(rows))
            if graph is None or graph.places != places:
                return plain(rows)
            if not all(graph.fits(row.stream) for row in rows):
                return plain(rows)
            torch.cat([row.stream for row in rows], out=graph.streams)
            graph.captured.replay()
            logits, block = graph.captured.outputs
            # The next replay overwrites what this one has computed.
            return ReadGroup(logits.clone(), block._replace(values=block.values.clone()))

        return launch

    def _captured(self, size: int, like: Tensor, places: tuple[int, ...]) -> _Graph:
        device = like.device
        noise = torch.randn(size, *like.shape[1:], generator=torch.Generator().manual_seed(0))
        # On the side stream, which writes to it and may still do so when it is freed.
        with self._side.after(self._side.mark(device)):
            streams = noise.to(device, like.dtype)

        def compute() -> ReadGroup:
            logits = self._tail.logits([RowStream(streams)], self._norm)
            return ReadGroup(logits, read(logits, self._top_k, streams))

        with evaluating(self._model):
            captured = self._side.capture(compute)
            with self._side.after(self._side.mark(device)):
                expected = compute()
                captured.replay()
                found = captured.outputs
                same = _same_bits(found.logits, expected.logits) and _same_bits(
                    found.block.values, expected.block.values
                )
        if not same:
            raise RuntimeError("the graph computes other numbers than the plain launches")
        return _Graph(streams, captured, places)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.view(torch.int32), other.view(torch.int32))


def _can_be_captured(tail: Tail) -> bool:
    """Whether a tail computes the same from the same tensors, so that a graph of it stays true: it
    consists of modules without others inside them, and of a head that is a matrix."""
    return (
        isinstance(tail, ExplicitTail)
        and not tail.companion_slots
        and is_one_matrix(tail.head)
        and not any(list(step.module.children()) for step in tail.steps)
    )


def _modules(tail: Tail) -> tuple[nn.Module, ...]:
    """The modules that a tail calls, as far as they are known."""
    if not isinstance(tail, ExplicitTail):
        return ()
    return (*(step.module for step in tail.steps), tail.head)


def _places(modules: Sequence[nn.Module]) -> tuple[int, ...]:
    """Where the weights of modules are: a graph reads from there, whatever they hold by then."""
    return tuple(
        each.data_ptr() for module in modules for each in (*module.parameters(), *module.buffers())
    )
