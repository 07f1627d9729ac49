"""Cells of a picture: correlation over distance, power over frequency, channels over pictures."""

from __future__ import annotations

import numpy as np
import pytest

from foresight.metrics.cells import autocorrelation, channel_correlation, spectrum


def white(n: int = 20, h: int = 12, w: int = 16, c: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, h, w, c))


def test_autocorrelation_is_what_two_loops_find():
    cells = white(2, 5, 6, 2)
    centred = cells - cells.mean((1, 2), keepdims=True)
    for n in range(2):
        for lag in range(4):
            products = [
                centred[n, y, x, c] * centred[n, y + dy, x + dx, c]
                for dy, dx in ((lag, 0), (0, lag))
                for y in range(5 - dy)
                for x in range(6 - dx)
                for c in range(2)
            ]
            expected = np.mean(products) / np.mean(centred[n] ** 2)
            assert autocorrelation(cells, 4)[n, lag] == pytest.approx(expected)


def test_waves_come_back_after_their_period_and_noise_never_does():
    x = np.arange(16)
    wave = np.tile(np.sin(2 * np.pi * x / 8)[None, None, :, None], (2, 16, 1, 1))
    found = autocorrelation(wave, 8)[0]
    assert found[0] == pytest.approx(1)
    assert found[8] > found[4]
    assert np.abs(autocorrelation(white(), 6)[:, 1:].mean(0)).max() < 0.03


def test_a_common_tint_is_no_correlation():
    tinted = white() + 100
    np.testing.assert_allclose(autocorrelation(tinted, 3), autocorrelation(white(), 3), atol=1e-9)
    assert (autocorrelation(np.ones((2, 4, 4, 1)), 2) == 0).all()
    with pytest.raises(ValueError, match="does not fit"):
        autocorrelation(white(2, 4, 4), 4)


def test_power_lies_where_the_wave_is():
    x = np.arange(16)
    slow, fast = (np.tile(np.sin(2 * np.pi * x * f)[None, None, :, None], (1, 16, 1, 1)) for f in (1 / 16, 7 / 16))
    found = spectrum(np.concatenate([slow, fast, np.zeros_like(slow)], axis=3), bands := 4)
    assert found.shape == (3, bands)
    np.testing.assert_allclose(found, [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], atol=1e-9)


def test_channels_are_correlated_over_pictures():
    vectors = np.random.default_rng(0).standard_normal((50, 3))
    np.testing.assert_allclose(channel_correlation(vectors), np.corrcoef(vectors.T))
    vectors[:, 1] = 4
    assert (channel_correlation(vectors)[1] == 0).all()
