"""The model's view of a picture: its processor's pixel values, turned back into a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from engine.methods.method import Method, Stop, Subject
from engine.records import NonNegative, Reading, Request
from engine.tables import Column, Table

PROVED_ON_A_DRAWN_PICTURE = (
    "the way its pixels are put together is proved on a drawn picture of the same size"
)


class SeenRequest(Request, frozen=True):
    """Has no settings."""


class SeenReading(Reading, frozen=True, kw_only=True, tag="seen"):
    """The picture as the model receives it; it is shown but never stored."""

    stored: ClassVar[bool] = False

    request: SeenRequest
    preview: str
    """Base64 JPEG or PNG; it is opened with the same checks as picture files."""
    width: NonNegative
    height: NonNegative
    """In the model's pixels; tiles are laid side by side."""
    how: str
    """What the processor did, in words: "resized to 336x336", "5 tiles of 384x384"."""


class Seen(Method[SeenRequest, SeenReading]):
    """Shows the picture as the processor passes it to the model."""

    name: ClassVar[str] = "seen"
    title: ClassVar[str] = "What the model sees of the picture"
    request = SeenRequest
    reading = SeenReading

    def supports(self, subject: Subject) -> str | None:
        """A reason if the run has no picture."""
        return "this run has no picture" if subject.run.question.picture is None else None

    def read(self, subject: Subject, request: SeenRequest, stop: Stop) -> Iterator[SeenReading]:
        """Turn the pixel values of the run's inputs back into a picture.

        Raises BadInput if none of the known pixel layouts passes its proof.
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
        """One line: the size, and what was done to the picture."""
        columns = (Column("width", "count"), Column("height", "count"), Column("how"))
        row = (reading.width, reading.height, reading.how)
        return (Table("what the model sees", columns, (row,)),)
