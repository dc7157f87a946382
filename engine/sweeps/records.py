"""What a sweep writes, field by field: the names are those of the files in its folder.

`sweep.json` holds one `Sweep`, every line of `items-<shard>.jsonl` a `SweepItem`, every line of
`failures.jsonl` a `Failure`. Numbers mean what they mean in `engine.records`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from engine.records import Digest, Layer, ModelCard, NonNegative, Positive, Proof, Share, Token

ItemId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]

VERSION = 1
"""Version of the files' format."""
STORED_TOP = 5
"""How many top tokens a row of an item holds."""


class Standing(Struct, frozen=True):
    """Probability and rank of an answer in one row."""

    probability: Share
    """The sum over the first tokens of all its spellings."""
    rank: Positive
    """The rank of the best of these tokens; 1 is the best."""


class SweepRow(Struct, frozen=True, omit_defaults=True):
    """One row of one item."""

    layer: Layer
    top: tuple[Token, ...]
    entropy: float | None
    rms: float | None
    kl_to_last: float | None
    truth: Standing | None
    """None where no truth is known, or where the row's logits are not numbers."""
    final: Standing | None
    """That of the item's final answer, which is the top-1 token of the last row."""
    approximate: str | None = None
    """The reason why the row is not exactly the truncated model's, if there is one."""


class ItemPicture(Struct, frozen=True, omit_defaults=True):
    """The picture that was asked about."""

    path: str
    sha256: Digest
    note: str | None = None
    """What had to be chosen to show it, as in `engine.records.Picture`."""


class SweepItem(Struct, frozen=True):
    """One question about one picture, and all its rows."""

    item: ItemId
    picture: ItemPicture | None
    prompt: str
    group: str
    truth: str | None
    spellings: tuple[NonNegative, ...]
    """The first token of each spelling of the truth."""
    rows: tuple[SweepRow, ...]
    rows_unnormed: tuple[SweepRow, ...] | None
    """All rows but the last, without the final norm; None where it cannot be left out."""
    proof: Proof
    seconds: dict[str, float] = field(default_factory=dict)
    several_tokens: bool = False
    """Whether no spelling of the truth is one token, so that only first tokens are compared."""


class Failure(Struct, frozen=True):
    """One question that could not be asked."""

    item: str
    """Its id; empty where the picture could not be read."""
    picture: str
    prompt: str
    error: str
    group: str = ""
    truth: str | None = None


class SweepQuestion(Struct, frozen=True):
    """What all questions of a sweep have in common."""

    chat: bool
    system: str | None
    prefix: str


class SweepData(Struct, frozen=True):
    """Where the questions come from."""

    kind: str
    path: str
    digest: str
    """A digest of what the source lists: names of pictures, questions and truths."""
    pictures: NonNegative
    items: NonNegative
    rule: str = ""
    """How truths are derived, in words."""


class Sweep(Struct, frozen=True):
    """What a folder of results belongs to; the same for all its shards."""

    created: str
    model: ModelCard
    layers: Layer
    question: SweepQuestion
    data: SweepData
    prompts: tuple[str, ...]
    weights: str = ""
    """A digest of some of the weights as they were run, quantised or not."""
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    """What was found out: why nothing is batched, reused, or read without norm, and how pictures
    were shown."""
    format: Literal["lenscope-sweep"] = "lenscope-sweep"
    version: Annotated[int, Meta(ge=1)] = VERSION
