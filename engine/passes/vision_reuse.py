"""Reuses the output of the vision encoder for further prompts about the same picture.

Modules that return before the first layer is entered are not run again if they are called with the
same arguments as in the last pass: the vision encoder with the same pixels, but not the embedding
with another prompt. What a module is for is not known; only its arguments decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.anatomy.hooks import answering, shallow_copy
from engine.passes.edits import Active
from engine.passes.prefix_cache import bytes_in


@dataclass(frozen=True)
class _Known:
    """One call and its output."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    """A copy where the output's tensors have no versions, made in inference mode."""
    versions: tuple[int, ...]
    """Version counters of the output's tensors: once changed in place, it cannot be reused."""

    @property
    def answer(self) -> Any:
        """The output for another pass, whose code may change it."""
        return _copied(self.output) if _has_inference(self.output) else shallow_copy(self.output)


class VisionCache:
    """The outputs of modules in the last pass that ran within `remembering`."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        """`modules` are those whose outermost calls return before the first layer is entered."""
        self._modules = tuple(modules)
        self._memory: dict[nn.Module, list[_Known]] = {}
        self._hit: set[nn.Module] = set()
        self.hits = 0
        """How many calls of the last pass were answered from memory."""

    @property
    def nbytes(self) -> int:
        """Bytes of the outputs in memory, and of the arguments that they are the answers to."""
        seen: set[int] = set()
        return sum(
            bytes_in([known.args, known.kwargs, known.output], seen)
            for all_known in self._memory.values()
            for known in all_known
        )

    def attached(self, active: Active) -> AbstractContextManager[None]:
        """See `Attached.attached`: as `remembering`."""
        return self.remembering()

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """A context for one pass: it reuses outputs of the last pass, and replaces its memory."""
        fresh: dict[nn.Module, list[_Known]] = {}
        self.hits = 0
        answers = {module: self._answering(module, fresh) for module in self._modules}
        with answering(answers):
            yield
        self._memory = fresh

    def forget(self) -> None:
        """Free the remembered outputs."""
        self._memory = {}

    def keep_only_useful(self) -> None:
        """From now on, watch only the modules whose outputs have been reused at least once."""
        self._modules = tuple(module for module in self._modules if module in self._hit)
        self._memory = {
            module: known for module, known in self._memory.items() if module in self._hit
        }

    def _answering(
        self, module: nn.Module, fresh: dict[nn.Module, list[_Known]]
    ) -> Callable[..., Any]:
        forward = module.forward

        def answer(*args: Any, **kwargs: Any) -> Any:
            for known in self._memory.get(module, ()):
                if (
                    known.versions == _versions(known.output)
                    and same(known.args, args)
                    and same(known.kwargs, kwargs)
                ):
                    self.hits += 1
                    self._hit.add(module)
                    fresh.setdefault(module, []).append(known)
                    return known.answer
            output = forward(*args, **kwargs)
            if _is_comparable((args, kwargs)):
                kept = _copied(output) if _has_inference(output) else output
                found = _Known(args, kwargs, kept, _versions(kept))
                fresh.setdefault(module, []).append(found)
            return shallow_copy(output)

        return answer


def same(one: Any, other: Any) -> bool:
    """Whether the arguments of two calls are the same: tensors and plain values are compared by
    value, everything else by identity."""
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


def _is_comparable(value: Any) -> bool:
    """Whether `same` compares all of `value` by value; a KV cache, for one, it cannot."""
    if isinstance(value, Mapping):
        return all(map(_is_comparable, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_comparable, value))
    simple = (Tensor, bool, int, float, str, torch.dtype, torch.device)
    return value is None or isinstance(value, simple)


def _versions(output: Any) -> tuple[int, ...]:
    return tuple(each._version for each in _tensors(output) if not each.is_inference())


def _has_inference(output: Any) -> bool:
    return any(each.is_inference() for each in _tensors(output))


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
        return
    inner: Sequence[Any] = ()
    if isinstance(output, Mapping):
        inner = list(output.values())
    elif isinstance(output, (list, tuple)):
        inner = output
    for item in inner:
        yield from _tensors(item)


def _copied(output: Any) -> Any:
    """The output with copies of its tensors."""
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, Mapping):
        return type(output)(**{key: _copied(value) for key, value in output.items()})
    if isinstance(output, (list, tuple)):
        copies = [_copied(item) for item in output]
        return type(output)(*copies) if hasattr(output, "_fields") else type(output)(copies)
    return output
