"""e_p2_6, latency: what does the second encoder cost?

One picture at a time, warm and synchronised, from its pixels to the pixels that LTX's frozen decoder paints. The *VLM
path* is the VLM up to its last layer, e_p2_3's VLM-only arm, the decoder; the *hybrid path* is the VLM and DINOv2,
e_p2_3's fused arm, the same decoder. Both are the trained system of the same seed, and both are run on each picture in
turn, so that their ratio is paired. Beside them, in DINOv2's place, a second pass of the VLM: what any encoder costs
that is as large as the first. Preparing the picture for each model is part of its time, and each model has the number
format that the profile gives it for extraction.

P2's criterion `latency_overhead` is read here: (hybrid - VLM path) / VLM path, mean over held-out pictures. The stages
are timed by themselves as well, in the same rounds. Memory is that of the process with all of it loaded: the device's
peak on a GPU, the resident set on a CPU.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.p2.fusing import SYSTEM, VLM_ONLY
from foresight.experiments.reading import estimate
from foresight.metrics.latency import in_turn, overhead
from foresight.plots.charts import bars
from foresight.probes.fused_system import FusionSystem

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

TRAINED_IN = "e_p2_3"
BEARABLE_MS = 1500.0
ACCEPTABLE = 0.25


def run(runner: ExperimentRunner) -> dict[str, Any]:
    dataset, config = runner.dataset(), runner.config
    chosen = runner.split().test[: config["pictures"]]
    pictures, groups = dataset.images[chosen], [dataset.groups[index] for index in chosen]

    # Everything that both paths need, loaded before the first clock
    runner.progress(0.0, "loading")
    vlm, dino, vae = (runner.model(role, config["dtype"][role]) for role in ("vlm", "dino", "vae"))
    fused, alone = (
        FusionSystem.load(runner.artifact(TRAINED_IN, name), runner.device)[0] for name in (SYSTEM, VLM_ONLY)
    )

    def see(picture: int) -> np.ndarray:
        return vlm.encode(pictures[picture : picture + 1], ["X4.last"])["X4.last"]

    def see_places(picture: int) -> np.ndarray:
        return dino.encode(pictures[picture : picture + 1])

    def vlm_path(picture: int) -> np.ndarray:
        tokens = see(picture)
        return vae.decode(alone.read(*alone.alike(tokens, tokens)).latents)

    def hybrid_path(picture: int) -> np.ndarray:
        return vae.decode(fused.read(*fused.alike(see_places(picture), see(picture))).latents)

    def second_vlm(picture: int) -> np.ndarray:
        see(picture)
        return vlm_path(picture)

    tokens, places = ([one(picture) for picture in range(len(pictures))] for one in (see, see_places))
    latents = [fused.read(*fused.alike(*both)).latents for both in zip(places, tokens, strict=True)]
    stages = {
        "VLM": see,
        "DINOv2": see_places,
        "fusion": lambda picture: fused.read(*fused.alike(places[picture], tokens[picture])),
        "decoder": lambda picture: vae.decode(latents[picture]),
    }

    # Times, in milliseconds
    seconds = in_turn(
        {"vlm_path": vlm_path, "hybrid": hybrid_path, "second_vlm": second_vlm, **stages},
        len(pictures),
        rounds=config["rounds"],
        warm_up=config["warm_up"],
        rng=runner.rng,
        synchronise=_synchronise(runner.device),
        watch=lambda done, of: runner.progress(0.05 + 0.85 * done / of, f"round {done} of {of}"),
    )
    ms = {name: 1000.0 * of for name, of in seconds.items()}
    plain = ms["vlm_path"]
    runner.log_samples(
        "latency_overhead",
        overhead(ms["hybrid"], plain),
        groups=groups,
        baselines={"second_vlm": overhead(ms["second_vlm"], plain)},
        higher_is_better=False,
    )
    peak_gb = _peak_gb(runner.device)
    runner.note(_of_what(runner.device))

    # Pictures
    shown = runner.caption(len(groups), sources=len(set(groups)), note=f"median of {config['rounds']} rounds")
    whole = {"VLM path": "vlm_path", "hybrid path": "hybrid", "VLM twice": "second_vlm"}
    for name, title, bar in (
        ("stages.png", "Each stage alone", {text: text for text in stages}),
        ("paths.png", "From pixels to pixels", whole),
    ):
        drawn = bars(
            {"milliseconds": {text: estimate(ms[path], groups) for text, path in bar.items()}},
            title=f"{title}: how long one picture takes",
            caption=f"{shown} · 95 % intervals over sources",
            y_label="milliseconds",
        )
        runner.results.save_artifact(name, drawn)
    runner.results.save_json_artifact(
        "latency.json",
        {
            "items": [dataset.manifest.items[i].id for i in chosen],
            "milliseconds": {n: v.tolist() for n, v in ms.items()},
        },
    )

    # Finding
    median = {name: float(np.median(of)) for name, of in ms.items()}
    return {
        "finding": _sentence(float(overhead(ms["hybrid"], plain).mean()), median["hybrid"]),
        "metrics": {
            **{f"{_plain(name)}_ms": value for name, value in median.items()},
            "hybrid_p95_ms": float(np.percentile(ms["hybrid"], 95)),
            "vlm_path_p95_ms": float(np.percentile(plain, 95)),
            "peak_gb": peak_gb,
        },
    }


def _synchronise(device: str) -> Any:
    if device == "cpu":
        return lambda: None
    import torch

    return torch.cuda.synchronize


def _peak_gb(device: str) -> float:
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # which Linux gives in kB
    import torch

    return torch.cuda.max_memory_allocated() / 1e9


def _of_what(device: str) -> str:
    if device == "cpu":
        return (
            "Times of one thread of a CPU, which the record names, with whatever ran beside: on a GPU they are others."
        )
    import torch

    return f"Times of {torch.cuda.get_device_name()}."


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _sentence(share: float, hybrid_ms: float) -> str:
    word = "acceptable" if share <= ACCEPTABLE else "beyond the acceptable"
    bearable = "within" if hybrid_ms <= BEARABLE_MS else "beyond"
    return (
        "The second encoder costs {latency_overhead:.0%} over the VLM path ({vlm_path_ms:.0f} ms a picture, "
        f"{{hybrid_ms:.0f}} ms with DINOv2), which is {word} ({ACCEPTABLE:.0%}), and in all {bearable} "
        f"{BEARABLE_MS:.0f} ms; at most {{peak_gb:.1f}} GB of memory."
    )
