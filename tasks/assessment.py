"""The tasks that end an experiment: its verdict in the log and in an artifact that the UI shows; and stubs."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from foresight.results.markdown import verdict


@task(task_run_name="{short} assessment")
def assess(short: str, document: dict[str, Any]) -> None:
    """Say what came out."""
    get_run_logger().info(
        f"{document['experiment_id']}: {document['status']}, recommendation {document['recommendation']}, "
        f"confidence {document['assessment']['confidence']}"
    )
    create_markdown_artifact(verdict(document), key=f"verdict-{short}", description=document["question"])


@task(task_run_name="{short}/{sub_experiment} stub")
def stub(short: str, sub_experiment: str) -> None:
    """What `--stub-mode` does in place of a handler: nothing, and it says so."""
    get_run_logger().info(f"{short}/{sub_experiment}: stub, nothing is measured")
