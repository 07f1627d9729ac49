"""Handlers run by hand, as in a notebook: a run like any other, judged by the same rules."""

from __future__ import annotations

import json
import os

import pytest
import yaml
from threadpoolctl import threadpool_info, threadpool_limits

from foresight.errors import UserError
from foresight.home import Home
from foresight.results import document, runs
from foresight.results.record import read_record
from foresight.results.verify import verify
from foresight.runner import ExperimentRunner

C1 = "c1-vlm-latent-sufficiency"


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def measured(metrics, finding="Found."):
    def handler(runner):
        for step in range(3):
            runner.log_metrics({"train_loss": 1 / (step + 1)}, step=step)
        grid = runner.results.save_artifact("grid.png", b"png")
        table = runner.results.save_json_artifact("table.json", {"metrics": metrics})
        return {"finding": finding, "metrics": metrics, "artifacts": [grid, table]}

    return handler


def broken(runner):
    runner.log_metrics({"train_loss": 0.5}, step=0)
    raise RuntimeError("the model did not load")


def results(home):
    content = yaml.safe_load((home.results / C1 / "results.yaml").read_text())
    assert document.validate(content) == []
    return content


def test_what_is_registered_runs_and_the_rest_stays_pending(home):
    runner = ExperimentRunner(C1, home=home)
    runner.register_handler("e1_2", measured({"lpips": 0.31, "ssim": 0.8}, "LPIPS {lpips:.2f}."))
    ended = runner.run_all()
    assert ended["completed"] == ["e1_2"]
    assert ended["failed"] == []
    assert ended["skipped"] == ["e1_1", "e1_3", "e1_4", "e1_5", "e1_6"]

    found = results(home)
    entry = found["results"]["experiments"]["e1_2"]
    assert (entry["status"], entry["finding"]) == ("completed", "LPIPS 0.31.")
    assert entry["metrics"] == {"lpips": 0.31, "ssim": 0.8}
    assert any("Run by hand" in note for note in entry["notes"]), "nobody takes it for the plan's own"
    assert entry["artifacts"] == ["artifacts/e1_2/grid.png", "artifacts/e1_2/table.json"]
    assert (home.results / C1 / "artifacts/e1_2/grid.png").read_bytes() == b"png"
    assert found["results"]["experiments"]["e1_5"]["status"] == "pending"
    # e1_2 reports an lpips, but the criterion is read from e1_5, which has not run
    assert found["assessment"]["lpips_achieved"] is None
    assert not found["assessment"]["success_criteria_met"]
    assert found["recommendation"] == "pending"
    assert [problem for problem in verify(home) if "grid" in problem.path] == []


def test_a_team_whose_metrics_have_no_samples_is_told_to_investigate(home):
    runner = ExperimentRunner(C1, home=home)
    runner.register_handler("e1_4", measured({"spatial_iou": 0.9}))
    runner.register_handler("e1_5", measured({"lpips": 0.1, "ssim": 0.95, "psnr": 30}))
    runner.run_all()
    found = results(home)
    assert found["assessment"]["lpips_achieved"] == 0.1
    assert found["assessment"]["confidence"] == "low"
    assert found["recommendation"] == "investigate"
    assert not found["assessment"]["success_criteria_met"]


def test_a_handler_that_fails_neither_stops_nor_hides_the_others(home, capsys):
    runner = ExperimentRunner(C1, home=home)
    runner.register_handler("e1_1", measured({"silhouette_score": 0.7}))
    runner.register_handler("e1_2", broken)
    runner.register_handler("e1_3", lambda runner: {"metrics": {"lpips": "0.3"}})
    runner.register_handler("e1_4", measured({"spatial_iou": 0.7}))
    ended = runner.run_all()
    assert (ended["completed"], ended["failed"]) == (["e1_1", "e1_4"], ["e1_2", "e1_3"])
    found = results(home)
    assert found["status"] == "failed"
    experiments = found["results"]["experiments"]
    assert experiments["e1_1"]["metrics"] == {"silhouette_score": 0.7}
    assert experiments["e1_4"]["metrics"] == {"spatial_iou": 0.7}
    assert "the model did not load" in experiments["e1_2"]["error"]
    assert "'lpips' is a str" in experiments["e1_3"]["error"]
    assert experiments["e1_2"]["metrics"] == {}
    assert "e1_2 failed: RuntimeError: the model did not load" in capsys.readouterr().out

    (run,) = runs.list_runs(home, C1)
    assert run.status == "failed"
    fingerprint = run.sub_experiments["e1_2"].steps[0]
    assert read_record(home, fingerprint) is None
    attempt = home.step(fingerprint) / "attempts" / "1"
    assert json.loads((attempt / "metrics.jsonl").read_text())["metrics"] == {"train_loss": 0.5}
    told = json.loads((attempt / "attempt.json").read_text())
    assert told["cause"] == "exception"
    assert "in broken" in told["traceback"]


def test_running_one_again_replaces_its_result_and_keeps_the_others(home):
    for value in (0.5, 0.6):
        runner = ExperimentRunner(C1, home=home)
        runner.register_handler("e1_4", measured({"spatial_iou": value}))
        runner.register_handler("e1_1", measured({"silhouette_score": value}))
        runner.run_all(None if value == 0.5 else ["e1_4"])
    experiments = results(home)["results"]["experiments"]
    assert experiments["e1_4"]["metrics"] == {"spatial_iou": 0.6}
    assert experiments["e1_1"]["metrics"] == {"silhouette_score": 0.5}
    assert len(runs.list_runs(home, C1)) == 2


def test_ctrl_c_ends_the_run_and_keeps_what_was_finished(home):
    def interrupted(runner):
        raise KeyboardInterrupt

    runner = ExperimentRunner(C1, home=home)
    runner.register_handler("e1_1", measured({"silhouette_score": 0.7}))
    runner.register_handler("e1_2", interrupted)
    runner.register_handler("e1_3", measured({"lpips_gap": 0.1}))
    with pytest.raises(KeyboardInterrupt):
        runner.run_all()
    (run,) = runs.list_runs(home, C1)
    assert run.status == "cancelled"
    experiments = results(home)["results"]["experiments"]
    assert experiments["e1_1"]["status"] == "completed"
    assert experiments["e1_3"]["status"] == "pending"


def test_a_handler_gets_the_profiles_parameters_and_data(home):
    def handler(runner):
        split = runner.split()
        assert not set(split.train) & set(split.test)
        with pytest.raises(UserError, match=r"It was given: nothing.*foresight run"):
            runner.features("vlm:X3")
        return {
            "metrics": {"pictures": len(runner.dataset()), "seed": runner.seed, "device": runner.device == "cpu" and 1}
        }

    runner = ExperimentRunner(C1, home=home)
    runner.register_handler("e1_1", handler)
    assert runner.run_all(seed=4)["completed"] == ["e1_1"]
    metrics = results(home)["results"]["experiments"]["e1_1"]["metrics"]
    assert metrics["pictures"] > 50
    assert metrics["seed"] == 4


@pytest.mark.parametrize(
    ("experiment", "profile", "handlers", "only", "message"),
    [
        ("c9", "tiny", {}, None, "'c9'"),
        (C1, "huge", {}, None, "huge"),
        (C1, "real", {"e1_1": broken}, None, "cannot run in profile real, whose verdicts move gates"),
        (C1, "tiny", {"e1_9": broken}, None, "'e1_9'"),
        (C1, "tiny", {"e1_1": broken}, ["e1_2"], "No handler was registered for e1_2"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused_before_it_starts(home, experiment, profile, handlers, only, message):
    runner = ExperimentRunner(experiment, profile=profile, home=home)
    for sub_id, handler in handlers.items():
        runner.register_handler(sub_id, handler)
    with pytest.raises(UserError, match=message):
        runner.run_all(only)
    assert not home.results.exists()


def test_a_handler_is_a_function(home):
    with pytest.raises(UserError, match="Pass the function itself"):
        ExperimentRunner(C1, home=home).register_handler("e1_1", {"metrics": {}})


def test_a_handler_has_one_thread_as_in_a_worker_and_the_notebook_its_own_again(home):
    seen = []

    def handler(runner):
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        seen.append(int(os.environ["OMP_NUM_THREADS"]))
        return {"finding": "Found.", "metrics": {"lpips": 0.3}, "artifacts": []}

    runner = ExperimentRunner(C1, home=home)
    runner.register_handler("e1_2", handler)
    with threadpool_limits(2):
        own = [pool["num_threads"] for pool in threadpool_info()]
        assert 2 in own
        runner.run_all()
        assert [pool["num_threads"] for pool in threadpool_info()] == own
    assert set(seen) == {1}


P2 = "p2-hybrid-encoder"


def trains(runner):
    runner.results.save_artifact("system.safetensors", f"trained with seed {runner.seed}")
    return {"finding": "Trained.", "metrics": {"steps": 1.0}, "artifacts": []}


def evaluates(runner):
    read = runner.artifact("e_p2_3", "system.safetensors").read_text()
    return {"finding": "Read.", "metrics": {"seed_read": float(read.split()[-1])}, "artifacts": []}


def p2(home):
    return yaml.safe_load((home.results / P2 / "results.yaml").read_text())["results"]["experiments"]


def test_what_another_one_left_is_read_from_this_run_or_from_the_newest_results(home):
    runner = ExperimentRunner(P2, home=home)
    runner.register_handler("e_p2_4", evaluates)
    runner.register_handler("e_p2_3", trains)
    assert runner.run_all(seed=4)["completed"] == ["e_p2_3", "e_p2_4"]  # in the plan's order
    assert p2(home)["e_p2_4"]["metrics"] == {"seed_read": 4.0}
    assert runner.run_all(["e_p2_4"], seed=4)["completed"] == ["e_p2_4"]
    (fingerprint,) = p2(home)["e_p2_4"]["records"].values()
    assert list(read_record(home, fingerprint).read) == ["e_p2_3/system.safetensors"]
    assert verify(home) == []


def test_what_was_not_left_for_this_seed_is_not_read_of_another(home):
    runner = ExperimentRunner(P2, home=home)
    runner.register_handler("e_p2_3", trains)
    runner.register_handler("e_p2_4", evaluates)
    runner.run_all(["e_p2_3"], seed=1)
    assert runner.run_all(["e_p2_4"], seed=2)["failed"] == ["e_p2_4"]
    assert "e_p2_4 uses e_p2_3, which has not finished for this seed" in p2(home)["e_p2_4"]["error"]
