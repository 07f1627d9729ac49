"""What a handler sees: its data, its features, its seed, and a place for what it finds.

One class with two faces. Inside a step, `execute` builds it from the step's identity, so that everything a handler
can reach (`config`, `seed`, `dataset`, `features`, `split`) is part of the fingerprint. In a notebook it is made by
hand, `register_handler` gives it functions and `run_all` runs them in this process. A handler cannot tell which.

Importing this module costs no torch: a model is loaded, and torch seeded, only where a handler asks for it.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foresight import output
from foresight.errors import StepFailed, UserError
from foresight.home import Home
from foresight.workbench import Artifacts, Assignment, Workbench

if TYPE_CHECKING:
    from foresight.compute.run_step import StepContext
    from foresight.compute.step import Step
    from foresight.data.dataset import Dataset
    from foresight.data.splits import Split
    from foresight.features.store import FeatureArray
    from foresight.probes.training import Epoch
    from foresight.results.record import StepOutput

Handler = Callable[["ExperimentRunner"], Mapping[str, Any]]


class ExperimentRunner:
    """What a handler is called with.

    By hand: `runner = ExperimentRunner("c1-vlm-latent-sufficiency")`, `runner.register_handler("e1_1", handler)`,
    `runner.run_all()`. `handler(runner)` returns `{"finding": str, "metrics": {name: number}, "artifacts": [names]}`.
    """

    def __init__(
        self, experiment_id: str, *, profile: str = "tiny", home: Home | None = None, plan: Path | None = None
    ) -> None:
        self.experiment_id = experiment_id
        self.profile = profile
        self.plan = plan  # of a team; None: the packaged one
        self.home = home or Home.from_environment()
        self._handlers: dict[str, Handler] = {}
        self._at_work: tuple[Assignment, Workbench] | None = None
        self._opened: dict[tuple[str, str], Any] = {}  # what the running handler has opened, to open it once

    # ------------------------------------------------------------------ what a handler reads

    @property
    def sub_experiment(self) -> str:
        return self._assignment.sub_experiment

    @property
    def seed(self) -> int:
        """Varies the split and every initialisation. Python, numpy and torch are seeded with it before the handler."""
        return self._assignment.seed

    @property
    def rng(self) -> np.random.Generator:
        """A fresh generator of this seed: asking twice gives the same numbers twice."""
        return np.random.default_rng(self.seed)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved parameters of this sub-experiment in this profile."""
        return dict(self._assignment.config)

    @property
    def device(self) -> str:
        """`cpu` or `cuda`, for torch."""
        return self._assignment.device

    @property
    def needs(self) -> tuple[str, ...]:
        """The features that were prepared, in the plan's order: `vlm:X1.1`, `vlm:X3@168`, …"""
        return tuple(name.split("/", 1)[1] for name in self._assignment.needs)

    def is_stand_in(self, role: str) -> bool:
        """Whether a tiny local model of the real class plays this role: its numbers say nothing of the real one."""
        return role in self._assignment.stand_ins

    def dataset(self, name: str | None = None) -> Dataset:
        """The data set, opened. Without a name: the only one. Raises `StepFailed` if it is not the one planned with."""
        from foresight.data.dataset import prepare
        from foresight.data.manifest import DataSpec

        name = self._data_name(name)
        if ("dataset", name) in self._opened:
            return self._opened["dataset", name]
        dataset = prepare(DataSpec.from_json(self._assignment.data_specs[name]), self.home)
        planned = self._assignment.data_sha256.get(name)
        if planned is not None and dataset.manifest.sha256 != planned:
            raise StepFailed(
                f"Data set {name} is not the one that this step was planned with ({dataset.manifest.sha256[:12]}… "
                f"instead of {planned[:12]}…). Start the run again.",
                cause="identity",
                retryable=False,
            )
        self._opened["dataset", name] = dataset
        return dataset

    def split(self, name: str | None = None) -> Split:
        """Train, validation and test by whole sources, for this seed. Raises `DataLeak` if they share any."""
        from foresight.data.splits import assert_disjoint, split_by_source

        name = self._data_name(name)
        if ("split", name) in self._opened:
            return self._opened["split", name]
        dataset = self.dataset(name)
        split = split_by_source(dataset.manifest, self.seed, tuple(self._assignment.split))
        assert_disjoint(dataset, split)
        self._opened["split", name] = split
        return split

    def features(self, need: str, data: str | None = None) -> FeatureArray:
        """`[index] -> float32 [., H, W, D]` of an extraction point, in the order of the data set's items."""
        key = f"{self._data_name(data)}/{need}"
        if key not in self._assignment.needs:
            raise UserError(
                f"{self.sub_experiment} reads {need!r}, which was not prepared for it. It was given: "
                f"{', '.join(self.needs) or 'nothing'}. "
                "Add the need to the plan or the profile, and use `foresight run`."
            )
        from foresight.features.store import open_features

        return open_features(self.home, self._assignment.needs[key])

    def artifact(self, sub_experiment: str, name: str) -> Path:
        """A file that another sub-experiment left for the same seed, whole as its record says: for reading only.

        Raises `UserError` if the plan does not say that it is used, and `StepFailed` if the file is not there.
        """
        if sub_experiment not in self._assignment.uses:
            raise UserError(
                f"{self.sub_experiment} reads {name} of {sub_experiment}, which the plan does not give it. "
                f"List {sub_experiment} under `uses`."
            )
        from foresight.results.lineage import used_file

        path, sha256 = used_file(self.home, self._assignment.uses[sub_experiment], sub_experiment, name)
        self._workbench.read[f"{sub_experiment}/{name}"] = sha256
        return path

    def model(self, role: str, dtype: Literal["float32", "bfloat16"] = "float32") -> Any:
        """The adapter of a model that the sub-experiment names under `models`, on `device`.

        In float32 everywhere, so that scores are the same on any device; another `dtype` is for what is timed.
        """
        if role not in self._assignment.model_specs:
            raise UserError(
                f"{self.sub_experiment} loads model {role!r}, which the plan does not give it. List it under `models`."
            )
        from foresight.models import loading
        from foresight.models.identity import ModelSpec, locate

        spec = ModelSpec.from_json(self._assignment.model_specs[role])
        return loading.load(spec, locate(spec, self.home), device=self.device, dtype=dtype)

    # ------------------------------------------------------------------ what a handler leaves

    @property
    def results(self) -> Artifacts:
        """`save_artifact(name, bytes_or_str)`, `save_json_artifact(name, data)`, `get_artifact_path(name)`."""
        return self._workbench.artifacts

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Put numbers on disk now (`metrics.jsonl`): a curve, or what an interrupted run should have left.

        Raises `InvalidOutput` on what is no finite number, or on a curve whose step does not increase.
        """
        self._workbench.log(metrics, step)

    def loss_curve(self, name: str, progress: tuple[float, float] | None = None) -> Callable[[Epoch], None]:
        """The `watch` of a trainer: `<name>/train/loss` and `<name>/validation/loss` over epochs, logged live.

        `progress`: from where to where the training takes the handler, which is said with every point of the curve.
        """

        def watch(epoch: Epoch) -> None:
            losses = {f"{name}/train/loss": epoch.train_loss, f"{name}/validation/loss": epoch.validation_loss}
            self.log_metrics(losses, step=epoch.number)
            if progress is not None:
                begin, end = progress
                done = min(end, begin + (end - begin) * epoch.number / max(1, epoch.of))
                self.progress(done, f"{name}, epoch {epoch.number}: validation loss {epoch.validation_loss:.4g}")

        return watch

    def log_samples(
        self,
        metric: str,
        scores: Any,
        *,
        groups: Sequence[Any],
        baseline: Any = None,
        baselines: Mapping[str, Any] | None = None,
        higher_is_better: bool = True,
    ) -> float:
        """The score of each sample: [n] numbers, with the source of each and trivial baselines on the same samples.

        This is what intervals are computed from. Returns the mean, which becomes the metric of that name and is logged
        at once.
        """
        beside = {**({} if baseline is None else {"baseline": baseline}), **(baselines or {})}
        entry = output.samples(metric, scores, groups=groups, baselines=beside, higher_is_better=higher_is_better)
        self._workbench.log_samples(entry)
        mean = float(np.mean(entry.scores))
        self._workbench.log({metric: mean}, None)
        return mean

    def progress(self, fraction: float, text: str) -> None:
        """Say how far the handler is, 0..1, and with what."""
        self._workbench.progress(min(max(float(fraction), 0.0), 1.0), text)

    def note(self, text: str) -> None:
        """A caveat that a reader must see beside the numbers."""
        if text not in self._workbench.notes:
            self._workbench.notes.append(text)

    def not_measured(self, metric: str, why: str) -> None:
        """Say why this seed has no such metric although the handler ran: one sentence, without its full stop.

        A criterion that is read from it is then *not measured* for that reason. A metric that is merely left out is one
        that the handler forgot.
        """
        self._workbench.not_measured[metric] = why

    def caption(self, n: int, unit: str = "held-out pictures", note: str = "", *, sources: int | None = None) -> str:
        """The line under every picture: n, of how many sources, seed, profile, and whether stand-ins made it."""
        from foresight.plots.style import caption

        notes = [note, "stand-in models" if self._assignment.stand_ins else ""]
        of = f"{unit} of {sources} sources" if sources not in (None, n) else unit
        return caption(n=n, seed=self.seed, profile=self.profile, unit=of, note=" · ".join(filter(None, notes)))

    # ------------------------------------------------------------------ by hand

    def register_handler(self, sub_experiment: str, handler: Handler) -> None:
        """Have `run_all` run `handler` as `sub_experiment`."""
        if not callable(handler):
            raise UserError(
                f"The handler of {sub_experiment} is not a function. Pass the function itself, not what it returns."
            )
        self._handlers[sub_experiment] = handler

    def run_all(self, sub_experiments: Sequence[str] | None = None, *, seed: int = 0) -> dict[str, list[str]]:
        """Run what is registered, or only some of it, in this process, and write results.yaml.

        Returns ids: `completed`, `failed`, `skipped`. A failed handler neither stops nor hides the others; what has no
        handler stays pending, and its criteria are not measured. Raises `UserError` as `by_hand.run_all` does.
        """
        from foresight import by_hand

        return by_hand.run_all(self, self._handlers, only=sub_experiments, seed=seed, plan_path=self.plan)

    # ------------------------------------------------------------------ how it is run

    def run_handler(self, handler: Handler, assignment: Assignment, workbench: Workbench) -> StepOutput:
        """Seed, run, check. What the handler raises passes through; a wrong output raises `InvalidOutput`."""
        self._at_work, self._opened = (assignment, workbench), {}
        try:
            seed_everything(assignment.seed)
            return workbench.collect(handler(self))
        finally:
            self._at_work, self._opened = None, {}

    def _data_name(self, name: str | None) -> str:
        names = list(self._assignment.data_specs)
        if name is None and len(names) == 1:
            return names[0]
        if name is None or name not in names:
            asked = "no name was given" if name is None else f"{name!r} is not one of them"
            raise UserError(
                f"{self.sub_experiment} works on the data sets {names or 'none'}, and {asked}. "
                "Name one, or set `data` in the profile."
            )
        return name

    @property
    def _assignment(self) -> Assignment:
        return self._now()[0]

    @property
    def _workbench(self) -> Workbench:
        return self._now()[1]

    def _now(self) -> tuple[Assignment, Workbench]:
        if self._at_work is None:
            raise UserError(
                "No handler is running. This part of the runner is for use inside a handler: "
                "register it and call run_all()."
            )
        return self._at_work


def seed_everything(seed: int) -> None:
    """Python, numpy and, if something has imported it, torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


def execute(step: Step, context: StepContext) -> StepOutput:
    """Run one seed of one sub-experiment: what `compute.run_step` calls for a step of kind `sub_experiment`."""
    identity, work = step.identity, step.work
    module, _, function = identity["handler"].partition(":")
    handler = getattr(importlib.import_module(module), function)
    assignment = Assignment(
        sub_experiment=identity["sub_experiment"],
        seed=identity["seed"],
        config=identity.get("parameters", {}),
        data_specs=work.get("data_specs", {}),
        data_sha256=identity.get("data", {}),
        split=identity.get("split", ()),
        needs=identity.get("features", {}),
        uses=identity.get("uses", {}),
        model_specs=work.get("model_specs", {}),
        stand_ins=frozenset(role for role, model in identity.get("models", {}).items() if model["stand_in"]),
        device="cpu" if context.device == "cpu" else "cuda",
    )
    workbench = Workbench(
        folder=Path(context.attempt_dir),
        artifacts=Artifacts(Path(context.artifacts_dir)),
        root=context.home.root,
        progress=context.progress,
    )
    runner = ExperimentRunner(identity["experiment"], profile=step.profile, home=context.home)
    return runner.run_handler(handler, assignment, workbench)
