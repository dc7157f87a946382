"""The mark that many question files have where the picture goes, and that chat templates put there
themselves."""

from __future__ import annotations

import re

_MARK = re.compile(
    r"<\|?(?:image|img|picture|photo)(?:[ _]?(?:\d{1,3}|pad|placeholder|token|here))?\|?>"
    r"|\[(?:image|img)\]"
    r"|<\|vision_start\|>(?:<\|image_pad\|>)*<\|vision_end\|>",
    re.IGNORECASE,
)


class Placeholders:
    """Takes the placeholder of one picture off the beginning or end of questions, and counts.

    A placeholder in the middle, or one of several, means more than where the picture goes: such a
    question stays as it is.
    """

    def __init__(self, take_off: bool = True) -> None:
        """With `take_off` off, questions stay as they are: asked raw, the mark has a meaning."""
        self._take_off = take_off
        self.taken = 0
        self.left = 0
        self._first = ""
        self._first_left = ""

    def without(self, prompt: str) -> str:
        """The question without a placeholder, unless nothing but it would be left."""
        if not self._take_off:
            return prompt
        found = list(_MARK.finditer(prompt))
        if not found:
            return prompt
        bare = prompt
        if len(found) == 1:
            # The white space belongs to the mark: `<image>\n` is a line of its own.
            before, after = prompt[: found[0].start()], prompt[found[0].end() :]
            if not before.strip():
                bare = after.lstrip()
            elif not after.strip():
                bare = before.rstrip()
        if bare == prompt or not bare.strip():
            self.left += 1
            self._first_left = self._first_left or found[0][0]
            return prompt
        self.taken += 1
        self._first = self._first or found[0][0]
        return bare

    def notes(self) -> tuple[str, ...]:
        """What was taken off and what was not, in words."""
        found = []
        if self.taken:
            found.append(
                f"the placeholder {self._first} at the beginning or end of a question is taken "
                f"off: the picture goes there anyway ({_times(self.taken)})"
            )
        if self.left:
            found.append(
                f"{_times(self.left)} a question has a placeholder ({self._first_left}) in its "
                "middle, or several: it stays, and a chat may refuse it"
            )
        return tuple(found)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
