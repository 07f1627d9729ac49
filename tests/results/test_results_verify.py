"""Verify names what is no longer what was measured. Every check has a case in which it blocks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from results_builders import (
    IOU,
    LPIPS,
    begin,
    complete,
    experiment,
    finished_run,
    good,
    plan,
    record,
    samples,
    store,
)

from foresight.features.store import FeatureWriter
from foresight.files import write_json
from foresight.home import Home
from foresight.plan.schema import Criterion
from foresight.results import runs, verify, view
from foresight.results.record import Record

ID = "c1-vlm-latent-sufficiency"


@pytest.fixture
def whole(home: Home) -> Home:
    """A home with a finished run of two seeds, its views and one extraction."""
    finished_run(home, "run-1", [one for seed in range(2) for one in good(seed)])
    view.rebuild(home, ID)
    writer = FeatureWriter(home, "f" * 64, 3)
    writer.write(0, np.ones((3, 2, 2, 4), dtype=np.float32))
    writer.finish({"kind": "extract"})
    return home


def problems(home: Home) -> list[tuple[str, str]]:
    return [(problem.path, problem.what) for problem in verify.verify(home)]


def only(home: Home) -> tuple[str, str]:
    found = problems(home)
    assert len(found) == 1, found
    return found[0]


def edit_json(path: Path, *, key: str, value: object) -> None:
    content = json.loads(path.read_text())
    content[key] = value
    write_json(path, content)


def test_what_was_not_touched_has_no_problem(whole):
    assert verify.verify(whole) == []


def test_an_empty_home_has_no_problem(home):
    assert verify.verify(home) == []


def test_a_number_edited_in_a_record_is_seen(whole):
    one = good()[2]
    edit_json(whole.record(one.fingerprint), key="metrics", value={"lpips": 0.1})
    found = dict(problems(whole))
    assert "changed after run run-1" in found[f"steps/{one.fingerprint}/record.json"]
    assert found[f"results/{ID}/results.yaml"].startswith("not what the records say now: ")


def test_a_record_that_was_computed_again_is_no_problem(whole):
    store(whole, good()[2].model_copy(update={"finished_at": "2199-01-01T00:00:00+00:00"}), {"plot.png": b"e1_5 0"})
    view.rebuild(whole, ID)
    assert problems(whole) == []


def test_a_record_filed_under_the_wrong_name_is_seen(whole):
    one = good()[2]
    other = whole.step("e" * 64)
    shutil.copytree(whole.step(one.fingerprint), other)
    path, what = only(whole)
    assert path == f"steps/{'e' * 64}/record.json"
    assert "found under" in what


def test_an_identity_that_does_not_hash_to_its_name_is_seen(whole):
    one = record("e1_1", 7, metrics={"silhouette": 0.9})
    store(whole, one.model_copy(update={"identity": {"seed": 8}}))
    path, what = only(whole)
    assert "identity" in what
    assert one.fingerprint in path


def test_a_record_that_is_no_record_is_seen(whole):
    one = good()[2]
    whole.record(one.fingerprint).write_text('{"status": "completed"}')
    assert any(what.startswith("not a record") for _, what in problems(whole))


def test_a_record_that_is_gone_is_seen(whole):
    shutil.rmtree(whole.step(good()[0].fingerprint))
    assert any("missing, though run run-1 finished c1/e1_1 seed 0" in what for _, what in problems(whole))


def test_an_artifact_that_changed_is_seen_in_the_store_and_beside_the_view(whole):
    source = whole.step(good()[0].fingerprint) / "artifacts/plot.png"
    source.write_bytes(b"painted over")
    path, what = only(whole)  # one file: the view links to it
    assert path.endswith("artifacts/plot.png")
    assert "hash differs" in what


def test_an_artifact_that_is_gone_is_seen(whole):
    (whole.step(good()[0].fingerprint) / "artifacts/plot.png").unlink()
    assert any(
        path.startswith("steps/") and "missing, though e1_1 seed 0 made it" in what for path, what in problems(whole)
    )


def test_a_picture_replaced_beside_the_view_is_seen(whole):
    picture = whole.results / ID / "artifacts/e1_5/plot.png"
    picture.unlink()
    picture.write_bytes(b"nicer")
    assert only(whole)[1] == "not the file that the step made"
    picture.unlink()
    assert only(whole)[1] == "missing beside its results.yaml"


def test_a_damaged_shard_is_seen(whole):
    shard = whole.features / ("f" * 64) / "00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(bytes(data))
    assert "is damaged" in only(whole)[1]
    shard.unlink()
    assert "is missing" in only(whole)[1]
    (shard.parent / "manifest.json").write_text("{}")
    assert "not a manifest" in only(whole)[1]


def test_an_extraction_that_did_not_finish_is_no_problem(whole):
    FeatureWriter(whole, "d" * 64, 200).write(0, np.ones((64, 1, 1, 2), dtype=np.float32))
    assert problems(whole) == []


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("verdict: marginal", "verdict: met", "criteria/0/verdict"),
        ("recommendation: investigate", "recommendation: pivot", "recommendation"),
        ("lpips_achieved: 0.35", "lpips_achieved: 0.30", "assessment/lpips_achieved"),
        ("acceptable: 0.35", "acceptable: 0.4", "criteria/0/acceptable"),
        ("finding: LPIPS 0.35.", "finding: EXCELLENT", "results/experiments/e1_5/finding"),
        ("status: completed\nsuccess", "status: completed\ngate: passed\nsuccess", "gate"),
    ],
)
def test_an_edited_results_yaml_is_caught_and_the_edit_named(home, old, new, place):
    studies = [
        record("e1_1", metrics={"silhouette": 0.5}),
        record("e1_4", 0, samples("iou", 0.8, baseline=0.3)),
        record("e1_5", 0, samples("lpips", 0.35, baseline=0.9), finding="LPIPS {lpips}."),
    ]
    finished_run(home, "run-1", studies)
    path = view.rebuild(home, ID)
    assert path is not None
    assert problems(home) == []
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    found = problems(home)
    assert {where for where, _ in found} == {f"results/{ID}/results.yaml"}
    assert any(what.startswith("edited by hand") and place in what for _, what in found)
    view.rebuild(home, ID)
    assert problems(home) == []


def test_a_comment_added_by_hand_is_an_edit_too(whole):
    path = whole.results / ID / "results.yaml"
    path.write_text(path.read_text() + "# in truth all was met\n")
    assert "layout or its comments" in only(whole)[1]


def test_a_results_yaml_of_one_run_is_checked_as_well(whole):
    path = whole.results / ID / "runs/run-1/results.yaml"
    path.write_text(path.read_text().replace("confidence: medium", "confidence: high"))
    where, what = only(whole)
    assert where.endswith("runs/run-1/results.yaml")
    assert "assessment/confidence" in what


def test_a_view_that_is_behind_a_run_is_no_problem(whole):
    """A run goes on, or was killed: its run.json has moved on and the view has not."""
    begin(whole, "run-2", seeds=(0,))
    store(whole, record("e1_4", 0, samples("iou", 0.9, baseline=0.3), salt="new"))
    steps = {0: record("e1_4", 0, salt="new").fingerprint}
    runs.update_sub_experiment(whole, ID, "run-2", "e1_4", status="completed", steps=steps)
    assert problems(whole) == []


def test_a_results_yaml_without_any_run_is_seen(whole):
    made_up = whole.results / "q3-temporal-coherence/results.yaml"
    made_up.parent.mkdir()
    shutil.copy(whole.results / ID / "results.yaml", made_up)
    assert only(whole) == ("results/q3-temporal-coherence/results.yaml", "written by hand: no run stands behind it")


def test_what_is_no_yaml_or_breaks_the_schema_is_named(whole):
    path = whole.results / ID / "results.yaml"
    path.write_text("a: [")
    assert only(whole)[1].startswith("not YAML")
    path.write_text("proceed")
    assert any(what.startswith("against the schema") for _, what in problems(whole))


def test_criteria_that_were_moved_after_the_run_began_are_seen(whole):
    path = runs.folder(whole, ID, "run-1") / "run.json"
    content = json.loads(path.read_text())
    content["experiment"]["criteria"][0]["acceptable"] = 0.44
    write_json(path, content)
    assert any(where.endswith("run.json") and "not those that were fixed" in what for where, what in problems(whole))


def test_damaged_overrides_are_seen(whole):
    (whole.results / "gates.json").write_text("{")
    assert only(whole)[0] == "results/gates.json"


def test_every_problem_says_what_to_do(whole):
    (whole.step(good()[0].fingerprint) / "artifacts/plot.png").write_bytes(b"x")
    (whole.results / ID / "results.yaml").write_text("a: [")
    for problem in verify.verify(whole):
        assert problem.remedy.endswith(".")


# Criteria: fixed before the numbers


def judged(seed: int, *criteria: Criterion, **changes: Any) -> list[Record]:
    """`good` records that remember what they were judged by."""
    return [
        one.model_copy(update={"criteria": tuple(c for c in criteria if c.sub_experiment == one.sub_experiment)})
        for one in good(seed, **changes)
    ]


def test_a_threshold_that_was_moved_after_it_was_measured_is_named(home):
    """The plan is edited and the run repeated: nothing is computed, and the old numbers meet a new threshold."""
    finished_run(home, "run-1", judged(0, LPIPS, IOU))
    easier = LPIPS.model_copy(update={"acceptable": 0.44})
    run = begin(home, "run-2", experiment([easier, IOU]))
    for one in judged(0, LPIPS, IOU):
        complete(home, run, one)
    runs.finish(home, ID, "run-2", "completed")
    view.rebuild(home, ID)
    path, what = only(home)
    assert path.endswith("run-2/run.json")
    assert "lpips" in what
    assert "its acceptable was 0.35 when e1_5 seed 0 was measured" in what


def test_a_threshold_that_was_moved_before_the_numbers_were_computed_again_is_right(home):
    finished_run(home, "run-1", judged(0, LPIPS, IOU))
    easier = LPIPS.model_copy(update={"acceptable": 0.44})
    finished_run(home, "run-2", judged(0, easier, IOU, run_id="run-2", salt="again"), experiment([easier, IOU]))
    view.rebuild(home, ID)
    assert problems(home) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"acceptable": 0.44}, "lpips: acceptable is 0.44 now and was 0.35 in run run-1"),
        ({"arm": "the best of many"}, "lpips: arm is the best of many now"),
        ({"name": "lpips_alex"}, "lpips_alex is a criterion now"),
        (None, "lpips is no criterion now"),
    ],
)
def test_a_plan_that_was_edited_after_the_run_is_named(home, tmp_path, change, said):
    path = tmp_path / "plan.yaml"
    write = lambda *criteria: path.write_text(yaml.safe_dump(plan(experiment(criteria)).model_dump(mode="json")))  # noqa: E731
    write(LPIPS, IOU)
    finished_run(home, "run-1", good(), options={"plan": str(path)})
    view.rebuild(home, ID)
    assert problems(home) == []
    write(*([] if change is None else [LPIPS.model_copy(update=change)]), IOU)
    found = problems(home)
    assert {where for where, _ in found} == {str(path)}
    assert any(said in what for _, what in found)


def test_a_plan_that_is_gone_is_not_compared(home, tmp_path):
    finished_run(home, "run-1", good(), options={"plan": str(tmp_path / "gone.yaml")})
    view.rebuild(home, ID)
    assert problems(home) == []
