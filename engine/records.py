"""The plain records that everything shares: the live explorer, `lenscope run`, the session file.

Frozen data without tensors. Their field names are the names in the session file.
Probabilities are float32 softmax values over the whole vocabulary, entropy and KL are in nats,
rank 1 is the most probable token. Numbers that are not finite are `None`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, field, structs

NonNegative = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0.0, le=1.001)]
RunId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Digest = Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
Time = Annotated[str, Meta(max_length=40)]
"""RFC 3339, UTC."""


def finite(value: float) -> float | None:
    """The number, or None where it is NaN or infinite: what the records and JSON hold."""
    return value if math.isfinite(value) else None


TokenKind = Literal["text", "image", "special"]
TokenPart = Literal["template", "system", "picture", "prompt", "prefix"]
RunStatus = Literal["done", "cancelled", "failed"]


class Token(Struct, frozen=True):
    """One candidate for the next token in one row."""

    id: NonNegative
    text: str
    """What the token adds to a running text, or its vocabulary piece; never display marks."""
    probability: Share
    logit: float | None


class AnswerReading(Struct, frozen=True):
    """Where the answer (top-1 of the last row) stands in one row."""

    probability: Share
    logit: float | None
    rank: Positive


class LayerReading(Struct, frozen=True):
    """One row of the lens: the residual stream that enters layer `layer` (0 = the embedding,
    L = what enters the tail), taken through the model's own tail and softmax."""

    layer: NonNegative
    top: tuple[Token, ...]
    entropy: float | None
    rms: float | None
    """sqrt(mean(x^2)) of the residual stream at the position, before the tail."""
    answer: AnswerReading | None = None
    """None until the last row is known."""
    kl_to_last: float | None = None
    """KL(row || last row); None until the last row is known."""
    approximate: str | None = None
    """Why the row is not exactly the truncated model's, or None where it is."""


class PromptToken(Struct, frozen=True):
    """One token of the prompt as the model received it."""

    id: NonNegative
    text: str
    kind: TokenKind
    part: TokenPart


class ModelCard(Struct, frozen=True, rename={"class_name": "class"}):
    """Which model answered."""

    name: str
    revision: str | None
    class_name: str
    dtype: str
    device: str


class Picture(Struct, frozen=True):
    """A picture file. Only `path` is known before the picture has been opened."""

    path: str
    sha256: Digest = ""
    width: NonNegative = 0
    height: NonNegative = 0
    preview: str | None = None
    """Base64 JPEG, long side at most 512 pixels."""


class Counterfactual(Struct, frozen=True):
    """What was put in the picture's stead."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None


class Question(Struct, frozen=True):
    """What is asked. `model` and `text` are filled in when a model has been asked."""

    prompt: str
    picture: Picture | None = None
    chat: bool = True
    system: str | None = None
    prefix: str = ""
    counterfactual: Counterfactual | None = None
    top_k: Annotated[int, Meta(ge=1, le=1000)] = 3
    norm: bool = True
    text: str = ""
    """Exactly what was tokenised, image placeholder included, before its expansion."""
    model: ModelCard | None = None


class Tracked(Struct, frozen=True):
    """One token followed through all rows: the answer, every top-1, what the user pinned."""

    id: NonNegative
    text: str
    why: Literal["answer", "top-1", "user"]
    probability: tuple[float | None, ...]
    logit: tuple[float | None, ...]
    rank: tuple[Positive | None, ...]


class Proof(Struct, frozen=True):
    """The lens's own last row against the logits that the model returned at that position."""

    max_abs_difference: float | None
    tolerance: float
    passed: bool
    method: Literal["tail", "replay"]


class ReadingProof(Struct, frozen=True):
    """What shows that a reading is right: two ways to the same numbers, and how far apart they
    are."""

    what: str
    """In words: what was compared with what."""
    error: float | None
    tolerance: float
    passed: bool


class Request(Struct, frozen=True):
    """What a method is asked; each has fields of its own, set by `--read METHOD:field=value`."""


class Part(Struct, frozen=True):
    """What a method has found so far; each that hands out parts has a type of its own."""


class Reading(Struct, frozen=True, kw_only=True, tag_field="method", tag="?"):
    """What a method found about a run; each has a type of its own, its `tag` is the method's name.

    In the session file it stands as {"method": NAME, "request": {...}, ...}.
    """

    request: Request
    proof: ReadingProof | None = None
    reason: str = ""
    """Why there is no proof of its own."""
    seconds: float = 0.0

    stored: ClassVar[bool] = True
    """Whether the session file has it; otherwise it is shown, or merged into the run, and gone."""

    @property
    def method(self) -> str:
        """The name of the method that made it."""
        return str(type(self).__struct_config__.tag)

    @property
    def refers_to(self) -> tuple[RunId, ...]:
        """Other runs that it was read against."""
        return ()

    @property
    def worth_keeping(self) -> bool:
        """Whether it goes into the session file: what fails its proof never does."""
        return self.stored and (self.proof is None or self.proof.passed)

    def merged(self, run: Run) -> Run:
        """The run with this reading, in the place of the one that answers the same request."""
        others = tuple(known for known in run.readings if not self.answers_like(known))
        return structs.replace(run, readings=(*others, self) if self.stored else others)

    def answers_like(self, other: Reading) -> bool:
        """Whether both answer the same request to the same method."""
        return self.method == other.method and self.request == other.request


class UnknownReading(Reading, frozen=True, kw_only=True, tag="unknown"):
    """A reading of a method that this version does not have: kept, and written back as it was."""

    raw: dict[str, Any]

    @property
    def method(self) -> str:
        """The name that the file gives."""
        return str(self.raw.get("method"))

    def answers_like(self, other: Reading) -> bool:
        """Whether it is the same one."""
        return isinstance(other, UnknownReading) and self.raw == other.raw


class OtherPosition(Struct, frozen=True):
    """Rows of one more position of the same pass."""

    position: NonNegative
    rows: tuple[LayerReading, ...]
    tracked: tuple[Tracked, ...] = ()


class Processed(Struct, frozen=True):
    """What the model's processor made of the picture."""

    width: NonNegative
    height: NonNegative
    """In pixels, of one tile where there are several."""
    tiles: Positive = 1
    how: str = ""
    """In words, for people: "resized to 336x336, cropped"."""


class Run(Struct, frozen=True):
    """A question with all its rows and its proof."""

    id: RunId
    created: Time
    status: RunStatus
    layers: NonNegative
    question: Question
    tokens: tuple[PromptToken, ...]
    position: NonNegative
    rows: tuple[LayerReading, ...]
    tracked: tuple[Tracked, ...] = ()
    others: tuple[OtherPosition, ...] = ()
    proof: Proof | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    title: str | None = None
    error: str | None = None
    processed: Processed | None = None
    """None without a picture, and where it cannot be told."""
    formation: NonNegative | None = None
    """The first row from which the answer stays top-1 to the end; None unless the run is done."""
    readings: tuple[Reading, ...] = ()
    """What methods found about the run, one for each method and request."""


class ComparisonRow(Struct, frozen=True):
    """How far two runs are apart in one row, in nats."""

    layer: NonNegative
    kl: float | None
    js: float | None


class Comparison(Struct, frozen=True):
    """Two runs, row by row."""

    id: RunId
    kind: Literal["counterfactual", "runs"]
    of: RunId
    against: RunId
    position: NonNegative
    rows: tuple[ComparisonRow, ...]
    threshold: float | None = None
    """Nats of Jensen-Shannon divergence above which the picture counts."""
    layer: NonNegative | None = None
    """The first row from which the divergence stays above the threshold to the end."""
    unavailable: str | None = None
    """Why there is nothing to compare with: this model cannot take that counterfactual."""


class Session(Struct, frozen=True):
    """Runs, comparisons and the view: what a session file holds."""

    created: Time
    saved: Time
    runs: tuple[Run, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    view: dict[str, Any] = field(default_factory=dict)
    format: Literal["lenscope-session"] = "lenscope-session"
    version: Annotated[int, Meta(ge=1)] = 1
