"""What the worker tells the outside: frozen plain data, safe to hand to another thread."""

from __future__ import annotations

from msgspec import Struct

from engine.records import Comparison, Debiased, LayerReading, ModelCard, Run, Tracked


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


class ModelFailed(Struct, frozen=True):
    """The model cannot be used; the worker lives on and can load another."""

    error: str


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


class AnswerGrew(Struct, frozen=True):
    """One more piece of the greedy continuation of a run's answer."""

    run_id: str
    text: str
    ended: bool


class Trouble(Struct, frozen=True):
    """Something the user asked for could not be done; one line. The worker lives on."""

    error: str
    run_id: str | None = None


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


class TokensTracked(Struct, frozen=True):
    """Tokens read from the kept stream of a run, without a new pass."""

    run_id: str
    tracked: tuple[Tracked, ...]


class RowDeepened(Struct, frozen=True):
    """One row of a run with more of its top tokens than the run holds, from its kept stream."""

    run_id: str
    reading: LayerReading


class Compared(Struct, frozen=True):
    """A comparison with as many rows as have been read of its second run; later rows follow."""

    comparison: Comparison


class Contrasted(Struct, frozen=True):
    """Contrast rows of a run against one counterfactual, or several together (mean of logits)."""

    of: str
    references: tuple[str, ...]
    a: float
    b: float
    rows: tuple[LayerReading, ...]
    """rms is None, and the rows are a labelled extension of the method but for the last."""


class AnswersDebiased(Struct, frozen=True):
    """A list of answers beside what they have without the picture."""

    of: str
    references: tuple[str, ...]
    answers: tuple[Debiased, ...]


class PictureSeen(Struct, frozen=True):
    """What the processor made of a run's picture: its pixel values, de-normalised."""

    run_id: str
    preview: str
    """Base64 JPEG or PNG; goes through the same safe door as pictures."""
    width: int
    height: int
    """In pixels of what the model sees; tiles are laid side by side."""
    how: str
    """In words: "resized to 336x336", "5 tiles of 384x384"."""


Event = (
    ModelLoading
    | ModelReady
    | ModelFailed
    | RunStarted
    | RowsRead
    | RunEnded
    | AnswerGrew
    | SpellingsFound
    | TokensTracked
    | RowDeepened
    | PictureSeen
    | Compared
    | Contrasted
    | AnswersDebiased
    | Trouble
)
