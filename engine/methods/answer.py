"""The lens along the answer: every row at every generated token, and how the answer was decoded."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Final, Literal, TypedDict

from msgspec import Meta, Struct, structs

from engine.arrays import Array, Kind, check_shape
from engine.errors import Cancelled
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
    RunId,
    Short,
    finite,
)
from engine.stays import first_that_stays
from engine.tables import Candidate, Cell, Column, Table

SHOWN: Final = 3
"""Top tokens of a row that are kept of each step; a step that is opened has more."""
MOST_DRAWS: Final = 10_000
_BETWEEN_PARTS: Final = 0.03
"""Seconds between two parts, so that who draws them is not flooded."""

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
    """How many answers are drawn; the first has rows, all are in the tally. A reading that was
    stopped while further ones were drawn has the number of those that were."""
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


class StepArrays(TypedDict):
    """The numbers of some steps, as in `AnswerReading`."""

    tokens: Array
    taken: Array
    probability: Array
    removed: Array
    after_ids: Array
    after: Array
    ids: Array
    logits: Array
    lse: Array
    entropy: Array
    rms: Array


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
    after_ids: Array | None = None
    after: Array | None = None
    drawn: NonNegative = 0
    """How many further answers have been drawn so far."""
    ended: bool = False
    """Whether the model has ended the answer, with the last of these or of earlier steps."""


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
    after_ids: Array | None = None
    """int32 [S, 3]: the most probable tokens of the distribution that each token was drawn from,
    after all settings; -1 where fewer are left. None in files of earlier versions."""
    after: Array | None = None
    """float32 [S, 3]: their probabilities; 0 where there is no token."""
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
    """Token id -> its text (see `engine.records.Token`), for every id in `ids`, `tokens` and
    `after_ids`."""
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
    against: RunId | None = None
    """The run of that counterfactual. None in files of earlier versions."""
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
            ("after_ids", "<i4", (steps, SHOWN)),
            ("after", "<f4", (steps, SHOWN)),
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

    @property
    def formation(self) -> tuple[int | None, ...]:
        """For each step, the first row from which the token that was taken stays the best; None
        where it is not the best of row L, since sampling or a setting has chosen another."""
        return tuple(
            first_that_stays([best == token for best in row_ids])
            for token, row_ids in zip(
                self.tokens.integers, self.ids.values[:, :, 0].tolist(), strict=True
            )
        )

    @property
    def refers_to(self) -> tuple[RunId, ...]:
        """The run that its steps are compared with."""
        return () if self.against is None else (self.against,)

    def fulfils(self, request: Request) -> bool:
        """Whether it has been decoded with these settings, and knows what is asked for beside."""
        if not isinstance(request, AnswerRequest):
            return False
        mine = self.request
        return (
            structs.replace(request, attention=mine.attention, against=mine.against) == mine
            and (mine.attention or not request.attention)
            and request.against in ("", mine.against, self.against)
        )

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
        steps = self.tokens.shape[0]
        if not 1 <= steps <= self.request.max_new_tokens:
            return (
                f"an answer of {steps} tokens, where {self.request.max_new_tokens} were asked for"
            )
        if self.lse.shape[1] != run.layers + 1:
            return f"rows beyond {run.layers}"
        if any(each.row > run.layers for each in self.approximate):
            return f"approximate rows beyond {run.layers}"
        return None


class Answer(Method[AnswerRequest, AnswerReading]):
    """Decodes the answer of a run, and reads every row at every step while it is decoded."""

    name: ClassVar[str] = "answer"
    title: ClassVar[str] = "The rows at every token of the answer, and how it is decoded"
    ends_with_what_is_whole: ClassVar[bool] = True
    request = AnswerRequest
    reading = AnswerReading

    def supports(self, subject: Subject) -> str | None:
        """A reason where the model cannot decode an answer."""
        from engine.lens.decoding import why_no_answer

        return why_no_answer(subject.loaded.model)

    def needs(self, request: AnswerRequest) -> tuple[str, ...]:
        """The counterfactuals that give the priors, and the one that steps are compared with."""
        compared = (request.against,) if request.against else ()
        return tuple(dict.fromkeys((*priors_of(request.vdd), *compared)))

    def read(
        self, subject: Subject, request: AnswerRequest, stop: Stop
    ) -> Iterator[AnswerPart | AnswerReading]:
        """Decode, and hand out the steps as they come; then find out what else is asked for.

        If it is stopped once the answer is whole, while further ones are drawn, it ends with those
        that have been. Raises BadInput if the run has not been asked without its picture where that
        is needed.
        """
        from engine.asking.drawing import draw_answers, drawing_answers
        from engine.lens.decoding import own_settings
        from engine.methods.answer_extras import (
            divergence_of,
            picture_of,
            processors_of,
            without_picture,
        )
        from engine.methods.answer_steps import StepsFound

        loaded, settings = subject.loaded, request.settings
        found = StepsFound(loaded, settings.max_new_tokens)
        first = processors_of(subject, request)
        norm = subject.run.question.norm
        decoded = loaded.lens.start_answer(subject.inputs, settings, SHOWN, first, norm)
        told, told_at = 0, 0.0
        try:
            for steps in decoded:
                if stop():
                    raise Cancelled("cancelled")
                found.add(steps, subject)
                if len(found) > told and time.perf_counter() - told_at >= _BETWEEN_PARTS:
                    yield found.part(told)
                    told, told_at = len(found), time.perf_counter()
        finally:
            decoded.close()
        if len(found) > told or decoded.ended:
            yield found.part(told, ended=decoded.ended)
        plain = None
        if request.vdd is not None:
            (alone,) = draw_answers(loaded, subject.inputs, settings, stop=stop)
            plain = alone.text
        picture = picture_reason = js = without = None
        if request.attention:
            picture, picture_reason = picture_of(subject, found.tokens, stop)
        if request.against:
            without = without_picture(subject, request.against)
            js = divergence_of(subject, without, found.tokens, stop)
        # Last, since an answer that is stopped while more are drawn is whole without them.
        tally, drawn = Counter({found.text: 1}), 0
        if settings.samples and request.draws > 1:
            others = structs.replace(settings, seed=settings.seed + 1)
            try:
                for batch in drawing_answers(
                    loaded, subject.inputs, others, request.draws - 1, stop, first
                ):
                    tally.update(each.text for each in batch)
                    drawn += len(batch)
                    yield found.part(len(found), drawn, ended=decoded.ended)
            except Cancelled:
                request = structs.replace(request, draws=1 + drawn)
        else:
            tally[found.text] = request.draws
        own = own_settings(loaded.model, settings)
        yield AnswerReading(
            request=request,
            **found.arrays(0),
            texts=found.texts(0),
            text=found.text,
            ended=decoded.ended,
            settings=settings.explicit,
            kept=own.kept,
            left_out=own.left_out,
            draws=tuple(Draw(text, count) for text, count in tally.most_common()),
            plain=plain,
            picture=picture,
            picture_reason=picture_reason,
            js=js,
            against=None if without is None else without.run.id,
            approximate=found.approximate,
            proof=found.proof,
        )

    def tables(self, reading: AnswerReading) -> tuple[Table, ...]:
        """The tokens with the model's best ones; the tally of the draws; the settings."""
        return (*_tokens_table(reading), *_tally(reading), _settings_table(reading))


def _tokens_table(reading: AnswerReading) -> tuple[Table, ...]:
    columns = [
        Column("step", "count"),
        Column("token", "token"),
        Column("formation", "count", "formation row"),
        Column("probability", "share", "model's own"),
        Column("taken", "share", "drawn with"),
        Column("removed", "count", "ruled out"),
    ]
    tokens = reading.tokens.integers
    numbers: list[Sequence[Cell]] = [
        range(len(tokens)),
        [reading.texts.get(token, "") for token in tokens],
        reading.formation,
        _floats(reading.probability),
        _floats(reading.taken),
        reading.removed.integers,
    ]
    if reading.picture is not None:
        columns.append(Column("picture", "share", "attention on the picture"))
        numbers.append(_floats(reading.picture))
    if reading.js is not None:
        columns.append(Column("js", "number", f"JS {reading.request.against}", decimals=4))
        numbers.append(_floats(reading.js))
    logits, lse = reading.logits.values[:, -1], reading.lse.values[:, -1]
    for rank in range(SHOWN):
        columns.append(Column(f"top_{rank + 1}", "candidate", f"model's {rank + 1}."))
        numbers.append(
            [
                Candidate(reading.texts.get(token, ""), math.exp(logit - total))
                if math.isfinite(total)
                else None
                for token, logit, total in zip(
                    reading.ids.values[:, -1, rank].tolist(),
                    logits[:, rank].tolist(),
                    lse.tolist(),
                    strict=True,
                )
            ]
        )
    if (
        reading.after_ids is not None
        and reading.after is not None
        and reading.request.settings.samples
    ):
        for rank in range(SHOWN):
            columns.append(Column(f"after_{rank + 1}", "candidate", f"drawn from, {rank + 1}."))
            numbers.append(
                [
                    Candidate(reading.texts.get(token, ""), share) if token >= 0 else None
                    for token, share in zip(
                        reading.after_ids.values[:, rank].tolist(),
                        reading.after.values[:, rank].tolist(),
                        strict=True,
                    )
                ]
            )
    notes = [f"answer: {reading.text.strip()}"]
    if not reading.ended:
        notes.append("The limit of new tokens ended it, not the model.")
    if reading.plain is not None:
        notes.append(f"without the prior taken off: {reading.plain.strip()}")
    notes += [f"row {each.row} is approximate: {each.reason}" for each in reading.approximate]
    return (Table("answer", tuple(columns), tuple(zip(*numbers, strict=True)), tuple(notes)),)


def _tally(reading: AnswerReading) -> tuple[Table, ...]:
    if reading.request.draws == 1:
        return ()
    columns = (Column("answer"), Column("count", "count"), Column("share", "share"))
    total = sum(each.count for each in reading.draws)
    rows = tuple((each.text.strip(), each.count, each.count / total) for each in reading.draws)
    return (Table(f"{total} draws", columns, rows),)


def _settings_table(reading: AnswerReading) -> Table:
    columns = (Column("setting"), Column("value", "figure"))
    used = {**reading.settings, **_beside(reading.request)}
    rows = tuple((name, setting_text(value)) for name, value in used.items())
    notes = [f"kept of the checkpoint's own: {line}" for line in reading.kept]
    notes += [f"left out of the checkpoint's own: {line}" for line in reading.left_out]
    return Table("decoding", columns, rows, tuple(notes))


def _beside(request: AnswerRequest) -> dict[str, bool | int | float | str]:
    """The settings that are not `generate`'s, where they apply."""
    found: dict[str, bool | int | float | str] = {}
    if request.draws > 1:
        found["draws"] = request.draws
    if request.vdd is not None:
        found |= {"vdd": request.vdd, "alpha": request.alpha, "beta": request.beta}
    if request.attention:
        found["attention"] = True
    if request.against:
        found["against"] = request.against
    return found


def setting_text(value: bool | int | float | str) -> str:
    """The value of a setting, with every digit that it has."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _floats(array: Array) -> list[float | None]:
    return [finite(value) for value in array.values.tolist()]


def priors_of(vdd: Prior | None) -> tuple[str, ...]:
    """The counterfactuals that give the priors."""
    return ("none", "unk") if vdd == "both" else () if vdd is None else (vdd,)


def newest_answer(run: Run) -> AnswerReading | None:
    """The answer to which positions beyond the prompt belong; None if the run has none."""
    answers = [each for each in run.readings if isinstance(each, AnswerReading)]
    return answers[-1] if answers else None


def answer_tokens(run: Run) -> tuple[int, ...]:
    """The ids of the newest answer's tokens; none if the run has no answer, or if the newest one
    failed its proof."""
    answer = newest_answer(run)
    return () if answer is None or not answer.worth_keeping else answer.tokens.integers
