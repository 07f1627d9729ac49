"""The tasks that end an experiment: its verdict, findings, cost and what changed, in the log and as artifacts.

The artifacts are whole: pictures lie inside them, so that the UI shows them with no file server and no network.
"""

from __future__ import annotations

import logging
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from foresight.home import Home
from foresight.results import comparison_text, markdown, rehearsal, runs
from foresight.results.sides import side, since_previous
from tasks import news


@task(task_run_name="{short} assessment")
def assess(short: str, document: dict[str, Any], run_id: str, home: Home) -> None:
    """Say what came out, and what of it is new since the last run of the same size."""
    logger = get_run_logger()
    experiment_id = document["experiment_id"]
    logger.info(
        f"{experiment_id}: {document['status']}, recommendation {rehearsal.recommendation(document)}, "
        f"{rehearsal.confidence(document)}"
    )
    create_markdown_artifact(
        markdown.verdict(document), key=f"verdict-{short}", description=markdown.in_short(document)
    )
    if document["status"] == "stub":
        return
    folder = home.results / experiment_id
    shown = folder if document["run_id"] == run_id else runs.folder(home, experiment_id, run_id)
    create_markdown_artifact(
        markdown.findings(document, shown), key=f"findings-{short}", description="what each sub-experiment found"
    )
    own = side(home, runs.read_run(home, experiment_id, run_id))
    create_markdown_artifact(
        markdown.cost(own), key=f"cost-{short}", description=f"{own.seconds:.0f} s, ${own.cost_usd:.2f}"
    )
    changed = since_previous(home, experiment_id, run_id)
    if changed is None:
        logger.info(f"{experiment_id}: the first run of its kind here, so nothing to compare it with")
        return
    said = comparison_text.lines(changed)
    for line in said:
        logger.log(logging.WARNING if line.startswith(("  flipped", "  failed")) else logging.INFO, line)
    create_markdown_artifact(comparison_text.markdown(changed), key=f"changes-{short}", description=said[0])
    if changed.flips:
        news.flipped(experiment_id, [comparison_text.flip_line(flip) for flip in changed.flips])


@task(task_run_name="{short}/{sub_experiment} stub")
def stub(short: str, sub_experiment: str) -> None:
    """What `--stub-mode` does in place of a handler: nothing, and it says so."""
    get_run_logger().info(f"{short}/{sub_experiment}: stub, nothing is measured")
