"""`lenscope check` in this process: what was found, the rows against the oracle, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import samples
from tests.cli.conftest import Lenscope


def test_the_bundled_model(lenscope: Lenscope) -> None:
    ended = lenscope("check")
    layers = json.loads((samples.MODEL / "config.json").read_text())["text_config"][
        "num_hidden_layers"
    ]
    assert ended.code == 0
    assert "LlavaForConditionalGeneration" in ended.out
    assert f"model.language_model.layers: {layers} of LlamaDecoderLayer" in ended.out
    assert "model.language_model.norm (LlamaRMSNorm) -> lm_head (Linear)" in ended.out
    assert "patches    exact: 64 tokens, 8 x 8, of a picture of 640 x 480 pixels\n" in ended.out
    assert f"{layers + 1} of {layers + 1} equal the model truncated" in ended.out
    assert ended.out.count("   equal") == layers + 1


def test_the_proof_alone_leaves_the_model_uncut(
    lenscope: Lenscope,
    saved: Callable[[str], Path],
) -> None:
    ended = lenscope("check", "--model", saved("llama"), "--proof-only")
    assert ended.code == 0
    assert "proof" in ended.out and "truncated" not in ended.out
    assert "no chat template" in ended.out
    assert "patches" not in ended.out


def test_the_phases_of_loading_are_printed_last(
    lenscope: Lenscope, saved: Callable[[str], Path]
) -> None:
    ended = lenscope("check", "--model", saved("llama"), "--proof-only", "--timings")
    assert ended.code == 0
    parts, lines = ended.out.split("\nloading\n")
    assert "proof" in parts
    told = [line.split() for line in lines.splitlines()]
    assert [line[0] for line in told] == [
        *("importing", "checking", "reading", "processor", "digest", "learning", "proving"),
        *("other", "total"),
    ]
    assert {line[2] for line in told} == {"s"}
    seconds = [float(line[1]) for line in told]
    assert min(seconds) >= 0
    assert sum(seconds[:-1]) == pytest.approx(seconds[-1], abs=0.005 * len(seconds))
    assert "loading\n" not in lenscope("check", "--model", saved("llama"), "--proof-only").out


def test_a_model_that_cannot_be_proved_is_refused_with_the_check_that_failed(
    lenscope: Lenscope,
    saved: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its logits get a noise that no tail can have made."""
    from transformers import LlamaForCausalLM

    own = LlamaForCausalLM.forward

    def noisy(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = own(self, *args, **kwargs)
        output.logits = output.logits + torch.randn_like(output.logits)
        return output

    monkeypatch.setattr(LlamaForCausalLM, "forward", noisy)
    ended = lenscope("check", "--model", saved("llama"))
    assert ended.code == 3
    assert "cannot be proved" in ended.err
    assert ended.out == ""


def test_a_row_that_is_wrong_and_does_not_say_so(
    lenscope: Lenscope,
    saved: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The comparison itself can fail: the oracle is given another model's layer."""
    from engine.anatomy.truncation import truncated_logits as truth

    def off(model: Any, name: str, layers: Any, count: int, inputs: Any) -> torch.Tensor:
        return truth(model, name, layers, count, inputs) + (0.5 if count == 2 else 0.0)

    monkeypatch.setattr("engine.lens.check.truncated_logits", off)
    ended = lenscope("check", "--model", saved("llama"))
    assert ended.code == 3
    assert "  2   5.0e-01   DIFFERENT" in ended.out
    assert "are not marked approximate" in ended.err


def test_a_missing_model(lenscope: Lenscope) -> None:
    ended = lenscope("check", "--model", "./nowhere")
    assert (ended.code, ended.out) == (3, "")
