"""A processor is stopped before it makes more of a picture than memory holds."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from engine.errors import BadInput
from engine.prompts.bounds import ALWAYS_ALLOWED, NEVER_ALLOWED, bounded, most_pixels
from tests.engine.test_seen import PROCESSORS, image_processor

THIN = (1, 5000)
LARGE = 100_000
"""A side that no picture of the tests has; its square would take 30 GB."""
GROWING = {"clip.CLIP", "chameleon.Chameleon", "llava.Llava"}
"""Those that scale the shorter side to a size, and know no limit."""
SHORTEST_EDGE = {"shortest_edge": 336}


def processed(processor: Any, size: tuple[int, int]) -> Any:
    image = Image.new("RGB", size, "teal")
    with bounded(image):
        return processor(images=[image], return_tensors="pt")


@pytest.mark.parametrize("size", [THIN, THIN[::-1]])
@pytest.mark.parametrize("name", sorted(GROWING))
def test_a_thin_picture_is_refused_before_memory_is_taken(
    name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROCESSORS, name, {"size": SHORTEST_EDGE})
    processor = image_processor(name)
    resized: list[Any] = []
    monkeypatch.setattr(Image.Image, "resize", lambda *arguments, **_: resized.append(arguments))
    with pytest.raises(BadInput, match=f"{size[0]} x {size[1]} pixels would become") as caught:
        processed(processor, size)
    assert not resized
    assert "1,680,000 x 336" in str(caught.value)
    assert "64 million" in str(caught.value)


def test_a_square_around_a_thin_picture_is_refused() -> None:
    with pytest.raises(BadInput, match="20,000 x 20,000"):
        processed(image_processor("llava.Llava"), (3, 20_000))


@pytest.mark.parametrize("name", sorted(PROCESSORS.keys() - GROWING))
def test_processors_that_bound_the_picture_themselves_are_left_alone(name: str) -> None:
    """Where one refuses it, it does so in its own words."""
    processor = image_processor(name)
    image = Image.new("RGB", THIN, "teal")
    try:
        alone = processor(images=[image], return_tensors="pt")
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)[:20]):
            processed(processor, THIN)
        return
    again = processed(processor, THIN)
    assert alone.keys() == again.keys()
    for key, value in alone.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, again[key])


@pytest.mark.parametrize("size", [(640, 480), (1600, 1200), (2000, 120), (120, 2000)])
@pytest.mark.parametrize("name", ["clip.CLIP", "llava.Llava", "pixtral.Pixtral"])
def test_usual_pictures_are_left_alone(name: str, size: tuple[int, int]) -> None:
    assert "pixel_values" in processed(image_processor(name), size)


def test_a_large_picture_may_become_larger() -> None:
    assert most_pixels(14_000, 7_000) >= 14_000 * 14_000  # a square around a panorama
    assert most_pixels(1, 5000) == ALWAYS_ALLOWED
    assert most_pixels(10_000, 10_000) == NEVER_ALLOWED


WAYS: dict[str, Any] = {
    "resize": lambda image: image.resize((LARGE, LARGE)),
    "new": lambda image: Image.new("RGB", (LARGE, LARGE)),
    "expand": lambda image: ImageOps.expand(image, LARGE),
    "pad": lambda image: ImageOps.pad(image, (LARGE, LARGE)),
    "zeros": lambda image: np.zeros((3, LARGE, LARGE), np.uint8),
    "full": lambda image: np.full((LARGE, LARGE, 3), 7),
    "empty": lambda image: np.empty(LARGE * LARGE),
    "numpy.pad": lambda image: np.pad(np.asarray(image), ((0, LARGE), (0, LARGE), (0, 0))),
    "torch.zeros": lambda image: torch.zeros(3, LARGE, LARGE),
    "torch.full": lambda image: torch.full((3, LARGE, LARGE), 0.5),
    "new_zeros": lambda image: torch.ones(1).new_zeros((3, LARGE, LARGE)),
    "new_full": lambda image: torch.ones(1).new_full((3, LARGE, LARGE), 0.5),
    "torch pad": lambda image: torch.nn.functional.pad(torch.ones(1, 3, 4, 4), (0, LARGE) * 2),
    "interpolate": lambda image: torch.nn.functional.interpolate(
        torch.ones(1, 3, 4, 4), size=(LARGE, LARGE)
    ),
    "scale": lambda image: torch.nn.functional.interpolate(
        torch.ones(1, 3, 4, 4), scale_factor=LARGE
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_make_a_picture_larger_is_watched(way: str) -> None:
    image = Image.new("RGB", (4, 4))
    with pytest.raises(BadInput, match="4 x 4 pixels would become"), bounded(image):
        WAYS[way](image)


def test_small_steps_and_wrong_arguments_are_left_to_the_functions() -> None:
    image = Image.new("RGB", (4, 4))
    with bounded(image):
        assert image.resize((8, 8)).size == (8, 8)
        assert np.zeros(3).shape == (3,)
        assert np.full((2, 2), 1.0).sum() == 4
        assert np.pad(np.ones((2, 2)), 1).shape == (4, 4)
        assert torch.zeros((2, 3)).shape == (2, 3)
        assert torch.nn.functional.interpolate(torch.ones(1, 1, 2, 2), scale_factor=2).numel() == 16
        with pytest.raises(TypeError):
            np.zeros()  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="resampling"):
            image.resize((8, 8), 99)


def test_everything_is_as_before_afterwards() -> None:
    functions = (Image.Image.resize, Image.new, np.zeros, np.pad)
    image = Image.new("RGB", (4, 4))
    with pytest.raises(RuntimeError, match="inner"), bounded(image):
        assert np.zeros is not functions[2]
        with bounded(image):
            raise RuntimeError("inner")
    assert (Image.Image.resize, Image.new, np.zeros, np.pad) == functions
    with bounded(None):
        assert np.zeros is functions[2]


def test_other_threads_are_not_bounded() -> None:
    made: list[int] = []
    inside, done = threading.Event(), threading.Event()

    def elsewhere() -> None:
        inside.wait(10)
        made.append(np.zeros(4 * ALWAYS_ALLOWED, np.uint8).size)  # takes no memory until it is used
        done.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    with bounded(Image.new("RGB", (4, 4))):
        inside.set()
        assert done.wait(10)
    thread.join()
    assert made == [4 * ALWAYS_ALLOWED]
