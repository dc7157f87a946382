"""What the help says, section by section; pure, so that it can be filtered and tested without an
app."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tui.actions.keymap import Keymap, key_name
from tui.actions.palette_words import WORDS
from tui.actions.registry import ACTIONS, GROUPS, Scope
from tui.text.glossary import OWN, STANDARD

READING: Final = (
    "Each row is what the model would say if it stopped after that layer: the residual stream "
    "taken through the model's own final norm and output head. Row 0 (emb) is the embedding; the "
    "last row (out) is the model's own answer, even with the norm off (own).",
    "Beside the layer, a ring marks a change of top-1, and dashes mark that it stays; the dot is "
    "at the formation row, the first from which the answer stays top-1, and the line continues to "
    "the end.",
    "Every token that is top-1 somewhere has its own colour in all rows and in the plot; the "
    "answer is gold wherever it appears. Other tokens are plain.",
    "Entropy and KL (of a row to the last row) are in nats. Rank 1 is the most probable token. rms "
    "is the size of the residual stream before the norm.",
    "Two runs (b): every key of the table acts on both sides, or the lower border says why not. A "
    "difference is right minus left, of probabilities in percentage points. / looks through all "
    "that both keep, t tracks in both, C gives both sides the same columns, l and h scroll to "
    "those that do not fit, < and > walk the tokens that both prompts share, O swaps, . and , put "
    "another run on the right.",
    "A caveat: a middle layer need not use the output's space. The lens shows what the output head "
    "makes of such a layer, not what the layer 'means'.",
    "Without the picture (B): JS is the Jensen-Shannon divergence of two rows in nats, 0 to 0.69. "
    "The contrast (VDD) is (1 + a) picture - a reference on the logits, without tokens that are "
    "less likely in the picture's row than b times its best; a = 1 and b = 0.1 are the defaults of "
    "the released code, whose scripts use b = 0.2. It was published for the last row; for the "
    "other rows it is an extension.",
    "Attention (4) says where a head read, not why the answer was given: the picture had as much "
    "of the weight for objects that were only invented as for real ones (0.189 and 0.199; 0.070 "
    "for other words; SADT, CVPR 2026), and replacing learned weights by noise changed little on "
    "many tasks (arXiv 2605.05668). Knockout (K there) stands beside it: what the answer becomes "
    "if tokens may not be looked at. Shares are shown raw and without sinks, always both: the same "
    "pass of LLaVA-1.5 gives the picture 5% or 45% by that choice.",
    "Parts (6): direct logit attribution. The stream that enters the final norm is a sum of what "
    "the embedding, every attention and every MLP have added, so a logit is a sum too: share = u "
    ". N(part), with u the word's row of the unembedding and N the final norm frozen at the "
    "stream's statistics (as in TransformerLens; heads and source positions as in Elhage et al. "
    "2021). By default it is the answer's logit minus the runner-up's; the sum and its error are "
    "printed. Promotes and suppresses are the words whose logits the part raises and lowers most. "
    "It does not show who was needed: later parts make up for earlier ones (self-repair, McGrath "
    "et al. 2023, arXiv 2307.15771). So K takes a part out of a pass (it is zero at this "
    "position), and what the logit loses stands beside the share, under out.",
    "Neurons (9): a unit is an input of an MLP's last linear layer; its activation times its "
    "column of the weight is what it adds (Geva et al. 2021, arXiv 2012.14913, and 2022, arXiv "
    "2203.14680), and its share is as for parts. The largest are listed, of all layers or of one "
    "(f); K sets them to zero, one by one. In a mixture a unit belongs to an expert, and its "
    "share is weighted by the router. A unit's words are what it pushes at the end of the model, "
    "not what it answers to, and one unit may push several things at once.",
    "Tracing (7) copies what the clean run has at a site and a row into a corrupt run with another "
    "picture, and runs on (Meng et al. 2022, arXiv 2202.05262; activation patching: Heimersheim "
    "and Nanda 2024, arXiv 2404.15255). Recovery is (patched - corrupt) / (clean - corrupt) of the "
    "logits' difference: 1 brings back all of it. The other direction (D) is (clean - patched) / "
    "(clean - corrupt), what is lost; what suffices need not be what is needed. It says where the "
    "difference of these two pictures is carried, not what is read there, and nothing of what both "
    "share.",
    "Saliency (8): gradient x input is the sum of dy/dx x over what a token shows; integrated "
    "gradients sum it on the way from the mean picture (Sundararajan et al. 2017, arXiv "
    "1703.01365), SmoothGrad over noisy pictures (Smilkov et al. 2017, arXiv 1706.03825), gradient "
    "x attention over layers and heads (Chefer et al. 2021, arXiv 2103.15679); occlusion is what "
    "the target loses without a block (Zeiler and Fergus 2014, arXiv 1311.2901). The target is the "
    "answer's logit minus the runner-up's; of one word (/) it is the log p, whose gradients vanish "
    "where the word is certain. A map says to what the answer is sensitive, not what the model "
    "sees there; insertion and deletion (b; Petsiuk et al. 2018, arXiv 1806.07421) say whether a "
    "map beats a random order on this picture.",
    "The answer (c, 5): a column for every token that the model says, with the rows at the "
    "position before it; gold where that token is the best. Nothing of the checkpoint's own "
    "sampling settings is used: the screen names what was left out. Before settings is the model's "
    "own probability of the token, after settings that with which it was drawn. The text can be "
    "tinted (f) by the probability, by the picture's share of attention, or by the JS against a "
    "counterfactual.",
    "Proof: the lens computes the last row by the same code as all others and compares it with "
    "the logits that the model returned. If they differ, the run is struck out.",
)

GLOSSARY: Final = "Glossary"
HOW_TO_READ: Final = "How to read the table"


@dataclass(frozen=True)
class Entry:
    """A term, a key or a paragraph."""

    name: str
    """The term or the keys; empty for a paragraph."""
    text: str
    is_key: bool = False
    words: str = ""
    """Other words by which it is found."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    entries: tuple[Entry, ...]


def help_sections(keymap: Keymap, *, ascii_only: bool) -> tuple[Section, ...]:
    """Return all sections: the glossary, the keys by group, and how the table is read."""
    terms = tuple(Entry(term.word, term.meaning) for term in (*OWN, *STANDARD))
    keys = []
    for group in GROUPS:
        entries = [
            Entry(
                keymap.names(action, ascii_only=ascii_only) or "-",
                action.title,
                is_key=True,
                words=WORDS.get(action.id, ""),
            )
            for action in ACTIONS
            if action.group == group
        ]
        keys.append(Section(group, tuple(entries)))
    ours = [action for action in ACTIONS if action.scope is Scope.TABLE]
    table = " ".join(
        key_name(key, ascii_only=ascii_only) for action in ours for key in keymap.keys(action)
    )
    note = f"Letters act only outside the editor. {table} act while the table has the focus."
    paragraphs = (*(Entry("", paragraph) for paragraph in READING), Entry("", note))
    return (Section(GLOSSARY, terms), *keys, Section(HOW_TO_READ, paragraphs))


def matching(
    sections: Sequence[Section], wanted: str, terms: Collection[str] = ()
) -> tuple[Section, ...]:
    """Return what holds all the words that are wanted, or only the terms that are named."""
    words = wanted.casefold().split()
    found = []
    for section in sections:
        kept = tuple(entry for entry in section.entries if _holds(section, entry, words, terms))
        if kept:
            found.append(replace(section, entries=kept))
    # What is called so comes before what only mentions it.
    return tuple(
        replace(
            section,
            entries=tuple(sorted(section.entries, key=lambda entry: not _is_called(entry, words))),
        )
        for section in found
    )


def _holds(section: Section, entry: Entry, words: Sequence[str], terms: Collection[str]) -> bool:
    if terms and (section.title != GLOSSARY or entry.name not in terms):
        return False
    said = f"{section.title} {entry.name} {entry.text} {entry.words}".casefold()
    return all(word in said for word in words)


def _is_called(entry: Entry, words: Sequence[str]) -> bool:
    return not words or all(word in entry.name.casefold() for word in words)
