"""What a saliency map says, in words that are safe for display. Without Textual."""

from __future__ import annotations

from typing import Final

from engine.methods.saliency import SaliencyReading, SaliencyRequest, Way
from engine.records import Token
from tui.text.numbers import number, ordinal, signed_number
from tui.text.show import display_text, plain_line
from tui.views.saliency.salient import Salient

NAMES: Final[dict[Way, str]] = {
    "gradient": "gradient x input",
    "ig": "integrated gradients",
    "smoothgrad": "SmoothGrad",
    "attention": "gradient x attention",
    "occlusion": "occlusion",
}
_SHORT: Final[dict[Way, str]] = {
    "gradient": "gradient",
    "ig": "IG",
    "smoothgrad": "SmoothGrad",
    "attention": "grad x attention",
    "occlusion": "occlusion",
}
_MEANINGS: Final[dict[Way, str]] = {
    "gradient": "What a small change would do, not what the patch does: occlusion tries that.",
    "ig": "Gradients on the way from the mean picture, summed: they add up to the change.",
    "smoothgrad": "The mean over noisy pictures: less grain, as local as a gradient.",
    "attention": "Where heads read from and it mattered; the values they read are left out.",
    "occlusion": "How much the target falls without this part: the reference for the others.",
}
_MOST_TOKEN: Final = 16


class SaliencyWords:
    """Says what is shown, and what is known of it."""

    def __init__(self, salient: Salient, *, ascii_only: bool) -> None:
        self._salient, self._ascii = salient, ascii_only

    def way(self, request: SaliencyRequest) -> str:
        """Return the way with its settings and with respect to what it is."""
        words = NAMES[request.way]
        if request.way in ("ig", "smoothgrad"):
            words += f", {request.steps} steps"
        if request.way == "occlusion" and request.block > 1:
            words += f", {request.block}x{request.block} patches"
        if request.way == "attention":
            return words
        return f"{words}, {'pixels' if request.row is None else f'row {request.row}'}"

    def short_way(self, request: SaliencyRequest) -> str:
        """Return the same in few words, for a table."""
        words = _SHORT[request.way]
        if request.way in ("ig", "smoothgrad"):
            words += f" {request.steps}"
        if request.way == "occlusion":
            words += f" {request.block}x{request.block}"
        if request.way == "attention" or request.row is None:
            return words
        return f"{words}, row {request.row}"

    def target(self) -> str:
        """Return of what it is, with its value in the run."""
        reading = self._salient.reading
        if reading is None:
            tried = self._salient.known.tried(self._salient.wanted)
            reading = tried[-1] if tried else None
        at = "" if self._salient.request.position == -1 else f" at {self._salient.position}"
        if reading is None:
            words = self._salient.request.of
            of = " minus ".join(words or ("the answer", "the runner-up"))
            return self._safe(f"of {of}{at}")
        tokens = [self.token(token) for token in reading.of]
        if len(tokens) > 1:
            return f"logit of {tokens[0]} minus {tokens[1]}{at}: {signed_number(reading.value)}"
        return f"log p of {tokens[0]}{at}: {number(reading.value)}"

    def facts(self) -> str:
        """Return how the map was made: inputs, where it starts, whether it is complete."""
        reading = self._salient.reading
        if reading is None:
            return ""
        facts = []
        if reading.steps:
            facts.append(f"{reading.steps:,} input{'s' * (reading.steps > 1)}")
        if reading.completeness is not None:
            facts.append(f"completeness error {number(reading.completeness)}")
        if reading.baseline is not None:
            facts.append(f"start {signed_number(reading.baseline)}")
        return "; ".join([*facts, *(self._safe(note) for note in reading.notes)])

    def at_patch(self) -> str:
        """Return the number of the patch under the cursor and its rank. Raises BadInput if the map
        is damaged."""
        salient = self._salient
        mapped = salient.mapped()
        if mapped is None or not len(salient.patches) or salient.failed:
            return ""
        order = salient.order()
        value = mapped[0].text(float(mapped[0].row(0)[salient.patch]))
        words = f"{salient.patches.short_name(salient.patch)}: {value}"
        if salient.patch in order:
            words += f", {ordinal(order.index(salient.patch) + 1)} of {len(order):,} by size"
        return words

    def patch_name(self) -> str:
        """Return which patch is under the cursor; empty without patches."""
        salient = self._salient
        name = salient.patches.name(salient.patch) if len(salient.patches) else ""
        return name.replace("×", "x") if self._ascii else name

    def proof(self) -> str:
        """Return the proof of what is shown, with its number; empty if there is none."""
        reading = self._salient.reading
        proof = reading.proof if reading is not None else None
        if proof is None:
            return ""
        return f"proof{'' if proof.passed else ' failed'} {number(proof.error)}"

    def meaning(self) -> str:
        """Return what the way shows, and what it does not."""
        return _MEANINGS[self._salient.request.way]

    def curves(self, reading: SaliencyReading) -> tuple[str, str, str]:
        """Return insertion, deletion, and both of cells in a random order; empty before it is
        compared."""
        curves = reading.curves
        if curves is None:
            return ("", "", "")
        return (
            _area(curves.insertion),
            _area(curves.deletion),
            f"{_area(curves.random_insertion)}/{_area(curves.random_deletion)}",
        )

    def token(self, token: Token) -> str:
        """Return a token's text."""
        return self.text(token.text)

    def text(self, text: str) -> str:
        """Return the text of a token, cut to a few cells."""
        shown = display_text(text, ascii_only=self._ascii)
        if len(shown) > _MOST_TOKEN:
            shown = display_text(text, _MOST_TOKEN, ascii_only=self._ascii).rstrip()
        return shown

    def _safe(self, words: str) -> str:
        return plain_line(words, ascii_only=self._ascii)


def _area(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
