"""Families that cut the picture into tiles, or that join a tower to a decoder in their own way."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    CLIPVisionConfig,
    Cohere2Config,
    Cohere2VisionConfig,
    Cohere2VisionForConditionalGeneration,
    CohereCompassConfig,
    CohereCompassForConditionalGeneration,
    ConvNextConfig,
    DeepseekVLConfig,
    DeepseekVLForConditionalGeneration,
    DeepseekVLHybridConfig,
    DeepseekVLHybridForConditionalGeneration,
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    GotOcr2Config,
    GotOcr2ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    JanusConfig,
    JanusForConditionalGeneration,
    LightOnOcrConfig,
    LightOnOcrForConditionalGeneration,
    LlamaConfig,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    Ovis2Config,
    Ovis2ForConditionalGeneration,
    PerceptionLMConfig,
    PerceptionLMForConditionalGeneration,
    PixtralVisionConfig,
    QianfanOCRConfig,
    QianfanOCRForConditionalGeneration,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
)

from tests.families.llava import VIVID
from tests.families.parts import (
    IMAGE_ID,
    VOCABULARY,
    Tiny,
    as_inputs,
    family,
    text_config,
    vision_config,
)
from tests.families.qwen import TOKENS, grid_inputs, tower


def _inputs(tokens: int, pixels: tuple[int, ...], **others: Any) -> dict[str, Any]:
    """So many image tokens, words after them, and pixels of this shape."""
    ids = [1, *[IMAGE_ID] * tokens, 5, 6, 7, 8]
    return as_inputs(ids, pixel_values=torch.randn(pixels), **others)


def _text(layers: int, **changes: Any) -> dict[str, Any]:
    return text_config(layers, **VIVID, **changes)


def _vision(patches: int = 3, **changes: Any) -> dict[str, Any]:
    return vision_config(patches, **VIVID, **changes)


@family("mistral3")
def mistral3(layers: int = 4) -> Tiny:
    """A picture of its own shape, its patches merged two by two."""
    config = Mistral3Config(
        vision_config=PixtralVisionConfig(**_vision(8)),
        text_config=MistralConfig(**_text(layers), head_dim=8, sliding_window=None),
        image_token_index=IMAGE_ID,
    )
    inputs = _inputs(6, (1, 3, 16, 24), image_sizes=torch.tensor([[16, 24]]))
    return Tiny(Mistral3ForConditionalGeneration(config), inputs, layers)


@family("lighton_ocr")
def lighton_ocr(layers: int = 4) -> Tiny:
    """A picture of its own shape, its patches merged two by two."""
    config = LightOnOcrConfig(
        vision_config=PixtralVisionConfig(**_vision(8)),
        text_config=Qwen3Config(**_text(layers), head_dim=8),
        image_token_id=IMAGE_ID,
    )
    inputs = _inputs(6, (1, 3, 16, 24), image_sizes=torch.tensor([[16, 24]]))
    return Tiny(LightOnOcrForConditionalGeneration(config), inputs, layers)


@family("internvl")
def internvl(layers: int = 4) -> Tiny:
    """Two tiles and a thumbnail, each of four patches shuffled into one token."""
    config = InternVLConfig(
        vision_config=_vision(4),
        text_config=Qwen2Config(**_text(layers)),
        image_token_id=IMAGE_ID,
        image_seq_length=4,
    )
    return Tiny(InternVLForConditionalGeneration(config), _inputs(12, (3, 3, 16, 16)), layers)


@family("qianfan_ocr")
def qianfan_ocr(layers: int = 4) -> Tiny:
    """InternVL's tiles before a Qwen 3; drop path in the tower."""
    config = QianfanOCRConfig(
        vision_config=_vision(4),
        text_config=Qwen3Config(**_text(layers), head_dim=8),
        image_token_id=IMAGE_ID,
        image_seq_length=4,
    )
    return Tiny(QianfanOCRForConditionalGeneration(config), _inputs(12, (3, 3, 16, 16)), layers)


def _cohere2(layers: int) -> Cohere2Config:
    return Cohere2Config(
        **_text(layers),
        logit_scale=0.5,
        sliding_window=4,
        layer_types=_in_turn(layers),
    )


def _in_turn(layers: int) -> list[str]:
    return ["full_attention" if layer % 2 else "sliding_attention" for layer in range(layers)]


@family("aya_vision")
def aya_vision(layers: int = 4) -> Tiny:
    """A logit scale in the config that this class does not apply; two kinds of attention."""
    config = AyaVisionConfig(
        vision_config=SiglipVisionConfig(**_vision(4)),
        text_config=_cohere2(layers),
        image_token_index=IMAGE_ID,
    )
    return Tiny(AyaVisionForConditionalGeneration(config), _inputs(8, (2, 3, 16, 16)), layers)


@family("cohere2_vision")
def cohere2_vision(layers: int = 4) -> Tiny:
    """A logit scale in the config that this class does not apply; two kinds of attention."""
    config = Cohere2VisionConfig(
        vision_config=SiglipVisionConfig(**_vision(4)),
        text_config=_cohere2(layers),
        image_token_id=IMAGE_ID,
        alignment_intermediate_size=32,
    )
    return Tiny(Cohere2VisionForConditionalGeneration(config), _inputs(8, (2, 3, 16, 16)), layers)


@family("cohere_compass")
def cohere_compass(layers: int = 5) -> Tiny:
    """DeepStack after three layers, a logit scale, two kinds of attention, one without RoPE."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    config = CohereCompassConfig(
        text_config=_text(
            layers,
            logit_scale=0.25,
            sliding_window=4,
            layer_types=_in_turn(layers),
            rope_parameters={"sliding_attention": rope, "full_attention": None},
        ),
        vision_config=tower(
            depth=3,
            intermediate_size=32,
            deepstack_visual_indexes=[0, 1, 2],
            num_position_embeddings=16,
        ),
        **TOKENS,
    )
    return Tiny(CohereCompassForConditionalGeneration(config), grid_inputs(), layers)


@family("fast_vlm")
def fast_vlm(layers: int = 4) -> Tiny:
    """A convolutional tower: ConvNeXT, for its own comes from timm."""
    config = FastVlmConfig(
        vision_config=ConvNextConfig(
            hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, hidden_size=16, **VIVID
        ),
        text_config=Qwen2Config(**_text(layers)),
        image_token_index=IMAGE_ID,
        image_seq_length=9,
    )
    return Tiny(FastVlmForConditionalGeneration(config), _inputs(9, (1, 3, 24, 24)), layers)


@family("perception_lm")
def perception_lm(layers: int = 4) -> Tiny:
    """Two tiles, patches pooled two by two; a tower of CLIP, for its own comes from timm."""
    config = PerceptionLMConfig(
        vision_config=CLIPVisionConfig(**_vision(4), model_args={"embed_dim": 16}),
        text_config=LlamaConfig(**_text(layers)),
        image_token_id=IMAGE_ID,
        video_token_id=91,
        projector_pooling_ratio=2,
    )
    inputs = _inputs(8, (1, 2, 3, 16, 16))
    return Tiny(PerceptionLMForConditionalGeneration(config), inputs, layers)


def _sam(**changes: Any) -> dict[str, Any]:
    """Settings of a small tower like SAM's: windows, then attention to all."""
    return {
        **_vision(8),
        "output_channels": 8,
        "mlp_dim": 32,
        "window_size": 4,
        "global_attn_indexes": [1],
        **changes,
    }


@family("got_ocr2")
def got_ocr2(layers: int = 4) -> Tiny:
    """A tower with windows, its 8 x 8 patches folded to 2 x 2 tokens."""
    config = GotOcr2Config(
        vision_config=_sam(),
        text_config=Qwen2Config(**_text(layers)),
        image_token_index=IMAGE_ID,
        image_seq_length=4,
    )
    return Tiny(GotOcr2ForConditionalGeneration(config), _inputs(4, (1, 3, 32, 32)), layers)


@family("deepseek_vl")
def deepseek_vl(layers: int = 4) -> Tiny:
    config = DeepseekVLConfig(
        vision_config=SiglipVisionConfig(**_vision()),
        text_config=LlamaConfig(**_text(layers)),
        image_token_id=IMAGE_ID,
    )
    return Tiny(DeepseekVLForConditionalGeneration(config), _inputs(9, (1, 3, 12, 12)), layers)


@family("deepseek_vl_hybrid")
def deepseek_vl_hybrid(layers: int = 4) -> Tiny:
    """Two towers see the picture, one of them at a higher resolution."""
    config = DeepseekVLHybridConfig(
        vision_config=SiglipVisionConfig(**_vision()),
        high_res_vision_config={"model_type": "sam_vision_model", **_sam()},
        text_config=LlamaConfig(**_text(layers)),
        image_token_id=IMAGE_ID,
    )
    inputs = _inputs(9, (1, 3, 12, 12), high_res_pixel_values=torch.randn(1, 3, 32, 32))
    return Tiny(DeepseekVLHybridForConditionalGeneration(config), inputs, layers)


@family("ovis2")
def ovis2(layers: int = 4) -> Tiny:
    """Image tokens are mixtures of a visual vocabulary; indicators beside them are written into
    the embeddings in place."""
    config = Ovis2Config(
        vision_config=_vision(4, vocab_size=21, hidden_stride=2, num_visual_indicator_tokens=5),
        text_config=Qwen2Config(**_text(layers)),
        image_token_id=IMAGE_ID,
        visual_indicator_token_ids=[91, 92, 93, 94, 95],
        vocab_size=VOCABULARY,
        hidden_size=32,
    )
    inputs = as_inputs(
        [1, 91, *[IMAGE_ID] * 4, 92, 5, 6, 7], pixel_values=torch.randn(1, 3, 16, 16)
    )
    return Tiny(Ovis2ForConditionalGeneration(config), inputs, layers)


@family("janus")
def janus(layers: int = 4) -> Tiny:
    """Beside the head for words stands one for image tokens, which is not called."""
    config = JanusConfig(
        vision_config=_vision(mlp_ratio=2.0, projection_dim=32, num_image_tokens=9),
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 16,
            "latent_channels": 8,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "projection_dim": 32,
            "image_token_embed_dim": 32,
        },
        text_config=LlamaConfig(**_text(layers)),
        image_token_id=IMAGE_ID,
    )
    return Tiny(JanusForConditionalGeneration(config), _inputs(9, (1, 3, 12, 12)), layers)
