"""What plans and profiles are made of: closed models, needs, resources, and the shape of names.

Everything is frozen, closed and strict: an unknown field, a number written as text or `1` for `true` is an error.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from foresight.compute.gpus import gpu_class
from foresight.errors import UserError
from foresight.files import canonical_json

T = TypeVar("T")

IMAGE_SIDE_PX = 28
"""Image sides are multiples of this: 14 px patches of the vision tower, merged 2x2."""

_NEED = re.compile(r"(?P<role>[a-z][a-z0-9_]*):(?P<point>X[0-9]+(\.([0-9]+|last))?)(@(?P<side>[0-9]+))?")
_POINTS = re.compile(r"X1\.[1-9][0-9]*|X2|X3|X4\.([0-9]+|last)|X6(\.[0-9]+)?|X7")
_HANDLER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class Frozen(BaseModel):
    """Base of all models here."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, revalidate_instances="never")


class Need(Frozen):
    """Features that a sub-experiment reads. Written `role:point` or `role:point@side`: `vlm:X4.last`, `vlm:X3@168`."""

    role: str = Field(description="Which model of the profile, e.g. `vlm`, `vae`.")
    point: str = Field(
        description="Extraction point: X1.<k>, X2, X3, X4.<k>, X4.last (VLM), X6, X6.<k> (VAE), X7 (DINOv2)."
    )
    side: int | None = Field(default=None, description="Image side in pixels; None = the data set's own.")

    def __str__(self) -> str:
        return f"{self.role}:{self.point}" + (f"@{self.side}" if self.side else "")


def parse_need(text: str) -> Need:
    """`"vlm:X3@168"` -> Need. Raises `ValueError` that says what a need looks like."""
    match = _NEED.fullmatch(text)
    if not match:
        raise ValueError(
            f"'{text}' is not a need; write role:point or role:point@side, such as vlm:X3 or vlm:X4.last@168"
        )
    if not _POINTS.fullmatch(match["point"]):
        raise ValueError(
            f"'{match['point']}' is not an extraction point; use X1.<k> (k >= 1), X2, X3, X4.<k>, X4.last, X6, X6.<k> "
            "or X7"
        )
    side = int(match["side"]) if match["side"] else None
    if side is not None and (side == 0 or side % IMAGE_SIDE_PX):
        raise ValueError(f"side {side} of '{text}' is not a multiple of {IMAGE_SIDE_PX} px")
    return Need(role=match["role"], point=match["point"], side=side)


def _need_text(text: str) -> str:
    return str(parse_need(text))


def _handler_text(text: str) -> str:
    if not _HANDLER.fullmatch(text):
        raise ValueError(f"'{text}' is not a handler; write package.module:function")
    return text


def _device_text(text: str) -> str:
    try:
        return text if text == "cpu" else gpu_class(text)
    except UserError as error:
        raise ValueError(f"{error} Or cpu.") from error


Several = Annotated[tuple[T, ...], Field(strict=False)]
"""A tuple; a list is welcome."""

Block = Annotated[dict[str, Any], AfterValidator(lambda block: json.loads(canonical_json(block)))]
"""Free fields, as JSON has them: lists and not tuples, so that they equal what is read back from a record."""

Device = Annotated[str, AfterValidator(_device_text)]
NeedText = Annotated[str, AfterValidator(_need_text)]
HandlerText = Annotated[str, AfterValidator(_handler_text)]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
ExperimentId = Annotated[str, Field(pattern=r"^[a-z][0-9a-z]*(-[a-z0-9]+)*$")]


class Resources(Frozen):
    """What a step needs to run. Never part of its identity. A field left out is inherited."""

    device: Device | None = Field(
        default=None, description="`cpu` or a GPU class: A10 (also A10G), A100-40GB, A100-80GB, H100."
    )
    timeout_s: Annotated[FiniteFloat, Field(gt=0)] | None = Field(default=None, description="Seconds, one attempt.")
    deadline_s: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        default=None,
        description="Seconds, all attempts of a run together, from the first submission. At least timeout_s.",
    )
    memory_gb: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        default=None, description="Main memory of its container; not enforced locally."
    )
    cores: Annotated[FiniteFloat, Field(ge=1)] | None = Field(
        default=None,
        description="Of a container, and threads of its arithmetic. One gives, to the last bit, what a laptop gives.",
    )

    @model_validator(mode="after")
    def _deadline_holds_an_attempt(self) -> Resources:
        if self.timeout_s is not None and self.deadline_s is not None and self.deadline_s < self.timeout_s:
            raise ValueError(
                f"deadline_s ({self.deadline_s:g}) is shorter than one attempt, timeout_s ({self.timeout_s:g})"
            )
        return self

    def over(self, base: Resources) -> Resources:
        """These resources; what they leave out is taken from `base`."""
        return Resources(**{**base.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})


def near(name: str, known: Sequence[str]) -> list[str]:
    """The known names that `name` may have been meant to be, best first."""
    return difflib.get_close_matches(name, known, n=2, cutoff=0.5)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """`: did you mean 'x'?` or `.`, to end a sentence that says that there is no `name`."""
    meant = near(name, known)
    return f": did you mean {' or '.join(repr(n) for n in meant)}?" if meant else "."


def unknown(what: str, name: str, known: Sequence[str], where: str = "") -> str:
    """`no field 'titel' here: did you mean 'title'? Known: id, title.`, with "here" for `where`. A long list is left
    out if something is near."""
    listing = "" if near(name, known) and len(known) > 12 else f" Known: {', '.join(known) or 'none'}."
    return f"no {what} '{name}'{where and f' {where}'}{did_you_mean(name, known)}{listing}"
