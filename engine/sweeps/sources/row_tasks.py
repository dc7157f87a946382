"""Which questions are asked about the picture of a row: its own, or those of the command line.

A truth is only ever that of the question that it stands beside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.errors import BadInput, Remedy
from engine.sweeps.sources.columns import ColumnReader, Row
from engine.sweeps.sources.placeholders import Placeholders
from engine.sweeps.sources.tasks import NO_GROUP, Prompt, Task, asked_of_all
from engine.sweeps.words import counted


@dataclass
class RowTasks:
    """Turns rows into tasks, once all rows have been seen.

    Rows without a question are asked the prompts of the command line. If every row has one, the
    prompts replace it, and its answers, which belong to the questions that are not asked, are no
    truths. `see` every row first; then `tasks_of` gives the same for a row each time.
    """

    prompts: tuple[Prompt, ...]
    placeholders: Placeholders
    seen: int = 0
    own: int = 0
    """Rows with a question of their own."""
    answered: int = 0
    """Rows with an answer."""
    unowned_answers: int = 0
    """Rows with an answer and without a question."""
    questions: set[str] = field(default_factory=set)
    """The prompts among the rows' own questions."""
    unread_question: str = ""
    """A column that is not read and seems to hold the questions."""

    def __post_init__(self) -> None:
        self.prompts = tuple(
            Prompt(self.placeholders.without(prompt.text), prompt.group) for prompt in self.prompts
        )
        self._texts = {_plain(prompt.text) for prompt in self.prompts}

    def see(self, row: Row) -> None:
        """Take note of a row."""
        self.seen += 1
        self.own += bool(row.prompt)
        self.answered += row.answer is not None
        self.unowned_answers += row.answer is not None and not row.prompt
        text = _plain(self.placeholders.without(row.prompt)) if row.prompt else ""
        if text in self._texts:
            self.questions.add(text)

    @property
    def replaced(self) -> bool:
        """Whether the prompts are asked instead of the rows' own questions."""
        return bool(self.prompts) and self.own == self.seen > 0

    def tasks_of(self, row: Row) -> tuple[Task, ...]:
        """The questions about one row's picture. Raises BadInput, saying where the row is."""
        truth, given = row.answer, row.given
        if self.replaced:
            own = _plain(row.prompt)
            return tuple(
                Task(prompt.text, prompt.group, truth, given=given)
                if _plain(prompt.text) == own
                else Task(prompt.text, prompt.group)
                for prompt in self.prompts
            )
        if row.prompt:
            return (Task(row.prompt, row.group or NO_GROUP, truth, given=given),)
        if self.unread_question:
            truth, given = None, ()
        if len(self.prompts) == 1:
            prompt = self.prompts[0]
            return (Task(prompt.text, row.group or prompt.group, truth, given=given),)
        if truth is not None and self.prompts:
            raise BadInput(
                f"{row.where}: this answer belongs to one of {len(self.prompts)} prompts: "
                "name which"
            )
        if not self.prompts:
            raise BadInput(
                f"{row.where}: no prompt; give every line one, or name prompts for all",
                Remedy.NAME_PROMPTS,
            )
        return asked_of_all(self.prompts)

    def notes(self, columns: ColumnReader) -> tuple[str, ...]:
        """What the user should know about which questions are asked, and whose answers are used."""
        found: list[str] = []
        answers = counted(self.answered, "answer")
        if self.replaced:
            words = "its own questions are not asked, the named prompts are"
            if self.answered and not self.questions:
                words += (
                    f"; its {answers} belong{'s' * (self.answered == 1)} to its own questions: "
                    "not used as truths"
                )
            elif self.answered:
                words += "; its answers are used only where the question is the same"
            found.append(words)
        elif self.prompts and self.own:
            found.append(
                f"{counted(self.own, 'row')} with a question of its own: that is asked there, and "
                f"the named prompts about the other {self.seen - self.own:,}"
            )
        if self.unowned_answers and self.prompts and not self.replaced:
            named = ", ".join(map(repr, columns.answer_names))
            if self.unread_question:
                found.append(
                    f"the answers ({named}) seem to belong to the questions in "
                    f"{self.unread_question!r}, a column that is not read: not used as truths; "
                    "call it `question` to ask them"
                )
            elif len(self.prompts) == 1:
                found.append(
                    f"the answers ({named}) are taken for those to {self.prompts[0].text!r}"
                )
        return (*found, *self.placeholders.notes())


def one_truth_each(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """The tasks of a picture, each once; a question that has a truth is not asked without it."""
    listed = list(tasks)
    known = {task.prompt for task in listed if task.truth is not None}
    return tuple(
        dict.fromkeys(task for task in listed if task.truth is not None or task.prompt not in known)
    )


def _plain(text: str) -> str:
    return " ".join(text.split())
