"""The glossary: one source for the page in docs and for the app."""

from __future__ import annotations

from pathlib import Path

from tests.tui.stage import explorer, in_loop
from tui.text.glossary import OWN, STANDARD, as_markdown

ROOT = Path(__file__).parents[2]


def test_the_page_in_docs_is_the_glossary() -> None:
    assert (ROOT / "docs" / "glossary.md").read_text() == as_markdown()


def test_every_term_is_a_sentence_of_its_own() -> None:
    terms = [*STANDARD, *OWN]
    assert len({term.word for term in terms}) == len(terms)
    for term in terms:
        assert term.meaning[0].isupper() or term.meaning[0] == "("
        assert term.meaning.endswith(".")


@in_loop
async def test_the_app_shows_it() -> None:
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        stage.app.do("glossary")
        await stage.shows("Glossary", "Row 0 is the embedding", "tail")
        await stage.press("j", "slash", *"hook")
        await stage.shows("hook", "whenever a module of the model runs")
        assert "Row 0 is the embedding" not in stage.text
        await stage.press("escape", "tab")  # to the next section
        await stage.shows("Run the question")
        await stage.press("q")
        await stage.until(lambda: not stage.app.has_dialog)
