"""`make deploy`: every deployment onto the Prefect server that PREFECT_API_URL names. Idempotent.

`prefect deploy --all` alone would fail without a work pool, make a nightly that is never scheduled where no time zone
is set, switch off a nightly that somebody has switched on, and make forms that are tedious to fill in.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, VariableCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import WorkPoolFilter
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessWorker

from flows import automations, forms
from flows.server import require_answer
from foresight.errors import UserError

POOL = "foresight"
NIGHTLY = "research-program/nightly"
TIMEZONE = "foresight_timezone"  # a Prefect variable; deployments/prefect.yaml reads it
CHECKOUT = Path(__file__).parents[1]
DEPLOYMENTS = Path(os.environ.get("FORESIGHT_DEPLOYMENTS") or CHECKOUT / "deployments" / "prefect.yaml")


def deploy(file: Path = DEPLOYMENTS, *, runs_at_once: int | None = None) -> str:
    """Work pool (its limit only if given), time zone, deployments, automations. Returns one line: what was done."""
    with get_client(sync_client=True) as client:
        zone = _zone(client)
        _pool(client)
        if runs_at_once is not None:
            client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=runs_at_once))
        switched_on = _nightly_switch(client)
        _prefect_deploy(file)
        _mend_forms(client)
        if switched_on:
            _nightly_switch(client, turn_on=True)
        names = client.read_deployments()
    automations.install([automations.zombies(get_current_settings().flows.heartbeat_frequency or 180)])
    return (
        f"{len(names)} deployments; the nightly runs at 02:00 {zone} and is switched {'on' if switched_on else 'off'}"
    )


def _pool(client: SyncPrefectClient) -> None:
    """The work pool, whose command starts a flow run at once. Left blank, as Prefect has it, a process that looks for
    the code comes before a run, and another one after a cancel, before the run is told as cancelled: seconds each."""
    try:
        template = client.read_work_pool(POOL).base_job_template
    except ObjectNotFound:
        template = {}
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    template = template or ProcessWorker.get_default_base_job_template()
    template["variables"]["properties"]["command"]["default"] = shlex.join([sys.executable, "-m", "prefect.engine"])
    client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template))


def _zone(client: SyncPrefectClient) -> str:
    """The team's time zone, a variable of the server; if nobody has set it, this machine's is entered there."""
    try:
        known = client.read_variable_by_name(TIMEZONE)
    except ObjectNotFound:
        known = None
    zone = str(known.value) if known else _own_zone()
    try:
        ZoneInfo(zone)
    except (ValueError, OSError) as error:
        raise UserError(
            f"'{zone}' is no time zone. Set one: prefect variable set {TIMEZONE} Europe/Berlin --overwrite"
        ) from error
    if known is None:
        client.create_variable(VariableCreate(name=TIMEZONE, value=zone))
    return zone


def _own_zone() -> str:
    link = os.path.realpath("/etc/localtime")
    return os.environ.get("TZ") or (link.split("zoneinfo/")[-1] if "zoneinfo/" in link else "UTC")


def _nightly_switch(client: SyncPrefectClient, *, turn_on: bool = False) -> bool:
    """Whether the nightly's schedule is active; and if wanted, make it so."""
    try:
        nightly = client.read_deployment_by_name(NIGHTLY)
    except ObjectNotFound:
        return False
    if turn_on:
        for schedule in nightly.schedules:
            client.update_deployment_schedule(nightly.id, schedule.id, active=True)
    return turn_on or any(schedule.active for schedule in nightly.schedules)


def _mend_forms(client: SyncPrefectClient) -> None:
    for deployment in client.read_deployments(
        work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [POOL]}}), limit=200
    ):
        if deployment.parameter_openapi_schema is not None:
            schema = forms.with_empty_fields(deployment.parameter_openapi_schema)
            client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))


def _prefect_deploy(file: Path) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "cwd": CHECKOUT, "env": {**os.environ, "COLUMNS": "200"}}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    said = done.stdout + done.stderr
    if done.returncode != 0 or "Error" in said:
        last = [line for line in said.splitlines() if line.strip()][-8:]
        raise UserError(f"`prefect deploy --all --prefect-file {file}` failed:\n  " + "\n  ".join(last))


def main() -> None:
    try:
        require_answer()
        print(deploy())
    except UserError as error:
        print(f"foresight: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
