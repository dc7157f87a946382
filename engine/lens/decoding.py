"""Makes `generate` decode with the given settings and with nothing of the checkpoint's own.

A setting that is None is filled from the generation config that the checkpoint brings, so leaving
one out is not enough: for the time of a generation, every module that has such a config gets a
fresh one, in which only what `generate` cannot do without is kept. The settings are applied by
logits processors of ours, in the order in which `generate` applies its own, so that what the model
returned can be seen before the first of them, and what a token is drawn from after the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import (
    ForcedBOSTokenLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from engine.errors import CannotRead
from engine.lens.decoding_settings import DecodingSettings
from engine.system.transfers import sent

LEAST_TEMPERATURE: Final = 1e-6
"""Divided by less, logits could overflow float32; by this, only the best token is ever drawn."""

_IDS: Final = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
_SAMPLING: Final = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": None,
    "top_h": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""What only matters where tokens are drawn: name -> the value that changes nothing."""
_ALWAYS: Final = {
    "do_sample": False,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "sequence_bias": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "min_length": 0,
    "min_new_tokens": None,
    "exponential_decay_length_penalty": None,
    "guidance_scale": None,
    "watermarking_config": None,
    "stop_strings": None,
    "max_time": None,
    "penalty_alpha": None,
    "dola_layers": None,
    "num_beam_groups": 1,
    "prompt_lookup_num_tokens": None,
    "token_healing": False,
    "use_mtp": None,
}
"""What else changes which tokens are taken: name -> the value that changes nothing."""
_LONGEST_VALUE: Final = 60
"""Characters of a value in a line; lists of ids can be thousands long."""
_LIBRARY_TOP_K: Final = 50
"""What `generate` uses where tokens are drawn and nobody says a top-k."""

Choose = Callable[[Tensor, Tensor], Tensor]
"""f(ids so far [batch, length], scores after all settings, float32 [batch, vocabulary]) -> the
token of each item, int64 [batch]."""
ProcessorsFor = Callable[[Callable[[], bool]], Sequence[LogitsProcessor]]
"""f(whether to stop) -> processors to put before those of the settings, for one `generate`; they
raise Cancelled soon after what they are given is true."""


@dataclass(frozen=True)
class OwnSettings:
    """What a checkpoint's own generation config sets, a line each ("temperature 0.01")."""

    kept: tuple[str, ...]
    """What is used, because `generate` cannot do without."""
    left_out: tuple[str, ...]
    """What would have been used, and is not."""


def own_settings(model: nn.Module, settings: DecodingSettings) -> OwnSettings:
    """What the checkpoint of `model` sets, with regard to an answer with these settings."""
    config = _owner(model)
    if config is None:
        return OwnSettings((), ())
    forced = _forced_first(model)
    kept = [
        _line(name, getattr(config, name, None))
        for name in ("eos_token_id", "decoder_start_token_id")
        if getattr(config, name, None) is not None
    ]
    if forced is not None:
        kept.append(_line("forced_bos_token_id", forced))
    draws = bool(getattr(config, "do_sample", None)) or settings.samples
    names = {**_ALWAYS, **(_SAMPLING if draws else {})}
    left_out = []
    for name, neutral in names.items():
        value = getattr(config, name, None)
        if name == "top_k" and value is None and draws:
            left_out.append(f"top_k {_LIBRARY_TOP_K}, the library's own")
        elif value not in (None, neutral) and not (name == "forced_bos_token_id" and forced):
            left_out.append(_line(name, value))
    return OwnSettings(tuple(kept), tuple(left_out))


def end_tokens(model: nn.Module) -> frozenset[int]:
    """The ids that end an answer."""
    owner = _owner(model)
    ends = None if owner is None else owner.eos_token_id
    return frozenset(ends) if isinstance(ends, (list, tuple)) else frozenset(_no_nones(ends))


def why_no_answer(model: nn.Module) -> str | None:
    """Why a model cannot decode an answer; None if it has a `generate` like other models'."""
    able = getattr(model, "can_generate", None)
    if not hasattr(model, "generate") or (callable(able) and not able()):
        return f"{type(model).__name__} has no `generate`, which decodes an answer token by token"
    config = type(getattr(model, "generation_config", None))
    if config not in (GenerationConfig, type(None)):
        return f"{type(model).__name__} decodes in a way of its own ({config.__name__})"
    return None


def for_generate(model: nn.Module, inputs: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """The inputs of a pass as `generate` takes them, on the model's device.

    Raises CannotRead if the model cannot decode an answer token by token.
    """
    reason = why_no_answer(model)
    if reason is not None:
        raise CannotRead(reason)
    return {
        name: sent(value, device) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
        if value is not None and name != "use_cache"
    }


def generate(
    model: Any,
    inputs: Mapping[str, Any],
    steps: LogitsProcessorList,
    max_new_tokens: int,
    draws: int = 1,
) -> None:
    """Run `model.generate` with these `processors`, whatever the checkpoint's own generation config
    says; `inputs` are `for_generate`.

    To be called by whoever holds the model's lock. Every module gets its own config back, and torch
    its random numbers: `generate` returns several answers only where it samples, which with one
    token left to draw takes that token.
    """
    with ExitStack() as undo:
        if draws > 1:
            undo.enter_context(torch.random.fork_rng(_accelerators(model)))
        for module in model.modules():
            own = vars(module).get("generation_config")
            if isinstance(own, GenerationConfig):
                undo.callback(setattr, module, "generation_config", own)
                module.generation_config = _neutral(own, max_new_tokens, draws)
                if isinstance(module, GenerationMixin):
                    undo.enter_context(_not_losing(module, steps))
        model.generate(**inputs, logits_processor=steps)


@contextmanager
def _not_losing(module: Any, steps: LogitsProcessorList) -> Iterator[None]:
    """A context in which `generate` gets its processors, also where a model's own version of it
    does not hand them on."""
    prepared = module._get_logits_processor

    def with_steps(*args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("logits_processor"):
            kwargs["logits_processor"] = steps
        return prepared(*args, **kwargs)

    module._get_logits_processor = with_steps
    try:
        yield
    finally:
        del module._get_logits_processor


def processors(
    model: nn.Module,
    inputs: Mapping[str, Any],
    settings: DecodingSettings,
    seen: Callable[[Tensor, Tensor], None],
    choose: Choose,
    first: Sequence[LogitsProcessor] = (),
) -> LogitsProcessorList:
    """What `generate` is to do with the scores of each step.

    `seen` is called with the ids so far and the model's own scores, float32 [batch, vocabulary],
    which it must copy where it keeps them. Then come the processors in `first`, then those of the
    settings, then `choose`, whose tokens are taken. `inputs` are a batch of one, the scores those
    of one answer or of several.
    """
    steps: list[LogitsProcessor] = [_Seen(seen), *first]
    if settings.repetition_penalty not in (None, 1.0):
        mask = inputs.get(
            "decoder_attention_mask" if _is_encoder_decoder(model) else "attention_mask"
        )
        # A number, since the inputs are a batch of one and the scores may be of several answers.
        padding = int((mask[0] != 0).int().argmax()) if isinstance(mask, Tensor) else None
        steps.append(
            RepetitionPenaltyLogitsProcessor(
                settings.repetition_penalty, prompt_ignore_length=padding
            )
        )
    forced = _forced_first(model)
    if forced is not None:
        steps.append(ForcedBOSTokenLogitsProcessor(forced))
    if settings.samples:
        if settings.temperature not in (None, 1.0):
            temperature = max(float(settings.temperature or 0.0), LEAST_TEMPERATURE)
            steps.append(TemperatureLogitsWarper(temperature))
        if settings.top_k is not None:
            steps.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p is not None and settings.top_p < 1.0:
            steps.append(TopPLogitsWarper(settings.top_p))
        if settings.min_p is not None:
            steps.append(MinPLogitsWarper(settings.min_p))
    return LogitsProcessorList([*steps, _Take(choose)])


class Drawing:
    """Chooses the token of each item: the best one, or one that is drawn with a seed of its own.

    Every item has its own random numbers, so an answer does not depend on how many are drawn at
    once, and torch's global generator is left alone. With one item, the tokens are those that
    `generate` takes after `torch.manual_seed(seed)`.
    """

    def __init__(self, settings: DecodingSettings, seeds: Sequence[int], device: Any) -> None:
        self._samples = settings.samples
        self._generators = [torch.Generator(device).manual_seed(seed % 2**63) for seed in seeds]
        self.probabilities = torch.empty(0)
        """Of the last choice, float32 [batch, vocabulary]; empty if greedy."""

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """See `Choose`."""
        if not self._samples:
            return scores.argmax(-1)
        self.probabilities = scores.softmax(-1)
        return torch.cat(
            [
                torch.multinomial(each, 1, generator=generator)
                for each, generator in zip(self.probabilities, self._generators, strict=True)
            ]
        )


class _Seen(LogitsProcessor):  # type: ignore[misc]
    """Shows the scores, and leaves them as they are."""

    def __init__(self, seen: Callable[[Tensor, Tensor], None]) -> None:
        self._seen = seen

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """See `LogitsProcessor`."""
        self._seen(input_ids, scores)
        return scores


class _Take(LogitsProcessor):  # type: ignore[misc]
    """Rules out all tokens but the chosen ones, which `generate` then takes as the best."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """See `LogitsProcessor`."""
        chosen = self._choose(input_ids, scores).unsqueeze(1)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


def _neutral(own: GenerationConfig, max_new_tokens: int, draws: int) -> GenerationConfig:
    """A config that changes no token: with the ids of the checkpoint's own, and with its entries
    that transformers does not know, which are for the model's own code."""
    known = vars(GenerationConfig())
    kept = {name: getattr(own, name, None) for name in _IDS}
    sampling = (
        {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if draws > 1 else {}
    )
    fresh = GenerationConfig(
        max_new_tokens=max_new_tokens,
        num_return_sequences=draws,
        num_beams=1,
        use_cache=True,
        disable_compile=True,
        **{"do_sample": False, **sampling, **kept},
    )
    for name, value in vars(own).items():
        if name not in known and not name.startswith("_"):
            setattr(fresh, name, value)
    return fresh


def _owner(model: nn.Module) -> GenerationConfig | None:
    """The config that says which tokens end an answer: the model's own, or that of the language
    model inside it; the first one where none says so."""
    configs = [vars(module).get("generation_config") for module in model.modules()]
    found = [config for config in configs if isinstance(config, GenerationConfig)]
    saying = (each for each in found if each.eos_token_id is not None)
    return next(saying, found[0] if found else None)


def _no_nones(value: int | None) -> tuple[int, ...]:
    return () if value is None else (value,)


def _accelerators(model: nn.Module) -> list[torch.device]:
    """The devices of the model that have a generator of their own."""
    return list({each.device for each in model.parameters() if each.device.type == "cuda"})


def _forced_first(model: nn.Module) -> int | None:
    """The token that an encoder-decoder must begin with: it says the language of the answer."""
    config = getattr(model, "generation_config", None)
    forced = getattr(config, "forced_bos_token_id", None)
    return forced if isinstance(forced, int) and _is_encoder_decoder(model) else None


def _is_encoder_decoder(model: nn.Module) -> bool:
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def _line(name: str, value: Any) -> str:
    text = " ".join(str(value).split())
    if len(text) > _LONGEST_VALUE:
        text = f"{text[:_LONGEST_VALUE]} …"
    return f"{name} {text}"
