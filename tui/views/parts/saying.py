"""What the screen of parts says in words. Pure; every sentence is safe for display."""

from __future__ import annotations

from engine.methods.parts import WORDED, PartShare
from tui.text.numbers import number, ordinal, signed_figure
from tui.text.show import display_text
from tui.views.parts.known import KnownParts, can_be_taken_out, is_between
from tui.views.parts.looking import Looking

_MOST_LISTED = 6
_GROUPS = {"first": "first token", "answer": "answer so far"}
NO_WORDS = f"words are read of the {WORDED} largest, once all is read"
MEANING = "Shares say which parts wrote it, not which were needed: K takes one out."


def sum_words(known: KnownParts) -> str:
    """Return what the parts sum to, and the error; empty while that is not known."""
    if known.reading is None:
        return ""
    error = number(known.error, "not a number")
    if known.failed:
        return f"proof failed, error {error}: do not believe these shares"
    return f"they sum to {signed_figure(known.value)}; error {error}; final norm frozen"


def name_of(part: PartShare, *, ascii_only: bool) -> str:
    """Return a part's name with its layer: "layer 3 attention", "layer 3 head 1"."""
    name = display_text(part.name, spaces=False, ascii_only=ascii_only)
    if part.head is not None:
        head = f"head {part.head}"
        name = head if part.name == "attention" else f"{name} {head}"
    if part.layer is None or is_between(part):
        return name
    return f"layer {part.layer} {name}"


def share_words(looking: Looking, *, ascii_only: bool) -> str:
    """Return the share of the part under the cursor and its place among all."""
    part = looking.here
    if part is None:
        return ""
    rank, count = looking.rank
    share = signed_figure(part.share)
    return f"{name_of(part, ascii_only=ascii_only)}: {share}, {ordinal(rank)} of {count}"


def effect_words(looking: Looking) -> tuple[str, bool]:
    """Return what taking out the part under the cursor does, or how to find out; and whether that
    is known."""
    part = looking.here
    if part is None:
        return "", False
    if part.effect is not None:
        way = "lower" if part.effect >= 0 else "higher"
        return f"taken out: {abs(part.effect):.2f} {way}", True
    if not can_be_taken_out(part):
        return "it cannot be taken out", False
    return "K takes it out", False


def largest_words(looking: Looking, *, ascii_only: bool) -> str:
    """Return the parts, or the heads as layer.head, with the largest shares; none where a proof
    has failed."""
    if looking.known.failed:
        return ""
    if looking.all_heads:
        heads = [looking.table.heads[place] for place in looking.table.by_size[:_MOST_LISTED]]
        listed = [f"{each.layer}.{each.head} {signed_figure(each.share)}" for each in heads]
        return f"largest heads (layer.head): {', '.join(listed)}" if listed else ""
    parts = sorted(looking.known.parts, key=lambda each: -abs(each.share or 0.0))[:_MOST_LISTED]
    names = [name_of(each, ascii_only=ascii_only).removeprefix("layer ") for each in parts]
    listed = [
        f"{name} {signed_figure(each.share)}" for name, each in zip(names, parts, strict=True)
    ]
    return f"largest: {', '.join(listed)}" if listed else ""


def more_words(looking: Looking, *, ascii_only: bool) -> tuple[str, ...]:
    """Return why the part under the cursor is one part, or what it was sent; not safe for
    display."""
    part = looking.here
    reason = "" if part is None or not part.reason else f"one part: {part.reason}"
    return (*filter(None, [reason]), *_sent_words(looking, ascii_only=ascii_only))


def _sent_words(looking: Looking, *, ascii_only: bool) -> tuple[str, ...]:
    """Return what each group of tokens has sent through the head under the cursor, and which
    positions have sent most."""
    sent = looking.sent
    if sent is None:
        return ()
    groups = looking.by_group()
    listed = "  ".join(
        f"{_GROUPS.get(group, group)} {signed_figure(share)}" for group, share in groups
    )
    error = f"  (error {number(sent.error, 'not a number')})"
    by_group = f"sent by    {listed}{error}" if groups else f"sent by    {sent.keys}{error}"
    tokens = looking.sources
    largest = []
    for position, share in looking.largest_sources(4):
        text = tokens[position].text if position < len(tokens) else ""
        token = f" {display_text(text, 12, ascii_only=ascii_only).rstrip()}" if text else ""
        largest.append(f"{position}{token} {signed_figure(share)}")
    return by_group, f"most from  {'  '.join(largest)}"


def patch_words(looking: Looking) -> str:
    """Return what the patch under the cursor has sent; not safe for display, as patches' names come
    from a file."""
    shown = looking.map
    if shown is None:
        return ""
    position = looking.patches.positions[looking.patch]
    value = float(shown.values[0][looking.patch])
    name = looking.patches.short_name(looking.patch)
    return f"{name} sent {shown.text(value)}; position {position}"
