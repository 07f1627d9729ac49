"""Plans, records and runs in the small, for the tests of this room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foresight.compute.fingerprint import fingerprint_of
from foresight.files import sha256_bytes, write_atomic, write_json
from foresight.home import Home
from foresight.plan.schema import Criterion, Experiment, Gate, Plan, SubExperiment
from foresight.results import runs
from foresight.results.record import Artifact, ModelIdentity, Provenance, Record, Samples, Usage
from foresight.results.runs import Run

SOURCES = [f"photo-{index:02d}" for index in range(40)]
LPIPS = Criterion(
    name="lpips",
    sub_experiment="e1_5",
    metric="lpips",
    direction="lower",
    target=0.25,
    acceptable=0.35,
    failure=0.45,
    arm="X3 tokens -> X6 -> LTX decode",
)
IOU = Criterion(
    name="spatial_iou",
    sub_experiment="e1_4",
    metric="iou",
    direction="higher",
    target=0.75,
    acceptable=0.60,
    failure=0.50,
    arm="X3 tokens, H5",
)


def experiment(criteria: Sequence[Criterion] = (LPIPS, IOU), *, short: str = "c1", **changes: Any) -> Experiment:
    subs = [SubExperiment(id=sub, title=f"Study {sub}", aim="to see") for sub in ("e1_1", "e1_4", "e1_5")]
    values = {
        "id": "c1-vlm-latent-sufficiency" if short == "c1" else f"{short}-study",
        "short": short,
        "title": "VLM latent sufficiency",
        "kind": "claim",
        "phase": 1,
        "question": "Can the latents be decoded back to pixels?",
        "sub_experiments": tuple(subs),
        "criteria": tuple(criteria),
    }
    return Experiment(**{**values, **changes})


def plan(*experiments: Experiment, gates: Sequence[Gate] = ()) -> Plan:
    return Plan(version=1, experiments=experiments, gates=tuple(gates))


def samples(
    metric: str,
    centre: float,
    *,
    baseline: float | None = None,
    n: int = 20,
    seed: int = 0,
    spread: float = 0.05,
    higher: bool = True,
) -> Samples:
    """`n` sources about `centre`, and the same about `baseline`, with the sources' ups and downs in both."""
    generator = np.random.default_rng(seed)
    ups = generator.normal(0, spread, n)
    ups -= ups.mean()
    noise = generator.normal(0, spread / 5, n)
    return Samples(
        metric=metric,
        scores=(centre + ups).tolist(),
        groups=SOURCES[:n],
        baselines={} if baseline is None else {"mean_image": (baseline + ups + noise - noise.mean()).tolist()},
        higher_is_better=higher,
    )


def record(
    sub: str,
    seed: int = 0,
    *logged: Samples,
    metrics: Mapping[str, float] | None = None,
    finding: str = "",
    profile: str = "tiny",
    stand_in: bool = True,
    run_id: str = "run-1",
    experiment_id: str = "c1-vlm-latent-sufficiency",
    salt: str = "",
    **changes: Any,
) -> Record:
    identity = {"experiment": experiment_id, "sub_experiment": sub, "seed": seed, "profile": profile, "salt": salt}
    values = {
        "fingerprint": fingerprint_of(identity),
        "kind": "sub_experiment",
        "label": f"{sub} seed {seed}",
        "profile": profile,
        "run_id": run_id,
        "experiment_id": experiment_id,
        "sub_experiment": sub,
        "seed": seed,
        "finding_template": finding,
        "metrics": {**{one.metric: float(np.mean(one.scores)) for one in logged}, **(metrics or {})},
        "samples": list(logged),
        "usage": Usage(device="cpu", seconds=2.0, cpu_seconds=1.5, peak_memory_bytes=10**8, cost_usd=0.25),
        "provenance": Provenance(
            git_commit="a" * 40,
            git_dirty=False,
            lock_sha256=None,
            versions={},
            models={"vlm": ModelIdentity(id="org/vlm", revision="r1", weights_sha256="0" * 64, stand_in=stand_in)},
            data={"photographs": "d" * 64},
            seed=seed,
            python="3.11",
            platform="linux",
        ),
        "identity": identity,
        "attempt": 1,
        "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": "2026-01-01T00:00:02+00:00",
    }
    return Record(**{**values, **changes})


def store(home: Home, one: Record, files: Mapping[str, bytes] | None = None) -> Record:
    """Artifacts first, then the record, as a step does."""
    made = []
    for name, content in (files or {}).items():
        path = home.step(one.fingerprint) / "artifacts" / name
        write_atomic(path, content)
        made.append(
            Artifact(
                name=name,
                path=str(path.relative_to(home.root)),
                sha256=sha256_bytes(content),
                size_bytes=len(content),
            )
        )
    one = one.model_copy(update={"artifacts": made})
    write_json(home.record(one.fingerprint), one.model_dump(mode="json"))
    return one


def begin(
    home: Home,
    run_id: str,
    of: Experiment | None = None,
    *,
    profile: str = "tiny",
    seeds: Sequence[int] = (0,),
    **changes: Any,
) -> Run:
    rank = {"tiny": 1, "repro": 2, "real": 3}[profile]
    changes.setdefault("options", {"plan": "/gone/plan.yaml"})  # these criteria are not those of the packaged plan
    return runs.new_run(home, of or experiment(), run_id, profile=profile, rank=rank, seeds=seeds, **changes)


def complete(home: Home, run: Run, *records: Record, status: str = "completed") -> Run:
    """Enter the records, which are all of one sub-experiment, as that sub-experiment's outcome in the run."""
    steps = {one.seed: one.fingerprint for one in records}
    sub = records[0].sub_experiment
    assert sub is not None
    return runs.update_sub_experiment(home, run.experiment.id, run.run_id, sub, status=status, steps=steps, attempts=1)


def good(seed: int = 0, **changes: Any) -> list[Record]:
    """One record of each sub-experiment, with every criterion met."""
    return [
        record("e1_1", seed, metrics={"silhouette": 0.72}, finding="Clusters: {silhouette}.", **changes),
        record("e1_4", seed, samples("iou", 0.8, baseline=0.3, seed=seed), finding="IoU {iou:.2f}.", **changes),
        record("e1_5", seed, samples("lpips", 0.2, baseline=0.5, seed=seed), finding="LPIPS {lpips}.", **changes),
    ]


def finished_run(
    home: Home, run_id: str, records: Sequence[Record], of: Experiment | None = None, **changes: Any
) -> Run:
    """A run whose `records` (any seeds) are stored and completed."""
    seeds = sorted({one.seed for one in records if one.seed is not None})
    run = begin(home, run_id, of, seeds=seeds, **changes)
    for sub in dict.fromkeys(one.sub_experiment for one in records):
        mine = [
            store(home, one, {"plot.png": f"{sub} {one.seed}".encode()}) for one in records if one.sub_experiment == sub
        ]
        complete(home, run, *mine)
    return runs.finish(home, run.experiment.id, run_id, "completed")
