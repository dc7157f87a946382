"""The strip of the prompt, drawn without a screen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from rich.cells import cell_len
from rich.style import Style

from engine.records import PromptToken
from tests.tui.dialog_stage import HOSTILE
from tests.tui.fakes import chat_tokens
from tui.state.prompt_spans import Spans
from tui.views.strip.strip_line import StripLine, StripLook, StripText, strip_line

_NONE = Style()
LOOK = StripLook(_NONE, Style(dim=True), Style(color="red"), _NONE, _NONE, Style(bold=True), _NONE)
WORDS = ["Shape", "of", "it"]


def drawn(
    tokens: Sequence[PromptToken],
    position: int,
    width: int = 80,
    first: int = 0,
    *,
    read: int | None = None,
    sinks: tuple[int, ...] = (),
    unfolded: bool = False,
    ascii_only: bool = False,
) -> StripLine:
    own = len(tokens) - 1 if read is None else read
    spans = Spans.of(tokens, unfolded=unfolded)
    text = StripText(tokens, spans, own, sinks, ascii_only=ascii_only)
    return strip_line(text, position, first, width, LOOK)


def plain(line: StripLine) -> str:
    return "".join(text for text, _ in line.segments)


def marked(line: StripLine) -> str:
    return "".join(text for text, style in line.segments if style.reverse)


def test_every_part_can_be_told_apart_without_colours() -> None:
    line = drawn(chat_tokens(WORDS, 576), 0, sinks=(0, 100))
    assert plain(line).strip() == (
        "<s>▾ SYS: {␣Be ␣brief.} ␣USER: ▣ 576▾ «␣Shape ␣of ␣it» ␣ASSISTANT:▸(␣The)"
    )
    assert marked(line) == "<s>"
    line = drawn(chat_tokens(WORDS, 576), 0, width=100, ascii_only=True)
    assert plain(line).strip() == (
        "<s> SYS: {_Be _brief.} _USER: [576 patches] <<_Shape _of _it>> _ASSISTANT:>(_The)"
    )
    assert plain(line).isascii()


def test_the_patch_under_the_cursor_is_counted() -> None:
    tokens = chat_tokens(WORDS, 576)
    assert marked(drawn(tokens, 5)) == "▣ 1/576"
    assert marked(drawn(tokens, 580)) == "▣ 576/576"
    assert marked(drawn(tokens, 580, unfolded=True)) == "▣"
    assert marked(drawn(tokens, 16, ascii_only=True)) == "[12/576 patches]"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_line_stays_while_the_cursor_is_visible(width: int) -> None:
    tokens = chat_tokens([f"word{at}" for at in range(5000)], 12_000)
    spans = Spans.of(tokens, unfolded=False)
    text = StripText(tokens, spans, len(tokens) - 1, (), ascii_only=False)
    first, moved = 0, 0
    for index in [*range(0, 300), *range(300, -1, -1)]:
        position = spans.all[index].first
        line = strip_line(text, position, first, width, LOOK)
        assert marked(line).strip()
        assert cell_len(plain(line)) <= width
        places = [place for _, _, place in line.places]
        assert position in places
        moved += line.first != first
        first = line.first
    assert moved < 600 / (width / 16)


def test_the_end_of_a_prompt_fills_the_line() -> None:
    tokens = chat_tokens([f"word{at}" for at in range(500)], 12)
    line = drawn(tokens, len(tokens) - 1)
    assert plain(line).rstrip().endswith("(␣The)")
    assert cell_len(plain(line).rstrip()) > 66
    assert plain(line).startswith("…")


def test_a_click_finds_its_token_and_nothing_beside() -> None:
    line = drawn(chat_tokens(WORDS, 576), 0)
    text = plain(line)
    assert line.position_at(text.index("Shape")) == 581
    assert line.position_at(text.index("576")) == 5
    assert line.position_at(text.index("The")) == 585
    assert line.position_at(79) is None
    assert drawn(chat_tokens(WORDS), 0, width=3).places == ()


def test_hostile_tokens_stay_on_their_line() -> None:
    tokens = tuple(PromptToken(0, HOSTILE * 50, "text", "prompt") for _ in range(50))
    for ascii_only in (False, True):
        line = drawn(tokens, 20, 120, ascii_only=ascii_only)
        shown = plain(line)
        assert cell_len(shown) <= 120
        assert all(char.isprintable() for char in shown)
        assert "\x1b" not in shown
