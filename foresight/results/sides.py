"""Finding the two sides of a comparison on disk: runs by their id, by the git commit they ran at, or the one before."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

from foresight.errors import UserError
from foresight.files import sha256_if_there
from foresight.home import Home
from foresight.results import document, runs, view
from foresight.results.comparison import Comparison, Side, compare
from foresight.results.evidence import entry_of
from foresight.results.record import Record
from foresight.results.runs import Run

SHORTEST_COMMIT = 6


def side(home: Home, run: Run) -> Side:
    """What the run has left; a record that was computed again since, is left out."""
    shown = view.read_run(home, run.experiment.id, run.run_id)
    content = shown if shown is not None and run.status != "running" else document.of_run(home, run).content
    records: dict[str, dict[int, Record]] = {}
    for sub in run.experiment.sub_experiments:
        found = entry_of(home, sub.id, [run]).evidence.records
        records[sub.id] = {seed: one for seed, one in found.items() if _as_seen(home, run, one.fingerprint)}
    computed = {one.fingerprint for seeds in records.values() for one in seeds.values() if one.run_id == run.run_id}
    return Side(run.run_id, content, records, run.spent, frozenset(computed), run.git_commit)


def compare_named(home: Home, a: str, b: str, experiment: str | None = None) -> list[Comparison]:
    """`a` and `b`: run ids or git commits (any spelling that git knows). One comparison an experiment that both ran.

    Raises `UserError` if one of them is neither, or if they have no experiment in common.
    """
    wanted = runs.find_experiment(home, experiment) if experiment else None
    if experiment and wanted is None:
        raise UserError(f"{experiment} has no runs here. `foresight results list` shows what has.")
    before, after = _named(home, a), _named(home, b)
    common = [name for name in before if name in after and wanted in (None, name)]
    if not common:
        raise UserError(
            f"{a} ran {', '.join(before)} and {b} ran {', '.join(after)}: there is nothing to compare"
            + (f" of {experiment}." if experiment else ".")
        )
    return [compare(side(home, before[name]), side(home, after[name])) for name in common]


def since_previous(home: Home, experiment_id: str, run_id: str) -> Comparison | None:
    """Against the newest earlier run in the same profile that ended; a nightly against a nightly. None without one."""
    all_runs = runs.list_runs(home, experiment_id)
    run = next(run for run in all_runs if run.run_id == run_id)
    earlier = [
        one
        for one in all_runs[: all_runs.index(run)]
        if one.level == run.level and one.status in ("completed", "failed") and one.has_run
    ]
    same = [one for one in earlier if one.started_by == run.started_by] if run.started_by == "nightly" else earlier
    return compare(side(home, same[-1]), side(home, run)) if same else None


def _named(home: Home, name: str) -> dict[str, Run]:
    """Experiment id -> the run of that id; or the newest run that ended at that commit."""
    every = [run for experiment in runs.list_experiments(home) for run in runs.list_runs(home, experiment)]
    if by_id := {run.experiment.id: run for run in every if run.run_id == name}:
        return by_id
    commit = _commit(name)
    if commit is not None:
        ended = [run for run in every if run.status != "running" and not run.stub]
        if by_commit := {run.experiment.id: run for run in ended if run.git_commit.startswith(commit)}:
            return by_commit
        raise UserError(f"No run here was made at commit {name}. Runs say theirs in `foresight results show`.")
    known = sorted({run.run_id for run in every})[-3:]
    raise UserError(f"'{name}' is neither a run here nor a git commit. The newest runs: {', '.join(known) or 'none'}.")


def _commit(name: str) -> str | None:
    """The full commit that git knows by `name`; what looks like the beginning of one, where git does not know it."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    with suppress(FileNotFoundError, subprocess.TimeoutExpired):  # no git here: runs know their commits all the same
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        if done.returncode == 0:
            return done.stdout.strip()
    looks = len(name) >= SHORTEST_COMMIT and all(letter in "0123456789abcdef" for letter in name)
    return name if looks else None


def _as_seen(home: Home, run: Run, fingerprint: str) -> bool:
    seen = run.record_sha256.get(fingerprint)
    return seen is not None and sha256_if_there(home.record(fingerprint)) == seen
