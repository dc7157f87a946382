"""The glossary: one source for the page in docs and for the app."""

from __future__ import annotations

from pathlib import Path

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
