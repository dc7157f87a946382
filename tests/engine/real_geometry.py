"""Models with narrow layers whose pictures are cut as in the published checkpoints: real image
processors with their published settings, real sizes of pictures and patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from PIL import Image

from tests.engine.closed_forms import NEXT_GRIDS, ONEVISION_GRIDS
from tests.families.llava import VIVID
from tests.families.parts import IMAGE_ID, as_inputs, text_config, vision_config, with_noise
from tests.families.qwen import TOKENS, tower
from tests.study_models import llava_config

QWEN_TEXT: dict[str, Any] = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [1, 1, 2],
    }
}


@dataclass(frozen=True)
class RealGeometry:
    """A narrow model, its image processor, and the inputs for a picture."""

    model: Any
    processor: Any
    first_id: int = IMAGE_ID

    def inputs(self, image: Image.Image, tokens: int) -> dict[str, Any]:
        """The inputs for a picture that has so many tokens."""
        made: Mapping[str, Any] = self.processor(images=[image], return_tensors="pt")
        ids = [1, *[self.first_id] * tokens, 5, 6]
        kept = {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
        kept.pop("num_crops", None)
        found = as_inputs(ids, **kept)
        if "image_grid_thw" in found:
            found["mm_token_type_ids"] = (found["input_ids"] == self.first_id).long()
        return found


def _vision(size: int, patch: int, **changes: Any) -> dict[str, Any]:
    return {**vision_config(1, **VIVID), "image_size": size, "patch_size": patch, **changes}


def _text(**changes: Any) -> dict[str, Any]:
    return text_config(2, **VIVID, max_position_embeddings=16384) | changes


def _llava() -> RealGeometry:
    config = llava_config(full_size=False)
    config.text_config.num_hidden_layers = 2
    config.text_config.vocab_size = 99
    config.image_token_id = IMAGE_ID
    processor = hf.CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    return RealGeometry(hf.LlavaForConditionalGeneration(config), processor)


def _llava_next() -> RealGeometry:
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**_vision(336, 14)),
        text_config=hf.LlamaConfig(**_text()),
        image_token_index=IMAGE_ID,
        image_grid_pinpoints=[list(grid) for grid in NEXT_GRIDS],
    )
    processor = hf.LlavaNextImageProcessorPil(
        size={"shortest_edge": 336},
        crop_size={"height": 336, "width": 336},
        image_grid_pinpoints=[list(grid) for grid in NEXT_GRIDS],
    )
    return RealGeometry(hf.LlavaNextForConditionalGeneration(config), processor)


def _llava_onevision() -> RealGeometry:
    grids = [list(grid) for grid in ONEVISION_GRIDS]
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**_vision(384, 14)),
        text_config=hf.Qwen2Config(**_text()),
        image_token_index=IMAGE_ID,
        image_grid_pinpoints=grids,
    )
    processor = hf.LlavaOnevisionImageProcessorPil(image_grid_pinpoints=grids)
    return RealGeometry(hf.LlavaOnevisionForConditionalGeneration(config), processor)


def _qwen(name: str, patch: int, **changes: Any) -> RealGeometry:
    config = getattr(hf, f"{name}Config")(
        text_config=_text(**QWEN_TEXT, **({"head_dim": 8} if name == "Qwen3VL" else {})),
        vision_config=tower(patch_size=patch, **changes),
        **TOKENS,
    )
    cell = 2 * patch
    processor = hf.Qwen2VLImageProcessorPil(
        patch_size=patch, size={"shortest_edge": 4 * cell**2, "longest_edge": 1280 * cell**2}
    )
    model = getattr(hf, f"{name}ForConditionalGeneration")(config)
    return RealGeometry(model, processor, TOKENS["image_token_id"])


def _idefics3(name: str, size: int, patch: int, scale: int) -> RealGeometry:
    config = getattr(hf, f"{name}Config")(
        vision_config=_vision(size, patch),
        text_config=hf.LlamaConfig(**_text()),
        image_token_id=IMAGE_ID,
        scale_factor=scale,
        pad_token_id=0,
    )
    processor = getattr(hf, f"{name}ImageProcessorPil")(
        size={"longest_edge": 4 * size}, max_image_size={"longest_edge": size}
    )
    return RealGeometry(getattr(hf, f"{name}ForConditionalGeneration")(config), processor)


def _paligemma() -> RealGeometry:
    config = hf.PaliGemmaConfig(
        vision_config=_vision(224, 14, projection_dim=32, model_type="siglip_vision_model"),
        text_config=hf.GemmaConfig(**_text(), head_dim=8),
        image_token_index=IMAGE_ID,
        projection_dim=32,
    )
    processor = hf.SiglipImageProcessorPil(size={"height": 224, "width": 224})
    return RealGeometry(hf.PaliGemmaForConditionalGeneration(config), processor)


def _gemma3() -> RealGeometry:
    config = hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(**_vision(896, 14)),
        text_config=hf.Gemma3TextConfig(**_text(), head_dim=8, layer_types=["full_attention"] * 2),
        image_token_index=IMAGE_ID,
        mm_tokens_per_image=256,
    )
    processor = hf.Gemma3ImageProcessorPil(size={"height": 896, "width": 896})
    return RealGeometry(hf.Gemma3ForConditionalGeneration(config), processor)


def _internvl() -> RealGeometry:
    config = hf.InternVLConfig(
        vision_config=_vision(448, 14) | {"image_size": [448, 448], "patch_size": [14, 14]},
        text_config=hf.Qwen2Config(**_text()),
        image_token_id=IMAGE_ID,
        image_seq_length=256,
    )
    processor = hf.GotOcr2ImageProcessorPil(
        size={"height": 448, "width": 448}, crop_to_patches=True, min_patches=1, max_patches=12
    )
    return RealGeometry(hf.InternVLForConditionalGeneration(config), processor)


_BUILDERS: dict[str, Callable[[], RealGeometry]] = {
    "llava": _llava,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
    "qwen2_vl": lambda: _qwen("Qwen2VL", 14, embed_dim=16, hidden_size=32, mlp_ratio=2),
    "qwen2_5_vl": lambda: _qwen("Qwen2_5_VL", 14),
    "qwen3_vl": lambda: _qwen("Qwen3VL", 16),
    "idefics3": lambda: _idefics3("Idefics3", 364, 14, 2),
    "smolvlm": lambda: _idefics3("SmolVLM", 512, 16, 4),
    "paligemma": _paligemma,
    "gemma3": _gemma3,
    "internvl": _internvl,
}
NAMES = tuple(_BUILDERS)


def real_geometry(name: str) -> RealGeometry:
    """One of NAMES, with seeded random weights and noise on its norms."""
    torch.manual_seed(0)
    made = _BUILDERS[name]()
    with_noise(made.model)
    return made
