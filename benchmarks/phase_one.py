"""What features extracted once save: phase 1 as here, against a model loaded in every sub-experiment.

    python benchmarks/phase_one.py [--experiments c1 q1 q2] [--seeds N] [--pictures N] [-o FILE.md]

Both ways see the same models, data sets and extraction points of the `tiny` profile, in one run on one machine:

*once*: each model is loaded once, and one pass a batch gives every point that any sub-experiment reads.
*each*: as the predecessor did it. Every sub-experiment loads the models that it needs and passes its pictures one at
a time, for all its points at once; e1_6 passes them once for each point, as the published one does.

Model seconds are those of loading and of `encode`, by the clock and of the processor; each way runs in a process of
its own. The probes are the same in both ways: every handler is run once a seed on the features of *once*, and its
seconds are added to both. A seed is a run of its own in *each*, since the predecessor had one a run; *once* extracts
for all seeds together, since features do not depend on them. Everything runs one after the other on one thread, so the
wall time of a whole is a sum; the critical path is the longest chain of a model's extraction and one handler, which is
what unlimited processors would leave. The floor is one load of each model and one pass over each picture for the last
point alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from foresight.compute.planner import StepPlan, data_specs, model_specs, plan_steps
from foresight.compute.request import Job, RunRequest, resolve
from foresight.compute.step import Step
from foresight.compute.threads import ONE_THREAD
from foresight.home import Home

WAYS = ("once", "each", "floor")
SEPARATE_PASSES = ("e1_6",)  # one pass a point, in the published code
_SCRATCH = "--scratch"


@dataclass
class Spent:
    """What a way cost."""

    load_s: float = 0.0
    load_cpu_s: float = 0.0
    forward_s: float = 0.0
    forward_cpu_s: float = 0.0
    loads: int = 0
    passes: int = 0
    images: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)  # role or sub-experiment -> seconds of the clock

    @property
    def model_s(self) -> float:
        return self.load_s + self.forward_s

    @property
    def model_cpu_s(self) -> float:
        return self.load_cpu_s + self.forward_cpu_s


@contextmanager
def counted(spent: Spent) -> Iterator[None]:
    """Time every load and every `encode` of every adapter, and count the passes of each."""
    from foresight.models import dino, loading, ltx, qwen

    originals: list[tuple[Any, str, Any]] = [(loading, "load", loading.load)]
    originals += [(kind, "encode", kind.encode) for kind in (qwen.Vlm, ltx.Vae, dino.Dino)]

    def load(*arguments: Any, **named: Any) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        made = originals[0][2](*arguments, **named)
        spent.load_s += time.perf_counter() - start
        spent.load_cpu_s += time.process_time() - cpu
        spent.loads += 1
        return made

    def timed(encode: Callable[..., Any]) -> Callable[..., Any]:
        def run(model: Any, images: Any, *arguments: Any, **named: Any) -> Any:
            start, cpu = time.perf_counter(), time.process_time()
            made = encode(model, images, *arguments, **named)
            spent.forward_s += time.perf_counter() - start
            spent.forward_cpu_s += time.process_time() - cpu
            batch = next((a for a in reversed(arguments) if type(a) is int), len(images))
            spent.images += len(images)
            spent.passes += -(-len(images) // batch)
            return made

        return run

    for (place, name, _), instead in zip(originals, [load, *(timed(o) for *_, o in originals[1:])], strict=True):
        setattr(place, name, instead)
    try:
        yield
    finally:
        for place, name, original in originals:
            setattr(place, name, original)


def once(plan: StepPlan, home: Home, spent: Spent, limit: int | None) -> None:
    """Extract everything, model by model, as a run does; with a limit on pictures, without writing the features."""
    from foresight.features import extract

    for call in plan.calls():
        if call.steps[0].kind != "extract":
            continue
        start = time.perf_counter()
        if limit:
            _passes(call.steps, home, limit, batch_of=lambda step: step.work["batch_size"])
        else:
            contexts = {step.fingerprint: _context(home, home.root / "scratch") for step in call.steps}
            extract.execute_many(call.steps, contexts, lambda step, output: None)
        spent.parts[call.steps[0].identity["role"]] = time.perf_counter() - start


def each(plan: StepPlan, home: Home, spent: Spent, limit: int | None) -> None:
    """Load and pass anew for every sub-experiment, one picture at a time."""
    for label, steps in _by_sub_experiment(plan).items():
        start = time.perf_counter()
        separately = label.split("/")[-1].split()[0] in SEPARATE_PASSES
        for group in _grouped(steps, "model_spec").values():
            _one_by_one(group, home, limit, separately)
        spent.parts[label] = time.perf_counter() - start


def floor(plan: StepPlan, home: Home, spent: Spent, limit: int | None) -> None:
    """One load a model and one pass a batch, for the deepest point alone."""
    for call in plan.calls():
        if call.steps[0].kind == "extract":
            _passes(call.steps, home, limit, batch_of=lambda step: step.work["batch_size"], last_only=True)


def _one_by_one(steps: list[Step], home: Home, limit: int | None, separately: bool) -> None:
    _passes(steps, home, limit, batch_of=lambda step: 1, separately=separately)


def _passes(
    steps: Any,
    home: Home,
    limit: int | None,
    *,
    batch_of: Callable[[Step], int],
    separately: bool = False,
    last_only: bool = False,
) -> None:
    """Load the model of `steps` and pass the pictures of each of their data sets and sides."""
    from foresight.data.dataset import prepare
    from foresight.data.manifest import DataSpec
    from foresight.models import loading
    from foresight.models.identity import ModelSpec, locate

    spec = ModelSpec.from_json(steps[0].work["model_spec"])
    model = loading.load(spec, locate(spec, home), "cpu", steps[0].identity["dtype"])
    for group in _grouped(steps, "data_spec", "side").values():
        dataset = prepare(DataSpec.from_json(group[0].work["data_spec"]), home)
        points = [step.identity["point"] for step in group]
        rounds = [[point] for point in points] if separately else [points[-1:] if last_only else points]
        size = batch_of(group[0])
        if dataset.images.ndim == 5:
            size = max(1, size // dataset.images.shape[1])
        for wanted in rounds:
            _encode(model, dataset, wanted, group[0].identity["side"], size, limit)


def _encode(model: Any, dataset: Any, points: list[str], side: int | None, size: int, limit: int | None) -> None:
    """One call a batch, so that a batch of one is a call a picture, preprocessing included."""
    for start in range(0, min(len(dataset), limit or len(dataset)), size):
        images = dataset.images[start : start + size]
        if model.role == "vlm":
            model.encode(images, points, side, size, dataset.fps)
        elif images.ndim == 5 and "." in points[0]:
            for point in points:
                model.encode(images[:, int(point.split(".")[1])], side, size)
        else:
            model.encode(images, side, size)


def probes(plan: StepPlan, home: Home) -> dict[str, dict[str, float]]:
    """Run every handler once on the features that are there: label -> seconds by the clock and of the processor."""
    from foresight.runner import execute

    spent = {}
    for number, step in enumerate(plan.seeded.values()):
        folder = home.root / "probes" / str(number)
        (folder / "artifacts").mkdir(parents=True)
        start, cpu = time.perf_counter(), time.process_time()
        execute(step, _context(home, folder))
        spent[step.label] = {"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
        print(f"{step.label}: {spent[step.label]['cpu_s']:.1f} s of the processor", file=sys.stderr, flush=True)
    return spent


def _context(home: Home, folder: Path) -> Any:
    from foresight.compute.executors import StepContext

    return StepContext(home, folder, folder / "artifacts", "cpu", lambda fraction, text: None)


def _by_sub_experiment(plan: StepPlan) -> dict[str, list[Step]]:
    """Label of a sub-experiment -> the extractions that it reads."""
    of = {step.fingerprint: step for step in plan.extract}
    return {step.label: [of[fingerprint] for fingerprint in step.needs.values()] for step in plan.seeded.values()}


def _grouped(steps: Any, *names: str) -> dict[str, list[Step]]:
    groups: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        key = [step.work.get(name, step.identity.get(name)) for name in names]
        groups[json.dumps(key, sort_keys=True)].append(step)
    return groups


def _job(experiments: list[str], seeds: int) -> Job:
    return resolve(RunRequest(experiments=tuple(experiments), profile="tiny", seeds=seeds))


def child(part: str, experiments: list[str], seeds: int, home: Home, limit: int | None) -> None:
    """What runs in a process of its own; prints JSON."""
    plan = plan_steps(_job(experiments, seeds), home, "benchmark")
    if part == "probes":
        print(json.dumps({"probes": probes(plan, home), "peak_mb": _peak_mb()}))
        return
    from foresight.models import dino, loading, ltx, qwen  # noqa: F401 - imports are no part of either way

    spent = Spent()
    start, cpu = time.perf_counter(), time.process_time()
    with counted(spent):
        {"once": once, "each": each, "floor": floor}[part](plan, home, spent, limit)
    spent.wall_s, spent.cpu_s = time.perf_counter() - start, time.process_time() - cpu
    spent.peak_mb = _peak_mb()
    print(json.dumps(asdict(spent)))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_child(part: str, experiments: list[str], seeds: int, scratch: str, limit: int | None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--experiments", *experiments, _SCRATCH, scratch, "--part", part]
    command += ["--seeds", str(seeds)]
    command += ["--pictures", str(limit)] if limit else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
    return json.loads(done.stdout.splitlines()[-1])


def report(
    ways: Mapping[str, Spent],
    handlers: Mapping[str, Any] | None,
    plan: StepPlan,
    load: tuple[float, ...],
    limit: int | None,
) -> str:
    """Markdown."""
    ours = ways["once"]
    spent_of = handlers["probes"] if handlers else {}
    probe_s = sum(spent["wall_s"] for spent in spent_of.values())
    probe_cpu_s = sum(spent["cpu_s"] for spent in spent_of.values())
    kind = "with the probes" if handlers else "without the probes"
    rows: list[tuple[str, Callable[[Spent], float], int]] = [
        ("model, s of the processor", lambda s: s.model_cpu_s, 1),
        ("- of these loading", lambda s: s.load_cpu_s, 1),
        ("- of these passes", lambda s: s.forward_cpu_s, 1),
        ("model, s by the clock", lambda s: s.model_s, 1),
        ("loads", lambda s: s.loads, 0),
        ("passes", lambda s: s.passes, 0),
        ("pictures and clips passed", lambda s: s.images, 0),
        (f"whole, {kind}, s by the clock", lambda s: s.wall_s + probe_s, 1),
        (f"whole, {kind}, s of the processor", lambda s: s.cpu_s + probe_cpu_s, 1),
        ("peak memory of the model's process, MB", lambda s: s.peak_mb, 0),
    ]
    lines = [
        f"# Phase 1: features once, against a model in every sub-experiment ({date.today()})",
        "",
        f"{len({(key.experiment_id, key.sub_experiment) for key in plan.seeded})} sub-experiments, "
        f"{len({key.seed for key in plan.seeded})} seed(s), profile tiny; {os.cpu_count()} processors "
        f"({platform.machine()}), one thread; Python {platform.python_version()}, torch {version('torch')}, "
        f"transformers {version('transformers')}. Load average {load[0]:.1f} at the start, {load[1]:.1f} at the end: "
        "on a busy machine compare seconds of the processor."
        + (f" At most {limit} pictures a data set." if limit else ""),
        "",
        "| | each | once | each / once | floor |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, value, digits in rows:
        a, b, least = (value(ways[way]) for way in ("each", "once", "floor"))
        shown = "" if name.startswith("whole") else f"{least:,.{digits}f}"
        lines.append(f"| {name} | {a:,.{digits}f} | {b:,.{digits}f} | {a / b:.1f} | {shown} |")
    if spent_of:
        roles = {label: {step.identity["role"] for step in steps} for label, steps in _by_sub_experiment(plan).items()}
        critical, chain = max(
            (max((ours.parts[role] for role in roles[label]), default=0.0) + spent["wall_s"], label)
            for label, spent in spent_of.items()
        )
        lines += [
            "",
            f"Critical path of *once*: {critical:.1f} s by the clock (what {chain} waits for, then its handler). Peak "
            f"memory of the handlers' process: {handlers['peak_mb'] if handlers else 0:.0f} MB.",
            "",
            "Where the rest goes, s of the processor a handler:",
            "",
            "| handler | s |",
            "|---|--:|",
        ]
        slowest = sorted(spent_of.items(), key=lambda item: -item[1]["cpu_s"])
        lines += [f"| {label} | {spent['cpu_s']:.1f} |" for label, spent in slowest]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", nargs="+", default=["c1", "q1", "q2"])
    parser.add_argument("--seeds", type=int, default=3, help="runs of the programme, for the way that shares nothing")
    parser.add_argument("--pictures", type=int, help="pictures a data set at most, for a trial; without handlers")
    parser.add_argument("-o", "--out", type=Path, help="write the table here too")
    parser.add_argument("--models-only", action="store_true", help="leave the handlers out")
    parser.add_argument("--part", choices=(*WAYS, "probes"), help=argparse.SUPPRESS)
    parser.add_argument(_SCRATCH, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        child(arguments.part, arguments.experiments, arguments.seeds, Home(Path(arguments.scratch)), arguments.pictures)
        return

    from foresight.data.dataset import prepare
    from foresight.models.download import make_available

    with tempfile.TemporaryDirectory() as scratch:
        home, job = Home(Path(scratch)), _job(arguments.experiments, arguments.seeds)
        for spec in model_specs(job).values():
            make_available(spec, home, forward=False)
        for data in data_specs(job).values():
            prepare(data, home)
        before = os.getloadavg()[0]
        ways = {}
        for way in WAYS:
            ways[way] = Spent(**run_child(way, arguments.experiments, arguments.seeds, scratch, arguments.pictures))
            done = f"{ways[way].model_cpu_s:.1f} s of the processor, {ways[way].loads} loads, {ways[way].passes} passes"
            print(f"{way}: {done}", file=sys.stderr, flush=True)
        handlers = (
            None
            if arguments.models_only or arguments.pictures
            else run_child("probes", arguments.experiments, arguments.seeds, scratch, None)
        )
        load = (before, os.getloadavg()[0])
        text = report(ways, handlers, plan_steps(job, home, "benchmark"), load, arguments.pictures)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
