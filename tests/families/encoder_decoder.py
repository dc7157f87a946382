"""Encoder-decoders: the lens reads the decoder's tokens, which attend to the picture or prompt."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Pix2StructConfig,
    Pix2StructForConditionalGeneration,
    PPFormulaNetConfig,
    PPFormulaNetForConditionalGeneration,
    PreTrainedConfig,
    T5Config,
    T5ForConditionalGeneration,
    TrOCRConfig,
    UdopConfig,
    UdopForConditionalGeneration,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

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

DECODED = torch.tensor([[2, 11, 12, 13]])
"""What the decoder has said so far."""


def _bart(layers: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_layers": layers,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 64,
        "scale_embedding": True,
        "init_std": 0.2,
    }


def t5_config(layers: int) -> dict[str, Any]:
    """Settings of a small T5, or of what is built like it, with fewer encoder layers."""
    return {
        "vocab_size": VOCABULARY,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_heads": 4,
        "num_layers": 2,
        "num_decoder_layers": layers,
        "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
    }


def flat_patches(rows: int = 3, columns: int = 4, width: int = 48) -> torch.Tensor:
    """Flat patches, each after its row and column."""
    places = torch.cartesian_prod(torch.arange(1, rows + 1), torch.arange(1, columns + 1))
    return torch.cat([places.float(), torch.randn(rows * columns, width)], dim=1).unsqueeze(0)


@family("florence2")
def florence2(layers: int = 4) -> Tiny:
    """BART: norms after attention and MLP, none after the last layer."""
    config = Florence2Config(
        vision_config={
            "depths": [1, 1],
            "patch_size": [7, 3],
            "patch_stride": [4, 2],
            "patch_padding": [3, 1],
            "patch_prenorm": [False, True],
            "embed_dim": [8, 16],
            "num_heads": [2, 2],
            "num_groups": [2, 2],
            "window_size": 3,
            "projection_dim": 32,
            "initializer_range": 0.2,
        },
        text_config=BartConfig(**_bart(layers)),
        image_token_id=IMAGE_ID,
    )
    inputs = as_inputs(
        [*[IMAGE_ID] * 10, 5, 6, 7, 2],
        pixel_values=torch.randn(1, 3, 24, 24),
        decoder_input_ids=DECODED,
    )
    return Tiny(Florence2ForConditionalGeneration(config), inputs, layers)


@family("pix2struct")
def pix2struct(layers: int = 4) -> Tiny:
    """Layers that return a tuple of five; the first hands its position bias to the others."""
    config = Pix2StructConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "d_kv": 8,
            "d_ff": 64,
            "num_heads": 4,
            "num_layers": layers,
        },
        vision_config={
            "hidden_size": 32,
            "patch_embed_hidden_size": 48,
            "d_kv": 8,
            "d_ff": 64,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "seq_len": 64,
        },
        initializer_range=0.2,
    )
    patches = flat_patches()
    inputs = {
        "flattened_patches": patches,
        "attention_mask": torch.ones(patches.shape[:2]),
        "decoder_input_ids": DECODED,
    }
    return Tiny(Pix2StructForConditionalGeneration(config), inputs, layers)


@family("udop")
def udop(layers: int = 4) -> Tiny:
    """T5's scale before the tied head; words and patches share the encoder by their places."""
    config = UdopConfig(
        **t5_config(layers), image_size=16, patch_size=4, max_2d_position_embeddings=64
    )
    corner = torch.rand(1, 5, 2) * 0.5
    inputs = as_inputs(
        [5, 6, 7, 8, 1],
        bbox=torch.cat([corner, corner + 0.2], dim=-1),
        pixel_values=torch.randn(1, 3, 16, 16),
        decoder_input_ids=DECODED,
    )
    return Tiny(UdopForConditionalGeneration(config), inputs, layers)


@family("pp_formulanet")
def pp_formulanet(layers: int = 4) -> Tiny:
    config = PPFormulaNetConfig(
        text_config=_bart(layers),
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
            "post_conv_in_channels": 8,
            "post_conv_mid_channels": 16,
            "post_conv_out_channels": 16,
            "decoder_hidden_size": 32,
            "initializer_range": 0.2,
        },
        initializer_range=0.2,
    )
    inputs = {"pixel_values": torch.randn(1, 3, 32, 32), "decoder_input_ids": DECODED}
    return Tiny(PPFormulaNetForConditionalGeneration(config), inputs, layers)


def _vision_encoder_decoder(decoder: PreTrainedConfig, layers: int) -> Tiny:
    encoder = ViTConfig(**vision_config(initializer_range=0.2))
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    inputs = {"pixel_values": torch.randn(1, 3, 12, 12), "decoder_input_ids": DECODED}
    return Tiny(VisionEncoderDecoderModel(config), inputs, layers)


@family("vision-encoder-decoder")
def vision_encoder_decoder(layers: int = 4) -> Tiny:
    """TrOCR: norms after attention and MLP, none after the last layer."""
    decoder = TrOCRConfig(
        vocab_size=VOCABULARY,
        d_model=32,
        decoder_layers=layers,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        cross_attention_hidden_size=16,
        init_std=0.2,
    )
    return _vision_encoder_decoder(decoder, layers)


@family("vision-encoder-decoder-bert")
def vision_encoder_decoder_bert(layers: int = 4) -> Tiny:
    """BERT: a dense layer, an activation and a norm between the last layer and the head."""
    return _vision_encoder_decoder(BertConfig(**text_config(layers), initializer_range=0.2), layers)


@family("t5")
def t5(layers: int = 4) -> Tiny:
    """A scale before the head, whose weights are the embeddings'."""
    inputs = {**text_inputs(), "decoder_input_ids": DECODED}
    return Tiny(T5ForConditionalGeneration(T5Config(**t5_config(layers))), inputs, layers)


@family("bart")
def bart(layers: int = 4) -> Tiny:
    """A bias that the model adds after its head, and no norm after the last layer."""
    model = BartForConditionalGeneration(BartConfig(**_bart(layers)))
    torch.nn.init.normal_(model.final_logits_bias)
    return Tiny(model, {**text_inputs(), "decoder_input_ids": DECODED}, layers)
