"""Published figures stand beside ours: complete, of the programme, with the reason why they do not compare."""

from __future__ import annotations

import io

import pytest
from pydantic import ValidationError
from results_builders import begin, complete, experiment, finished_run, good, record, samples, store
from rich.console import Console

from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.results import document, published, runs, table

ID = "c1-vlm-latent-sufficiency"


def shown(content: dict, width: int) -> str:
    figures = table.published_figures(content)
    assert figures is not None
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(figures)
    return console.file.getvalue()  # type: ignore[attr-defined]


def content_of(home: Home) -> dict:
    built = document.of_experiment(home, runs.list_runs(home, ID))
    assert built is not None
    return built.content


def test_everything_published_is_of_the_programme():
    plan = load_plan()
    for experiment_id, figures in published.load().experiments.items():
        for sub_id in figures.sub_experiments:
            plan.experiment(experiment_id).sub_experiment(sub_id)


def test_every_figure_comes_with_the_reason_why_it_does_not_compare():
    for experiment_id, figures in published.load().experiments.items():
        for sub_id, study in figures.sub_experiments.items():
            assert study.reasons or not study.figures, f"{experiment_id}/{sub_id}"


def test_where_a_criterion_asks_what_was_published_the_two_stand_side_by_side():
    """Else a reader of C1 would not see the published LPIPS beside ours."""
    plan = load_plan()
    for name, metrics in {
        "c1": {"lpips", "ssim", "psnr", "spatial_iou"},
        "q1": {"linear_probe_r2", "spearman_correlation", "neighborhood_recall_at_10", "cka"},
        "q2": {"bbox_iou", "lpips", "edge_f1", "mAP"},
    }.items():
        one = plan.experiment(name)
        figures = published.of(one.id)
        assert figures is not None
        for criterion in one.criteria:
            ours = {figure.ours for figure in figures.sub_experiments[criterion.sub_experiment].figures}
            assert criterion.metric in ours & metrics


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"figures": [{"name": "x", "value": 1.0}]}, "value"),
        ({"figures": [{"name": "x"}]}, "neither"),
        ({"figures": [{"name": "x", "record": "0.5"}]}, "number"),
        ({"reasons": ["no_such_reason"]}, "no_such_reason"),
    ],
)
def test_the_schema_is_strict(change: dict, said: str):
    content = published.load().model_dump()
    content["experiments"][ID]["sub_experiments"]["e1_4"].update(change)
    with pytest.raises(ValidationError, match=said):
        published.Published.model_validate(content)


@pytest.mark.parametrize("width", [80, 120])
def test_ours_stands_beside_the_published_one_with_its_reasons(home, width):
    run = begin(home, "run-1", experiment())
    complete(home, run, store(home, record("e1_4", 0, samples("spatial_iou", 0.875))))
    text = shown(content_of(home), width)
    line = next(line for line in text.splitlines() if "box IoU" in line)
    assert "0.559 (0.567)" in line
    assert "0.875" in line
    letter = line.split()[-1]
    assert any(line.startswith(f"  {letter} ") for line in text.splitlines())
    assert "training picture" in text
    assert max(map(len, text.splitlines())) <= width


def test_what_ours_has_not_measured_is_a_dash(home):
    begin(home, "run-1", experiment())
    complete(home, begin(home, "run-2", experiment()), store(home, record("e1_1", 0, metrics={"other": 1.0})))
    line = next(line for line in shown(content_of(home), 80).splitlines() if "silhouette" in line)
    assert "–" in line


def test_a_plan_of_ones_own_has_no_published_figures(home):
    run = finished_run(home, "run-1", [record("e1_1", 0, metrics={"silhouette": 0.1}, experiment_id="t1-study")],
                       experiment(short="t1"))  # fmt: skip
    assert table.published_figures(document.of_run(home, run).content) is None


def test_no_verdict_reads_them(home):
    before = content_of(home) if finished_run(home, "run-1", good()) else {}
    text = str({key: before[key] for key in ("criteria", "assessment", "recommendation")})
    assert "published" not in text
