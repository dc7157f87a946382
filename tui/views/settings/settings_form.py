"""The form for how the next question is asked, and how the model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui.text.show import plain_line
from tui.widgets.line_entry import HeldEntry

MOST_TOP_K: Final = 100
_MOST_DIGITS: Final = 20
_DTYPES: Final = ("auto", "float32", "float16", "bfloat16")
_QUANTIZED: Final = ("", "8bit", "4bit")
_ASKED: Final = ("chat", "raw")
_NORM: Final = ("on", "off")


@dataclass(frozen=True)
class Settings:
    """What the form holds."""

    system: str = ""
    prefix: str = ""
    chat: bool = True
    norm: bool = True
    top_k: int = 3
    seed: int = 0
    """Of noise instead of the picture."""
    device: str = "auto"
    dtype: str = "auto"
    quantize: str = ""
    """8bit, 4bit, or nothing."""


_FIELDS: Final = (
    ("system", "system turn", "nothing for none"),
    ("prefix", "prefix", "what the answer begins with, verbatim"),
    ("asked", "asked as", "chat or raw"),
    ("norm", "final norm", "on or off"),
    ("top_k", "top-k", f"1 to {MOST_TOP_K} tokens of a row in the table"),
    ("seed", "seed", "of noise instead of the picture"),
    ("device", "device", "auto, cpu, cuda, cuda:1; loads the model again"),
    ("dtype", "dtype", f"{', '.join(_DTYPES)}; loads the model again"),
    ("quantize", "quantize", "8bit, 4bit or nothing; loads the model again"),
)


class SettingsForm(ModalScreen[Settings | None]):
    """Returns the settings, or None if the user leaves them."""

    CSS = """
    SettingsForm .dialog { height: auto; }
    SettingsForm.-ascii .dialog { border: ascii $primary; }
    SettingsForm Horizontal { height: 1; }
    SettingsForm .name { width: 13; color: $faint; }
    SettingsForm Input { width: 1fr; height: 1; border: none; background: $panel; padding: 0 1; }
    SettingsForm #hint { height: 1; margin: 1 0 0 0; color: $faint; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", show=False),
        Binding("ctrl+c", "dismiss", show=False),
        Binding("down,tab", "app.focus_next", show=False),
        Binding("up,shift+tab", "app.focus_previous", show=False),
    ]

    def __init__(self, settings: Settings, *, ascii_only: bool) -> None:
        super().__init__()
        self._settings = settings
        self._ascii = ascii_only
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out a line for each setting, and one that explains the focused one."""
        values = _as_typed(self._settings)
        with Vertical(classes="dialog") as box:
            box.border_title = "settings of the next question"
            box.border_subtitle = "up and down choose, enter takes them, esc leaves them"
            for identity, name, _ in _FIELDS:
                with Horizontal():
                    yield Static(name, classes="name", markup=False)
                    line = HeldEntry(
                        values[identity], id=identity, select_on_focus=False, compact=True
                    )
                    line.cursor_blink = False
                    yield line
            yield Static(id="hint", markup=False)

    def on_descendant_focus(self) -> None:
        """Explain the focused setting."""
        hint = next((hint for identity, _, hint in _FIELDS if self._focused_id == identity), "")
        self._say(hint)

    @property
    def _focused_id(self) -> str | None:
        return self.focused.id if self.focused is not None else None

    @on(Input.Submitted)
    def _taken(self) -> None:
        typed = {line.id or "": line.held for line in self.query(HeldEntry)}
        problem = _problem(typed)
        if problem:
            self._say(problem, "$error")
        else:
            self.dismiss(_as_settings(typed))

    def _say(self, text: str, style: str = "$faint") -> None:
        shown = plain_line(text, ascii_only=self._ascii)
        self.query_one("#hint", Static).update(Content.styled(shown, style))


def _as_typed(settings: Settings) -> dict[str, str]:
    return {
        "system": settings.system,
        "prefix": settings.prefix,
        "asked": _ASKED[not settings.chat],
        "norm": _NORM[not settings.norm],
        "top_k": str(settings.top_k),
        "seed": str(settings.seed),
        "device": settings.device,
        "dtype": settings.dtype,
        "quantize": settings.quantize,
    }


def _problem(typed: dict[str, str]) -> str:
    """Return what is wrong with what was typed, or nothing."""
    choices = {"asked": _ASKED, "norm": _NORM, "dtype": _DTYPES, "quantize": _QUANTIZED}
    for name, allowed in choices.items():
        if typed[name].strip() not in allowed:
            return f"{name}: {', '.join(word for word in allowed if word)}"
    if not 1 <= _whole(typed["top_k"]) <= MOST_TOP_K:
        return f"top-k: a number from 1 to {MOST_TOP_K}"
    if not 0 <= _whole(typed["seed"]) < 2**63:
        return "seed: a whole number, not below 0"
    return "" if typed["device"].strip() else "device: auto, cpu, cuda, cuda:1"


def _whole(typed: str) -> int:
    """Return a whole number that was typed; -1 for anything else, and for one too long to be
    meant."""
    digits = typed.strip()
    return int(digits) if digits.isdecimal() and len(digits) <= _MOST_DIGITS else -1


def _as_settings(typed: dict[str, str]) -> Settings:
    return Settings(
        system=typed["system"],
        prefix=typed["prefix"],
        chat=typed["asked"].strip() == "chat",
        norm=typed["norm"].strip() == "on",
        top_k=_whole(typed["top_k"]),
        seed=_whole(typed["seed"]),
        device=typed["device"].strip(),
        dtype=typed["dtype"].strip(),
        quantize=typed["quantize"].strip(),
    )
