"""Classes of tokens and pairs: told where they are known, at chance where not, crowds and unclear cells left out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from foresight.data.objects import Objects
from foresight.probes import classes
from foresight.probes.classes import balanced_tokens, fit_class_probe, pooled_over_boxes, token_classes

BOXES = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 0.85]], dtype=np.float32)


def objects(crowd=(False, False)) -> Objects:
    return Objects(BOXES, np.array([3, 90]), np.array([0.25, 0.175]), np.array(crowd), 100.0)


def test_a_cell_is_the_objects_that_covers_half_of_it_and_background_where_nothing_does():
    labels = token_classes([objects()], (4, 4))[0]
    assert (labels[:2, :2] == 3).all()
    assert (labels[2, 2:] == 90).all()
    assert (labels[3, 2:] == -1).all(), "covered by 40 %: neither"
    assert (labels[:2, 2:] == 0).all()
    assert (token_classes([objects((True, False))], (4, 4))[0][:2, :2] == -1).all(), "a crowd is no class"


def test_as_many_tokens_of_background_as_of_objects():
    labels = token_classes([objects()] * 10, (4, 4))
    chosen = labels[tuple(balanced_tokens(labels, np.random.default_rng(0), 1000).T)]
    assert (chosen > 0).sum() == (chosen == 0).sum() == 60
    assert len(balanced_tokens(labels, np.random.default_rng(0), 20)) == 40


def test_a_mean_over_a_box_weighs_cells_by_what_the_box_covers():
    tokens = np.arange(4.0).reshape(2, 2, 1)
    box = np.array([[0.25, 0.0, 1.0, 0.5]])  # half of the first cell and all of the second
    assert pooled_over_boxes(tokens, box)[0, 0] == pytest.approx(2 / 3)


def test_four_directions_are_told_from_the_places_of_two_things():
    """Two pairs of opposites: least squares masks those that lie between, and stays near .9 here."""
    rng = np.random.default_rng(0)
    places = rng.uniform(size=(900, 4))
    across, down = (places[:, :2] - places[:, 2:]).T
    labels = np.where(np.abs(across) >= np.abs(down), across > 0, 2 + (down > 0))
    probe = fit_class_probe(places[:500], labels[:500], places[500:600], labels[500:600])
    assert np.mean(probe.predict(places[600:]) == labels[600:]) > 0.96


def test_a_class_that_only_validation_has_chooses_nothing_and_none_in_common_is_refused():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((60, 3)), np.repeat([1, 2], 30)
    x[labels == 2, 0] += 8
    probe = fit_class_probe(x, labels, x[::6], np.where(np.arange(10) == 0, 7, labels[::6]))
    assert np.mean(probe.predict(x) == labels) == 1
    with pytest.raises(ValueError, match="validation has no sample of a class that train has"):
        fit_class_probe(x, labels, x[:5], np.full(5, 7))


def test_what_is_linear_is_told_and_noise_is_not():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 3, 90], 400)
    known = np.eye(91)[labels] @ rng.standard_normal((91, 20)) + 0.1 * rng.standard_normal((400, 20))
    for features, least, most in ((known, 0.99, 1), (rng.standard_normal((400, 20)), 0.2, 0.48)):
        probe = fit_class_probe(features[:200], labels[:200], features[200:300], labels[200:300])
        assert least <= np.mean(probe.predict(features[300:]) == labels[300:]) <= most


@pytest.mark.parametrize("samples", [400, 40], ids=["more samples than features", "fewer"])
@pytest.mark.parametrize("alpha", [1.0, 1e-3])
def test_the_minimum_is_the_one_that_scikit_learn_finds(monkeypatch, samples, alpha):
    monkeypatch.setattr(classes, "ALPHAS", (alpha,))
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(5), rng.choice(5, samples - 5, p=[0.5, 0.2, 0.1, 0.1, 0.1])])
    features = rng.standard_normal((samples, 60)) @ (rng.standard_normal((60, 60)) / np.arange(1, 61)[:, None])
    features += 0.3 * np.eye(5)[labels] @ rng.standard_normal((5, 60))
    probe = fit_class_probe(features, labels, features, labels)
    x = probe.standardiser.apply(features)
    theirs = LogisticRegression(C=1 / (alpha * samples), tol=1e-8, max_iter=20_000).fit(x, labels)
    assert np.allclose(theirs.predict_proba(x), _softmax(x @ probe.weights + probe.intercept), atol=5e-3)
    assert (probe.predict(features) == theirs.predict(x)).mean() > 0.99


def _softmax(logits):
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)
