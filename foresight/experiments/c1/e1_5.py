"""e1_5, full reconstruction: can the video model's own decoder paint what the tokens say?

An adapter takes the X3 tokens of a picture to its LTX-VAE latents, cell by cell: a ridge map in closed form from the
tokens under each cell, and a small cross-attention for what is left. Where tokens and cells do not divide (8 x 8 under
7 x 7 at 224 px) each cell has a map of its own, so that most weights are the ridge's: `weights` in the artifact counts
both. The frozen decoder paints the latents. Beside it, with the same decoder: the oracle, which
decodes the picture's own latents and bounds what any adapter could reach; the mean latent of train; and the adapter
with each picture's tokens in shuffled places, which keeps what was seen and loses where. And the pictures that need no
model at all: the mean image and a blank one.

C1's criteria `lpips`, `ssim` and `psnr` are read here: stills, ours, the whole picture, mean over held-out pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import save
from skimage.util import img_as_float32

from foresight.metrics.reconstruction import Originals, level, log_scores, one_of_each
from foresight.metrics.spatial import crop_to_boxes
from foresight.plots.charts import learning_curve
from foresight.plots.pictures import image_grid
from foresight.probes.latents import fit_latent_probe
from foresight.probes.pixels import image_baselines
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.probes.training import Epoch
    from foresight.runner import ExperimentRunner

TOKENS, LATENTS = "vlm:X3", "vae:X6"
BASELINES = ("mean_latent", "shuffled_tokens", "mean_image", "blank_image")


def run(runner: ExperimentRunner) -> dict[str, Any]:
    dataset, split = runner.dataset(), runner.split()
    test_NHWC = img_as_float32(dataset.images[split.test])
    groups = [dataset.groups[index] for index in split.test]
    tokens, latents = runner.features(TOKENS), runner.features(LATENTS)

    # Adapter: validation stops its training
    curve = runner.loss_curve("adapter")

    def watch(epoch: Epoch) -> None:
        curve(epoch)
        done = epoch.number / max(1, epoch.of)
        runner.progress(0.6 * done, f"adapter, epoch {epoch.number}: validation loss {epoch.validation_loss:.4g}")

    probe = fit_latent_probe(
        tokens[split.train],
        latents[split.train],
        tokens[split.val],
        latents[split.val],
        seed=runner.seed,
        device=runner.device,
        watch=watch,
        **runner.config.get("adapter", {}),
    )

    # Pictures of every arm, by the same frozen decoder
    runner.progress(0.6, "decoding")
    decode = runner.model("vae").decode
    painted = {
        "ours": decode(probe.predict(tokens[split.test])),
        "oracle": decode(latents[split.test]),
        "mean_latent": decode(probe.mean[None]),
        "shuffled_tokens": decode(probe.predict(_in_shuffled_places(tokens[split.test], runner.rng))),
    }
    _, h, w, _ = tokens.shape
    trivial = image_baselines(img_as_float32(dataset.images[split.train]), (h, w))
    painted |= {name: trivial[name] for name in BASELINES if name in trivial}

    # Scores: the whole picture decides; the foreground is reported where it is known
    runner.progress(0.75, "scores")
    scores = {"": _scores(test_NHWC, painted, runner.device)}
    if all("box" in item.labels for item in dataset.manifest.items):
        boxes, side = dataset.labels("box")[split.test], max(32, test_NHWC.shape[1] // 2)
        crops = {name: _crops(images, boxes, side) for name, images in painted.items()}
        scores["_foreground"] = _scores(_crops(test_NHWC, boxes, side), crops, runner.device)
    else:
        runner.note("The foreground was not scored: these data do not say where it is.")
    for region, by_arm in scores.items():
        baselines = {name: by_arm[name] for name in BASELINES}
        log_scores(runner.log_samples, by_arm["ours"], baselines, groups=groups, suffix=region)
        log_scores(runner.log_samples, by_arm["oracle"], baselines, groups=groups, suffix=f"_oracle{region}")
    if runner.is_stand_in("vae"):
        runner.note(
            "The decoder is a stand-in: what it can paint bounds every score here, and the oracle shows the bound."
        )

    # Artifacts
    runner.progress(0.95, "pictures")
    shown = runner.caption(len(split.test), sources=len(set(groups)))
    some = one_of_each(groups)
    rows = {"original": test_NHWC[some], "oracle": painted["oracle"][some], "ours": painted["ours"][some]}
    drawn = image_grid(
        {**rows, "shuffled tokens": painted["shuffled_tokens"][some], "mean latent": painted["mean_latent"]},
        title="Painted by the video model's decoder from X3 tokens",
        caption=shown,
        scores={name: scores[""][name]["lpips"][some] for name in ("oracle", "ours")},
    )
    runner.results.save_artifact("reconstruction_grid.png", drawn)
    note_untrained(runner.note, {"adapter": probe.history}, runner.seed)
    drawn = learning_curve(
        {"adapter": probe.history},
        title="Training of the adapter",
        caption=runner.caption(len(split.val), "validation pictures"),
        y_label="squared error of standardised latents",
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    runner.results.save_artifact("adapter.safetensors", save(probe.adapter.state_dict()))
    runner.results.save_json_artifact(
        "reconstruction_metrics.json",
        {
            "items": [dataset.manifest.items[index].id for index in split.test],
            "scores": {region.strip("_") or "whole": by_arm for region, by_arm in scores.items()},
            "weights": probe.parameters,
            "grid": {"tokens": tokens.shape[1:], "latents": latents.shape[1:]},
        },
    )

    # Finding
    return {
        "finding": "Pictures painted by the video model's decoder from X3 tokens are "
        f"{level(scores['']['ours'])}: LPIPS {{lpips:.3f}}, SSIM {{ssim:.3f}}, PSNR {{psnr:.1f}} dB, where the decoder "
        "itself reaches LPIPS {lpips_oracle:.3f} from the true latents and {mean_latent_lpips:.3f} from the mean one.",
        "metrics": {f"{name}_lpips": np.mean(scores[""][name]["lpips"]) for name in BASELINES},
    }


def _in_shuffled_places(tokens_NhwD: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every picture's own tokens, each picture in another order."""
    n, h, w, d = tokens_NhwD.shape
    order = rng.permuted(np.tile(np.arange(h * w), (n, 1)), axis=1)
    return np.take_along_axis(tokens_NhwD.reshape(n, h * w, d), order[..., None], axis=1).reshape(n, h, w, d)


def _crops(images_NHWC: np.ndarray, boxes_N4: np.ndarray, side: int) -> np.ndarray:
    """The foreground of each picture; of one picture for all, its crops at every box."""
    return crop_to_boxes(np.broadcast_to(images_NHWC, (len(boxes_N4), *images_NHWC.shape[1:])), boxes_N4, side)


def _scores(originals_NHWC: np.ndarray, arms: dict[str, np.ndarray], device: str) -> dict[str, dict[str, np.ndarray]]:
    originals = Originals(originals_NHWC, device=device)
    return {name: originals.scores(np.clip(images, 0, 1)) for name, images in arms.items()}
