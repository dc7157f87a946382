"""What else is found out along an answer once its steps are known, and how the picture's prior is
taken off while it is decoded; imported with torch."""

from __future__ import annotations

from collections.abc import Sequence

from engine.arrays import Array
from engine.errors import BadInput
from engine.lens.decoding import ProcessorsFor
from engine.lens.divergence_along import Asked, divergence_along
from engine.lens.picture_share import picture_shares
from engine.lens.vdd import vdd
from engine.methods.answer import AnswerRequest, priors_of
from engine.methods.method import Stop, Subject
from engine.methods.without_picture import no_picture_to_replace
from engine.prompts.extended import extended
from engine.prompts.token_groups import picture_cells


def processors_of(subject: Subject, request: AnswerRequest) -> ProcessorsFor:
    """What makes the processors that come before those of the settings.

    Raises BadInput if the run has no picture whose prior could be taken off, or if it has not been
    asked without it.
    """
    if request.vdd is None:
        return lambda stop: ()
    priors = [without_picture(subject, name).inputs for name in priors_of(request.vdd)]
    make = vdd(subject.loaded.lens, priors, request.alpha, request.beta)
    return lambda stop: [make(stop)]


def picture_of(
    subject: Subject, tokens: Sequence[int], stop: Stop
) -> tuple[Array | None, str | None]:
    """The picture's share of each step's attention, float32 [tokens]; or None, and why.

    Raises what `picture_shares` raises.
    """
    run, lens = subject.run, subject.loaded.lens
    inputs = extended(lens.model, subject.inputs, tokens[:-1])
    positions = [run.position + step for step in range(len(tokens))]
    found = picture_shares(lens, inputs, positions, picture_cells(run.tokens), stop)
    shares = None if found.shares is None else Array.of(found.shares.numpy(), "<f4")
    return shares, found.reason


def divergence_of(subject: Subject, without: Subject, tokens: Sequence[int], stop: Stop) -> Array:
    """The divergence of each step from the same step without the picture, float32 [tokens].

    Raises what `divergence_along` raises.
    """
    one, other = (Asked(each.inputs, each.run.position) for each in (subject, without))
    found = divergence_along(subject.loaded.lens, one, other, tokens, stop)
    return Array.of(found.numpy(), "<f4")


def without_picture(subject: Subject, reference: str) -> Subject:
    """A kept run of the same question without the picture. Raises BadInput if the run has no
    picture, or if it has not been asked without it."""
    reason = no_picture_to_replace(subject)
    if reason is not None:
        raise BadInput(reason)
    return subject.against(reference)
