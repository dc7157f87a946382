"""What can go wrong, by name. Every message is one line that names the thing and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum


class Remedy(StrEnum):
    """What the user can do about an error, where that is one action of every interface.

    Messages name the action in words; an interface adds how it is done there: a key, a flag of the
    command line.
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
    NO_PICTURE = "ask without a picture"
    NO_SYSTEM = "leave the system prompt out"
    RAW = "ask it raw"
    OTHER_FOLDER = "choose another folder for the results"
    NAME_PROMPTS = "name the prompts"
    ONE_AT_A_TIME = "ask one item at a time"


LESS_MEMORY = (Remedy.HALF_PRECISION, Remedy.QUANTIZE, Remedy.DEVICE_MAP)
"""What makes a model fit that does not."""


class LenscopeError(Exception):
    """Base of all errors that Lenscope raises on purpose."""

    def __init__(self, message: str = "", *remedies: Remedy) -> None:
        super().__init__(message)
        self.remedies = remedies


class BadInput(LenscopeError):
    """A picture, prompt, session file or setting of the user's that cannot be used (exit 2)."""


class CannotLoad(LenscopeError):
    """The model is missing or cannot be loaded (exit 3)."""


class CannotRead(LenscopeError):
    """The model loads, but its residual stream cannot be read faithfully (exit 3)."""


class PassFailed(LenscopeError):
    """A forward pass failed for a reason that is not Lenscope's (exit 1)."""


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
