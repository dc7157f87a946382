"""Stops an image processor before it makes a picture too large for memory.

Every processor computes sizes in its own way (shortest edge, padding to a square, tiles, numbers of
patches), and most know no limit: LLaVA-1.5's makes a picture of 336 x 1,680,000 pixels from one of
1 x 5000 and some hundred bytes. What they have in common are the few functions of Pillow, numpy and
torch by which a picture grows. While a processor runs, those look at the size that they are asked
for before they allocate it, so that no processor's arithmetic has to be known or repeated here.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from engine.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

ALWAYS_ALLOWED = 64_000_000
"""Pixels that a processor may make of any picture. Models receive up to 16 million; a line of text
that is 60 times as long as high, scaled to a height of 1024, has 63 million."""
TIMES_ALLOWED = 16
"""What it may make of a large picture, times its own pixels: a square around a panorama, say."""
NEVER_ALLOWED = 400_000_000
CHANNELS = 3

Shape = Callable[..., Sequence[int] | None]
"""From a function's arguments to the shape of what it makes; None where that is not known."""


@contextmanager
def bounded(image: Image | None) -> Iterator[None]:
    """While it lasts, this thread makes nothing larger of `image` than `most_pixels`; other threads
    are not affected. Raises BadInput, with both sizes, in place of the attempt."""
    if image is None:
        yield
        return
    outer, _here.bound = getattr(_here, "bound", None), _Bound(*image.size)
    try:
        with _watched():
            yield
    finally:
        _here.bound = outer


def most_pixels(width: int, height: int) -> int:
    """How many pixels a processor may make of a picture of this size."""
    return min(max(TIMES_ALLOWED * width * height, ALWAYS_ALLOWED), NEVER_ALLOWED)


class _Bound:
    """The limit for what is made of one picture."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._most = most_pixels(width, height)

    def check(self, shape: Sequence[int]) -> None:
        """Raise BadInput for an array of this shape; its channels may be anywhere in it."""
        if math.prod(shape) <= CHANNELS * self._most:
            return
        sides = sorted((int(side) for side in shape), reverse=True)[:2]
        raise BadInput(
            f"the picture's {self._width} x {self._height} pixels would become "
            f"{' x '.join(f'{side:,}' for side in sides)} in this model's processor, and the limit "
            f"is {self._most // 1_000_000} million pixels: crop it, or pad its short side"
        )


class _Here(threading.local):
    bound: _Bound | None = None


_here = _Here()
_lock = threading.Lock()
_watchers = 0
_originals: list[tuple[Any, str, Any]] = []


@contextmanager
def _watched() -> Iterator[None]:
    """Replace the functions by which pictures grow by ones that ask this thread's bound first."""
    global _watchers
    with _lock:
        if not _watchers:
            for owner, name, shape_of in _growing():
                original = getattr(owner, name)
                _originals.append((owner, name, original))
                setattr(owner, name, _checked(original, shape_of))
        _watchers += 1
    try:
        with _torch_watched():
            yield
    finally:
        with _lock:
            _watchers -= 1
            while not _watchers and _originals:
                setattr(*_originals.pop())


def _checked(function: Callable[..., Any], shape_of: Shape) -> Callable[..., Any]:
    @wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        bound = _here.bound
        if bound is not None:
            _check(bound, shape_of, args, options)
        return function(*args, **options)

    return checked


def _check(bound: _Bound, shape_of: Shape, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    try:
        shape = shape_of(*args, **options)
    except Exception:  # wrong arguments are for the function itself to refuse
        return
    if shape is not None:
        bound.check(shape)


def _growing() -> Iterator[tuple[Any, str, Shape]]:
    """The functions of Pillow and numpy by which a picture grows."""
    import numpy
    from PIL import Image

    yield Image.Image, "resize", lambda image, size, *_, **__: (*size, CHANNELS)
    yield Image, "new", lambda mode, size, *_, **__: (*size, CHANNELS)
    for name in ("empty", "zeros", "ones", "full"):
        yield numpy, name, lambda shape, *_, **__: _as_shape(shape)
    yield numpy, "pad", _padded_array


def _as_shape(shape: Any) -> tuple[int, ...]:
    return tuple(shape) if isinstance(shape, Sequence) else (int(shape),)


def _padded_array(array: Any, pad_width: Any, *_: Any, **__: Any) -> tuple[int, ...]:
    import numpy

    sides = numpy.shape(array)
    added = numpy.broadcast_to(pad_width, (len(sides), 2)).sum(axis=1)
    return tuple(int(side + more) for side, more in zip(sides, added, strict=True))


@contextmanager
def _torch_watched() -> Iterator[None]:
    """The same for torch, which has a way of its own to watch the calls of a thread."""
    import torch
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode

    shapes: dict[Any, Shape] = {
        functional.interpolate: _interpolated,
        functional.pad: _padded_tensor,
        **dict.fromkeys((torch.empty, torch.zeros, torch.ones, torch.full), _created),
        **dict.fromkeys(
            (torch.Tensor.new_empty, torch.Tensor.new_zeros, torch.Tensor.new_ones),
            lambda tensor, *size, **__: _created(*size),
        ),
        torch.Tensor.new_full: lambda tensor, size, *_, **__: _created(size),
    }

    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            options = kwargs or {}
            bound, shape_of = _here.bound, shapes.get(func)
            if bound is not None and shape_of is not None:
                _check(bound, shape_of, args, options)
            return func(*args, **options)

    with Watch():
        yield


def _created(*size: Any, **_: Any) -> tuple[int, ...]:
    first = size[0]
    return tuple(first) if isinstance(first, Sequence) else tuple(map(int, size))


def _interpolated(
    tensor: Any, size: Any = None, scale_factor: Any = None, *_: Any, **__: Any
) -> tuple[int, ...]:
    sides = tensor.shape[2:]
    if size is not None:
        made = [size] * len(sides) if isinstance(size, int) else list(size)
    else:
        factors = scale_factor if isinstance(scale_factor, Sequence) else [scale_factor] * 9
        made = [int(side * factor) for side, factor in zip(sides, factors, strict=False)]
    return (*tensor.shape[:2], *made)


def _padded_tensor(tensor: Any, pad: Any, *_: Any, **__: Any) -> tuple[int, ...]:
    sides = list(tensor.shape)
    for index in range(len(pad) // 2):
        sides[-1 - index] += pad[2 * index] + pad[2 * index + 1]
    return tuple(sides)
