"""Prompts of one picture share its vision pass.

Modules that end before the first layer answer from memory where they are asked the very same
again: the vision part for the same pixels, but not the embedding for another prompt. Nothing is
known of what a module is for; what it was called with decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import answering, shallow_copy


@dataclass(frozen=True)
class _Answered:
    """One call and its answer."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    versions: tuple[int, ...]
    """Of the output's tensors: what has been changed in place since is no answer any more."""


class SharedVision:
    """The answers of modules in the last pass that was run within `remembering`."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        """`modules` are those of the outermost calls that end before the first layer."""
        self._modules = tuple(modules)
        self._memory: dict[nn.Module, list[_Answered]] = {}
        self._answered: set[nn.Module] = set()
        self.hits = 0
        """Calls of the last pass that were answered from memory."""

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """A pass that answers from the memory of the last one, and is remembered in its stead."""
        fresh: dict[nn.Module, list[_Answered]] = {}
        self.hits = 0
        answers = {module: self._answering(module, fresh) for module in self._modules}
        with answering(answers):
            yield
        self._memory = fresh

    def forget(self) -> None:
        """Give the memory back."""
        self._memory = {}

    def keep_only_useful(self) -> None:
        """Watch from now on only the modules that have answered from memory."""
        self._modules = tuple(module for module in self._modules if module in self._answered)
        self._memory = {
            module: known for module, known in self._memory.items() if module in self._answered
        }

    def _answering(
        self, module: nn.Module, fresh: dict[nn.Module, list[_Answered]]
    ) -> Callable[..., Any]:
        own = module.forward

        def answer(*args: Any, **kwargs: Any) -> Any:
            for known in self._memory.get(module, ()):
                if (
                    known.versions == _versions(known.output)
                    and same(known.args, args)
                    and same(known.kwargs, kwargs)
                ):
                    self.hits += 1
                    self._answered.add(module)
                    fresh.setdefault(module, []).append(known)
                    return shallow_copy(known.output)
            output = own(*args, **kwargs)
            if _is_plain((args, kwargs)):
                found = _Answered(args, kwargs, output, _versions(output))
                fresh.setdefault(module, []).append(found)
            return shallow_copy(output)

        return answer


def same(one: Any, other: Any) -> bool:
    """Whether two calls' arguments are the same: tensors and plain values by value, all else by
    identity."""
    if one is other:
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        return alike and torch.equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, (bool, int, float, str)) and type(one) is type(other) and one == other


def _is_plain(value: Any) -> bool:
    """Whether all of it can be compared; a cache, say, cannot."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    simple = (Tensor, bool, int, float, str, torch.dtype, torch.device)
    return value is None or isinstance(value, simple)


def _versions(output: Any) -> tuple[int, ...]:
    if isinstance(output, Tensor):
        return (output._version,)
    inner: Sequence[Any] = ()
    if isinstance(output, Mapping):
        inner = list(output.values())
    elif isinstance(output, (list, tuple)):
        inner = output
    return tuple(version for item in inner for version in _versions(item))
