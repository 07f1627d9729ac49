"""What `run` and `program` print: the results at the end, or with `--dry-run` what would be done."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from foresight.cli.output import console, print_json, table
from foresight.compute import planner
from foresight.compute.request import Job
from foresight.compute.step import Step
from foresight.compute.tracking import earlier_record
from foresight.home import Home
from foresight.results import table as tables
from foresight.results.record import finished, read_record


def documents(
    shown: dict[str, dict[str, Any]],
    job: Job,
    home: Home,
    *,
    as_json: bool,
    failed: tuple[str, ...] = (),
    heading: str = "",
) -> None:
    """The table of every experiment of the job, and what was left out."""
    if as_json:
        print_json({"experiments": shown, "failed": list(failed), "skipped": list(job.skipped)})
        return
    if heading:
        console.print(heading)
    for experiment_id, content in shown.items():
        folder = home.results / experiment_id
        if not (folder / "results.yaml").exists() or content["status"] == "stub":
            folder = folder / "runs" / content["run_id"]
        console.print()
        console.print(tables.experiment(content, folder))
    if failed:
        console.print(
            Text(f"failed    {', '.join(failed)}; the log and traceback lie in {home.steps}/*/attempts/", style="red")
        )
    if job.skipped:
        names = ", ".join(job.plan.experiment(name).short for name in job.skipped)
        console.print(Text(f"skipped   no handlers yet: {names} (`foresight plan show`)", style="dim"))


def dry_run(job: Job, home: Home, *, as_json: bool) -> None:
    """Recorded or to run, and why; seconds from earlier records where there are any, dollars, bytes."""
    try:
        plan = planner.plan_steps(job, home, "dry-run")
    except planner.Unprepared as missing:
        if as_json:
            print_json({"prepared": False, "missing": str(missing), "steps": []})
        else:
            console.print(
                f"Nothing can be said of single steps yet: {missing} is made first, by the run itself.", markup=False
            )
        return
    rows = [_row(step, home) for step in plan.steps]
    if as_json:
        print_json({"prepared": True, "steps": rows})
        return
    console.print(
        table(
            ["step", "", "seconds", "bytes", "why"],
            [[r["label"], r["state"], _seconds(r["seconds"]), _bytes(r["bytes"]), r["why"]] for r in rows],
        )
    )
    to_run = [row for row in rows if row["state"] != "recorded"]
    known = [row["seconds"] for row in to_run if row["seconds"] is not None]
    guess = f", about {sum(known):.0f} s of work" if to_run and len(known) == len(to_run) else ""
    console.print(f"{len(rows) - len(to_run)} recorded, {len(to_run)} to run{guess}; $0.00 on this machine")


def _row(step: Step, home: Home) -> dict[str, Any]:
    state = planner.state_of(step, home)
    record = finished(home, step.fingerprint) if state == "recorded" else None
    earlier = record or (read_record(home, step.fingerprint) if state == "forced" else earlier_record(home, step))
    reasons = {"recorded": "", "forced": "forced by --refresh", "broken record": "its record cannot be read"}
    return {
        "label": step.label,
        "fingerprint": step.fingerprint,
        "state": "recorded" if state == "recorded" else "to run",
        "why": reasons[state] if state in reasons else planner.why(step, earlier),
        "seconds": None if earlier is None else earlier.usage.seconds,
        "bytes": None if earlier is None else sum(artifact.size_bytes for artifact in earlier.artifacts),
        "usd": 0.0,
    }


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _bytes(value: int | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"
