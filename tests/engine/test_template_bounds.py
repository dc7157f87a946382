"""Chat templates that run, write or compute without end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import BadInput
from engine.models.loading import LoadedModel
from engine.prompts import template_bounds, templates
from engine.prompts.template_bounds import TemplateTooExpensive
from engine.prompts.templates import render


@pytest.fixture
def tokenizer(opened: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch) -> Any:
    made = opened("llama").processor
    made = getattr(made, "tokenizer", made)
    monkeypatch.setattr(made, "chat_template", None, raising=False)
    return made


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999)|join }}{% endfor %}",
        "{% set n = namespace(x='abcd') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}"
        "{% endfor %}",
        "{{ 'a' * 10000000000 }}",
        "{{ 10000000000 * 'a' }}",
        "{{ [1] * 10000000000 }}",
        "{{ 7 ** 100000000 }}",
        "{{ '%1000000000s' % 'x' }}",
        "{{ '%*s' % (1000000000, 'x') }}",
        "{{ 'x'|center(1000000000) }}",
        "{{ 'x'.center(1000000000) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ ('a' * 9999)|replace('a', 'b' * 9999) }}",
        "{{ lipsum(n=99999) }}",
        "a" * (template_bounds.MOST_CHARACTERS + 1),
    ],
    ids=lambda template: template[:40],
)
def test_they_are_ended(tokenizer: Any, monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.setattr(template_bounds, "MOST_SECONDS", 0.2)
    monkeypatch.setattr(template_bounds, "MOST_BYTES", 64 * 2**20)
    tokenizer.chat_template = template
    with pytest.raises(TemplateTooExpensive, match="the model's chat template") as refused:
        render(tokenizer, "hi", None, picture=False)
    assert "\n" not in str(refused.value)
    assert sys.gettrace() is None or "template_bounds" not in repr(sys.gettrace())


def test_what_is_written_is_bounded(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ 'a' * 9999999 }}{{ 'a' * 9999999 }}"
    with pytest.raises(TemplateTooExpensive, match="writes 19,999,998 characters"):
        render(tokenizer, "hi", None, picture=False)


def test_other_templates_run_as_before(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{{ '-' * 3 }}{{ '%s|%5d' % ('a', 7) }}{{ 2 ** 10 }}{{ 3 * 4 }}{{ 'x'.center(3) }}"
        "{{ messages|map(attribute='content')|join(', ') }}{{ 'a b'|replace(' ', '') }}"
    )
    written = render(tokenizer, "hi", None, picture=False)
    assert written == "---a|    710241" + "2 x hiab"
    tokenizer.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(BadInput, match="refuses this question: no such role"):
        render(tokenizer, "hi", None, picture=False)


def test_a_template_that_loops_holds_a_question_up_once(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_bounds, "MOST_SECONDS", 0.3)
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    tokenizer.chat_template = loop
    rendered: list[Any] = []
    whole = template_bounds.bounded_template

    def counted(owner: Any) -> Any:
        rendered.append(owner)
        return whole(owner)

    monkeypatch.setattr("engine.prompts.templates.bounded_template", counted)
    monkeypatch.setattr(templates, "takes_pictures", lambda processor: True)
    with pytest.raises(TemplateTooExpensive):
        render(tokenizer, "hi", "system", picture=True)
    assert len(rendered) == 1
