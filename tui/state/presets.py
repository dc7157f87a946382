"""The preset prompts through which the user can step."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadInput
from engine.system.files import read_file

_MOST_BYTES = 2**20


@dataclass(frozen=True)
class Preset:
    """One prompt of a set, and its place in the set."""

    prompt: str
    place: str
    """Such as "clevr 2/4"."""
    group: str
    """The set's name."""
    title: str
    """The set's title."""


def read_presets(extra: Path | None = None) -> tuple[Preset, ...]:
    """Return the bundled prompts (none if their file is missing or damaged) and those of the user's
    file.

    Raises BadInput where the user's file cannot be read.
    """
    try:
        import samples

        presets = _presets(samples.PROMPTS.read_text("utf-8"))
    except (ImportError, OSError, ValueError):
        presets = ()
    if extra is None:
        return presets
    data = read_file(extra, "file of prompts", _MOST_BYTES)
    try:
        return (*presets, *_presets(data.decode("utf-8")))
    except ValueError as error:
        raise BadInput(f"{extra}: not a file of prompts ({error})") from None


def ring_of(presets: tuple[Preset, ...], typed: Sequence[str], present: str) -> tuple[Preset, ...]:
    """Return the prompts through which two keys step: what is typed in the editor, or was typed
    there last and not asked, and the presets after it."""
    known = {preset.prompt for preset in presets}
    drafts = [text for text in (present, *typed) if text.strip() and text not in known][:1]
    return (*(Preset(text, "what you typed", "", "") for text in drafts), *presets)


def step_preset(presets: tuple[Preset, ...], prompt: str, step: int) -> Preset | None:
    """Return the preset after (or before) the prompt; the first (or last) where the prompt is no
    preset, and None where no presets exist."""
    if not presets:
        return None
    here = [index for index, preset in enumerate(presets) if preset.prompt == prompt]
    if not here:
        return presets[0 if step > 0 else -1]
    return presets[(here[0] + step) % len(presets)]


def _presets(text: str) -> tuple[Preset, ...]:
    presets: list[Preset] = []
    for name, group in tomllib.loads(text).items():
        if not isinstance(group, dict) or not isinstance(group.get("prompts", []), list):
            continue
        prompts = [prompt for prompt in group.get("prompts", []) if isinstance(prompt, str)]
        presets += [
            Preset(prompt, f"{name} {index}/{len(prompts)}", name, str(group.get("title", name)))
            for index, prompt in enumerate(prompts, 1)
        ]
    return tuple(presets)
