"""How much two pictures differ: LPIPS, SSIM, PSNR, MSE (M1-M3 of the programme).

Every function takes float pictures in [0, 1] and returns one score a picture: means and intervals are made from
these, by source, elsewhere. A candidate of length 1 is compared with every reference, so that a baseline which is one
picture (the mean image, a blank one) is computed once. Lower is better for LPIPS and MSE, higher for SSIM and PSNR.

LPIPS (Zhang et al. 2018, arXiv:1801.03924) version 0.1 with AlexNet, as in the `lpips` package, with which the tests
hold it equal. It is written out because the trunk's features of the reference pictures are kept: the oracle, ours and
each baseline are compared with the same originals, and the originals are passed once. It also starts in 10 ms, where
the package builds and throws away 61 million random weights.

Shapes: N pictures, H rows, W columns, C channels.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import _reconstruct
from skimage.metrics import structural_similarity
from torch.nn import functional as F

from foresight.metrics.threads import single_thread
from foresight.metrics.weights import lpips_weights, lpips_weights_sha256

#: What PSNR is reported as for two equal pictures, whose true value is infinite (a mean squared error of 1e-10).
PSNR_CEILING_DB = 100.0
#: The smallest side whose picture survives AlexNet's stride and pooling.
LPIPS_SMALLEST_SIDE = 32

_SSIM_WINDOW = 7  # pixels, as scikit-image has it
_STRIDE_PADDING = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
_POOL_BEFORE = (1, 2)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class _ArraysOnly(pickle.Unpickler):
    """Builds plain containers and numpy arrays and nothing else: a pickle may otherwise run anything."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if name == "_reconstruct" and module in {"numpy.core.multiarray", "numpy._core.multiarray"}:
            return _reconstruct
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")


@dataclass(frozen=True)
class _AlexNet:
    """The five convolutions (kernel [O, I, h, w], bias [O]) and the weight that LPIPS gives each of their channels."""

    convolutions: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    channel_weights: tuple[torch.Tensor, ...]

    def features(self, images_NCHW: torch.Tensor) -> list[torch.Tensor]:
        """Unit-length channel vectors of each layer, of pictures in [0, 1]."""
        shift, scale = (images_NCHW.new_tensor(values).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))
        x, layers = (2 * images_NCHW - 1 - shift) / scale, []
        for layer, ((kernel, bias), (stride, padding)) in enumerate(
            zip(self.convolutions, _STRIDE_PADDING, strict=True)
        ):
            if layer in _POOL_BEFORE:
                x = F.max_pool2d(x.contiguous(memory_format=torch.channels_last), kernel_size=3, stride=2)
            x = F.conv2d(x, kernel, bias, stride=stride, padding=padding).relu()
            layers.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return layers

    def distance(self, a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
        """[N], from the features of N pictures and of N or 1 others."""
        return torch.stack(
            [
                torch.einsum("nchw,c->nhw", (x - y).square(), weight).mean((1, 2))
                for x, y, weight in zip(a, b, self.channel_weights, strict=True)
            ]
        ).sum(0)


@cache
@torch.inference_mode(False)  # whoever asks first, the weights can be used where gradients are wanted
def _alexnet(device: str) -> _AlexNet:
    lpips_weights_sha256()
    with lpips_weights().open("rb") as stream:
        content = _ArraysOnly(stream).load()

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float32)).to(device)

    trunk = [content["AlexNet_0"][f"Conv_{layer}"] for layer in range(5)]
    return _AlexNet(
        tuple((tensor(conv["kernel"].transpose(3, 2, 0, 1)), tensor(conv["bias"])) for conv in trunk),
        tuple(tensor(content[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"].reshape(-1)) for layer in range(5)),
    )


class Lpips:
    """LPIPS-AlexNet against fixed reference pictures, whose features are computed once and kept.

    reference_NHWC: float in [0, 1], sides of 32 px or more. `keep_bytes` bounds the memory for kept features
    (0.45 MB a picture at 112 px, 1.9 MB at 224); beyond it they are computed again for each call, to the same numbers.
    """

    def __init__(
        self, reference_NHWC: np.ndarray, *, device: str = "cpu", batch_size: int = 16, keep_bytes: int = 2**30
    ) -> None:
        self._reference = _checked(reference_NHWC, "reference")
        if min(self._reference.shape[1:3]) < LPIPS_SMALLEST_SIDE:
            raise ValueError(f"LPIPS needs sides of {LPIPS_SMALLEST_SIDE} px or more, not {self._reference.shape[1:3]}")
        self._device, self._batch_size, self._keep_bytes = device, batch_size, keep_bytes
        self._kept: dict[int, list[torch.Tensor]] = {}

    @single_thread()
    @torch.inference_mode()
    def scores(self, candidate_NHWC: np.ndarray) -> np.ndarray:
        """[N] float64. The candidate has the reference's shape, or one picture for all."""
        candidate = _checked(candidate_NHWC, "candidate")
        _check_pair(self._reference, candidate)
        net, size = _alexnet(self._device), self._batch_size
        shared = self._features(candidate) if len(candidate) == 1 else None
        parts = []
        for start in range(0, len(self._reference), size):
            other = shared if shared is not None else self._features(candidate[start : start + size])
            parts.append(net.distance(self._reference_features(start), other).cpu())
        return torch.cat(parts).double().numpy()

    def _features(self, images_NHWC: np.ndarray) -> list[torch.Tensor]:
        images = torch.from_numpy(np.ascontiguousarray(images_NHWC.transpose(0, 3, 1, 2), dtype=np.float32))
        return _alexnet(self._device).features(images.to(self._device))

    def _reference_features(self, start: int) -> list[torch.Tensor]:
        if start in self._kept:
            return self._kept[start]
        features = self._features(self._reference[start : start + self._batch_size])
        size = sum(layer.nbytes for layer in features)
        if size * (len(self._kept) + 1) <= self._keep_bytes:
            self._kept[start] = features
        return features


TrunkFeatures = list[list[np.ndarray]]


@single_thread()
@torch.inference_mode()
def trunk_features(images_NHWC: np.ndarray, *, device: str = "cpu", batch_size: int = 16) -> TrunkFeatures:
    """A list of batches, each of five layers [n, C, h, w]: what LPIPS compares, unit channel vectors at each place."""
    images = _checked(images_NHWC, "given")
    net, batches = _alexnet(device), []
    for start in range(0, len(images), batch_size):
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size].transpose(0, 3, 1, 2)))
        batches.append([layer.cpu().numpy() for layer in net.features(part.float().to(device))])
    return batches


def lpips_scores(a_NHWC: np.ndarray, b_NHWC: np.ndarray, *, device: str = "cpu") -> np.ndarray:
    """[N] float64, 0 for equal pictures. For several candidates of the same originals use `Lpips`."""
    return Lpips(a_NHWC, device=device).scores(b_NHWC)


def lpips_between(a_NCHW: torch.Tensor, b_NCHW: torch.Tensor) -> torch.Tensor:
    """[N]: LPIPS as a loss, of pictures in [0, 1] on one device; gradients pass through to both."""
    net = _alexnet(str(a_NCHW.device))
    return net.distance(net.features(a_NCHW), net.features(b_NCHW))


def ssim_between(a_NCHW: torch.Tensor, b_NCHW: torch.Tensor) -> torch.Tensor:
    """[N]: the SSIM of `ssim_scores` as a loss (then: 1 - SSIM), with gradients."""
    c1, c2 = 0.01**2, 0.03**2

    def windows(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, _SSIM_WINDOW, stride=1)

    mean_a, mean_b = windows(a_NCHW), windows(b_NCHW)
    unbiased = _SSIM_WINDOW**2 / (_SSIM_WINDOW**2 - 1)
    var_a = unbiased * (windows(a_NCHW * a_NCHW) - mean_a * mean_a)
    var_b = unbiased * (windows(b_NCHW * b_NCHW) - mean_b * mean_b)
    both = unbiased * (windows(a_NCHW * b_NCHW) - mean_a * mean_b)
    alike = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return (alike / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean((1, 2, 3))


def ssim_scores(a_NHWC: np.ndarray, b_NHWC: np.ndarray) -> np.ndarray:
    """[N] float64 in [-1, 1]: scikit-image's SSIM in colour with its 7x7 window (Wang et al. 2004).

    It saturates on plain backgrounds (a blank white picture scores .94 on single shapes): never without baselines.
    """
    a, b = _pair(a_NHWC, b_NHWC)
    return np.array([structural_similarity(x, y, data_range=1.0, channel_axis=-1) for x, y in zip(a, b, strict=True)])


def mse_scores(a_NHWC: np.ndarray, b_NHWC: np.ndarray) -> np.ndarray:
    """[N] float64: mean squared error over pixels and channels."""
    a, b = _pair(a_NHWC, b_NHWC)
    return np.array([np.mean((x.astype(np.float64) - y) ** 2) for x, y in zip(a, b, strict=True)])


def psnr_scores(a_NHWC: np.ndarray, b_NHWC: np.ndarray) -> np.ndarray:
    """[N] float64 in dB, peak 1, picture by picture; `PSNR_CEILING_DB` at most, so that it is always finite."""
    mse = mse_scores(a_NHWC, b_NHWC)
    return -10 * np.log10(np.maximum(mse, 10 ** (-PSNR_CEILING_DB / 10)))


def _pair(a_NHWC: np.ndarray, b_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = _checked(a_NHWC, "first"), _checked(b_NHWC, "second")
    _check_pair(a, b)
    return a, np.broadcast_to(b, a.shape)


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    if b.shape not in {a.shape, (1, *a.shape[1:])}:
        raise ValueError(f"pictures of shape {b.shape} cannot be compared one by one with {a.shape}")


def _checked(images_NHWC: np.ndarray, name: str) -> np.ndarray:
    images = np.asarray(images_NHWC)
    if images.ndim != 4 or images.shape[-1] != 3 or len(images) == 0:
        raise ValueError(f"the {name} pictures need shape [N, H, W, 3] with N > 0, not {images.shape}")
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"the {name} pictures are {images.dtype}: divide by 255, the metrics want floats in [0, 1]")
    low, high = float(images.min()), float(images.max())
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise ValueError(
            f"the {name} pictures lie in [{low:.3g}, {high:.3g}], not in [0, 1]: clip them where they are made"
        )
    return images
