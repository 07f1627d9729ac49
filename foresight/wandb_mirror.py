"""A run shown in Weights & Biases while it goes on, by a process of its own that only reads.

Nothing that computes knows of W&B. What a step has logged lies in its attempt's `metrics.jsonl` when `log_metrics`
returns, what it found in its record; this process looks at both once a second and passes them on. So an outage of W&B
can hang this process, or kill it, and no step waits for it, and nothing is lost: what could not be uploaded lies in
`FORESIGHT_HOME/wandb/<run-id>/`, where `wandb sync` finds it, and the records are the truth in any case.

Each attempt at a seed of a sub-experiment is one W&B run, in the group of its flow run. W&B has one counter a run and
drops what goes backwards in it, while each curve of a handler has steps of its own: so each line is a row, and curves
are drawn over `log_metrics/step`.

Run as `python -m foresight.wandb_mirror REQUEST.json`. It ends when its stdin ends, which is when the flow run ends,
however it does, after `finish_s` at the latest. What it prints on stdout is for the flow run's log.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb

from foresight.compute import ledger
from foresight.compute.attempt import attempt_numbers
from foresight.compute.masking import mask
from foresight.compute.process import kill_descendants
from foresight.files import read_json, write_json
from foresight.home import Home
from foresight.results.findings import pool_findings
from foresight.results.record import Attempt, Record, read_record
from foresight.workbench import METRICS_FILE

PROJECT = "foresight"  # unless WANDB_PROJECT names one
LOOK_S = 1.0
_STEP = "log_metrics/step"
_CONFIG = ("experiment", "sub_experiment", "seed", "profile", "parameters", "split", "models", "data")
_PICTURES = {".png", ".jpg", ".jpeg"}
_TO_THE_RUN = os.dup(1)  # wandb prints on 1, too, which `main` gives to the log
_LOST = "Fatal error while uploading"  # what wandb 0.31 prints when W&B takes no more of a run


@dataclass
class _Shown:
    """One attempt, as a W&B run."""

    run: wandb.Run
    metrics: Path
    online: bool
    offset: int = 0  # bytes of it that were passed on
    curves: set[str] = field(default_factory=set)


class Mirror:
    """What has been passed on of one flow run so far."""

    def __init__(self, request: Mapping[str, Any], log: Path) -> None:
        """`request`: `{"home", "run_id", "mode", "link", "answer_s", "finish_s", "steps": [{"above", **step}, …]}`.

        W&B is given `answer_s` to answer, and `finish_s` from the end of the flow run to the end of this process.
        `above` is the number of the newest attempt at the step before the run began. `log`: what wandb itself prints.
        """
        self._home = Home(Path(request["home"]))
        self._run_id, self._link, self._steps = request["run_id"], request["link"], request["steps"]
        self._folder = self._home.wandb / self._run_id
        self._online = request["mode"] == "online"
        self._answer_s, self.finish_s = request["answer_s"], request["finish_s"]
        self._log = log
        self._open: dict[tuple[str, int], _Shown] = {}
        self._over: set[tuple[str, int]] = set()
        self._kept: list[Path] = []  # what W&B does not have, or not all of it
        self._told_where = False

    def look(self) -> None:
        """Pass on what is new."""
        for step in self._steps:
            for number in attempt_numbers(self._home, step["fingerprint"]):
                if number > step["above"] and (step["fingerprint"], number) not in self._over:
                    self._pass_on(step, number)

    def close(self) -> None:
        """Pass on the rest; an attempt that has not ended by now never will."""
        self.look()
        for key in list(self._open):
            self._finish(key, failed=True)
        if self._kept:
            say(f"{_count(len(self._kept), 'run')} kept here; to upload: {self.to_upload()}")

    def to_upload(self) -> str:
        """The command that uploads what W&B does not have so far."""
        kept = {*self._kept, *map(_folder_of, list(self._open.values()))}
        offline = [path for path in kept if path.name.startswith("offline-run-")]
        paths = sorted(map(str, kept.difference(offline)))
        return " ".join(["wandb sync", *paths, *([f"{offline[0].parent}/offline-run-*"] if offline else [])])

    def _pass_on(self, step: Mapping[str, Any], number: int) -> None:
        key = (step["fingerprint"], number)
        ended = _ended(self._home, *key)  # first: what it logged before is on disk by then
        shown = self._open.get(key)
        if shown is None:
            shown = self._open[key] = self._show(step, number)
        _pass_on_lines(shown)
        if isinstance(ended, Record):
            _pass_on_record(self._home, shown.run, ended)
        elif ended is not None:
            shown.run.summary.update({"status": "failed", "cause": ended.cause, "error": mask(ended.error)})
        if ended is not None:
            self._finish(key, failed=isinstance(ended, Attempt))

    def _show(self, step: Mapping[str, Any], number: int) -> _Shown:
        identity, fingerprint = step["identity"], step["fingerprint"]
        run, online = self._init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=f"{self._run_id}-{fingerprint[:12]}-{number}",
            name=step["label"] + (f" · attempt {number}" if number > step["above"] + 1 else ""),
            group=self._run_id,
            job_type=identity["sub_experiment"],
            tags=[step["profile"]],
            config={
                **{key: identity.get(key) for key in _CONFIG},
                "device": step["resources"]["device"],
                "fingerprint": fingerprint,
                "attempt": number,
                "flow_run": self._run_id,
                "prefect": self._link,
                "modal": self._call_link(fingerprint),
            },
        )
        attempt = self._home.step(fingerprint) / "attempts" / str(number)
        shown = _Shown(run, attempt / METRICS_FILE, online)
        where = _folder_of(shown).relative_to(self._home.root).as_posix()
        write_json(attempt / "wandb.json", {"url": run.url if online else None, "folder": where})
        if online and not self._told_where:
            self._told_where = True
            say(f"{run.project_url}/groups/{self._run_id}")
        return shown

    def _init(self, **about: Any) -> tuple[wandb.Run, bool]:
        """Online while W&B takes it, and from the first trouble on here alone."""
        settings = wandb.Settings(
            init_timeout=self._answer_s,
            finish_timeout=self._answer_s,
            finish_timeout_raises=True,
            console="off",  # of this process, as is all that follows: what made the numbers is in the record
            disable_code=True,
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        about |= {"dir": str(self._folder), "reinit": "create_new", "settings": settings}
        if self._online:
            try:
                return wandb.init(mode="online", **about), True
            except (wandb.Error, ValueError) as error:  # no key, a refused one, no network, no answer
                self._fall_back(str(error))
                about["id"] += "-kept"  # its own is in use until wandb has given up on it
        return wandb.init(mode="offline", **about), False

    def _finish(self, key: tuple[str, int], *, failed: bool) -> None:
        shown = self._open.pop(key)
        self._over.add(key)
        try:
            shown.run.finish(exit_code=int(failed))
        except TimeoutError:
            self._fall_back("what was sent is not taken")
        if self._online and _LOST in self._log.read_text(errors="replace"):
            self._fall_back("what was sent was refused")
        if not self._online:
            self._kept.append(_folder_of(shown))

    def _fall_back(self, why: str) -> None:
        """It is said once."""
        if self._online:
            say(f"trouble, and no step waits for it: {mask(why).strip().splitlines()[0]}. The rest is kept here alone")
        self._online = False

    def _call_link(self, fingerprint: str) -> str | None:
        """Modal's page of the newest call of this run that has the step."""
        calls = ledger.list_calls(self._home, self._run_id)
        links = [call.link for call in calls if any(step.fingerprint == fingerprint for step in call.steps)]
        return links[-1] if links else None


def _ended(home: Home, fingerprint: str, number: int) -> Record | Attempt | None:
    """How the attempt ended; None while it goes on."""
    record = read_record(home, fingerprint)
    if record is not None and record.attempt == number:
        return record
    failed = home.step(fingerprint) / "attempts" / str(number) / "attempt.json"
    return Attempt.model_validate(read_json(failed)) if failed.exists() else None


def _pass_on_lines(shown: _Shown) -> None:
    """The whole lines that `log_metrics` has written since."""
    try:
        with shown.metrics.open("rb") as stream:
            stream.seek(shown.offset)
            written = stream.read()
    except FileNotFoundError:  # nothing was logged yet
        return
    whole = written[: written.rfind(b"\n") + 1]
    shown.offset += len(whole)
    for line in whole.splitlines():
        entry = json.loads(line)
        row = dict(entry["metrics"])
        if entry["step"] is not None:
            for name in row.keys() - shown.curves:
                shown.run.define_metric(name, step_metric=_STEP)
            shown.curves |= row.keys()
            row[_STEP] = entry["step"]
        shown.run.log(row)


def _pass_on_record(home: Home, run: wandb.Run, record: Record) -> None:
    """What was found: the metrics beside their trivial baselines, the finding, the cost, the pictures, the record."""
    for artifact in record.artifacts:
        if Path(artifact.name).suffix.lower() in _PICTURES:
            try:
                picture = wandb.Image(str(home.root / artifact.path))
            except OSError as error:  # of that name, and no picture
                say(f"{record.label}: left out {artifact.name}: {error}")
                continue
            run.log({f"pictures/{artifact.name}": picture})
    baselines = {
        f"baseline/{samples.metric}/{name}": sum(scores) / len(scores)
        for samples in record.samples
        for name, scores in samples.baselines.items()
    }
    run.summary.update(
        {
            **record.metrics,
            **baselines,
            "status": record.status,
            "finding": pool_findings([(record.finding_template, record.metrics)]) or record.finding,
            "notes": list(record.notes),
            "seconds": record.usage.seconds,
            "cost_usd": record.usage.cost_usd,
            "peak_memory_bytes": record.usage.peak_memory_bytes,
            "git_commit": record.provenance.git_commit,
            "git_dirty": record.provenance.git_dirty,
        }
    )
    path = home.record(record.fingerprint)
    run.save(str(path), base_path=str(path.parent), policy="now")


def _folder_of(shown: _Shown) -> Path:
    return Path(shown.run.settings.sync_dir)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def say(line: str) -> None:
    """To the flow run's log, if there is one still."""
    with contextlib.suppress(BrokenPipeError):
        os.write(_TO_THE_RUN, f"{line}\n".encode())


def _end_with_the_run(mirror: Mirror, over: threading.Event) -> None:
    """The flow run holds the other end of stdin; it need not be alive to let go of it."""
    sys.stdin.read()
    over.set()
    time.sleep(mirror.finish_s)
    say(f"not everything was taken {mirror.finish_s:g} s after the end of the run; to upload it: {mirror.to_upload()}")
    kill_descendants()
    os._exit(1)


def main() -> None:
    os.dup2(2, 1)
    request = Path(sys.argv[1])
    mirror = Mirror(read_json(request), request.with_name("wandb.log"))
    over = threading.Event()
    threading.Thread(target=_end_with_the_run, args=(mirror, over), daemon=True).start()
    while not over.wait(LOOK_S):
        mirror.look()
    mirror.close()


if __name__ == "__main__":
    main()
