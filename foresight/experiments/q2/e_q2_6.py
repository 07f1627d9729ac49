"""e_q2_6, temporal information: can direction, speed and order be read from real video input?

Every clip is there forward, reversed and frozen (`foresight.data.motion`), all of one source. A head reads the tokens
of a clip; forward and reversed clips share their frames and differ in direction and order, so what it finds is motion.
Beside it stand the same head on the frozen clips (what appearance tells), the same head trained on labels that were
dealt out anew, and the most frequent class. The last part asks what comes next: the latent of the frame after the last
one that the tokens have seen, as a change of the latent before it, against copying that and against the mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32
from sklearn.metrics import confusion_matrix

from foresight.data.motion import ORDER, STILL
from foresight.errors import UserError
from foresight.metrics.statistics import Interval, mean_interval
from foresight.metrics.structure import permute_labels
from foresight.plots.charts import bars, learning_curve
from foresight.plots.maps import heat_map
from foresight.plots.pictures import image_grid
from foresight.plots.style import Estimate
from foresight.probes.latents import fit_cell_ridge
from foresight.probes.motion import ClipTokens, MotionProbe, fit_motion_probe
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.data.dataset import Dataset
    from foresight.runner import ExperimentRunner

HEADLINE = "X3"  # where Q2 asks; its scores carry the plain names
TASKS = ("direction", "speed", ORDER)  # a label that the data do not have is left out
GOOD = {"direction": 0.80, ORDER: 0.75}
CONTROLS = {"frozen": "X3 of frozen clips", "permuted": "permuted labels", "majority": "most frequent class"}
STRIPS = 6  # clips that are shown
WIDTH = 32  # that tokens are projected to
DEALT_PATIENCE = 5  # epochs, for a head that can only learn by heart

Parts = dict[str, np.ndarray]  # train, validation, test -> indices of the clips that move


def run(runner: ExperimentRunner) -> dict[str, Any]:
    dataset = runner.dataset()
    items = dataset.manifest.items
    labels = {task: dataset.labels(task) for task in TASKS if all(task in item.labels for item in items)}
    moving = np.flatnonzero(labels[ORDER] != STILL)
    clips = {name: np.intersect1d(part, moving) for name, part in runner.split().parts.items()}
    groups = [dataset.groups[index] for index in clips["test"]]
    true = {task: values[clips["test"]] for task, values in labels.items()}
    points = [need for need in runner.needs if need.startswith("vlm:")]
    headline = next(need for need in points if need.split(":")[1] == HEADLINE)

    # Heads: every point and task, and the controls at the headline
    width = runner.config.get("width", WIDTH)
    spaces = {need: ClipTokens.of(runner.features(need)[:], clips["train"], width) for need in points}
    fits = [(need, task) for need in points for task in labels]
    probes: dict[tuple[str, str], MotionProbe] = {}
    found: dict[tuple[str, str], np.ndarray] = {}
    for done, (need, task) in enumerate(fits):
        runner.progress(done / (len(fits) + 4), f"{task} at {need}")
        probes[need, task] = _fit(runner, f"{task}_{_name(need)}", spaces[need].tokens, clips, labels[task])
        found[need, task] = probes[need, task].predict(spaces[need].tokens[clips["test"]])
    runner.progress(len(fits) / (len(fits) + 4), "controls: frozen clips and permuted labels")
    controls = {task: _controls(runner, task, spaces[headline].tokens, dataset, clips, labels[task]) for task in labels}

    # Scores
    metrics: dict[str, float] = {}
    for (need, task), answers in found.items():
        name = f"{task}_accuracy" if need == headline else f"{task}_accuracy_{_name(need)}"
        beside = {control: np.asarray(given == true[task], float) for control, given in controls[task].items()}
        runner.log_samples(name, np.asarray(answers == true[task], float), groups=groups, baselines=beside)
        if need == headline:
            metrics |= {f"{task}_{control}": np.mean(right) for control, right in beside.items()}
    runner.progress((len(fits) + 2) / (len(fits) + 4), "the next frame's latent")
    latents, coming = _next_latent(runner, spaces[headline].tokens, clips, groups)
    metrics |= latents
    if all(source.origin.startswith("drawn") for source in dataset.manifest.sources.values()):
        runner.note("The clips are drawn shapes in motion, not filmed; the model is given them as video.")
    if runner.is_stand_in("vlm"):
        runner.note("The stand-in was trained on stills, and its language model is random: it never saw anything move.")

    # Pictures
    runner.progress((len(fits) + 3) / (len(fits) + 4), "pictures")
    shown = runner.caption(len(groups), "held-out clips", sources=len(set(groups)))
    read = {task: found[headline, task] for task in labels}
    _confusions(runner, true, read, shown)
    _bars(runner, true, found, controls, groups, shown)
    _strips(runner, dataset, clips["test"], true, read)
    note_untrained(runner.note, {f"{task}, {need}": of.history for (need, task), of in probes.items()}, runner.seed)
    drawn = learning_curve(
        {task: probes[headline, task].history for task in labels},
        title="Training of the motion heads at X3",
        caption=runner.caption(len(clips["validation"]), "validation clips"),
        y_label="cross-entropy (nats)",
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    runner.results.save_json_artifact(
        "answers.json",
        {
            "items": [items[index].id for index in clips["test"]],
            "true": true,
            "read": {f"{task} {need.split(':')[1]}": answers for (need, task), answers in found.items()},
            "controls": controls,
            "weights": {f"{task} {need.split(':')[1]}": probe.parameters for (need, task), probe in probes.items()},
            "kept_by_projection": {need.split(":")[1]: space.projection.explained for need, space in spaces.items()},
        },
    )

    # Finding
    good = [task for task, least in GOOD.items() if np.mean(read[task] == true[task]) >= least]
    what = {0: "neither direction nor order", 1: f"only {' '.join(good)}", 2: "direction and order"}[len(good)]
    said = ", ".join(f"{task} {{{task}_accuracy:.1%}} ({{{task}_frozen:.1%}} from frozen clips)" for task in labels)
    levels = ", ".join(f"{task}: from {least:.0%}" for task, least in GOOD.items())
    return {"finding": f"From video input at X3, {what} can be read ({levels}): {said}{coming}.", "metrics": metrics}


def _fit(
    runner: ExperimentRunner, name: str, tokens: np.ndarray, clips: Parts, values: np.ndarray, **settings: Any
) -> MotionProbe:
    train, val = clips["train"], clips["validation"]
    return fit_motion_probe(
        tokens[train],
        values[train],
        tokens[val],
        values[val],
        seed=runner.seed,
        device=runner.device,
        watch=runner.loss_curve(name),
        **{**runner.config.get("head", {}), **settings},
    )


def _controls(
    runner: ExperimentRunner, task: str, tokens: np.ndarray, dataset: Dataset, clips: Parts, values: np.ndarray
) -> dict[str, np.ndarray]:
    """Answers on the test clips: of the same head on frozen clips, of one fitted to permuted labels, of none at all."""
    test, groups = clips["test"], np.array(dataset.groups)
    frozen = tokens[_frozen_twins(dataset)]
    dealt = values.copy()
    for part in (clips["train"], clips["validation"]):
        dealt[part] = permute_labels(values[part], groups[part], runner.rng)
    kinds, counts = np.unique(values[clips["train"]], return_counts=True)
    return {
        "frozen": _fit(runner, f"{task}_frozen", frozen, clips, values).predict(frozen[test]),
        "permuted": _fit(runner, f"{task}_permuted", tokens, clips, dealt, patience=DEALT_PATIENCE).predict(
            tokens[test]
        ),
        "majority": np.full(len(test), kinds[counts.argmax()]),
    }


def _frozen_twins(dataset: Dataset) -> np.ndarray:
    """[N]: for every item the frozen clip of its source."""
    stills = {dataset.groups[index]: index for index in np.flatnonzero(dataset.labels(ORDER) == STILL)}
    return np.array([stills[source] for source in dataset.groups])


def _next_latent(
    runner: ExperimentRunner, tokens: np.ndarray, clips: Parts, groups: list[str]
) -> tuple[dict[str, float], str]:
    """Scores of the prediction of a frame's latent, and what the finding says of them.

    Nothing unless the profile gives the latents of two neighbouring frames: the last one seen, and the next.
    """
    frames = sorted(int(need.split(".")[1]) for need in runner.needs if need.startswith("vae:X6."))
    if not frames:
        return {}, ""
    frames_a_step = runner.dataset().images.shape[1] // tokens.shape[1]
    if len(frames) != 2 or frames[1] != frames[0] + 1 or frames[1] % frames_a_step or frames[1] < frames_a_step:
        raise UserError(
            f"{runner.sub_experiment} was given the latents of the frames {frames}, counted from 0. It needs those of "
            f"two neighbours, the second of which begins a step of {frames_a_step} frames: correct the needs."
        )
    before, after = (runner.features(f"vae:X6.{frame}")[:] for frame in frames)
    seen = tokens[:, : frames[1] // frames_a_step]  # no token has seen a later step
    recent = np.concatenate([seen[:, step] for step in range(seen.shape[1])[-2:]], axis=-1)
    train, val, test = clips["train"], clips["validation"], clips["test"]
    ridge = fit_cell_ridge(recent[train], (after - before)[train], recent[val], (after - before)[val])

    def missed(guess: np.ndarray) -> np.ndarray:
        return np.square(guess - after[test]).mean((1, 2, 3))

    guesses = {"copy": before[test], "mean": after[train].mean(0)}
    errors = missed(before[test] + ridge.predict(recent[test]))
    beside = {name: missed(guess) for name, guess in guesses.items()}
    runner.log_samples("next_latent_mse", errors, groups=groups, baselines=beside, higher_is_better=False)
    metrics = {f"next_latent_mse_{name}": float(np.mean(error)) for name, error in beside.items()}
    return metrics, (
        "; the next frame's latent is missed by {next_latent_mse:.3f}, by a copy of the last one by "
        "{next_latent_mse_copy:.3f}"
    )


def _confusions(runner: ExperimentRunner, true: dict[str, np.ndarray], read: dict[str, np.ndarray], shown: str) -> None:
    for task, answers in read.items():
        kinds = [str(kind) for kind in np.unique(true[task])]
        counted = confusion_matrix(true[task], answers, labels=kinds, normalize="true")
        drawn = heat_map(
            counted,
            title=f"What is read as which {task}, from X3",
            caption=shown,
            unit="share of the true ones",
            row_labels=kinds,
            column_labels=kinds,
            x_label="read",
            y_label="true",
        )
        runner.results.save_artifact(f"confusion_{task}.png", drawn)


def _bars(
    runner: ExperimentRunner,
    true: dict[str, np.ndarray],
    found: dict[tuple[str, str], np.ndarray],
    controls: dict[str, dict[str, np.ndarray]],
    groups: list[str],
    shown: str,
) -> None:
    series: dict[str, dict[str, Estimate | float]] = {}
    for (need, task), answers in found.items():
        series.setdefault(need.split(":")[1], {})[task] = _share(answers == true[task], groups)
    for task, given in controls.items():
        for control, answers in given.items():
            series.setdefault(CONTROLS[control], {})[task] = _share(answers == true[task], groups)
    drawn = bars(
        series,
        title="Motion read from video input",
        caption=f"{shown} · 95 % intervals over sources",
        y_label="share read right",
        thresholds={f"{task} is good": least for task, least in GOOD.items()},
    )
    runner.results.save_artifact("accuracy.png", drawn)


def _share(right: np.ndarray, groups: list[str]) -> Estimate:
    found = mean_interval([(right.astype(float).tolist(), groups)])
    ends = (found.low, found.high) if isinstance(found, Interval) else (None, None)
    return Estimate(float(right.mean()), *ends)


def _strips(
    runner: ExperimentRunner,
    dataset: Dataset,
    test: np.ndarray,
    true: dict[str, np.ndarray],
    read: dict[str, np.ndarray],
) -> None:
    """Some clips, frame by frame, with what was read of them."""
    rows = {}
    for number, index in enumerate(test[:STRIPS]):
        said = ", ".join(f"{true[task][number]} read {answers[number]}" for task, answers in read.items())
        rows[f"{number + 1}: {said}"] = img_as_float32(dataset.images[index])
    frames = dataset.images.shape[1]
    drawn = image_grid(
        rows,
        title="Held-out clips, frame by frame",
        caption=runner.caption(len(rows), "of the held-out clips", note=f"{dataset.fps:g} frames a second"),
        column_labels=[f"{frame / (dataset.fps or 1):g} s" for frame in range(frames)],
        columns=frames,
    )
    runner.results.save_artifact("clips.png", drawn)


def _name(need: str) -> str:
    return need.split(":")[1].lower().replace(".", "_").replace("@", "_")
