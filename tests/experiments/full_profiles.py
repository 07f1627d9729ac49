"""The packaged profiles `repro` and `real`, with everything as they say but the sizes: other weights, fewer items.

What a handler gets is what it would get: the profile's own needs, layers, parameters, splits and recipes, real
extraction through the planner and `run_call`. Only this is changed, and it is what no shape may depend on:

- each model id stands for random weights of the real class, as deep as the full model and a hundredth as wide, with
  widths that no other profile has (`build_weights`, by role);
- pictures and clips are stretched to twice their width, so no grid is square;
- an adapter of a counted size has 1 in `FEWER` of its weights, one learning rate is tried, and a third of the trials;
- data sets have at most `items` items and splits in counts shrink in proportion; nothing trains over `EPOCHS` epochs
  or is timed in more than one round (bfloat16 takes minutes on a CPU),
  and a detection transformer is `HIDDEN` wide, as an adapter is and what says that it is `hidden` wider;
- where `side` is given, no picture is higher;
- raw data sets are small folders in the true layout (`raw_folders.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from foresight.compute import planner
from foresight.compute.request import RunRequest, resolve
from foresight.compute.run_step import run_call, steps_to_json
from foresight.compute.tracking import Tracker
from foresight.data import dataset
from foresight.data.dataset import prepare
from foresight.data.recipes import RECIPES, Sample
from foresight.home import Home
from foresight.models.download import make_available
from foresight.models.identity import locate, write_manifest
from foresight.models.tiny import DinoShape, VaeShape, VlmShape, build_dino, build_vae, build_vlm
from foresight.plan.loader import PACKAGED_PLAN, PACKAGED_PROFILES
from foresight.results.record import Record, read_record

REVISION = "0" * 40
EPOCHS, HIDDEN, FEWER = 2, 32, 250
build_weights: dict[str, Callable[[Path], Any]] = {
    "vlm": lambda folder: build_vlm(
        folder,
        VlmShape(
            vision_width=24,
            vision_depth=32,
            vision_heads=2,
            window=112,
            full_attention=(7, 15, 23, 31),
            width=48,
            depth=28,
            heads=2,
            key_value_heads=1,
        ),
    ),
    "dino": lambda folder: build_dino(folder, DinoShape(width=40, depth=3, heads=2)),
    "vae": lambda folder: build_vae(
        folder, VaeShape(latent_channels=20, channels=(8, 16, 16, 16), scaling=(True, True, True, False))
    ),
}


@dataclass
class FullRun:
    """What a run left: the results document of the experiment, and the record of every sub-experiment."""

    document: dict[str, Any]
    records: dict[str, Record]


def run_full(
    profile: str,
    experiment: str,
    folder: Path,
    patch: pytest.MonkeyPatch,
    *,
    items: int,
    side: int | None = None,
    raw: Path | None = None,
) -> FullRun:
    """One seed of every sub-experiment of `experiment` that has a handler, in `profile`, in this process.

    `raw` holds the raw data sets, `ssv2/`, `coco/`. Raises `AssertionError` if a step does not complete.
    """
    home = Home(folder / "home")
    patch.setattr(dataset, "_write", _twice_as_wide(dataset._write))
    if raw is not None:
        patch.setenv("FORESIGHT_DATASETS", str(raw))
    job = resolve(
        RunRequest((experiment,), profile=profile, plan=str(_shrunk_plan(profile, folder, items, side)), seeds=1)
    )
    for spec in planner.model_specs(job).values():
        weights = locate(spec, home)
        build_weights[spec.role](weights)
        write_manifest(weights, id=spec.id, licence="none: random", revision=spec.revision)
        make_available(spec, home, forward=False)
    for data in planner.data_specs(job).values():
        prepare(data, home)

    plan = planner.plan_steps(job, home, "full")
    tracker = Tracker(home, job, "full")
    tracker.begin(plan)
    by_fingerprint = {step.fingerprint: step for step in plan.steps}
    records = {}
    for index, call in enumerate(plan.calls()):
        for outcome in run_call(steps_to_json(call), home, f"call-{index}", "full"):
            step = by_fingerprint[outcome.fingerprint]
            assert outcome.status == "completed", f"{step.label}: {outcome.error}"
            tracker.step_ended(step, None)
            if step.kind == "sub_experiment":
                record = read_record(home, outcome.fingerprint)
                assert record is not None
                records[str(record.sub_experiment)] = record
    tracker.finish("completed")
    (document,) = tracker.documents().values()
    return FullRun(document, records)


def _shrunk_plan(profile: str, folder: Path, items: int, side: int | None) -> Path:
    """A copy of the packaged plan whose profiles file holds only `profile`, shrunk."""
    packaged = yaml.safe_load(PACKAGED_PROFILES.read_text())
    content = next(one for one in packaged["profiles"] if one["name"] == profile)
    for role, model in content["models"].items():
        model |= {"id": f"test/other-{role}", "revision": REVISION}
    share = {}
    for name, data in content["data"].items():
        asked = data["parameters"]["n"]
        data["parameters"]["n"] = min(asked, items)
        share[name] = data["parameters"]["n"] / asked
        if side is not None:
            asked_px = RECIPES[data["recipe"]].parameters.model_validate(data["parameters"]).side
            data["parameters"]["side"] = min(asked_px, side)
    for settings in content["sub_experiments"].values():
        settings["parameters"] = _lighter(settings.get("parameters", {}))
        if "split" in settings and settings["split"]["train"] >= 1:
            counts = {part: max(2, int(n * share[settings["data"]])) for part, n in settings["split"].items()}
            settings["split"] = counts
    content["resources"]["everything_on"] = "cpu"
    (folder / "profiles.yaml").write_text(yaml.safe_dump({"version": 1, "profiles": [content]}))
    plan = folder / "plan.yaml"
    plan.write_text(PACKAGED_PLAN.read_text() + "\nprofiles: profiles.yaml\n")
    return plan


def _lighter(parameters: Any) -> Any:
    if not isinstance(parameters, dict):
        return parameters
    most = {"epochs": EPOCHS, "hidden": HIDDEN, "rounds": 1, "warm_up": 0}
    lighter = {key: min(value, most[key]) if key in most else _lighter(value) for key, value in parameters.items()}
    if "rates" in lighter:
        lighter["rates"] = lighter["rates"][:1]
    for key in {"small", "large", "weights"} & lighter.keys():
        lighter[key] //= FEWER
    if "trials" in lighter:
        lighter["trials"] = dict(list(lighter["trials"].items())[::3])
    if "recipe" in lighter and "sizes" in lighter:
        lighter["sizes"] = [size // FEWER for size in lighter["sizes"]]
    if parameters.get("kind") == "transformer":
        lighter["hidden"] = HIDDEN
    if "depth" in parameters:
        lighter["width"] = HIDDEN
    return lighter


def _twice_as_wide(write: Callable[..., Any]) -> Callable[..., Any]:
    """The data set as it is written, every picture stretched; boxes, which are shares of the sides, stay right."""

    def wide(samples: Iterator[Sample]) -> Iterator[Sample]:
        for sample in samples:
            pixels = np.repeat(sample.pixels, 2, axis=-2)
            yield Sample(sample.id, sample.source_id, sample.source, pixels, sample.labels)

    return lambda spec, samples, folder: write(spec, wide(samples), folder)
