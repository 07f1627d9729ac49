"""The photographs that ship in installed packages: real pictures that need no network.

One entry is one *source*: the unit of splitting and of n. Left out on purpose: the right half of the motorcycle's
stereo pair (the same scene), PyWavelets' cameraman (the same photograph as scikit-image's), and what is drawn and not
photographed (logo, phantom, colour wheel). Microscopes and telescopes count as cameras.

`stand_in_training` marks what the shipped stand-in models were trained on; no split ever puts those into validation
or test. The licence is what the package states of the picture, in the docstring or a README, and nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from foresight.data import packaged
from foresight.data.packaged import NOT_STATED, packaged_file


@dataclass(frozen=True)
class Photograph:
    """One photograph in an installed package."""

    id: str
    distribution: str  # as pip names it
    module: str  # as Python finds it
    path: str  # inside the module's folder: an image file, or a .npz with one grey array
    licence: str
    colour: bool
    stand_in_training: bool = False

    @property
    def origin(self) -> str:
        return packaged.origin(self.distribution, self.path)

    def load(self) -> np.ndarray:
        """The pixels, uint8 [H, W, 3]; grey photographs have three equal channels. Raises `UserError` if absent."""
        file = packaged_file(self.module, self.path)
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                grey = arrays["data"].astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))


def _skimage(id: str, path: str, licence: str, *, colour: bool, stand_in_training: bool = False) -> Photograph:
    return Photograph(id, "scikit-image", "skimage", f"data/{path}", licence, colour, stand_in_training)


CC0 = "CC0"
PUBLIC_DOMAIN = "public domain"
NO_KNOWN = "no known copyright restrictions"

PHOTOGRAPHS: tuple[Photograph, ...] = (
    # what the stand-ins have seen
    _skimage("coffee", "coffee.png", CC0, colour=True, stand_in_training=True),
    _skimage("rocket", "rocket.jpg", PUBLIC_DOMAIN, colour=True, stand_in_training=True),
    _skimage("retina", "retina.jpg", CC0, colour=True, stand_in_training=True),
    _skimage("hubble_deep_field", "hubble_deep_field.jpg", PUBLIC_DOMAIN, colour=True, stand_in_training=True),
    _skimage("brick", "brick.png", CC0, colour=False, stand_in_training=True),
    _skimage("grass", "grass.png", CC0, colour=False, stand_in_training=True),
    _skimage("gravel", "gravel.png", CC0, colour=False, stand_in_training=True),
    # free
    _skimage("astronaut", "astronaut.png", PUBLIC_DOMAIN, colour=True),
    _skimage("chelsea", "chelsea.png", CC0, colour=True),
    _skimage("immunohistochemistry", "ihc.png", NO_KNOWN, colour=True),
    _skimage("stereo_motorcycle", "motorcycle_left.png", NOT_STATED, colour=True),
    Photograph("china", "scikit-learn", "sklearn", "datasets/images/china.jpg", "CC BY 2.0", colour=True),
    Photograph("flower", "scikit-learn", "sklearn", "datasets/images/flower.jpg", "CC BY 2.0", colour=True),
    Photograph(
        "grace_hopper", "matplotlib", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", NOT_STATED, colour=True
    ),
    _skimage("camera", "camera.png", CC0, colour=False),
    _skimage("cell", "cell.png", CC0, colour=False),
    _skimage("clock", "clock_motion.png", PUBLIC_DOMAIN, colour=False),
    _skimage("coins", "coins.png", NO_KNOWN, colour=False),
    _skimage("microaneurysms", "microaneurysms.png", CC0, colour=False),
    _skimage("moon", "moon.png", NOT_STATED, colour=False),
    _skimage("page", "page.png", NOT_STATED, colour=False),
    _skimage("text", "text.png", PUBLIC_DOMAIN, colour=False),
    Photograph("aero", "PyWavelets", "pywt", "data/aero.npz", NOT_STATED, colour=False),
    Photograph("ascent", "PyWavelets", "pywt", "data/ascent.npz", PUBLIC_DOMAIN, colour=False),
)


def stand_in_photographs() -> list[np.ndarray]:
    """What the stand-in models may be trained on: uint8 [H, W, 3] each, of different sizes. Clips are in `clips`."""
    return [photograph.load() for photograph in PHOTOGRAPHS if photograph.stand_in_training]
