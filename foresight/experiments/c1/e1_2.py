"""e1_2, linear reconstruction probe: how much of the picture is *linearly* there in each visual token?

One ridge map, shared by all places, takes a token to the pixels under it: X2 before the merger, X3 after it. A token
cannot borrow from its neighbours through the probe, so what is missing in a patch was not in its token. Where the
profile asks for it (`global_probe`), the published probe stands beside: one pooled vector through one layer to all
pixels (H1).

C1's criteria are not read here but from e1_5; this says what could be had without any adapter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32
from torch.nn.functional import mse_loss

from foresight.metrics.reconstruction import LEVELS, Originals, level, log_scores, one_of_each
from foresight.plots.charts import curve, learning_curve
from foresight.plots.pictures import image_grid
from foresight.probes.linear import Standardiser
from foresight.probes.pixels import fit_pixel_probe, image_baselines, pooled_image_head
from foresight.probes.training import TrainingHistory, note_untrained, parameter_count, predict, seeded, train

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

POINTS = {"x2": "vlm:X2", "x3": "vlm:X3"}  # X3, what C1 decodes from, carries the plain names


def run(runner: ExperimentRunner) -> dict[str, Any]:
    dataset, split = runner.dataset(), runner.split()
    train_NHWC, val_NHWC, test_NHWC = (img_as_float32(dataset.images[p]) for p in (split.train, split.val, split.test))
    groups = [dataset.groups[index] for index in split.test]
    shown = runner.caption(len(split.test), sources=len(set(groups)))
    shown_validation = runner.caption(len(split.val), "validation pictures")

    # Probes: a ridge map per point, and the published pooled one where asked for
    made: dict[str, np.ndarray] = {}
    validation, weights = {}, {}
    for name, need in POINTS.items():
        runner.progress(len(made) / 4, f"per-token ridge on {need}")
        features = runner.features(need)
        probe = fit_pixel_probe(features[split.train], train_NHWC, features[split.val], val_NHWC)
        made[name], weights[name] = probe.predict(features[split.test]), probe.ridge.parameters
        validation[need] = probe.ridge.validation_mse
    if "global_probe" in runner.config:
        runner.progress(2 / 4, "published global probe")
        made["global"], weights["global"], history = _global_probe(runner, train_NHWC, val_NHWC)
        note_untrained(runner.note, {"H1": history}, runner.seed)
        drawn = learning_curve(
            {"H1": history}, title="Published global probe", caption=shown_validation, y_label="squared error"
        )
        runner.results.save_artifact("learning_curve_global.png", drawn)

    # Scores, beside what needs no features
    runner.progress(3 / 4, "scores")
    originals = Originals(test_NHWC, device=runner.device)
    _, h, w, _ = runner.features(POINTS["x3"]).shape
    trivial = image_baselines(train_NHWC, (h, w))
    baselines = {name: originals.scores(picture) for name, picture in trivial.items()}
    scores = {name: originals.scores(reconstruction) for name, reconstruction in made.items()}
    for name, of in scores.items():
        log_scores(runner.log_samples, of, baselines, groups=groups, suffix="" if name == "x3" else f"_{name}")

    # Pictures
    some = one_of_each(groups)
    read = {name: f"from {name.upper()}" if name in POINTS else "published probe" for name in made}
    rows = {"original": test_NHWC[some], **{read[name]: images[some] for name, images in made.items()}}
    drawn = image_grid(
        {**rows, "mean image": trivial["mean_image"]},
        title="Pictures read linearly from visual tokens",
        caption=shown,
        scores={read[name]: of["lpips"][some] for name, of in scores.items()},
    )
    runner.results.save_artifact("reconstruction_grid.png", drawn)
    drawn = curve(
        list(validation["vlm:X3"]),
        {need: list(errors.values()) for need, errors in validation.items()},
        title="Which ridge penalty validation chose",
        caption=shown_validation,
        x_label="penalty a sample",
        y_label="squared error on validation",
        log_x=True,
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    runner.results.save_json_artifact(
        "reconstruction_metrics.json",
        {
            "items": [dataset.manifest.items[index].id for index in split.test],
            "scores": scores,
            "baselines": baselines,
            "weights": weights,
            "n": {"train": len(split.train), "validation": len(split.val), "test": len(split.test)},
        },
    )

    # Finding
    return {
        "finding": f"What is linearly there in X3 tokens is {level(scores['x3'])} for reconstruction ({LEVELS}): "
        "LPIPS {lpips:.3f} (mean image {mean_image_lpips:.3f}), SSIM {ssim:.3f}; "
        "before the merger LPIPS is {lpips_x2:.3f}.",
        "metrics": {
            **{f"mean_image_{metric}": np.mean(values) for metric, values in baselines["mean_image"].items()},
            **{f"weights_{name}": count for name, count in weights.items()},
        },
    }


def _global_probe(
    runner: ExperimentRunner, train_NHWC: np.ndarray, val_NHWC: np.ndarray
) -> tuple[np.ndarray, int, TrainingHistory]:
    """H1 as published: the mean token of `point`, standardised, through one layer and a sigmoid to every pixel."""
    settings = dict(runner.config["global_probe"])
    features, split = runner.features(settings.pop("point")), runner.split()
    x_train, x_val, x_test = (features[part].mean((1, 2)) for part in (split.train, split.val, split.test))
    standardise = Standardiser.fit(x_train).apply
    with seeded(runner.seed):
        head = pooled_image_head(x_train.shape[1], train_NHWC.shape[1:3])
    history = train(
        head,
        mse_loss,
        (standardise(x_train), train_NHWC),
        (standardise(x_val), val_NHWC),
        seed=runner.seed,
        device=runner.device,
        watch=runner.loss_curve("global_probe"),
        **settings,
    )
    return predict(head, standardise(x_test), device=runner.device), parameter_count(head), history
