"""Decoders that take text only."""

from __future__ import annotations

from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from tests.families.parts import Tiny, family, text_config, text_inputs


@family("llama")
def llama(layers: int = 5) -> Tiny:
    model = LlamaForCausalLM(LlamaConfig(**text_config(layers)))
    return Tiny(model, text_inputs(), layers)


@family("gemma2")
def gemma2(layers: int = 4) -> Tiny:
    """Soft-capped logits."""
    config = Gemma2Config(
        **text_config(layers), head_dim=8, final_logit_softcapping=3.0, query_pre_attn_scalar=8
    )
    return Tiny(Gemma2ForCausalLM(config), text_inputs(), layers)


@family("qwen3")
def qwen3(layers: int = 4) -> Tiny:
    config = Qwen3Config(**text_config(layers), head_dim=8)
    return Tiny(Qwen3ForCausalLM(config), text_inputs(), layers)


@family("qwen3_moe")
def qwen3_moe(layers: int = 4) -> Tiny:
    """A mixture of experts."""
    config = Qwen3MoeConfig(
        **text_config(layers),
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
    )
    return Tiny(Qwen3MoeForCausalLM(config), text_inputs(), layers)
