"""Intercepts the attention of models that call torch's functions themselves.

Every softmax is watched, and every product whose left operand it is: such a softmax holds attention
weights, the right operand the values. A router's softmax over experts multiplies nothing so. Calls
of `scaled_dot_product_attention` are seen as they are. This costs a Python call for every function
of torch, so it is for models that need it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from torch import Tensor
from torch.overrides import TorchFunctionMode

OnProduct = Callable[[Tensor, Tensor, Tensor], None]
"""f(weights, values, their product): [..., queries, keys], [..., keys, width], [..., queries,
width]."""
OnAttention = Callable[[Tensor, Tensor, Tensor, Any, "dict[str, Any]", Tensor], None]
"""f(query, key, value, mask, settings, output) of a call of `scaled_dot_product_attention`; the
output is [..., queries, width]."""
_SOFTMAX: Final = frozenset({"softmax"})
_PRODUCTS: Final = frozenset({"matmul", "bmm", "__matmul__"})
_ARGUMENTS: Final = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_REMEMBERED: Final = 8


class SoftmaxWatch(TorchFunctionMode):
    """Calls a function with the weights, values and output of every attention of this thread."""

    def __init__(self, on_product: OnProduct, on_attention: OnAttention) -> None:
        super().__init__()
        self._on_product = on_product
        self._on_attention = on_attention
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
        elif name == "scaled_dot_product_attention":
            given = dict(zip(_ARGUMENTS, args, strict=False)) | (kwargs or {})
            query, key, value = (given.pop(each) for each in _ARGUMENTS[:3])
            self._on_attention(query, key, value, given.pop("attn_mask", None), given, output)
        return output


def _is(value: Any, other: Tensor) -> bool:
    """Whether both are the same numbers in memory: dropout in eval mode may return a new object."""
    return (
        isinstance(value, Tensor)
        and value.data_ptr() == other.data_ptr()
        and value.numel() == other.numel()
        and value.shape[-1] == other.shape[-1]
    )
