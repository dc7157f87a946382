"""The prompts that can be stepped through."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """One prompt of a set, and where it stands in it."""

    prompt: str
    place: str
    """Such as "clevr 2/4"."""


def read_presets() -> tuple[Preset, ...]:
    """Return the bundled prompts; none if the file is missing or damaged."""
    try:
        import samples

        table = tomllib.loads(samples.PROMPTS.read_text("utf-8"))
    except (ImportError, OSError, ValueError):
        return ()
    presets: list[Preset] = []
    for name, group in table.items():
        prompts = group.get("prompts", []) if isinstance(group, dict) else []
        prompts = [prompt for prompt in prompts if isinstance(prompt, str)]
        presets += [
            Preset(prompt, f"{name} {index}/{len(prompts)}")
            for index, prompt in enumerate(prompts, 1)
        ]
    return tuple(presets)


def step_preset(presets: tuple[Preset, ...], prompt: str, step: int) -> Preset | None:
    """Return the preset after (or before) the one that the prompt is; the first (or last) where
    the prompt is none of them."""
    if not presets:
        return None
    here = [index for index, preset in enumerate(presets) if preset.prompt == prompt]
    if not here:
        return presets[0 if step > 0 else -1]
    return presets[(here[0] + step) % len(presets)]
