"""What a model sees of a picture: transformers' own image processors, undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from engine.errors import BadInput
from engine.pictures.model_view import picture_seen, processed
from engine.pictures.pixels import pixels_of
from engine.records import Picture

RED, GREEN, BLUE, GOLD = (230, 30, 30), (30, 200, 40), (40, 50, 220), (240, 220, 40)

SQUARE = {"height": 56, "width": 56}
PROCESSORS: dict[str, dict[str, Any]] = {
    "clip.CLIP": {"size": {"shortest_edge": 56}, "crop_size": SQUARE},
    "llava.Llava": {"size": {"shortest_edge": 56}, "crop_size": SQUARE, "do_pad": True},
    "siglip.Siglip": {"size": SQUARE},
    "gemma3.Gemma3": {"size": SQUARE},
    "blip.Blip": {"size": SQUARE},
    "chameleon.Chameleon": {"size": {"shortest_edge": 56}, "crop_size": SQUARE},
    "janus.Janus": {"size": SQUARE},
    "pixtral.Pixtral": {"size": {"longest_edge": 128}, "patch_size": 8},
    "llava_next.LlavaNext": {
        "size": {"shortest_edge": 56},
        "crop_size": SQUARE,
        "image_grid_pinpoints": [[56, 112], [112, 56], [112, 112]],
    },
    "llava_onevision.LlavaOnevision": {
        "size": SQUARE,
        "image_grid_pinpoints": [[56, 112], [112, 56], [112, 112]],
    },
    "idefics2.Idefics2": {"size": {"shortest_edge": 56, "longest_edge": 112}},
    "idefics3.Idefics3": {
        "size": {"longest_edge": 192},
        "max_image_size": {"longest_edge": 64},
    },
    "smolvlm.SmolVLM": {
        "size": {"longest_edge": 192},
        "max_image_size": {"longest_edge": 64},
    },
    "mllama.Mllama": {"size": SQUARE, "max_image_tiles": 4},
    "got_ocr2.GotOcr2": {
        "size": SQUARE,
        "crop_to_patches": True,
        "min_patches": 1,
        "max_patches": 6,
    },
    "qwen2_vl.Qwen2VL": {"patch_size": 4, "min_pixels": 64, "max_pixels": 8192},
    "glm4v.Glm4v": {"patch_size": 4, "size": {"shortest_edge": 64, "longest_edge": 16384}},
    "hunyuan_vl.HunYuanVL": {
        "patch_size": 4,
        "size": {"shortest_edge": 64, "longest_edge": 8192},
    },
    "cosmos3_edge.Cosmos3Edge": {
        "patch_size": 4,
        "size": {"shortest_edge": 64, "longest_edge": 8192},
    },
    "paddleocr_vl.PaddleOCRVL": {
        "patch_size": 4,
        "size": {"shortest_edge": 64, "longest_edge": 8192},
    },
    "siglip2.Siglip2": {"patch_size": 8, "max_num_patches": 128},
    "gemma4.Gemma4": {},
}
"""InternVL's is GotOcr2, Qwen2.5-VL's and Qwen3-VL's is Qwen2-VL's."""

PADDING = {
    "llava.Llava",
    "janus.Janus",
    "llava_next.LlavaNext",
    "llava_onevision.LlavaOnevision",
    "mllama.Mllama",
}
SIZES = [(160, 120), (90, 210), (40, 24)]


def image_processor(name: str) -> Any:
    module, prefix = name.split(".")
    made = import_module(f"transformers.models.{module}.image_processing_pil_{module}")
    return getattr(made, f"{prefix}ImageProcessorPil")(**PROCESSORS[name])


def blocks(width: int, height: int) -> Image.Image:
    """Red, green; blue, gold."""
    image = Image.new("RGB", (width, height), RED)
    drawing = ImageDraw.Draw(image)
    x, y = width // 2, height // 2
    drawing.rectangle((x, 0, width, y - 1), GREEN)
    drawing.rectangle((0, y, x - 1, height), BLUE)
    drawing.rectangle((x, y, width, height), GOLD)
    return image


def seen(processor: Any, image: Image.Image) -> tuple[Image.Image, Mapping[str, Any]]:
    def process(image: Image.Image) -> Mapping[str, Any]:
        made: Mapping[str, Any] = processor(images=[image], return_tensors="pt")
        return made

    inputs = process(image)
    return picture_seen(processor, inputs, image.size, process), inputs


def unpadded(image: Image.Image, name: str, size: tuple[int, int]) -> tuple[float, ...]:
    """The part of a seen picture that is no padding: left, top, right, bottom."""
    if name not in PADDING:
        return 0, 0, *image.size
    scale = min(image.width / size[0], image.height / size[1])
    wide, high = size[0] * scale, size[1] * scale
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    if name == "mllama.Mllama":
        left = top = 0.0
    return left, top, left + wide, top + high


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PROCESSORS)
def test_colours_come_back_in_their_places(name: str, size: tuple[int, int]) -> None:
    processor = image_processor(name)
    image, inputs = seen(processor, blocks(*size))
    left, top, right, bottom = unpadded(image, name, size)
    for x, y, colour in ((1, 1, RED), (3, 1, GREEN), (1, 3, BLUE), (3, 3, GOLD)):
        point = left + (right - left) * x / 4, top + (bottom - top) * y / 4
        found = image.getpixel((int(point[0]), int(point[1])))
        assert isinstance(found, tuple)
        assert max(abs(a - b) for a, b in zip(found, colour, strict=True)) <= 4, (x, y, found)
    facts = processed(processor, inputs, Picture("p", width=size[0], height=size[1]))
    assert facts is not None
    if facts.tiles == 1:
        assert (facts.width, facts.height) == image.size
        assert f"{image.width}x{image.height}" in facts.how
    else:
        assert image.width % facts.width == 0 and image.height % facts.height == 0
        cells = image.width // facts.width * (image.height // facts.height)
        assert cells in (facts.tiles, facts.tiles - 1)
        assert facts.how == f"{facts.tiles} tiles of {facts.width}x{facts.height}"


@pytest.mark.parametrize(
    ("name", "size", "how"),
    [
        ("clip.CLIP", (160, 120), "resized and cropped to 56x56"),
        ("clip.CLIP", (120, 120), "resized to 56x56"),
        ("clip.CLIP", (56, 56), "kept at 56x56"),
        ("gemma3.Gemma3", (160, 120), "resized to 56x56"),
        ("janus.Janus", (160, 120), "resized and padded to 56x56"),
        ("pixtral.Pixtral", (90, 210), "resized to 56x128"),
        ("idefics2.Idefics2", (90, 210), "resized to 56x112"),
        ("qwen2_vl.Qwen2VL", (80, 96), "kept at 80x96, in 8x8 patches"),
        ("qwen2_vl.Qwen2VL", (41, 23), "resized to 40x24, in 8x8 patches"),
        ("mllama.Mllama", (40, 24), "resized and padded to 56x56"),
    ],
)
def test_what_was_done_in_words(name: str, size: tuple[int, int], how: str) -> None:
    processor = image_processor(name)
    inputs = processor(images=[blocks(*size)], return_tensors="pt")
    facts = processed(processor, inputs, Picture("p", width=size[0], height=size[1]))
    assert facts is not None
    assert facts.how == how


def test_a_blank_picture_is_no_padding() -> None:
    """Whether a tile is padding is seen on the drawn picture, not on this one."""
    processor = image_processor("idefics3.Idefics3")
    image, _ = seen(processor, Image.new("RGB", (160, 120), (127, 127, 127)))
    assert image.size == (192, 192) or image.size == (192, 128)
    assert image.getextrema() == ((127, 127),) * 3


@pytest.mark.parametrize("name", ["clip.CLIP", "qwen2_vl.Qwen2VL", "llava_next.LlavaNext"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_the_dtype_of_a_model(name: str, dtype: torch.dtype) -> None:
    processor = image_processor(name)

    def process(image: Image.Image) -> Mapping[str, Any]:
        inputs = dict(processor(images=[image], return_tensors="pt"))
        return inputs | {"pixel_values": inputs["pixel_values"].to(dtype)}

    image = blocks(160, 120)
    found = picture_seen(processor, process(image), image.size, process)
    sharp, _ = seen(processor, image)
    pairs = zip(found.tobytes(), sharp.tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 2


# What cannot be shown


class Spoilt:
    """An image processor whose output is changed on its way."""

    def __init__(self, name: str, spoil: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.image_processor = image_processor(name)
        self._spoil = spoil

    def __call__(self, images: list[Image.Image], return_tensors: str) -> dict[str, Any]:
        inputs = dict(self.image_processor(images=images, return_tensors=return_tensors))
        pixels = pixels_of(inputs)
        assert pixels is not None
        return inputs | {"pixel_values": self._spoil(pixels)}


def _swapped_neighbours(patches: torch.Tensor) -> torch.Tensor:
    """Every block's second and third patch: a small step in the wrong direction."""
    order = torch.arange(len(patches)).view(-1, 4)[:, [0, 2, 1, 3]].flatten()
    return patches[order]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("clip.CLIP", lambda pixels: pixels.flip(-1)),
        ("clip.CLIP", lambda pixels: pixels.flip(-2)),
        ("clip.CLIP", lambda pixels: pixels.flip(-3)),
        ("clip.CLIP", lambda pixels: pixels.transpose(-1, -2).contiguous()),
        ("clip.CLIP", lambda pixels: pixels * 1.3),
        ("clip.CLIP", lambda pixels: pixels + 0.5),
        ("clip.CLIP", lambda pixels: pixels * 0),
        ("clip.CLIP", lambda pixels: (pixels - pixels.mean()) / pixels.std()),
        ("clip.CLIP", lambda pixels: pixels.roll(8, -1)),
        ("clip.CLIP", lambda pixels: pixels[:, :1]),
        ("qwen2_vl.Qwen2VL", _swapped_neighbours),
        ("qwen2_vl.Qwen2VL", lambda pixels: pixels.flip(0)),
        ("qwen2_vl.Qwen2VL", lambda pixels: pixels.roll(1, 0)),
        ("qwen2_vl.Qwen2VL", lambda pixels: pixels.flip(1)),
        ("qwen2_vl.Qwen2VL", lambda pixels: pixels[:, :-2]),
        ("qwen2_vl.Qwen2VL", lambda pixels: pixels[:-4]),
        ("llava_next.LlavaNext", lambda pixels: pixels.flip(-1)),
    ],
)
@pytest.mark.parametrize("size", [(160, 120), (640, 480)], ids=str)
def test_a_wrong_picture_is_never_shown(
    name: str, spoil: Callable[[torch.Tensor], torch.Tensor], size: tuple[int, int]
) -> None:
    with pytest.raises(BadInput, match="cannot be shown") as caught:
        seen(Spoilt(name, spoil), blocks(*size))
    assert "\n" not in str(caught.value)


def test_tiles_in_another_order_are_put_in_theirs() -> None:
    image = blocks(160, 120)
    turned, _ = seen(Spoilt("llava_next.LlavaNext", lambda pixels: pixels.flip(1)), image)
    assert turned.tobytes() == seen(image_processor("llava_next.LlavaNext"), image)[0].tobytes()


def test_a_processor_that_cuts_at_random() -> None:
    sizes = iter((56, 48))
    processor = Spoilt("clip.CLIP", lambda pixels: pixels[..., : next(sizes)])
    with pytest.raises(BadInput, match="cuts another picture of this size differently"):
        seen(processor, blocks(160, 120))


@pytest.mark.parametrize("name", ["pix2struct.Pix2Struct", "fuyu.Fuyu", "minicpmv4_6.MiniCPMV4_6"])
def test_what_is_not_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """pix2struct's pixels are normalised by the picture's own colours."""
    monkeypatch.setitem(PROCESSORS, name, {})
    processor = image_processor(name)
    picture = Picture("p", width=160, height=120)
    image = blocks(160, 120)
    with pytest.raises(BadInput, match="cannot be shown"):
        seen(processor, image)
    assert processed(processor, processor(images=[image], return_tensors="pt"), picture) is None
