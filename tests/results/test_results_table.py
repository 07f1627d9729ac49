from __future__ import annotations

import io

import pytest
from results_builders import IOU, LPIPS, experiment, finished_run, plan, record, samples
from rich.console import Console, RenderableType

from foresight.plan.schema import Gate
from foresight.results import gates, runs, table, view

ID = "c1-vlm-latent-sufficiency"
RECALL = LPIPS.model_copy(
    update={
        "name": "neighborhood_recall_at_10",
        "metric": "recall",
        "direction": "higher",
        "target": 0.4,
        "acceptable": 0.2,
        "failure": 0.1,
    }
)
HORIZON = IOU.model_copy(update={"name": "horizon", "sub_experiment": "e1_1", "metric": "frames", "unit": "frames"})


def printed(renderable: RenderableType, width: int, *, terminal: bool = False) -> str:
    stream = io.StringIO()
    colours = "standard" if terminal else "auto"
    console = Console(file=stream, width=width, force_terminal=terminal, color_system=colours, highlight=False)
    console.print(renderable)
    return stream.getvalue()


@pytest.fixture
def content(home):
    """One criterion of each verdict."""
    of = experiment((LPIPS, IOU, RECALL, HORIZON))
    studies = [
        record(
            "e1_5",
            seed,
            samples("lpips", 0.2, baseline=0.5, seed=seed),
            samples("recall", 0.1, baseline=0.02, spread=0.01, seed=seed),
            finding="[bold]LPIPS[/bold] {lpips}, in [0.1, 0.3].",
            notes=["the LLM is random"],
        )
        for seed in range(3)
    ]
    studies += [record("e1_4", seed, samples("iou", 0.6, baseline=0.3, seed=seed)) for seed in range(3)]
    finished_run(home, "run-1", studies, of)
    runs.update_sub_experiment(home, ID, "run-1", "e1_1", status="failed", error="RuntimeError: out of memory")
    view.rebuild(home, ID)
    return view.read(home, ID)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_everything_that_decides_is_readable_at_every_width(home, content, width):
    text = printed(table.experiment(content, home.results / ID), width)
    assert all(len(line) <= width for line in text.splitlines())
    for words in ("lpips", "0.2", "≤ 0.35 (0.25)", "20/3", "not measured", "marginal", "not met", "out of memory"):
        assert words in text
    assert "[bold]LPIPS[/bold] 0.2, in [0.1, 0.3]." in text
    assert "pivot (rehearsal on stand-ins) protocol incomplete; 1 met, 1 marginal, 1 not" in " ".join(text.split())
    assert "rehearsed" in text
    assert "stand-ins measured on org/vlm" in text
    assert "e1_5: the LLM is random" in text
    assert "results.yaml" in text


def test_what_the_oracle_misses_and_what_training_never_helped_stand_at_the_criterion(home):
    """Also at one that is met, of which no reason is shown."""
    note = "Seed 0: no epoch of training helped 'adapter' on validation, so it stands as it started; read from it: "
    studies = [
        record("e1_5", 0, samples("lpips", 0.2, baseline=0.5), metrics={"lpips_oracle": 0.26}, notes=[f"{note}lpips."]),
        record("e1_4", 0, samples("iou", 0.8, baseline=0.3), notes=[f"{note}another."]),
    ]
    finished_run(home, "run-1", studies)
    view.rebuild(home, ID)
    said = [line.plain for line in table.reasons(view.read(home, ID))]
    assert len(said) == 2
    assert said[0].startswith("  lpips the target (0.25) lies out of reach here: the oracle")
    assert said[1].startswith("  lpips no epoch of training helped the head that this is read from ('adapter', seed 0;")


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_verdict_stands_on_the_line_of_its_criterion(content, width):
    lines = printed(table.criteria(content), width).splitlines()
    for name, verdict in (
        ("lpips", "met"),
        ("spatial_", "marginal"),
        ("neighborh", "not met"),
        ("horizon", "not measured"),
    ):
        assert next(line for line in lines if line.startswith(name)).rstrip().endswith(verdict)


def test_no_escape_codes_where_there_is_no_terminal_and_colour_where_there_is(home, content):
    assert "\x1b" not in printed(table.experiment(content, home.results / ID), 100)
    coloured = printed(table.criteria(content), 100, terminal=True)
    assert "\x1b[32mmet" in coloured
    assert "\x1b[31mnot met" in coloured


def test_the_overview_has_a_line_an_experiment(content):
    for width in (80, 100):
        line = next(line for line in printed(table.overview([content]), width).splitlines() if ID in line)
        assert line.split() == [ID, "tiny", "failed", "2/3", "1/4", "pivot", "(rehearsal)"]


def test_a_stub_says_that_nothing_was_measured(home):
    finished_run(home, "stub", [record("e1_5", 0, metrics={"lpips": 0.1})], stub=True)
    view.rebuild(home, ID)
    content = view.read(home, ID)
    assert content is not None
    text = printed(table.experiment(content, home.results / ID), 100)
    assert "nothing here was measured" in text
    assert "0.1" not in text


def test_a_results_yaml_without_our_extensions_can_be_shown(home):
    content = {
        "experiment_id": ID,
        "status": "completed",
        "success_criteria": {},
        "results": {"experiments": {"e1_1": {"status": "completed", "finding": "x", "metrics": {}, "artifacts": []}}},
        "assessment": {"success_criteria_met": False, "confidence": "low"},
        "recommendation": "pending",
    }
    assert "no criteria" in printed(table.experiment(content, home.results), 80)
    assert ID in printed(table.overview([content]), 80)


def test_overrides_stand_beside_the_measured_verdict(home):
    of = plan(experiment(), gates=[Gate(id="gate_1", experiments=("c1",), unlocks_phase=2)])
    gates.override(home, of, "gate_1", by="Ada Lovelace", reason="the pivot is under way")
    text = printed(table.gates([gates.evaluate(home, of, "gate_1")]), 100)
    assert "pending" in text
    assert "has not run in real" in text
    assert "overridden by Ada Lovelace" in text
    assert "the pivot is" in text
