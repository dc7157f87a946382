"""The small parts: strips, half-blocks, presets, paths, clipboard, what the dialog lists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from engine.errors import LenscopeError
from tui.disk import paths
from tui.sharing import clipboard
from tui.state import presets
from tui.views.files.folder_lister import FolderLister
from tui.widgets.half_blocks import Colours, _parse_line, picture_strips
from tui.widgets.strips import changed_span, strip_of


def test_only_what_differs_is_drawn_again() -> None:
    red, blue = Style(color="red"), Style(color="blue")
    old = strip_of([("abc", red), ("漢字", blue)], 10, red)
    assert changed_span(old, strip_of([("abc", red), ("漢字", blue)], 10, red)) is None
    assert changed_span(old, strip_of([("abX", red), ("漢字", blue)], 10, red)) == (2, 3)
    assert changed_span(old, strip_of([("abc", red), ("漢子", blue)], 10, red)) == (5, 7)
    assert changed_span(old, strip_of([("abc", blue), ("漢字", blue)], 10, red)) == (0, 3)
    assert changed_span(None, old) == (0, 10)
    # A blank looks the same in every foreground.
    assert changed_span(strip_of([("   ", red)], 3, red), strip_of([("   ", blue)], 3, red)) is None


_TEXTS = st.text(st.sampled_from("ab \u2588\u6f22\u5b57e\u0301"), min_size=1, max_size=4)
_PIECES = st.lists(st.tuples(_TEXTS, st.sampled_from([Style(color="red"), Style(bold=True)])))


@given(_PIECES, _PIECES, _PIECES, _PIECES)
def test_all_that_differs_is_in_the_span(
    before: list[tuple[str, Style]],
    one: list[tuple[str, Style]],
    other: list[tuple[str, Style]],
    after: list[tuple[str, Style]],
) -> None:
    blank, edge = Style(color="red"), ("x", Style(bold=True))
    old, new = (strip_of([edge, *before, *m, *after, edge], 40, blank) for m in (one, other))
    changed = changed_span(old, new)
    start, end = changed or (0, 0)
    pairs = list(enumerate(zip(cells(old), cells(new), strict=True)))
    assert all(mine == theirs for at, (mine, theirs) in pairs if not start <= at < end)
    assert 0 <= start <= end <= 40


def cells(strip: Strip) -> list[tuple[str, Style | None]]:
    """A character and its style for every cell, with what combines with it, which is drawn in the
    same style; a blank has none."""
    found: list[tuple[str, Style | None]] = []
    for text, style, _ in strip:
        for char in text:
            if char == "\u0301":
                found[-1] = (found[-1][0] + char, found[-1][1])
            else:
                found += [(char, None if char == " " else style)]
                found += [("", style)] * (cell_len(char) - 1)
    return found


def test_ansi_becomes_strips() -> None:
    line = "\x1b[48;2;1;2;3m\x1b[38;2;9;8;7m▀▀\x1b[48;5;240m▀\x1b[0m x"
    assert _parse_line(line) == Strip(
        [
            Segment("▀▀", Style(color="#090807", bgcolor="#010203")),
            Segment("▀", Style(color="#090807", bgcolor="color(240)")),
            Segment(" x", Style()),
        ]
    )


@pytest.mark.parametrize("colours", list(Colours))
def test_a_picture_becomes_half_blocks(colours: Colours) -> None:
    from PIL import Image

    image = Image.new("RGB", (40, 20), (255, 0, 0))
    image.paste((0, 0, 255), (20, 0, 40, 20))
    strips = picture_strips(image, 20, 20, colours=colours)
    assert len(strips) == 5
    assert {strip.cell_length for strip in strips} == {20}
    first = [segment for segment in strips[0] if segment.style is not None]
    left, right = first[0].style, first[-1].style
    assert left is not None
    assert right is not None
    if colours is not Colours.INDEXED:
        assert left.bgcolor is not None
        assert left.bgcolor.triplet == (255, 0, 0)
        assert right.bgcolor is not None
        assert right.bgcolor.triplet == (0, 0, 255)
    assert left != right


def test_presets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import samples

    known = presets.read_presets()
    assert [preset.place for preset in known][:4] == [f"clevr {n}/4" for n in (1, 2, 3, 4)]
    first, last = known[0], known[-1]
    assert presets.step_preset(known, first.prompt, 1) == known[1]
    assert presets.step_preset(known, first.prompt, -1) == last
    assert presets.step_preset(known, "something else", 1) == first
    assert presets.step_preset((), "x", 1) is None
    for text in ("", "x = [", "clevr = 5", "[clevr]\nprompts = [1, 2]"):
        monkeypatch.setattr(samples, "PROMPTS", tmp_path / "prompts.toml")
        (tmp_path / "prompts.toml").write_text(text)
        assert presets.read_presets() == ()
    (tmp_path / "prompts.toml").unlink()
    assert presets.read_presets() == ()


def test_presets_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "prompts.toml"
    file.write_text(
        '[mine]\ntitle = "My set"\nprompts = ["One:", 2, "Two:"]\n[bare]\nprompts = ["x"]'
    )
    own = presets.read_presets(file)[len(presets.read_presets()) :]
    assert own == (
        presets.Preset("One:", "mine 1/2", "mine", "My set"),
        presets.Preset("Two:", "mine 2/2", "mine", "My set"),
        presets.Preset("x", "bare 1/1", "bare", "bare"),
    )
    for damaged in (b"x = [", b"\xff"):
        file.write_bytes(damaged)
        with pytest.raises(LenscopeError, match=r"prompts\.toml: not a file of prompts"):
            presets.read_presets(file)
    with pytest.raises(LenscopeError, match="nowhere"):
        presets.read_presets(tmp_path / "nowhere.toml")


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert paths.state_folder() == tmp_path / "state" / "lenscope"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert paths.state_folder() == Path.home() / ".local" / "state" / "lenscope"
    first = paths.new_session_path()
    first.write_text("")
    assert paths.new_session_path() != first
    assert paths.short_path(tmp_path / "x.json") == "x.json"
    assert paths.short_path(Path.home() / "y.json") == "~/y.json"


def test_the_dialog_lists_what_can_be_opened(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("a.PNG", "b.json", "c.txt", ".hidden.png", "pictures/d.webp"):
        (tmp_path / name).touch()
    assert FolderLister().completions("") == ["pictures/", "a.PNG", "b.json"]
    assert FolderLister().completions("p") == ["pictures/"]
    assert FolderLister().completions("pictures/") == ["pictures/d.webp"]
    assert FolderLister().completions(".h") == [".hidden.png"]
    assert FolderLister().completions(f"{tmp_path}/A") == [f"{tmp_path}/a.PNG"]
    assert FolderLister().completions("nowhere/") == []
    assert FolderLister().completions("\x00/") == []


def test_the_clipboard_goes_through_tmux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmux = tmp_path / "tmux"
    tmux.write_text(f"#!/bin/sh\necho $@ > {tmp_path}/args\ncat > {tmp_path}/copied\n")
    tmux.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    sent: list[str] = []
    clipboard.copy_through_tmux("outside", sent.append)
    monkeypatch.setenv("TMUX", "x")
    thread = clipboard.copy_through_tmux("漢字", sent.append)
    assert thread is not None
    thread.join(10)
    assert (tmp_path / "args").read_text() == "load-buffer -w -\n"
    assert (tmp_path / "copied").read_text() == "漢字"
    assert sent == []
    assert clipboard.too_long("x" * 80_000)


def test_an_old_tmux_gets_what_it_passes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tmux = tmp_path / "tmux"
    tmux.write_text("#!/bin/sh\nexit 1\n")  # before 3.2 it does not know -w
    tmux.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("TMUX", "x")
    sent: list[str] = []
    thread = clipboard.copy_through_tmux("text", sent.append)
    assert thread is not None
    thread.join(10)
    assert sent == ["\x1bPtmux;\x1b\x1b]52;c;dGV4dA==\a\x1b\\"]


def test_nothing_heavy_is_imported_before_the_first_frame() -> None:
    code = (
        "import sys, tui.app; heavy = {'torch', 'transformers', 'PIL', 'term_image', 'numpy'};"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
