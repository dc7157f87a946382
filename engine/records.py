"""The plain records that the live explorer, `lenscope run` and the session file share.

They are frozen and hold no tensors. Their field names are the names in the session file.
Probabilities are float32 softmax values over the whole vocabulary, entropy and KL are in nats,
rank 1 is the most probable token. Numbers that are not finite are `None`.

The bounds are checked where records are read from a file. They lie far beyond anything that a
model can make: no file makes whoever opens it draw ten million rows, or a text of a gigabyte.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta, Struct, field, structs

MOST_LAYERS: Final = 10_000
MOST_TILES: Final = 2**16
MOST_TOKENS: Final = 10_000
"""Tokens of one row, and tokens that one run tracks."""
MOST_SHORT: Final = 2**16
MOST_LONG: Final = 2**20
"""Characters."""
MOST_NAMES: Final = 1000
"""Times of one run, and versions."""
_LARGEST: Final = 2**31 - 1

NonNegative = Annotated[int, Meta(ge=0, le=_LARGEST)]
Positive = Annotated[int, Meta(ge=1, le=_LARGEST)]
Layer = Annotated[int, Meta(ge=0, le=MOST_LAYERS)]
"""A row, or how many layers there are: everything that is counted so is drawn row by row."""
Number = Annotated[float, Meta(ge=-1e39, le=1e39)]
"""Any float32; sums, differences and products of two of them are finite."""
Share = Annotated[float, Meta(ge=0.0, le=1.001)]
RunId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Digest = Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
Time = Annotated[str, Meta(max_length=40)]
"""RFC 3339, UTC."""
Short = Annotated[str, Meta(max_length=MOST_SHORT)]
"""A token, a name, a path, a message."""
Long = Annotated[str, Meta(max_length=MOST_LONG)]
"""A prompt."""


def finite(value: float) -> float | None:
    """The number, or None if it is NaN or infinite, as records and JSON store it."""
    return value if math.isfinite(value) else None


TokenKind = Literal["text", "image", "special"]
TokenPart = Literal["template", "system", "picture", "prompt", "prefix"]
RunStatus = Literal["done", "cancelled", "failed"]


class Token(Struct, frozen=True):
    """One candidate for the next token in one row."""

    id: NonNegative
    text: Short
    """What the token adds to a running text, or its vocabulary piece; never display marks."""
    probability: Share
    logit: Number | None


class AnswerReading(Struct, frozen=True):
    """Where the answer (top-1 of the last row) stands in one row."""

    probability: Share
    logit: Number | None
    rank: Positive


class LayerReading(Struct, frozen=True):
    """One row of the lens: the residual stream that enters layer `layer` (0 = the embedding,
    L = what enters the tail), taken through the model's own tail and softmax."""

    layer: Layer
    top: Annotated[tuple[Token, ...], Meta(max_length=MOST_TOKENS)]
    entropy: Number | None
    rms: Number | None
    """sqrt(mean(x^2)) of the residual stream at the position, before the tail."""
    answer: AnswerReading | None = None
    """None until the last row is known."""
    kl_to_last: Number | None = None
    """KL(row || last row); None until the last row is known."""
    approximate: Short | None = None
    """Why the row is not exactly the truncated model's, or None if it is."""


class PromptToken(Struct, frozen=True):
    """One token of the prompt as the model received it."""

    id: NonNegative
    text: Short
    kind: TokenKind
    part: TokenPart


class ModelCard(Struct, frozen=True, rename={"class_name": "class"}):
    """The model that answered."""

    name: Short
    revision: Short | None
    class_name: Short
    dtype: Short
    device: Short
    notes: Annotated[tuple[Short, ...], Meta(max_length=MOST_NAMES)] = ()
    """What was chosen, or passed over, when it was loaded; each one line."""
    adapter: Short | None = None
    """The folder of the adapter that was put onto it."""
    weights: Digest = ""
    """A digest of some of its weights, by which models are told apart whatever they are called;
    empty if unknown."""


class Picture(Struct, frozen=True):
    """A picture file. Only `path` is known before the picture has been opened."""

    path: Short
    sha256: Digest = ""
    width: NonNegative = 0
    height: NonNegative = 0
    preview: Annotated[str, Meta(max_length=2**23)] | None = None
    """Base64 JPEG, long side at most 512 pixels."""
    note: Short | None = None
    """What had to be chosen to show it: "float pixels from -3 to 7: shown black to white"."""


class Counterfactual(Struct, frozen=True):
    """What replaced the picture."""

    name: Short
    parameters: dict[str, Any] = field(default_factory=dict)
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class Question(Struct, frozen=True):
    """What is asked. `model` and `text` are filled in when the question is put to a model."""

    prompt: Long
    picture: Picture | None = None
    chat: bool = True
    system: Long | None = None
    prefix: Long = ""
    counterfactual: Counterfactual | None = None
    top_k: Annotated[int, Meta(ge=1, le=1000)] = 3
    norm: bool = True
    text: Annotated[str, Meta(max_length=4 * MOST_LONG)] = ""
    """Exactly what was tokenised; the image placeholder in it is not expanded yet."""
    model: ModelCard | None = None


class Tracked(Struct, frozen=True):
    """One token followed through all rows: the answer, a top-1 of some row, or one that the user
    pinned. The tuples have a number for each row."""

    id: NonNegative
    text: Short
    why: Literal["answer", "top-1", "user"]
    probability: tuple[Share | None, ...]
    logit: tuple[Number | None, ...]
    rank: tuple[Positive | None, ...]


class Proof(Struct, frozen=True):
    """The lens's own last row against the logits that the model returned at that position."""

    max_abs_difference: Number | None
    tolerance: Number
    passed: bool
    method: Literal["tail", "replay"]


class ReadingProof(Struct, frozen=True):
    """The evidence that a reading is right: two computations of the same numbers are compared."""

    what: Short
    """In words: what was compared with what."""
    error: Number | None
    """The largest difference, in the unit that `what` implies."""
    tolerance: Number
    passed: bool


class Request(Struct, frozen=True):
    """A request to a method; every method has its own subtype, whose fields are set by
    `--read METHOD:field=value`."""

    own_pass: ClassVar[bool] = False
    """Whether it is answered by passes of its own over the run's inputs, at any position, so that
    no streams of other positions than the run's own need to be kept."""


class Part(Struct, frozen=True):
    """A part of a reading, found before the whole; every method that yields parts has its own
    subtype."""


class Reading(Struct, frozen=True, kw_only=True, tag_field="method", tag="?"):
    """What a method found about a run; every method has its own subtype, tagged with its name.

    The session file has {"method": NAME, "request": {...}, ...}.
    """

    request: Request
    proof: ReadingProof | None = None
    reason: Long = ""
    """If there is no proof, why the reading needs none."""
    seconds: Number = 0.0

    stored: ClassVar[bool] = True
    """Whether it goes into the session file; if not, it is only shown, or merged into the run."""

    @property
    def method(self) -> str:
        """The name of the method that made it."""
        return str(type(self).__struct_config__.tag)

    @property
    def refers_to(self) -> tuple[RunId, ...]:
        """The ids of other runs that it was read against."""
        return ()

    @property
    def reaches(self) -> int:
        """The largest position that it was read at; -1 if it is no matter of single positions."""
        return -1

    @property
    def worth_keeping(self) -> bool:
        """Whether the session file gets it; a reading that failed its proof is never saved."""
        return self.stored and (self.proof is None or self.proof.passed)

    def misfit(self, run: Run) -> str | None:
        """Why it cannot have been read from this run: rows or positions that the run does not
        have. None if it can."""
        return None

    def merged(self, run: Run) -> Run:
        """The run with this reading, in place of those that it `replaces`."""
        others = tuple(known for known in run.readings if not self.replaces(known))
        return structs.replace(run, readings=(*others, self) if self.stored else others)

    def fulfils(self, request: Request) -> bool:
        """Whether this is what a request asks for, whichever way it names other runs."""
        return request == self.request

    @property
    def asked(self) -> Request:
        """The request with every other run by its id: a counterfactual's name tells no seed, so
        that two runs may have it."""
        if not self.refers_to:
            return self.request
        request: Any = self.request  # of a method that reads other runs: it names them `against`
        several = isinstance(request.against, tuple)
        asked: Request = structs.replace(
            request, against=self.refers_to if several else self.refers_to[0]
        )
        return asked

    def replaces(self, other: Reading) -> bool:
        """Whether it tells all that another reading tells: of the same method, with the same
        settings, against the same runs."""
        return self.method == other.method and self.fulfils(other.asked)


class UnknownReading(Reading, frozen=True, kw_only=True, tag="unknown"):
    """A reading by a method that this version does not have; it is kept and written back as it
    was."""

    raw: dict[str, Any]

    @property
    def method(self) -> str:
        """The name in the file."""
        return str(self.raw.get("method"))

    def replaces(self, other: Reading) -> bool:
        """Whether both are the same reading."""
        return isinstance(other, UnknownReading) and self.raw == other.raw


class OtherPosition(Struct, frozen=True):
    """The rows at one more position: of the same pass, or, from the number of the run's tokens on,
    at a token of its newest answer."""

    position: NonNegative
    rows: tuple[LayerReading, ...]
    tracked: Annotated[tuple[Tracked, ...], Meta(max_length=MOST_TOKENS)] = ()


class Processed(Struct, frozen=True):
    """What the model's processor made of the picture."""

    width: NonNegative
    height: NonNegative
    """In pixels; of one tile if there are several."""
    tiles: Annotated[int, Meta(ge=1, le=MOST_TILES)] = 1
    how: Short = ""
    """In words for the user: "resized to 336x336, cropped"."""


class Made(Struct, frozen=True):
    """How a run's pass was made: what of it was taken from earlier passes over the same picture."""

    vision: Literal["computed", "reused"] = "computed"
    """Whether the picture's features were taken from an earlier pass; "computed" without a picture,
    too."""
    prefix: NonNegative = 0
    """How many tokens at the start of the sequence were not run, because their keys and values were
    taken from a cache."""
    reason: Short | None = None
    """Why nothing, or less than the common beginning, was taken from earlier passes, where there
    was something to take."""


class Run(Struct, frozen=True):
    """A question with all its rows and its proof."""

    id: RunId
    created: Time
    status: RunStatus
    layers: Layer
    question: Question
    tokens: tuple[PromptToken, ...]
    position: NonNegative
    rows: tuple[LayerReading, ...]
    tracked: Annotated[tuple[Tracked, ...], Meta(max_length=MOST_TOKENS)] = ()
    others: tuple[OtherPosition, ...] = ()
    proof: Proof | None = None
    seconds: Annotated[dict[Short, Number], Meta(max_length=MOST_NAMES)] = field(
        default_factory=dict
    )
    versions: Annotated[dict[Short, Short], Meta(max_length=MOST_NAMES)] = field(
        default_factory=dict
    )
    title: Long | None = None
    error: Long | None = None
    processed: Processed | None = None
    """None without a picture, or if it is unknown."""
    formation: Layer | None = None
    """The first row from which the answer stays top-1 to the end; None unless the run is done."""
    made: Made = Made()
    readings: tuple[Reading, ...] = ()
    """What methods found about the run; one that `replaces` another takes its place."""
    tags: Annotated[tuple[Short, ...], Meta(max_length=MOST_NAMES)] = ()
    """Words that the user put on the run, by which runs are found again."""
    note: Long | None = None
    """What the user wrote about the run."""

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a line per row and token, and every figure of the row in it.
        Raises BadInput where pandas is not installed."""
        from engine.pages.notebooks import frame_of

        return frame_of(self)

    def _repr_html_(self) -> str:
        """The table with bars that a notebook shows."""
        from engine.pages.notebooks import run_html

        return run_html(self)


class ComparisonRow(Struct, frozen=True):
    """The divergence of two runs in one row, in nats."""

    layer: Layer
    kl: Number | None
    js: Number | None


class Comparison(Struct, frozen=True):
    """Two runs compared row by row."""

    id: RunId
    kind: Literal["counterfactual", "runs"]
    of: RunId
    against: RunId
    position: NonNegative
    rows: tuple[ComparisonRow, ...]
    threshold: Number | None = None
    """The Jensen-Shannon divergence, in nats, above which the picture counts as seen."""
    layer: Layer | None = None
    """The first row from which the divergence stays above the threshold to the end."""
    unavailable: Long | None = None
    """Why there are no rows: the reason why this model cannot take that counterfactual."""


class Session(Struct, frozen=True):
    """The content of a session file: runs, comparisons and the view."""

    created: Time
    saved: Time
    runs: tuple[Run, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    view: dict[str, Any] = field(default_factory=dict)
    format: Literal["lenscope-session"] = "lenscope-session"
    version: Annotated[int, Meta(ge=1)] = 1
