"""Writing results.yaml: a view of runs and records, for people and for git; never a source of anything.

`results/<experiment-id>/results.yaml` shows the experiment as far as it is known, `runs/<run-id>/results.yaml` one run.
Artifacts lie beside each as hard links into the store (copies where that is impossible), so a view costs no disk.

The order of writing makes a crash harmless: artifacts first, then the yaml in one rename, then what no longer belongs.
One writer at a time, by a lock on the experiment's folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from foresight.files import write_atomic
from foresight.home import Home
from foresight.results import document, runs
from foresight.results.document import Document
from foresight.results.runs import Run
from foresight.yaml_text import parse_yaml

_TRIES = 3
HEADER = "# A view of the records: an edit is overwritten, and `foresight results verify` finds it.\n"


def rebuild(home: Home, experiment_id: str) -> Path | None:
    """Write the experiment's results.yaml and that of every run that has moved on. None if nothing was begun yet."""
    folder = home.results / experiment_id
    if not folder.is_dir():
        return None
    with FileLock(folder / ".results.lock"):
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):  # a run beside this one has just put another record in place
                return _rebuild(home, experiment_id, folder)
        return _rebuild(home, experiment_id, folder)


def _rebuild(home: Home, experiment_id: str, folder: Path) -> Path | None:
    all_runs = runs.list_runs(home, experiment_id)
    for run in all_runs:
        if run.has_run and is_stale(home, run):
            with runs.held(home, experiment_id, run.run_id) as now:  # else it could end unseen, and look older
                _write(runs.folder(home, experiment_id, run.run_id), document.of_run(home, now))
    built = document.of_experiment(home, all_runs)
    return None if built is None else _write(folder, built)


def end_killed(home: Home) -> list[Run]:
    """What was killed in the middle is ended (`runs.end_killed`), and shown so."""
    ended = runs.end_killed(home)
    for experiment_id in sorted({run.experiment.id for run in ended}):
        rebuild(home, experiment_id)
    return ended


def build(home: Home, experiment_id: str) -> Document | None:
    """What `rebuild` would write now. Reads only."""
    return document.of_experiment(home, runs.list_runs(home, experiment_id))


def read(home: Home, experiment_id: str) -> dict[str, Any] | None:
    """The results.yaml as it lies there, or None."""
    path = home.results / experiment_id / "results.yaml"
    return parse_yaml(path.read_text()) if path.is_file() else None


def read_run(home: Home, experiment_id: str, run_id: str) -> dict[str, Any] | None:
    """The results.yaml of one run as it lies there, or None."""
    path = runs.folder(home, experiment_id, run_id) / "results.yaml"
    return parse_yaml(path.read_text()) if path.is_file() else None


def dump(content: Mapping[str, Any]) -> str:
    """The text of a results.yaml: equal content, equal bytes."""
    return HEADER + yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)


def is_stale(home: Home, run: Run, folder: Path | None = None) -> bool:
    """Whether the run.json is newer than the results.yaml in `folder` (the run's own), which then is behind.

    A run that has ended is not rebuilt: it keeps what it showed then. One that was killed is behind, too, once another
    run has finished a step that it had under way.
    """
    own = runs.folder(home, run.experiment.id, run.run_id)
    shown = (folder or own) / "results.yaml"
    if not shown.exists():
        return True
    steps = (fingerprint for sub in run.sub_experiments.values() for fingerprint in sub.steps.values())
    unseen = (home.record(fingerprint) for fingerprint in steps if fingerprint not in run.record_sha256)
    newest = max(path.stat().st_mtime_ns for path in (own / "run.json", *filter(Path.exists, unseen)))
    return shown.stat().st_mtime_ns <= newest


def _write(folder: Path, built: Document) -> Path:
    wrong = document.validate(built.content)
    if wrong:
        raise AssertionError(f"a results.yaml was built that its own schema refuses: {'; '.join(wrong)}")
    for inside, source in built.artifacts.items():
        _link(source, folder / inside)
    path = folder / "results.yaml"
    text = dump(built.content)
    if not path.exists() or path.read_bytes() != text.encode():
        write_atomic(path, text)
    else:
        os.utime(path)  # as new as the run.json it agrees with
    _remove_others(folder / "artifacts", {folder / inside for inside in built.artifacts})
    return path


def _link(source: Path, target: Path) -> None:
    """Make `target` the file `source`, in one rename."""
    if target.exists() and _same(source, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".link."))
    try:
        try:
            os.link(source, scratch / "file")
        except OSError:  # another file system, or one without hard links
            shutil.copy2(source, scratch / "file")
        (scratch / "file").replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _same(source: Path, target: Path) -> bool:
    """The same file, or a copy of it: by size and time, since an artifact is never changed once it is whole."""
    if target.samefile(source):
        return True
    ours, theirs = target.stat(), source.stat()
    return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _remove_others(folder: Path, wanted: set[Path]) -> None:
    """Delete what no longer belongs to the view, leftovers of a crash too, and folders that are empty then."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
        elif path not in wanted:
            path.unlink()
