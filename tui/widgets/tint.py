"""The picture at the size of the screen, which patch every pixel shows, and its eight tints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from rich.style import Style

from engine.pages.palette import FRAME, RAMP
from tui.state.maps import NO_STEP, STEPS, Steps
from tui.state.patches import Patches
from tui.widgets.evened import LEAST_OFF, MOST_OFF, evened
from tui.widgets.pixel_lines import Codes, Pixels, codes_of

if TYPE_CHECKING:
    from PIL.Image import Image

_COVER: Final = (0.24, 0.42, 0.48, 0.54, 0.60, 0.66, 0.72, 0.78)
"""How much of a pixel is the step's colour; the rest is the picture."""
_DIM: Final = (0.66, 0.72, 0.78, 0.82, 0.86, 0.92, 0.96, 1.0)
"""How bright the picture stays under each step."""
_COLOUR: Final = 0.6
"""How much of the picture's own colour stays under a tint."""
_OF_256: Final = (
    (234, 237, 240), (53, 54, 97), (90, 91, 133), (125, 126, 168),
    (160, 167, 204), (166, 202, 209), (172, 208, 215), (178, 220, 229),
)  # fmt: skip
"""The same steps on a terminal with 256 colours, each for dark, middling and light parts of the
picture: blended colours would be rounded to greys, and many of them cost many bytes."""
_BANDS: Final = (52, 120)
"""Where middling and light parts begin, of 255."""
_TINTED_OFF: Final = 3
"""How much neighbours are evened out under a tint (see `tui.widgets.evened`) where colours are not
expensive: nobody sees it there."""
_LIT: Final = 0.35
"""By how much the step's colour follows the picture's light and shade."""
_MARGIN: Final = 1
"""Pixels around the picture, in which a frame around a patch at its edge is drawn."""
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Ramp:
    """The colours of eight steps, and how they lie on a picture."""

    colours: tuple[tuple[int, int, int], ...]
    cover: tuple[float, ...]
    dim: tuple[float, ...]
    of_256: tuple[tuple[int, int, int], ...]
    frame: tuple[int, int, int]
    ranks: tuple[int, ...] = tuple(range(STEPS))
    """How strong each step is beside the others: where several patches share a pixel, the
    strongest is shown."""


FROM_LOW: Final = Ramp(RAMP, _COVER, _DIM, _OF_256, FRAME)
AROUND_ZERO: Final = Ramp(
    colours=(
        (255, 96, 76), (206, 62, 58), (132, 44, 50), (58, 28, 34),
        (26, 36, 62), (38, 74, 140), (52, 120, 212), (104, 180, 255),
    ),
    cover=(0.78, 0.66, 0.54, 0.34, 0.34, 0.54, 0.66, 0.78),
    dim=(1.0, 0.88, 0.78, 0.68, 0.68, 0.78, 0.88, 1.0),
    of_256=(
        (196, 203, 217), (124, 167, 210), (88, 131, 174), (52, 95, 138),
        (17, 60, 103), (18, 61, 110), (26, 68, 111), (39, 75, 117),
    ),
    frame=(255, 236, 132),
    ranks=(6, 4, 2, 0, 1, 3, 5, 7),
)  # fmt: skip
"""Red below 0 and blue above, the farther the lighter (`tui.state.maps.signed_scale`)."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A picture scaled to a size; the margin is around all of its arrays."""

    tints: Codes
    """int32 [9, height, width]: the picture in every step, and untinted last."""
    owner: npt.NDArray[np.int32]
    """int32 [height, width]: the patch that covers most of a pixel; -1 if less than half of it
    is covered."""
    patches: npt.NDArray[np.intp]
    """The patches of the sheet that is shown, [m]."""
    middles: npt.NDArray[np.intp]
    """[m, 2]: the pixel (y, x) in which the middle of each of them lies."""
    frames: dict[int, tuple[int, int, int, int]]
    """Patch -> x0, y0, x1, y1 in pixels, x1 and y1 excluded."""
    indexed: bool
    ramp: Ramp = FROM_LOW

    @property
    def ranks(self) -> npt.NDArray[np.intp]:
        """intp [9]: how strong each step is beside the others; what has none is the weakest."""
        return np.array([*self.ramp.ranks, -1], np.intp)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels; the height is even."""
        return (self.tints.shape[1], self.tints.shape[2])

    def pixels(self, steps: Steps | None, framed: int | None) -> Codes:
        """Return the colours with the steps of all patches as a tint, and one patch framed.

        A pixel shows the patch that covers most of it, and never less than a patch whose middle
        lies in it, so that none is lost where patches are smaller than pixels. On a signed scale
        less is what is nearer to 0; of two steps equally far from it the positive one is shown.
        """
        height, width = self.shape
        chosen = np.full((height, width), STEPS, np.intp)
        if steps is not None and len(steps):
            owned = self.owner >= 0
            mine = steps[self.owner[owned]]
            chosen[owned] = np.where(mine == NO_STEP, STEPS, mine)
            inner = steps[self.patches]
            at = self.middles[inner != NO_STEP]
            known = inner[inner != NO_STEP]
            order = np.argsort(self.ranks[known])  # of several in one pixel the strongest is last
            under = chosen[at[order, 0], at[order, 1]]
            more = self.ranks[known[order]] > self.ranks[under]
            chosen[at[order][more, 0], at[order][more, 1]] = known[order][more]
        codes: Codes = np.take_along_axis(self.tints, chosen[None], axis=0)[0]
        if framed is not None and framed in self.frames:
            _frame(codes, self.frames[framed], self._frame_code)
        return codes

    @property
    def _frame_code(self) -> int:
        return int(codes_of(np.array([[self.ramp.frame]], np.uint8), indexed=self.indexed)[0, 0])

    def patch_at(self, x: int, y: int) -> int | None:
        """Return the patch that a pixel shows, or None."""
        height, width = self.shape
        if not (0 <= x < width and 0 <= y < height) or self.owner[y, x] < 0:
            return None
        return int(self.owner[y, x])


def step_style(step: int, ramp: Ramp = FROM_LOW) -> Style:
    """Return the style of a bar or swatch of a step. The lowest steps are lighter than in the
    picture: alone on a dark screen they would not be seen."""
    red, green, blue = ramp.colours[step]
    lift = max(100 - max(red, green, blue), 0)
    return Style(color=f"rgb({red + lift},{green + lift},{blue + lift})")


def plan(
    image: Image,
    room: tuple[int, int],
    picture: tuple[int, int],
    patches: Patches,
    sheet: int,
    *,
    even: bool = False,
    indexed: bool = False,
    background: tuple[int, int, int] = (0, 0, 0),
    ramp: Ramp = FROM_LOW,
) -> Plan:
    """Scale an RGB image so that with its margin it fits into (columns, lines) of cells.

    `picture` is the size in whose pixels the boxes are given. With `even`, neighbours that are
    nearly alike share a colour, and otherwise those that nobody can tell apart; `indexed` is for a
    terminal with 256 colours.
    """
    columns, lines = max(room[0] - 2 * _MARGIN, 1), max(2 * room[1] - 2 * _MARGIN, 2)
    scale = min(columns / image.width, lines / image.height)
    width = min(max(round(image.width * scale), 1), columns)
    height = min(max(2 * round(image.height * scale / 2), 2), lines // 2 * 2)
    small = image.convert("RGB").resize((width, height), 4)  # 4 = BOX, an exact mean of areas

    def within(most_off: int) -> Pixels:
        alike = evened(small.tobytes(), width, most_off)
        return np.array(alike, np.uint8).reshape(height, width, 3)

    is_dear = even or indexed
    under = within(MOST_OFF if is_dear else _TINTED_OFF)
    plain = under if is_dear else within(LEAST_OFF)
    shown = patches.sheets[sheet] if sheet < len(patches.sheets) else np.empty(0, np.intp)
    boxes = patches.boxes[shown] * np.tile([width / picture[0], height / picture[1]], 2)
    owner = (_owners_of_cells if indexed else _owners)(boxes, shown, (height, width))
    middles = (boxes[:, [1, 0]] + boxes[:, [3, 2]]) / 2
    inside = ((middles >= 0) & (middles < (height, width))).all(axis=1)
    shown, boxes, middles = shown[inside], boxes[inside], middles[inside].astype(np.intp)
    frames = {
        int(patch): _edges(box, middle, (height, width))
        for patch, box, middle in zip(shown, boxes, middles, strict=True)
    }
    tinted = _tints_of_256(under, ramp) if indexed else _tints(under, ramp)
    tints = np.stack([*tinted, codes_of(plain, indexed=indexed)])
    blank = int(codes_of(np.array([[background]], np.uint8), indexed=indexed)[0, 0])
    around = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN))
    return Plan(
        np.pad(tints, ((0, 0), *around), constant_values=blank),
        np.pad(owner, around, constant_values=-1),
        shown,
        middles + _MARGIN,
        frames,
        indexed,
        ramp,
    )


def _owners(
    boxes: npt.NDArray[np.float64], patches: npt.NDArray[np.intp], shape: tuple[int, int]
) -> npt.NDArray[np.int32]:
    """Return which patch covers most of every pixel; -1 where all together cover less than half."""
    height, width = shape
    owner = np.full(shape, -1, np.int32)
    most, covered = np.zeros(shape), np.zeros(shape)
    for patch, (x0, y0, x1, y1) in zip(patches, boxes, strict=True):
        left, right = max(int(x0), 0), min(int(np.ceil(x1)), width)
        top, bottom = max(int(y0), 0), min(int(np.ceil(y1)), height)
        if left >= right or top >= bottom:
            continue
        x, y = np.arange(left, right), np.arange(top, bottom)
        wide = np.minimum(x + 1, x1) - np.maximum(x, x0)
        high = np.minimum(y + 1, y1) - np.maximum(y, y0)
        share = high[:, None] * wide[None, :]
        part = most[top:bottom, left:right]
        more = share > part + 1e-9
        part[more] = share[more]
        owner[top:bottom, left:right][more] = patch
        covered[top:bottom, left:right] += share
    owner[covered < 0.5 - 1e-6] = -1
    return owner


def _owners_of_cells(
    boxes: npt.NDArray[np.float64], patches: npt.NDArray[np.intp], shape: tuple[int, int]
) -> npt.NDArray[np.int32]:
    """Return which patch covers most of the cell that a pixel lies in: with one step for both
    halves of a cell fewer colours have to be sent."""
    height, width = shape
    halved = boxes.copy()
    halved[:, [1, 3]] = (boxes[:, [1, 3]] + _MARGIN) / 2
    cells = _owners(halved, patches, ((height + 2 * _MARGIN) // 2, width))
    return cells.repeat(2, axis=0)[_MARGIN:-_MARGIN]


def _edges(
    box: npt.NDArray[np.float64], middle: npt.NDArray[np.intp], shape: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return the pixels of a patch, at least the one in its middle, with the margin counted."""
    height, width = shape
    x0, y0, x1, y1 = (int(np.floor(edge + 0.5)) for edge in box)
    y, x = (int(each) for each in middle)
    left, right = max(min(x0, x), 0), min(max(x1, x + 1), width)
    top, bottom = max(min(y0, y), 0), min(max(y1, y + 1), height)
    return (left + _MARGIN, top + _MARGIN, right + _MARGIN, bottom + _MARGIN)


def _frame(codes: Codes, edges: tuple[int, int, int, int], code: int) -> None:
    """Draw a frame around a patch; it lies on its neighbours, so that the patch stays whole."""
    x0, y0, x1, y1 = edges
    codes[y0 - 1, x0 - 1 : x1 + 1] = codes[y1, x0 - 1 : x1 + 1] = code
    codes[y0 - 1 : y1 + 1, x0 - 1] = codes[y0 - 1 : y1 + 1, x1] = code


def _light(pixels: Pixels) -> npt.NDArray[np.float32]:
    light: npt.NDArray[np.float32] = pixels.astype(np.float32) @ _LUMA
    return light


def _tints_of_256(pixels: Pixels, ramp: Ramp) -> list[Codes]:
    """Return the picture in every step, in few of 256 colours."""
    bands = np.digitize(_light(pixels), _BANDS)
    return [np.array(colours, np.int32)[bands] for colours in ramp.of_256]


def _tints(pixels: Pixels, ramp: Ramp) -> list[Codes]:
    """Return the picture in every step."""
    wide, light = pixels.astype(np.float32), _light(pixels)
    grey = np.repeat(light[..., None], 3, axis=-1)
    dimmed = _COLOUR * wide + (1 - _COLOUR) * grey
    shade = (1 - _LIT + _LIT * 1.6 * light / 255)[..., None]
    found = []
    for colour, cover, bright in zip(ramp.colours, ramp.cover, ramp.dim, strict=True):
        tint = np.array(colour, np.float32) * shade
        mixed = (1 - cover) * bright * dimmed + cover * tint
        found.append(codes_of(np.clip(mixed.round(), 0, 255).astype(np.uint8), indexed=False))
    return found
