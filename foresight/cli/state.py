"""`foresight status`, `cancel`, `doctor`: what goes on, stopping it, and what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foresight.cli import doctor as checks
from foresight.cli.output import console, print_json, table
from foresight.cli.run import AsJson
from foresight.compute import ledger
from foresight.errors import UserError
from foresight.home import Home

LOCK = Path(__file__).parents[2] / "requirements.lock"
MARKS = {"ok": "[green]ok[/green]", "missing": "[yellow]missing[/yellow]", "failed": "[red]failed[/red]"}


def add_to(app: typer.Typer) -> None:
    app.command(help="What runs, where, and since when.")(status)
    app.command(help="Stop a run: every call of it that is alive. What is finished is kept.")(cancel)
    app.command(help="Check what really goes wrong on a machine. Exit 1 if something did.")(doctor)


def status(as_json: AsJson = False) -> None:
    calls = [call for call in ledger.list_calls(Home.from_environment()) if ledger.is_alive(call)]
    if as_json:
        print_json([call.model_dump(mode="json") for call in calls])
    elif not calls:
        console.print("nothing is running")
    else:
        rows = [
            [
                call.run_id,
                _label(call),
                call.backend,
                str(call.process.pid if call.process else "–"),
                call.submitted_at[:19],
            ]
            for call in calls
        ]
        console.print(table(["run", "call", "where", "pid", "since (UTC)"], rows))


def cancel(run: Annotated[str, typer.Argument(help="Run id, as `foresight status` shows it.")]) -> None:
    home = Home.from_environment()
    calls = [call for call in ledger.list_calls(home) if call.run_id == run]
    if not calls:
        known = sorted({call.run_id for call in ledger.list_calls(home) if ledger.is_alive(call)})
        raise UserError(f"No run '{run}' here. Running now: {', '.join(known) or 'nothing'}.")
    ledger.request_cancel(home, run)
    alive = sum(ledger.is_alive(call) for call in calls)
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


def _label(call: ledger.CallEntry) -> str:
    more = f" +{len(call.steps) - 1}" if len(call.steps) > 1 else ""
    return call.steps[0].label + more
