"""What a sweep writes, field by field: the names are those of the files in its folder.

`sweep.json` holds one `Sweep`, every line of `items-<shard>.jsonl` a `SweepItem`, every line of
`failures.jsonl` a `Failure`. Numbers mean what they mean in `engine.records`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from engine.lens.decoding_settings import MOST_NEW_TOKENS, DecodingSettings
from engine.records import (
    MOST_LAYERS,
    Counterfactual,
    Digest,
    Layer,
    Made,
    ModelCard,
    NonNegative,
    Positive,
    Proof,
    ReadingProof,
    Share,
    Token,
)

ItemId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]

VERSION = 1
"""Version of the files' format."""
STORED_TOP = 5
"""How many top tokens a row of an item holds."""

MOST_TEXT = 2**20
"""Characters of a prompt, a truth, a group or a message. Limits of what is read hold for what is
written, too."""
MOST_NAME = 2**12
"""Characters of a name, a path or a digest."""

MOST_AGAINST = 100
"""Counterfactuals of one sweep."""
MOST_SETTINGS = 100
"""Settings with which one sweep decodes answers."""
MOST_ANSWERS = 1000
"""Answers that are decoded to one question, with all settings together."""

MOST_CURVES = 200
"""Curves, and numbers, of one set of a reading by depth."""

Text = Annotated[str, Meta(max_length=MOST_TEXT)]
Name = Annotated[str, Meta(max_length=MOST_NAME)]
FileName = Annotated[str, Meta(max_length=MOST_TEXT)]
"""A picture's name as the data has it; a table may hold anything in its place."""
Replacement = Annotated[str, Meta(min_length=1, max_length=MOST_NAME)]
"""A counterfactual as it was asked for: `none`, `noise=500`, `noise=500 (seed 1)`."""
Quoted = Annotated[str, Meta(pattern="^([^%]|%[0-9A-F]{2})*$", max_length=3 * MOST_NAME)]
"""The bytes of a name, percent-encoded."""


class Standing(Struct, frozen=True):
    """Probability and rank of an answer in one row."""

    probability: Share
    """The sum over the first tokens of all its spellings."""
    rank: Positive
    """The rank of the best of these tokens; 1 is the best."""


class SweepRow(Struct, frozen=True, omit_defaults=True):
    """One row of one item."""

    layer: Layer
    top: Annotated[tuple[Token, ...], Meta(max_length=1000)]
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

    path: FileName
    sha256: Digest
    note: Text | None = None
    """What had to be chosen to show it, as in `engine.records.Picture`."""
    quoted: Quoted | UnsetType = UNSET
    """The name in full where its bytes are not UTF-8, so that `path` only resembles it."""


Shares = Annotated[tuple[float | None, ...], Meta(max_length=100)]


class LayerShares(Struct, frozen=True, omit_defaults=True):
    """Where the heads of one layer look, on average, from the position whose answer is read."""

    layer: Layer
    """Layer l takes row l to row l + 1."""
    keys: Literal["tokens", "states"] = "tokens"
    """What is looked at: the tokens of the sequence, or in cross-attention the states of an encoder
    or of a vision tower. A layer can have both."""
    shares: Shares | None = None
    """[groups + 1]: the weight on each group of tokens; the last is the weight on learned sinks,
    which lies on no token."""
    on_sinks: Shares | None = None
    """[groups]: how much of it lies on the group's tokens with massive activations."""
    without_sinks: Shares | None = None
    """[groups]: the shares of what lies on other tokens, scaled to sum to 1 in every head; None for
    a layer whose heads look at sinks alone."""
    reason: Text | None = None
    """Why there are no shares: no attention here, or the weights could not be proved."""


class AttentionShares(Struct, frozen=True, tag_field="method", tag="attention"):
    """Where an item's heads look, layer by layer."""

    groups: Annotated[tuple[Name, ...], Meta(max_length=99)]
    layers: Annotated[tuple[LayerShares, ...], Meta(max_length=2 * MOST_LAYERS)]
    """Ascending."""
    sinks: NonNegative
    """How many tokens have massive activations."""
    proof: ReadingProof
    """The worst of all layers' that have shares."""


class DecodedAnswer(Struct, frozen=True, omit_defaults=True):
    """One answer in full."""

    text: Text
    """Without special tokens."""
    tokens: Annotated[int, Meta(ge=1, le=MOST_NEW_TOKENS)]
    """With the end token."""
    ended: bool
    """Whether the model ended it, rather than the limit of new tokens."""
    matched: Text | None = None
    """What it says, of the answers that it is compared with (see `engine.sweeps.matching`); None
    for none of them, and where no truth is known. It is right if this is the item's truth."""


class SettingAnswers(Struct, frozen=True):
    """The answers to one question with one setting."""

    setting: Name
    """Its name in reports: `greedy`, `temperature=0.7`."""
    answers: Annotated[tuple[DecodedAnswer, ...], Meta(min_length=1, max_length=MOST_ANSWERS)]


class DecodedAnswers(Struct, frozen=True, omit_defaults=True, tag_field="method", tag="answer"):
    """An item's answers with every setting of the sweep, in its order."""

    settings: Annotated[tuple[SettingAnswers, ...], Meta(max_length=MOST_SETTINGS)]
    given: Annotated[tuple[Text, ...], Meta(max_length=100)] = ()
    """What each of ten people answered, if the data has that."""


class DepthCurve(Struct, frozen=True):
    """Numbers by depth, with a name."""

    name: Name
    values: Annotated[tuple[float | None, ...], Meta(max_length=MOST_LAYERS + 1)]
    """One for every layer or row; None where there is none."""


class DepthSet(Struct, frozen=True, omit_defaults=True):
    """What a method found about an item and one thing that it was asked about."""

    of: Name
    """What that is: `answer minus runner-up`, `noise=500`."""
    by: Literal["layer", "row"]
    """What curves have a value for: each layer, 0 to L - 1, or each row, 0 to L."""
    numbers: Annotated[dict[Name, float | None], Meta(max_length=MOST_CURVES)]
    """What belongs to no layer or row, by name; under the name of a curve the sum of its values."""
    curves: Annotated[tuple[DepthCurve, ...], Meta(max_length=MOST_CURVES)]
    tokens: Annotated[tuple[Token, ...], Meta(max_length=2)] = ()
    """The token that it is about, or the two whose difference it is."""


class DepthReading(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="method"):
    """What a method found about an item by depth (see `engine.sweeps.depth`)."""

    sets: Annotated[tuple[DepthSet, ...], Meta(max_length=10)] = ()
    proof: ReadingProof | None = None
    reason: Text | None = None
    """Why nothing could be read of this item; there are no sets then."""


class PartShares(DepthReading, frozen=True, tag="parts"):
    """What every part of the model wrote of a difference of two logits."""


class Recoveries(DepthReading, frozen=True, tag="tracing"):
    """How much of the difference between two pictures every site and row brings back."""


class SweepItem(Struct, frozen=True):
    """One question about one picture, and all its rows."""

    item: ItemId
    picture: ItemPicture | None
    prompt: Text
    group: Text
    truth: Text | None
    spellings: Annotated[tuple[NonNegative, ...], Meta(max_length=10_000)]
    """The first token of each spelling of the truth."""
    rows: Annotated[tuple[SweepRow, ...], Meta(max_length=MOST_LAYERS + 1)]
    rows_unnormed: Annotated[tuple[SweepRow, ...], Meta(max_length=MOST_LAYERS)] | None
    """All rows but the last, without the final norm; None where it cannot be left out."""
    proof: Proof
    seconds: Annotated[dict[Name, float], Meta(max_length=100)] = field(default_factory=dict)
    several_tokens: bool = False
    """Whether no spelling of the truth is one token, so that only first tokens are compared."""
    against: Replacement | UnsetType = UNSET
    """What stood in the place of the picture, as it was asked for; absent for the picture itself.
    """
    counterfactual: Counterfactual | UnsetType | None = UNSET
    """The same with everything needed to repeat it; absent, too, for the picture itself."""

    readings: (
        Annotated[
            tuple[AttentionShares | DecodedAnswers | PartShares | Recoveries, ...],
            Meta(max_length=10),
        ]
        | UnsetType
    ) = UNSET
    """What else was read; what other versions have read is only in the file."""
    made: Made | UnsetType = UNSET
    """What of its pass was taken from those of other questions; absent if nothing was, and nothing
    could have been."""

    @property
    def instead(self) -> str:
        """What stood in the place of the picture; empty for the picture itself."""
        return "" if self.against is UNSET else self.against


class Failure(Struct, frozen=True):
    """One question that could not be asked."""

    item: Name
    """Its id; empty where the picture could not be read."""
    picture: FileName
    prompt: Text
    error: Text
    group: Text = ""
    truth: Text | None = None
    quoted: Quoted | UnsetType = UNSET
    """As that of an item's picture."""
    against: Replacement | UnsetType = UNSET
    """As that of an item."""


class SweepQuestion(Struct, frozen=True):
    """What all questions of a sweep have in common."""

    chat: bool
    system: Text | None
    prefix: Text


class SweepData(Struct, frozen=True):
    """Where the questions come from."""

    kind: Name
    path: Name
    digest: Name
    """A digest of what the source lists: names of pictures, questions and truths."""
    pictures: NonNegative
    items: NonNegative
    rule: Text = ""
    """How truths are derived, in words."""
    folder: Name = ""
    """Where pictures are looked for by their names; empty in sweeps of older versions."""


class Decoding(Struct, frozen=True):
    """How whole answers are decoded."""

    settings: Annotated[tuple[DecodingSettings, ...], Meta(min_length=1, max_length=MOST_SETTINGS)]
    """The first is greedy, with which the others are compared. Seeds are those that were asked for;
    every item has one of its own made from it (`engine.sweeps.answering.seed_of`)."""
    draws: Annotated[int, Meta(ge=1, le=MOST_ANSWERS)] = 1
    """How many answers to an item are drawn with each setting that draws at random."""

    def draws_of(self, settings: DecodingSettings) -> int:
        """How many answers to an item are decoded with one of these settings."""
        return self.draws if settings.samples else 1


class DepthOrder(Struct, frozen=True, omit_defaults=True):
    """What a method that reads by depth is asked of every item."""

    request: dict[Name, Any] = {}
    """The fields of its request, as `--read` takes them."""
    against: Counterfactual | None = None
    """What stands in the place of the picture in the pass that is compared."""


class Sweep(Struct, frozen=True):
    """What a folder of results belongs to; the same for all its shards."""

    created: Name
    model: ModelCard
    layers: Layer
    question: SweepQuestion
    data: SweepData
    prompts: tuple[Text, ...]
    weights: Name = ""
    """A digest of some of the weights as they were run, quantised or not."""
    offloaded: Name = ""
    """A digest of the checkpoint's files, if some of its weights were not in memory: `weights` does
    not tell these from others."""
    versions: dict[str, str] = field(default_factory=dict)
    against: Annotated[tuple[Counterfactual, ...], Meta(max_length=MOST_AGAINST)] = ()
    """What every question was also asked with instead of its picture."""
    reads: Annotated[tuple[Name, ...], Meta(max_length=10)] = ()
    """What is read of every item besides its rows, by the names of methods."""
    decoding: Decoding | None = None
    """With which settings every item is answered in full; None where answers are not read."""
    orders: dict[Name, DepthOrder] = field(default_factory=dict)
    """By the names of methods that read by depth."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What was found out: why nothing is batched, reused, or read without norm, and how pictures
    were shown."""
    format: Literal["lenscope-sweep"] = "lenscope-sweep"
    version: Annotated[int, Meta(ge=1, le=2**53)] = VERSION
