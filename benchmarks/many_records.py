"""How long reading takes once there are many results: list, show, compare, report, export, verify on synthetic records.

    python benchmarks/many_records.py [--records N] [--repeats N] [--keep DIR]

Phase 1 (C1, Q1, Q2) with three seeds, over and over as after so many changes of code, in a home of its own. Every
record has the size of a real one (as many metrics, samples and baselines; pictures of 40 kB), its numbers are noise,
and it says that it is synthetic. Each command is a process of its own, as a user starts it; the best of three is shown,
and CPU seconds beside it, since wall time depends on what else the machine does. The aim: under 2 s to list, to compare
and to report.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from foresight.compute.fingerprint import fingerprint_of
from foresight.compute.ledger import now as utc
from foresight.files import sha256_bytes
from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.plan.schema import Experiment
from foresight.results import runs, view
from foresight.results.record import Artifact, ModelIdentity, Provenance, Record, Samples, Usage

SEEDS = (0, 1, 2)
METRICS, SAMPLES, BASELINES, PICTURES = 20, 60, 3, 3
AIM_S = 2.0
MODEL = ModelIdentity(id="synthetic", revision="none", weights_sha256="0" * 64, stand_in=True)


def generate(home: Home, n_records: int) -> int:
    """Fill the home; returns how many records there are, at least `n_records`."""
    experiments = [load_plan().experiment(name) for name in ("c1", "q1", "q2")]
    generator, made, number = np.random.default_rng(0), 0, 0
    picture = _picture(generator)
    while made < n_records:
        for experiment in experiments:
            made += _run(home, experiment, f"synthetic-{number:04}", generator, picture)
        number += 1
    for experiment in experiments:
        view.rebuild(home, experiment.id)
    return made


def _run(home: Home, experiment: Experiment, run_id: str, generator: np.random.Generator, picture: bytes) -> int:
    runs.new_run(home, experiment, run_id, profile="tiny", rank=1, seeds=SEEDS, git_commit=run_id)
    for sub in experiment.sub_experiments:
        names = [one.metric for one in experiment.criteria if one.sub_experiment == sub.id]
        names += [f"metric_{index}" for index in range(METRICS - len(names))]
        steps = {seed: _record(home, experiment, sub.id, seed, run_id, names, generator, picture) for seed in SEEDS}
        changes = {"status": "completed", "steps": steps}
        runs.update_sub_experiment(home, experiment.id, run_id, sub.id, **changes)
    runs.finish(home, experiment.id, run_id, "completed")
    return len(experiment.sub_experiments) * len(SEEDS)


def _record(
    home: Home,
    experiment: Experiment,
    sub_id: str,
    seed: int,
    run_id: str,
    names: list[str],
    generator: np.random.Generator,
    picture: bytes,
) -> str:
    identity = {"experiment": experiment.id, "sub_experiment": sub_id, "seed": seed, "synthetic": run_id}
    fingerprint = fingerprint_of(identity)
    artifacts = []
    (home.step(fingerprint) / "artifacts").mkdir(parents=True)
    for index in range(PICTURES):
        path = home.step(fingerprint) / "artifacts" / f"picture_{index}.png"
        path.write_bytes(picture)
        name, where = path.name, path.relative_to(home.root).as_posix()
        artifacts.append(Artifact(name=name, path=where, sha256=sha256_bytes(picture), size_bytes=len(picture)))
    samples = [
        Samples(
            metric=name,
            scores=generator.normal(0.5, 0.1, SAMPLES).tolist(),
            groups=[f"source-{index}" for index in range(SAMPLES)],
            baselines={f"guess_{index}": generator.normal(0.4, 0.1, SAMPLES).tolist() for index in range(BASELINES)},
            higher_is_better=True,
        )
        for name in names
    ]
    now = utc()
    record = Record(
        fingerprint=fingerprint,
        kind="sub_experiment",
        label=f"{experiment.short}/{sub_id} seed {seed}",
        profile="tiny",
        run_id=run_id,
        experiment_id=experiment.id,
        sub_experiment=sub_id,
        seed=seed,
        finding_template=f"Synthetic: {{{names[0]}}}.",
        metrics={one.metric: float(np.mean(one.scores)) for one in samples},
        samples=samples,
        notes=["Synthetic: nothing was measured."],
        artifacts=artifacts,
        usage=Usage(device="cpu", seconds=20.0, cpu_seconds=20.0, peak_memory_bytes=10**9, cost_usd=0.0),
        provenance=Provenance(
            git_commit=run_id, git_dirty=False, lock_sha256=None, versions={}, models={"vlm": MODEL}, data={},
            seed=seed, python="", platform="",
        ),
        identity=identity,
        attempt=1,
        started_at=now,
        finished_at=now,
    )  # fmt: skip
    home.record(fingerprint).write_text(record.model_dump_json())
    return fingerprint


def _picture(generator: np.random.Generator) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(generator.integers(0, 255, (115, 115, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def timed(home: Home, folder: Path, repeats: int, *arguments: str) -> tuple[float, float]:
    """(wall, CPU) seconds of a command, the best of some."""
    environment = {**os.environ, "FORESIGHT_HOME": str(home.root)}
    found = []
    for _ in range(repeats):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [sys.executable, "-m", "foresight", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((time.monotonic() - started, cpu))
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="generate into this folder and leave it there")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Home((options.keep or Path(scratch) / "home").resolve())
        made = generate(home, options.records)
        last = f"synthetic-{len(list((home.results / 'c1-vlm-latent-sufficiency/runs').iterdir())) - 1:04}"
        print(f"{made:,} records; wall and CPU seconds, best of {options.repeats}; the aim is {AIM_S:g} s", flush=True)
        for command in (
            "results list",
            "results show c1",
            f"results compare synthetic-0000 {last}",
            "results report c1 -o c1.html",
            "results report -o all.html",
            "results report -o all.md",
            "results export -o tables",
            "results prune",
            "results verify",
        ):
            wall, cpu = timed(home, Path(scratch), options.repeats, *command.split())
            print(f"{wall:7.2f} {cpu:7.2f}  {command}", flush=True)


if __name__ == "__main__":
    main()
