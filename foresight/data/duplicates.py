"""Near-duplicates: pictures that are one picture, re-encoded, brightened, mirrored, flipped or cropped a little off.

Two tests, each a fast screen of all pairs by a matrix product and then a comparison of pixels, under all four of
{as is, mirrored, flipped, both}:

*Same frame.* The two pictures, 32 px small and after the best gain and offset, agree everywhere. Strict, since two
drawings of a red disc on white differ in a few cells of the edge only.

*Shifted frame.* The Fourier magnitudes of the windowed detail hardly change under a shift, so they find the candidates.
The shift is then estimated by phase correlation (Kuglin and Hines 1975), and in the part that both show the sign of
the detail must agree. This is evidence only where there is detail: a picture most of which is flat (an object on
white) is exempt, for moved by a few pixels it is another drawing.

Measured at 112 px. Of 72 crops of the packaged photographs, beside copies that are 1 to 8 px off, mirrored or flipped,
all are found but one or two of the flat ones; at 12 px off 52 of 54; JPEG at quality 30 and noise all; and in four
datasets of 168 to 181 crops no two sources are confused. Drawings that nearly coincide by chance, in one orientation
or another, do count: in 1 of 36 datasets of 300 objects on white there was such a pair. The same strictness misses
copies of single shapes on a plain ground that are badly re-encoded: of 12 drawings of categories 11 are found at JPEG
quality 75 and above, 8 at 60 and 1 at 40; of the nine categories 10 at 40, of the other drawn sets all. A perceptual
hash (pHash, 64 bits) was tried first: the distance that finds 90 % of crops 4 px off also accepts 1 in 1,000 pairs of
different pictures, the one that finds 90 % at 6 px off accepts several in 100.

Cost: 0.5 s for 400 pictures; for thousands it grows with the product of the numbers of pictures in the parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from foresight.data.dataset import Dataset

VARIANTS = ("as is", "mirrored", "flipped", "mirrored and flipped")

_FRAMES = 4  # frames of a clip that are compared, spread over it
_GREY = 64  # side of the grey picture that detail is compared on
_SMALL = 32  # side of the colour picture that the same frame is compared on
_TINY = 16  # side of the colour picture that screens for it, and that its colours are compared on

_SAME_SCREEN = 0.98  # correlation of the tiny pictures
_SAME_BRIGHTNESS = (
    9.0  # of 255, what the brightness of 99.5 % of the small picture must stay under; less at low contrast
)
_SAME_COLOUR = 24.0  # of 255, what every channel of the tiny picture must stay under
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_SAME_GAIN = (0.7, 1.4)
_LEVEL = 2.0  # of 255, the detail that counts half
_SHIFT_SCREEN = 0.962  # cosine of the spectra
_SHIFT_LARGEST = 10  # of _GREY, one sixth of the side
_SHIFT_SIGNS = 0.85  # share of detail pixels that agree
_DETAIL = 1.0  # of 255, from where on a pixel of the detail counts
_LEAST_DETAIL = 0.15  # share of the overlap that must have detail in both
_MOST_FLAT = 0.65  # share of a picture that may be flat


@dataclass(frozen=True)
class Duplicate:
    """Two items, by index in the dataset, that show one picture."""

    first: int
    second: int
    variant: str  # of the second
    shifted: bool


@dataclass(frozen=True)
class _Pictures:
    """What is compared, of M pictures: the items of one part, or some frames of each."""

    owner: np.ndarray  # [M] index of the item
    colour: np.ndarray  # float32 [M, 32, 32, 3]
    detail: np.ndarray  # float32 [M, 64, 64], signed
    textured: np.ndarray  # [K] which of them are not flat

    def variant(self, name: str) -> _Pictures:
        axes = tuple(axis for axis, word in ((1, "flipped"), (2, "mirrored")) if word in name)
        return replace(self, colour=np.flip(self.colour, axes), detail=np.flip(self.detail, axes))


def near_duplicates(dataset: Dataset, parts: list[np.ndarray]) -> Iterator[Duplicate]:
    """Pairs of items that show one picture and lie in different `parts` (arrays of item indices), as they are found."""
    pictures = [_pictures(dataset.images, part, once=True) for part in parts if len(part)]
    for i, some in enumerate(pictures):
        for others in pictures[i + 1 :]:
            yield from _between(some, others)


def near_duplicates_within(images: np.ndarray) -> Iterator[Duplicate]:
    """All pairs of uint8 [N, H, W, 3] that show one picture, each way round: the tests are not quite symmetric."""
    pictures = _pictures(images, np.arange(len(images)), once=False)
    return (match for match in _between(pictures, pictures) if match.first != match.second)


def _between(some: _Pictures, others: _Pictures) -> Iterator[Duplicate]:
    tiny, spectra = _tiny(some), _spectra(some)
    for name in VARIANTS:
        varied = others.variant(name)
        for a, b in np.argwhere(tiny @ _tiny(varied).T >= _SAME_SCREEN):
            if _same_frame(some.colour[a], varied.colour[b]):
                yield Duplicate(int(some.owner[a]), int(others.owner[b]), name, shifted=False)
        alike = np.argwhere(spectra @ _spectra(varied).T >= _SHIFT_SCREEN)
        for a, b in zip(some.textured[alike[:, 0]], others.textured[alike[:, 1]], strict=True):
            if _shifted_frame(some.detail[a], varied.detail[b]):
                yield Duplicate(int(some.owner[a]), int(others.owner[b]), name, shifted=True)


def _pictures(images: np.ndarray, part: np.ndarray, *, once: bool) -> _Pictures:
    """What is compared of a part.

    `once`: of pictures that are the same byte for byte (a clip and its reverse) the first speaks for all, which is
    enough to compare a part with others.
    """
    owner, colour, grey = [], [], []
    seen: set[bytes] = set()
    for index in part:
        pixels = images[index]
        frames = (
            pixels[None] if pixels.ndim == 3 else pixels[np.linspace(0, len(pixels) - 1, _FRAMES).round().astype(int)]
        )
        for frame in frames:
            if once:
                if (content := frame.tobytes()) in seen:
                    continue
                seen.add(content)
            picture = Image.fromarray(frame)
            owner.append(index)
            colour.append(np.asarray(picture.resize((_SMALL, _SMALL), Image.Resampling.HAMMING)))
            grey.append(np.asarray(picture.convert("L").resize((_GREY, _GREY), Image.Resampling.HAMMING)))
    greys = np.array(grey, dtype=np.float32)
    textured = np.flatnonzero(_flat_share(greys) <= _MOST_FLAT)
    return _Pictures(np.array(owner), np.array(colour, dtype=np.float32), _detail(greys), textured)


def _tiny(pictures: _Pictures) -> np.ndarray:
    """Unit vectors [M, D] whose product is the correlation of two pictures."""
    tiny = _pooled(pictures.colour).reshape(len(pictures.owner), -1)
    return _unit(tiny - tiny.mean(axis=1, keepdims=True))


def _pooled(colour: np.ndarray) -> np.ndarray:
    """[M, 32, 32, 3] to [M, 16, 16, 3]."""
    return colour.reshape(len(colour), _TINY, _SMALL // _TINY, _TINY, _SMALL // _TINY, 3).mean(axis=(2, 4))


def _spectra(pictures: _Pictures) -> np.ndarray:
    """Unit vectors [K, D] of the textured ones: square roots of the lower Fourier magnitudes of the windowed detail.

    The detail is levelled first, so that one strong edge does not drown the grain of the rest.
    """
    detail = pictures.detail[pictures.textured]
    windowed = detail / (np.abs(detail) + _LEVEL) * _window(_GREY)
    magnitudes = np.abs(np.fft.rfft2(windowed - windowed.mean(axis=(1, 2), keepdims=True)))
    radius = np.hypot(np.fft.fftfreq(_GREY)[:, None], np.fft.rfftfreq(_GREY))
    return _unit(np.sqrt(magnitudes[:, radius <= 0.25]).astype(np.float32))


def _detail(grey: np.ndarray) -> np.ndarray:
    """[M, 64, 64] without its coarse part (above some 16 px) and its finest (below some 3 px)."""
    from scipy.ndimage import gaussian_filter  # 0.1 s that a light command must not pay for

    return gaussian_filter(grey, (0, 1, 1)) - gaussian_filter(grey, (0, 3, 3))


def _flat_share(grey: np.ndarray) -> np.ndarray:
    """[M] share of the 4 px blocks in which nothing happens."""
    blocks = grey.reshape(len(grey), _GREY // 4, 4, _GREY // 4, 4)
    return (blocks.std(axis=(2, 4)) < 1).mean(axis=(1, 2))


def _same_frame(first: np.ndarray, second: np.ndarray) -> bool:
    """Brightness is compared finely and colour coarsely, since JPEG keeps colour at half the resolution."""
    gain, offset = np.polyfit(first.ravel(), second.ravel(), 1)
    if not _SAME_GAIN[0] <= gain <= _SAME_GAIN[1]:
        return False
    residual = gain * first + offset - second
    contrast = np.ptp(first @ _LUMA)
    brightness = np.quantile(np.abs(residual @ _LUMA), 0.995)
    colour = np.abs(_pooled(residual[None])).max()
    return bool(brightness <= min(_SAME_BRIGHTNESS, contrast / 8) and colour <= _SAME_COLOUR)


def _shifted_frame(first: np.ndarray, second: np.ndarray) -> bool:
    a, b = _overlap(first, second, *_shift(first, second))
    both = (np.abs(a) > _DETAIL) & (np.abs(b) > _DETAIL)
    return bool(both.mean() >= _LEAST_DETAIL and ((a > 0) == (b > 0))[both].mean() >= _SHIFT_SIGNS)


def _shift(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """(dy, dx) for which first[y + dy, x + dx] is most like second[y, x]: the peak of the phase correlation."""
    window = _window(len(first))
    cross = np.fft.rfft2(first * window) * np.fft.rfft2(second * window).conj()
    size = np.abs(cross)
    surface = np.fft.irfft2(cross / (size + 1e-3 * size.max() + 1e-9), s=first.shape)
    span = 2 * _SHIFT_LARGEST + 1
    near = np.roll(surface, (_SHIFT_LARGEST, _SHIFT_LARGEST), axis=(0, 1))[:span, :span]
    dy, dx = np.unravel_index(near.argmax(), near.shape)
    return int(dy) - _SHIFT_LARGEST, int(dx) - _SHIFT_LARGEST


def _overlap(first: np.ndarray, second: np.ndarray, dy: int, dx: int) -> tuple[np.ndarray, np.ndarray]:
    """The part that both show, if first[y + dy, x + dx] is second[y, x]."""
    height, width = first.shape[:2]
    here = np.s_[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
    there = np.s_[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
    return first[here], second[there]


def _window(side: int) -> np.ndarray:
    hann = np.hanning(side + 2)[1:-1]
    return np.outer(hann, hann).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
