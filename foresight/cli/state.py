"""`foresight status`, `cancel`, `doctor`: what goes on, stopping it, and what is wrong."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from foresight.cli import doctor as checks
from foresight.cli.output import console, note, print_json, table
from foresight.cli.run import AsJson
from foresight.compute import ledger
from foresight.errors import UserError
from foresight.home import Home
from foresight.results import spending, view
from foresight.units import duration, usd

LOCK = Path(__file__).parents[2] / "requirements.lock"
MARKS = {"ok": "[green]ok[/green]", "missing": "[yellow]missing[/yellow]", "failed": "[red]failed[/red]"}


def add_to(app: typer.Typer) -> None:
    app.command(help="What runs, where, since when, and what it has cost.")(status)
    app.command(help="Stop a run: every call of it that is alive. What is finished is kept.")(cancel)
    app.command(help="Check what really goes wrong on a machine. Exit 1 if something did.")(doctor)


def status(as_json: AsJson = False) -> None:
    home = Home.from_environment()
    say_what_was_killed(home)
    calls = [call for call in ledger.list_calls(home) if ledger.is_alive(call)]
    finished = spending.by_run(home) if calls else {}
    running = {call.call_id: _seconds(call) for call in calls}
    if as_json:
        rows_of = [
            {
                **call.model_dump(mode="json"),
                "seconds": running[call.call_id],
                "cost_usd": running[call.call_id] * call.usd_per_second,
                "run_spent": finished.get(call.run_id, spending.NOTHING).model_dump(),
            }
            for call in calls
        ]
        print_json(rows_of)
    elif not calls:
        console.print("nothing is running")
    else:
        for run_id in dict.fromkeys(call.run_id for call in calls):
            own = [call for call in calls if call.run_id == run_id]
            cost = sum(running[call.call_id] * call.usd_per_second for call in own)
            done = finished.get(run_id, spending.NOTHING)
            console.print(
                f"{run_id}: {usd(done.cost_usd + cost)} so far, {usd(done.cost_usd)} of it for what has ended "
                f"({duration(done.seconds)} of computing, {done.failed_attempts} failed attempts)"
            )
            rows = [
                [
                    _label(call),
                    call.backend if call.backend == "local" else f"{call.backend} {call.device}",
                    _followed_by(call),
                    call.submitted_at[:19],
                    usd(running[call.call_id] * call.usd_per_second),
                ]
                for call in own
            ]
            console.print(table(["call", "where", "pid", "since (UTC)", "so far"], rows))
            for call in own:
                if call.link:
                    console.print(f"  {_label(call)}: {call.link}", soft_wrap=True)
        if any(call.backend != "local" and _followed_by(call) == "nobody" for call in calls):
            console.print("What nobody follows goes on: the same run again attaches to it, `foresight cancel` stops it")


def say_what_was_killed(home: Home) -> None:
    """Runs whose process is gone from this machine are ended, and named; in an archive that is read-only, not."""
    if not os.access(home.results, os.W_OK):
        return
    for run in view.end_killed(home):
        begun = f"{run.started_at[:16].replace('T', ' ')} UTC"
        note(
            f"run {run.run_id} of {run.experiment.short} (begun {begun}) did not end: its process is gone (killed, or "
            "the machine was lost). It counts as failed now; the same command goes on from there"
        )


def cancel(run: Annotated[str, typer.Argument(help="Run id, as `foresight status` shows it.")]) -> None:
    home = Home.from_environment()
    calls = [call for call in ledger.list_calls(home) if call.run_id == run]
    if not calls:
        known = sorted({call.run_id for call in ledger.list_calls(home) if ledger.is_alive(call)})
        raise UserError(f"No run '{run}' here. Running now: {', '.join(known) or 'nothing'}.")
    ledger.request_cancel(home, run)
    alive = sum(ledger.is_alive(call) for call in calls)
    left = [call for call in ledger.unfollowed(home, run) if not call.foreign]
    if left:  # no process of the run is there to do it
        from foresight.compute.modal_sweep import stop_all  # the client takes a second to import

        stopped = stop_all(home, left)
        console.print(f"stopped {len(stopped)} of {len(left)} call(s) of {run} on Modal")
        if len(stopped) < len(left):
            raise typer.Exit(1)
        return
    console.print(
        f"asked {run} to stop ({alive} call(s) alive)" if alive else f"{run} has no call alive; nothing to stop"
    )


def doctor(as_json: AsJson = False) -> None:
    found = checks.examine(Home.from_environment(), LOCK)
    if as_json:
        print_json([vars(check) for check in found])
    else:
        rows = [
            [
                check.name,
                MARKS[check.status],
                check.detail if check.status == "ok" else f"{check.detail.rstrip('.')}. {check.remedy}",
            ]
            for check in found
        ]
        console.print(table(["check", "", "found, and what to do"], rows))
    raise typer.Exit(1 if any(check.status == "failed" for check in found) else 0)


def _seconds(call: ledger.CallEntry) -> float:
    """Since it was submitted; on Modal a wait for a machine is in it, which is not billed."""
    return (datetime.now(UTC) - datetime.fromisoformat(call.submitted_at)).total_seconds()


def _followed_by(call: ledger.CallEntry) -> str:
    """The process that a local call is, or that a remote one is followed by."""
    if call.backend == "local":
        return str(call.process.pid if call.process else "–")
    return str(call.owner.pid) if call.owner and call.owner.is_alive() else "nobody"


def _label(call: ledger.CallEntry) -> str:
    more = f" +{len(call.steps) - 1}" if len(call.steps) > 1 else ""
    return call.steps[0].label + more
