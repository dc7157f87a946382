"""What the worker tells the outside: frozen plain data, safe to hand to another thread."""

from __future__ import annotations

from msgspec import Struct

from engine.errors import LenscopeError, Remedy
from engine.records import Comparison, LayerReading, ModelCard, Part, Reading, Run


class LoadOptions(Struct, frozen=True):
    """How a model is to be loaded; the fields are the command line's."""

    model: str
    """A hub id or a folder."""
    device: str = "auto"
    dtype: str = "auto"
    device_map: str | dict[str, str | int] | None = None
    """As accelerate takes it: "auto" and the like, or module -> device."""
    quantize: str | None = None
    revision: str | None = None
    cache_dir: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False


class ModelLoading(Struct, frozen=True):
    """The model is on its way; `fraction` is 0..1, or None where it cannot be known."""

    stage: str
    fraction: float | None = None


class ModelReady(Struct, frozen=True):
    """The model is loaded and its lens is proved."""

    model: ModelCard
    layers: int
    takes_pictures: bool
    has_chat_template: bool
    method: str
    """How rows are read: "tail" or "replay"."""
    seconds: float
    keeps: int
    """Of how many runs, the newest, the worker keeps what is needed to read more from them."""


class ModelFailed(Struct, frozen=True):
    """The model cannot be used; the worker lives on and can load another."""

    error: str
    remedies: tuple[Remedy, ...] = ()


class RunStarted(Struct, frozen=True):
    """A pass begins. `run` has its question, tokens and position, and no rows yet."""

    run: Run


class RowsRead(Struct, frozen=True):
    """Rows that have just been read, in order; later layers may still be running."""

    run_id: str
    rows: tuple[LayerReading, ...]


class RunEnded(Struct, frozen=True):
    """The run with everything in it; `run.status` says how it ended. A run whose proof failed has
    status "failed" and `proof.passed` false: its rows are to be struck out and never saved."""

    run: Run
    remedies: tuple[Remedy, ...] = ()
    """Of `run.error`."""


class AnswerGrew(Struct, frozen=True):
    """One more piece of the greedy continuation of a run's answer."""

    run_id: str
    text: str
    ended: bool


class Trouble(Struct, frozen=True):
    """Something the user asked for could not be done; one line. The worker lives on."""

    error: str
    run_id: str | None = None
    remedies: tuple[Remedy, ...] = ()
    request_id: str | None = None
    """The reading that could not be made."""

    @classmethod
    def of(
        cls, error: LenscopeError, run_id: str | None = None, request_id: str | None = None
    ) -> Trouble:
        """What an error says; holds on to nothing of it."""
        return cls(str(error), run_id, error.remedies, request_id)


class Spelling(Struct, frozen=True):
    """One way in which a typed word can be the next token."""

    id: int
    text: str
    """The token, as `engine.records.Token.text`."""
    typed: str
    """The spelling: the word as typed, with a leading space, lower, Capital."""
    whole: bool
    """False where the spelling takes several tokens and this is only its first."""


class SpellingsFound(Struct, frozen=True):
    """The tokens that a typed word can be; none where the tokenizer knows it not at all."""

    typed: str
    spellings: tuple[Spelling, ...]


class ReadingGrew(Struct, frozen=True):
    """What a method has found so far."""

    run_id: str
    request_id: str
    part: Part


class ReadingMade(Struct, frozen=True):
    """What a method found about a run; the end of the request."""

    run_id: str
    request_id: str
    reading: Reading


class ReadingDropped(Struct, frozen=True):
    """Work in the background that a new run, or a cancel, has ended before it was done."""

    run_id: str
    request_id: str


class ComparisonGrew(Struct, frozen=True):
    """A comparison with as many rows as have been read of its second run; later rows follow."""

    comparison: Comparison


Event = (
    ModelLoading
    | ModelReady
    | ModelFailed
    | RunStarted
    | RowsRead
    | RunEnded
    | AnswerGrew
    | SpellingsFound
    | ReadingGrew
    | ReadingMade
    | ReadingDropped
    | ComparisonGrew
    | Trouble
)
