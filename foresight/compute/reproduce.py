"""Computing a recorded step again, in a place of its own, and comparing: do the numbers come out as they were?

The step is planned anew from the plan and profile of the run that computed it and must have the record's own
fingerprint, so that what runs is what ran: other code, weights, data or libraries are refused with what differs. It
runs as every local step does, in a process with one thread, in a scratch home that shares models and data sets and is
thrown away. What it reads, features and files of sub-experiments that it uses, is shared too; what of that is gone is
computed again there.

What counts as the same:

    bit for bit   on the same CPU model, Python and library versions: every metric, score and baseline to the last bit
    tolerance     elsewhere, since other processors add in another order: a metric may be off by a tenth of the standard
                  error of its per-sample scores, which no verdict could tell; one without scores by 1 %
    nothing       of what is timed: other times each time, which are shown beside those recorded
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foresight.compute import planner
from foresight.compute.backend import Call
from foresight.compute.local import LIGHT_PRELOAD, PRELOAD, LocalBackend
from foresight.compute.request import Job, RunRequest, resolve
from foresight.compute.step import Step
from foresight.errors import StepFailed, UserError
from foresight.features.store import open_features
from foresight.home import Home
from foresight.plan.parts import unknown
from foresight.results import document, runs
from foresight.results.lineage import overtaken
from foresight.results.record import Record, Samples, read_record

SHARE_OF_ERROR = 0.1
SHARE_OF_VALUE = 0.01
SHORTEST_PREFIX = 4
_POLL_S = 1.0


@dataclass(frozen=True)
class Number:
    """One number, then and now."""

    name: str
    recorded: float
    again: float | None  # None: it did not come out
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.again is not None and abs(self.again - self.recorded) <= self.tolerance


@dataclass(frozen=True)
class Reproduction:
    """What came of it."""

    record: Record
    again: Record
    exact: bool  # whether bit for bit was asked for
    because: str  # why it was, or was not
    numbers: tuple[Number, ...]
    scores: tuple[int, int]  # per-sample scores and baselines, and how many are equal to the last bit
    files: tuple[int, int]  # artifacts, and how many are equal byte by byte
    extracted: tuple[str, ...]  # what it reads and had to be made again

    @property
    def agrees(self) -> bool:
        return all(number.agrees for number in self.numbers) and (not self.exact or self.scores[0] == self.scores[1])


def find_record(home: Home, wanted: str, seed: int | None = None) -> Record:
    """By fingerprint or its beginning, by path, or as `c1/e1_4` (with `seed`, else its first).

    Raises `UserError` with what there is.
    """
    path = Path(wanted)
    if path.name == "record.json" or (path / "record.json").is_file():
        folder = path.parent if path.name == "record.json" else path
        return _read(home, folder.resolve().name)
    if "/" in wanted:
        return _of_sub_experiment(home, *wanted.split("/", 1), seed=seed)
    found = sorted(one.parent.name for one in home.steps.glob(f"{wanted}*/record.json")) if _is_hex(wanted) else []
    if len(found) == 1:
        return _read(home, found[0])
    if found:
        raise UserError(f"{len(found)} records begin with '{wanted}': {', '.join(fp[:16] for fp in found)}. Give more.")
    raise UserError(
        f"There is no record '{wanted}' here. Give c1/e1_4, {SHORTEST_PREFIX} or more digits of a fingerprint, or the "
        "path of a record.json; `foresight results show` and `results export` name them."
    )


def reproduce(home: Home, record: Record, plan: str | None = None) -> Reproduction:
    """Compute the record's step again and compare. `plan`: a file, if not that of the run that computed it.

    Raises `UserError` for what cannot be computed again here, and `StepFailed` if it fails.
    """
    if what := overtaken(home, record):
        raise UserError(f"{record.label} cannot be computed again as it was: {what}. Run the experiment again.")
    step, planned = _planned(home, record, plan)
    with tempfile.TemporaryDirectory(prefix="foresight-reproduce-") as folder:
        scratch = _scratch(home, Path(folder))
        missing = _missing(step, planned, home, scratch).values()
        _run([Call((one,)) for one in (*missing, step)], scratch)
        again = read_record(scratch, step.fingerprint)
        assert again is not None  # `_run` raises where a step did not finish
        return _compared(home, scratch, record, again, tuple(one.label for one in missing))


def _of_sub_experiment(home: Home, experiment: str, sub_id: str, *, seed: int | None) -> Record:
    experiment_id = runs.find_experiment(home, experiment)
    if experiment_id is None:
        raise UserError(f"{experiment} has no results here. `foresight results list` shows what there is.")
    built = document.of_experiment(home, runs.list_runs(home, experiment_id))
    entries = built.content["results"]["experiments"] if built else {}
    if sub_id not in entries:
        raise UserError(f"There is {unknown('sub-experiment', sub_id, list(entries), f'of {experiment}')}")
    records = {int(of): fingerprint for of, fingerprint in entries[sub_id].get("records", {}).items()}
    if not records:
        raise UserError(f"{experiment}/{sub_id} has no finished seed, so there is nothing to reproduce.")
    chosen = min(records) if seed is None else seed
    if chosen not in records:
        seeds = ", ".join(map(str, sorted(records)))
        raise UserError(f"{experiment}/{sub_id} has no record of seed {chosen}. It has: {seeds}.")
    return _read(home, records[chosen])


def _read(home: Home, fingerprint: str) -> Record:
    try:
        record = read_record(home, fingerprint)
    except ValueError as error:
        raise UserError(f"{home.record(fingerprint)} is no record ({runs.explain(error)}).") from error
    if record is None:
        raise UserError(f"There is no record {fingerprint[:16]} in {home.steps}.")
    return record


def _planned(home: Home, record: Record, plan: str | None) -> tuple[Step, Mapping[str, Step]]:
    """The record's step as it would be planned now, and all that is planned with it by fingerprint.

    Raises `UserError`.
    """
    if record.kind == "smoke":
        raise UserError("A smoke test holds no numbers to compare. Run `foresight smoke-test` again.")
    if "by_hand" in record.identity:
        raise UserError(f"{record.label} was run by hand: its code cannot be found again. Name its handler in a plan.")
    if record.usage.device != "cpu":
        raise UserError(
            f"{record.label} was computed on a {record.usage.device}, and this computes on this machine's CPU only. "
            "Run it again where it ran, with --refresh, and use `foresight results compare`."
        )
    try:
        steps = planner.plan_steps(_job(home, record, plan), home, "")
    except planner.Unprepared as missing:
        raise UserError(
            f"{missing} is not on this machine. `foresight download-models` and `foresight datasets prepare` fetch "
            "what is missing; then try again."
        ) from missing
    candidates = list(steps.extract if record.kind == "extract" else steps.seeded.values())
    step = next((one for one in candidates if one.fingerprint == record.fingerprint), None)
    if step is None:
        raise UserError(_other(record, candidates))
    return step, {one.fingerprint: one for one in (*steps.extract, *steps.seeded.values())}


def _job(home: Home, record: Record, plan: str | None) -> Job:
    run = None
    if record.experiment_id is not None:
        run = next((one for one in runs.list_runs(home, record.experiment_id) if one.run_id == record.run_id), None)
    if run is not None and plan is None:
        plan = run.options.get("plan")
    if plan is not None and not Path(plan).is_file():
        raise UserError(f"The plan that {record.label} is of is gone: {plan}. Say where it is now with --plan.")
    if record.kind == "extract":
        return resolve(RunRequest(profile=record.profile, plan=plan))
    assert record.experiment_id is not None
    assert record.sub_experiment is not None
    assert record.seed is not None
    request = RunRequest((record.experiment_id,), (record.sub_experiment,), profile=record.profile, plan=plan)
    return replace(resolve(request), seeds=(record.seed,))


def _other(record: Record, candidates: Sequence[Step]) -> str:
    """Why nothing that could be planned now is what the record is of."""
    commit = record.provenance.git_commit
    where = f"commit {commit[:12]}" if commit else "the code that computed it"
    dirty = " (which had changes that were not committed)" if record.provenance.git_dirty else ""
    near = max(candidates, key=lambda step: _shared(step.identity, record.identity), default=None)
    changed = planner.why(near, record).removeprefix("changed: ") if near else "what it is made from"
    return (
        f"{record.label} cannot be computed again as it was: {changed} would be different here. "
        f"Check out {where}{dirty}, `make setup`, and try again."
    )


def _shared(here: Mapping[str, object], there: Mapping[str, object]) -> int:
    return sum(here[key] == there.get(key) for key in here)


def _scratch(home: Home, folder: Path) -> Home:
    """A home that shares models and data sets."""
    scratch = Home(folder)
    for shared in (home.models, home.datasets):
        if shared.exists():
            (folder / shared.name).symlink_to(shared.resolve())
    scratch.features.mkdir()
    scratch.steps.mkdir()
    return scratch


def _missing(step: Step, planned: Mapping[str, Step], home: Home, scratch: Home) -> dict[str, Step]:
    """What the step reads and has to be computed again, in that order; what is sound is shared with `scratch`."""
    missing: dict[str, Step] = {}
    for fingerprint in step.needs.values():
        needed = planned[fingerprint]
        folder = "features" if needed.kind == "extract" else "steps"
        if not _is_sound(needed, home):
            missing |= {**_missing(needed, planned, home, scratch), fingerprint: needed}
        elif not (shared := scratch.root / folder / fingerprint).exists():
            shared.symlink_to((home.root / folder / fingerprint).resolve())
    return missing


def _is_sound(step: Step, home: Home) -> bool:
    """Whether what it left is here and whole."""
    try:
        if step.kind == "extract":
            open_features(home, step.fingerprint, verify=True)
            return True
        record = read_record(home, step.fingerprint)
    except (UserError, ValueError):  # gone or damaged
        return False
    return record is not None and planner.is_sound(record, home, thorough=True)


def _run(calls: Sequence[Call], scratch: Home) -> None:
    heavy = any(step.kind == "extract" or step.needs or step.work.get("model_specs") for c in calls for step in c.steps)
    with closing(LocalBackend(scratch, slots=1, preload=PRELOAD if heavy else LIGHT_PRELOAD)) as backend:
        for call in calls:
            call_id = backend.submit(call, run_id="reproduce")
            while backend.poll(call_id, _POLL_S) == "running":
                pass
            for outcome in backend.outcome(call_id):
                if outcome.status != "completed":
                    raise StepFailed(
                        f"{call.label} failed this time: {outcome.error or outcome.status}",
                        cause=outcome.cause or "exception",
                        retryable=False,
                    )


def _compared(home: Home, scratch: Home, record: Record, again: Record, extracted: tuple[str, ...]) -> Reproduction:
    exact, because = _exactness(record, again)
    timed = bool(record.identity.get("device"))
    if record.kind == "extract":
        numbers: list[Number] = [_features(home, scratch, record.fingerprint, exact)]
    else:
        by_name = {one.metric: one for one in record.samples}
        numbers = [
            Number(name, value, again.metrics.get(name), _tolerance(value, by_name.get(name), exact=exact, timed=timed))
            for name, value in record.metrics.items()
        ]
    pairs = list(_scores(record.samples, again.samples))
    hashes = {artifact.name: artifact.sha256 for artifact in again.artifacts}
    same = sum(hashes.get(artifact.name) == artifact.sha256 for artifact in record.artifacts)
    return Reproduction(
        record=record,
        again=again,
        exact=exact,
        because=because,
        numbers=tuple(numbers),
        scores=(len(pairs), sum(one == other for one, other in pairs)),
        files=(len(record.artifacts), same),
        extracted=extracted,
    )


def _exactness(record: Record, again: Record) -> tuple[bool, str]:
    then, now = record.provenance, again.provenance
    if record.identity.get("device"):
        return False, "it was timed, and no two runs take as long"
    if not then.processor:
        return False, "the record does not say on which CPU it was computed"
    if then.processor != now.processor:
        return False, f"it was computed on {then.processor}, and this is {now.processor}"
    if then.python != now.python:
        return False, f"it was computed with Python {then.python}, and this is {now.python}"
    if differ := [name for name in then.versions if now.versions.get(name) != then.versions[name]]:
        return False, f"other versions of {', '.join(differ)}"
    return True, f"the same CPU ({now.processor}), Python and library versions"


def _tolerance(value: float, samples: Samples | None, *, exact: bool, timed: bool) -> float:
    if timed or exact:
        return math.inf if timed else 0.0
    if samples is None or len(set(samples.groups)) < 2:
        return SHARE_OF_VALUE * abs(value)
    by_source: dict[str, list[float]] = {}
    for group, score in zip(samples.groups, samples.scores, strict=True):
        by_source.setdefault(group, []).append(score)
    means = [statistics.fmean(scores) for scores in by_source.values()]
    error = statistics.stdev(means) / math.sqrt(len(means))
    return max(SHARE_OF_ERROR * error, 1e-9 * abs(value))


def _scores(then: Sequence[Samples], now: Sequence[Samples]) -> list[tuple[float, float | None]]:
    """Every per-sample score and baseline, then and now; None where it is not there any more."""
    again = {one.metric: one for one in now}
    pairs: list[tuple[float, float | None]] = []
    for one in then:
        other = again.get(one.metric)
        columns = {"": one.scores, **one.baselines}
        others = {"": other.scores, **other.baselines} if other else {}
        for name, scores in columns.items():
            found = others.get(name, [])
            pairs += [(score, found[i] if i < len(found) else None) for i, score in enumerate(scores)]
    return pairs


def _features(home: Home, scratch: Home, fingerprint: str, exact: bool) -> Number:
    """Features then and now: the largest difference of a value, in standard deviations of all values."""
    then, now = open_features(home, fingerprint)[:], open_features(scratch, fingerprint)[:]
    if then.shape != now.shape:
        return Number("largest difference of a feature", 0.0, None, 0.0)
    spread = float(np.std(then)) or 1.0
    largest = float(np.max(np.abs(then - now), initial=0.0)) / spread
    return Number("largest difference of a feature", 0.0, largest, 0.0 if exact else SHARE_OF_VALUE)


def _is_hex(text: str) -> bool:
    return len(text) >= SHORTEST_PREFIX and all(character in "0123456789abcdef" for character in text)
