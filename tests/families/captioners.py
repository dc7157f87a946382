"""Captioners and other early or single-family models, each built in its own way."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipConfig,
    BlipForConditionalGeneration,
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    Emu3Config,
    Emu3ForConditionalGeneration,
    EvollaConfig,
    EvollaForProteinText2Text,
    FuyuConfig,
    FuyuForCausalLM,
    GitConfig,
    GitForCausalLM,
    GotOcr2ForConditionalGeneration,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipVideoConfig,
    InstructBlipVideoForConditionalGeneration,
    Kosmos2_5Config,
    Kosmos2_5ForConditionalGeneration,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    LlamaConfig,
    OPTConfig,
    PPChart2TableConfig,
    PreTrainedConfig,
    Qwen2Config,
    T5Config,
)

from tests.families.encoder_decoder import DECODED, flat_patches, t5_config
from tests.families.parts import (
    IMAGE_ID,
    VOCABULARY,
    Tiny,
    as_inputs,
    family,
    text_config,
    text_inputs,
    vision_config,
)
from tests.families.qwen import vivid

QUERIES = 4
WORDS = [5, 6, 7, 8]
CODES = {code: 50 + code for code in range(16)}
"""The ids that stand for a code of the picture."""


def _picture(size: int = 12) -> torch.Tensor:
    return torch.randn(1, 3, size, size)


@family("blip")
def blip(layers: int = 4) -> Tiny:
    """BERT: a dense layer, an activation and a norm before the head, which is not declared;
    cross-attention to the picture in every layer."""
    config = BlipConfig(
        text_config=text_config(layers, sep_token_id=3, initializer_range=0.2),
        vision_config=vision_config(initializer_range=0.2),
        initializer_range=0.2,
    )
    inputs = {**text_inputs(), "pixel_values": _picture()}
    return Tiny(BlipForConditionalGeneration(config), inputs, layers)


def _querying(text: PreTrainedConfig) -> dict[str, Any]:
    """Settings of a model whose picture goes through a few queries to this decoder."""
    return {
        "text_config": text,
        "vision_config": vision_config(initializer_range=0.2),
        "qformer_config": {
            "vocab_size": VOCABULARY,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 64,
            "initializer_range": 0.2,
        },
        "num_query_tokens": QUERIES,
        "initializer_range": 0.2,
    }


@family("blip-2")
def blip_2(layers: int = 4) -> Tiny:
    text = OPTConfig(**text_config(layers), ffn_dim=64, init_std=0.2)
    config = Blip2Config(**_querying(text), image_token_index=IMAGE_ID)
    inputs = as_inputs([*[IMAGE_ID] * QUERIES, 1, *WORDS], pixel_values=_picture())
    return Tiny(Blip2ForConditionalGeneration(config), inputs, layers)


@family("blip-2-t5")
def blip_2_t5(layers: int = 4) -> Tiny:
    """An encoder-decoder inside; like Flan-T5 it does not scale before its head."""
    text = T5Config(**t5_config(layers), tie_word_embeddings=False)
    config = Blip2Config(**_querying(text), image_token_index=IMAGE_ID)
    inputs = as_inputs(
        [*[IMAGE_ID] * QUERIES, *WORDS, 1], pixel_values=_picture(), decoder_input_ids=DECODED
    )
    return Tiny(Blip2ForConditionalGeneration(config), inputs, layers)


def _instructed(ids: list[int], pixels: torch.Tensor) -> dict[str, Any]:
    question = torch.tensor([WORDS])
    return as_inputs(
        ids,
        pixel_values=pixels,
        qformer_input_ids=question,
        qformer_attention_mask=torch.ones_like(question),
    )


@family("instructblip")
def instructblip(layers: int = 4) -> Tiny:
    config = InstructBlipConfig(
        **_querying(LlamaConfig(**text_config(layers, initializer_range=0.2))),
        image_token_index=IMAGE_ID,
    )
    inputs = _instructed([*[IMAGE_ID] * QUERIES, 1, *WORDS], _picture())
    return Tiny(InstructBlipForConditionalGeneration(config), inputs, layers)


@family("instructblipvideo")
def instructblipvideo(layers: int = 4, frames: int = 2) -> Tiny:
    config = InstructBlipVideoConfig(
        **_querying(LlamaConfig(**text_config(layers, initializer_range=0.2))),
        video_token_index=IMAGE_ID,
    )
    pixels = torch.randn(1, frames, 3, 12, 12)
    inputs = _instructed([*[IMAGE_ID] * (frames * QUERIES), 1, *WORDS], pixels)
    return Tiny(InstructBlipVideoForConditionalGeneration(config), inputs, layers)


@family("git")
def git(layers: int = 4) -> Tiny:
    """More positions than ids: the picture goes before them. BERT's layers, and no norm after
    the last one; a head with a bias."""
    config = GitConfig(
        **text_config(layers),
        initializer_range=0.2,
        vision_config=vision_config(initializer_range=0.2),
    )
    inputs = {**text_inputs(), "pixel_values": _picture()}
    return Tiny(GitForCausalLM(config), inputs, layers)


def _kosmos_text(layers: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "embed_dim": 32,
        "ffn_dim": 64,
        "layers": layers,
        "attention_heads": 4,
        "max_position_embeddings": 64,
        "init_std": 0.2,
    }


def _masked_inputs(**picture: torch.Tensor) -> dict[str, Any]:
    ids = [0, 3, *[9] * QUERIES, 4, *WORDS]
    mask = torch.tensor([[0, 0, *[1] * QUERIES, *[0] * 5]])
    return as_inputs(ids, image_embeds_position_mask=mask, **picture)


@family("kosmos-2")
def kosmos_2(layers: int = 4) -> Tiny:
    """The picture's positions are named by a mask, not by an id."""
    config = Kosmos2Config(
        text_config=_kosmos_text(layers),
        vision_config=vision_config(initializer_range=0.2),
        latent_query_num=QUERIES,
    )
    inputs = _masked_inputs(pixel_values=_picture())
    return Tiny(Kosmos2ForConditionalGeneration(config), inputs, layers)


@family("kosmos-2.5")
def kosmos_2_5(layers: int = 4) -> Tiny:
    """The picture's positions are named by a mask, not by an id."""
    config = Kosmos2_5Config(
        text_config=_kosmos_text(layers),
        vision_config={
            "hidden_size": 16,
            "patch_embed_hidden_size": 48,
            "intermediate_size": 32,
            "head_dim": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_num_patches": 64,
            "initializer_range": 0.2,
        },
        latent_query_num=QUERIES,
    )
    inputs = _masked_inputs(flattened_patches=flat_patches())
    model = vivid(
        Kosmos2_5ForConditionalGeneration(config), "vision_model", "image_to_text_projection"
    )
    return Tiny(model, inputs, layers)


def _vq_config() -> dict[str, Any]:
    return {
        "latent_channels": 8,
        "base_channels": 32,
        "channel_multiplier": [1, 1],
        "num_res_blocks": 1,
    }


@family("chameleon")
def chameleon(layers: int = 4) -> Tiny:
    """Pictures become ids; the model sets the logits of those ids to the lowest number, in place.
    Layers that return a tuple."""
    letters = {code: "".join(chr(ord("A") + int(digit)) for digit in str(code)) for code in CODES}
    config = ChameleonConfig(
        **text_config(layers, initializer_range=0.2),
        vq_config={**_vq_config(), "embed_dim": 8, "num_embeddings": len(CODES), "resolution": 8},
        vocabulary_map={
            "<image>": IMAGE_ID,
            **{f"IMGIMG{letters[code]}Z": identity for code, identity in CODES.items()},
        },
    )
    inputs = as_inputs([1, *[IMAGE_ID] * 16, *WORDS], pixel_values=_picture(8))
    model = vivid(ChameleonForConditionalGeneration(config), "model.vqmodel")
    return Tiny(model, inputs, layers)


@family("emu3")
def emu3(layers: int = 4) -> Tiny:
    """Pictures become ids, and every row of them ends with one more."""
    config = Emu3Config(
        text_config=text_config(layers, initializer_range=0.2),
        vq_config={
            **_vq_config(),
            "codebook_size": len(CODES),
            "hidden_size": 32,
            "attn_resolutions": [1],
            "temporal_downsample_factor": 1,
        },
        vocabulary_map={
            "<image>": IMAGE_ID,
            "<|extra_200|>": 91,
            **{f"<|visual token {code:06d}|>": identity for code, identity in CODES.items()},
        },
    )
    inputs = as_inputs(
        [1, *[IMAGE_ID] * 20, *WORDS],
        pixel_values=_picture(8),
        image_sizes=torch.tensor([[8, 8]]),
    )
    return Tiny(Emu3ForConditionalGeneration(config), inputs, layers)


@family("fuyu")
def fuyu(layers: int = 4) -> Tiny:
    """No vision tower: patches go straight to the decoder."""
    text = text_config(layers, model_type="persimmon", initializer_range=0.2)
    config = FuyuConfig(
        text_config=text,
        patch_size=4,
        image_size=12,
        image_token_id=IMAGE_ID,
        initializer_range=0.2,
    )
    inputs = as_inputs([*[IMAGE_ID] * 9, 1, *WORDS], pixel_values=torch.randn(1, 9, 48))
    return Tiny(FuyuForCausalLM(config), inputs, layers)


@family("evolla")
def evolla(layers: int = 4) -> Tiny:
    """Reads a protein, in an encoder of more layers than the decoder has, which attends to it in
    every other layer."""
    config = EvollaConfig(
        **text_config(layers),
        protein_encoder_config={
            "vocab_size": 40,
            "hidden_size": 16,
            "num_hidden_layers": layers + 3,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 64,
            "initializer_range": 0.2,
        },
        aligner_num_add_layers=layers // 2,
        resampler_depth=2,
        resampler_dim_head=8,
        resampler_heads=2,
        resampler_num_latents=QUERIES,
        initializer_range=0.2,
    )
    protein = torch.randint(5, 40, (1, 9))
    inputs = {
        **text_inputs(),
        "protein_input_ids": protein,
        "protein_attention_mask": torch.ones_like(protein),
    }
    return Tiny(EvollaForProteinText2Text(config), inputs, layers)


@family("pp_chart2table")
def pp_chart2table(layers: int = 4) -> Tiny:
    """GOT-OCR 2's class under another config."""
    config = PPChart2TableConfig(
        text_config=Qwen2Config(**text_config(layers), initializer_range=0.2),
        vision_config={
            "hidden_size": 16,
            "output_channels": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 4,
            "window_size": 2,
            "global_attn_indexes": [1],
            "mlp_dim": 32,
            "initializer_range": 0.2,
        },
        image_token_index=IMAGE_ID,
        image_seq_length=4,
    )
    inputs = as_inputs([1, *[IMAGE_ID] * 4, *WORDS], pixel_values=_picture(32))
    return Tiny(GotOcr2ForConditionalGeneration(config), inputs, layers)
