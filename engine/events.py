"""The events that the worker tells: frozen plain data, safe to pass to another thread."""

from __future__ import annotations

from msgspec import Struct

from engine.errors import LenscopeError, Remedy
from engine.records import Comparison, LayerReading, ModelCard, Part, Reading, Run


class LoadOptions(Struct, frozen=True):
    """How to load a model; the fields are those of the command line."""

    model: str
    """A hub id or a folder."""
    device: str = "auto"
    dtype: str = "auto"
    device_map: str | dict[str, str | int] | None = None
    """As in accelerate: "auto" and the like, or module name -> device."""
    quantize: str | None = None
    revision: str | None = None
    cache_dir: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    adapter: str | None = None
    """The folder of a peft adapter to put onto the model."""
    no_adapter: bool = False
    """Whether to leave out the adapter that lies in the model's own folder."""


class ModelLoading(Struct, frozen=True):
    """The model is being loaded; `fraction` is 0..1, or None if it is unknown."""

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
    """For how many runs, the newest, the worker keeps what is needed to read more from them."""
    keeps_everywhere: int = 0
    """For how many of them it keeps the streams of all positions."""
    phases: dict[str, float] = {}
    """What each phase of loading took, in order; `seconds` is more than their sum."""


class ModelFailed(Struct, frozen=True):
    """The model cannot be used; the worker goes on and can load another."""

    error: str
    remedies: tuple[Remedy, ...] = ()


class RunStarted(Struct, frozen=True):
    """A pass has started; `run` has its question, tokens and position, but no rows yet."""

    run: Run


class RowsRead(Struct, frozen=True):
    """The next rows of a run, in order; later layers may still be running."""

    run_id: str
    rows: tuple[LayerReading, ...]


class RunEnded(Struct, frozen=True):
    """A run has ended; `run` is complete, and `run.status` says how it ended.

    A run whose proof failed has the status "failed" and `proof.passed` false: its rows must be
    shown struck out and never be saved.
    """

    run: Run
    remedies: tuple[Remedy, ...] = ()
    """What the user can do about `run.error`."""


class Trouble(Struct, frozen=True):
    """Something that the user asked for could not be done; `error` is one line."""

    error: str
    run_id: str | None = None
    remedies: tuple[Remedy, ...] = ()
    request_id: str | None = None
    """The reading that could not be made."""

    @classmethod
    def of(
        cls, error: LenscopeError, run_id: str | None = None, request_id: str | None = None
    ) -> Trouble:
        """The trouble that an error describes; keeps no reference to the error."""
        return cls(str(error), run_id, error.remedies, request_id)


class Spelling(Struct, frozen=True):
    """One way in which a typed word can be the next token."""

    id: int
    text: str
    """The token's text, as in `engine.records.Token.text`."""
    typed: str
    """The spelling: the word as typed, or with a leading space, in lower case, capitalised."""
    whole: bool
    """False if the spelling takes several tokens and this is only the first of them."""


class SpellingsFound(Struct, frozen=True):
    """The tokens that a typed word can be; none if the tokenizer cannot encode it."""

    typed: str
    spellings: tuple[Spelling, ...]


class ReadingGrew(Struct, frozen=True):
    """A method has found part of a reading."""

    run_id: str
    request_id: str
    part: Part


class ReadingMade(Struct, frozen=True):
    """A method has made its reading of a run, which ends the request."""

    run_id: str
    request_id: str
    reading: Reading


class ReadingDropped(Struct, frozen=True):
    """A reading in the background that a new run or a cancel has ended before it was done."""

    run_id: str
    request_id: str


class ComparisonGrew(Struct, frozen=True):
    """A comparison, with the rows of its second run that have been read so far."""

    comparison: Comparison


Event = (
    ModelLoading
    | ModelReady
    | ModelFailed
    | RunStarted
    | RowsRead
    | RunEnded
    | SpellingsFound
    | ReadingGrew
    | ReadingMade
    | ReadingDropped
    | ComparisonGrew
    | Trouble
)
