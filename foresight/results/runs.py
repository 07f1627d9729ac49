"""A run of one experiment, as its `run.json` tells it: what was asked, against which criteria, and how far it came.

`results/<experiment-id>/runs/<run-id>/run.json` is written before the first step, and with it the criteria, so that
nobody can move a threshold once a number is known: `update` refuses to change them, and `criteria_hash` shows an edit.
It holds no numbers. Those are in the records that it names by fingerprint, seed by seed.

Every change is atomic. A run that is killed leaves `status: running` and says what was under way; whoever looks next on
that machine finds its process gone and ends it (`end_killed`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from foresight.compute.process import Process
from foresight.errors import UserError
from foresight.files import canonical_json, sha256_bytes, sha256_if_there, write_json
from foresight.home import Home
from foresight.plan.schema import Criterion, Experiment
from foresight.results.spending import Spent

RunStatus = Literal["running", "completed", "failed", "cancelled"]
SubStatus = Literal["pending", "running", "completed", "failed", "skipped", "stub"]

KILLED = "not finished: the process of its run is gone (killed, or the machine was lost)"
CUT_SHORT = {"cancelled": "cancelled", "failed": "not finished: its run ended before it did"}

FIXED = (
    "run_id",
    "experiment",
    "plan_hash",
    "criteria_hash",
    "profile",
    "rank",
    "stub",
    "seeds",
    "git_dirty",
    "started_at",
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SubExperimentOutline(_Frozen):
    """What a reader needs to know of a sub-experiment."""

    id: str
    title: str


class Outline(_Frozen):
    """The experiment as the plan had it when the run began; the verdict is read from this and from no later plan."""

    id: str
    short: str
    title: str
    question: str
    sub_experiments: tuple[SubExperimentOutline, ...]
    criteria: tuple[Criterion, ...]


class SubRun(_Frozen):
    """How far a run came with one sub-experiment."""

    status: SubStatus = "pending"
    steps: dict[int, str] = Field(default_factory=dict, description="Seed -> fingerprint, known once planned.")
    error: str = Field(default="", description="One line, where it failed as a whole.")
    failed_seeds: dict[int, str] = Field(default_factory=dict, description="Seed -> one line, where seeds ended apart.")
    attempts: int = Field(default=0, description="Over all seeds; those that were interrupted too.")
    note: str = Field(default="", description="Why it was skipped, not started or not finished.")

    @property
    def was_cut_short(self) -> bool:
        """It was planned, and its run ended before it did: some of its seeds may have a record."""
        return self.status == "pending" and bool(self.steps)


class Run(_Frozen):
    """The content of a run.json."""

    schema_version: Literal[1] = 1
    run_id: str
    experiment: Outline
    plan_hash: str = Field(description="`Experiment.hash`. Results of different hashes are never mixed.")
    criteria_hash: str = Field(description="Of `experiment.criteria`, taken before the first step.")
    profile: str
    rank: int = Field(description="Of the profile. A view shows the highest that has run; stub runs have 0.")
    stub: bool = Field(description="Nothing was computed. Never assessed.")
    seeds: tuple[int, ...] = Field(description="Every one of these must finish before a criterion counts as measured.")
    options: dict[str, Any] = Field(default_factory=dict, description="What the user asked for.")
    git_commit: str = Field(default="", description="Of the code that the run began with; empty outside of git.")
    git_dirty: bool | None = Field(default=None, description="Whether it had changes that were not committed.")
    started_by: str = Field(default="", description="Name of the deployment, e.g. `nightly`; empty from a shell.")
    status: RunStatus = "running"
    process: Process | None = Field(default=None, description="That drives it, or did.")
    sub_experiments: dict[str, SubRun]
    record_sha256: dict[str, str] = Field(
        default_factory=dict, description="Fingerprint -> hash of the record.json that was there when its step ended."
    )
    spent: Spent = Field(
        default=Spent(), description="By this run on this experiment, with the features and the smoke test it needed."
    )
    started_at: str
    finished_at: str | None = None

    @model_validator(mode="after")
    def _criteria_are_as_they_were(self) -> Run:
        if criteria_hash(self.experiment.criteria) != self.criteria_hash:
            raise ValueError("its criteria are not those that were fixed before the first step")
        return self

    @property
    def level(self) -> str:
        """The profile, or `stub`, which ranks below all of them."""
        return "stub" if self.stub else self.profile

    @property
    def has_run(self) -> bool:
        """Whether any of it was at least begun."""
        begun = ("running", "completed", "failed", "stub")
        return any(sub.status in begun or sub.was_cut_short for sub in self.sub_experiments.values())


def criteria_hash(criteria: Iterable[Criterion]) -> str:
    """64 hex digits over what decides a verdict, whatever the order."""
    fields = ("name", "sub_experiment", "metric", "direction", "target", "acceptable", "failure", "arm")
    rows = sorted([getattr(criterion, field) for field in fields] for criterion in criteria)
    return sha256_bytes(canonical_json(rows))


def folder(home: Home, experiment_id: str, run_id: str) -> Path:
    return home.results / experiment_id / "runs" / run_id


def new_run(
    home: Home,
    experiment: Experiment,
    run_id: str,
    *,
    profile: str,
    rank: int,
    seeds: Sequence[int],
    stub: bool = False,
    skipped: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    git_commit: str = "",
    git_dirty: bool | None = None,
    started_by: str = "",
) -> Run:
    """Write the run.json of a run that begins. `skipped`: sub-experiment -> why. Raises `UserError` if it exists."""
    skipped = skipped or {}
    run = Run(
        run_id=run_id,
        experiment=Outline(
            id=experiment.id,
            short=experiment.short,
            title=experiment.title,
            question=experiment.question,
            sub_experiments=tuple(
                SubExperimentOutline(id=sub.id, title=sub.title) for sub in experiment.sub_experiments
            ),
            criteria=experiment.criteria,
        ),
        plan_hash=experiment.hash,
        criteria_hash=criteria_hash(experiment.criteria),
        profile=profile,
        rank=0 if stub else rank,
        stub=stub,
        seeds=tuple(seeds),
        options=dict(options or {}),
        git_commit=git_commit,
        git_dirty=git_dirty,
        started_by=started_by,
        process=Process.current(),
        sub_experiments={
            sub.id: SubRun(status="skipped", note=skipped[sub.id]) if sub.id in skipped else SubRun()
            for sub in experiment.sub_experiments
        },
        started_at=_now(),
    )
    path = folder(home, experiment.id, run_id) / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path):
        if path.exists():
            raise UserError(
                f"Run {run_id} of {experiment.id} exists already. A run is never begun twice: choose another id."
            )
        write_json(path, run.model_dump(mode="json"))
    return run


def update(home: Home, experiment_id: str, run_id: str, change: Callable[[Run], Run]) -> Run:
    """Apply `change` to the run.json, one writer at a time, and return what is there now.

    Raises `UserError` if there is no such run, and `ValueError` on an attempt to change what was fixed before the first
    step: the experiment with its criteria, the plan, the profile, the seeds or the stub flag.
    """
    path = folder(home, experiment_id, run_id) / "run.json"
    if not path.parent.is_dir():
        raise UserError(f"There is no run {run_id} of {experiment_id}. `foresight results list` shows what there is.")
    with _lock(path):
        before = _read(path)
        after = change(before)
        for fixed in FIXED:
            if getattr(after, fixed) != getattr(before, fixed):
                raise ValueError(f"{fixed} of run {run_id} was fixed before its first step and cannot be changed")
        if after != before:
            write_json(path, after.model_dump(mode="json"))
    return after


def update_sub_experiment(home: Home, experiment_id: str, run_id: str, sub_experiment: str, **changes: Any) -> Run:
    """Set fields of one `SubRun`, e.g. `status`, `steps`, `error`, `failed_seeds`. Raises as `update` does.

    When a sub-experiment ends, the hashes of its records are noted, so that a later edit of a record is seen.
    """
    return update_sub_experiments(home, experiment_id, run_id, {sub_experiment: changes})


def update_sub_experiments(
    home: Home, experiment_id: str, run_id: str, changes: Mapping[str, Mapping[str, Any]]
) -> Run:
    """The same for several at once: sub-experiment -> field -> value."""

    def change(run: Run) -> Run:
        subs, hashes = dict(run.sub_experiments), dict(run.record_sha256)
        for sub_experiment, fields in changes.items():
            if sub_experiment not in subs:
                known = ", ".join(subs)
                raise UserError(f"Run {run_id} has no sub-experiment '{sub_experiment}'. It has: {known}.")
            sub = SubRun.model_validate({**subs[sub_experiment].model_dump(), **fields})
            subs[sub_experiment] = sub
            if sub.status in ("completed", "failed"):
                hashes |= _record_hashes(home, sub)
        return run.model_copy(update={"sub_experiments": subs, "record_sha256": hashes})

    return update(home, experiment_id, run_id, change)


def go_on(home: Home, experiment_id: str, run_id: str) -> Run:
    """A run that was begun, and perhaps ended, is driven by this process now."""
    begun = {"status": "running", "finished_at": None, "process": Process.current()}
    return update(home, experiment_id, run_id, lambda run: run.model_copy(update=begun))


def finish(home: Home, experiment_id: str, run_id: str, status: RunStatus, *, why: str = "") -> Run:
    """The run has ended; `status` says how. What was under way is *pending* again, with the reason `why`, unless all of
    it was recorded and nobody had noted that yet."""
    cut_short = {"status": "pending", "note": why or CUT_SHORT.get(status, "")}

    def change(run: Run) -> Run:
        subs, hashes = dict(run.sub_experiments), dict(run.record_sha256)
        for name, sub in run.sub_experiments.items():
            if sub.status != "running":
                continue
            found = {} if run.options.get("refresh") else _record_hashes(home, sub)  # they may be the old ones
            whole = bool(sub.steps) and set(found) == set(sub.steps.values())
            subs[name] = sub.model_copy(update={"status": "completed"} if whole else cut_short)
            hashes |= found if whole else {}
        ended = {"status": status, "finished_at": _now(), "sub_experiments": subs, "record_sha256": hashes}
        return run.model_copy(update=ended)

    return update(home, experiment_id, run_id, change)


def _record_hashes(home: Home, sub: SubRun) -> dict[str, str]:
    found = {fingerprint: sha256_if_there(home.record(fingerprint)) for fingerprint in sub.steps.values()}
    return {fingerprint: sha256 for fingerprint, sha256 in found.items() if sha256 is not None}


def end_killed(home: Home) -> list[Run]:
    """Mark as failed what says that it runs and whose process is gone from this machine. Returns those.

    A run.json that is damaged is left: whoever needs it says so."""
    ended = []
    for path in sorted(home.results.glob("*/runs/*/run.json")):
        with contextlib.suppress(UserError):
            run = _read(path)
            if run.status == "running" and run.process and run.process.is_gone():
                ended.append(finish(home, run.experiment.id, run.run_id, "failed", why=KILLED))
    return ended


def read_run(home: Home, experiment_id: str, run_id: str) -> Run:
    """Raises `UserError` if there is none, or if the file is not a run.json."""
    return _read(folder(home, experiment_id, run_id) / "run.json")


@contextlib.contextmanager
def held(home: Home, experiment_id: str, run_id: str) -> Iterator[Run]:
    """The run as it is; nobody changes it meanwhile. Raises as `read_run` does."""
    path = folder(home, experiment_id, run_id) / "run.json"
    with _lock(path):
        yield _read(path)


def list_runs(home: Home, experiment_id: str) -> list[Run]:
    """All runs of the experiment, oldest first. Raises `UserError` naming a run.json that cannot be read."""
    found = (home.results / experiment_id / "runs").glob("*/run.json")
    return sorted((_read(path) for path in found), key=lambda run: (run.started_at, run.run_id))


def read_otherwise(all_runs: Iterable[Run], fingerprint: str, sha256: str, finished_at: str) -> Run | None:
    """A run that noted another hash of this record although it had been computed by then; None if no run did.

    So an edit is seen, and a record that was computed again is none: the runs that had ended before have seen the one
    that it replaces, and the run that makes it notes it only when the last of its seeds ends.
    """
    noted = [run for run in all_runs if fingerprint in run.record_sha256]
    if any(run.record_sha256[fingerprint] == sha256 for run in noted):
        return None
    then = datetime.fromisoformat(finished_at)
    late = [run for run in noted if datetime.fromisoformat(run.finished_at or run.started_at) >= then]
    return late[-1] if late else None


def list_experiments(home: Home) -> list[str]:
    """Ids of the experiments that have a run, sorted."""
    return sorted({path.parent.parent.parent.name for path in home.results.glob("*/runs/*/run.json")})


def find_experiment(home: Home, name: str) -> str | None:
    """The id of an experiment that has a run here, by id or short name; of whatever plan it was."""
    known = list_experiments(home)
    if name in known:
        return name
    return next((known_id for known_id in known if list_runs(home, known_id)[-1].experiment.short == name), None)


def _read(path: Path) -> Run:
    try:
        return Run.model_validate_json(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"There is no run at {path.parent}. `foresight results list` shows what there is.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be believed: {explain(error)}. Such files are written whole, so it was edited or damaged. "
            "Move its folder away and run the experiment again: finished steps are not recomputed."
        ) from error


def explain(error: ValueError) -> str:
    """What is wrong with a file, in one line."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return (f"{place}: " if place else "") + first["msg"].removeprefix("Value error, ")


def _lock(path: Path) -> FileLock:
    return FileLock(path.with_name(".run.lock"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
