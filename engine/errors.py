"""The errors that Lenscope raises. Every message is one line that names the problem; `remedies`
are what the user can do about it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum


class Remedy(StrEnum):
    """What the user can do about an error, if it is one action that every interface has.

    Messages name the action in words; each interface adds its own key or command-line flag.
    """

    LOAD_MODEL = "load a model"
    RUN_AGAIN = "run it again"
    ALLOW_PICKLE = "allow pickled weights"
    TRUST_CODE = "allow the model's own code"
    OTHER_REVISION = "name another revision"
    OTHER_CACHE = "use another folder for the cache"
    OTHER_DEVICE = "name another device"
    OTHER_DTYPE = "name another dtype"
    HALF_PRECISION = "use a 16-bit dtype"
    QUANTIZE = "quantise the weights"
    DEVICE_MAP = "spread the model over several devices"
    WITH_ADAPTER = "load the model with its adapter"
    NO_ADAPTER = "load the model without its adapter"
    NO_PICTURE = "ask without a picture"
    NO_SYSTEM = "leave the system prompt out"
    RAW = "ask it raw"
    OTHER_FOLDER = "choose another folder for the results"
    NAME_PROMPTS = "name the prompts"
    ONE_AT_A_TIME = "ask one item at a time"
    SOME_POSITIONS = "name some positions"


LESS_MEMORY = (Remedy.HALF_PRECISION, Remedy.QUANTIZE, Remedy.DEVICE_MAP)
"""What lets a model fit into memory."""


class LenscopeError(Exception):
    """Base class of all errors that Lenscope raises deliberately."""

    def __init__(self, message: str = "", *remedies: Remedy) -> None:
        super().__init__(message)
        self.remedies = remedies


class BadInput(LenscopeError):
    """A picture, prompt, session file or setting that cannot be used (exit 2)."""


class CannotLoad(LenscopeError):
    """The model is missing or cannot be loaded (exit 3)."""


class CannotRead(LenscopeError):
    """The model loads, but its residual stream cannot be read faithfully (exit 3)."""


class PassFailed(LenscopeError):
    """A forward pass failed for a reason outside Lenscope, such as memory (exit 1)."""


class Cancelled(LenscopeError):
    """The user cancelled the pass."""


class TooManyAtOnce(LenscopeError):
    """Memory ran out over a batch; its items may still fit one by one."""


LONGEST_MESSAGE = 4000
"""Characters of another library's message; some list hundreds of class names."""


def one_line(error: BaseException) -> str:
    """The message of an error as one line, whole; its type if it has none. A message of more than
    LONGEST_MESSAGE characters ends with how many there were."""
    words = " ".join(str(error).split()) or type(error).__name__
    if len(words) <= LONGEST_MESSAGE:
        return words
    return f"{words[:LONGEST_MESSAGE]} … ({len(words):,} characters)"


def typed_line(error: BaseException) -> str:
    """An error that nothing here knows as one line: its type, which often says most, and its
    message."""
    name, words = type(error).__name__, one_line(error)
    return words if words == name else f"{name}: {words}"


def with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then the errors that caused it, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
