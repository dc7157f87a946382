"""The menu of prompts: those typed and not asked, the presets by set, and those asked before."""

from __future__ import annotations

from collections.abc import Sequence

from tui.state.presets import Preset
from tui.widgets.chooser import Choice, Chooser


class PromptMenu(Chooser):
    """Returns the chosen prompt, or None."""

    def __init__(
        self,
        presets: Sequence[Preset],
        asked: Sequence[str],
        typed: Sequence[str] = (),
        *,
        ascii_only: bool,
    ) -> None:
        known = {preset.prompt for preset in presets}
        choices = [
            Choice(prompt, prompt, section="typed, not asked")
            for prompt in typed
            if prompt not in known and prompt not in asked
        ]
        choices += [
            Choice(preset.prompt, preset.prompt, preset.place, preset.title) for preset in presets
        ]
        choices += [
            Choice(prompt, prompt, section="asked before")
            for prompt in asked
            if prompt not in known and prompt.strip()
        ]
        super().__init__("prompts", choices, ascii_only=ascii_only)
