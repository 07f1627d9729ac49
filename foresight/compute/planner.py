"""From a job to its steps: what must be computed, in which order, under which identity, and why.

Planning needs the weights' hashes and the data sets' manifests, since both bear identity; `Unprepared` says which of
them are not there yet. Nothing heavy is imported: a plan whose steps are all recorded is answered from the records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from foresight.compute.backend import Call
from foresight.compute.code_identity import code_identity, modules_of_others
from foresight.compute.gpus import CPU, gpu_class
from foresight.compute.request import Job
from foresight.compute.step import Resources, Step
from foresight.data.manifest import DataSpec, Manifest, find
from foresight.elsewhere import is_where, left_elsewhere, planned_from
from foresight.errors import UserError
from foresight.features.points import extraction_identity
from foresight.files import sha256_file, sha256_if_there
from foresight.home import Home
from foresight.metrics.weights import lpips_weights_sha256
from foresight.models.identity import MANIFEST, ModelSpec, identity, locate
from foresight.plan.schema import Experiment, ModelChoice, Need, StepKind, SubExperiment
from foresight.results import runs
from foresight.results.lineage import overtaken, readable
from foresight.results.record import ModelIdentity, Record, finished, read_record
from foresight.versions import installed, library_of

LIBRARIES = (
    "numpy", "scipy", "scikit-learn", "scikit-image", "torch", "torchvision", "transformers", "diffusers", "lpips",
    "pycocotools",
)  # fmt: skip
"""Versions that bear on the numbers of a sub-experiment, beside those of what a team's own handler imports. An
extraction names its own, fewer."""

CALLED = {"sklearn": "scikit-learn", "skimage": "scikit-image"}  # so that nobody need ask all that is installed

SPLITTING = "foresight.data.splits:split_by_source"
"""A handler is given its split, so this code is not among what it imports; it bears on every number all the same."""

SMOKE_VERSION = 1
SMOKE_LABEL = "smoke test"


class Unprepared(Exception):
    """Models or data sets that the plan needs are not on this machine yet."""


@dataclass(frozen=True)
class Seeded:
    """One seed of one sub-experiment."""

    experiment_id: str
    sub_experiment: str
    seed: int


@dataclass(frozen=True)
class StepPlan:
    smoke: Step | None  # None where the job needs no model
    extract: tuple[Step, ...]
    seeded: Mapping[Seeded, Step]

    @property
    def steps(self) -> tuple[Step, ...]:
        return (*((self.smoke,) if self.smoke else ()), *self.extract, *self.seeded.values())

    def of(self, experiment_id: str, sub_experiment: str) -> dict[int, Step]:
        return {
            key.seed: step
            for key, step in self.seeded.items()
            if (key.experiment_id, key.sub_experiment) == (experiment_id, sub_experiment)
        }

    def calls(self) -> list[Call]:
        """All but the smoke test, needs before what needs them; extractions of one model travel together."""
        by_model: dict[str, list[Step]] = {}
        for step in self.extract:
            by_model.setdefault(step.identity["role"], []).append(step)
        extractions = [Call(tuple(steps)) for steps in by_model.values()]
        return [*extractions, *(Call((step,)) for step in self.seeded.values())]


def model_specs(job: Job) -> dict[str, ModelSpec]:
    """The models that the job needs, by role."""
    roles = {need.role for _, sub in subs_of(job) for need in job.profile.needs_of(sub)}
    roles |= {role for _, sub in subs_of(job) for role in sub.models}
    return {role: model_spec(role, job.profile.models[role]) for role in sorted(roles)}


def model_spec(role: str, choice: ModelChoice) -> ModelSpec:
    return ModelSpec(role, choice.id, choice.revision or "", choice.stand_in)


def data_specs(job: Job) -> dict[str, DataSpec]:
    """The data sets that the job needs, by name."""
    names = {name for _, sub in subs_of(job) if (name := job.profile.for_sub_experiment(sub.id).data)}
    return {name: DataSpec(name=name, **job.profile.data[name].model_dump()) for name in sorted(names)}


def splits(job: Job) -> dict[str, list[tuple[float, float, float]]]:
    """The splits that the job makes of each data set: name -> sizes, to be checked for leaks with every seed."""
    found: dict[str, dict[tuple[float, float, float], None]] = {}
    for _, sub in subs_of(job):
        if name := job.profile.for_sub_experiment(sub.id).data:
            found.setdefault(name, {})[job.profile.split_of(sub).fractions] = None
    return {name: list(sizes) for name, sizes in sorted(found.items())}


def plan_steps(job: Job, home: Home, run_id: str) -> StepPlan:
    """The steps of a job; `run_id` marks what `--refresh` forces.

    Raises `Unprepared` where a model or a data set is missing, so that its identity is not known yet.
    """
    specs, place = model_specs(job), planned_from(home, job.request.compute)
    identities = {}
    for role, spec in specs.items():
        if not (locate(spec, place) / MANIFEST).exists():
            command = f"foresight download-models --profile {job.profile.name} --compute {job.request.compute}"
            raise Unprepared(f"the model {spec.id} is not there yet; a run fetches it first, or `{command}`.")
        try:
            identities[role] = identity(spec, place)
        except UserError as error:
            raise Unprepared(str(error)) from error
    data = data_specs(job)
    manifests = {}
    for name, data_spec in data.items():
        manifest = find(data_spec, place)
        if manifest is None:
            raise Unprepared(f"the data set {name} is not there yet; a run makes it first.")
        manifests[name] = manifest

    planning = _Planning(job, run_id, specs, identities, data, manifests)
    seeded = {
        Seeded(experiment.id, sub.id, seed): planning.sub_experiment(experiment, sub, seed)
        for experiment, sub in subs_of(job)
        for seed in job.seeds
    }
    return StepPlan(planning.smoke(), tuple(planning.extracts.values()), seeded)


def extract_label(data_name: str, need: Need) -> str:
    return f"{need.role} {need.point} {data_name}" + (f"@{need.side}" if need.side else "")


def seed_label(experiment: Experiment, sub: SubExperiment, seed: int) -> str:
    return f"{experiment.short}/{sub.id} seed {seed}"


def resources_of(job: Job, kind: StepKind, sub: SubExperiment | None = None) -> Resources:
    """What a step needs in this job: the profile and the plan say it, and `--gpu` where they ask for a GPU."""
    wanted = job.profile.resources_of(kind, sub).model_dump(exclude_none=True)
    if job.request.gpu and wanted.get("device", CPU) != CPU:
        wanted["device"] = gpu_class(job.request.gpu)
    return Resources(**wanted)


class _Planning:
    """The steps of one job; extractions are shared by all that need them."""

    def __init__(
        self,
        job: Job,
        run_id: str,
        specs: dict[str, ModelSpec],
        identities: dict[str, ModelIdentity],
        data: dict[str, DataSpec],
        manifests: dict[str, Manifest],
    ) -> None:
        self.job, self.specs, self.identities, self.data, self.manifests = job, specs, identities, data, manifests
        self.run_id = run_id
        self.extracts: dict[str, Step] = {}
        self.seeded: dict[tuple[str, int], Step] = {}  # by sub-experiment and seed; what is used comes first
        self.code = cache(code_identity)  # within one planning: a handler has as many steps as there are seeds
        self.libraries = cache(libraries_of)

    def smoke(self) -> Step | None:
        if not self.specs:
            return None
        return Step(
            kind="smoke",
            label=SMOKE_LABEL,
            profile=self.job.profile.name,
            identity={
                "kind": "smoke",
                "version": SMOKE_VERSION,
                "models": {role: model.model_dump() for role, model in self.identities.items()},
                "versions": versions("torch", "transformers", "diffusers"),
            },
            work={"model_specs": {role: spec.to_json() for role, spec in self.specs.items()}, **self._refresh()},
            resources=resources_of(self.job, "extract"),
        )

    def extract(self, data_name: str, need: Need) -> tuple[str, Step]:
        """The name that a handler knows the features by, and the step that makes them."""
        name = f"{data_name}/{need}"
        if name not in self.extracts:
            spec, manifest = self.data[data_name], self.manifests[data_name]
            own_side = manifest.shape[-2]
            choice = self.job.profile.models[need.role]
            self.extracts[name] = Step(
                kind="extract",
                label=extract_label(data_name, need),
                profile=self.job.profile.name,
                identity=extraction_identity(
                    model=self.identities[need.role],
                    role=need.role,
                    point=need.point,
                    data=manifest.sha256,
                    side=None if need.side == own_side else need.side,
                    dtype=choice.dtype,
                ),
                work={
                    "data_spec": spec.to_json(),
                    "model_spec": self.specs[need.role].to_json(),
                    "batch_size": choice.batch_size,
                },
                resources=resources_of(self.job, "extract"),
            )
        return name, self.extracts[name]

    def sub_experiment(self, experiment: Experiment, sub: SubExperiment, seed: int) -> Step:
        assert sub.handler is not None
        profile = self.job.profile
        settings = profile.for_sub_experiment(sub.id)
        data_name = settings.data
        needs = dict(self.extract(data_name, need) for need in profile.needs_of(sub)) if data_name else {}
        roles = {need.role for need in profile.needs_of(sub)} | set(sub.models)
        names = [data_name] if data_name else []
        uses = {name: self.seeded[name, seed].fingerprint for name in sub.uses}
        resources = resources_of(self.job, "sub_experiment", sub)
        step = Step(
            kind="sub_experiment",
            label=seed_label(experiment, sub, seed),
            profile=profile.name,
            identity={
                "kind": "sub_experiment",
                "experiment": experiment.id,
                "sub_experiment": sub.id,
                "profile": profile.name,
                "handler": sub.handler,
                "code": self.code(sub.handler),
                "parameters": settings.parameters,
                "split": list(profile.split_of(sub).fractions),
                "split_code": self.code(SPLITTING),
                "seed": seed,
                "data": {name: self.manifests[name].sha256 for name in names},
                "features": {name: step.fingerprint for name, step in needs.items()},
                **({"uses": uses} if uses else {}),
                "models": {role: self.identities[role].model_dump() for role in sorted(roles)},
                "metric_weights": {name: lpips_weights_sha256() for name in sub.metric_weights},
                "versions": versions(*self.libraries(sub.handler)),
                **({"device": resources.device} if sub.timed else {}),
            },
            work={
                "data_specs": {name: self.data[name].to_json() for name in names},
                "model_specs": {role: self.specs[role].to_json() for role in sub.models},
                "criteria": criteria_of(experiment, sub),
                **self._refresh(),
            },
            needs={**{name: step.fingerprint for name, step in needs.items()}, **uses},
            resources=resources,
        )
        self.seeded[sub.id, seed] = step
        return step

    def _refresh(self) -> dict[str, Any]:
        return {"refresh": self.run_id} if self.job.request.refresh else {}


def criteria_of(experiment: Experiment, sub: SubExperiment) -> list[dict[str, Any]]:
    """What is read from `sub`, as JSON. It bears no identity; the record keeps it, so no threshold moves afterwards."""
    return [one.model_dump(mode="json") for one in experiment.criteria if one.sub_experiment == sub.id]


def subs_of(job: Job) -> list[tuple[Experiment, SubExperiment]]:
    return [(selection.experiment, sub) for selection in job.selections for sub in selection.sub_experiments]


def libraries_of(handler: str) -> list[str]:
    """What a step's numbers rest on, by the name that it is installed under."""
    others = (CALLED.get(name) or library_of(name) for name in modules_of_others(handler))
    return sorted({*LIBRARIES, *filter(None, others)})


def versions(*libraries: str) -> dict[str, str]:
    found = {library: installed(library) for library in libraries}
    if missing := [library for library, version in found.items() if version is None]:
        raise UserError(f"Not installed here: {', '.join(missing)}. `make setup` installs what is pinned.")
    return {library: version for library, version in found.items() if version is not None}


def is_sound(record: Record, home: Home, *, thorough: bool) -> bool:
    """Whether every artifact is there with its size, and with `thorough` its hash too; and what it read still is.

    Of one that stayed on a volume nothing can be said here; where it is read, it is verified.
    """
    if overtaken(home, record):
        return False
    elsewhere = left_elsewhere(home, record.fingerprint)
    for artifact in record.artifacts:
        if artifact.path in elsewhere:
            continue
        path = home.root / artifact.path
        try:
            if path.stat().st_size != artifact.size_bytes or (thorough and sha256_file(path) != artifact.sha256):
                return False
        except FileNotFoundError:
            return False
    return True


def changed_since_read(plan: StepPlan, home: Home) -> dict[str, str]:
    """Records that are not those that a run noted the hash of when it read them: fingerprint -> that run's id.

    An edited number must not come out as a measured one.
    """
    all_runs = [
        run
        for experiment_id in dict.fromkeys(key.experiment_id for key in plan.seeded)
        for run in runs.list_runs(home, experiment_id)
    ]
    noted = {pair for run in all_runs for pair in run.record_sha256.items()}
    changed = {}
    for fingerprint in dict.fromkeys(step.fingerprint for step in plan.seeded.values()):
        sha256 = sha256_if_there(home.record(fingerprint))
        if sha256 is None or (fingerprint, sha256) in noted:
            continue
        record = readable(home, fingerprint)
        run = record and runs.read_otherwise(all_runs, fingerprint, sha256, record.finished_at)
        if run:
            changed[fingerprint] = run.run_id
    return changed


def withdraw_broken(plan: StepPlan, home: Home, compute: str = "local") -> list[str]:
    """Move aside records that cannot be read, were changed, or whose artifacts are damaged. Returns a line for each.

    So too what is needed by a step that runs on `compute` and lies elsewhere: features do not travel.
    What the steps that will run read is checked by hash; everything else by size, so that a plan with nothing to do
    stays fast (`results verify` hashes it all).
    """
    needed = {fp for step in plan.steps if state_of(step, home) != "recorded" for fp in step.needs.values()}
    changed = changed_since_read(plan, home)
    lines = []
    for step in plan.steps:
        path = home.record(step.fingerprint)
        try:
            record = read_record(home, step.fingerprint)
        except ValueError as error:
            record, reason = None, f"its record cannot be read ({str(error).splitlines()[0]})"
        else:
            if step.fingerprint in changed:
                reason = f"its record was changed after run {changed[step.fingerprint]} had read it"
            elif record is None:
                continue
            elif step.fingerprint in needed and not is_where(record, home, compute):
                where = "on Modal's volume" if compute == "local" else "on this machine"
                files = "features" if step.kind == "extract" else "files"
                reason = f"its {files} lie {where}, and what needs them runs elsewhere ({compute})"
            elif is_sound(record, home, thorough=step.fingerprint in needed):
                continue
            else:
                reason = overtaken(home, record) or "an artifact of it is missing or damaged"
        with contextlib.suppress(FileNotFoundError):  # another run has just done so
            path.replace(path.with_name("record.broken.json"))
        lines.append(f"{step.label}: {reason}; computing it again")
    return lines


def state_of(step: Step, home: Home) -> str:
    """`recorded`, `broken record`, `forced` or `to run`."""
    refresh = step.work.get("refresh")
    try:
        if finished(home, step.fingerprint, refresh) is not None:
            return "recorded"
        return "forced" if refresh and read_record(home, step.fingerprint) else "to run"
    except ValueError:
        return "broken record"


def why(step: Step, earlier: Record | None) -> str:
    """What differs from the newest earlier record of the same step, in words."""
    if earlier is None:
        return "first time"
    changed = [key for key in step.identity if step.identity[key] != earlier.identity.get(key)]
    return "changed: " + ", ".join(changed) if changed else "no record"
