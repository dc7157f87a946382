"""What the user looks at: the saliency of a run by one way, and a patch, a row and a token. Without
Textual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from engine.arrays import Array
from engine.errors import BadInput
from engine.methods.geometry import GeometryReading
from engine.methods.saliency import MOST_STEPS, SaliencyReading, SaliencyRequest, Way
from engine.records import Reading
from tui.state.maps import Map, Scale, Steps, Unit, on_patches, signed_steps
from tui.state.patches import NO_PATCHES, Patches
from tui.state.run_view import RunView
from tui.views.saliency.known import KnownSaliency, plain

WAYS: Final[tuple[Way, ...]] = ("gradient", "ig", "smoothgrad", "attention", "occlusion")
_MOST_BLOCK: Final = 64
Floats = npt.NDArray[np.float32]


class Salient:
    """A run's saliency, and what is chosen of it."""

    def __init__(self, run: RunView, row: int, place: int | None) -> None:
        """Look at a row of a run, and explain the answer at a place; on the picture and before it,
        where nothing of the picture has been read yet, that of the run."""
        self.run = run.own
        own = self.run.run
        self.row = min(max(row, 0), own.layers)
        self.of_row = False
        """Whether the map is of the row, and not of the pixels."""
        self.request = SaliencyRequest()
        self.geometry: GeometryReading | None = None
        self.patches = NO_PATCHES
        self.patch = 0
        self.rank = -1
        """The place of the patch that was gone to last, in the order of the map; -1 for none."""
        self.known = KnownSaliency(len(own.tokens))
        self.place = own.position if place is None else min(place, len(own.tokens) - 1)
        """The token or patch that was gone to last."""
        self.token = self.place
        """The token under the cursor of the grid of rows."""
        images = [at for at, token in enumerate(own.tokens) if token.kind == "image"]
        if self.place != own.position and self.place > max(images, default=-1):
            self.request = SaliencyRequest(position=self.place)
        self._made: tuple[object, Map, Scale] | None = None
        self.take_stored()

    # ------------------------------------------------------------------ what is known

    def place_patches(self, reading: GeometryReading) -> None:
        """Take the patches. Raises BadInput if they are damaged."""
        self.geometry, self._made = reading, None
        if reading.how != "none":
            self.patches = Patches.of(reading, len(self.run.run.tokens))
        at = self.patches.at(self.place)
        self.patch = self.patches.first if at is None else at

    def take_stored(self) -> None:
        """Take what the run holds."""
        shown = self.run.unsaved_readings.get("saliency")
        readings: list[Reading] = [*self.run.run.readings]
        self.known.take_all([*readings, *([shown] if shown is not None else [])])

    @property
    def wanted(self) -> SaliencyRequest:
        """The request for the map that is shown."""
        row = self.row if self.of_row and self.request.way != "attention" else None
        return replace(self.request, row=row)

    @property
    def reading(self) -> SaliencyReading | None:
        """The reading of what is shown; None while there is none."""
        return self.known.reading(self.wanted)

    @property
    def matrix(self) -> Floats | None:
        """float32 [L + 1, tokens]: gradient x input of every row at every position, or None.
        Raises BadInput if it is damaged."""
        reading = self.known.matrix(self.wanted)
        if reading is None or reading.matrix is None or _failed(reading):
            return None
        return _floats(reading.matrix)

    @property
    def matrix_request(self) -> SaliencyRequest:
        """The request for the matrix: pixels are not needed for it."""
        return replace(
            SaliencyRequest(position=self.request.position, of=self.request.of), row=0, matrix=True
        )

    @property
    def failed(self) -> bool:
        """Whether the proof of what is shown failed."""
        return self.reading is not None and _failed(self.reading)

    @property
    def _found(self) -> tuple[Array, Array] | None:
        """The positions of the cells, and the map; of a part of it before all is known."""
        found = self.reading or self.known.part(self.wanted)
        return None if found is None else (found.cells, found.map)

    def mapped(self) -> tuple[Map, Scale] | None:
        """Return the map of the patches, and its scale; None while nothing is known of it.

        Raises BadInput if its arrays are damaged.
        """
        found = self._found
        if found is None:
            return None
        if self._made is None or self._made[0] is not found[1]:
            cells, values = found[0].integers, _floats(found[1])
            if len(cells) != len(values):
                raise BadInput("the map has another size than the picture's tokens")
            unit: Unit = "relevance" if self.request.way == "attention" else "saliency"
            made = on_patches([0], cells, values[None], self.patches.positions, unit)
            self._made = (found[1], made, made.scale(log=False))
        return self._made[1], self._made[2]

    @property
    def signed(self) -> bool:
        """Whether the map has a sign."""
        return self.request.way != "attention"

    def steps(self) -> Steps | None:
        """Return uint8 [n]: the steps of all patches; None without a map that can be trusted.

        Raises BadInput if its arrays are damaged.
        """
        mapped = self.mapped()
        if mapped is None or self.failed:
            return None
        values, scale = mapped[0].row(0), mapped[1]
        return signed_steps(values, scale) if self.signed else scale.steps(values)

    def strongest_tokens(self, count: int) -> list[tuple[int | None, float]]:
        """Return the tokens of the text that matter most and their numbers, and first None and the
        sum of the picture's; none of pixels. Raises BadInput if the array is damaged."""
        reading = self.reading
        if reading is None or reading.positions is None or _failed(reading):
            return []
        values = _floats(reading.positions)
        tokens = self.run.run.tokens
        pictured = np.array([token.kind == "image" for token in tokens])
        found: list[tuple[int | None, float]] = []
        if pictured.any():
            found.append((None, float(np.nansum(values[pictured]))))
        order = np.argsort(-np.abs(np.where(pictured, 0, np.nan_to_num(values))), kind="stable")
        texts = [int(at) for at in order if not pictured[at]]
        return found + [(at, float(values[at])) for at in texts[: max(count - len(found), 0)]]

    # ------------------------------------------------------------------ choosing

    def next_way(self, step: int) -> None:
        """Show the next way, or the one before."""
        at = (WAYS.index(self.request.way) + step) % len(WAYS)
        self._ask(replace(self.request, way=WAYS[at]))

    def take_more(self, step: int) -> str:
        """Take twice as many inputs or half as many, or occlude larger or smaller blocks; return
        why nothing has changed, or empty."""
        request = self.request
        if request.way == "occlusion":
            block = min(max(request.block + step, 1), _MOST_BLOCK)
            self._ask(replace(request, block=block))
            return ""
        if request.way not in ("ig", "smoothgrad"):
            return "this way takes one input"
        steps = request.steps * 2 if step > 0 else max(request.steps // 2, 1)
        self._ask(replace(request, steps=min(steps, MOST_STEPS)))
        return ""

    def explain(self, position: int | None = None, of: Sequence[str] | None = None) -> None:
        """Explain the answer at another position, or other words."""
        request = self.request
        if position is not None:
            own = self.run.run
            self.place = min(max(position, 0), len(own.tokens) - 1)
            request = replace(request, position=-1 if self.place == own.position else self.place)
            if request.position == len(own.tokens) - 1:
                request = replace(request, position=-1)
        if of is not None:
            request = replace(request, of=tuple(of))
        self._ask(request)

    @property
    def position(self) -> int:
        """The position whose answer is explained, as an index."""
        return self.request.position % len(self.run.run.tokens)

    def _ask(self, request: SaliencyRequest) -> None:
        self.request, self.rank = request, -1

    # ------------------------------------------------------------------ moving

    def go_to_row(self, row: int) -> None:
        """Go to a row, as far as there are such."""
        self.row = min(max(row, 0), self.run.run.layers)
        self.rank = -1 if self.of_row else self.rank

    def go_to_patch(self, patch: int) -> None:
        """Go to a patch, as far as there are such."""
        if len(self.patches):
            self.patch = min(max(patch, 0), len(self.patches) - 1)
            self.place = self.patches.positions[self.patch]

    def go_to_strongest(self, step: int) -> bool:
        """Go to the next of the patches by size, or to the one before; return whether there are
        any. Raises BadInput if the map is damaged."""
        order = self.order()
        if not order:
            return False
        self.rank = min(max(self.rank + step, 0), len(order) - 1)
        self.go_to_patch(order[self.rank])
        return True

    def order(self) -> list[int]:
        """Return the patches from the strongest of either sign on; those without a number are left
        out. Raises BadInput if the map is damaged."""
        mapped = self.mapped()
        if mapped is None:
            return []
        sizes = np.abs(mapped[0].row(0))
        order = np.argsort(-np.where(np.isnan(sizes), -1, sizes), kind="stable")
        return [int(patch) for patch in order if not np.isnan(sizes[patch])]

    @property
    def sheet(self) -> int:
        """The sheet that is shown."""
        return self.patches.sheet_of(self.patch) if len(self.patches) else 0

    def is_shown(self, reading: SaliencyReading) -> bool:
        """Return whether a reading has the map that is shown."""
        count = len(self.run.run.tokens)
        return plain(reading.request, count) == plain(self.wanted, count)


def _failed(reading: SaliencyReading) -> bool:
    return reading.proof is not None and not reading.proof.passed


def _floats(array: Array) -> Floats:
    found: Floats = np.asarray(array.values, np.float32)
    return found
