"""Centred kernel alignment (M13): how similar two representations of the same samples are as a whole.

Linear CKA compares the Gram matrices K = X X^T and L = Y Y^T, so it does not mind rotations, scales and different
widths. The plain estimator is biased upwards without bound as widths grow over N: .93 for independent Gaussians at
the sizes of this programme. Here it is the unbiased HSIC of Song et al. (2012, equation 5), from which Nguyen, Raghu
and Kornblith (2021) build CKA: for independent spaces it is 0 on average, and can be negative.

With zeroed diagonals, HSIC = [sum(K * L) + sum(K) sum(L) / ((n-1)(n-2)) - 2 (row sums of K . row sums of L) / (n-2)]
/ (n (n-3)). All three sums can be brought up to date when a sample is left out, so a jackknife over N samples costs
as much as one estimate more or two. Samples are in one order in both spaces, one a source.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

PERMUTATIONS = 999
LEAST_SAMPLES = 5  # one is left out, and four are the fewest that HSIC is defined for


@dataclass(frozen=True)
class Gram:
    """The Gram matrix of one space, its diagonal zeroed."""

    matrix: np.ndarray

    @classmethod
    def of(cls, samples_ND: np.ndarray) -> Gram:
        """Centred and scaled first, which changes no CKA and keeps sums small. Raises `ValueError` on too few."""
        if len(samples_ND) < LEAST_SAMPLES:
            raise ValueError(f"CKA needs {LEAST_SAMPLES} samples at least, not {len(samples_ND)}")
        centred = np.asarray(samples_ND, dtype=np.float64) - np.mean(samples_ND, axis=0, dtype=np.float64)
        gram = centred @ centred.T
        np.fill_diagonal(gram, 0)
        largest = np.abs(gram).max()
        return cls(gram / largest if largest > 0 else gram)

    @classmethod
    def of_labels(cls, labels: np.ndarray) -> Gram:
        """The space in which a sample is its label and nothing else."""
        return cls.of((labels[:, None] == np.unique(labels)[None, :]).astype(np.float64))

    def permuted(self, order: np.ndarray) -> Gram:
        return Gram(self.matrix[np.ix_(order, order)])

    @cached_property
    def row_sums(self) -> np.ndarray:
        return self.matrix.sum(axis=1)

    @cached_property
    def hsic(self) -> float:
        """With itself."""
        return hsic(self, self)

    @cached_property
    def hsic_without(self) -> np.ndarray:
        return hsic_without(self, self)


def hsic(first: Gram, second: Gram) -> float:
    """The unbiased HSIC."""
    product = float(np.vdot(first.matrix, second.matrix))
    rows = float(first.row_sums @ second.row_sums)
    return float(_hsic(len(first.row_sums), product, rows, first.row_sums.sum(), second.row_sums.sum()))


def hsic_without(first: Gram, second: Gram) -> np.ndarray:
    """[N]: the unbiased HSIC with each sample left out in turn."""
    k, l, k_rows, l_rows = first.matrix, second.matrix, first.row_sums, second.row_sums  # noqa: E741
    products = np.sum(k * l, axis=1)
    # sum over i != g of (k_rows_i - k_ig)(l_rows_i - l_ig); the diagonals are 0
    rows = k_rows @ l_rows - k_rows * l_rows - k @ l_rows - l @ k_rows + products
    return _hsic(len(k) - 1, products.sum() - 2 * products, rows, k_rows.sum() - 2 * k_rows, l_rows.sum() - 2 * l_rows)


def cka(first: Gram, second: Gram) -> float | None:
    """Debiased linear CKA: 1 the same, around 0 unrelated. None where a space has no structure of its own."""
    scale = first.hsic * second.hsic
    return hsic(first, second) / float(np.sqrt(scale)) if first.hsic > 0 and second.hsic > 0 else None


def cka_without(first: Gram, second: Gram) -> np.ndarray | None:
    """[N]: CKA with each sample left out in turn, for the jackknife."""
    own, others = first.hsic_without, second.hsic_without
    if own.min() <= 0 or others.min() <= 0:
        return None
    return hsic_without(first, second) / np.sqrt(own * others)


def cka_null(
    first: Gram, second: Gram, generator: np.random.Generator, permutations: int = PERMUTATIONS
) -> np.ndarray | None:
    """[permutations]: CKA with the samples of the second space dealt out anew."""
    if first.hsic <= 0 or second.hsic <= 0:
        return None
    n, scale = len(first.row_sums), np.sqrt(first.hsic * second.hsic)
    null = np.empty(permutations)
    for index in range(permutations):
        order = generator.permutation(n)
        product = np.vdot(first.matrix, second.matrix[order[:, None], order[None, :]])
        rows = first.row_sums @ second.row_sums[order]
        null[index] = _hsic(n, product, rows, first.row_sums.sum(), second.row_sums.sum()) / scale
    return null


def _hsic(n: int, product, rows, first_sum, second_sum):
    return (product + first_sum * second_sum / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))
