"""e1_5, full reconstruction: can the video model's own decoder paint what the tokens say?

An adapter takes the X3 tokens of a picture to its LTX-VAE latents, cell by cell: a ridge map in closed form from the
tokens under each cell, and a small cross-attention for what is left. Where tokens and cells do not divide (8 x 8 under
7 x 7 at 224 px) each cell has a map of its own, so that most weights are the ridge's: `weights` in the artifact counts
both. The frozen decoder paints the latents, beside the oracle and the controls that `painting` lists.

C1's criteria `lpips`, `ssim` and `psnr` are read here: stills, ours, the whole picture, mean over held-out pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.painting import BASELINES, Painting
from foresight.metrics.reconstruction import LEVELS, level, one_of_each
from foresight.plots.pictures import image_grid
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

TOKENS = "vlm:X3"


def run(runner: ExperimentRunner) -> dict[str, Any]:
    painting = Painting(runner, TOKENS)
    dataset, split, groups = painting.dataset, painting.split, painting.groups

    # Adapter: validation stops its training
    probe = painting.fit("adapter", runner.config.get("adapter", {}), progress=(0.0, 0.6))

    # Pictures of every arm, by the same frozen decoder
    runner.progress(0.6, "decoding")
    painted = painting.arms(probe)

    # Scores: the whole picture decides; the foreground is reported where it is known
    runner.progress(0.75, "scores")
    scores = painting.log(painted)

    # Artifacts
    runner.progress(0.95, "pictures")
    shown = runner.caption(len(split.test), sources=len(set(groups)))
    some = one_of_each(groups)
    rows = {"original": painting.images[some], "oracle": painted["oracle"][some], "ours": painted["ours"][some]}
    drawn = image_grid(
        {**rows, "shuffled tokens": painted["shuffled_tokens"][some], "mean latent": painted["mean_latent"]},
        title="Painted by the video model's decoder from X3 tokens",
        caption=shown,
        scores={name: scores[""][name]["lpips"][some] for name in ("oracle", "ours")},
    )
    runner.results.save_artifact("reconstruction_grid.png", drawn)
    note_untrained(runner.note, {"adapter": probe.history}, runner.seed, decides={"adapter": ["lpips", "ssim", "psnr"]})
    painting.save(probe, {"adapter": probe.history})
    runner.results.save_json_artifact(
        "reconstruction_metrics.json",
        {
            "items": [dataset.manifest.items[index].id for index in split.test],
            "scores": {region.strip("_") or "whole": by_arm for region, by_arm in scores.items()},
            "weights": probe.parameters,
            "grid": {"tokens": painting.tokens.shape[1:], "latents": painting.latents.shape[1:]},
        },
    )

    # Finding
    return {
        "finding": "Pictures painted by the video model's decoder from X3 tokens are "
        f"{level(scores['']['ours'])} ({LEVELS}): LPIPS {{lpips:.3f}}, SSIM {{ssim:.3f}}, PSNR {{psnr:.1f}} dB, where "
        "the decoder itself reaches LPIPS {lpips_oracle:.3f} from the true latents and {mean_latent_lpips:.3f} from "
        "the mean one.",
        "metrics": {f"{name}_lpips": np.mean(scores[""][name]["lpips"]) for name in BASELINES},
    }
