"""The boxes of picture tokens in the photograph, against closed forms and against occlusion."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from math import ceil, floor
from typing import Any

import pytest
import torch
from PIL import Image

from engine import Lens
from engine.errors import BadInput
from engine.lens.picture_patches import CODES, SHARED, WHOLE, PicturePatches, picture_patches
from engine.pictures.patch_boxes import boxes_of, in_even_grids
from engine.pictures.pixels import Unpack
from engine.pictures.tile_maps import TileMap, located
from tests.conftest import hooks_of
from tests.engine import closed_forms
from tests.engine.closed_forms import Box, Size
from tests.engine.real_geometry import NAMES, RealGeometry, real_geometry
from tests.engine.test_seen import PROCESSORS, image_processor
from tests.families import FAMILIES

SIZES: list[Size] = [(640, 427), (300, 500), (17, 900), (1, 1)]
FORMS = {"qwen2_5_vl": "qwen2_vl"}
CHEAP = {("llava", (300, 500)), ("qwen2_vl", (17, 900)), ("paligemma", (1, 1))}


def expected_boxes(name: str, size: Size) -> list[Box | None]:
    found: list[Box | None] = getattr(closed_forms, FORMS.get(name, name))(size)
    return found


@cache
def geometry(name: str) -> RealGeometry:
    return real_geometry(name)


def noise(size: Size) -> Image.Image:
    return Image.effect_noise(size, 90).convert("RGB")


def patches_of(real: RealGeometry, size: Size, tokens: int) -> PicturePatches:
    return picture_patches(
        Lens(real.model),
        real.processor,
        real.inputs(noise(size), tokens),
        size,
        lambda image: real.inputs(image, tokens),
    )


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(name, size, marks=() if (name, size) in CHEAP else pytest.mark.slow)
        for name in NAMES
        for size in SIZES
    ],
    ids=str,
)
def test_closed_forms(name: str, size: Size) -> None:
    """Within a twentieth of a pixel of the photograph and a hundredth of a cell."""
    expected = expected_boxes(name, size)
    found = patches_of(geometry(name), size, len(expected))
    assert (found.how, found.reason) == ("exact", "")
    assert found.boxes is not None
    boxes = dict(zip(found.boxes.tokens.tolist(), found.boxes.boxes.tolist(), strict=True))
    shown = {1 + index: box for index, box in enumerate(expected) if box is not None}
    assert {token for token, box in boxes.items() if box[0] == box[0]} == shown.keys()
    for token, box in shown.items():
        near = [min(0.05, 0.01 * (box[axis + 2] - box[axis])) for axis in (0, 1, 0, 1)]
        assert all(
            abs(a - b) <= limit for a, b, limit in zip(box, boxes[token], near, strict=True)
        ), (token, box, boxes[token])
    assert hooks_of(geometry(name).model) == 0


def test_tiles_rows_and_columns() -> None:
    size = (640, 427)
    found = patches_of(geometry("llava"), size, 576).boxes
    assert found is not None
    assert found.tile.unique().tolist() == [0]
    assert torch.equal(found.row * 24 + found.column, torch.arange(576))


@pytest.mark.slow
def test_rows_and_columns_in_tiles_with_a_thumbnail() -> None:
    expected = expected_boxes("internvl", (640, 427))
    found = patches_of(geometry("internvl"), (640, 427), len(expected)).boxes
    assert found is not None
    assert torch.equal(found.tile, torch.arange(len(expected)) // 256)
    assert torch.equal(found.row * 16 + found.column, torch.arange(len(expected)) % 256)


# Occlusion


def muted(real: RealGeometry) -> RealGeometry:
    """The model with the output of all attention in its tower made 0, so that patches of the tower
    do not see each other."""
    with torch.no_grad():
        for name, parameter in real.model.named_parameters():
            inside = "vision" in name or "visual" in name
            if inside and ("attn" in name or "attention" in name):
                parameter.zero_()
    return real


def entering(real: RealGeometry, lens: Lens, inputs: Mapping[str, Any]) -> torch.Tensor:
    """The stream [positions, width] that enters the first layer, in an ordinary pass."""
    seen: list[torch.Tensor] = []

    def keep(module: Any, args: Any, kwargs: Any) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    handle = lens.layers[0].register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad():
            real.model(**inputs)
    finally:
        handle.remove()
    return seen[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(640, 427), (300, 500)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_occlusion(name: str, size: Size) -> None:
    """What is painted into a token's box changes this token most, of all tokens of its tile."""
    real = muted(real_geometry(name))
    tokens = len(expected_boxes(name, size))
    image = noise(size)
    lens = Lens(real.model)
    inputs = real.inputs(image, tokens)
    found = picture_patches(
        lens, real.processor, inputs, size, lambda other: real.inputs(other, tokens)
    ).boxes
    assert found is not None
    plain = entering(real, lens, inputs)
    tried = random.Random(0).sample(range(len(found.tokens)), 8)
    hits = total = 0
    for index in tried:
        left, top, right, bottom = (
            max(0.0, min(float(edge), float(side)))
            for edge, side in zip(found.boxes[index], (*size, *size), strict=True)
        )
        if right - left < 4 or bottom - top < 4:
            continue  # a corner of it alone
        painted = image.copy()
        painted.paste((255, 0, 255), (ceil(left), ceil(top), floor(right), floor(bottom)))
        change = (entering(real, lens, real.inputs(painted, tokens)) - plain).norm(dim=1)
        mates = found.tokens[found.tile == found.tile[index]]
        hits += int(mates[change[mates].argmax()]) == int(found.tokens[index])
        total += 1
    assert total >= 4
    assert hits == total


# What is not exact


@pytest.mark.slow
def test_tokens_blended_from_several_patches_are_approximate() -> None:
    """LLaVA-OneVision shrinks many tiles' features: 108 x 108 patches become 80 x 80 tokens."""
    size = (1600, 1600)
    base = closed_forms.llava_onevision(size)[: 27 * 27]
    found = patches_of(geometry("llava_onevision"), size, len(base) + 80 * 81)
    assert (found.how, found.reason) == ("approximate", SHARED)
    assert found.boxes is not None
    boxes = dict(zip(found.boxes.tokens.tolist(), found.boxes.boxes, strict=True))
    off = []
    for row in range(80):
        for column in range(80):
            box = boxes.get(1 + len(base) + 81 * row + column)
            if box is not None:
                off.append(
                    max(
                        abs(float(box[0] + box[2]) / 2 - (column + 0.5) * 1600 / 80),
                        abs(float(box[1] + box[3]) / 2 - (row + 0.5) * 1600 / 80),
                    )
                )
    assert len(off) > 0.98 * 80 * 80
    assert sorted(off)[len(off) // 2] < 1600 / 80 / 2


class _Squeezes:
    """An image processor that resizes pictures to a square."""

    do_rescale = do_normalize = False

    def __init__(self, side: int) -> None:
        self._side = side

    def __call__(self, image: Image.Image) -> torch.Tensor:
        small = image.resize((self._side, self._side), Image.Resampling.BICUBIC)
        data = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
        return data.view(1, self._side, self._side, 3).movedim(-1, 1).float()


def tiny_patches(name: str, seed: int = 0) -> PicturePatches:
    """The boxes for a tiny family whose processor squeezes a picture of 640 x 320 to a square."""
    tiny = FAMILIES[name](seed=seed)
    processor = _Squeezes(tiny.inputs["pixel_values"].shape[-1])

    def process(image: Image.Image) -> dict[str, Any]:
        pixels = processor(image) / 127 - 1
        return {**tiny.inputs, "pixel_values": pixels.view(tiny.inputs["pixel_values"].shape)}

    made = process(noise((640, 320)))
    settings = type("Settings", (), {"do_rescale": True, "rescale_factor": 1 / 127})()
    settings.do_normalize, settings.image_mean, settings.image_std = True, [1.0] * 3, [1.0] * 3
    # 0..255 -> -1..1: undone by adding 1, then dividing by 1/127.
    return picture_patches(Lens(tiny.model), settings, made, (640, 320), process)


@pytest.mark.parametrize("name", ["got_ocr2", "unlimited_ocr", "step3p7"])
def test_overlapping_convolutions_are_approximate(name: str) -> None:
    found = tiny_patches(name)
    assert (found.how, found.reason) == ("approximate", SHARED)
    assert found.boxes is not None
    assert found.boxes.row.tolist() == [0, 0, 1, 1]
    assert found.boxes.column.tolist() == [0, 1, 0, 1]
    assert found.boxes.boxes[3].tolist() == pytest.approx([320, 160, 640, 320], abs=0.1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["aria", "kosmos-2", "blip-2", "idefics2"])
def test_learned_queries_see_the_whole_picture(name: str, seed: int) -> None:
    found = tiny_patches(name, seed)
    assert (found.how, found.reason, found.boxes) == ("none", WHOLE, None)


def test_codes_are_in_the_order_of_a_grid_if_they_fit() -> None:
    found = tiny_patches("chameleon")
    assert (found.how, found.reason) == ("approximate", CODES)
    assert found.boxes is not None
    side = round(len(found.boxes.tokens) ** 0.5)
    assert found.boxes.row.tolist() == [index // side for index in range(side * side)]
    assert found.boxes.boxes[1].tolist() == pytest.approx(
        [640 / side, 0, 2 * 640 / side, 320 / side], abs=0.1
    )


# Pieces


def maps_for(name: str, size: Size) -> tuple[Unpack, tuple[TileMap | None, ...]]:
    processor = image_processor(name)

    def process(image: Image.Image) -> Mapping[str, Any]:
        made: Mapping[str, Any] = processor(images=[image], return_tensors="pt")
        return made

    return located(processor, process(noise(size)), size, process)


@pytest.mark.parametrize(
    ("name", "size", "x", "y"),
    [
        ("siglip.Siglip", (640, 427), (0, 640), (0, 427)),
        ("siglip.Siglip", (1, 1), (0, 1), (0, 1)),
        ("clip.CLIP", (640, 427), (13 * 640 / 83, 69 * 640 / 83), (0, 427)),
        # Padded to a square before it is resized: its edges lie between two pixels.
        ("llava.Llava", (640, 427), (0, 640), (-106.5, 533.5)),
        ("janus.Janus", (300, 500), (-11 * 300 / 34, 45 * 300 / 34), (0, 500)),
        ("idefics2.Idefics2", (7, 3), (0, 7), (0, 3)),
        ("qwen2_vl.Qwen2VL", (17, 900), (0, 17), (0, 900)),
    ],
)
def test_where_a_tile_lies(name: str, size: Size, x: Box, y: Box) -> None:
    unpack, (tile,) = maps_for(name, size)
    assert tile is not None
    processor = image_processor(name)
    pixels = unpack(processor(images=[noise(size)], return_tensors="pt"))
    for line, length, ends in ((tile.x, pixels.shape[2], x), (tile.y, pixels.shape[1], y)):
        found = [line.start, line.slope * length + line.start]
        assert found == pytest.approx(ends, abs=0.005 * abs(ends[1] - ends[0]))


def test_an_unknown_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROCESSORS, "minicpmv4_6.MiniCPMV4_6", {})
    with pytest.raises(BadInput, match="orders pixels"):
        maps_for("minicpmv4_6.MiniCPMV4_6", (160, 120))


def test_strays_do_not_stretch_a_box() -> None:
    numbers = torch.arange(4).view(2, 2).repeat_interleave(8, 0).repeat_interleave(8, 1)
    numbers[0, 15], numbers[15, 3], numbers[3, 3] = 2, 1, -2
    found = boxes_of(numbers[None, ..., None], [None])
    assert found.tokens.tolist() == [0, 1, 2, 3]
    assert found.row.tolist() == [0, 0, 1, 1] and found.column.tolist() == [0, 1, 0, 1]
    assert found.filled == pytest.approx(253 / 256)
    assert found.overlap == pytest.approx(256 / 255)
    assert found.boxes.isnan().all()


def test_speckle_is_no_grid() -> None:
    generator = torch.Generator().manual_seed(0)
    speckle = torch.randint(0, 16, (1, 64, 64, 1), generator=generator)
    assert in_even_grids(speckle) is None
    even = torch.arange(16).view(4, 4).repeat_interleave(16, 0).repeat_interleave(16, 1)
    mixed = torch.where(speckle < 8, even[None, ..., None], speckle)
    assert torch.equal(in_even_grids(mixed)[0, ..., 0], even)  # type: ignore[index]
