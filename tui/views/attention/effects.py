"""What becomes of the answer where some tokens may not be looked at: the effects of knockout, as
plain data, and how they are laid out over the layers. Without Textual."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.cells import cell_len

from tui.state.maps import NO_STEP, STEPS
from tui.text.numbers import figure
from tui.text.show import display_text

_CUT_NAME: Final = 4
_NAME: Final = 40
"""Cells of a pair's name in a sentence."""
_MOST_TOKEN: Final = 16
_CHANGE: Final = 0.05
"""In nats: a smaller change of the answer's log probability is none."""
_LEAST_SCALE: Final = STEPS * _CHANGE
"""In nats: where the scale of colours ends at least, so that a loss that is none has no colour."""

Window = tuple[int, int]
"""The first and the last of its layers."""


@dataclass(frozen=True)
class Effect:
    """What became of the answer when a window of layers could not look."""

    pair: tuple[str, str]
    """From which tokens nothing could be read, and by which; untrusted."""
    first: int
    last: int
    """The layers of the window, both included."""
    log_probability: float | None
    """Of the clean run's answer, in nats; None where it could not be read."""
    text: str = ""
    """Of the token that is the answer then; untrusted."""
    token: int = -1
    probability: float = 0.0
    reason: str = ""
    """Why it could not be read; untrusted."""

    @property
    def window(self) -> Window:
        """The window, by which effects of a pair are told apart."""
        return (self.first, self.last)

    def distance(self, layer: int) -> tuple[int, float]:
        """Return how far the effect is from being that of a layer: the narrower its window, and the
        nearer the window's middle, the closer it is."""
        return (self.last - self.first, abs((self.first + self.last) / 2 - layer))


@dataclass(frozen=True)
class Clean:
    """The answer of the run in which everything could be looked at."""

    token: int
    text: str
    log_probability: float


@dataclass
class Effects:
    """All effects that are known of one position, by pair, the newest pair last."""

    layers: int
    """How many layers the model has."""
    clean: Clean | None = None
    pairs: dict[tuple[str, str], dict[Window, Effect]] = field(default_factory=dict)
    _nearest: dict[tuple[str, str], dict[int, Effect]] = field(default_factory=dict)
    """What `at` returns, by pair and layer."""
    _most: tuple[Clean | None, float] | None = None
    """The largest loss, and the answer with which it was found; None if it is to be found."""

    def add(self, effect: Effect, *, only: bool = False) -> None:
        """Take one more effect; a window that is known already is replaced. With `only`, all layers
        are the only window that there is, and so also that of each layer."""
        self.pairs.setdefault(effect.pair, {})[effect.window] = effect
        self._most = None
        if self._is_whole(effect) and not only:
            return
        nearest = self._nearest.setdefault(effect.pair, {})
        for layer in range(effect.first, effect.last + 1):
            known = nearest.get(layer)
            if (
                known is None
                or known.window == effect.window
                or effect.distance(layer) < known.distance(layer)
            ):
                nearest[layer] = effect

    def renew(self, pair: tuple[str, str]) -> None:
        """Make a pair the newest."""
        if pair in self.pairs:
            self.pairs[pair] = self.pairs.pop(pair)

    def __bool__(self) -> bool:
        return bool(self.pairs)

    def at(self, pair: tuple[str, str], layer: int) -> Effect | None:
        """Return the narrowest window around a layer, of several the one whose middle is nearest;
        None where none is known. All layers at once are no layer's window, unless they are the only
        one that there is."""
        return self._nearest.get(pair, {}).get(layer)

    def change(self, effect: Effect | None) -> float | None:
        """Return by how many nats the answer's log probability changed; None if that is not
        known."""
        if effect is None or self.clean is None or effect.log_probability is None:
            return None
        return effect.log_probability - self.clean.log_probability

    @property
    def most(self) -> float:
        """Where the scale of colours ends, in nats: at the largest loss of log probability in any
        window, or in all layers at once; no less than what makes every step a change."""
        if self._most is None or self._most[0] is not self.clean:
            changes = (
                self.change(effect) for known in self.pairs.values() for effect in known.values()
            )
            losses = [-change for change in changes if change is not None]
            self._most = (self.clean, max([_LEAST_SCALE, *losses]))
        return self._most[1]

    def _is_whole(self, effect: Effect) -> bool:
        return effect.window == (0, self.layers - 1)

    def whole(self, pair: tuple[str, str]) -> Effect | None:
        """Return the effect in all layers at once; None where it is not known."""
        return self.pairs.get(pair, {}).get((0, self.layers - 1))

    def step(self, effect: Effect | None) -> int:
        """Return the step of a loss, 0 to 7; NO_STEP where it is not known."""
        change, most = self.change(effect), self.most
        if change is None:
            return NO_STEP
        return min(int(max(-change, 0.0) / most * STEPS), STEPS - 1)

    def is_rise(self, effect: Effect | None) -> bool:
        """Whether the answer became more probable."""
        change = self.change(effect)
        return change is not None and change > _CHANGE

    def row(self, pair: tuple[str, str], width: int) -> list[tuple[Effect | None, int]]:
        """Return the effects of a pair over the layers as (effect, cells): every layer has the
        same number of cells, or where there are more layers than cells, a cell stands for the layer
        of several at which most was lost."""
        layers = self.layers
        if layers <= 0 or width <= 0:
            return []
        if layers <= width:
            each = min(width // layers, 3)
            return [(self.at(pair, layer), each) for layer in range(layers)]
        found = []
        for cell in range(width):
            first, end = cell * layers // width, max((cell + 1) * layers // width, 1)
            mine = [self.at(pair, layer) for layer in range(first, max(end, first + 1))]
            found.append((min(mine, key=self._order), 1))
        return found

    def _order(self, effect: Effect | None) -> float:
        change = self.change(effect)
        return float("inf") if change is None else change

    def short(self, pair: tuple[str, str], layer: int, *, ascii_only: bool) -> str:
        """Return the effect at a layer in few words: "-4.08 red 61%"; safe for display."""
        effect = self.at(pair, layer)
        if effect is None:
            return ""
        if effect.reason:
            return display_text(effect.reason, spaces=False, ascii_only=ascii_only)
        change = self.change(effect)
        same = self.clean is not None and effect.token == self.clean.token
        word = "same" if same else _token(effect.text, ascii_only)
        shown = "" if change is None else f"{_nats(change, '+')} "
        return f"{shown}{word} {figure(effect.probability).strip()}"

    def title(self, *, ascii_only: bool) -> str:
        """Return what the effects are, and the answer without them; safe for display."""
        if self.clean is None:
            return "if it may not look"
        answer = _token(self.clean.text, ascii_only)
        return f"if it may not: log p({answer}) {_nats(self.clean.log_probability)}"

    def sentence(self, layer: int, *, ascii_only: bool) -> str:
        """Return what became of the answer at a layer, for the pair at which most was lost; in all
        layers as long as that is all that is known, and empty where nothing is. Safe for display.
        """
        clean = self.clean
        around = self._changed(self.at(pair, layer) for pair in self.pairs)
        known = around or self._changed(self.whole(pair) for pair in self.pairs)
        if clean is None or not known:
            return ""
        effect = min(known, key=self._order)
        arrow = "->" if ascii_only else "→"
        if self._is_whole(effect):
            layers = "all layers"
        elif effect.first == effect.last:
            layers = f"layer {effect.first}"
        else:
            layers = f"layers {effect.first}-{effect.last}"
        now = self._now(effect, ascii_only)
        whole = self.whole(effect.pair)
        if whole is not None and whole is not effect and self.change(whole) is not None:
            now += f"; in all layers {self._now(whole, ascii_only)}"
        (name,) = pair_names([effect.pair], _NAME, ascii_only=ascii_only)
        after = effect.log_probability or 0.0
        return (
            f"without {name} in {layers}: "
            f"{_token(clean.text, ascii_only)} {_nats(clean.log_probability)} {arrow} "
            f"{_nats(after)}, {now}"
        )

    def _changed(self, effects: Iterable[Effect | None]) -> list[Effect]:
        """Return those of them whose change is known."""
        return [each for each in effects if each is not None and self.change(each) is not None]

    def _now(self, effect: Effect, ascii_only: bool) -> str:
        if self.clean is not None and effect.token == self.clean.token:
            return "still the answer"
        return f"now: {_token(effect.text, ascii_only)} {figure(effect.probability).strip()}"


def pair_names(pairs: Sequence[tuple[str, str]], room: int, *, ascii_only: bool) -> list[str]:
    """Return pairs in words, safe for display: "picture → last"; all with four letters of each name
    if they need more than `room` cells."""
    arrow = " -> " if ascii_only else " → "
    safe = [
        [display_text(name, spaces=False, ascii_only=ascii_only) for name in pair] for pair in pairs
    ]
    whole = [arrow.join(names) for names in safe]
    if all(cell_len(name) <= room for name in whole):
        return whole
    cut = [arrow.join(_cut(name) for name in names) for names in safe]
    return [display_text(name, room, spaces=False, ascii_only=ascii_only).rstrip() for name in cut]


def _nats(value: float, sign: str = "") -> str:
    """Return a log probability, or with a sign a change of one, in few characters."""
    shown = f"{value:{sign}.2f}" if abs(value) >= 0.01 else f"{value:{sign}.3f}"
    return "0" if not float(shown) else shown


def _cut(name: str) -> str:
    kind, _, which = name.partition(" ")
    return which or kind[:_CUT_NAME]


def _token(text: str, ascii_only: bool) -> str:
    shown = display_text(text.strip() or text, ascii_only=ascii_only)
    if len(shown) > _MOST_TOKEN:
        shown = display_text(text.strip() or text, _MOST_TOKEN, ascii_only=ascii_only).rstrip()
    return shown
