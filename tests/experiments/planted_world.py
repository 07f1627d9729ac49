"""A small world in which what the features say is known: pictures that are not square, and features that are planted.

Everything goes the way that it goes in a run: the pictures through a recipe and `prepare`, the features through the
store, the handler through `execute` with a step and a context. Only the models are left out, and the numbers of what
they would have seen are written by the test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from foresight.compute.executors import StepContext
from foresight.compute.step import Step
from foresight.data.dataset import Dataset, prepare
from foresight.data.manifest import DataSpec, Source
from foresight.data.recipes import Parameters, Recipe, Sample
from foresight.data.splits import Split, split_by_source
from foresight.features.store import FeatureWriter
from foresight.files import write_json
from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.probes.pixels import patchify
from foresight.results.record import Provenance, Record, Samples, StepOutput, Usage
from foresight.runner import execute
from foresight.workbench import METRICS_FILE

HEIGHT, WIDTH = 64, 96
GRID_X2, GRID_X3 = (8, 12), (4, 6)
SPLIT = (0.6, 0.15, 0.25)
STAND_IN_VAE = {"role": "vae", "id": "foresight/stand-in-ltx-vae", "revision": "", "stand_in": True}


class PlantedParameters(Parameters):
    n: int = Field(default=64, ge=1)
    width: int = WIDTH


RECIPE = Recipe("planted", 1, PlantedParameters, "planted_world:make")


def make(parameters: PlantedParameters, root: Path | None = None) -> Iterator[Sample]:
    """A plain rectangle on a ground of its own, two pictures a source. Category and colour are independent labels."""
    height, width = parameters.side, parameters.width
    for index in range(parameters.n):
        rng = np.random.default_rng([parameters.seed, index])
        ground = Image.fromarray(rng.integers(40, 200, (6, 8, 3), dtype=np.uint8))
        pixels = np.array(ground.resize((width, height), Image.Resampling.BICUBIC))
        tall, wide = rng.integers(16, 40, 2)
        y, x = rng.integers(0, height - tall), rng.integers(0, width - wide)
        pixels[y : y + tall, x : x + wide] = rng.choice([0, 255], 3)
        yield Sample(
            id=f"planted-{index}",
            source_id=f"source-{index // 2}",
            source=Source(origin="drawn by a test", licence="CC0-1.0"),
            pixels=pixels,
            labels={
                "category": "abc"[rng.integers(3)],
                "colour": ("red", "blue")[rng.integers(2)],
                "box": [x / width, y / height, (x + wide) / width, (y + tall) / height],
            },
        )


@dataclass
class World:
    """Pictures in a home, and features to plant in it."""

    home: Home
    dataset: Dataset
    sizes: tuple[float, float, float] = SPLIT
    needs: dict[str, str] = field(default_factory=dict)
    attempts: int = 0

    @classmethod
    def of(cls, home: Home, sizes: tuple[float, float, float] = SPLIT, **parameters: Any) -> World:
        spec = DataSpec(name="planted", recipe="planted", parameters={"side": HEIGHT, **parameters})
        return cls(home, prepare(spec, home), sizes)

    @property
    def images(self) -> np.ndarray:
        """[N, H, W, 3] float32 in [0, 1]."""
        return np.asarray(self.dataset.images, dtype=np.float32) / 255

    def split(self, seed: int = 0) -> Split:
        return split_by_source(self.dataset.manifest, seed, self.sizes)

    def pixels(self, grid: tuple[int, int]) -> np.ndarray:
        """[N, h, w, P]: tokens that say everything, the pixels under each."""
        return patchify(self.images, grid)

    def noise(self, grid: tuple[int, int], width: int, seed: int = 0) -> np.ndarray:
        """[N, h, w, width]: tokens that say nothing."""
        rng = np.random.default_rng([seed, *grid, width])
        return rng.standard_normal((len(self.dataset), *grid, width)).astype(np.float32)

    def plant(self, features: Mapping[str, np.ndarray]) -> World:
        """Write features [N, h, w, D] by need into the store; they replace what was planted before."""
        self.needs = {}
        for need, values in features.items():
            fingerprint = f"planted-{len(list(self.home.features.glob('*')))}"
            writer = FeatureWriter(self.home, fingerprint, len(values), shard_items=24)
            for shard in writer.missing:
                writer.write(shard, values[writer.range(shard).start : writer.range(shard).stop])
            writer.finish({})
            self.needs[f"planted/{need}"] = fingerprint
        return self

    def run(
        self,
        handler: str,
        *,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
        models: Mapping[str, Mapping[str, Any]] | None = None,
        stand_ins: bool = False,
        uses: Mapping[str, str] | None = None,
    ) -> StepOutput:
        """One seed of a sub-experiment of the packaged plan, as `run_step` would run it. `uses`: see `record`."""
        self.attempts += 1
        experiment = next(e for e in load_plan().experiments if any(s.id == handler for s in e.sub_experiments))
        attempt = self.home.step(handler) / "attempts" / str(self.attempts)
        (attempt / "artifacts").mkdir(parents=True)
        step = Step(
            kind="sub_experiment",
            label=handler,
            profile="tiny",
            identity={
                "experiment": experiment.id,
                "sub_experiment": handler,
                "handler": experiment.sub_experiment(handler).handler,
                "parameters": dict(config or {}),
                "seed": seed,
                "split": list(self.sizes),
                "data": {"planted": self.dataset.manifest.sha256},
                "features": self.needs,
                "uses": dict(uses or {}),
                "models": {role: {"stand_in": stand_ins} for role in ("vlm", "vae", "dino")},
            },
            work={"data_specs": {"planted": self.dataset.manifest.spec.to_json()}, "model_specs": dict(models or {})},
            needs=self.needs,
        )
        progress: list[float] = []
        context = StepContext(
            self.home, attempt, attempt / "artifacts", "cpu", lambda fraction, text: progress.append(fraction)
        )
        made = execute(step, context)
        assert progress == sorted(progress), "progress went back"
        for artifact in made.artifacts:
            assert (self.home.root / artifact.path).stat().st_size == artifact.size_bytes
        return made

    def record(self, handler: str, made: StepOutput) -> dict[str, str]:
        """Record what `run` made, for another sub-experiment that uses it."""
        fingerprint = f"{handler}-{self.attempts}"
        record = Record(
            fingerprint=fingerprint, kind="sub_experiment", label=handler, profile="tiny", artifacts=made.artifacts,
            usage=Usage(device="cpu", seconds=1, cpu_seconds=1, peak_memory_bytes=1, cost_usd=0), identity={},
            attempt=1, provenance=Provenance(
                git_commit=None, git_dirty=None, lock_sha256=None, versions={}, seed=0, python="3", platform="Linux"
            ),
            started_at="2026-01-01T00:00:00+00:00", finished_at="2026-01-01T00:00:00+00:00",
        )  # fmt: skip
        write_json(self.home.record(fingerprint), record.model_dump(mode="json"))
        return {handler: fingerprint}

    def curves(self, handler: str) -> dict[str, list[int]]:
        """Name -> steps, of what the handler logged when it ran last, beside single scores."""
        attempt = self.home.step(handler) / "attempts" / str(self.attempts)
        found: dict[str, list[int]] = {}
        for line in (attempt / METRICS_FILE).read_text().splitlines():
            entry = json.loads(line)
            for name in entry["metrics"] if entry["step"] is not None else ():
                found.setdefault(name, []).append(entry["step"])
        return found

    def trained(self, handler: str) -> set[str]:
        """What the handler trained when it ran last, by its loss curves."""
        curves, suffix = self.curves(handler), "/validation/loss"
        names = {name.removesuffix(suffix) for name in curves if name.endswith(suffix)}
        assert all(len(curves[f"{name}{suffix}"]) > 1 for name in names)
        assert all(curves[f"{name}/train/loss"] == curves[f"{name}{suffix}"] for name in names)
        return names


def samples(made: StepOutput, metric: str) -> Samples:
    """The per-sample scores of one metric."""
    return next(entry for entry in made.samples if entry.metric == metric)


def finding(made: StepOutput) -> str:
    return made.finding_template.format(**made.metrics)
