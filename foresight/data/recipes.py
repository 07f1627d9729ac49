"""Recipes: the named ways to make a dataset, with their parameters.

A profile names a recipe and its parameters; `dataset.prepare` makes the pictures once. This module knows what a recipe
may be asked, not how it draws, so that a plan can be validated without numpy: the maker is named as
"module:function" and imported when there is something to make.

`version` is part of a dataset's key: raise it whenever a maker would draw other pixels, or label them differently,
from equal parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from foresight.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from foresight.data.manifest import Source

Label = str | int | float | list[int] | list[float] | list[str] | list[list[float]]
"""A list has one entry an object (`boxes`, `categories`, … of `foresight.data.objects`), but for `box`, which is one
object's four edges."""

STAND_IN_SEEDS_FROM = 1_000_000
"""Generator seeds from here on belong to the training of the stand-in models; whatever they draw counts as train."""


OFFICIAL_SPLIT = "official_split"
"""The label that a dataset's official split is kept under: `train` or `validation`."""


FPS = "fps"
"""The label that a clip's frame rate is kept under, equal for all items; a label, so that it bears identity."""


@dataclass(frozen=True)
class Sample:
    """One item as a maker hands it over, before it is hashed and written."""

    id: str
    source_id: str
    source: Source
    pixels: np.ndarray  # uint8 [S, S, 3], or [T, S, S, 3] for a clip
    labels: Mapping[str, Label]


class Parameters(BaseModel):
    """What every recipe takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    side: int = Field(ge=28, le=2048, description="Height and width of the pictures, in pixels.")
    seed: int = Field(default=0, ge=0, description="Seed of whatever is drawn or chosen at random.")


class PhotographsParameters(Parameters):
    """Crops of the packaged photographs, and of frames of the packaged clips."""

    per_source: int = Field(default=8, ge=1, le=64, description="Crops a source at most; a small one has fewer.")


class SingleObjectParameters(Parameters):
    """D1 of research-program.md section 5: one shape, colour and shape drawn independently of each other."""

    n: int = Field(ge=1)
    side: int = Field(default=224, ge=28, le=2048)
    variant: Literal["a", "b", "c"] = Field(
        default="c",
        description="a: 3 shapes, 6 colours, radius 30-50 px of 224, centre 60-164. b: 4 shapes, 8 colours, radius "
        "25-50, same centres. c: 3 shapes, 6 colours, radius 25-60, at least 10 px from the border.",
    )
    background: Literal["white", "textured"] = Field(default="white", description="`white` is as published.")


class CategoriesParameters(Parameters):
    """D2: three categories (circle, square, triangle), 224 px, white."""

    n: int = Field(ge=1)
    side: int = Field(default=224, ge=28, le=2048)
    colour: Literal["independent", "by_category"] = Field(
        default="independent",
        description="`by_category` is as published (red circles, blue squares, green triangles), where colour alone "
        "separates the categories.",
    )


class SeveralObjectsParameters(Parameters):
    """D4, D5: some shapes that do not overlap, of one class each; number, class, size and place are independent."""

    n: int = Field(ge=1)
    side: int = Field(default=448, ge=28, le=2048)
    most: int = Field(default=3, ge=1, le=5, description="Objects a picture, from 1 on: 3 in D4, 5 in D5.")
    shortest: float = Field(default=30, ge=16, description="Of an object's side, in 448ths of the picture's: D5 20.")
    longest: float = Field(default=79, le=200, description="The same: D5 99.")
    classes: Literal["shape", "shape_and_colour"] = Field(
        default="shape",
        description="`shape`: 3 classes in 6 colours that mean nothing (D4). `shape_and_colour`: 3 shapes x 4 colours "
        "are 12 classes (D5).",
    )
    background: Literal["white", "textured"] = Field(default="white", description="`white` is as published.")

    @model_validator(mode="after")
    def _ordered(self) -> SeveralObjectsParameters:
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest:g} is more than longest {self.longest:g}")
        return self


class TexturesParameters(Parameters):
    """D6: five textures, one as ground and another on a patch of known box; none is drawn twice."""

    n: int = Field(ge=1)
    side: int = Field(default=448, ge=28, le=2048)
    finest: float = Field(
        default=32, ge=4, le=64, description="Periods across a picture at most: 32 are 14 px each at 448 px."
    )


class CocoObjectsParameters(Parameters):
    """R2: whole COCO val2017 images with all their objects, letterboxed into a square."""

    n: int = Field(ge=1, description="Images.")
    most: int | None = Field(default=None, ge=1, description="Leave out images with more objects (crowds apart).")
    shortest: float = Field(
        default=0, ge=0, le=448, description="Leave out images with an object shorter than this, in 448ths of the side."
    )
    exclude: list[str] = Field(default=[], description="Sources (image ids) to leave out.")


class ClipParameters(Parameters):
    """What every recipe of clips takes."""

    side: int = Field(default=224, ge=28, le=2048)
    frames: int = Field(default=8, ge=2, description="Frames a clip.")
    fps: float = Field(gt=0, le=60, description="Frames a second; models place frames in time by it.")


class MotionParameters(ClipParameters):
    """D7: one object that is pushed in one of four directions at one of two speeds, and slows down."""

    n: int = Field(ge=1, description="Clips drawn; each is also there reversed, and frozen at its middle frame.")
    fps: float = Field(default=2.0, gt=0, le=60)
    background: Literal["white", "textured"] = Field(default="textured", description="`white` is as published.")


class SSv2MotionParameters(ClipParameters):
    """R1: Something-Something v2 clips whose label says left to right, or right to left; as many of each."""

    n: int = Field(ge=4, description="Clips; each is also there reversed, and frozen at its middle frame.")
    fps: float = Field(default=4.0, gt=0, le=12.0, description="Frames a second; SSv2 is recorded at 12.")
    validation_fraction: float = Field(
        default=0.25, gt=0, lt=1, description="Share of the n clips taken from the official validation split."
    )
    exclude: list[str] = Field(default=[], description="Sources (clip ids) to leave out.")


class NineCategoriesParameters(Parameters):
    """D3: nine categories, equally many of each: five coloured shapes on white, two stripes, two gradients."""

    n: int = Field(ge=9, description="Pictures, the nine categories in turn.")
    side: int = Field(default=224, ge=28, le=2048, description="256 px as published, which full models cannot take.")


class CocoSingleObjectParameters(Parameters):
    """R2: a square crop of a COCO val2017 image around one object, one crop an image."""

    n: int = Field(ge=1, description="Images.")
    exclude: list[str] = Field(default=[], description="Sources (image ids) to leave out.")


class SSv2FramesParameters(Parameters):
    """R1: frames of Something-Something v2 at a fixed rate, the centre square of each."""

    n: int = Field(ge=2, description="Clips.")
    frames: int = Field(default=16, ge=1, description="Frames a clip; with 1 the items are pictures, not clips.")
    fps: float = Field(default=12.0, gt=0, le=12.0, description="Frames a second; SSv2 is recorded at 12.")
    validation_fraction: float = Field(
        default=0.25, gt=0, lt=1, description="Share of the n clips taken from the official validation split."
    )
    exclude: list[str] = Field(default=[], description="Sources (clip ids) to leave out.")


@dataclass(frozen=True)
class Recipe:
    name: str
    version: int
    parameters: type[Parameters]
    maker: str  # "module:function", called with (parameters, root): Iterable[Sample]
    raw: str | None = None  # folder of the files that a person has to download, under the raw datasets


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("photographs", 1, PhotographsParameters, "foresight.data.crops:make"),
        Recipe("single_object", 1, SingleObjectParameters, "foresight.data.synthetic:make_single_object"),
        Recipe("categories", 1, CategoriesParameters, "foresight.data.synthetic:make_categories"),
        Recipe("several_objects", 1, SeveralObjectsParameters, "foresight.data.several:make"),
        Recipe("textures", 1, TexturesParameters, "foresight.data.textures:make"),
        Recipe("coco_objects", 1, CocoObjectsParameters, "foresight.data.coco_objects:make", raw="coco"),
        Recipe("motion", 1, MotionParameters, "foresight.data.motion:make"),
        Recipe("nine_categories", 1, NineCategoriesParameters, "foresight.data.nine_categories:make"),
        Recipe("coco_single_object", 1, CocoSingleObjectParameters, "foresight.data.coco:make", raw="coco"),
        Recipe("ssv2_frames", 2, SSv2FramesParameters, "foresight.data.ssv2:make", raw="ssv2"),
        Recipe("ssv2_motion", 1, SSv2MotionParameters, "foresight.data.ssv2:make_motion", raw="ssv2"),
    )
}


def resolve(recipe: str, parameters: Mapping[str, object]) -> Parameters:
    """The parameters of a recipe, checked, with defaults filled in. `UserError` names every wrong one."""
    if recipe not in RECIPES:
        raise UserError(f"There is no recipe {recipe!r}. The recipes are {', '.join(sorted(RECIPES))}.")
    known = RECIPES[recipe].parameters
    try:
        return known.model_validate(dict(parameters))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UserError(
            f"The recipe {recipe} cannot be made with these parameters: {problems}. "
            f"It takes {', '.join(known.model_fields)}."
        ) from None
