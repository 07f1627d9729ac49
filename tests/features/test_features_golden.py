"""Guards EXTRACTION_VERSION: what comes out of an extraction must not change under one version.

The models are random from a fixed seed and the pictures are drawn from one, so the numbers below depend on the code,
the libraries (which bear identity by their versions) and rounding. The tolerance, 2e-4 of a standard deviation, leaves
room for another processor's rounding and for nothing else: a wrong order, size, layer or normalisation changes them
by a standard deviation or so.
"""

import numpy as np
import pytest

from foresight.features.points import EXTRACTION_VERSION
from foresight.models import loading, tiny

TOLERANCE = 2e-4

# version -> point -> mean of |values|, then the values at 4 places spread over [2, H, W, D]
GOLDEN: dict[int, dict[str, list[float]]] = {
    1: {
        "X1.2": [0.5693774, -0.7605661, -1.083645, 0.3086816, 0.7506196],
        "X2": [0.5693247, -0.746761, -1.08504, 0.3215697, 0.7696218],
        "X3": [0.04363115, -0.009138252, 0.08193493, 0.01119383, -0.02456307],
        "X4.2": [0.04962918, -0.06145777, 0.06403707, -0.04212188, -0.04472955],
        "X4.last": [0.7984938, -0.9847257, 0.5817019, -0.8047108, -0.7939712],
        "X6": [0.6914074, -0.5445935, 0.493826, 0.6564428, -0.4711388],
        "X7": [0.8001301, -1.05303, 0.2732086, -2.110255, -0.6522458],
    },
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    images = (
        np.random.default_rng(5).integers(0, 256, (2, 25, 25, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    )
    vlm = loading.load_vlm(tiny.build_vlm(tmp_path_factory.mktemp("vlm"), seed=3))
    vae = loading.load_vae(tiny.build_vae(tmp_path_factory.mktemp("vae"), seed=3))
    dino = loading.load_dino(tiny.build_dino(tmp_path_factory.mktemp("dino"), seed=3))
    vae.model.latents_mean.fill_(0.25)
    vae.model.latents_std.fill_(0.5)
    features = vlm.encode(images, ["X1.2", "X2", "X3", "X4.2", "X4.last"], side=140)
    return {**features, "X6": vae.encode(images, side=112), "X7": dino.encode(images, side=112)}


def summary(values):
    flat = values.ravel()
    return [float(np.abs(flat).mean()), *map(float, flat[np.linspace(0, len(flat) - 1, 6).astype(int)[1:5]])]


@pytest.mark.parametrize("point", ["X1.2", "X2", "X3", "X4.2", "X4.last", "X6", "X7"])
def test_features_are_what_they_were_under_this_version(outputs, point):
    assert EXTRACTION_VERSION in GOLDEN, "EXTRACTION_VERSION was raised: add what comes out now to GOLDEN"
    np.testing.assert_allclose(
        summary(outputs[point]),
        GOLDEN[EXTRACTION_VERSION][point],
        atol=TOLERANCE * outputs[point].std(),
        err_msg="extraction gives other features: raise EXTRACTION_VERSION if that is meant",
    )
