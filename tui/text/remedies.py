"""Ways to resolve an error, as flags of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.errors import LenscopeError, Remedy

FLAGS: Final = {
    Remedy.LOAD_MODEL: "--model",
    Remedy.ALLOW_PICKLE: "--allow-pickle",
    Remedy.TRUST_CODE: "--trust-remote-code",
    Remedy.OTHER_REVISION: "--revision",
    Remedy.OTHER_CACHE: "--cache-dir",
    Remedy.OTHER_DEVICE: "--device",
    Remedy.OTHER_DTYPE: "--dtype",
    Remedy.HALF_PRECISION: "--dtype bfloat16",
    Remedy.QUANTIZE: "--quantize 4bit",
    Remedy.DEVICE_MAP: "--device-map auto",
    Remedy.WITH_ADAPTER: "--adapter FOLDER",
    Remedy.NO_ADAPTER: "--no-adapter",
    Remedy.NO_PICTURE: "--no-image",
    Remedy.NO_SYSTEM: "no --system",
    Remedy.RAW: "--raw",
    Remedy.OTHER_FOLDER: "--out",
    Remedy.NAME_PROMPTS: "--prompts",
    Remedy.ONE_AT_A_TIME: "--batch-size 1",
    Remedy.SOME_POSITIONS: "--read METHOD:positions=...",
}
"""The flag for every remedy except repeating the command."""


def with_flags(text: str, remedies: Sequence[Remedy]) -> str:
    """Return an error's line with the flags that resolve it."""
    return with_ways(text, [FLAGS[remedy] for remedy in remedies if remedy in FLAGS])


def with_ways(text: str, ways: Sequence[str]) -> str:
    """Return a line with ways to do what it says."""
    return f"{text} ({', '.join(ways)})" if ways else text


def error_line(error: LenscopeError) -> str:
    """Return the line that the headless commands print for one of our errors."""
    return with_flags(str(error), error.remedies)
