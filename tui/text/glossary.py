"""The terms that Lenscope uses: standard terms of the field first, then its own.

`docs/glossary.md` is generated from it: `python -m tui.text.glossary > docs/glossary.md`.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Term(NamedTuple):
    """A term and its meaning."""

    word: str
    meaning: str


STANDARD: Final = (
    Term(
        "residual stream",
        "The vector at each position that every layer reads and adds to. Its width is the model's "
        "hidden size.",
    ),
    Term(
        "layer",
        "A block of the model: an attention and an MLP, each of which reads the residual stream "
        "and adds to it. Layer i turns row i into row i + 1.",
    ),
    Term(
        "head",
        "One of the parts side by side of which an attention consists, each with weights of its "
        "own. 7.2 is head 2 of layer 7, both counted from 0.",
    ),
    Term(
        "token",
        "A word, or a piece of one, that the model reads and writes as a unit. A blank in it is "
        "shown as ␣.",
    ),
    Term(
        "final norm",
        "The normalisation (RMSNorm, LayerNorm) that a model applies to the residual stream after "
        "its last layer.",
    ),
    Term(
        "unembedding",
        "The matrix that turns the normalised stream into one logit for every token of the "
        "vocabulary; also called the output head, or head.",
    ),
    Term("logits", "The unembedding's output; softmax turns them into probabilities."),
    Term(
        "logit lens",
        "Taking the residual stream of an earlier layer through the model's own final norm and "
        "unembedding (nostalgebraist 2020). It shows what the model would say if it stopped there.",
    ),
    Term("top-k", "The k most probable tokens of a row. Ties go to the token with the lower id."),
    Term(
        "entropy",
        "How spread out a row's distribution is, in nats: 0 means that one token has it all.",
    ),
    Term(
        "KL divergence",
        "How far a distribution is from another one, in nats. The table's KL is that of the row to "
        "the last row.",
    ),
    Term(
        "Jensen-Shannon divergence",
        "A symmetric measure of how far two distributions are apart, from 0 to ln 2 = 0.69 nats.",
    ),
    Term(
        "nat",
        "The unit of entropy and divergence where logarithms are natural; 1 nat is 1.44 bits.",
    ),
    Term(
        "rms",
        "The size of the residual stream before the final norm: the root of the mean of its "
        "squared channels.",
    ),
    Term("p", "The probability of a token: softmax over the whole vocabulary, in float32."),
    Term("rank", "A token's place in a row, by probability; rank 1 is the most probable token."),
    Term(
        "position",
        "A place in the prompt, counted in tokens from 0. Its rows say which token would come "
        "next. A run is read at its last position, and at any other on request.",
    ),
    Term(
        "sink",
        "A position with massive activations: one or two channels far larger than the rest, alike "
        "on every input (Kang et al. 2025, arXiv 2503.03321). It holds no content.",
    ),
    Term("patch", "One square of the picture, which becomes one position of the vision part."),
    Term(
        "chat template",
        "The text that a model expects around a question: roles, markers, where the picture goes.",
    ),
    Term("KV cache", "Keys and values of earlier positions, kept so that they need not run again."),
    Term(
        "attention weight",
        "How much of what a head reads at a position comes from each token before it; over all "
        "tokens, and over learned sinks, the weights sum to 1.",
    ),
    Term(
        "knockout",
        "Forbidding some positions to look at others in some layers, and running the pass again "
        "(Geva et al. 2023, arXiv 2304.14767): what the answer becomes then shows what it needs.",
    ),
    Term(
        "activation patching",
        "Copying what one pass computed at some place into another pass, and running that on: what "
        "becomes of the answer then shows what the place carries. Over all rows and sites it is "
        "called causal tracing (Meng et al. 2022, arXiv 2202.05262).",
    ),
    Term(
        "recovery",
        "(patched - corrupt) / (clean - corrupt) of a logit difference: 1 if patching brings back "
        "all of what the two runs differ by, 0 if nothing. It may lie outside of that.",
    ),
    Term(
        "saliency",
        "How sensitive the answer is to a part of the input: a gradient times the input (Simonyan "
        "et al. 2014, arXiv 1312.6034), or what the answer loses without that part (occlusion).",
    ),
    Term(
        "integrated gradients",
        "The gradients at many inputs on the way from a blank picture to this one, times the whole "
        "way (Sundararajan et al. 2017, arXiv 1703.01365). They sum to the change of the target; "
        "by how much they do not is the completeness error.",
    ),
    Term(
        "insertion and deletion",
        "What becomes of the answer while the most salient cells are put into a blank picture, or "
        "deleted from this one (Petsiuk et al. 2018, arXiv 1806.07421): the area under the curve "
        "says how good a map is; it must beat a random order.",
    ),
    Term(
        "direct logit attribution",
        "A logit as a sum over the parts of a model: the embedding, every attention (or head) and "
        "every MLP, each taken through the final norm as it is at the end. A part's summand is its "
        "share.",
    ),
    Term(
        "ablation",
        "Running a pass in which something is zero, and seeing what becomes of a logit. It says "
        "what was needed, where a share says what was written; later layers make up for some of "
        "it.",
    ),
    Term(
        "neuron",
        "An input of an MLP's last linear layer, also called a unit: its activation times its "
        "column of the weight is what it adds to the residual stream.",
    ),
    Term(
        "greedy decoding",
        "Taking the most probable token at each step; sampling draws it at random, after "
        "temperature, top-k, top-p and min-p have changed the distribution.",
    ),
    Term("hook", "A function that is called whenever a module of the model runs."),
)

OWN: Final = (
    Term(
        "row",
        "One line of the table. Row 0 is the embedding, row i the residual stream that enters "
        "layer i, row L the model's own output: L + 1 rows for L layers.",
    ),
    Term(
        "emb, out, own",
        "Beside the layer: emb is row 0, the embedding, and out the last row, the model's own "
        "output. With the norm off the last row is called own, since it still has the norm.",
    ),
    Term(
        "marks of a row",
        "A ring where top-1 changes, dashes while it stays, a dot at the formation row, a line "
        "from there on. 2 -5 stands for rows 2 to 5 folded into one.",
    ),
    Term(
        "moved, left",
        "In the layer detail: by how many places a token has risen or fallen since the row before, "
        "and which tokens of that row are no longer among those shown.",
    ),
    Term(
        "raw, id, sum",
        "In the layer detail: raw is the token as JSON writes it, id its number in the vocabulary, "
        "and sum the probability of all tokens down to this line together.",
    ),
    Term(
        "question",
        "A picture and a prompt, with all settings. A run is one pass over it, an item one of the "
        "questions of a sweep.",
    ),
    Term(
        "marks of the prompt",
        "In the line above the table: {...} is the system turn, ▣ the picture and how many patches "
        "it has, «...» what was typed, (...) the prefix, [...] the answer so far; ▸ stands before "
        "the token that was read, ▾ after a sink.",
    ),
    Term(
        "t, s, P, q, a",
        "The parts of the prompt, over columns of one cell: template, system turn, picture, "
        "question, and what the answer begins with.",
    ),
    Term(
        "two runs",
        "In a comparison, left is the run that came first, or the one with the picture; right is "
        "the other one. Rows of the same number stand side by side, or of the same depth where the "
        "models have other numbers of layers.",
    ),
    Term(
        "grid",
        "The best token of every row at every position, read from the streams of all positions, "
        "which are kept for the newest runs.",
    ),
    Term(
        "heat",
        "What the colour of a grid's cell says, in eight steps: probability, entropy, KL to the "
        "last row, or the probability of one word.",
    ),
    Term(
        "tail",
        "Whatever the model itself calls between its last layer and its logits: the final norm and "
        "the unembedding, with a scale, soft-cap, bias or mask where it has one.",
    ),
    Term(
        "replay",
        "How rows are read where the tail cannot be taken apart: the model itself runs again with "
        "its layers skipped, and the row's stream is inserted after the last one.",
    ),
    Term(
        "proof",
        "The last row, computed by the code that computes every other row, against the logits that "
        "the model returned. If they differ by more than the dtype's rounding, the run is refused.",
    ),
    Term(
        "answer",
        "The most probable token of the last row: the one that the model says next. At another "
        "position than the run's own this token is called next here.",
    ),
    Term(
        "whole answer",
        "The tokens that the model says one after the other (c). Token k of it stands k positions "
        "after the first one beyond the prompt; a session keeps it with all rows at each token.",
    ),
    Term(
        "taken",
        "The probability with which a token of the answer was drawn, after all settings; on the "
        "screen it is called after settings. 100% where decoding is greedy.",
    ),
    Term(
        "formation row",
        "The first row from which the answer stays the most probable token to the end; elsewhere "
        "called the saturation layer.",
    ),
    Term(
        "live mode",
        "What is typed is asked by itself once the typing rests. Such a run is shown but not kept "
        "until Enter keeps it; rows marked ? are of the text before.",
    ),
    Term(
        "tracked token",
        "A token whose probability, logit and rank are kept for every row: the answer, every token "
        "that is top-1 somewhere, and what you type.",
    ),
    Term(
        "counterfactual",
        "The same question with something else instead of the picture: no picture tokens, noise, "
        "black, another picture. Elsewhere: image ablation.",
    ),
    Term(
        "contrast",
        "(1 + a) times the logits with the picture less a times those without it, over tokens that "
        "the picture's row holds at least b times as likely as its best (VDD, arXiv 2403.05262).",
    ),
    Term(
        "debias",
        "A list of answers, each divided by the probability that it has without the picture.",
    ),
    Term(
        "share",
        "The attention weight on a group of tokens (first token, template, system, picture, "
        "question, answer so far), raw and with sinks taken out and the rest scaled to 1.",
    ),
    Term(
        "nowhere",
        "The attention weight that lies on no token, because the model has learned sinks for it.",
    ),
    Term(
        "reach",
        "The first token that a layer with a sliding window may look at.",
    ),
    Term(
        "method",
        "A way to find out more about a run; what it finds is a reading, kept in the session.",
    ),
    Term(
        "kept stream",
        "The residual stream of a finished run, kept in memory so that more can be read from it "
        "without a new pass.",
    ),
    Term(
        "approximate row",
        "A row that is not exactly that of the model truncated to so many layers; the layer detail "
        "says why.",
    ),
    Term(
        "share, sum, out",
        "Of a part or a neuron: its share is what it adds to the logit, sum what all down to this "
        "line add together, and out (of neurons: zeroed) what the logit loses in a pass without "
        "it.",
    ),
    Term(
        "promotes, suppresses",
        "The words whose logits a part or a neuron raises and lowers most, through the final norm "
        "and the unembedding.",
    ),
    Term("active", "The activation of a neuron: what enters the MLP's last linear layer."),
    Term(
        "clean, corrupt, site",
        "In tracing: the shown run, the one with another picture, and the tokens at which the one "
        "is copied into the other.",
    ),
    Term(
        "ins, del, random",
        "The areas under the curves of insertion (the higher, the better the map) and deletion "
        "(the lower, the better), and both of cells in a random order.",
    ),
    Term(
        "points, part, for good",
        "In a comparison: the right run's probability minus the left one's, in percentage points; "
        "the first row whose top-1 tokens differ; and the one from which they differ to the end.",
    ),
    Term(
        "from, norm, status, time, +",
        "In a list of runs or items: from is the formation row; norm is off where rows were read "
        "without the final norm; status says how far a run is, or how it ended; time is the "
        "seconds that it took; and + marks a run that is not saved.",
    ),
    Term(
        "verdict, truth",
        "Of an item of a sweep: whether its answer is right or wrong by what the data says (the "
        "truth), or lost: top-1 in some row, but not in the last one.",
    ),
    Term("sweep", "The same questions about every picture of a data set, row by row."),
)


def as_markdown() -> str:
    """Return the content of `docs/glossary.md`."""
    lines = ["# Glossary", ""]
    for title, terms in (("Terms of the field", STANDARD), ("Lenscope's own", OWN)):
        lines += [f"## {title}", ""]
        lines += [f"**{term.word}**: {term.meaning}\n" for term in terms]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
