import numpy as np
import pytest
from sklearn.linear_model import Ridge

from foresight.probes import linear
from foresight.probes.linear import Standardiser, fit_ridge, fit_ridge_by_folds


def planted(n: int, d: int, k: int = 3, noise: float = 0.1, seed: int = 0):
    """Features whose units differ by up to a million, and a map that is the same for every seed."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** np.random.default_rng(98).integers(-3, 4, d)
    x = rng.normal(size=(n, d))
    y = x @ np.random.default_rng(99).normal(size=(d, k)) + 5 + noise * rng.normal(size=(n, k))
    return (x * scale + scale).astype(np.float32), y.astype(np.float32)


@pytest.mark.parametrize(("n", "d"), [(200, 30), (40, 90)], ids=["more samples", "more features"])
def test_agrees_with_scikit_learn_for_every_penalty(n, d):
    x, y = planted(n, d)
    x_val, y_val = planted(50, d, seed=1)
    for alpha in (1e-3, 0.1, 10.0):
        probe = fit_ridge(x, y, x_val, y_val, alphas=[alpha])
        z = Standardiser.fit(x)
        model = Ridge(alpha * n).fit(z.apply(x), y)
        expected = model.predict(z.apply(x_val))
        assert np.allclose(probe.predict(x_val), expected, atol=1e-4)
        assert probe.validation_mse[alpha] == pytest.approx(np.mean((expected - y_val) ** 2), rel=1e-5)


def test_planted_map_is_found_and_noise_is_left_at_the_mean():
    x, y = planted(300, 20)
    x_val, y_val = planted(100, 20, seed=1)
    x_test, y_test = planted(100, 20, seed=2)
    oracle = fit_ridge(x, y, x_val, y_val)
    assert np.mean((oracle.predict(x_test) - y_test) ** 2) < 0.02
    rng = np.random.default_rng(3)
    noise = fit_ridge(rng.normal(size=(300, 20)), y, rng.normal(size=(100, 20)), y_val)
    error = np.mean((noise.predict(rng.normal(size=(100, 20))) - y_test) ** 2)
    assert error == pytest.approx(np.mean((y.mean(0) - y_test) ** 2), rel=0.05)
    assert noise.alpha > 100 * oracle.alpha


def test_many_validation_samples_give_the_same_errors_as_counted_directly():
    x, y = planted(60, 10)
    x_val, y_val = planted(500, 10, noise=2.0, seed=1)
    probe = fit_ridge(x, y, x_val, y_val)
    direct = np.mean((probe.predict(x_val).astype(np.float64) - y_val) ** 2)
    assert probe.validation_mse[probe.alpha] == pytest.approx(direct, rel=1e-5)
    assert probe.alpha == min(probe.validation_mse, key=probe.validation_mse.get)


def test_only_train_decides_means_and_scales():
    x, y = planted(100, 10)
    x_val, y_val = planted(50, 10, seed=1)
    first = fit_ridge(x, y, x_val, y_val, alphas=[0.1])
    second = fit_ridge(x, y, 100 * x_val + 7, 100 * y_val, alphas=[0.1])
    assert np.array_equal(first.weights, second.weights)
    assert np.array_equal(first.standardiser.mean, second.standardiser.mean)
    assert np.allclose(first.standardiser.apply(x).mean(0), 0, atol=1e-6)
    assert np.allclose(first.standardiser.apply(x).std(0), 1, atol=1e-6)
    moved = x_val + 1000 * np.abs(x).max(0)
    assert not np.allclose(first.standardiser.apply(moved).mean(0), 0, atol=1)


def test_large_arrays_are_gathered_in_chunks_to_the_same_map(monkeypatch):
    x, y = planted(300, 12)
    x_val, y_val = planted(50, 12, seed=1)
    whole = fit_ridge(x, y, x_val, y_val)
    monkeypatch.setattr(linear, "_CHUNK", 37)
    parts = fit_ridge(x, y, x_val, y_val)
    assert parts.alpha == whole.alpha
    assert np.allclose(parts.predict(x_val), whole.predict(x_val), atol=1e-5)


def test_what_networks_get_is_rounded_once_and_in_chunks(monkeypatch):
    monkeypatch.setattr(linear, "_CHUNK", 7)
    x = np.random.default_rng(0).standard_normal((5, 4, 4, 3)).astype(np.float32)
    standardiser = Standardiser.fit(x.reshape(-1, 3))
    made = standardiser.apply32(x)
    assert made.dtype == np.float32
    assert np.array_equal(made, standardiser.apply(x).astype(np.float32))


def test_a_feature_that_is_constant_on_train_is_ignored():
    x, y = planted(100, 5)
    x_val, y_val = planted(50, 5, seed=1)
    constant = np.resize(np.float32([0.1, np.nextafter(np.float32(0.1), np.float32(1))]), 100)  # and its rounding
    with_constant = [np.column_stack([part, constant[: len(part)]]) for part in (x, x_val)]
    probe = fit_ridge(with_constant[0], y, with_constant[1], y_val)
    changed = with_constant[1].copy()
    changed[:, -1] = 1e6
    assert np.array_equal(probe.predict(changed), probe.predict(with_constant[1]))


def test_plain_weights_are_the_same_map_and_leading_axes_are_kept():
    x, y = planted(100, 6)
    probe = fit_ridge(x, y, *planted(50, 6, seed=1))
    plain = probe.affine()
    assert np.allclose(x @ plain[:-1] + plain[-1], probe.predict(x), atol=1e-4)
    assert probe.predict(x.reshape(5, 20, 6)).shape == (5, 20, 3)
    assert probe.parameters == 6 * 3 + 3


def test_what_cannot_be_fitted_is_refused():
    x, y = planted(20, 4)
    with pytest.raises(ValueError, match="not finite"):
        fit_ridge(np.where(x == x[3, 2], np.inf, x), y, x, y)
    with pytest.raises(ValueError, match=r"\[N, D\]"):
        fit_ridge(x, y[:10], x, y)
    with pytest.raises(ValueError, match="validation samples"):
        fit_ridge(x, y, x[:0], y[:0])


def test_folds_choose_the_penalty_that_leaving_sources_out_does():
    """By hand: sources to folds, scikit-learn's ridge on the rest, squared errors pooled."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((60, 20)), rng.standard_normal((20, 3))
    y = x @ w + 6 * rng.standard_normal((60, 3))
    groups = [f"source-{i // 2:02d}" for i in range(60)]
    probe = fit_ridge_by_folds(x, y, groups, folds=5, seed=3)

    fold_of = dict(zip(sorted(set(groups)), np.random.default_rng(3).permutation(30) % 5, strict=True))
    fold = np.array([fold_of[group] for group in groups])
    for alpha, error in probe.validation_mse.items():
        missed = []
        for out in range(5):
            standardiser = Standardiser.fit(x[fold != out])
            model = Ridge(alpha * np.sum(fold != out)).fit(standardiser.apply(x[fold != out]), y[fold != out])
            missed.append((model.predict(standardiser.apply(x[fold == out])) - y[fold == out]) ** 2)
        assert error == pytest.approx(np.concatenate(missed).mean()), alpha
    assert probe.alpha == min(probe.validation_mse, key=probe.validation_mse.get)
    assert 1e-7 < probe.alpha < 1e3
    model = Ridge(probe.alpha * 60).fit(Standardiser.fit(x).apply(x), y)
    np.testing.assert_allclose(probe.predict(x), model.predict(Standardiser.fit(x).apply(x)), atol=1e-4)


def test_a_source_is_never_in_two_folds():
    """Two noisy copies a source: across folds they would teach each other, and a small penalty would look best."""
    rng = np.random.default_rng(0)
    x, y = np.repeat(rng.standard_normal((30, 40)), 2, axis=0), np.repeat(rng.standard_normal((30, 2)), 2, axis=0)
    by_source = fit_ridge_by_folds(x, y, [str(i // 2) for i in range(60)])
    by_sample = fit_ridge_by_folds(x, y, [str(i) for i in range(60)])
    assert by_sample.alpha < by_source.alpha / 10
    with pytest.raises(ValueError, match="two of them"):
        fit_ridge_by_folds(x, y, ["one"] * 60)
