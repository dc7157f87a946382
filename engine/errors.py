"""What can go wrong, by name. Every message is one line that names the thing and the remedy."""

from __future__ import annotations

from collections.abc import Iterator


class LenscopeError(Exception):
    """Base of all errors that Lenscope raises on purpose."""


class BadInput(LenscopeError):
    """A picture, prompt, session file or setting of the user's that cannot be used (exit 2)."""


class CannotLoad(LenscopeError):
    """The model is missing or cannot be loaded (exit 3)."""


class CannotRead(LenscopeError):
    """The model loads, but its residual stream cannot be read faithfully (exit 3)."""


class Cancelled(LenscopeError):
    """The user cancelled the pass."""


class TooManyAtOnce(LenscopeError):
    """Memory ran out over a batch; its items may still go one by one."""


def one_line(error: BaseException, most: int = 300) -> str:
    """What an error says, in a line of at most so many characters; its name if it says nothing."""
    return (" ".join(str(error).split()) or type(error).__name__)[:most]


def with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and whatever led to it, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
