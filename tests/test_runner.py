"""The runner: what a handler may hand back, what it leaves behind, and that the team's handlers run as they are."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from foresight.data.manifest import DataSpec
from foresight.errors import StepFailed, UserError
from foresight.home import Home
from foresight.output import InvalidOutput
from foresight.probes.training import Epoch
from foresight.results.record import StepOutput
from foresight.runner import ExperimentRunner, execute
from foresight.workbench import METRICS_FILE, Artifacts, Assignment, Workbench


@pytest.fixture
def bench(tmp_path):
    attempt = tmp_path / "steps" / "f" / "attempts" / "1"
    (attempt / "artifacts").mkdir(parents=True)
    return Workbench(attempt, Artifacts(attempt / "artifacts"), tmp_path, progress=lambda fraction, text: None)


@pytest.fixture
def run(bench, tmp_path):
    """Run a handler, or one that returns the given thing, and return what becomes of it."""

    def run(handler, **assignment) -> StepOutput:
        runner = ExperimentRunner("c1-vlm-latent-sufficiency", home=Home(tmp_path))
        function = handler if callable(handler) else lambda runner: handler
        return runner.run_handler(function, Assignment("e1_1", **assignment), bench)

    return run


# ---------------------------------------------------------------------- the team's handlers


def team_handler(runner):
    for step in range(5):
        runner.log_metrics({"example/progress": (step + 1) / 5, "example/step": step}, step=step)
    runner.log_metrics({"example/stage": 1})
    listed = runner.results.save_json_artifact("example_output.json", {"values": [1, 2, 3]})
    text = runner.results.save_artifact("example_log.txt", "done\n")
    return {
        "finding": "Works (LPIPS=0.329 < 0.35).",
        "metrics": {"example_metric_1": 1.0, "mAP@0.5": np.float32(0.25), "steps_completed": 5},
        "artifacts": [listed, text],
    }


def test_a_handler_of_the_team_runs_unchanged(run, bench):
    made = run(team_handler)
    assert made.finding_template.format(**made.metrics) == "Works (LPIPS=0.329 < 0.35)."
    assert made.metrics == {"example_metric_1": 1.0, "mAP@0.5": 0.25, "steps_completed": 5.0}
    assert made.samples == []
    assert [artifact.name for artifact in made.artifacts] == ["example_output.json", "example_log.txt"]
    for artifact in made.artifacts:
        path = bench.root / artifact.path
        assert path.parent == bench.artifacts.folder
        assert path.stat().st_size == artifact.size_bytes
    lines = [json.loads(line) for line in (bench.folder / METRICS_FILE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4, None]
    assert lines[1]["metrics"] == {"example/progress": 0.4, "example/step": 1.0}
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_what_a_handler_leaves_out_is_empty(run):
    made = run({"metrics": {"lpips": 0.3}})
    assert (made.finding_template, made.artifacts, made.metrics) == ("", [], {"lpips": 0.3})


def test_what_was_saved_is_kept_even_if_it_is_not_listed(run):
    def handler(runner):
        runner.results.save_artifact("b.txt", "b")
        runner.results.save_artifact("maps/a.txt", b"a")
        runner.results.get_artifact_path("c.txt").write_text("c")
        return {"finding": "", "metrics": {}, "artifacts": ["c.txt", "artifacts/maps/a.txt"]}

    assert [artifact.name for artifact in run(handler).artifacts] == ["c.txt", "maps/a.txt", "b.txt"]


# ---------------------------------------------------------------------- what is refused, each with a message of its own


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None, not a dict"),
        ([1], "returned a list, not a dict"),
        ({"finding": "x", "metric": {}}, "unknown key 'metric'.*Did you mean 'metrics'"),
        ({"finding": 3}, "The finding is a int"),
        ({"metrics": [("lpips", 1)]}, "The metrics are a list"),
        ({"artifacts": "grid.png"}, "The artifacts are a str"),
        ({"artifacts": [3]}, "not a list of names"),
        ({"metrics": {"lpips": math.nan}}, "'lpips' is nan"),
        ({"metrics": {"lpips": np.float32("inf")}}, "'lpips' is inf"),
        ({"metrics": {"met": True}}, "'met' is a bool"),
        ({"metrics": {"met": np.bool_(False)}}, "'met' is a bool"),
        ({"metrics": {"lpips": "0.3"}}, "'lpips' is a str, not a number"),
        ({"metrics": {"ious": [0.1, 0.2]}}, "'ious' is a list, not a number.*log_samples"),
        ({"metrics": {"ious": np.ones(3)}}, "'ious' is a ndarray, not a number"),
        ({"metrics": {"lpips": None}}, "'lpips' is None"),
        ({"metrics": {3: 1.0}}, "3 is no name for a metric"),
        ({"artifacts": ["grid.png"]}, "lists artifact 'grid.png', but there is no such file"),
        ({"artifacts": ["../../record.json"]}, "'../../record.json' does not name a file inside"),
        ({"artifacts": ["/etc/passwd"]}, "'/etc/passwd' does not name a file inside"),
        ({"artifacts": ["artifacts"]}, "'artifacts' does not name a file inside"),
        ({"finding": "IoU {iou:.2f}", "metrics": {"spatial_iou": 1}}, r"field \{iou\}, but no metric.*spatial_iou"),
        ({"finding": "IoU {iou:.2q}", "metrics": {"iou": 1.0}}, r"\{iou:.2q\} cannot be written"),
    ],
)
def test_an_output_that_cannot_be_recorded_is_refused(run, returned, message):
    with pytest.raises(InvalidOutput, match=message) as caught:
        run(returned)
    assert isinstance(caught.value, StepFailed)
    assert (caught.value.cause, caught.value.retryable) == ("invalid_output", False)


@pytest.mark.parametrize("name", ["../record.json", "/tmp/x", "a/../../x", "", ".", "artifacts/../../x"])
def test_no_artifact_is_written_outside_its_folder(run, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidOutput, match="does not name a file inside"):
        run(lambda runner: runner.results.save_artifact(name, "x"))
    assert sorted(tmp_path.rglob("*")) == before


def test_no_artifact_is_written_through_a_link(run, bench, tmp_path):
    (bench.artifacts.folder / "out").symlink_to(tmp_path)
    with pytest.raises(InvalidOutput, match="leads out of the artifacts folder"):
        run(lambda runner: runner.results.save_artifact("out/x", "x"))


def test_an_artifact_is_bytes_or_text(run):
    with pytest.raises(InvalidOutput, match="was given a dict"):
        run(lambda runner: runner.results.save_artifact("x.json", {"a": 1}))


def test_json_artifacts_take_numpy_and_refuse_what_json_lacks(run, bench):
    def handler(runner):
        runner.results.save_json_artifact(
            "a.json", {"n": np.int64(3), "met": np.bool_(True), 7: np.arange(2.0), "none": None}
        )
        return {}

    run(handler)
    assert json.loads((bench.artifacts.folder / "a.json").read_text()) == {
        "n": 3,
        "met": True,
        "7": [0.0, 1.0],
        "none": None,
    }
    assert (bench.artifacts.folder / "a.json").read_text().splitlines()[1:3] == [' "7": [0.0, 1.0],', ' "met": true,']
    with pytest.raises(InvalidOutput, match=r"a\.json\.array\[1\]\[0\] is inf"):
        run(lambda runner: runner.results.save_json_artifact("a.json", {"array": np.array([[1.0], [np.inf]])}))
    with pytest.raises(InvalidOutput, match=r"a\.json\.images\[1\]\.iou is nan"):
        run(lambda runner: runner.results.save_json_artifact("a.json", {"images": [{}, {"iou": np.nan}]}))
    with pytest.raises(InvalidOutput, match=r"a\.json\.where is a PosixPath"):
        run(lambda runner: runner.results.save_json_artifact("a.json", {"where": bench.folder}))


# ---------------------------------------------------------------------- metrics as they come


def test_a_raise_in_the_last_line_keeps_what_was_logged(run, bench):
    def handler(runner):
        runner.log_metrics({"loss": 0.5}, step=1)
        runner.results.save_artifact("curve.txt", "0.5")
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(handler)
    assert json.loads((bench.folder / METRICS_FILE).read_text())["metrics"] == {"loss": 0.5}
    assert (bench.artifacts.folder / "curve.txt").read_text() == "0.5"


def test_a_curve_never_goes_back(run, bench):
    def handler(runner):
        runner.log_metrics({"pre/loss": 1.0}, step=10)
        runner.log_metrics({"post/loss": 1.0}, step=0)  # another curve
        runner.log_metrics({"pre/loss": 0.5}, step=10)

    with pytest.raises(InvalidOutput, match="'pre/loss' was logged at step 10 and now at step 10"):
        run(handler)
    assert len((bench.folder / METRICS_FILE).read_text().splitlines()) == 2


def test_a_training_leaves_its_loss_as_a_curve(run, bench):
    def handler(runner):
        watch = runner.loss_curve("head")
        for number in (0, 5):
            watch(Epoch(number, 5, train_loss=1.0 - 0.1 * number, validation_loss=1.0))
        return {"finding": "Trained.", "metrics": {}}

    run(handler)
    lines = [json.loads(line) for line in (bench.folder / METRICS_FILE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 5]
    assert lines[1]["metrics"] == {"head/train/loss": 0.5, "head/validation/loss": 1.0}


def test_a_training_says_how_far_it_takes_the_handler(run, bench):
    seen = []
    bench.progress = lambda fraction, text: seen.append((fraction, text))

    def handler(runner):
        watch = runner.loss_curve("head", (0.2, 0.6))
        for number in (0, 5, 10):
            watch(Epoch(number, 10, train_loss=1.0, validation_loss=0.25))
        return {"finding": "Trained.", "metrics": {}}

    run(handler)
    assert seen == [
        (pytest.approx(done), f"head, epoch {number}: validation loss 0.25")
        for done, number in ((0.2, 0), (0.4, 5), (0.6, 10))
    ]


@pytest.mark.parametrize("value", [math.nan, "0.3", True, [1.0]])
def test_a_curve_is_of_finite_numbers(run, bench, value):
    with pytest.raises(InvalidOutput, match="Metric 'loss' is"):
        run(lambda runner: runner.log_metrics({"loss": value}))
    assert not (bench.folder / METRICS_FILE).exists()


# ---------------------------------------------------------------------- per-sample scores


def log(scores, groups=("a", "b", "b"), **options):
    def handler(runner):
        mean = runner.log_samples("iou", scores, groups=groups, higher_is_better=True, **options)
        return {"finding": "IoU {iou:.2f}, braces { } stay", "metrics": {"mean": mean}}

    return handler


def test_a_metric_is_filled_in_from_its_samples(run):
    made = run(log(np.float32([0.25, 0.5, 0.75]), baseline=[0, 0, 1], baselines={"mean box": [0.1, 0.1, 0.1]}))
    assert made.metrics == {"iou": 0.5, "mean": 0.5}
    assert made.finding_template.format(**made.metrics) == "IoU 0.50, braces { } stay"
    (samples,) = made.samples
    assert samples.scores == [0.25, 0.5, 0.75]
    assert samples.groups == ["a", "b", "b"]
    assert samples.baselines == {"baseline": [0.0, 0.0, 1.0], "mean box": [0.1, 0.1, 0.1]}
    assert samples.higher_is_better


def test_a_metric_must_be_the_mean_of_its_samples(run):
    def handler(stated):
        def handler(runner):
            runner.log_samples("iou", [0.2, 0.4], groups=["a", "b"], higher_is_better=True)
            return {"metrics": {"iou": stated}}

        return handler

    with pytest.raises(InvalidOutput, match=r"returned as 0\.31, but the mean of its 2 logged scores is 0\.3"):
        run(handler(0.31))


def test_rounding_is_no_contradiction(run):
    def handler(runner):
        runner.log_samples("iou", [0.2, 0.4], groups=["a", "b"], higher_is_better=True)
        return {"metrics": {"iou": 0.3 + 1e-9}}

    assert run(handler).metrics == {"iou": 0.3 + 1e-9}


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (log([0.1, math.nan, 0.3]), "scores of 'iou': sample 1 is nan"),
        (log([0.1, 0.2, 0.3], baselines={"mean box": [0.1, math.inf, 0]}), "'mean box' of 'iou': sample 1 is inf"),
        (log(["0.1", "0.2", "0.3"]), "one number a sample"),
        (log([True, False, True]), "one number a sample"),
        (log([[0.1, 0.2, 0.3]]), r"one number a sample: got shape \[1, 3\]"),
        (log([0.1, 0.2]), "one entry a sample"),
        (log([0.1, 0.2, 0.3], baseline=[0.1]), "one entry a sample"),
        (log([], groups=[]), "one number a sample|one at least"),
    ],
)
def test_samples_that_do_not_fit_are_refused(run, handler, message):
    with pytest.raises(InvalidOutput, match=message):
        run(handler)


def test_one_metric_is_logged_once(run):
    def handler(runner):
        for _ in range(2):
            runner.log_samples("iou", [0.2], groups=["a"], higher_is_better=True)

    with pytest.raises(InvalidOutput, match="called twice"):
        run(handler)


# ---------------------------------------------------------------------- what a handler is given


def test_the_seed_decides_all_random_numbers(run):
    def handler(runner):
        return {
            "metrics": {"a": random.random(), "b": np.random.random(), "c": runner.rng.random(), "seed": runner.seed}
        }

    first, again, other = run(handler, seed=1).metrics, run(handler, seed=1).metrics, run(handler, seed=2).metrics
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_torch_is_seeded_where_it_is_in_use(run):
    import torch

    def handler(runner):
        return {"metrics": {"a": torch.rand(1).item()}}

    assert run(handler, seed=1).metrics == run(handler, seed=1).metrics != run(handler, seed=2).metrics


def test_the_config_is_the_handlers_own_copy(run):
    def handler(runner):
        runner.config["epochs"] = 1
        return {"metrics": {"epochs": runner.config["epochs"]}}

    assert run(handler, config={"epochs": 7}).metrics == {"epochs": 7}


def test_a_need_that_was_not_prepared_is_named(run):
    with pytest.raises(
        UserError, match=r"e1_1 reads 'vlm:X9', which was not prepared for it. It was given: vlm:X2, vlm:X3@168"
    ):
        run(
            lambda runner: runner.features("vlm:X9"),
            data_specs={"photographs": {}},
            needs={"photographs/vlm:X2": "a", "photographs/vlm:X3@168": "b"},
        )


def test_a_data_set_must_be_named_where_there_are_several(run):
    with pytest.raises(UserError, match=r"\['a', 'b'\], and no name was given"):
        run(lambda runner: runner.dataset(), data_specs={"a": {}, "b": {}})
    with pytest.raises(UserError, match="'c' is not one of them"):
        run(lambda runner: runner.dataset("c"), data_specs={"a": {}, "b": {}})


def test_a_model_that_the_plan_does_not_give_is_named(run):
    with pytest.raises(UserError, match="loads model 'vae', which the plan does not give it"):
        run(lambda runner: runner.model("vae"))


def test_notes_and_progress_reach_the_record(run, bench):
    seen = []
    bench.progress = lambda fraction, text: seen.append((fraction, text))

    def handler(runner):
        runner.progress(0.5, "half")
        runner.progress(1.0001, "done")
        runner.note("the LLM is random")
        runner.note("the LLM is random")
        return {}

    assert run(handler).notes == ["the LLM is random"]
    assert seen == [(0.5, "half"), (1.0, "done")]


def test_a_metric_that_could_not_be_measured_says_why_and_has_no_number(run):
    def handler(runner, metrics):
        runner.not_measured("param_efficiency", "the reference is no better")
        return {"metrics": metrics}

    made = run(lambda runner: handler(runner, {"lpips": 0.3}))
    assert (made.metrics, made.not_measured) == ({"lpips": 0.3}, {"param_efficiency": "the reference is no better"})
    with pytest.raises(InvalidOutput, match="'param_efficiency' is given as 1, and not_measured says why"):
        run(lambda runner: handler(runner, {"param_efficiency": 1.0}))


CATEGORIES = DataSpec(name="categories", recipe="categories", parameters={"n": 24, "side": 56}).to_json()


def test_data_are_opened_once_and_split_by_source(run):
    def handler(runner):
        split = runner.split()
        assert runner.split() is split
        assert runner.dataset() is runner.dataset("categories")
        parts = [{runner.dataset().groups[index] for index in part} for part in split.parts.values()]
        return {
            "metrics": {
                "shared": len(parts[0] & parts[1] | parts[1] & parts[2] | parts[0] & parts[2]),
                "n": sum(map(len, parts)),
            }
        }

    made = run(handler, data_specs={"categories": CATEGORIES}, split=(0.6, 0.15, 0.25))
    assert made.metrics == {"shared": 0, "n": 24}


def test_data_that_a_step_was_not_planned_with_are_refused(run):
    with pytest.raises(StepFailed, match="categories is not the one that this step was planned with") as caught:
        run(lambda runner: runner.split(), data_specs={"categories": CATEGORIES}, data_sha256={"categories": "0" * 64})
    assert caught.value.cause == "identity"


def test_outside_a_handler_the_runner_says_so(tmp_path, bench):
    runner = ExperimentRunner("c1-vlm-latent-sufficiency", home=Home(tmp_path))
    runner.run_handler(lambda runner: {"metrics": {"seed": runner.seed}}, Assignment("e1_1"), bench)
    for use in (lambda: runner.seed, lambda: runner.results, lambda: runner.log_metrics({"a": 1})):
        with pytest.raises(UserError, match="No handler is running"):
            use()


# ---------------------------------------------------------------------- inside a step


def handler_of_a_step(runner):
    runner.progress(0.5, "half")
    return {
        "finding": "{seed:.0f}",
        "metrics": {
            "seed": runner.seed,
            "epochs": runner.config["epochs"],
            "stand_in": float(runner.is_stand_in("vlm")),
        },
        "artifacts": [runner.results.save_artifact("a.txt", "a")],
    }


def test_a_step_reaches_its_handler_with_its_identity(tmp_path):
    seen = []
    step = SimpleNamespace(
        identity={
            "experiment": "c1-vlm-latent-sufficiency",
            "sub_experiment": "e1_1",
            "handler": f"{__name__}:handler_of_a_step",
            "parameters": {"epochs": 3},
            "seed": 2,
            "split": [0.6, 0.15, 0.25],
            "models": {"vlm": {"stand_in": True}},
        },
        work={},
        needs={},
        profile="tiny",
    )
    attempt = tmp_path / "steps" / "f" / "attempts" / "1"
    (attempt / "artifacts").mkdir(parents=True)
    context = SimpleNamespace(
        home=Home(tmp_path),
        attempt_dir=attempt,
        artifacts_dir=attempt / "artifacts",
        device="cpu",
        progress=lambda fraction, text: seen.append(fraction),
    )
    made = execute(step, context)
    assert made.metrics == {"seed": 2, "epochs": 3, "stand_in": 1}
    assert made.artifacts[0].path == "steps/f/attempts/1/artifacts/a.txt"
    assert seen == [0.5]


def test_importing_the_runner_imports_no_torch():
    heavy = "{'torch', 'transformers', 'diffusers', 'lpips', 'sklearn'}"
    code = f"import sys, foresight.runner; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
