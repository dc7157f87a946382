"""Google's families: Gemma, PaliGemma and their kin."""

from __future__ import annotations

from transformers import Gemma3nForCausalLM, Gemma3nTextConfig

from tests.families.parts import VOCABULARY, Tiny, family, text_config, text_inputs


@family("gemma3n_text")
def gemma3n_text(layers: int = 4) -> Tiny:
    """A 4-D stream that plain code folds ahead of the final norm: only a replay can read it."""
    config = Gemma3nTextConfig(
        **text_config(layers),
        head_dim=8,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCABULARY,
        altup_num_inputs=4,
        laurel_rank=4,
        num_kv_shared_layers=0,
        layer_types=["full_attention"] * layers,
        activation_sparsity_pattern=[0.0] * layers,
    )
    return Tiny(Gemma3nForCausalLM(config), text_inputs(), layers)
