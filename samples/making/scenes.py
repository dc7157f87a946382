"""Renders CLEVR-like scenes: shaded cubes, spheres and cylinders on a studio floor.

A scene is plain data (`Scene`, made by `random_scene` from a seed and an index), and
`render` draws it at any resolution. Objects are ray-cast once per pose into small sprites
(`_sprite`), which Pillow resizes and NumPy composites, so a 112 x 112 picture takes about
two milliseconds. `patch_labels` says which object covers each patch of the vision tower.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHAPES = ("cube", "sphere", "cylinder")
MATERIALS = ("rubber", "metal")
COLORS: dict[str, tuple[int, int, int]] = {
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
COUNTS = ("zero", "one", "two", "three", "four")

SIZE = 112
"""Side, in pixels, of the pictures that the model sees."""
PATCH = 14
"""Side, in pixels, of one patch of the vision tower."""
GRID = SIZE // PATCH
GROUND_SHARE = 0.2
"""A patch of which no object covers more than this share shows the ground."""

TRAIN_SEED, CHOICE_SEED, TEST_SEED, SHOWN_SEED = 1, 2, 3, 4
"""Scenes to train on, to make choices with, to measure with, and to show as samples."""

_COUNT_SHARES = (0.10, 0.20, 0.22, 0.24, 0.24)
_MAIN_SIZE = (0.36, 0.48)
_OTHER_SIZE = (0.18, 0.24)
_BLANK_SHARE = 0.01
_NOISE_SHARE = 0.01

_FRAME = 1.12
"""Half side of a sprite's frame in world units; every shape fits into it."""
_LIGHTS = np.array(
    [[-0.75, -0.45, 0.75], [0.75, -0.45, 0.75], [-0.60, -0.75, 0.95], [0.60, -0.75, 0.95]]
)
_PITCHES = np.deg2rad([26.0, 34.0])
_YAWS = np.deg2rad(np.linspace(23.0, 67.0, 8))

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Thing:
    """One object. ``x``, ``y`` (its centre) and ``size`` (its diameter) are shares of the side."""

    shape: str
    color: str
    material: str
    x: float
    y: float
    size: float
    yaw: int
    """Index of the turn about the vertical axis; only a cube shows it."""


@dataclass(frozen=True)
class Scene:
    """Everything that `render` needs; the things are ordered with the largest first."""

    things: tuple[Thing, ...]
    light: int
    pitch: int
    gain: float
    tint: tuple[float, float, float]
    floor: float
    """Brightness of the background, 0 to 1."""
    slope: tuple[float, float]
    """Change of the background's brightness from left to right and from top to bottom."""
    grain: float
    texture: str
    """``studio`` for a real scene; ``blank`` or ``noise`` for pictures that show nothing."""
    noise_seed: int

    @property
    def truth(self) -> dict[str, str]:
        """The answers to the four questions of the study."""
        count = COUNTS[len(self.things)]
        if not self.things:
            return {"color": "none", "shape": "none", "material": "none", "number": count}
        main = self.things[0]
        return {
            "color": main.color,
            "shape": main.shape,
            "material": main.material,
            "number": count,
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a truth file."""
        return {"truth": self.truth, "objects": [asdict(thing) for thing in self.things]}


def random_scene(seed: int, index: int, *, oddities: bool = False) -> Scene:
    """The scene number ``index`` of the stream ``seed``; the same pair gives the same scene.

    With ``oddities`` about one picture in fifty is blank or noise instead, with no object.
    """
    rng = np.random.default_rng([seed, index])
    texture = "studio"
    count = int(rng.choice(len(_COUNT_SHARES), p=_COUNT_SHARES))
    odd = rng.random()
    if oddities and odd < _BLANK_SHARE + _NOISE_SHARE:
        texture, count = ("blank" if odd < _BLANK_SHARE else "noise"), 0
    return Scene(
        things=_place(rng, count),
        light=int(rng.integers(len(_LIGHTS))),
        pitch=int(rng.integers(len(_PITCHES))),
        gain=float(rng.uniform(0.85, 1.15)),
        tint=tuple(float(t) for t in rng.uniform(0.96, 1.04, 3)),  # type: ignore[arg-type]
        floor=float(rng.uniform(0.0, 1.0) if texture == "blank" else rng.uniform(0.45, 0.75)),
        slope=(float(rng.uniform(-0.15, 0.15)), float(rng.uniform(-0.05, 0.2))),
        grain=float(rng.uniform(0.0, 0.012)),
        texture=texture,
        noise_seed=int(rng.integers(2**31)),
    )


def _place(rng: np.random.Generator, count: int) -> tuple[Thing, ...]:
    """``count`` things that hardly overlap, the first clearly the largest."""
    things: list[Thing] = []
    tries = 0
    while len(things) < count:
        tries += 1
        if tries > 60:
            things, tries = [], 0
        size = rng.uniform(*(_OTHER_SIZE if things else _MAIN_SIZE))
        margin = size / 2 + 0.02
        x, y = rng.uniform(margin, 1 - margin, 2)
        if any(np.hypot(x - t.x, y - t.y) < 0.5 * (size + t.size) * 1.02 + 0.01 for t in things):
            continue
        things.append(
            Thing(
                shape=str(rng.choice(SHAPES)),
                color=str(rng.choice(list(COLORS))),
                material=str(rng.choice(MATERIALS)),
                x=float(x),
                y=float(y),
                size=float(size),
                yaw=int(rng.integers(len(_YAWS))),
            )
        )
    return tuple(things)


def render(scene: Scene, side: int = SIZE) -> Image.Image:
    """The picture of a scene, ``side`` x ``side`` pixels."""
    return Image.fromarray(_paint(scene, side)[0])


def render_with_labels(scene: Scene) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The picture (SIZE, SIZE, 3) and, per patch (GRID, GRID), the covering object's number.

    Objects count from 1 in the order of ``scene.things``; 0 is a patch of background.
    """
    pixels, owners = _paint(scene, SIZE)
    best, share = _covers(owners, len(scene.things))
    return pixels, np.where(share > GROUND_SHARE, best, 0).astype(np.uint8)


def patch_covers(scene: Scene) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Per patch (GRID, GRID), the number of the object that covers most of it (meaningless where
    none does) and the share of the patch that it covers."""
    return _covers(_paint(scene, SIZE)[1], len(scene.things))


def _covers(owners: NDArray[np.uint8], count: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    tiles = owners.reshape(GRID, PATCH, GRID, PATCH)
    shares = np.stack(
        [(tiles == k + 1).mean(axis=(1, 3)) for k in range(count)] or [np.zeros((GRID, GRID))]
    )
    return shares.argmax(axis=0).astype(np.uint8) + 1, shares.max(axis=0)


def center_patches(scene: Scene) -> NDArray[np.bool_]:
    """(GRID, GRID): which patches hold an object's centre."""
    marked = np.zeros((GRID, GRID), dtype=bool)
    for thing in scene.things:
        marked[int(thing.y * GRID), int(thing.x * GRID)] = True
    return marked


def _paint(scene: Scene, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (side, side, 3) and the number of the object that owns each pixel (side, side)."""
    rng = np.random.default_rng(scene.noise_seed)
    owners = np.zeros((side, side), dtype=np.uint8)
    if scene.texture == "noise":
        coarse = int(rng.choice([1, 1, 2, 4]))
        cells = -(-side // coarse)
        raw = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        return raw.repeat(coarse, 0).repeat(coarse, 1)[:side, :side], owners
    across, down = _axes(side)
    tint = np.asarray(scene.tint, dtype=np.float32)
    if scene.texture == "blank":
        shade = float(rng.choice([0.0, 1.0, scene.floor]))
        flat = np.full((side, side, 3), shade * 255, dtype=np.float32)
        return flat.astype(np.uint8), owners
    light = scene.floor + scene.slope[0] * (across - 0.5) + scene.slope[1] * (down - 0.5)
    glow = 0.08 * np.exp(-((across - 0.5) ** 2 + (down - 0.6) ** 2) / 0.18)
    canvas = ((light + glow)[..., None] * (255 * tint)).astype(np.float32)
    for thing in scene.things:
        _cast_shadow(canvas, thing, scene, side)
    order = sorted(range(len(scene.things)), key=lambda k: scene.things[k].y)
    for number in order:
        _draw(canvas, owners, scene.things[number], number + 1, scene, side)
    if scene.grain:
        grain = rng.standard_normal((side, side, 1), dtype=np.float32)
        canvas += grain * np.float32(255 * scene.grain)
    return np.clip(canvas, 0, 255).astype(np.uint8), owners


@lru_cache(maxsize=8)
def _axes(side: int) -> tuple[FloatArray, FloatArray]:
    """Pixel centres across (1, side) and down (side, 1), as shares of the side."""
    line = ((np.arange(side, dtype=np.float32) + 0.5) / side).astype(np.float32)
    return line[None, :], line[:, None]


def _cast_shadow(canvas: FloatArray, thing: Thing, scene: Scene, side: int) -> None:
    """Darkens the floor under a thing and on the side away from the light."""
    across, down = _axes(side)
    away = -float(np.sign(_LIGHTS[scene.light, 0]))
    x = thing.x + away * 0.16 * thing.size
    y = thing.y + 0.33 * thing.size
    left, right = int((x - thing.size) * side), int((x + thing.size) * side) + 1
    top, bottom = int((y - 0.6 * thing.size) * side), int((y + 0.6 * thing.size) * side) + 1
    box = (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
    distance = ((across[:, box[1]] - x) / (0.58 * thing.size)) ** 2
    distance = distance + ((down[box[0]] - y) / (0.26 * thing.size)) ** 2
    canvas[box] *= (1 - 0.55 * np.exp(-(distance**1.5)))[..., None]


def _draw(
    canvas: FloatArray,
    owners: NDArray[np.uint8],
    thing: Thing,
    number: int,
    scene: Scene,
    side: int,
) -> None:
    """Composites a thing's sprite onto the canvas and marks the pixels that it owns."""
    pixels = max(round(thing.size * _FRAME * side), 2)
    base = 96 if pixels <= 72 else 288
    yaw = thing.yaw if thing.shape == "cube" else 0
    sprite = _sprite(thing.shape, thing.material, scene.light, scene.pitch, yaw, base)
    planes = np.asarray(sprite.resize((pixels, pixels), Image.Resampling.BICUBIC))
    left, top = round(thing.x * side - pixels / 2), round(thing.y * side - pixels / 2)
    cut_x, cut_y = max(-left, 0), max(-top, 0)
    planes = planes[cut_y : side - top, cut_x : side - left].astype(np.float32) / 255
    box = (
        slice(top + cut_y, top + cut_y + planes.shape[0]),
        slice(left + cut_x, left + cut_x + planes.shape[1]),
    )
    diffuse, specular, alpha = (planes[..., k : k + 1] for k in range(3))
    color = np.asarray(COLORS[thing.color], dtype=np.float32) * scene.tint
    shaded = scene.gain * 1.6 * diffuse * color.astype(np.float32) + 255 * specular
    canvas[box] += alpha * (shaded - canvas[box])
    owners[box][alpha[..., 0] > 0.5] = number


@cache
def _sprite(shape: str, material: str, light: int, pitch: int, yaw: int, base: int) -> Image.Image:
    """An object ray-cast with an orthographic camera, ``base`` x ``base`` pixels.

    The three bands hold diffuse light (1.6 is full), specular light, and coverage.
    """
    samples = base * 2
    line = (np.arange(samples) + 0.5) / samples * 2 * _FRAME - _FRAME
    right, up = np.meshgrid(line, -line)
    tilt = _PITCHES[pitch]
    forward = np.array([0.0, np.cos(tilt), -np.sin(tilt)])
    above = np.array([0.0, np.sin(tilt), np.cos(tilt)])
    origin = right[..., None] * np.array([1.0, 0.0, 0.0]) + up[..., None] * above - 10 * forward
    if shape == "cube":
        hit, point, normal = _cast_cube(origin, forward, float(_YAWS[yaw]))
    else:
        cast = _cast_sphere if shape == "sphere" else _cast_cylinder
        hit, point, normal = cast(origin, forward)
    toward = _LIGHTS[light] / np.linalg.norm(_LIGHTS[light])
    facing = np.clip(normal @ toward, 0, None)
    mirror = normal * (2 * (normal @ -forward))[..., None] + forward
    glint = np.clip(mirror @ toward, 0, None)
    if material == "rubber":
        diffuse = 0.40 + 0.80 * facing
        specular = 0.05 * glint**6
    else:
        bands = np.sin(2.6 * mirror[..., 2] + 4.2 * point[..., 2] + 3.1 * point[..., 0] + 0.6)
        streaks = np.clip(bands, 0, None) ** 3
        diffuse = 0.26 + 0.55 * facing + 0.45 * streaks
        specular = 0.30 * streaks + 0.75 * glint**24
    planes = np.stack([diffuse / 1.6, specular, np.ones_like(diffuse)], -1) * hit[..., None]
    planes = planes.reshape(base, 2, base, 2, 3).mean(axis=(1, 3))
    coverage = planes[..., 2:]
    planes[..., :2] = np.where(coverage > 0, planes[..., :2] / np.maximum(coverage, 1e-6), 0.3)
    return Image.fromarray((np.clip(planes, 0, 1) * 255).round().astype(np.uint8))


_Cast = tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]
"""Which rays hit, where, and the surface's normal there."""


def _cast_sphere(origin: NDArray[np.float64], forward: NDArray[np.float64]) -> _Cast:
    radius = 0.97
    half = origin @ forward
    inside = half**2 - ((origin**2).sum(-1) - radius**2)
    point = origin + (-half - np.sqrt(np.maximum(inside, 0)))[..., None] * forward
    return inside > 0, point, point / radius


def _cast_cylinder(origin: NDArray[np.float64], forward: NDArray[np.float64]) -> _Cast:
    radius, height = 0.80, 0.74
    flat = forward[:2]
    a = flat @ flat
    half = origin[..., :2] @ flat
    inside = half**2 - a * ((origin[..., :2] ** 2).sum(-1) - radius**2)
    side = origin + ((-half - np.sqrt(np.maximum(inside, 0))) / a)[..., None] * forward
    on_side = (inside > 0) & (np.abs(side[..., 2]) <= height)
    top = origin + ((height - origin[..., 2]) / forward[2])[..., None] * forward
    on_top = (top[..., :2] ** 2).sum(-1) <= radius**2
    point = np.where(on_top[..., None], top, side)
    normal = np.concatenate([side[..., :2] / radius, np.zeros_like(side[..., :1])], -1)
    normal[on_top] = (0.0, 0.0, 1.0)
    return on_side | on_top, point, normal


def _cast_cube(origin: NDArray[np.float64], forward: NDArray[np.float64], yaw: float) -> _Cast:
    half = 0.67
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    start, step = origin @ turn, forward @ turn
    near = (-np.sign(step) * half - start) / step
    far = (np.sign(step) * half - start) / step
    axis = near.argmax(-1)
    enter = near.max(-1)
    local = np.zeros_like(origin)
    np.put_along_axis(local, axis[..., None], -np.sign(step)[axis][..., None], -1)
    return enter < far.min(-1), origin + enter[..., None] * forward, local @ turn.T
