"""Intercepts the attention of models that call softmax themselves.

Every softmax is watched, and every product whose left operand it is: such a softmax holds attention
weights, the right operand the values. A router's softmax over experts multiplies nothing so. This
costs a Python call for every function of torch, so it is for models that need it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from torch import Tensor
from torch.overrides import TorchFunctionMode

OnProduct = Callable[[Tensor, Tensor, Tensor], None]
"""f(weights, values, their product): [..., queries, keys], [..., keys, width], [..., queries,
width]."""
_SOFTMAX: Final = frozenset({"softmax"})
_PRODUCTS: Final = frozenset({"matmul", "bmm", "__matmul__"})
_REMEMBERED: Final = 8


class SoftmaxWatch(TorchFunctionMode):
    """Calls a function with the weights, values and output of every attention of this thread."""

    def __init__(self, on_product: OnProduct) -> None:
        super().__init__()
        self._on_product = on_product
        self._weights: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the function, and note what it has made."""
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in _SOFTMAX and isinstance(output, Tensor) and output.ndim >= 3:
            self._weights = [*self._weights[1 - _REMEMBERED :], output]
        elif name in _PRODUCTS and len(args) == 2 and isinstance(output, Tensor):
            left, right = args
            if isinstance(right, Tensor) and any(_is(left, each) for each in self._weights):
                self._on_product(left, right, output)
        return output


def _is(value: Any, other: Tensor) -> bool:
    """Whether both are the same numbers in memory: dropout in eval mode may return a new object."""
    return (
        isinstance(value, Tensor)
        and value.data_ptr() == other.data_ptr()
        and value.numel() == other.numel()
        and value.shape[-1] == other.shape[-1]
    )
