"""The results of a sweep as arrays, and which of them are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from engine.errors import BadInput
from engine.sweeps.checking import Damaged, check_item
from engine.sweeps.decoded import Decoded, answers_of, decoded_of
from engine.sweeps.depth.arrays import Depth, Readings, depth_of, depth_readings, names_in
from engine.sweeps.how_made import HowMade
from engine.sweeps.records import (
    AttentionShares,
    DecodedAnswers,
    Decoding,
    Sweep,
    SweepItem,
    SweepRow,
)
from engine.sweeps.replacing import asked_as
from engine.sweeps.store import read_items, read_sweep
from engine.sweeps.words import shortened
from engine.system.files import storable, user_path

MOST_TOKEN_GROUPS = 100
"""What a token can count as in attention."""
MOST_DEPTH_NAMES = 1000
"""Curves and numbers by depth, of all methods together."""
MOST_GROUPS = 200
"""Groups with lines of their own in every table."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Kept = TypeVar("Kept")

_Key = tuple[str, str, str, str | None]
"""What an item with its picture has in common with the one without it: digest, prompt, group,
truth."""


@dataclass(frozen=True)
class Rows:
    """The rows of n items, [n, L + 1] each; NaN (-1 for ids and ranks) for a missing number."""

    top_id: Ints
    top_probability: Floats
    entropy: Floats
    kl_to_last: Floats
    truth_probability: Floats
    truth_rank: Ints
    final_probability: Floats
    final_rank: Ints


@dataclass(frozen=True)
class Attention:
    """Where the heads of n items look, on the tokens of the sequence or on other states; NaN where
    it was not read."""

    groups: tuple[str, ...]
    shares: Floats
    """[n, layers, groups + 1]: means over heads; the last is the weight that lies on no token."""
    on_sinks: Floats
    """[n, layers, groups]"""
    without_sinks: Floats
    """[n, layers, groups]"""
    sinks: Floats
    """[n]: how many tokens have massive activations."""
    proofs: Floats
    """[n]: the worst error, as a share of its tolerance."""
    reasons: dict[int, str]
    """For layers of which some item has no shares, why not, as the first of these says."""
    layers: frozenset[int]
    """The layers with such attention, whether it was read or not."""
    states: Attention | None = None
    """That on the states of an encoder or of a vision tower, which layers can look at besides the
    tokens or instead; None if there is none."""

    def only(self, kept: Bools) -> Attention:
        """Of these items alone."""
        return replace(
            self,
            shares=self.shares[kept],
            on_sinks=self.on_sinks[kept],
            without_sinks=self.without_sinks[kept],
            sinks=self.sinks[kept],
            proofs=self.proofs[kept],
            states=None if self.states is None else self.states.only(kept),
        )


@dataclass(frozen=True)
class Instead:
    """The n items once more, with something else instead of the picture."""

    rows: Rows
    """Those of an item that was not asked so are all missing."""
    items: tuple[str | None, ...]
    """The ids of the lines; None where there is none."""
    attention: Attention | None = None
    decoded: Decoded | None = None
    depth: dict[str, Depth] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """The true answers of one group, and the tokens that begin them."""

    ids: dict[str, frozenset[int]]
    several_tokens: tuple[str, ...]
    """Answers of more than one token, of which only the first is compared."""

    @property
    def shared(self) -> dict[int, tuple[str, ...]]:
        """From each token that begins more than one answer to these answers."""
        owners: dict[int, list[str]] = {}
        for answer, ids in self.ids.items():
            for token in ids:
                owners.setdefault(token, []).append(answer)
        return {token: tuple(names) for token, names in owners.items() if len(names) > 1}

    @property
    def of_token(self) -> dict[int, str]:
        """From each token that begins exactly one answer to this answer."""
        shared = self.shared
        return {
            token: answer
            for answer, ids in self.ids.items()
            for token in ids
            if token not in shared
        }


@dataclass(frozen=True)
class Results:
    """All items of a sweep, each with its picture."""

    sweep: Sweep
    items: tuple[str, ...]
    """The id of each item."""
    pictures: tuple[str, ...]
    """The path of each item's picture."""
    picture: Ints
    """[n]: the number of each item's picture, from 0; pictures of equal content are one."""
    digests: tuple[str, ...]
    """The SHA-256 of each picture."""
    prompts: tuple[str, ...]
    group: tuple[str, ...]
    truth: tuple[str | None, ...]
    rows: Rows
    unnormed: Rows | None
    """The rows without the final norm; the last is the model's own. None where no item has them."""
    rms: Floats
    texts: dict[int, str]
    """The text of every token that is top-1 in some row, by id."""
    answers: dict[str, Answers]
    """The answers of each group."""
    instead: dict[str, Instead] = field(default_factory=dict)
    """The items with each counterfactual, by its name in the sweep's files."""
    attention: Attention | None = None
    """None if it was not read."""
    decoded: Decoded | None = None
    """The whole answers; None if none was decoded."""
    depth: dict[str, Depth] = field(default_factory=dict)
    """What methods found by depth, by their names."""
    how_made: HowMade = field(default_factory=HowMade)
    """Of all lines, whichever of them are among these items."""

    @property
    def layers(self) -> int:
        """The number of layers, L; there are L + 1 rows."""
        return self.sweep.layers

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups, in the order of their first items; of very many, the largest."""
        counts = Counter(self.group)
        shown = {group for group, _ in counts.most_common(MOST_GROUPS)}
        return tuple(group for group in counts if group in shown)

    @property
    def shown_answers(self) -> dict[str, Answers]:
        """The answers of these groups."""
        shown = {*self.groups}
        return {group: answers for group, answers in self.answers.items() if group in shown}

    @property
    def groups_left_out(self) -> int:
        """How many groups are only among all groups together."""
        return len(set(self.group)) - len(self.groups)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """A number for each group: NumPy takes "a" and "a" followed by NUL for the same text."""
        return {group: number for number, group in enumerate(dict.fromkeys(self.group))}

    @cached_property
    def _number(self) -> Ints:
        return np.array([self._numbers[group] for group in self.group], dtype=np.int64)

    def in_group(self, group: str) -> Bools:
        """[n]: whether each item is in the group."""
        return np.asarray(self._number == self._numbers.get(group, -1), dtype=np.bool_)

    def right(self, rows: Rows) -> Floats:
        """[n, rows]: 1 where a row's top-1 token begins the truth and no other answer of the group,
        0 where it does not, NaN where no truth is known or the row's logits are not numbers."""
        found = np.full(rows.top_id.shape, np.nan)
        unique = {
            (group, answer): np.array(sorted(ids - answers.shared.keys()), dtype=np.int64)
            for group, answers in self.answers.items()
            for answer, ids in answers.ids.items()
        }
        for index, (group, truth) in enumerate(zip(self.group, self.truth, strict=True)):
            if truth is not None:
                found[index] = np.isin(rows.top_id[index], unique[group, truth])
        found[rows.top_id < 0] = np.nan
        return found

    def ambiguous(self, rows: Rows) -> Floats:
        """[n, rows]: 1 where a row's top-1 token begins more than one answer of the group, else 0;
        NaN where the row's logits are not numbers."""
        found = np.full(rows.top_id.shape, np.nan)
        shared = {group: list(answers.shared) for group, answers in self.answers.items()}
        for index, group in enumerate(self.group):
            if group in shared:
                found[index] = np.isin(rows.top_id[index], shared[group])
        found[rows.top_id < 0] = np.nan
        return found

    def only(self, digests: Collection[str]) -> Results:
        """The items about the pictures with these digests."""
        kept = np.array([digest in digests for digest in self.digests])[self.picture]
        places = np.cumsum([digest in digests for digest in self.digests]) - 1

        def some(values: Sequence[Kept]) -> tuple[Kept, ...]:
            return tuple(value for value, keep in zip(values, kept, strict=True) if keep)

        def cut(rows: Rows) -> Rows:
            return Rows(*(getattr(rows, each.name)[kept] for each in fields(Rows)))

        def looked(found: Attention | None) -> Attention | None:
            return None if found is None else found.only(kept)

        def answered(found: Decoded | None) -> Decoded | None:
            return None if found is None else found.only(kept)

        def deep(found: Mapping[str, Depth]) -> dict[str, Depth]:
            return {name: each.only(kept) for name, each in found.items()}

        instead = {
            name: Instead(
                cut(each.rows),
                some(each.items),
                looked(each.attention),
                answered(each.decoded),
                deep(each.depth),
            )
            for name, each in self.instead.items()
        }
        return replace(
            self,
            instead=instead,
            attention=looked(self.attention),
            decoded=answered(self.decoded),
            depth=deep(self.depth),
            items=some(self.items),
            pictures=some(self.pictures),
            picture=places[self.picture[kept]],
            digests=tuple(digest for digest in self.digests if digest in digests),
            prompts=some(self.prompts),
            group=some(self.group),
            truth=some(self.truth),
            rows=cut(self.rows),
            unnormed=None if self.unnormed is None else cut(self.unnormed),
            rms=self.rms[kept],
        )


def read_results(folder: str | Path) -> Results:
    """All items in a sweep's folder. Raises BadInput where there are none, or one is damaged."""
    path = user_path(folder)
    sweep = read_sweep(path)
    return as_results(sweep, read_items(path), storable(folder))


def as_results(sweep: Sweep, items: Iterable[SweepItem], name: str) -> Results:
    """Items of one sweep as arrays. Raises BadInput, naming `name`, for none or damaged ones."""
    columns = _Columns(sweep.layers)
    against = [asked_as(each) for each in sweep.against]
    for item in items:
        try:
            check_item(sweep, item)
            if item.instead and item.instead not in against:
                raise Damaged(f"item {item.item} has a counterfactual that the sweep has not")
            columns.add_line(item)
        except Damaged as error:
            raise BadInput(f"{name}: {error}") from None
    if not columns.items:
        raise BadInput(f"{name}: no results yet")
    # Sorted, so that intervals do not depend on which shard wrote first.
    digests = tuple(sorted({*columns.digests}))
    places = {digest: index for index, digest in enumerate(digests)}
    return Results(
        sweep=sweep,
        items=tuple(columns.items),
        pictures=tuple(columns.pictures),
        picture=np.array([places[digest] for digest in columns.digests]),
        digests=digests,
        prompts=tuple(columns.prompts),
        group=tuple(columns.groups),
        truth=tuple(columns.truths),
        rows=_stacked(columns.rows),
        unnormed=_stacked(columns.unnormed) if columns.has_unnormed else None,
        rms=np.array(columns.rms),
        texts=columns.texts,
        answers={
            group: Answers(
                {answer: frozenset(ids) for answer, ids in answers.items()},
                tuple(sorted(columns.several.get(group, ()))),
            )
            for group, answers in columns.answers.items()
        },
        instead={
            each: columns.instead_of(each, sweep.decoding)
            for each in against
            if each in columns.instead
        },
        attention=attention_of(columns.looked, sweep.layers),
        decoded=decoded_of(sweep.decoding, columns.answered, columns.full_truths),
        depth=depth_of(columns.depth, sweep.layers),
        how_made=columns.how_made,
    )


class _Line(NamedTuple):
    """An item with something else instead of its picture."""

    item: str | None
    rows: Floats
    looked: AttentionShares | None
    answered: DecodedAnswers | None
    depth: Readings


class _Columns:
    def __init__(self, layers: int) -> None:
        self._count = layers + 1
        self.items: list[str] = []
        self.pictures: list[str] = []
        self.digests: list[str] = []
        self.prompts: list[str] = []
        self.groups: list[str] = []
        self.truths: list[str | None] = []
        self.full_truths: list[str | None] = []
        """Not shortened: what whole answers are compared with."""
        self.rows: list[Floats] = []
        self.unnormed: list[Floats] = []
        self.has_unnormed = False
        self.rms: list[list[float]] = []
        self.texts: dict[int, str] = {}
        self.answers: dict[str, dict[str, set[int]]] = {}
        self.several: dict[str, set[str]] = {}
        self.instead: dict[str, dict[_Key, _Line]] = {}
        """By counterfactual and item."""
        self.looked: list[AttentionShares | None] = []
        self.answered: list[DecodedAnswers | None] = []
        self.depth: list[Readings] = []
        self.how_made = HowMade()
        self._keys: list[_Key] = []
        self._token_groups: set[str] = set()
        self._depth_names: set[tuple[str, str, str]] = set()

    def add_line(self, item: SweepItem) -> None:
        """Add an item. Raises Damaged for more groups of tokens, or curves, than there can
        be."""
        looked = _shares_of(item)
        self._token_groups.update(() if looked is None else looked.groups)
        if len(self._token_groups) > MOST_TOKEN_GROUPS:
            raise Damaged(f"more than {MOST_TOKEN_GROUPS} groups of tokens")
        self._depth_names.update(names_in(depth_readings(item)))
        if len(self._depth_names) > MOST_DEPTH_NAMES:
            raise Damaged(f"more than {MOST_DEPTH_NAMES} curves and numbers by depth")
        self.how_made.add(item)
        if item.instead:
            self._add_instead(item)
        else:
            self._add(item)

    def _add_instead(self, item: SweepItem) -> None:
        readings = _shares_of(item), answers_of(item), depth_readings(item)
        line = _Line(item.item, _numbers(item.rows), *readings)
        self.instead.setdefault(item.instead, {})[_key(item)] = line
        self._keep_texts(item.rows)

    def instead_of(self, against: str, decoding: Decoding | None) -> Instead:
        """The items with one counterfactual, in the order of the items with their pictures."""
        found = self.instead[against]
        missing = _Line(None, _nothing(self._count), None, None, {})
        both = [found.get(key, missing) for key in self._keys]
        return Instead(
            _stacked([line.rows for line in both]),
            tuple(line.item for line in both),
            attention_of([line.looked for line in both], self._count - 1),
            decoded_of(decoding, [line.answered for line in both], self.full_truths),
            depth_of([line.depth for line in both], self._count - 1),
        )

    def _keep_texts(self, rows: Iterable[SweepRow]) -> None:
        for row in rows:
            if row.top:
                self.texts.setdefault(row.top[0].id, shortened(row.top[0].text))

    def _add(self, item: SweepItem) -> None:
        self._keys.append(_key(item))
        self.looked.append(_shares_of(item))
        self.answered.append(answers_of(item))
        self.depth.append(depth_readings(item))
        bare = item.rows_unnormed
        group, truth = shortened(item.group), item.truth and shortened(item.truth)
        digest = item.picture.sha256 if item.picture is not None else ""
        self.items.append(item.item)
        self.pictures.append(shortened(item.picture.path) if item.picture is not None else "")
        self.digests.append(digest)
        self.prompts.append(shortened(item.prompt))
        self.groups.append(group)
        self.truths.append(truth)
        self.full_truths.append(item.truth)
        self.rows.append(_numbers(item.rows))
        self.has_unnormed |= bare is not None
        # Every published lens keeps the norm in the last row.
        self.unnormed.append(
            _numbers((*bare, item.rows[-1])) if bare is not None else _nothing(self._count)
        )
        self.rms.append([_float(row.rms) for row in item.rows])
        self._keep_texts((*item.rows, *(bare or ())))
        if truth is not None:
            known = self.answers.setdefault(group, {}).setdefault(truth, set())
            known.update(item.spellings)
            if item.several_tokens:
                self.several.setdefault(group, set()).add(truth)


def attention_of(readings: Sequence[AttentionShares | None], layers: int) -> Attention | None:
    """The attention of n items, some of which may have none; None if none has."""
    known = [each for each in readings if each is not None]
    if not known:
        return None
    states = _attention_on("states", readings, layers)
    return replace(
        _attention_on("tokens", readings, layers), states=states if states.layers else None
    )


def _attention_on(
    keys: Literal["tokens", "states"], readings: Sequence[AttentionShares | None], layers: int
) -> Attention:
    known = [each for each in readings if each is not None]
    groups = tuple(dict.fromkeys(name for each in known for name in each.groups))
    count = len(groups)
    shares = np.full((len(readings), layers, count + 1), np.nan)
    on_sinks, without = (np.full((len(readings), layers, count), np.nan) for _ in range(2))
    sinks, proofs = (np.full(len(readings), np.nan) for _ in range(2))
    reasons: dict[int, str] = {}
    found: set[int] = set()
    for index, each in enumerate(readings):
        if each is None:
            continue
        places = [groups.index(name) for name in each.groups]
        sinks[index] = each.sinks
        proofs[index] = _float(each.proof.error) / each.proof.tolerance
        for layer in each.layers:
            if layer.keys != keys:
                continue
            found.add(layer.layer)
            if layer.reason is not None:
                reasons.setdefault(layer.layer, layer.reason)
            for array, values, at in (
                (shares, layer.shares, [*places, count]),
                (on_sinks, layer.on_sinks, places),
                (without, layer.without_sinks, places),
            ):
                if values is not None:
                    array[index, layer.layer, at] = [*map(_float, values)]
    return Attention(groups, shares, on_sinks, without, sinks, proofs, reasons, frozenset(found))


def _shares_of(item: SweepItem) -> AttentionShares | None:
    if item.readings is UNSET:
        return None
    return next((each for each in item.readings if isinstance(each, AttentionShares)), None)


def _key(item: SweepItem) -> _Key:
    digest = item.picture.sha256 if item.picture is not None else ""
    return digest, item.prompt, item.group, item.truth


def _numbers(rows: tuple[SweepRow, ...]) -> Floats:
    """The numbers of one item's rows: [numbers, rows]."""
    return np.array([_of_row(row) for row in rows], dtype=np.float64).T


def _of_row(row: SweepRow) -> tuple[float, ...]:
    top = row.top[0] if row.top else None
    return (
        top.id if top else -1,
        top.probability if top else np.nan,
        _float(row.entropy),
        _float(row.kl_to_last),
        row.truth.probability if row.truth else np.nan,
        row.truth.rank if row.truth else -1,
        row.final.probability if row.final else np.nan,
        row.final.rank if row.final else -1,
    )


def _nothing(count: int) -> Floats:
    empty = (-1.0, np.nan, np.nan, np.nan, np.nan, -1.0, np.nan, -1.0)
    return np.repeat(np.array(empty)[:, None], count, 1)


def _stacked(items: list[Floats]) -> Rows:
    found = np.stack(items)
    return Rows(
        top_id=found[:, 0].astype(np.int64),
        top_probability=found[:, 1],
        entropy=found[:, 2],
        kl_to_last=found[:, 3],
        truth_probability=found[:, 4],
        truth_rank=found[:, 5].astype(np.int64),
        final_probability=found[:, 6],
        final_rank=found[:, 7].astype(np.int64),
    )


def _float(value: float | None) -> float:
    return np.nan if value is None else value
