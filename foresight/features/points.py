"""Extraction points: where in a model features are read, and what names them for ever.

| point   | what it is                                            | grid and width                        |
|---------|-------------------------------------------------------|---------------------------------------|
| X1.<k>  | output of block k of the vision tower, k = 1..depth   | one cell a 14 px patch, tower's width |
| X2      | before the merger; the same as X1.<depth>             | as X1                                 |
| X3      | after the merger, which joins 2x2 patches             | one cell 28 px, language model's width|
| X4.<k>  | hidden state k of the language model, k = 0..L-1 is   | as X3                                 |
|         | the residual stream (0: the embeddings, which are X3) |                                       |
| X4.last | after the last layer and the final norm (also X4.<L>) | as X3                                 |
| X6      | latents of the LTX VAE, mode, normalised per channel  | one cell 32 px (stand-in 8), channels |
| X6.<k>  | of a clip: frame k alone, from 0, as a still           | as X6                                 |
| X7      | DINOv2's patch tokens, after the last norm            | one cell a 14 px patch, its width     |

Of a clip of T frames, the features of the VLM have a step for every two frames before the grid, X6 one for the first
frame and one for every 8 (stand-in 2) after it; X7 has stills only.

Only tokens of the image are kept, never the prompt's, in raster order. X4.last stands behind a norm and the other X4
do not: standardise before comparing them in one curve.

The identity of an extraction holds `EXTRACTION_VERSION` instead of a hash of its code, since a miss for a reworded
line would cost a pass of a 7B model. Whoever changes what comes out must raise it; a golden-output test notices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from foresight.errors import UserError
from foresight.results.record import ModelIdentity

EXTRACTION_VERSION = 1
"""1: system prompt of the model's chat template, then the image, no question; sizes pinned; latents' mode."""

LIBRARIES = {
    "vlm": ("torch", "torchvision", "transformers"),
    "vae": ("torch", "torchvision", "diffusers"),
    "dino": ("torch", "torchvision", "transformers"),
}
"""What bears on the numbers of each role, besides weights and pictures."""

CELLS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "Qwen/Qwen2.5-VL-7B-Instruct": {"X1": (14, 1280), "X2": (14, 1280), "X3": (28, 3584), "X4": (28, 3584)},
    "Lightricks/LTX-Video": {"X6": (32, 128)},
    "facebook/dinov2-large": {"X7": (14, 1024)},
    "foresight/stand-in-qwen2.5-vl": {"X1": (14, 64), "X2": (14, 64), "X3": (28, 128), "X4": (28, 128)},
    "foresight/stand-in-ltx-vae": {"X6": (8, 32)},
    "foresight/stand-in-dinov2": {"X7": (14, 96)},
}
"""Model id -> kind of point -> pixels a cell, values a cell; so that features can be sized before there is a model."""

_KNOWN = {
    "vlm": "X1.<k> with k from 1, X2, X3, X4.<k> with k from 0, X4.last",
    "vae": "X6, X6.<k> with k from 0",
    "dino": "X7",
}
_FORMS = {
    "vlm": re.compile(r"X1\.[1-9]\d*|X2|X3|X4\.(0|[1-9]\d*|last)"),
    "vae": re.compile(r"X6(\.(0|[1-9]\d*))?"),
    "dino": re.compile(r"X7"),
}


@dataclass(frozen=True, order=True)
class Point:
    """A place in a model. `layer` is k of `X1.<k>`, `X4.<k>` and `X6.<k>`; `X4.last` has layer -1; others have None."""

    kind: str
    layer: int | None = None

    def __str__(self) -> str:
        return self.kind if self.layer is None else f"{self.kind}.{'last' if self.layer == -1 else self.layer}"

    @property
    def in_language_model(self) -> bool:
        return self.kind == "X4"


def parse_point(text: str, role: str) -> Point:
    """`X4.7` -> Point. Raises `UserError` if no model of that role has such a point."""
    if role not in _FORMS:
        raise UserError(f"There are no extraction points for the role {role!r}. The roles are {', '.join(_FORMS)}.")
    if not _FORMS[role].fullmatch(text):
        raise UserError(f"{text!r} is no extraction point of a {role}. There are {_KNOWN[role]}. Correct the need.")
    kind, _, layer = text.partition(".")
    return Point(kind, None if not layer else -1 if layer == "last" else int(layer))


def feature_bytes(model_id: str, point: str, *, items: int, side: int) -> int | None:
    """Size of the features of `items` stills of `side` px, as the store keeps them (float16, where values fit).

    None for a model whose cells are not known here.
    """
    cell = CELLS.get(model_id, {}).get(point.partition(".")[0])
    return None if cell is None else items * (side // cell[0]) ** 2 * cell[1] * 2


def check_depth(points: Iterable[Point], tower_blocks: int, language_layers: int) -> None:
    """Raise `UserError` if a point lies deeper than the model goes."""
    for point in points:
        deepest = {"X1": tower_blocks, "X4": language_layers}.get(point.kind)
        if deepest is not None and point.layer is not None and point.layer > deepest:
            raise UserError(
                f"{point} is deeper than the model: its vision tower has {tower_blocks} blocks (X1.1 to "
                f"X1.{tower_blocks}), its language model {language_layers} layers (X4.0 to X4.{language_layers}). "
                "Correct the need in the plan or profile."
            )


def extraction_identity(
    *, model: ModelIdentity, role: str, point: str, data: str, side: int | None, dtype: str
) -> dict[str, Any]:
    """What determines the features of one extraction step, and nothing else.

    `data` is the manifest's sha256, `side` the image side in pixels (None: as the data set has them), `dtype` what the
    model computes in. Batch size, device and the data's name are left out on purpose.
    """
    return {
        "kind": "extract",
        "extraction_version": EXTRACTION_VERSION,
        "model": model.model_dump(),
        "role": role,
        "point": str(parse_point(point, role)),
        "data": data,
        "side": side,
        "dtype": dtype,
        "versions": {library: version(library) for library in LIBRARIES[role]},
    }
