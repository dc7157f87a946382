"""How an answer is decoded: every setting of `generate` that changes which token is taken.

Nothing is left to the checkpoint's own generation config, which sets sampling silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, ValidationError, convert

MOST_NEW_TOKENS: Final = 512


class DecodingSettings(Struct, frozen=True):
    """The settings of one answer; None leaves a setting out, which is none of `generate`'s own.

    Greedy unless a temperature above 0, or another setting of sampling, is given: the token with
    the largest score is taken at each step, after the repetition penalty. The names, and what they
    do in which order, are those of `generate`: repetition penalty, temperature, top-k, top-p,
    min-p.
    """

    max_new_tokens: Annotated[int, Meta(ge=1, le=MOST_NEW_TOKENS)] = 20
    temperature: Annotated[float, Meta(ge=0.0, le=1000.0)] | None = None
    """What the logits are divided by; 0 is greedy, and so is None unless another setting of
    sampling is given: then it is 1."""
    top_k: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    min_p: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0, le=100.0)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """Of the random numbers; the same seed draws the same answers on the same machine."""

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn at random."""
        if self.temperature is not None:
            return self.temperature > 0
        return any(each is not None for each in (self.top_k, self.top_p, self.min_p))

    @property
    def explicit(self) -> dict[str, Any]:
        """Every setting by `generate`'s name, as it is used, for the screen and the file: those
        that are off have the value that changes nothing."""
        samples = self.samples
        return {
            "max_new_tokens": self.max_new_tokens,
            "do_sample": samples,
            "temperature": (1.0 if self.temperature is None else self.temperature)
            if samples
            else 1.0,
            "top_k": (self.top_k or 0) if samples else 0,
            "top_p": (1.0 if self.top_p is None else self.top_p) if samples else 1.0,
            "min_p": (self.min_p or 0.0) if samples else 0.0,
            "repetition_penalty": 1.0
            if self.repetition_penalty is None
            else self.repetition_penalty,
            "seed": self.seed,
        }


def decoding_settings(values: Mapping[str, Any]) -> DecodingSettings:
    """The settings with these values by `generate`'s own names.

    Raises TypeError for another name, ValueError for a value of another type or out of range.
    """
    unknown = values.keys() - set(DecodingSettings.__struct_fields__)
    if unknown:
        raise TypeError(f"no setting of an answer: {', '.join(sorted(unknown))}")
    try:
        return convert(dict(values), DecodingSettings)
    except ValidationError as error:
        raise ValueError(str(error)) from None
