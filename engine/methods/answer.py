"""The lens along the answer: every row at every generated token, and how the answer was decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta, Struct, structs

from engine.arrays import Array, Kind, check_shape
from engine.lens.decoding_settings import MOST_NEW_TOKENS, DecodingSettings
from engine.methods.grid import Approximate
from engine.methods.method import Method, Stop, Subject
from engine.records import (
    Long,
    NonNegative,
    Part,
    Positive,
    Reading,
    Request,
    Run,
    Short,
)
from engine.tables import Table

SHOWN: Final = 3
"""Top tokens of a row that are kept of each step; a step that is opened has more."""
MOST_DRAWS: Final = 10_000

Prior = Literal["none", "unk", "both"]


class AnswerRequest(Request, frozen=True):
    """How to decode the answer, and what else to find out along it."""

    own_pass: ClassVar[bool] = True

    max_new_tokens: Annotated[int, Meta(ge=1, le=MOST_NEW_TOKENS)] = 20
    temperature: Annotated[float, Meta(ge=0.0, le=1000.0)] | None = None
    top_k: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    min_p: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0, le=100.0)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """For all of these see `DecodingSettings`."""
    draws: Annotated[int, Meta(ge=1, le=MOST_DRAWS)] = 1
    """How many answers are drawn; the first has rows, all are in the tally."""
    vdd: Prior | None = None
    """The picture's prior to take off while decoding: of the prompt without the picture, with the
    unknown token in its place, or the mean of both (Zhang et al. 2024, arXiv 2403.05262)."""
    alpha: Annotated[float, Meta(ge=0.0, le=100.0)] = 1.0
    """How much of the prior is taken off: z = (1 + alpha) z_picture - alpha z_prior."""
    beta: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.1
    """Tokens less probable than beta times the most probable one, with the picture, are ruled out.
    """
    attention: bool = False
    """Whether to read each step's attention on the picture."""
    against: Short = ""
    """A counterfactual ("none", "noise=500") to compare every step with; empty for none."""

    @property
    def settings(self) -> DecodingSettings:
        """The settings of `generate`."""
        names = DecodingSettings.__struct_fields__
        return DecodingSettings(**{name: getattr(self, name) for name in names})


class Draw(Struct, frozen=True):
    """One text that was drawn, and how often."""

    text: Long
    count: Positive


class AnswerPart(Part, frozen=True):
    """The next steps of the answer, as they are decoded; arrays as in `AnswerReading`, of these
    steps alone."""

    first: NonNegative
    """The number of the first of these steps."""
    tokens: Array
    taken: Array
    probability: Array
    removed: Array
    ids: Array
    logits: Array
    lse: Array
    entropy: Array
    rms: Array
    texts: dict[int, Short]
    """The texts of the ids in these steps."""
    text: Long
    """The whole answer so far."""
    of: Positive
    """How many steps there will be at most."""
    drawn: NonNegative = 0
    """How many further answers have been drawn so far."""


class AnswerReading(Reading, frozen=True, kw_only=True, tag="answer"):
    """An answer of S tokens with R = L + 1 rows at each step.

    Step k chose token k; its rows are those of the position before that token: for step 0 the run's
    own. Token k of the answer stands at position len(run.tokens) + k, in every request and in
    `Run.others`, which belong to the newest answer of the run.
    """

    request: AnswerRequest
    tokens: Array
    """int32 [S]: the tokens that were taken, with the end token if the answer ended."""
    taken: Array
    """float32 [S]: the probability with which each was drawn, after all settings; 1 if greedy."""
    probability: Array
    """float32 [S]: the model's own probability of each, before any setting."""
    removed: Array
    """int32 [S]: how many tokens the settings ruled out."""
    ids: Array
    """int32 [S, R, 3]: the best tokens of each row, the best one first; row L is the model's own
    distribution, before any setting."""
    logits: Array
    """float32 [S, R, 3]."""
    lse: Array
    """float32 [S, R]: logsumexp of all logits; a probability is exp(logit - lse)."""
    entropy: Array
    """float32 [S, R], in nats."""
    rms: Array
    """float32 [S, R]: sqrt(mean(x^2)) of the residual stream."""
    texts: dict[int, Short]
    """Token id -> its text (see `engine.records.Token`), for every id in `ids` and `tokens`."""
    text: Long
    """The whole answer, without special tokens."""
    ended: bool
    """Whether the model ended it, rather than the limit of new tokens."""
    settings: dict[Short, bool | int | float]
    """Every setting by `generate`'s name, as it was used: see `DecodingSettings.explicit`."""
    left_out: Annotated[tuple[Short, ...], Meta(max_length=100)] = ()
    """What the checkpoint's own generation config would have set, and was not used; a line each."""
    kept: Annotated[tuple[Short, ...], Meta(max_length=100)] = ()
    """What of the checkpoint's own was used, because `generate` cannot do without; a line each."""
    draws: Annotated[tuple[Draw, ...], Meta(max_length=MOST_DRAWS)] = ()
    """The texts that were drawn, the most frequent first; their counts sum to the request's draws.
    """
    plain: Long | None = None
    """With `vdd`: the text with the same settings without it."""
    picture: Array | None = None
    """float32 [S]: the share of the attention of the step's position that lies on the picture's
    tokens, mean over all heads of all layers that have attention on tokens."""
    picture_reason: Short | None = None
    """Why there is no share of the picture."""
    js: Array | None = None
    """float32 [S]: Jensen-Shannon divergence, in nats, of the model's distribution and that of the
    counterfactual given the same beginning of the answer."""
    approximate: tuple[Approximate, ...] = ()
    """The rows that are not exactly the truncated model's, and why."""

    def __post_init__(self) -> None:
        steps = self.tokens.shape[0] if len(self.tokens.shape) == 1 else 0
        rows = self.lse.shape[1] if len(self.lse.shape) == 2 else 0
        shapes: tuple[tuple[str, Kind, tuple[int, ...]], ...] = (
            ("tokens", "<i4", (steps,)),
            ("taken", "<f4", (steps,)),
            ("probability", "<f4", (steps,)),
            ("removed", "<i4", (steps,)),
            ("ids", "<i4", (steps, rows, SHOWN)),
            ("logits", "<f4", (steps, rows, SHOWN)),
            ("lse", "<f4", (steps, rows)),
            ("entropy", "<f4", (steps, rows)),
            ("rms", "<f4", (steps, rows)),
            ("picture", "<f4", (steps,)),
            ("js", "<f4", (steps,)),
        )
        for name, kind, shape in shapes:
            array = getattr(self, name)
            if isinstance(array, Array):
                check_shape(name, array, kind, shape)

    def merged(self, run: Run) -> Run:
        """The run with this answer. What was read at tokens of the answer before stays where this
        one begins with the same tokens."""
        before, now = answer_tokens(run), self.tokens.integers if self.worth_keeping else ()
        same = next(
            (
                place
                for place, pair in enumerate(zip(before, now, strict=False))
                if len({*pair}) > 1
            ),
            min(len(before), len(now)),
        )
        end = len(run.tokens) + same
        return Reading.merged(
            self,
            structs.replace(
                run,
                others=tuple(other for other in run.others if other.position < end),
                readings=tuple(each for each in run.readings if each.reaches < end),
            ),
        )

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        if self.tokens.shape[0] < 1:
            return "an answer without tokens"
        if self.lse.shape[1] != run.layers + 1:
            return f"rows beyond {run.layers}"
        return None


class Answer(Method[AnswerRequest, AnswerReading]):
    """Decodes the answer of a run, and reads every row at every step while it is decoded."""

    name: ClassVar[str] = "answer"
    title: ClassVar[str] = "The rows at every token of the answer, and how it is decoded"
    request = AnswerRequest
    reading = AnswerReading

    def read(
        self, subject: Subject, request: AnswerRequest, stop: Stop
    ) -> Iterator[AnswerPart | AnswerReading]:
        """Decode, and hand out the steps as they come."""
        raise NotImplementedError

    def tables(self, reading: AnswerReading) -> tuple[Table, ...]:
        """The tokens with the model's top tokens; the tally of the draws; the settings."""
        raise NotImplementedError


def newest_answer(run: Run) -> AnswerReading | None:
    """The answer to which positions beyond the prompt belong; None if the run has none."""
    answers = [each for each in run.readings if isinstance(each, AnswerReading)]
    return answers[-1] if answers else None


def answer_tokens(run: Run) -> tuple[int, ...]:
    """The ids of the newest answer's tokens; none if the run has no answer, or if the newest one
    failed its proof."""
    answer = newest_answer(run)
    return () if answer is None or not answer.worth_keeping else answer.tokens.integers
