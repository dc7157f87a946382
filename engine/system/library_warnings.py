"""What other libraries say while a model is loaded, and what of it concerns the truth.

They tell it on a log that would land in the middle of the screen, so it is silenced; but some of it
means that what runs is not quite the model that was named. `tests/engine/test_library_warnings.py`
provokes every kind that is recognised here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_Words = Callable[[re.Match[str]], str]

_KINDS: tuple[tuple[re.Pattern[str], _Words], ...] = (
    (
        re.compile(r"specifies to tie (\S+) to (\S+), but both are present .*different values"),
        lambda found: (
            f"config.json ties {found[2]} to {found[1]}, and the checkpoint has other numbers for "
            "each: both are used as they are in the file"
        ),
    ),
    (
        re.compile(r"incorrect regex pattern"),
        lambda _: (
            "transformers says that this tokenizer splits text by a wrong pattern (saved by an old "
            "version): some prompts get other tokens than in training"
        ),
    ),
    (
        re.compile(r"Unrecognized keys in `rope_parameters`.*?: (\{.*\})"),
        lambda found: f"settings of its rotary positions are passed over: {found[1]}",
    ),
    (
        re.compile(r"model of type `?(\w+)`? to instantiate a model of type `?(\w+)`?"),
        lambda found: f"config.json is of a {found[1]} model, and a {found[2]} is run",
    ),
    (
        re.compile(r"type of the tokenizer|tokenizer class you load.*not the same type", re.DOTALL),
        lambda _: "its tokenizer was saved as another class than the one that is used",
    ),
    (
        re.compile(r"inputs will be cast from (\S+) to (\S+) during quantization"),
        lambda found: (
            f"the quantised layers compute in {_dtype(found[2])}, the others in {_dtype(found[1])}"
        ),
    ),
    (
        re.compile(r"Last layer must use `full_attention`, but got `(\w+)`"),
        lambda found: f"the last layer's {found[1]} is replaced by full attention",
    ),
    (
        re.compile(r"Falling back to BICUBIC"),
        lambda _: "pictures are resized by BICUBIC in place of LANCZOS (no torchvision)",
    ),
)
"""What concerns the truth, and our words for it."""

_CONCERNS = re.compile(
    r"will be ignored|is ignored|are ignored|not used|unused|unrecogni[sz]ed|newly initialized"
    r"|randomly initialized|unexpected results|unexpected behaviou?r|incorrect|mismatch|corrupt"
    r"|not implemented|fall(?:ing|s)? ?back|we will skip|out of range|must be|does not match",
    re.IGNORECASE,
)
_HARMLESS = re.compile(
    r"deprecat|will be removed|LOAD REPORT|slow(?:er)?\b|faster|flash.attention|loss_type|overhead"
    r"|generation (?:flags|config)|gradient|use_cache|pad_token|warmup|video|audio|kernel|fast path"
    r"|huggingface_hub|HF_TOKEN|unauthenticated|trust_remote_code|max_length|TRANSFORMERS_CACHE"
    r"|token_id.*vocabulary|Sliding Window Attention is enabled",
    re.IGNORECASE | re.DOTALL,
)
"""Deprecations, speed, training, generation, other media; and sliding windows: the warning of
Qwen's models is older than the masks that they make today."""


class Heard:
    """What libraries said."""

    def __init__(self) -> None:
        self._messages: dict[str, None] = {}

    def add(self, message: str) -> None:
        """Add one message, as the library worded it."""
        self._messages[" ".join(message.split())] = None

    def notes(self) -> tuple[str, ...]:
        """What of it concerns the truth, each in one line, in our words where the kind is known and
        else in the library's own."""
        told = (_told(message) for message in self._messages)
        return tuple(dict.fromkeys(note for note in told if note is not None))


def _told(message: str) -> str | None:
    for pattern, words in _KINDS:
        found = pattern.search(message)
        if found is not None:
            return words(found)
    if _HARMLESS.search(message) or not _CONCERNS.search(message):
        return None
    return f"a library says: {message}"


def _dtype(name: str) -> str:
    return name.removeprefix("torch.").rstrip(".,")
