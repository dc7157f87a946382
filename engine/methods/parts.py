"""Which parts of the model wrote the answer: a logit as a sum over embedding, attention and MLPs.

Direct logit attribution with the final norm frozen, as in TransformerLens's `logit_attrs`; heads
and source positions as in Elhage et al. 2021 ("A Mathematical Framework for Transformer
Circuits"). What a part's share does not say, taking the part out does: later parts make up for it
(self-repair, McGrath et al. 2023, arXiv 2307.15771).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from msgspec import Meta, Struct, structs

from engine.arrays import Array, check_shape
from engine.errors import BadInput, CannotRead
from engine.methods.everywhere import last_position, resolved
from engine.methods.logit_asked import (
    UNCHANGED,
    WORDS,
    Pushed,
    asked_ids,
    asked_tokens,
    described,
    difference_of,
    pushed,
)
from engine.methods.method import Method, Stop, Subject
from engine.methods.without_picture import no_picture_to_replace
from engine.records import (
    Layer,
    NonNegative,
    Number,
    Part,
    Reading,
    ReadingProof,
    Request,
    Run,
    RunId,
    Short,
    Token,
    finite,
)
from engine.tables import Cell, Column, Table

if TYPE_CHECKING:
    from engine.lens.logit_parts import LogitPart, LogitParts
    from engine.lens.part_ablation import PartAblations
    from engine.lens.repeated import RepeatedPasses
    from engine.prompts.token_texts import TextOf

PROVED: Final = (
    "the sum of all parts against the output of the model's own head, the largest difference over "
    "the vocabulary, relative where a logit is above 1"
)
WORDED: Final = 100
"""Of how many parts, and of how many heads, the largest, the words are told."""
MOST_PARTS: Final = 2**20
_PRINTED: Final = 20
"""How many heads, and how many sources, a printed table shows."""


class PartsRequest(Request, frozen=True):
    """Which logit to take apart, and how far."""

    own_pass: ClassVar[bool] = True

    position: int = -1
    """The position whose logits are taken apart; negative ones count back from the last token of
    the prompt, and those from its length on are the tokens of the answer."""
    heads: bool = False
    """Whether every attention is also divided among its heads."""
    of: Annotated[tuple[Short, ...], Meta(max_length=2)] = ()
    """A word, or two: the first one's logit minus the second one's. Of each, the first token of its
    most likely spelling counts. If empty, the best token minus the second best; with `against`,
    the best token."""
    against: Short = ""
    """A run without the picture, by id or by counterfactual: its shares are subtracted."""
    ablate: Annotated[int, Meta(ge=0, le=1000)] = 0
    """How many parts, the largest ones, are also taken out, each in a pass of its own; and with
    `heads` as many heads."""
    without: Short = ""
    """One more part that is taken out, by its layer and its name, such as "3.attention" or "3.MLP";
    with `heads`, a head by its layer and number: "3.1"."""
    layer: Layer | None = None
    head: NonNegative | None = None
    """The head of that layer of which it is told what every position has sent."""


class PartShare(Struct, frozen=True):
    """A part, and its share of the logit."""

    layer: Layer | None
    """Layer l takes row l to row l + 1; None for the embedding and the bias. Of what is added
    between layers, the row before which it is added."""
    name: Short
    """"embedding", "attention", "MLP", "bias", another module's name, or "whole layer"."""
    share: Number | None
    head: NonNegative | None = None
    """None for a part that is no head; among `heads`, for what comes from no head of that layer."""
    effect: Number | None = None
    """By how much the logit falls if the part is zero at the position and everything after it runs
    on; None if it was not taken out."""
    reason: Short | None = None
    """Why it is one part and not several."""
    promotes: tuple[Pushed, ...] = ()
    suppresses: tuple[Pushed, ...] = ()
    """Beginning with the most; empty for smaller parts. A reading about one part (a `layer` and its
    head, or `without`) has only that one's; any other reading of the logit has the rest."""


class Sent(Struct, frozen=True):
    """What one head has been sent from every position, in the run itself: a run without the picture
    is not subtracted."""

    layer: Layer
    head: NonNegative
    keys: Short
    """"tokens" of the run; or "states" of an encoder or a vision tower, alone or among them."""
    share: Number | None
    """Of the head."""
    shares: Array
    """float32 [keys]: they sum to the share."""
    error: Number | None
    """|sum - share| / max(1, |share|)"""


class PartsPart(Part, frozen=True):
    """The parts, with those taken out so far."""

    position: NonNegative
    of: tuple[Token, ...]
    parts: tuple[PartShare, ...]
    heads: tuple[PartShare, ...]
    done: NonNegative
    orders: NonNegative
    """How many parts will be taken out."""


class PartsReading(Reading, frozen=True, kw_only=True, tag="parts"):
    """The parts of a logit, or of the difference of two."""

    request: PartsRequest
    position: NonNegative
    """Index into the run's tokens and those of its answer."""
    of: Annotated[tuple[Token, ...], Meta(min_length=1, max_length=2)]
    """The token, or the two whose difference it is."""
    value: Number | None
    """What the shares sum to: the output of the head, before any scale and soft-cap."""
    parts: Annotated[tuple[PartShare, ...], Meta(max_length=MOST_PARTS)]
    """In the order of the layers."""
    heads: Annotated[tuple[PartShare, ...], Meta(max_length=MOST_PARTS)] = ()
    """Those of a layer sum to its attention's share."""
    error: Number | None
    """See `LogitParts.error`; the worst of all sums that this reading has."""
    sent: Sent | None = None
    against: RunId | None = None

    @property
    def refers_to(self) -> tuple[RunId, ...]:
        """The run whose shares are subtracted."""
        return () if self.against is None else (self.against,)

    def fulfils(self, request: Request) -> bool:
        """Whether it is what a request asks for, whichever way that names the other run."""
        if not isinstance(request, PartsRequest):
            return False
        names = (self.request.against, self.against)
        same = structs.replace(request, against=self.request.against) == self.request
        return same and request.against in names

    def __post_init__(self) -> None:
        if self.sent is not None and isinstance(self.sent.shares, Array):
            shape = self.sent.shares.shape
            check_shape("shares", self.sent.shares, "<f4", shape[:1] or (0,))

    @property
    def reaches(self) -> int:
        """See `Reading.reaches`."""
        return self.position

    def misfit(self, run: Run) -> str | None:
        """See `Reading.misfit`."""
        if self.position > last_position(run):
            return f"position {self.position} of {last_position(run) + 1} tokens"
        if any((each.layer or 0) > run.layers for each in (*self.parts, *self.heads)):
            return f"layers beyond {run.layers}"
        sent, tokens = self.sent, max(len(run.tokens), self.position + 1)
        if sent is not None and sent.keys == "tokens" and sent.shares.shape[0] != tokens:
            return f"{sent.shares.shape[0]} sources of {tokens} tokens"
        return None


class Parts(Method[PartsRequest, PartsReading]):
    """Reads the parts in a pass of its own over the run's inputs; one more for each that is taken
    out."""

    name: ClassVar[str] = "parts"
    title: ClassVar[str] = "Which parts of the model wrote the answer"
    request = PartsRequest
    reading = PartsReading

    def needs(self, request: PartsRequest) -> tuple[str, ...]:
        """The counterfactual whose shares are subtracted."""
        return (request.against,) if request.against else ()

    def read(
        self, subject: Subject, request: PartsRequest, stop: Stop
    ) -> Iterator[PartsPart | PartsReading]:
        """Read the parts, then take out the largest.

        Raises BadInput for a position, layer, head or word that there is not, or another run that
        does not end with the same tokens; CannotRead if the model is one part.
        """
        from engine.lens.reading_parts import read_parts
        from engine.lens.repeated import RepeatedPasses
        from engine.prompts.token_texts import texts_for

        if (request.layer is None) != (request.head is None):
            raise BadInput("the sources of a head need both its layer and its head")
        (position,) = resolved(subject.run, [request.position])
        other = _other(subject, request, position)
        subject = subject.reaching([position])
        lens = subject.loaded.lens
        passes = RepeatedPasses(lens, subject.inputs, [position], stop)
        source = None
        if request.layer is not None and request.head is not None:
            source = request.layer, request.head
        found = read_parts(lens, subject.inputs, position, request.heads, source, stop, passes)
        if found.head is None:
            raise CannotRead(f"its logits are no sum of parts: {found.parts[0].reason}")
        ids = asked_ids(subject, request.of, found.logits, alone=bool(request.against))
        without = None
        if other is not None:
            back = position - len(subject.run.tokens)
            without = read_parts(lens, other.inputs, back, request.heads, source, stop)
        shown = _Shown(found, without, ids, texts_for(lens.model))
        chosen = shown.chosen(request.ablate, request.without)
        gap, what = 0.0, PROVED
        if chosen:
            gap, what = (yield from self._taken_out(shown, passes, chosen)), PROVED + UNCHANGED
        error = max(shown.error, *(each.error for each in (found, without) if each is not None))
        sent = shown.sent(len(subject.run.tokens))
        if sent is not None and sent.error is not None:
            error = max(error, sent.error)
        yield PartsReading(
            request=request,
            proof=ReadingProof(
                what=what,
                error=finite(max(error, gap)),
                tolerance=found.tolerance,
                passed=error <= found.tolerance and gap == 0.0,
            ),
            position=position,
            of=shown.of,
            value=finite(shown.value),
            parts=shown.records(heads=False, about=_named(request)),
            heads=shown.records(heads=True, about=_named(request)) if request.heads else (),
            error=finite(error),
            sent=sent,
            against=None if other is None else other.run.id,
        )

    def _taken_out(
        self, shown: _Shown, passes: RepeatedPasses, chosen: Sequence[LogitPart]
    ) -> Generator[PartsPart, None, float]:
        """Returns how far the editors alone have moved the logits."""
        from engine.lens.part_ablation import PartAblations

        ablations = PartAblations(passes, shown.found, chosen)
        for done, part in enumerate(chosen):
            yield shown.part(done, len(chosen))
            shown.take_out(part, ablations)
        yield shown.part(len(chosen), len(chosen))
        return ablations.gap

    def tables(self, reading: PartsReading) -> tuple[Table, ...]:
        """A line a part; the largest heads; the largest sources."""
        what = described(reading.of)
        if reading.request.against:
            what += f", minus the same with {reading.request.against}"
        title = f"parts of {what}, at position {reading.position}"
        total = "not a number" if reading.value is None else f"{reading.value:.4g}"
        error = "not a number" if reading.error is None else f"{reading.error:.1e}"
        notes = (
            f"They sum to {total}; error {error}. Shares say which parts wrote the logit, with the "
            "final norm as it is at the end; not which were needed.",
        )
        taken_out = bool(reading.request.ablate or reading.request.without)
        lines = _lines(reading.parts, taken_out)
        tables = [Table(title, _columns(reading, heads=False), lines, notes)]
        if reading.heads:
            shown = sorted(reading.heads, key=lambda each: -abs(each.share or 0.0))[:_PRINTED]
            some = f"the {len(shown)} largest of {len(reading.heads)} heads"
            lines = _lines(shown, taken_out, heads=True)
            tables.append(Table(some, _columns(reading, heads=True), lines))
        if reading.sent is not None:
            tables.append(_sources(reading.sent))
        return tuple(tables)


class _Shown:
    """What was found, as records: of one token or the difference of two, with the parts of a run
    without the picture subtracted if there is one."""

    def __init__(
        self, found: LogitParts, without: LogitParts | None, ids: Sequence[int], text_of: TextOf
    ) -> None:
        self.found, self._without, self._ids, self._text_of = found, without, [*ids], text_of
        self.of = asked_tokens(found.logits, ids, text_of)
        self._effects: dict[LogitPart, float] = {}
        self._whole, self._heads = _Side(found.together(), ids), _Side(found, ids)
        self.value = self._whole.value
        self.error = max(self._whole.error, self._heads.error)
        self._minus: dict[tuple[int | None, str, int | None, bool], float] = {}
        self._gone: list[tuple[LogitPart, float]] = []
        if without is not None:
            its = _Side(without.together(), ids)
            self.value -= its.value
            self.error = max(self.error, its.error)
            known = {_key(part) for part in self._whole.parts}
            for side in (_Side(without, ids), its):
                for part, share in zip(side.parts, side.shares, strict=True):
                    self._minus[_key(part)] = share
                    if side is its and _key(part) not in known:
                        self._gone.append((part, share))

    def chosen(self, most: int, named: str) -> list[LogitPart]:
        """The parts that can be taken out whose shares are the largest, as many heads, and the one
        that is named, if any is.

        Raises BadInput if none that can be taken out has that name.
        """
        from engine.lens.part_ablation import can_be_taken_out

        chosen: list[LogitPart] = []
        wanted: list[LogitPart] = []
        for side, heads in ((self._whole, False), (self._heads, True)):
            some = [
                (part, self._share(part, share))
                for part, share in zip(side.parts, side.shares, strict=True)
                if can_be_taken_out(part) and (part.head is not None) is heads
            ]
            wanted += [part for part, _ in some if named == part_name(part)]
            some.sort(key=lambda pair: -abs(pair[1]))
            chosen += [part for part, _ in some[:most]]
        if named and not wanted:
            raise BadInput(f"no part that can be taken out is called {named!r}")
        return [*chosen, *(part for part in wanted[:1] if part not in chosen)]

    def take_out(self, part: LogitPart, ablations: PartAblations) -> None:
        """Run a pass without a part, and note by how much the value has fallen."""
        own = self.found.own.double()[self._ids]
        left = ablations.without(part).double()[self._ids]
        self._effects[part] = float(difference_of(own) - difference_of(left))

    def part(self, done: int, orders: int) -> PartsPart:
        """What is known so far."""
        has_heads = any(part.head is not None for part in self._heads.parts)
        return PartsPart(
            position=self.found.position,
            of=self.of,
            parts=self.records(heads=False, worded=0),
            heads=self.records(heads=True, worded=0) if has_heads else (),
            done=done,
            orders=orders,
        )

    def records(
        self, heads: bool, worded: int = WORDED, about: Collection[str] = ()
    ) -> tuple[PartShare, ...]:
        """The parts, or the heads with what comes from none, in the order of the layers: with the
        words of the largest, only of those named in `about` if any are."""
        side = self._heads if heads else self._whole
        wanted = [
            (index, part, self._share(part, share))
            for index, (part, share) in enumerate(zip(side.parts, side.shares, strict=True))
            if not heads or part.head is not None or part.rest
        ]
        named = [each for each in wanted if not about or part_name(each[1]) in about]
        order = sorted(named, key=lambda each: -abs(each[2]))[:worded]
        indices = [index for index, _, _ in order]
        words = dict(zip(indices, side.found.words(indices, WORDS), strict=True)) if indices else {}
        made = []
        for index, part, share in wanted:
            both = words.get(index) if bool(side.found.vectors[index].any()) else None
            effect = self._effects.get(part)
            made.append(
                PartShare(
                    layer=part.layer,
                    name=part.name,
                    share=finite(share),
                    head=part.head,
                    effect=None if effect is None else finite(effect),
                    reason=part.reason,
                    promotes=() if both is None else pushed(both[0], self._text_of),
                    suppresses=() if both is None else pushed(both[1], self._text_of),
                )
            )
        if not heads and self._gone:
            # What only the other run has; the bias stays the last.
            gone = [PartShare(part.layer, part.name, finite(-share)) for part, share in self._gone]
            made[-1:-1] = gone
        return tuple(made)

    def sent(self, tokens: int) -> Sent | None:
        """What the head that was named has been sent, in a run of so many tokens."""
        sources = self.found.sources
        if sources is None:
            return None
        every, whole = self.found.sent(self._ids)
        shares, share = difference_of(every), float(difference_of(whole))
        return Sent(
            layer=sources.layer,
            head=sources.head,
            keys=sources.keys if len(shares) == tokens else "states",
            share=finite(share),
            shares=Array.of(shares.float().numpy(), "<f4"),
            error=finite(abs(float(shares.sum()) - share) / max(1.0, abs(share))),
        )

    def _share(self, part: LogitPart, share: float) -> float:
        return share - self._minus.get(_key(part), 0.0)


class _Side:
    """The shares of the parts of one pass."""

    def __init__(self, found: LogitParts, ids: Sequence[int]) -> None:
        self.found, self.parts = found, found.parts
        self.shares: list[float] = difference_of(found.shares(ids)).tolist()
        own = found.own[list(ids)].double()
        self.value = float(difference_of(own))
        """What they sum to, by the model's own head."""
        size = max(1.0, float(own.abs().max()))
        self.error = abs(math.fsum(self.shares) - self.value) / size
        """Relative to the larger of the two logits, if that is above 1."""


def _named(request: PartsRequest) -> tuple[str, ...]:
    """The parts that a request is about; none if it is about all."""
    mapped = () if request.layer is None else (f"{request.layer}.{request.head}",)
    return (*mapped, request.without) if request.without else mapped


def part_name(part: LogitPart | PartShare) -> str:
    """How a request names a part that is taken out."""
    return f"{part.layer}.{part.name if part.head is None else part.head}"


def _key(part: LogitPart) -> tuple[int | None, str, int | None, bool]:
    """By which a part is the same in two runs."""
    return part.layer, part.name, part.head, part.rest


def _other(subject: Subject, request: PartsRequest, position: int) -> Subject | None:
    """The run whose shares are subtracted, with the same tokens of an answer if the position is
    among them.

    Raises BadInput if there is none, or if from the position on it has other tokens.
    """
    if not request.against:
        return None
    reason = no_picture_to_replace(subject)
    if reason is not None:
        raise BadInput(reason)
    asked, subject = len(subject.run.tokens), subject.reaching([position])
    answer = [token.id for token in subject.run.tokens[asked:]]
    other = subject.against(request.against).followed_by(answer)
    back = position - len(subject.run.tokens)
    mine, its = subject.run.tokens[back:], other.run.tokens[back:]
    if [token.id for token in mine] != [token.id for token in its]:
        raise BadInput("from this position on, the run without the picture has other tokens")
    return other


def _columns(reading: PartsReading, heads: bool) -> tuple[Column, ...]:
    request = reading.request
    is_any_out = bool(request.ablate or request.without)
    taken_out = (Column("effect", "number", "taken out"),) if is_any_out else ()
    return (
        Column("layer", "count"),
        *((Column("head", "count"),) if heads else (Column("part"),)),
        Column("share", "number"),
        *taken_out,
        Column("promotes"),
        Column("suppresses"),
        *(() if heads else (Column("note"),)),
    )


def _lines(
    parts: Sequence[PartShare], taken_out: bool, heads: bool = False
) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (
            each.layer,
            each.head if heads else each.name,
            each.share,
            *((each.effect,) if taken_out else ()),
            " ".join(repr(word.text) for word in each.promotes),
            " ".join(repr(word.text) for word in each.suppresses),
            *(() if heads else (each.reason or "",)),
        )
        for each in parts
    )


def _sources(sent: Sent) -> Table:
    shares = sent.shares.values.tolist()
    order = sorted(range(len(shares)), key=lambda key: -abs(shares[key]))[:_PRINTED]
    share = "not a number" if sent.share is None else f"{sent.share:.4g}"
    where = "position" if sent.keys == "tokens" else "state"
    return Table(
        f"what layer {sent.layer}, head {sent.head} was sent from each {where}",
        (Column(where, "count"), Column("share", "number")),
        tuple((key, shares[key]) for key in order),
        (f"The {len(order)} largest of {len(shares)}, which sum to {share}, the head's share.",),
    )
