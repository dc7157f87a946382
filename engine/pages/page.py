"""A session as one HTML file that needs nothing else: no server, no network, no Lenscope.

The file holds the session itself, run by run, each as the gzip stream of its JSON; a script in the
file unpacks the run that is looked at and draws it. The policy in the file's head lets the browser
run this one script and use this one style sheet, both named by their digests, show pictures that
are inside the file, and load nothing else. `engine.pages.opening` reads the session back.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.errors import BadInput, LenscopeError
from engine.pages import citing
from engine.pages.markup import escaped
from engine.pages.notebooks import run_markup
from engine.pages.packing import as_json, element, packed
from engine.pages.palette import COLD, DARK, FRAME, LIGHT, RAMP, Palette, dimmed, hexed
from engine.pages.shown import Again, entry_of, shown_of
from engine.records import Run, Session
from engine.sessions import MAX_BYTES, check_session, run_from_json, run_to_json
from engine.system.files import reason_of, replacing, storable

FORMAT: Final = "lenscope-page"
VERSION: Final = 1
HEAD: Final = "lenscope-page"
"""The id of the element that holds everything but the runs."""
MOST_RUNS: Final = 10_000
_ASSETS: Final = Path(__file__).parent / "assets"
_BAR_DIMNESS: Final = 0.42
_KEYS: Final = (
    ("j k", "row"), (", .", "run"), ("m", "map"), ("p", "plot"), ("g G", "first, last"),
    ("t", "light, dark"), ("esc", "back to the answer"),
)  # fmt: skip


@dataclass(frozen=True)
class About:
    """What a page says beyond its session."""

    terms: tuple[tuple[str, str], ...] = ()
    """Words and their meanings, to look up in the page."""
    again: Callable[[Run], Again] = field(default=lambda run: Again())
    """How a run can be asked again."""


def write_page(
    session: Session, path: str | Path, about: About | None = None, *, previews: bool = True
) -> int:
    """Write a session as a page, atomically, and return its size in bytes.

    `previews=False` leaves the pictures out. Raises BadInput, in one line, for a session that could
    not be opened again, or a file that cannot be written.
    """
    try:
        with replacing(path) as stream:
            written = 0
            for piece in page_pieces(session, about, previews=previews):
                data = piece.encode("utf-8")
                written += len(data)
                if written > MAX_BYTES:
                    raise ValueError(
                        f"the limit of a page is {MAX_BYTES:,} bytes: share fewer runs"
                    )
                stream.write(data)
    except (OSError, ValueError, LenscopeError) as error:
        raise BadInput(
            f"{storable(path)}: the page cannot be written ({reason_of(error)})"
        ) from None
    return written


def page_pieces(
    session: Session, about: About | None = None, *, previews: bool = True
) -> Iterator[str]:
    """Yield the page, a run at a time. Raises ValueError or BadInput for a session that could not
    be opened again."""
    about = About() if about is None else about
    check_session(session)
    if len(session.runs) > MOST_RUNS:
        raise ValueError(f"{len(session.runs):,} runs; the limit of a page is {MOST_RUNS:,}")
    ids = {run.id for run in session.runs}
    yield _head(session)
    entries = []
    for index, run in enumerate(session.runs):
        data = run_to_json(run, previews).encode("ascii")
        run_from_json(data)
        entries.append({**entry_of(run), "bytes": len(data)})
        yield element(f"lenscope-run-{index}", packed(data))
        shown = as_json(shown_of(run, ids, about.again(run)))
        yield element(f"lenscope-shown-{index}", packed(shown.encode("ascii")))
    yield element(HEAD, _content(session, about, entries))
    yield f"<script>{script()}</script>\n</body>\n</html>\n"


@cache
def script() -> str:
    """Return the script of every page. It holds nothing of any session."""
    constants = (
        f"const HUES = {len(DARK.hues)};\n"
        f"const RAMP = {[hexed(colour) for colour in RAMP]};\n"
        f"const COLD = {[hexed(colour) for colour in COLD]};\n"
        f'const FRAME = "{hexed(FRAME)}";\n'
    )
    parts = [file.read_text("utf-8") for file in sorted(_ASSETS.glob("*.js"))]
    return f'"use strict";\n(() => {{\n{constants}{"".join(parts)}}})();\n'


@cache
def style() -> str:
    """Return the style sheet of every page, in both themes."""
    dark, light = _variables(DARK, "dark"), _variables(LIGHT, "light")
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f':root[data-theme="light"] {{ {light} }}\n'
        f':root[data-theme="dark"] {{ {dark} }}\n'
        f"{_hue_rules()}{(_ASSETS / 'page.css').read_text('utf-8')}"
    )


def policy() -> str:
    """Return the content security policy of every page."""
    return (
        f"default-src 'none'; script-src '{_digest(script())}'; style-src '{_digest(style())}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


def _variables(palette: Palette, scheme: str) -> str:
    colours = {
        "primary": palette.primary,
        "foreground": palette.foreground,
        "background": palette.background,
        "panel": palette.panel,
        "cursor": dimmed(palette.primary, palette.background, 0.78),
        "success": palette.success,
        "error": palette.error,
        "faint": palette.faint,
        "bar": palette.bar,
        "answer": palette.answer,
        "answer-bar": palette.answer_bar,
        "frame": palette.frame,
    }
    for index, hue in enumerate(palette.hues, 1):
        colours[f"hue-{index}"] = hue
        colours[f"hue-bar-{index}"] = dimmed(hue, palette.background, _BAR_DIMNESS)
    return f"color-scheme: {scheme}; " + " ".join(
        f"--{name}: {colour};" for name, colour in colours.items()
    )


def _hue_rules() -> str:
    return "".join(
        f".hue-{index} {{ color: var(--hue-{index}); }}\n"
        f".bar.hue-{index} b, b.group-{index - 1} {{ background: var(--hue-bar-{index}); }}\n"
        for index in range(1, len(DARK.hues) + 1)
    )


def _head(session: Session) -> str:
    """Return the beginning of the page: what is there before, or without, the script."""
    first = session.runs[0] if session.runs else None
    title = "Lenscope" if first is None else f"{first.question.prompt[:80]} – Lenscope"
    keys = "".join(f"<span><kbd>{key}</kbd> {what}</span>" for key, what in _KEYS)
    still = "" if first is None else run_markup(first)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{escaped(title)}</title>\n<style>{style()}</style>\n</head>\n<body>\n"
        '<header class="top"><span class="brand">lenscope</span><span id="head"></span>'
        '<button id="theme" class="small" aria-label="light or dark">◐</button></header>\n'
        '<main id="page"></main>\n<div id="hint" role="status" hidden></div>\n'
        f'<footer class="bottom">{keys}</footer>\n'
        "<noscript><p>Without JavaScript this page shows its first run only.</p>"
        f"{still}</noscript>\n"
    )


def _content(session: Session, about: About, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return everything of a page but the runs."""
    own = {
        "format": session.format,
        "version": session.version,
        "created": session.created,
        "saved": session.saved,
        "comparisons": msgspec.to_builtins(session.comparisons),
        "view": session.view,
    }
    said = {"terms": about.terms, "message": citing.MESSAGE, "bibtex": citing.bibtex()}
    return {
        "format": FORMAT,
        "version": VERSION,
        "session": own,
        "runs": entries,
        "first": _first(session),
        "about": said,
    }


def _first(session: Session) -> int:
    """Return which run a page shows first: the newest that is about the picture itself."""
    own = [at for at, run in enumerate(session.runs) if run.question.counterfactual is None]
    return own[-1] if own else max(len(session.runs) - 1, 0)
