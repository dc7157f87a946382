"""What the user looks at: a tracing of a run, a row, a site, and patches to make sites of. Without
Textual."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace

from engine.methods.geometry import GeometryReading
from engine.methods.tracing import MOST_SITES, SITES, TracingReading, TracingRequest
from tui.state.maps import Steps
from tui.state.patches import NO_PATCHES, Patches
from tui.state.run_view import RunView
from tui.views.tracing.known import Column, KnownTracing, setting_of
from tui.views.tracing.sites import MOST_WRITTEN, SiteNames, box_of, written

_WHATS: Final = ("stream", "attention", "mlp")
_SITE_STEP, _BOX_STEP = 4, 7
"""The tints of the site that is chosen and of the box that is being spanned."""


class Traced:
    """A run's tracing with one setting, and what is chosen of it."""

    def __init__(
        self,
        run: RunView,
        row: int,
        place: int | None,
        against: str = "",
        *,
        others: Callable[[], Sequence[RunView]],
        seed: int,
        ascii_only: bool,
    ) -> None:
        """Look at a row of a run, and at the token or patch at a place. With `against`, it is
        traced against that; else as it was traced last. `others` returns the run's counterfactuals;
        those that are named, and not given by an id, have this seed."""
        self._others, self._seed = others, seed
        self.run, self._ascii = run.own, ascii_only
        own = self.run.run
        self.row = min(max(row, 0), own.layers)
        self.place = own.position if place is None else min(place, len(own.tokens) - 1)
        self.site = 0
        """Which of `sites` is chosen."""
        self.corner: int | None = None
        """The patch where a box begins; None while none is spanned."""
        self.geometry: GeometryReading | None = None
        self.patches = NO_PATCHES
        self.patch = 0
        self.sites: list[str] = []
        """The names of the sites that are shown, as in requests."""
        self._hidden: set[str] = set()
        """Those that are known and were removed."""
        self.names = SiteNames(own.tokens, self.patches, ascii_only=ascii_only)
        self.set(self._first_setting(against))

    def _first_setting(self, against: str) -> TracingRequest:
        """Return the setting to begin with: the newest that was traced of the position."""
        own, position = self.run.run, -1
        images = [at for at, token in enumerate(own.tokens) if token.kind == "image"]
        # Before the picture, and on it, nothing differs that could be traced to the answer.
        if self.place != own.position and self.place > max(images, default=-1):
            position = self.place
        if not against:
            for each in reversed(own.readings):
                if isinstance(each, TracingReading) and each.position == self._resolved(position):
                    setting = setting_of(each.request)
                    named = each.against not in self._of_other_seeds()
                    return setting if named else replace(setting, against=each.against)
        return TracingRequest(against=against or TracingRequest().against, position=position)

    def _resolved(self, position: int) -> int:
        return position % len(self.run.run.tokens)

    # ------------------------------------------------------------------ what is known

    def place_patches(self, reading: GeometryReading) -> None:
        """Take the patches. Raises BadInput if they are damaged."""
        own = self.run.run
        self.geometry = reading
        if reading.how != "none":
            self.patches = Patches.of(reading, len(own.tokens))
        at = self.patches.at(self.place)
        self.patch = self.patches.first if at is None else at
        self.names = SiteNames(own.tokens, self.patches, ascii_only=self._ascii)

    def set(self, setting: TracingRequest) -> None:
        """Look at the tracing with another setting, at the same sites."""
        if setting.what == "stream":
            setting = replace(setting, window=1)
        self.known = KnownTracing(setting, len(self.run.run.tokens), self._of_other_seeds())
        self.take_stored()

    def _of_other_seeds(self) -> frozenset[str]:
        """Return the counterfactuals that are not meant where their name is given."""
        return frozenset(
            other.run.id
            for other in self._others()
            if (made := other.run.question.counterfactual) is not None
            and made.seed not in (None, self._seed)
        )

    @property
    def setting(self) -> TracingRequest:
        """Everything that is asked but the sites."""
        return self.known.setting

    def take_stored(self) -> None:
        """Take what the run holds; sites that have been read are shown."""
        shown = self.run.unsaved_readings.get("tracing")
        self.known.take_all([*self.run.run.readings, *([shown] if shown is not None else [])])
        columns = [name for name in self.known.columns if name not in self._hidden]
        first = self.sites or (columns if columns else SITES)
        self.sites = [*dict.fromkeys([*first, *columns])]

    def missing(self) -> TracingRequest | None:
        """Return the request for the sites that have not been read; None where all have."""
        columns = self.known.columns
        wanted = [name for name in self.sites if name not in columns or not columns[name].whole]
        if not wanted:
            return None
        names = () if tuple(wanted) == SITES else tuple(wanted)
        return replace(self.setting, sites=names)

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows that are listed: those that are known, or else those that will be."""
        whole = any(column.whole for column in self.known.columns.values())
        layers = self.run.run.layers
        every = range(layers + 1)
        if self.setting.what != "stream":
            every = range(max(layers - self.setting.window + 1, 1))
        return self.known.rows if whole else tuple(sorted({*every, *self.known.rows}))

    def column(self, name: str) -> Column | None:
        """Return what is known of a site, or None."""
        return self.known.columns.get(name)

    def value(self, name: str, row: int) -> float:
        """Return the recovery of a site at a row; NaN where it is not known."""
        column = self.column(name)
        return math.nan if column is None else column.values.get(row, math.nan)

    # ------------------------------------------------------------------ moving

    @property
    def line(self) -> int:
        """The line of the row under the cursor."""
        rows = self.rows
        return min(range(len(rows)), key=lambda line: abs(rows[line] - self.row))

    def go_to_line(self, line: int) -> None:
        """Go to a line, as far as there are such."""
        self.row = self.rows[min(max(line, 0), len(self.rows) - 1)]

    def step_site(self, step: int) -> None:
        """Choose the next site, or the one before."""
        self.site = min(max(self.site + step, 0), len(self.sites) - 1)

    def go_to_place(self, place: int) -> None:
        """Go to a token of the prompt, and to its patch if it has one."""
        self.place = min(max(place, 0), len(self.run.run.tokens) - 1)
        patch = self.patches.at(self.place)
        if patch is not None:
            self.patch = patch

    def go_to_patch(self, patch: int) -> None:
        """Go to a patch."""
        if len(self.patches):
            self.go_to_place(self.patches.positions[patch])

    @property
    def sheet(self) -> int:
        """The sheet that is shown."""
        return self.patches.sheet_of(self.patch) if len(self.patches) else 0

    # ------------------------------------------------------------------ sites

    @property
    def on_patch(self) -> bool:
        """Whether the cursor is on a patch: on the framed one, too, as long as it has not left the
        position that is read, which is a site anyway."""
        at_patch = self.patches.at(self.place) is not None
        return at_patch or (len(self.patches) > 0 and self.place == self.run.run.position)

    def mark(self) -> str:
        """Mark a corner of a box at the patch under the cursor, or end the box there: it is a site
        then. A token that is no patch is a site at once. Return what has been done, in words."""
        if not self.on_patch:
            return self.add(str(self.place))
        if self.corner is None:
            self.corner = self.patch
            return "one corner of the box: go to the other, space again (here: this patch alone)"
        box = box_of(self.patches, self.corner, self.patch)
        self.corner = None
        return self.add(written([self.patches.positions[patch] for patch in box]))

    def add(self, site: str) -> str:
        """Show a site; return why it cannot be one, or empty."""
        if len(site) > MOST_WRITTEN:
            return "a site has too many pieces: choose fewer patches"
        self._hidden.discard(site)
        if site not in self.sites:
            if len(self.sites) >= MOST_SITES:
                return f"there are at most {MOST_SITES} sites"
            self.sites.append(site)
        self.site = self.sites.index(site)
        return ""

    def remove(self) -> str:
        """Show the chosen site no more; return why it stays, or empty."""
        if len(self.sites) < 2:
            return "the last site stays"
        self._hidden.add(self.sites.pop(self.site))
        self.site = min(self.site, len(self.sites) - 1)
        return ""

    @property
    def chosen(self) -> str:
        """The site that is chosen, as in requests."""
        return self.sites[self.site]

    def positions_of(self, name: str) -> tuple[int, ...]:
        """Return the positions of a site; those of a name before they are known are none."""
        column = self.column(name)
        if column is not None:
            return column.site.positions
        return positions_in(name)

    def steps(self, otherwise: int) -> Steps | None:
        """Return uint8 [n]: a tint on the patches of the chosen site, and on the box that is
        spanned; the step `otherwise` on the others. None without patches."""
        if not len(self.patches):
            return None
        steps = np.full(len(self.patches), otherwise, np.uint8)
        for position in self.positions_of(self.chosen):
            patch = self.patches.at(position)
            if patch is not None:
                steps[patch] = _SITE_STEP
        if self.corner is not None:
            steps[[*box_of(self.patches, self.corner, self.patch)]] = _BOX_STEP
        return steps

    def next_what(self, step: int) -> TracingRequest:
        """Return the setting that copies something else: stream, attention or MLP."""
        at = _WHATS.index(self.setting.what)
        what = _WHATS[(at + step) % len(_WHATS)]
        window = self.setting.window
        if what != "stream" and self.setting.what == "stream":
            window = max(self.run.run.layers // 8, 1)
        return replace(self.setting, what=what, window=window)  # type: ignore[arg-type]


def positions_in(site: str) -> tuple[int, ...]:
    """Return the positions that a site names as it is written; none for a name, and for what only
    the engine can count."""
    found: list[int] = []
    for piece in site.split(","):
        first, _, last = piece.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            return ()
        low, high = int(first), int(last or first)
        if high - low >= 2**16:
            return ()
        found += range(low, high + 1)
    return tuple(found)
