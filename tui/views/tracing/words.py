"""What a tracing says, in words that are safe for display. Without Textual."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from engine.counterfactuals.grammar import label, parse_against
from engine.errors import BadInput
from engine.records import Token
from tui.state.run_view import RunView
from tui.text.numbers import signed_figure
from tui.text.show import display_text, plain_line
from tui.views.tracing.traced import Traced

_WHAT_WORDS: Final = {"stream": "the residual stream", "attention": "attention", "mlp": "MLP"}
_MOST_TOKEN: Final = 16
_MOST_NAME: Final = 40


class TracingWords:
    """Says what is traced, and what it has found."""

    def __init__(
        self, traced: Traced, runs: Callable[[], Sequence[RunView]], seed: int, *, ascii_only: bool
    ) -> None:
        """`runs` returns all runs of the session; `seed` is that of noise that is yet to be
        made."""
        self._traced, self._runs, self._seed, self._ascii = traced, runs, seed, ascii_only

    def site_name(self, name: str) -> str:
        """Return a site's short name; safe for display."""
        return self._traced.names.short(name, self._traced.positions_of(name))

    def patch_name(self) -> str:
        """Return which patch is under the cursor."""
        name = self._traced.patches.name(self._traced.patch)
        return name.replace("×", "x") if self._ascii else name

    def metric_words(self) -> str:
        """Return what is compared, in both runs; safe for display."""
        metric = self._traced.known.metric
        if metric is None:
            return "what the two runs answer is not known yet"
        tokens = [self._token(token) for token in metric.of]
        of = f"logit of {' minus '.join(tokens)}" if len(tokens) > 1 else f"log p of {tokens[0]}"
        clean, corrupt = signed_figure(metric.clean), signed_figure(metric.corrupt)
        return f"{of}: clean {clean}, corrupt {corrupt}"

    def runs_words(self) -> str:
        """Return which runs are patched into which, and what; safe for display."""
        clean, corrupt = self._run_name(self._traced.run), self._corrupt_name()
        if self._traced.setting.direction == "recover":
            way = f"{clean} into {corrupt}: what suffices"
        else:
            way = f"{corrupt} into {clean}: what is needed"
        words = f"{self.what_words()} of {way}"
        if self._traced.setting.position != -1:
            words += f"; read at position {self._traced.setting.position}"
        return words

    def what_words(self) -> str:
        """Return what is copied."""
        words, window = _WHAT_WORDS[self._traced.setting.what], self._traced.setting.window
        return f"{words}, {window} layers at once," if window > 1 else words

    def place_words(self) -> str:
        """Return the row under the cursor, or the layers that are patched at once there."""
        row, setting = self._traced.row, self._traced.setting
        layers = self._traced.run.run.layers
        if setting.what == "stream":
            return f"row {row} of 0-{layers}"
        return f"{_layers(row, setting.window)} of 0-{layers - 1}"

    def sentence(self) -> str:
        """Return what the row under the cursor means at the chosen site; safe for display."""
        name, row = self._traced.chosen, self._traced.row
        column, value = self._traced.column(name), self._traced.value(name, row)
        phrase, plural = self._traced.names.phrase(name, self._traced.positions_of(name))
        if column is not None and column.site.reason:
            was = "were" if plural else "was"
            return f"{phrase} {was} not patched: {self._safe(column.site.reason)}"
        if math.isnan(value):
            return ""
        recover = self._traced.setting.direction == "recover"
        if recover:
            verb = "bring back" if plural else "brings back"
        else:
            verb = "take away" if plural else "takes away"
        how_much = "nothing" if abs(value) < 0.005 else f"{value:.2f}"
        return f"{self._where(row)}, {phrase} {verb} {how_much} of the difference"

    def _where(self, row: int) -> str:
        if self._traced.setting.what == "stream":
            return f"patched at row {row}"
        layers = _layers(row, self._traced.setting.window)
        return f"with the {_WHAT_WORDS[self._traced.setting.what]} of {layers} patched"

    def _token(self, token: Token) -> str:
        shown = display_text(token.text, ascii_only=self._ascii)
        if len(shown) > _MOST_TOKEN:
            shown = display_text(token.text, _MOST_TOKEN, ascii_only=self._ascii).rstrip()
        return shown

    def _corrupt_name(self) -> str:
        name = self._traced.setting.against
        against = self._traced.known.against or name
        other = next((each for each in self._runs() if each.run.id == against), None)
        if other is not None:
            return self._run_name(other)
        try:
            (expected,) = parse_against(name, self._seed)
        except (BadInput, ValueError):
            return self._safe(name)
        return self._safe(label(expected))

    def _run_name(self, run: RunView) -> str:
        """Return what a run shows: its counterfactual or its picture's file, and which run it is if
        another one has the same file."""
        question = run.run.question
        if question.counterfactual is not None:
            return self._safe(label(question.counterfactual))
        file = "" if question.picture is None else question.picture.path.rsplit("/", 1)[-1]
        ids = [each.run.id for each in self._runs()]
        number = f"run {ids.index(run.run.id) + 1}" if run.run.id in ids else "the run"
        return self._safe(f"{number} ({file})" if file else number)

    def _safe(self, words: str) -> str:
        shown = plain_line(words[: 4 * _MOST_NAME], ascii_only=self._ascii)
        if len(shown) <= _MOST_NAME:
            return shown
        return display_text(words, _MOST_NAME, spaces=False, ascii_only=self._ascii).rstrip()


def _layers(first: int, window: int) -> str:
    return f"layer {first}" if window == 1 else f"layers {first}-{first + window - 1}"
