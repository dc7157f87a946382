"""What the model receives instead of the picture: counts, positions, pixels, and refusals."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from engine import load
from engine.counterfactuals.grammar import parse_against
from engine.counterfactuals.inputs import PreparedCounterfactual, counterfactual_inputs
from engine.counterfactuals.pixels import pixels_instead, shares_at
from engine.counterfactuals.tokens import tokens_instead
from engine.counterfactuals.unavailable import Unavailable
from engine.errors import BadInput
from engine.models.loading import LoadedModel
from engine.prompts.preparing import Prepared, prepare
from engine.records import Counterfactual, PromptToken, Question
from tests import study_models
from tests.folders import FOLDERS

Opened = Callable[[str], LoadedModel]
ALL = "none,unk,unk-all,noise,noise-pure,zero,one,black,white,blur,mean-patch"
PAD_LABEL = "(pad token: this tokenizer has no unknown token)"
QUESTION = Question(prompt="What?")


def two_colours(width: int = 40, height: int = 24) -> Image.Image:
    """Red with a green block: to each patch its own colours."""
    image = Image.new("RGB", (width, height), (200, 30, 30))
    ImageDraw.Draw(image).rectangle((0, 0, width // 3, height // 2), fill=(30, 200, 40))
    return image


class Asked:
    """A question with its picture, and what it becomes."""

    def __init__(self, loaded: LoadedModel, question: Question = QUESTION) -> None:
        self.loaded, self.question = loaded, question
        self.image = two_colours()
        self.prepared = prepare(loaded.model, loaded.processor, question, self.image)

    def instead(self, written: str, seed: int = 0) -> PreparedCounterfactual:
        (asked,) = parse_against(written, seed)
        return counterfactual_inputs(self.loaded, self.question, self.prepared, asked, self.image)


@pytest.fixture
def llava(opened: Opened) -> Asked:
    return Asked(opened("llava"))


@pytest.fixture
def qwen(opened: Opened) -> Asked:
    return Asked(opened("qwen2_vl"))


def ids(prepared: Prepared) -> list[int]:
    found: list[int] = prepared.inputs["input_ids"][0].tolist()
    return found


# Tokens


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
@pytest.mark.parametrize("chat", [True, False])
def test_every_counterfactual_lines_up_and_is_read(opened: Opened, name: str, chat: bool) -> None:
    asked = Asked(opened(name), Question(prompt="What?", chat=chat, prefix=" It"))
    before = {key: value.clone() for key, value in asked.prepared.inputs.items()}
    with_picture = asked.loaded.lens.logits(asked.prepared.inputs)[-1]
    images = sum(token.kind == "image" for token in asked.prepared.tokens)
    marks = 2 if name == "qwen2_vl" else 0
    counts = {"none": -images - marks, "unk": 1 - images}
    for written in ALL.split(","):
        made = asked.instead(written)
        assert len(made.tokens) == len(asked.prepared.tokens) + counts.get(written, 0), written
        assert [token.id for token in made.tokens] == ids(made)
        assert made.inputs["attention_mask"].tolist() == [[1] * len(made.tokens)]
        ahead = len(made.tokens) - 4
        assert made.tokens[ahead:] == asked.prepared.tokens[-4:]
        assert made.text == asked.prepared.text
        rows = made_rows(asked.loaded, made)
        assert len(rows) == len(asked.loaded.lens.layers) + 1
        assert not torch.allclose(rows[-1], with_picture[0, 0], atol=1e-6), written
    for key, value in asked.prepared.inputs.items():
        assert torch.equal(value, before[key]), f"{key} was changed"


def made_rows(loaded: LoadedModel, made: Prepared) -> torch.Tensor:
    """All rows at the last position; `logits` also checks the proof of the pass."""
    rows = loaded.lens.logits(made.inputs)
    streamed = list(loaded.lens.stream(made.inputs))
    assert [reading.layer for reading in streamed] == list(range(len(rows)))
    assert streamed[-1].top[0].id == int(rows[-1].argmax())
    return rows[:, 0, 0]


def test_none_leaves_no_placeholder_and_keeps_the_newline(llava: Asked, qwen: Asked) -> None:
    for asked in (llava, qwen):
        made = asked.instead("none")
        assert set(made.inputs) <= {"input_ids", "attention_mask", "mm_token_type_ids"}
        rest = [token for token in asked.prepared.tokens if token.part != "picture"]
        assert list(made.tokens) == rest
        assert not any(token.kind == "image" for token in made.tokens)
        assert made.counterfactual == Counterfactual("none")
    text = "".join(token.text for token in llava.instead("none").tokens)
    assert text == "<s>USER:\nWhat? ASSISTANT:"
    marks = {token.text for token in qwen.instead("none").tokens if token.kind == "special"}
    assert marks == {"<|im_start|>", "<|im_end|>"}


def test_none_is_not_the_template_without_a_picture(llava: Asked) -> None:
    """LLaVA's template has a newline after the picture; `--no-image` has none."""
    plain = prepare(llava.loaded.model, llava.loaded.processor, llava.question, None)
    assert len(llava.instead("none").tokens) == len(plain.tokens) + 1


def test_unk_is_one_token_in_the_placeholders_stead(llava: Asked, qwen: Asked) -> None:
    made = llava.instead("unk")
    unknown = llava.loaded.processor.tokenizer.unk_token_id
    assert ids(made).count(unknown) == 1
    place = ids(made).index(unknown)
    assert (made.tokens[place].kind, made.tokens[place].part) == ("special", "picture")
    assert place == [token.kind for token in llava.prepared.tokens].index("image")
    assert made.label == "unk"
    assert made.counterfactual.parameters == {"token": {"id": unknown, "text": "<unk>"}}

    made = qwen.instead("unk")
    tokenizer = qwen.loaded.processor.tokenizer
    assert tokenizer.unk_token is None
    place = ids(made).index(tokenizer.pad_token_id)
    assert ids(made).count(tokenizer.pad_token_id) == 1
    around = [made.tokens[place - 1].text, made.tokens[place + 1].text]
    assert around == ["<|vision_start|>", "<|vision_end|>"]
    assert made.label == f"unk {PAD_LABEL}"
    assert made.counterfactual.parameters["note"] == PAD_LABEL.strip("()")
    assert made.inputs["mm_token_type_ids"].sum() == 0


def test_unk_all_is_one_token_for_each(llava: Asked, qwen: Asked) -> None:
    for asked, written in ((llava, "unk"), (qwen, "pad")):
        made = asked.instead("unk-all")
        token = getattr(asked.loaded.processor.tokenizer, f"{written}_token_id")
        for own, other in zip(asked.prepared.tokens, made.tokens, strict=True):
            assert other.id == (token if own.kind == "image" else own.id)
        assert "pixel_values" not in made.inputs
    assert made.label == f"unk-all {PAD_LABEL}"


@pytest.mark.parametrize("written", ["none", "unk", "unk-all"])
def test_positions_of_qwen2_vl_are_those_of_the_same_text(qwen: Asked, written: str) -> None:
    """Asked in turn with the picture, whose positions follow its grid: none of those may remain."""
    model = qwen.loaded.model
    seen: list[torch.Tensor] = []
    grid = _positions(model, qwen.prepared.inputs)
    made = qwen.instead(written)
    seen.append(_positions(model, made.inputs))
    seen.append(_positions(model, {"input_ids": made.inputs["input_ids"]}))
    length = len(made.tokens)
    assert grid.shape[-1] == len(qwen.prepared.tokens)
    assert int(grid.max()) < grid.shape[-1] - 1  # a picture takes fewer positions than tokens
    for positions in seen:
        assert positions.shape[-1] == length
        for axis in positions.reshape(-1, length):
            assert axis.tolist() == list(range(length))
    with torch.no_grad():
        plain = model(input_ids=made.inputs["input_ids"]).logits
        again = model(**made.inputs).logits
    assert torch.equal(plain, again)


def _positions(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """What the rotary embedding of the text stack is given."""
    found: list[torch.Tensor] = []

    def seen(module: Any, args: Any, kwargs: Any) -> None:
        found.append(kwargs["position_ids"] if "position_ids" in kwargs else args[1])

    hook = model.model.language_model.rotary_emb.register_forward_pre_hook(seen, with_kwargs=True)
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        hook.remove()
    return found[0]


class NoSpecials:
    """A tokenizer without the tokens that could stand for a picture."""

    def __init__(self, tokenizer: Any, **ids: int | None) -> None:
        self._tokenizer, self._ids = tokenizer, ids

    def __getattr__(self, name: str) -> Any:
        return self._ids[name] if name in self._ids else getattr(self._tokenizer, name)


def test_a_tokenizer_with_neither_token(llava: Asked) -> None:
    tokenizer = NoSpecials(llava.loaded.processor.tokenizer, unk_token_id=None, pad_token_id=10**6)
    for name in ("unk", "unk-all"):
        with pytest.raises(Unavailable, match="neither an unknown token nor a pad token"):
            tokens_instead(Counterfactual(name), llava.prepared, llava.loaded.model, tokenizer)
    tokens_instead(Counterfactual("none"), llava.prepared, llava.loaded.model, tokenizer)


@pytest.mark.parametrize("written", ["none", "unk"])
def test_a_picture_in_pieces_takes_no_words_with_it(llava: Asked, written: str) -> None:
    tokens = list(llava.prepared.tokens)
    place = [token.kind for token in tokens].index("image") + 4
    tokens[place] = PromptToken(id=9, text="x", kind="text", part="prompt")
    llava.prepared = Prepared(llava.prepared.inputs, tuple(tokens), llava.prepared.text)
    with pytest.raises(Unavailable, match="not in one piece"):
        llava.instead(written)


# The two models of the study, at their own sizes; `test_every_counterfactual_lines_up_and_is_read`
# asks small ones of the same classes.


@pytest.mark.slow
def test_llava_as_published(studied: Opened) -> None:
    asked = Asked(studied(study_models.LLAVA_NAME))
    whole = len(asked.prepared.tokens)
    counts = {"none": whole - 576, "unk": whole - 575, "unk-all": whole, "noise": whole}
    for written, count in counts.items():
        made = asked.instead(written)
        assert len(made.tokens) == count
        assert 32000 not in ids(made) or written == "noise"
        assert len(made_rows(asked.loaded, made)) == 33
    assert ids(asked.instead("unk")).count(0) == 1  # <unk>
    assert ids(asked.instead("unk-all")).count(0) == 576


@pytest.mark.slow
def test_qwen2_vl_as_published(studied: Opened) -> None:
    asked = Asked(studied(study_models.QWEN_NAME))
    whole = len(asked.prepared.tokens)
    images = ids(asked.prepared).count(151655)
    assert images == 3 * 2  # 40 x 24 pixels are made 84 x 56
    counts = {"none": whole - images - 2, "unk": whole - images + 1, "unk-all": whole}
    for written, count in counts.items():
        made = asked.instead(written)
        assert len(made.tokens) == count
        assert not {151655}.intersection(ids(made))
        positions = _positions(asked.loaded.model, made.inputs)
        assert positions.reshape(-1, count)[-1].tolist() == list(range(count))
        assert len(made_rows(asked.loaded, made)) == 29
    assert not {151652, 151653}.intersection(ids(asked.instead("none")))
    assert {151652, 151653, 151643} <= set(ids(asked.instead("unk")))


# Pixels


def test_the_schedule_is_vdds() -> None:
    assert shares_at(500) == pytest.approx((0.863, 0.505), abs=5e-4)
    assert shares_at(999) == pytest.approx((0.285, 0.959), abs=5e-4)
    kept = 1.0  # by hand: beta_t = sigmoid(-6 + 12 t / 999) * (0.005 - 1e-5) + 1e-5
    for step in range(1000):
        beta = 1 / (1 + math.exp(6 - 12 * step / 999)) * (0.005 - 1e-5) + 1e-5
        kept *= 1 - beta
        if step in (0, 1, 250, 999):
            assert shares_at(step) == pytest.approx((kept**0.5, (1 - kept) ** 0.5), abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_noise_is_drawn_by_its_seed_and_mixed_in_float32(dtype: torch.dtype) -> None:
    pixels = torch.randn(1, 3, 32, 32).to(dtype)
    inputs = {"input_ids": torch.zeros(1, 3, dtype=torch.int64), "pixel_values": pixels}
    (noise, pure) = parse_against("noise=300,noise-pure", seed=11)
    drawn = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(11))
    a, b = shares_at(300)
    found = pixels_instead(noise, inputs, None)
    assert found["pixel_values"].dtype == dtype
    assert torch.equal(found["pixel_values"], (a * pixels.float() + b * drawn).to(dtype))
    assert found["input_ids"] is inputs["input_ids"]
    assert torch.equal(pixels_instead(pure, inputs, None)["pixel_values"], drawn.to(dtype))
    (other,) = parse_against("noise=300", seed=12)
    assert not torch.equal(
        pixels_instead(other, inputs, None)["pixel_values"], found["pixel_values"]
    )
    assert torch.equal(pixels_instead(noise, inputs, None)["pixel_values"], found["pixel_values"])


def test_noise_on_a_still_picture_is_the_same_in_its_frames(qwen: Asked) -> None:
    """Qwen2-VL puts a picture in as two equal frames."""
    for written in ("noise", "noise-pure"):
        pixels = qwen.instead(written).inputs["pixel_values"]
        frames = pixels.view(len(pixels), 3, 2, 4, 4)
        assert torch.equal(frames[:, :, 0], frames[:, :, 1])
    assert float(frames.std()) == pytest.approx(1, abs=0.1)


def test_zero_and_one_are_behind_the_normalisation(llava: Asked, qwen: Asked) -> None:
    for asked in (llava, qwen):
        own = asked.prepared.inputs["pixel_values"]
        assert torch.equal(asked.instead("zero").inputs["pixel_values"], torch.zeros_like(own))
        assert torch.equal(asked.instead("one").inputs["pixel_values"], torch.ones_like(own))


def test_mean_patch_is_the_mean_colour_or_the_mean_patch(llava: Asked, qwen: Asked) -> None:
    own = llava.prepared.inputs["pixel_values"]
    found = llava.instead("mean-patch").inputs["pixel_values"]
    assert torch.allclose(found, own.mean((0, 2, 3))[None, :, None, None].expand_as(own))
    own = qwen.prepared.inputs["pixel_values"]
    found = qwen.instead("mean-patch").inputs["pixel_values"]
    assert torch.allclose(found, own.mean(0, keepdim=True).expand_as(own))


def test_mean_patch_leaves_out_padding() -> None:
    (mean,) = parse_against("mean-patch")
    pixels = torch.zeros(1, 2, 3, 4, 4)
    pixels[:, 0, :, :2] = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    mask = torch.zeros(1, 2, 4, 4, dtype=torch.int64)
    mask[:, 0, :2] = 1
    found = pixels_instead(mean, {"pixel_values": pixels, "pixel_attention_mask": mask}, None)
    assert torch.unique(found["pixel_values"][:, :, 2]).tolist() == [3.0]
    without_mask = pixels_instead(mean, {"pixel_values": pixels}, None)["pixel_values"]
    assert torch.unique(without_mask[:, :, 2]).tolist() == [1.5]  # the empty tile is left out
    black = pixels_instead(mean, {"pixel_values": torch.zeros(1, 3, 4, 4)}, None)["pixel_values"]
    assert not black.any()
    last = torch.rand(1, 4, 4, 3)
    found = pixels_instead(mean, {"pixel_values": last}, None)
    assert torch.allclose(found["pixel_values"], last.mean((1, 2), keepdim=True).expand_as(last))


def test_pixels_that_go_in_in_another_way_too() -> None:
    both = {"pixel_values": torch.rand(1, 3, 4, 4), "high_res_pixel_values": torch.rand(1, 3, 8, 8)}
    (zero, noise, mean) = parse_against("zero,noise,mean-patch")
    assert not any(value.any() for value in pixels_instead(zero, both, None).values())
    for inputs in (both | {"image_embeds": torch.rand(1, 4)}, {"flattened": torch.rand(1, 4)}, {}):
        with pytest.raises(Unavailable, match="pixel values alone"):
            pixels_instead(noise, inputs, None)
    with pytest.raises(Unavailable, match="orders pixels"):
        pixels_instead(mean, {"pixel_values": torch.rand(5, 7)}, None)


# Pictures


def test_pictures_instead(llava: Asked, tmp_path: Path) -> None:
    size = llava.image.size
    for written, colour in (("black", (0, 0, 0)), ("white", (255, 255, 255))):
        made = llava.instead(written)
        assert made.preview is not None
        assert made.preview.size == size
        assert made.preview.getcolors() == [(size[0] * size[1], colour)]
        assert [token.id for token in made.tokens] == ids(llava.prepared)
    made = llava.instead("blur")
    assert made.counterfactual.parameters == {"radius": 40 / 16}
    assert made.label == "blur=2.5"
    again = llava.instead("blur=2.5")
    assert torch.equal(made.inputs["pixel_values"], again.inputs["pixel_values"])
    stronger = llava.instead("blur=9").inputs["pixel_values"]
    assert float(stronger.std()) < float(made.inputs["pixel_values"].std())


def test_another_picture_keeps_its_own_size(qwen: Asked, tmp_path: Path) -> None:
    path = tmp_path / "other.png"
    two_colours(64, 64).save(path)
    made = qwen.instead(f"other={path}")
    assert made.counterfactual.parameters == {
        "file": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "width": 64,
        "height": 64,
    }
    assert made.inputs["image_grid_thw"].tolist() == [[1, 16, 16]]
    assert len(made.tokens) == len(qwen.prepared.tokens) - 15 + 64
    assert made.tokens[-1] == qwen.prepared.tokens[-1]
    with pytest.raises(BadInput, match="no such picture"):
        qwen.instead(f"other={tmp_path}/gone.png")


def test_without_a_picture_there_is_nothing_to_put_something_for(llava: Asked) -> None:
    for written in ALL.split(","):
        (asked,) = parse_against(written)
        with pytest.raises(BadInput, match="no picture"):
            counterfactual_inputs(llava.loaded, llava.question, llava.prepared, asked, None)
    with pytest.raises(BadInput, match="there is no counterfactual"):
        counterfactual_inputs(
            llava.loaded, llava.question, llava.prepared, Counterfactual("gray"), llava.image
        )


# Other families

UNAVAILABLE = {
    "blip": {"none": "without a picture", "unk": "no token", "unk-all": "no token"},
    "blip-2": dict.fromkeys(("none", "unk", "unk-all"), "without a picture"),
    "florence2": dict.fromkeys(("none", "unk", "unk-all"), "encoder"),
    "git": dict.fromkeys(("unk", "unk-all"), "no token"),
    "idefics": {**dict.fromkeys(("none", "unk"), "without a picture"), "unk-all": "one token"},
    "idefics3": {"zero": "padding"},
    "mllama": {"unk-all": "one token"},
    "paligemma": {},
    "qwen3_vl": {},
}


@pytest.mark.filterwarnings("ignore")  # the libraries' own, of their processors
@pytest.mark.parametrize("name", UNAVAILABLE)
def test_other_families_take_it_or_say_why_not(name: str, tmp_path: Path) -> None:
    FOLDERS[name](tmp_path)
    asked = Asked(load(tmp_path))
    own = asked.loaded.lens.logits(asked.prepared.inputs)[-1]
    for written in ALL.split(","):
        if written in UNAVAILABLE[name]:
            with pytest.raises(Unavailable, match=UNAVAILABLE[name][written]) as caught:
                asked.instead(written)
            assert str(caught.value).startswith(written)
            assert "\n" not in str(caught.value)
            continue
        made = asked.instead(written)
        rows = asked.loaded.lens.logits(made.inputs)
        assert len(rows) == len(asked.loaded.lens.layers) + 1
        assert not torch.equal(rows[-1], own)
        assert made.tokens[-1] == asked.prepared.tokens[-1]
        if written == "none":
            assert "picture" not in {token.part for token in made.tokens}
            assert "image" not in {token.kind for token in made.tokens}
