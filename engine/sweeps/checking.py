"""What must be true of a sweep and its items besides the types of their fields, so that reports
and the explorer can rely on it. What does not come from a sweep is refused in one line."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET

from engine.records import ReadingProof
from engine.sweeps.records import (
    MOST_NAME,
    AttentionShares,
    DecodedAnswers,
    DepthReading,
    Standing,
    Sweep,
    SweepItem,
    SweepRow,
)
from engine.sweeps.settings import GREEDY, names_of

MOST_ID = 2**31 - 1
"""The largest token id and rank; vocabularies are far smaller."""
MOST_NUMBER = 1e39
"""Numbers are computed in float32, which has none so large: their sums stay finite."""
MOST_TOKEN_TEXT = 2**16
"""Characters of a token."""


class Damaged(ValueError):
    """A record that no sweep can have written."""


def check_sweep(sweep: Sweep) -> None:
    """Raise Damaged where a sweep's fields cannot be those of a sweep."""
    card = sweep.model
    names = (card.name, card.revision or "", card.class_name, card.dtype, card.device)
    if max(map(len, (*names, *sweep.versions, *sweep.versions.values()))) > MOST_NAME:
        raise Damaged(f"a name of more than {MOST_NAME:,} characters")
    if max(sweep.data.pictures, sweep.data.items) > 2**53:
        raise Damaged("more pictures than there can be")
    if sweep.decoding is not None:
        settings = names_of(sweep.decoding)
        if settings[0] != GREEDY or len({*settings}) < len(settings):
            raise Damaged("settings of decoding that are not greedy first, and each once")


def check_item(sweep: Sweep, item: SweepItem) -> None:
    """Raise Damaged where an item cannot be one of this sweep's."""
    count = sweep.layers + 1
    bare = item.rows_unnormed
    if not _has_rows(item.rows, count) or not (bare is None or _has_rows(bare, count - 1)):
        raise Damaged(f"item {item.item} does not have the rows 0 to {count - 1}")
    if max(item.spellings, default=0) > MOST_ID:
        raise Damaged(f"item {item.item} has a token id that no vocabulary has")
    for row in (*item.rows, *(bare or ())):
        _check_row(row, item.item)
    for reading in () if item.readings is UNSET else item.readings:
        if isinstance(reading, DecodedAnswers):
            _check_answers(sweep, reading, item.item)
        elif isinstance(reading, DepthReading):
            _check_depth(sweep, reading, item.item)
        else:
            _check_shares(sweep, reading, item.item)
    _check_numbers((item.proof.max_abs_difference, item.proof.tolerance), item.item)
    _check_numbers(item.seconds.values(), item.item)


def _has_rows(rows: tuple[SweepRow, ...], count: int) -> bool:
    return len(rows) == count and all(row.layer == place for place, row in enumerate(rows))


def _check_shares(sweep: Sweep, reading: AttentionShares, item: str) -> None:
    count = len(reading.groups)
    if len({*reading.groups}) < count:
        raise Damaged(f"item {item} names a group of tokens twice")
    for layer in reading.layers:
        if layer.layer >= sweep.layers:
            raise Damaged(f"item {item} has attention of layer {layer.layer}")
        for values, wanted in (
            (layer.shares, count + 1),
            (layer.on_sinks, count),
            (layer.without_sinks, count),
        ):
            if values is not None and len(values) != wanted:
                raise Damaged(f"item {item} has attention on other groups than it names")
            _check_numbers(values or (), item)
    _check_proof(reading.proof, item)


def _check_answers(sweep: Sweep, reading: DecodedAnswers, item: str) -> None:
    decoding = sweep.decoding
    names = () if decoding is None else names_of(decoding)
    if tuple(each.setting for each in reading.settings) != names:
        raise Damaged(f"item {item} has answers with other settings than the sweep")
    for each, settings in zip(reading.settings, decoding.settings if decoding else (), strict=True):
        if decoding is not None and len(each.answers) != decoding.draws_of(settings):
            raise Damaged(f"item {item} has another number of answers than the sweep")


def _check_depth(sweep: Sweep, reading: DepthReading, item: str) -> None:
    if bool(reading.sets) is (reading.reason is not None) or len(
        {each.of for each in reading.sets}
    ) < len(reading.sets):
        raise Damaged(f"item {item} has neither a reading nor one reason, or the same one twice")
    for each in reading.sets:
        count = sweep.layers + (each.by == "row")
        if len({curve.name for curve in each.curves}) < len(each.curves):
            raise Damaged(f"item {item} names a curve twice")
        if any(len(curve.values) != count for curve in each.curves):
            raise Damaged(f"item {item} has a curve of another length than the model's")
        for curve in each.curves:
            _check_numbers(curve.values, item)
        _check_numbers(each.numbers.values(), item)
    if reading.proof is not None:
        _check_proof(reading.proof, item)


def _check_proof(proof: ReadingProof, item: str) -> None:
    _check_numbers((proof.error, proof.tolerance), item)
    if not proof.tolerance:
        raise Damaged(f"item {item} has a proof without a tolerance")


def _check_row(row: SweepRow, item: str) -> None:
    _check_numbers((row.entropy, row.rms, row.kl_to_last), item)
    for token in row.top:
        if token.id > MOST_ID:
            raise Damaged(f"item {item} has a token id that no vocabulary has")
        if len(token.text) > MOST_TOKEN_TEXT:
            raise Damaged(f"item {item} has a token of {len(token.text):,} characters")
        _check_numbers((token.logit,), item)
    for standing in (row.truth, row.final):
        if isinstance(standing, Standing) and standing.rank > MOST_ID:
            raise Damaged(f"item {item} has a rank that no vocabulary has")


def _check_numbers(values: Iterable[float | None], item: str) -> None:
    for value in values:
        if value is not None and not -MOST_NUMBER < value < MOST_NUMBER:
            raise Damaged(f"item {item} has a number that no float32 can be")
