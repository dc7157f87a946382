"""Which column of a table is the picture, the question, its answer and its group, whoever wrote it.

The same names are known in every format; case, spaces, underscores and hyphens make no difference.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.errors import BadInput
from engine.sweeps.sources.conversations import first_exchange
from engine.sweeps.words import counted

PICTURE: Final = (
    "picture", "image", "img", "photo", "pictures", "images", "imgs", "photos",
    "file_name", "file", "image_path", "img_path", "picture_path", "image_file", "img_file",
    "picture_file", "image_file_name", "img_file_name", "image_name", "img_name", "picture_name",
    "path", "file_path", "image_bytes", "img_bytes", "jpg", "jpeg", "png", "webp",
    "image_url", "img_url", "url", "image_id", "img_id",
)  # fmt: skip
PROMPT: Final = (
    "prompt", "question", "query", "instruction", "text", "question_text", "question_str",
    "user_prompt", "problem", "input",
)  # fmt: skip
ANSWER: Final = (
    "answer", "label", "truth", "multiple_choice_answer", "gt_answer", "ground_truth", "gt",
    "true_answer", "gold_answer", "gold", "correct_answer", "expected_answer", "expected",
    "reference_answer", "target", "response", "output", "completion", "solution", "answers",
    "direct_answers", "gt_answers", "labels", "correct_choice_idx", "answer_idx", "answer_index",
)  # fmt: skip
PEOPLE: Final = ("answers", "direct_answers", "gt_answers")
"""Columns that can have what each of ten people answered."""
GROUP: Final = ("group", "category", "question_type")
CHOICES: Final = ("choices", "options", "multiple_choices")
CONVERSATION: Final = ("conversations", "conversation", "messages", "dialog", "dialogue", "texts")

COLUMNS: Final = ("picture", "prompt", "answer", "group")
"""What a table can say, under these names or others."""
EVIDENT: Final = (*COLUMNS, "image", "question")
"""Names of which nobody needs to be told what they are read as."""
ANSWER_FIELDS: Final = ("answer", "raw_answer", "text")
"""Where a record that is an answer has its text."""
PEOPLE_ASKED: Final = 10
"""How many people answered each question of VQA, and of data made like it."""
LETTERS: Final = "ABCDEFGHIJ"
MOST_NAMED: Final = 12
"""Columns that a message names; the others are counted."""
MOST_CHOICES_TEXT: Final = 10_000
_LETTER = re.compile(r"\(?([A-Ja-j])[).:]?")


@dataclass(frozen=True)
class Row:
    """What one row of a table says."""

    number: int
    where: str
    """File and line, for messages."""
    picture: Any
    """The cell of the picture as it is; None where the row has none."""
    prompt: str
    """Empty where the row has no question of its own."""
    answer: str | None
    group: str
    """Empty where the row has none."""
    given: tuple[str, ...] = ()
    """What each of ten people answered, if the row has that."""


@dataclass(frozen=True)
class _Roles:
    pictures: tuple[str, ...]
    prompt: str | None
    answer: str | None
    people: str | None
    group: str | None
    choices: str | None
    conversation: str | None
    letters: tuple[str, ...]
    unread: tuple[str, ...]

    def read(self) -> dict[str, str]:
        """From the columns that are read to what they are read as."""
        found = {self.pictures[0]: "picture"} if self.pictures else {}
        for role in ("prompt", "answer", "group"):
            name = getattr(self, role)
            if name is not None:
                found[name] = role
        return found


@dataclass
class ColumnReader:
    """Reads rows that are mappings from a column's name to a value, and remembers what it did."""

    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """From a column to the names of the classes that its numbers mean."""
    pictures: tuple[str, ...] = ()
    """Columns that hold pictures, whatever they are called."""
    unread: dict[str, None] = field(default_factory=dict)
    """Columns that have no meaning here, in their order."""
    read: dict[str, str] = field(default_factory=dict)
    """From the columns that are read to what they are read as."""
    answer_names: dict[str, None] = field(default_factory=dict)
    """The columns that answers were read from."""
    voted: int = 0
    """Rows with several answers, of which the most frequent is the truth."""
    chosen: int = 0
    """Rows whose answer names one of several options."""
    unusable: int = 0
    """Rows whose answer is neither text nor a number."""
    later_turns: int = 0
    """Questions of conversations that follow a first one."""
    unread_question: str = ""
    """A column that is not read, though texts in it end as questions do."""
    _known: dict[tuple[str, ...], _Roles] = field(default_factory=dict)
    _last: _Roles | None = None

    def has_picture(self, names: Iterable[Any]) -> bool:
        """Whether one of these columns can name pictures."""
        return bool(self._roles(tuple(map(str, names))).pictures)

    def note_unread(self, names: Iterable[str]) -> None:
        """Take note of the columns of a table of which only those that are read will be seen."""
        self.unread.update(dict.fromkeys(self._roles(tuple(names)).unread))

    def needed(self, names: Sequence[str], texts: Sequence[str]) -> list[str]:
        """The columns that have to be read; where none has questions, all `texts` too, since one of
        them may have them under a name that is not known."""
        roles = self._roles(tuple(names))
        unread = set(roles.unread)
        if roles.prompt is None and roles.conversation is None and roles.answer is not None:
            unread -= set(texts)
        return [name for name in names if name not in unread]

    def row(self, number: int, values: Mapping[str, Any], where: str) -> Row:
        """What a row says. Raises BadInput, saying `where`, for a question that is no text."""
        roles = self._roles(tuple(values))
        if roles is not self._last:
            self._last = roles
            self.unread.update(dict.fromkeys(roles.unread))
            self.read |= roles.read()
        if not self.unread_question:
            self.unread_question = next(
                (
                    name
                    for name in roles.unread
                    if isinstance(values[name], str)
                    and values[name].rstrip().endswith(("?", "？", "؟"))
                ),
                "",
            )
        picture = next(
            (values[name] for name in roles.pictures if not _is_empty(values[name])), None
        )
        prompt, answer = "", None
        if roles.prompt is not None:
            prompt = text_of(values[roles.prompt], f"{where}: {roles.prompt}")
        if roles.answer is not None:
            answer = self._answer(roles, values)
        if roles.conversation is not None and not prompt:
            exchange = first_exchange(values[roles.conversation])
            if exchange is not None:
                prompt, answer = exchange.question, exchange.answer or answer
                self.later_turns += exchange.later
        group = values[roles.group] if roles.group is not None else None
        return Row(
            number,
            where,
            picture,
            prompt,
            answer,
            str(group).strip() if isinstance(group, (str, int, float)) and group == group else "",
            () if roles.people is None else _given(values[roles.people]),
        )

    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the rows were read."""
        found = []
        if any(_plain(name) not in EVIDENT for name in self.read):
            told = [f"{_quoted(name)} as {role}" for name, role in self.read.items()]
            found.append(f"columns read: {', '.join(told[:MOST_NAMED])}")
        if self.unread:
            found.append(f"columns not read: {_named('', self.unread)}")
        if self.voted:
            found.append(
                "of several answers to a question the most frequent is taken for the truth"
            )
        if self.chosen:
            found.append(
                "an answer that names one of several options is read as that option's text"
            )
        if self.unusable:
            found.append(
                f"{counted(self.unusable, 'answer')} ({_named('column', self.answer_names)}) are "
                "neither text nor numbers: no truth is known there"
            )
        if self.later_turns:
            found.append(
                f"of conversations only the first question is asked; {self.later_turns:,} later "
                f"{'ones depend' if self.later_turns != 1 else 'one depends'} on what came before"
            )
        return tuple(found)

    def _roles(self, names: tuple[str, ...]) -> _Roles:
        known = self._known.get(names)
        if known is None:
            known = _roles_of(names, self.pictures)
            if len(self._known) < 1000:
                self._known[names] = known
        return known

    def _answer(self, roles: _Roles, values: Mapping[str, Any]) -> str | None:
        assert roles.answer is not None
        self.answer_names.setdefault(roles.answer)
        value = values[roles.answer]
        if _is_empty(value):
            return None
        if isinstance(value, dict):
            value = next((value[name] for name in ANSWER_FIELDS if name in value), value)
        classes = self.classes.get(roles.answer, ())
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes):
            return classes[value]
        if isinstance(value, (list, tuple)):
            texts = [each for each in map(_answer_text, value) if each]
            if not texts:
                self.unusable += 1
                return None
            self.voted += len(set(texts)) > 1
            value = Counter(texts).most_common(1)[0][0]
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.unusable += 1
            return None
        return self._option(roles, values, value)

    def _option(self, roles: _Roles, values: Mapping[str, Any], value: Any) -> str | None:
        """The answer as text: that of the option that it names where there are options."""
        text = str(value)
        options = _options(roles, values)
        if not options or text.strip() in options:
            return text
        letter = _LETTER.fullmatch(text.strip())
        index = LETTERS.index(letter[1].upper()) if letter else None
        if index is None and text.strip().isdecimal() and len(text) < 5:
            index = int(text)
        if index is None:
            return text
        self.chosen += 1
        return options[index] if index < len(options) else None


def text_of(value: Any, where: str) -> str:
    """A cell as text; empty where it has none. Raises BadInput for what is neither text nor a
    number, saying `where`."""
    if _is_empty(value):
        return ""
    if isinstance(value, (bool, dict, list, bytes)):
        raise BadInput(f"{where} is not text")
    return str(value)


def no_picture_column(where: str, names: Sequence[str]) -> BadInput:
    """The error for a table without a column of pictures."""
    has = _named("", dict.fromkeys(names)) if names else "none"
    return BadInput(
        f"{where}: no image column: no column `picture`; it has {has}, and could have "
        f"{', '.join(COLUMNS)} (or image, question, label and other usual names)"
    )


def _named(word: str, names: Iterable[str]) -> str:
    """Columns as a list of quoted names, of which the first ones are shown."""
    listed = list(names)
    shown = [_quoted(name) for name in listed[:MOST_NAMED]]
    more = f" and {len(listed) - MOST_NAMED:,} more" if len(listed) > MOST_NAMED else ""
    plural = f"{word}{'s' * (len(listed) != 1)} " if word else ""
    return f"{plural}{', '.join(shown)}{more}"


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:37]}...")


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-.]+", "", name.strip("\ufeff \t").casefold())


def _roles_of(names: tuple[str, ...], held: Sequence[str]) -> _Roles:
    plain: dict[str, list[str]] = {}
    for name in names:
        plain.setdefault(_plain(name), []).append(name)

    def present(wanted: Sequence[str]) -> list[str]:
        # The exact spelling first: of `answer` and `Answer`, the former is meant.
        return [
            name
            for each in wanted
            for name in sorted(plain.get(_plain(each), ()), key=lambda name: name != each)
        ]

    # A column of bytes under another name is the picture's only where there is no doubt.
    pictures = present(PICTURE) or [name for name in held if name in names and len(held) == 1]
    prompt, answer, people, group = (
        next(iter(present(each)), None) for each in (PROMPT, ANSWER, PEOPLE, GROUP)
    )
    choices, conversation = (next(iter(present(each)), None) for each in (CHOICES, CONVERSATION))
    if prompt is not None:
        conversation = None
    letters = [name for letter in LETTERS for name in names if name.strip() == letter]
    read = {prompt, answer, people, group, choices, conversation, *pictures, *letters}
    unread = [name for name in names if name not in read and name.strip()]
    # Of several columns for pictures, the others are read where the first is empty.
    return _Roles(
        tuple(pictures),
        prompt,
        answer,
        people,
        group,
        choices,
        conversation,
        tuple(letters),
        tuple(unread),
    )


def _options(roles: _Roles, values: Mapping[str, Any]) -> list[str]:
    """The options among which a question lets choose; none where it does not."""
    if roles.choices is not None:
        found = values[roles.choices]
        if isinstance(found, str) and len(found) < MOST_CHOICES_TEXT and found.startswith("["):
            try:
                found = ast.literal_eval(found)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                return []
        if isinstance(found, (list, tuple)):
            return [str(each).strip() for each in found]
        return []
    if len(roles.letters) < 2 or roles.letters[0].strip() != "A":
        return []
    return ["" if _is_empty(values[name]) else str(values[name]).strip() for name in roles.letters]


def _given(value: Any) -> tuple[str, ...]:
    """What ten people answered; nothing where a cell is something else, such as other spellings of
    one answer."""
    if not isinstance(value, (list, tuple)) or len(value) != PEOPLE_ASKED:
        return ()
    found = tuple(map(_answer_text, value))
    return found if all(found) else ()


def _answer_text(value: Any) -> str:
    """One of several answers: text, or a record that holds it as annotators' tools write it."""
    if isinstance(value, dict):
        value = next((value[name] for name in ANSWER_FIELDS if name in value), None)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return str(value).strip()


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)
