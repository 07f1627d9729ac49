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

    def apply32(self, x: np.ndarray) -> np.ndarray:
        """[..., D] float32, for networks: rounded from float64 chunk by chunk, of which there is never all at once."""
        made = np.empty(x.shape, np.float32)
        for chunk, out in zip(_chunks(x.reshape(-1, x.shape[-1])), _chunks(made.reshape(-1, x.shape[-1])), strict=True):
            out[:] = self.apply(chunk)
        return made


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
    fitted = _Solution.of(x_train, y_train)
    errors = fitted.errors(x_val, y_val, alphas)
    return fitted.probe(_best(errors), errors)


def fit_ridge_by_folds(
    x: np.ndarray,
    y: np.ndarray,
    groups: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 0,
    alphas: Sequence[float] = ALPHAS,
) -> RidgeProbe:
    """The same map of all N samples, its penalty chosen by cross-validation over whole sources (`groups`).

    Nothing of a fold, not even its mean, is known where its error is measured. `seed` deals sources to folds.
    Raises `ValueError` as `fit_ridge`, and with fewer than two sources.
    """
    names = np.unique(np.asarray(groups))
    if len(names) < 2:
        raise ValueError("cross-validation by sources needs two of them at least")
    fold_of = dict(
        zip(names, np.random.default_rng(seed).permutation(len(names)) % min(folds, len(names)), strict=True)
    )
    fold = np.array([fold_of[group] for group in groups])
    errors = dict.fromkeys((float(alpha) for alpha in alphas), 0.0)
    for out in np.unique(fold):
        left = fold == out
        for alpha, error in _Solution.of(x[~left], y[~left]).errors(x[left], y[left], alphas).items():
            errors[alpha] += error * (int(left.sum()) / len(x))
    return _Solution.of(x, y).probe(_best(errors), errors)


def _best(errors: dict[float, float]) -> float:
    """The penalty of least error, of equals the largest."""
    return min(errors, key=lambda alpha: (errors[alpha], -alpha))


@dataclass(frozen=True)
class _Solution:
    """W(alpha) = basis @ (coefficients / (spectrum + N alpha)), for every alpha at once."""

    standardiser: Standardiser
    intercept: np.ndarray  # [K]
    basis: np.ndarray  # [D, R]
    spectrum: np.ndarray  # [R]
    coefficients: np.ndarray  # [R, K]
    n: int

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> _Solution:
        _check(x, y)
        standardiser = Standardiser.fit(x)
        intercept = y.mean(0, dtype=np.float64)
        if not np.isfinite(intercept).all():
            raise ValueError("the targets are not finite")
        return cls(standardiser, intercept, *_decompose(standardiser, x, y, intercept), len(x))

    def errors(self, x_val: np.ndarray, y_val: np.ndarray, alphas: Sequence[float]) -> dict[float, float]:
        """Mean squared error on validation by alpha."""
        _check(x_val, y_val)
        chunks = [self.standardiser.apply(chunk) @ self.basis for chunk in _chunks(x_val)]
        x_basis, target, beyond = np.concatenate(chunks), y_val - self.intercept, 0.0
        if len(x_basis) > x_basis.shape[1]:  # rotated to as many rows as columns: the same error, at less cost
            rotation, x_basis = np.linalg.qr(x_basis)
            total = np.sum(target**2)
            target = rotation.T @ target
            beyond = max(0.0, total - np.sum(target**2))
        return {
            float(alpha): float((np.sum((x_basis @ self._shrunk(alpha) - target) ** 2) + beyond) / y_val.size)
            for alpha in alphas
        }

    def probe(self, alpha: float, errors: dict[float, float]) -> RidgeProbe:
        return RidgeProbe(self.standardiser, self.basis @ self._shrunk(alpha), self.intercept, alpha, errors)

    def _shrunk(self, alpha: float) -> np.ndarray:
        return self.coefficients / (self.spectrum + self.n * alpha)[:, None]


def _check(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"ridge needs [N, D] and [N, K], not {x.shape} and {y.shape}")
    if not len(x):
        raise ValueError("ridge needs training and validation samples")


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
