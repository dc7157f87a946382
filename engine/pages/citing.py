"""How Lenscope is cited; CITATION.cff in the repository says the same."""

from __future__ import annotations

from importlib import metadata
from typing import Final

TITLE: Final = "Lenscope: what vision-language models believe after every layer"
AUTHORS: Final = "The Lenscope contributors"
MESSAGE: Final = (
    "If you use Lenscope in your work, please cite it, and the papers whose methods you use."
)


def bibtex() -> str:
    """Return the entry for a bibliography, with this version."""
    try:
        version = f"  version = {{{metadata.version('lenscope')}}},\n"
    except metadata.PackageNotFoundError:
        version = ""
    return (
        f"@software{{lenscope,\n  title = {{{{{TITLE}}}}},\n  author = {{{{{AUTHORS}}}}},\n"
        f"{version}  license = {{Apache-2.0}}\n}}"
    )
