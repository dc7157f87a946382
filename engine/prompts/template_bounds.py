"""A chat template is a program that comes with the checkpoint: it gets little time and room.

transformers runs it in Jinja's sandbox, which keeps it from files and attributes, but not from
loops within loops, from powers, or from texts of gigabytes.
"""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from engine.errors import BadInput

MOST_SECONDS: Final = 3.0
MOST_CHARACTERS: Final = 16 * 2**20
"""Of a template, and of what it writes."""
MOST_BYTES: Final = 512 * 2**20
"""By how much the process may grow while a template runs."""
_MOST_BITS: Final = 4096
"""Of a whole number that a template computes."""
_LARGEST_ARGUMENT: Final = 4 * 2**20
"""Of the whole numbers that a filter or a method is given: widths, counts."""
_LOOK_EVERY: Final = 16
"""Lines of the template's program between two looks at the memory."""
_WIDTH: Final = re.compile(r"%[^%a-zA-Z]*(\d{6}|\*)")


class TemplateTooExpensive(BadInput):
    """A chat template that takes too long, or writes or computes too much."""


@contextmanager
def bounded_template(owner: Any) -> Iterator[None]:
    """Let transformers render a chat template of `owner`, a tokenizer or processor, for a bounded
    time.

    Every line of Python that runs in this thread meanwhile is watched, which works in any thread
    and leaves nothing running. Raises TemplateTooExpensive.
    """
    template = getattr(owner, "chat_template", None)
    if isinstance(template, str) and len(template) > MOST_CHARACTERS:
        raise TemplateTooExpensive(
            f"the model's chat template has {len(template):,} characters; the limit is "
            f"{MOST_CHARACTERS:,}"
        )
    _watch_operators()
    before = sys.gettrace()
    sys.settrace(_watcher())
    try:
        yield
    finally:
        sys.settrace(before)


def refuse_long(text: str) -> str:
    """A rendered template. Raises TemplateTooExpensive where it is too long to be tokenised."""
    if len(text) > MOST_CHARACTERS:
        raise TemplateTooExpensive(
            f"the model's chat template writes {len(text):,} characters; the limit is "
            f"{MOST_CHARACTERS:,}"
        )
    return text


def _watcher() -> Callable[[FrameType, str, Any], Any]:
    """A trace function that ends the program once it has run too long or grown too much."""
    import psutil

    process = psutil.Process()
    began, size, lines = time.monotonic(), process.memory_info().rss, 0

    def watch(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if time.monotonic() - began > MOST_SECONDS:
            raise TemplateTooExpensive(
                f"the model's chat template runs for more than {MOST_SECONDS:.0f} seconds"
            )
        if frame.f_code.co_filename != "<template>":
            return None  # of the libraries only calls are watched
        lines += 1
        if lines % _LOOK_EVERY == 0 and process.memory_info().rss - size > MOST_BYTES:
            raise TemplateTooExpensive(
                f"the model's chat template takes more than {MOST_BYTES // 2**20} MiB of memory"
            )
        return watch

    return watch


def _watch_operators() -> None:
    """Let the sandbox of transformers ask before it multiplies: one such operation can take hours
    or all memory, and no line of Python runs meanwhile."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from transformers.utils import chat_template_utils

    if getattr(chat_template_utils, "ImmutableSandboxedEnvironment", None) is not (
        ImmutableSandboxedEnvironment
    ):
        return  # it is done already, or this version of transformers has another sandbox

    class Bounded(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**", "%"})

        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            self.filters = {name: _checked(name, made) for name, made in self.filters.items()}

        def call(self, context: Any, called: Any, /, *arguments: Any, **named: Any) -> Any:
            owner = getattr(called, "__self__", None)
            _refuse_large(getattr(called, "__name__", ""), (owner, *arguments, *named.values()))
            return super().call(context, called, *arguments, **named)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if _is_too_much(operator, left, right):
                raise TemplateTooExpensive(
                    f"the model's chat template computes something too large ({operator})"
                )
            return super().call_binop(context, operator, left, right)

    setattr(chat_template_utils, ImmutableSandboxedEnvironment.__name__, Bounded)


def _checked(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is not called with what would make it write too much."""

    @functools.wraps(made)  # its attributes say what Jinja passes to it
    def call(*arguments: Any, **named: Any) -> Any:
        _refuse_large(name, (*arguments, *named.values()))
        return made(*arguments, **named)

    return call


def _refuse_large(name: str, arguments: tuple[Any, ...]) -> None:
    """Raise TemplateTooExpensive for a call that would write or count too much."""
    texts = [each for each in arguments if isinstance(each, str)]
    too_much = any(isinstance(each, int) and abs(each) > _LARGEST_ARGUMENT for each in arguments)
    if name == "replace" and len(texts) >= 3:
        too_much |= texts[0].count(texts[1]) * len(texts[2]) > MOST_CHARACTERS
    elif name == "join" and texts:
        lists = [len(each) for each in arguments if isinstance(each, list | tuple)]
        too_much |= max(map(len, texts)) * max(lists, default=0) > MOST_CHARACTERS
    elif name == "format" and texts:
        too_much |= re.search(r"\d{7}", texts[0]) is not None
    if too_much:
        raise TemplateTooExpensive(
            f"the model's chat template computes something too large ({name.removeprefix('safe_')})"
        )


def _is_too_much(operator: str, left: Any, right: Any) -> bool:
    if operator == "%":
        return isinstance(left, str) and _WIDTH.search(left) is not None
    if isinstance(left, int) and isinstance(right, int):
        if operator == "**":
            return left.bit_length() * abs(right) > _MOST_BITS
        return left.bit_length() + right.bit_length() > _MOST_BITS
    for items, count in ((left, right), (right, left)):
        if isinstance(items, str | list | tuple) and isinstance(count, int):
            return len(items) * count > MOST_CHARACTERS
    return False
