"""What `run` and `program` print: the results at the end, or with `--dry-run` what would be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from foresight.cli import cost
from foresight.cli.output import console, print_json, table
from foresight.compute import planner
from foresight.compute.estimate import Line, estimate
from foresight.compute.rates import rates_of
from foresight.compute.request import Job
from foresight.compute.step import Step
from foresight.compute.tracking import earlier_record
from foresight.home import Home
from foresight.results import gates, runs, spending
from foresight.results import table as tables
from foresight.results.record import finished, read_record
from foresight.results.spending import Spent
from foresight.units import duration, size, usd


def documents(
    shown: dict[str, dict[str, Any]],
    job: Job,
    home: Home,
    *,
    as_json: bool,
    failed: tuple[str, ...] = (),
    stopped: str = "",
    heading: str = "",
) -> None:
    """The table of every experiment of the job, and what was left out."""
    gate = next_gate(job, home)
    if as_json:
        spent = {name: spent_so_far(home, content).model_dump() for name, content in shown.items()}
        print_json(
            {
                "experiments": shown,
                "spent": spent,
                "failed": list(failed),
                "stopped": stopped,
                "skipped": list(job.skipped),
                "gate": {"id": gate.gate, "verdict": gate.verdict, "reason": gate.reason} if gate else None,
            }
        )
        return
    if heading:
        console.print(heading)
    for experiment_id, content in shown.items():
        folder = home.results / experiment_id
        if not (folder / "results.yaml").exists() or content["status"] == "stub":
            folder = folder / "runs" / content["run_id"]
        console.print()
        console.print(tables.experiment(content, folder, spent=spent_so_far(home, content)))
    if failed:
        console.print(
            Text(f"failed    {', '.join(failed)}; the log and traceback lie in {home.steps}/*/attempts/", style="red")
        )
    if stopped:
        console.print(Text.assemble(("stopped   ", "dim"), (stopped, "red")))
    if gate:
        console.print()
        console.print(tables.gate_line(gate))
    if job.skipped:
        names = ", ".join(job.plan.experiment(name).short for name in job.skipped)
        console.print(Text(f"skipped   no handlers yet: {names} (`foresight plan show`)", style="dim"))


def next_gate(job: Job, home: Home) -> gates.GateState | None:
    """The gate that stands behind the last phase of the job; None where there is none, and for a stub run."""
    if job.request.stub_mode:
        return None
    phase = max(selection.experiment.phase for selection in job.selections) + 1
    return gates.before_phase(home, job.plan, phase, profile=job.profile.name, moves_gates=job.profile.moves_gates)


def spent_so_far(home: Home, content: Mapping[str, Any]) -> Spent:
    """What all runs of the experiment in this profile and by this plan have cost, with the features they needed."""
    wanted = (content.get("profile"), content.get("plan_hash"))
    of_these = [run for run in runs.list_runs(home, content["experiment_id"]) if (run.level, run.plan_hash) == wanted]
    steps = {fp for run in of_these for sub in run.sub_experiments.values() for fp in sub.steps.values()}
    return spending.of_steps(home, steps, with_needs=True)


def dry_run(job: Job, home: Home, *, as_json: bool) -> None:
    """Recorded or to run, and why; seconds, bytes and dollars, as far as earlier records or shapes tell them."""
    found = estimate(job, home, rates_of(job.request.compute))
    if found.unprepared:
        if as_json:
            print_json(cost.as_json(found))
        else:
            cost.show(found)
            if job.brought_along:
                console.print(job.brought_along, markup=False)
        return
    lines = {line.label: line for line in found.lines}
    rows = [_row(step, home, lines[step.label]) for step in planner.plan_steps(job, home, "dry-run").steps]
    if as_json:
        print_json({**cost.as_json(found), "steps": rows})
        return
    console.print(
        table(
            ["step", "", "time", "bytes", "dollars", "why"],
            [[r["label"], r["state"], duration(r["seconds"]), size(r["bytes"]), _dollars(r), r["why"]] for r in rows],
        )
    )
    console.print()
    if job.brought_along:
        console.print(job.brought_along, markup=False)
    for line in cost.summary(found):
        console.print(line, markup=False)


def _row(step: Step, home: Home, line: Line) -> dict[str, Any]:
    state = planner.state_of(step, home)
    record = finished(home, step.fingerprint) if state == "recorded" else None
    earlier = record or (read_record(home, step.fingerprint) if state == "forced" else earlier_record(home, step))
    reasons = {"recorded": "", "forced": "forced by --refresh", "broken record": "its record cannot be read"}
    return {
        "label": step.label,
        "fingerprint": step.fingerprint,
        "state": "recorded" if state == "recorded" else "to run",
        "why": reasons[state] if state in reasons else planner.why(step, earlier),
        "device": step.resources.device,
        "seconds": line.seconds if record is None else record.usage.seconds,
        "seconds_rest_on": line.seconds_rest_on or None,
        "bytes": line.size_bytes if record is None else sum(artifact.size_bytes for artifact in record.artifacts),
        "usd": line.usd,
        "at_most_usd": line.at_most_usd,
    }


def _dollars(row: dict[str, Any]) -> str:
    return usd(row["usd"]) if row["usd"] is not None else f"≤ {usd(row['at_most_usd'])}"
