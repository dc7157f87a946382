"""The glossary: one source for the page in docs and for the app."""

from __future__ import annotations

from pathlib import Path

from tests.tui.stage import explorer, in_loop
from tui.text.glossary import OWN, STANDARD, as_markdown
from tui.views.help.explained import COLUMNS, SCREENS, TABLE, IsExplained
from tui.views.help.explained import VIEWS as LOWER_VIEWS
from tui.views.registry import VIEWS

ROOT = Path(__file__).parents[2]


def test_the_page_in_docs_is_the_glossary() -> None:
    assert (ROOT / "docs" / "glossary.md").read_text() == as_markdown()


def test_every_term_is_a_sentence_of_its_own() -> None:
    terms = [*STANDARD, *OWN]
    assert len({term.word for term in terms}) == len(terms)
    for term in terms:
        assert term.meaning[0].isupper() or term.meaning[0] == "("
        assert term.meaning.endswith(".")


def test_what_explains_a_screen_is_in_the_glossary() -> None:
    known = {term.word for term in (*STANDARD, *OWN)}
    for terms in (TABLE, *COLUMNS.values(), *LOWER_VIEWS.values(), *SCREENS.values()):
        assert set(terms) <= known
    assert set(SCREENS) <= {view.id for view in VIEWS}


@in_loop
async def test_a_screen_explains_itself() -> None:
    async with explorer((80, 24)) as stage:
        await stage.run_done()
        for key, said in (("9", "promotes, suppresses"), ("H", "from, time, +")):
            await stage.press(key)
            await stage.until(lambda: isinstance(stage.app.screen, IsExplained))
            await stage.press("backslash")
            await stage.shows(said, "Glossary")
            assert "Run the question" not in stage.text
            await stage.press("q", "q")
            await stage.until(lambda: not stage.app.has_dialog)


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
