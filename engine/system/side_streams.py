"""Work beside the model's own on the same device: a side stream, and graphs launched whole.

A pass of one question is bound by launches: an accelerator waits for Python more than it computes.
What is launched on a side stream does not hold up the model's stream, and a graph of fifty kernels
costs one launch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch

Outputs = TypeVar("Outputs")
Mark = Any
"""A moment in the work that was given to the model's stream; None where there is nothing to wait
for."""


class Captured(NamedTuple, Generic[Outputs]):
    """A function that was captured as a graph."""

    replay: Callable[[], None]
    """Launches the graph: computes the function again from what its inputs hold now."""
    outputs: Outputs
    """What the function returned, in tensors that every replay overwrites."""


class SideStream(Protocol):
    """Where work is launched beside a model's own, from any thread."""

    @property
    def has_graphs(self) -> bool:
        """Whether a function can be captured as a graph here."""

    def mark(self, device: torch.device) -> Mark:
        """The present moment of the model's stream on `device`, as the calling thread has it."""

    def after(self, *marks: Mark) -> Any:
        """A context in which work is launched on the side stream, to run after these moments."""

    def capture(self, function: Callable[[], Outputs]) -> Captured[Outputs]:
        """Capture a function as a graph, where the device has graphs.

        The function must compute the same from the same tensors each time, and wait for nothing.
        This waits for the device, so it is not done while a pass runs. Raises whatever `function`
        does, and RuntimeError where it cannot be captured.
        """


class SameStream:
    """On a CPU, and on accelerators without side streams: the model's own stream."""

    has_graphs = False

    def mark(self, device: torch.device) -> None:
        """See `SideStream.mark`."""

    @contextmanager
    def after(self, *marks: Mark) -> Iterator[None]:
        """See `SideStream.after`."""
        yield

    def capture(self, function: Callable[[], Outputs]) -> Captured[Outputs]:
        """Raises RuntimeError: there are no graphs."""
        raise RuntimeError("this device has no graphs")


class CudaSideStream:
    """A CUDA stream, and CUDA graphs."""

    has_graphs = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        """Of all graphs: they run on one stream, and what one computes is copied before the next
        runs."""

    def mark(self, device: torch.device) -> Mark:
        """See `SideStream.mark`."""
        if device.type != "cuda":
            return None
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        return event

    @contextmanager
    def after(self, *marks: Mark) -> Iterator[None]:
        """See `SideStream.after`."""
        for mark in marks:
            if mark is not None:
                self._stream.wait_event(mark)
        with torch.cuda.stream(self._stream):
            yield

    def capture(self, function: Callable[[], Outputs]) -> Captured[Outputs]:
        """See `SideStream.capture`."""
        # Libraries allocate and choose kernels in their first calls, which cannot be captured.
        with torch.cuda.stream(self._stream):
            for _ in range(2):
                function()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(
                graph, self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                outputs = function()
        except BaseException:
            self._end_allocating()
            raise
        return Captured(graph.replay, outputs)

    def _end_allocating(self) -> None:
        """A capture that fails at its end leaves the allocator as if it went on, which then no
        longer gives back what it has cached when memory runs out."""
        end = getattr(torch._C, "_cuda_endAllocateToPool", None)
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        if end is not None:
            with suppress(RuntimeError):  # it had ended
                end(index, self._pool)


def side_stream_of(device: torch.device) -> SideStream:
    """A new side stream of a device."""
    return CudaSideStream(device) if device.type == "cuda" else SameStream()
