"""What the model sees of a run's picture: its processor's pixel values, turned back into one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from engine.methods.method import Method, Stop, Subject
from engine.records import NonNegative, Reading, Request
from engine.tables import Column, Table

PROVED_ON_A_DRAWN_PICTURE = (
    "how its pixels are put together is proved on a drawn picture of the same size"
)


class SeenRequest(Request, frozen=True):
    """There is nothing to choose."""


class SeenReading(Reading, frozen=True, kw_only=True, tag="seen"):
    """The picture as the model receives it. Shown, never stored."""

    stored: ClassVar[bool] = False

    request: SeenRequest
    preview: str
    """Base64 JPEG or PNG; goes through the same safe door as pictures."""
    width: NonNegative
    height: NonNegative
    """In pixels of what the model sees; tiles are laid side by side."""
    how: str
    """In words: "resized to 336x336", "5 tiles of 384x384"."""


class Seen(Method[SeenRequest, SeenReading]):
    """Show the picture as the model's processor hands it on."""

    name: ClassVar[str] = "seen"
    title: ClassVar[str] = "What the model sees of the picture"
    request = SeenRequest
    reading = SeenReading

    def supports(self, subject: Subject) -> str | None:
        """A reason where there is no picture."""
        return "this run has no picture" if subject.run.question.picture is None else None

    def read(self, subject: Subject, request: SeenRequest, stop: Stop) -> Iterator[SeenReading]:
        """Put the pixel values of the run's inputs together.

        Raises BadInput where no known way of doing that stands its proof.
        """
        from engine.pictures.model_view import as_preview, picture_seen, processed
        from engine.prompts.preparing import prepare

        loaded, question = subject.loaded, subject.run.question
        picture = question.picture
        assert picture is not None
        image = picture_seen(
            loaded.processor,
            subject.inputs,
            (picture.width, picture.height),
            lambda drawn: prepare(loaded.model, loaded.processor, question, drawn).inputs,
        )
        facts = processed(loaded.processor, subject.inputs, picture)
        yield SeenReading(
            request=request,
            reason=PROVED_ON_A_DRAWN_PICTURE,
            preview=as_preview(image),
            width=image.width,
            height=image.height,
            how="" if facts is None else facts.how,
        )

    def tables(self, reading: SeenReading) -> tuple[Table, ...]:
        """Its size, and what was done to the picture."""
        columns = (Column("width", "count"), Column("height", "count"), Column("how"))
        row = (reading.width, reading.height, reading.how)
        return (Table("what the model sees", columns, (row,)),)
