"""Whether a flow run was started from a deployment, and from which."""

from __future__ import annotations

from prefect.context import FlowRunContext
from prefect.runtime import deployment


def is_deployed() -> bool:
    """From what the run itself knows: `prefect.runtime` asks the server each time where there is no deployment."""
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.deployment_id)


def deployment_name() -> str:
    """Empty for a run from a shell."""
    return (deployment.name or "") if is_deployed() else ""
