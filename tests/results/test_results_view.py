"""results.yaml: the team's format, of the highest profile that ran, whole at every moment."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from results_builders import IOU, LPIPS, begin, complete, experiment, finished_run, good, record, samples, store

from foresight.results import document, runs, view

ID = "c1-vlm-latent-sufficiency"


def shown(home) -> dict:
    view.rebuild(home, ID)
    content = view.read(home, ID)
    assert content is not None
    return content


def three_seeds(**changes) -> list:
    return [one for seed in range(3) for one in good(seed, **changes)]


def test_the_format_that_the_team_already_uses(home):
    finished_run(home, "run-1", three_seeds())
    content = shown(home)
    assert list(content)[:6] == [
        "experiment_id",
        "status",
        "success_criteria",
        "results",
        "assessment",
        "recommendation",
    ]
    assert content["experiment_id"] == ID
    assert content["status"] == "completed"
    assert content["success_criteria"] == {"lpips_threshold": 0.35, "spatial_iou_threshold": 0.6}
    assert content["assessment"] == {
        "success_criteria_met": True,
        "lpips_achieved": 0.2,
        "spatial_iou_achieved": 0.8,
        "confidence": "high",
    }
    assert content["recommendation"] == "proceed"
    entry = content["results"]["experiments"]["e1_1"]
    assert list(entry)[:4] == ["status", "finding", "metrics", "artifacts"]
    assert entry["status"] == "completed"
    assert entry["finding"] == "Clusters: 0.72."
    assert entry["metrics"] == {"silhouette": 0.72}
    assert entry["artifacts"] == [
        "artifacts/e1_1/plot.png",
        "artifacts/e1_1/seed-1/plot.png",
        "artifacts/e1_1/seed-2/plot.png",
    ]
    folder = home.results / ID
    assert (folder / "artifacts/e1_1/seed-2/plot.png").read_bytes() == b"e1_1 2"
    assert all((folder / path).is_file() for path in entry["artifacts"])


def test_what_is_added_says_where_the_numbers_come_from(home):
    notes = {"notes": ["X4 of the tiny LLM is random beyond its stand-in training"]}
    finished_run(home, "run-1", three_seeds(**notes))
    content = shown(home)
    assert (content["profile"], content["stand_ins"], content["run_id"]) == ("tiny", ["org/vlm"], "run-1")
    assert content["plan_hash"] == experiment().hash
    assert content["title"] == "VLM latent sufficiency"
    entry = content["results"]["experiments"]["e1_5"]
    assert entry["seeds"] == [0, 1, 2]
    assert entry["notes"] == notes["notes"]
    assert entry["usage"] == {"seconds": 6.0, "cost_usd": 0.75}
    assert entry["provenance"]["models"] == {"vlm": "org/vlm@r1"}
    assert entry["records"]["2"] == good(2)[2].fingerprint
    lpips = content["criteria"][0]
    assert (lpips["name"], lpips["verdict"], lpips["value"], lpips["n"], lpips["seeds"]) == ("lpips", "met", 0.2, 20, 3)
    assert (lpips["target"], lpips["acceptable"], lpips["failure"]) == (0.25, 0.35, 0.45)
    assert lpips["interval"]["low"] < 0.2 < lpips["interval"]["high"] <= 0.35
    assert lpips["baseline"]["name"] == "mean_image"
    assert lpips["difference"]["low"] > 0


def test_nothing_begun_is_no_view(home):
    assert view.rebuild(home, ID) is None
    begin(home, "run-1")
    assert view.rebuild(home, ID) is None
    assert view.read(home, ID) is None


def test_while_a_run_goes_on_what_is_done_is_shown_and_nothing_is_met(home):
    run = begin(home, "run-1", seeds=(0,))
    complete(home, run, store(home, good()[2]))
    runs.update_sub_experiment(home, ID, "run-1", "e1_4", status="running")
    content = shown(home)
    assert content["status"] == "in_progress"
    assert {sub: entry["status"] for sub, entry in content["results"]["experiments"].items()} == {
        "e1_1": "pending",
        "e1_4": "running",
        "e1_5": "completed",
    }
    assert content["assessment"]["spatial_iou_achieved"] is None
    assert content["recommendation"] == "pending"


def test_a_failed_sub_experiment_carries_its_error_and_no_old_numbers(home):
    run = begin(home, "run-1", seeds=(0,))
    complete(home, run, store(home, good()[2]))
    runs.update_sub_experiment(home, ID, "run-1", "e1_4", status="failed", steps={0: "f" * 64}, error="out of memory")
    runs.update_sub_experiment(home, ID, "run-1", "e1_1", status="skipped", note="not implemented")
    content = shown(home)
    entry = content["results"]["experiments"]["e1_4"]
    assert content["status"] == "failed"
    assert (entry["status"], entry["error"], entry["metrics"], entry["finding"]) == ("failed", "out of memory", {}, "")
    assert content["recommendation"] == "investigate"
    assert content["results"]["experiments"]["e1_1"]["notes"] == ["not implemented"]


def test_a_reason_of_several_seeds_is_said_once_and_no_step_is_named_twice(home):
    run = begin(home, "run-1", seeds=(0, 1, 2, 3))
    errors = {seed: f"c1/e1_4 seed {seed}: needs e1_1, which has no record" for seed in (0, 2)}
    errors |= {1: "c1/e1_4 seed 1 is not what was planned", 3: "diverged"}
    steps = {seed: f"{seed}" * 64 for seed in errors}
    changes = {"status": "failed", "steps": steps, "failed_seeds": errors, "error": errors[2]}
    runs.update_sub_experiment(home, ID, run.run_id, "e1_4", **changes)
    assert shown(home)["results"]["experiments"]["e1_4"]["error"] == (
        "seeds 0, 2: needs e1_1, which has no record; seed 1: it is not what was planned; seed 3: diverged"
    )


def test_seeds_that_failed_are_named_beside_those_that_did_not(home):
    run = begin(home, "run-1", seeds=(0, 1))
    one = store(home, good(0)[2])
    steps = {0: one.fingerprint, 1: "f" * 64}
    runs.update_sub_experiment(home, ID, run.run_id, "e1_5", status="failed", steps=steps, failed_seeds={1: "diverged"})
    entry = shown(home)["results"]["experiments"]["e1_5"]
    assert (entry["status"], entry["seeds"], entry["error"]) == ("failed", [0], "seed 1: diverged")
    assert entry["metrics"] == {"lpips": 0.2}


def test_stub_runs_are_never_assessed_even_if_records_lie_there(home):
    finished_run(home, "run-1", three_seeds(), stub=True)
    content = shown(home)
    assert (content["status"], content["profile"], content["recommendation"]) == ("stub", "stub", "pending")
    assert content["assessment"] == {
        "success_criteria_met": False,
        "lpips_achieved": None,
        "spatial_iou_achieved": None,
        "confidence": "low",
    }
    for entry in content["results"]["experiments"].values():
        assert (entry["status"], entry["metrics"], entry["artifacts"]) == ("stub", {}, [])


def test_a_lower_profile_never_hides_a_higher_one_and_a_higher_one_always_shows(home):
    finished_run(home, "stub", good(), stub=True)
    assert shown(home)["profile"] == "stub"
    finished_run(home, "tiny", good())
    assert shown(home)["profile"] == "tiny"
    finished_run(home, "repro", good(profile="repro"), profile="repro")
    assert shown(home)["profile"] == "repro"
    finished_run(home, "tiny-again", good(salt="again"))
    finished_run(home, "stub-again", good(), stub=True)
    assert (shown(home)["profile"], shown(home)["run_id"]) == ("repro", "repro")
    assert (home.results / ID / "runs/tiny-again/results.yaml").is_file()


def test_profiles_and_plans_are_never_mixed(home):
    finished_run(home, "tiny", good())
    run = begin(home, "real", profile="real", seeds=(0,))
    complete(home, run, store(home, good(profile="real")[2]))
    assert shown(home)["results"]["experiments"]["e1_4"]["status"] == "pending"

    harder = experiment((LPIPS.model_copy(update={"acceptable": 0.3}), IOU))
    later = begin(home, "harder", harder, profile="real", seeds=(0,))
    complete(home, later, store(home, good(profile="real")[1]))
    content = shown(home)
    assert content["plan_hash"] == harder.hash
    assert content["results"]["experiments"]["e1_5"]["status"] == "pending"


def test_a_record_of_another_profile_or_study_does_not_count(home):
    run = begin(home, "run-1", seeds=(0,))
    foreign = store(home, good(profile="repro")[2])
    runs.update_sub_experiment(home, ID, run.run_id, "e1_5", status="completed", steps={0: foreign.fingerprint})
    other = store(home, good()[0])
    runs.update_sub_experiment(home, ID, run.run_id, "e1_4", status="completed", steps={0: other.fingerprint})
    entries = shown(home)["results"]["experiments"]
    assert "profile repro" in entries["e1_5"]["error"]
    assert "e1_1 seed 0" in entries["e1_4"]["error"]


def test_each_sub_experiment_is_of_the_newest_run_that_ended_it(home):
    finished_run(home, "first", good())
    better = record("e1_4", 0, samples("iou", 0.9, baseline=0.3), salt="new")
    finished_run(home, "second", [better])
    content = shown(home)
    assert content["status"] == "completed"
    assert content["results"]["experiments"]["e1_4"]["metrics"] == {"iou": 0.9}
    assert content["results"]["experiments"]["e1_5"]["run_id"] == "first"
    assert content["recommendation"] == "proceed"


def test_a_run_that_was_killed_hides_no_result(home):
    finished_run(home, "first", good())
    begin(home, "killed", seeds=(0,))
    runs.update_sub_experiment(home, ID, "killed", "e1_5", status="running", steps={0: "f" * 64})
    content = shown(home)
    assert content["results"]["experiments"]["e1_5"]["metrics"] == {"lpips": 0.2}
    own = yaml.safe_load((home.results / ID / "runs/killed/results.yaml").read_text())
    assert (own["status"], own["recommendation"]) == ("in_progress", "pending")


def test_nothing_is_running_in_a_run_that_was_cancelled(home):
    run = begin(home, "run-1", seeds=(0, 1))
    one = store(home, good(0)[2])
    runs.update_sub_experiment(home, ID, run.run_id, "e1_5", status="running", steps={0: one.fingerprint, 1: "f" * 64})
    assert shown(home)["results"]["experiments"]["e1_5"]["status"] == "running"
    runs.finish(home, ID, run.run_id, "cancelled")
    content = shown(home)
    entry = content["results"]["experiments"]["e1_5"]
    assert (entry["status"], entry["seeds"], content["status"]) == ("pending", [0], "in_progress")
    assert content["criteria"][0]["reason"] == "e1_5: 1 of 2 seeds have finished"


def test_a_record_that_is_gone_or_damaged_is_said_and_not_measured(home):
    finished_run(home, "run-1", good())
    home.record(good()[2].fingerprint).write_text("{}")
    home.record(good()[1].fingerprint).unlink()
    entries = shown(home)["results"]["experiments"]
    assert "cannot be read" in entries["e1_5"]["error"]
    assert "gone" in entries["e1_4"]["error"]
    assert shown(home)["recommendation"] == "investigate"


def test_a_record_that_is_replaced_while_the_view_is_written_is_looked_at_again(home, monkeypatch):
    run = finished_run(home, "run-1", good())
    path, link, sources = home.results / run.experiment.id / "results.yaml", view._link, []

    def refreshed_meanwhile(source, target):
        if not sources:
            sources.append(source)
            content = source.read_bytes()
            source.unlink()
            try:
                link(source, target)
            finally:
                source.write_bytes(content)
        link(source, target)

    monkeypatch.setattr(view, "_link", refreshed_meanwhile)
    assert view.rebuild(home, run.experiment.id) == path
    assert all((path.parent / inside).is_file() for inside in view.build(home, run.experiment.id).artifacts)
    monkeypatch.setattr(view, "_link", lambda source, target: link(source.with_name("gone"), target.with_name("new")))
    with pytest.raises(FileNotFoundError):  # what stays away is told
        view.rebuild(home, run.experiment.id)


def test_a_view_that_is_no_text_any_more_is_written_again(home):
    run = finished_run(home, "run-1", good())
    path = view.rebuild(home, run.experiment.id)
    whole = path.read_bytes()
    path.write_bytes(bytes(range(256)))
    view.rebuild(home, run.experiment.id)
    assert path.read_bytes() == whole


def test_a_refreshed_seed_counts_only_once_it_was_computed_again(home):
    run = begin(home, "again", seeds=(0,), options={"refresh": True})
    old = store(home, good(run_id="earlier")[2])
    runs.update_sub_experiment(home, ID, run.run_id, "e1_5", status="running", steps={0: old.fingerprint})
    assert shown(home)["results"]["experiments"]["e1_5"]["metrics"] == {}
    new = store(home, good(run_id="again")[2])
    complete(home, run, new)
    assert shown(home)["results"]["experiments"]["e1_5"]["metrics"] == {"lpips": 0.2}


def test_artifacts_are_links_and_leave_when_they_no_longer_belong(home):
    finished_run(home, "first", good())
    shown(home)
    folder = home.results / ID / "artifacts"
    source = home.step(good()[2].fingerprint) / "artifacts/plot.png"
    assert (folder / "e1_5/plot.png").samefile(source)
    (folder / "e1_5/.left.tmp").write_bytes(b"")

    run = begin(home, "second", seeds=(0,))
    complete(home, run, store(home, good(salt="new")[2], {"curve/loss.png": b"new"}))
    shown(home)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "e1_1/plot.png",
        "e1_4/plot.png",
        "e1_5/curve/loss.png",
    ]


def test_artifacts_are_copied_where_links_are_impossible(home, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(view.os, "link", refuse)
    finished_run(home, "first", good())
    shown(home)
    copied = home.results / ID / "artifacts/e1_5/plot.png"
    before = copied.stat()
    assert copied.read_bytes() == b"e1_5 0"
    assert before.st_nlink == 1
    shown(home)
    assert copied.stat().st_ino == before.st_ino  # copied once, not at every rebuild


def test_an_artifact_that_is_missing_is_not_listed(home):
    finished_run(home, "first", good())
    (home.step(good()[2].fingerprint) / "artifacts/plot.png").unlink()
    entry = shown(home)["results"]["experiments"]["e1_5"]
    assert entry["artifacts"] == []
    assert "missing" in entry["notes"][0]


class Killed(BaseException):
    """What a crash looks like from inside."""


@pytest.mark.parametrize("moment", ["first artifact", "last artifact", "yaml", "clearing up"])
def test_a_crash_leaves_the_old_view_or_the_new_one(home, monkeypatch, moment):
    finished_run(home, "first", good())
    shown(home)
    path = home.results / ID / "results.yaml"
    old = path.read_text()
    finished_run(home, "second", [record("e1_4", 0, samples("iou", 0.9, baseline=0.3), salt="new")])

    def die(*_: object) -> None:
        raise Killed

    real_link, links = view._link, []

    def link(source: Path, target: Path) -> None:
        links.append(target)
        if moment == "first artifact" or target.parent.name == "e1_5":
            raise Killed
        real_link(source, target)

    with monkeypatch.context() as patch:
        if moment.endswith("artifact"):
            patch.setattr(view, "_link", link)
        else:
            patch.setattr(view, "write_atomic" if moment == "yaml" else "_remove_others", die)
        with pytest.raises(Killed):
            view.rebuild(home, ID)

    content = yaml.safe_load(path.read_text())
    assert path.read_text() == old or content["results"]["experiments"]["e1_4"]["metrics"] == {"iou": 0.9}
    assert document.validate(content) == []
    assert all((path.parent / a).is_file() for e in content["results"]["experiments"].values() for a in e["artifacts"])
    assert shown(home)["results"]["experiments"]["e1_4"]["metrics"] == {"iou": 0.9}


def test_many_rebuilds_at_once_leave_one_whole_view(home):
    finished_run(home, "first", three_seeds())
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: view.rebuild(home, ID), range(12)))
    content = view.read(home, ID)
    assert content is not None
    assert document.validate(content) == []
    assert content["recommendation"] == "proceed"


def test_a_run_that_ends_while_another_one_rebuilds_is_shown_as_it_ended(home, monkeypatch):
    run = begin(home, "run-1")
    complete(home, run, good()[0], status="running")
    with monkeypatch.context() as other:
        before = runs.list_runs(home, ID)
        runs.finish(home, ID, run.run_id, "cancelled")
        other.setattr(view.runs, "list_runs", lambda *_: before)  # it had looked a moment earlier
        view.rebuild(home, ID)
    view.rebuild(home, ID)
    content = view.read_run(home, ID, run.run_id)
    assert content is not None
    assert content["results"]["experiments"]["e1_1"]["status"] == "pending"


def test_a_rebuild_with_nothing_new_writes_the_same_bytes(home):
    finished_run(home, "first", three_seeds())
    shown(home)
    path = home.results / ID / "results.yaml"
    before = path.read_bytes()
    shown(home)
    assert path.read_bytes() == before


def test_a_run_keeps_what_it_showed_when_its_record_is_computed_again(home):
    finished_run(home, "first", good())
    shown(home)
    store(home, record("e1_4", 0, samples("iou", 0.9, baseline=0.3), run_id="later"))
    shown(home)
    own = yaml.safe_load((home.results / ID / "runs/first/results.yaml").read_text())
    assert own["results"]["experiments"]["e1_4"]["metrics"] == {"iou": 0.8}


# The schema that ships with the package.

EXAMPLE = yaml.safe_load("""
experiment_id: c1-vlm-latent-sufficiency
status: completed
success_criteria: {lpips_threshold: 0.35, ssim_threshold: 0.75}
results:
  experiments:
    e1_1: {status: completed, finding: "…", metrics: {silhouette_score: 0.72}, artifacts: [artifacts/e1_1/tsne.png]}
assessment: {success_criteria_met: true, lpips_achieved: 0.31, confidence: high}
recommendation: proceed
""")


def changed(path: str, value: object) -> dict:
    content = copy.deepcopy(EXAMPLE)
    *parents, last = path.split("/")
    place = content
    for key in parents:
        place = place[key]
    place[last] = value
    return content


def test_the_format_as_teams_know_it_is_valid():
    assert document.validate(EXAMPLE) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("assessment/lpips_achieved", None),  # proceed with an unmeasured criterion
        ("assessment/success_criteria_met", False),
        ("recommendation", "proceed_to_gate_3"),
        ("recommendation", "pending"),  # success, and yet not proceed
        ("status", "completed_with_real_data"),
        ("status", "stub"),
        ("assessment", {"success_criteria_met": True, "confidence": "high"}),  # proceed without a single number
        ("success_criteria", {}),
        ("success_criteria/lpips_threshold", "0.35"),
        ("results/experiments/e1_1/metrics/silhouette_score", True),
        ("results/experiments/e1_1/metrics/silhouette_score", "0.72"),
        ("results/experiments/e1_1/metrics/silhouette_score", [0.72]),
        ("results/experiments/e1_1/metrics/silhouette_score", float("nan")),
        ("results/experiments/e1_1/status", "stopped_early"),
        ("results/experiments/e1_1/status", "failed"),  # without an error
        ("results/experiments/e1_1/verdict", "EXCELLENT"),
        ("results/experiments/e1_1/artifacts", ["/root/tsne.png"]),
        ("gate", "passed"),
    ],
)
def test_what_lies_is_invalid_by_schema(path, value):
    assert document.validate(changed(path, value)) != []


def test_proceed_beside_a_criterion_that_is_not_met_is_invalid(home):
    finished_run(home, "first", three_seeds())
    content = shown(home)
    assert document.validate(content) == []
    for field, value in (("verdict", "not measured"), ("verdict", "marginal"), ("interval", None), ("baseline", None)):
        edited = copy.deepcopy(content)
        edited["criteria"][0][field] = value
        assert document.validate(edited) != [], field
    edited = copy.deepcopy(content)
    edited["criteria"] = []
    assert document.validate(edited) != []
