"""Ridge regression: what is *linearly* accessible in features, found exactly.

A closed form has no learning rate and cannot diverge, which is why it is preferred to gradient descent wherever a map
is linear. One eigendecomposition serves every penalty: with standardised X, X^T X = V diag(s) V^T and

    W(alpha) = V diag(1 / (s + N alpha)) V^T X^T Y.

With fewer samples than features the same is done with X X^T. Means, scales and the decomposition come from train
alone; the validation part chooses alpha and nothing else. All in float64, gathered in chunks, so that a large float32
array is never copied as a whole. Shapes: N samples, D features, K targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

#: Penalties per sample, on features of unit variance: from "none" to "predict the mean".
ALPHAS: tuple[float, ...] = tuple(float(alpha) for alpha in np.logspace(-7, 3, 21))
_CHUNK = 8192


@dataclass(frozen=True)
class Standardiser:
    """Subtract train's mean, divide by train's standard deviation. A feature that is constant on train becomes 0."""

    mean: np.ndarray  # [D] float64
    scale: np.ndarray  # [D] float64, infinite for a constant feature

    @classmethod
    def fit(cls, x_ND: np.ndarray) -> Standardiser:
        """Two passes, float64. Raises `ValueError` on anything that is not finite."""
        mean = sum(chunk.sum(0, dtype=np.float64) for chunk in _chunks(x_ND)) / len(x_ND)
        if not np.isfinite(mean).all():
            raise ValueError(f"{int(np.sum(~np.isfinite(mean)))} of {x_ND.shape[1]} features are not finite")
        variance = sum(((chunk - mean) ** 2).sum(0) for chunk in _chunks(x_ND)) / len(x_ND)
        # A constant computed in float32 keeps a rounding residue of about 1e-7 of its size.
        constant = variance <= (1e-6 * np.abs(mean)) ** 2
        return cls(mean, np.where(constant, np.inf, np.sqrt(variance)))

    def apply(self, x_ND: np.ndarray) -> np.ndarray:
        """[..., D] float64."""
        return (x_ND - self.mean) / self.scale


@dataclass(frozen=True)
class RidgeProbe:
    """A fitted map of D features to K targets."""

    standardiser: Standardiser
    weights: np.ndarray  # [D, K] float64, for standardised features
    intercept: np.ndarray  # [K] float64
    alpha: float  # the penalty that validation chose
    validation_mse: dict[float, float]  # every penalty tried

    def predict(self, x: np.ndarray) -> np.ndarray:
        """[..., K] float32 of [..., D]."""
        flat = x.reshape(-1, x.shape[-1])
        parts = [self.standardiser.apply(chunk) @ self.weights + self.intercept for chunk in _chunks(flat)]
        return np.concatenate(parts).astype(np.float32).reshape(*x.shape[:-1], -1)

    def affine(self) -> np.ndarray:
        """[D + 1, K]: the same map for features that are not standardised, the bias in the last row."""
        weights = self.weights / self.standardiser.scale[:, None]
        return np.vstack([weights, self.intercept - self.standardiser.mean @ weights])

    @property
    def parameters(self) -> int:
        return self.weights.size + self.intercept.size


def fit_ridge(
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_val: np.ndarray,
    y_val: np.ndarray,
    alphas: Sequence[float] = ALPHAS,
) -> RidgeProbe:
    """The ridge map of [N, D] to [N, K] whose penalty has the least squared error on validation.

    Raises `ValueError` on shapes that do not fit and on values that are not finite.
    """
    if x_train.ndim != 2 or y_train.ndim != 2 or len(x_train) != len(y_train) or len(x_val) != len(y_val):
        raise ValueError(
            f"ridge needs [N, D] and [N, K], not {x_train.shape}, {y_train.shape}; {x_val.shape}, {y_val.shape}"
        )
    if not len(x_train) or not len(x_val):
        raise ValueError("ridge needs training and validation samples")
    standardiser = Standardiser.fit(x_train)
    intercept = y_train.mean(0, dtype=np.float64)
    if not np.isfinite(intercept).all():
        raise ValueError("the targets are not finite")

    n = len(x_train)
    basis, spectrum, coefficients = _decompose(standardiser, x_train, y_train, intercept)
    x_basis = np.concatenate([standardiser.apply(chunk) @ basis for chunk in _chunks(x_val)])
    target, beyond = y_val - intercept, 0.0
    if len(x_basis) > x_basis.shape[1]:  # rotated to as many rows as columns: the same error, cheaper for every alpha
        rotation, x_basis = np.linalg.qr(x_basis)
        total = np.sum(target**2)
        target = rotation.T @ target
        beyond = max(0.0, total - np.sum(target**2))
    errors = {}
    for alpha in alphas:
        missed = x_basis @ (coefficients / (spectrum + n * alpha)[:, None]) - target
        errors[float(alpha)] = float((np.sum(missed**2) + beyond) / y_val.size)
    alpha = min(errors, key=lambda candidate: (errors[candidate], -candidate))
    weights = basis @ (coefficients / (spectrum + n * alpha)[:, None])
    return RidgeProbe(standardiser, weights, intercept, alpha, errors)


def _decompose(
    standardiser: Standardiser, x: np.ndarray, y: np.ndarray, intercept: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """basis [D, R], spectrum [R], coefficients [R, K]: W(alpha) = basis @ (coefficients / (spectrum + N alpha))."""
    n, d = x.shape
    if n >= d:
        gram, cross = np.zeros((d, d)), np.zeros((d, y.shape[1]))
        for x_chunk, y_chunk in zip(_chunks(x), _chunks(y), strict=True):
            z = standardiser.apply(x_chunk)
            gram += z.T @ z
            cross += z.T @ (y_chunk - intercept)
        spectrum, basis = eigh(gram)
        return basis, np.clip(spectrum, 0, None), basis.T @ cross
    z = standardiser.apply(x)
    spectrum, left = eigh(z @ z.T)
    return z.T @ left, np.clip(spectrum, 0, None), left.T @ (y - intercept)


def _chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    return (x[start : start + _CHUNK] for start in range(0, len(x), _CHUNK))
