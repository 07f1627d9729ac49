"""What a job will take: from earlier records, from shapes, or not known but for the bound of its timeout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foresight.cli.shortcut import run_in_process
from foresight.compute import rates
from foresight.compute.estimate import Estimate, estimate
from foresight.compute.request import RunRequest, resolve
from foresight.errors import UserError
from foresight.home import Home


def _estimate(home: Home, **request) -> Estimate:
    return estimate(resolve(RunRequest(compute="modal", **request)), home, rates.TABLE)


@pytest.fixture
def on_gpu(toy):
    """The toy programme with its second sub-experiment on a GPU."""
    path = toy.folder / "profiles.yaml"
    wanted = "sub_experiments: {t_b: {resources: {device: A10, timeout_s: 50, deadline_s: 60}}}"
    path.write_text(path.read_text().replace("    data: {}\n", f"    data: {{}}\n    {wanted}\n"))
    return toy


def test_without_an_earlier_record_only_the_bound_is_known(on_gpu):
    found = _estimate(on_gpu.home, experiments=("t1",), plan=on_gpu.plan)
    assert [line.label for line in found.lines] == [
        f"t1/{sub} seed {seed}" for sub in ("t_a", "t_b") for seed in (0, 1)
    ]
    assert all(line.seconds is None and line.usd is None for line in found.lines)
    on_cpu = (4 * 0.0473 + 1 * 0.008) / 3600
    assert found.lines[0].at_most_usd == pytest.approx(60 * on_cpu)
    assert found.lines[2].at_most_usd == pytest.approx(50 * (on_cpu + 1.10 / 3600))
    assert found.known_usd == 0
    assert found.unknown_at_most_usd == pytest.approx(sum(line.at_most_usd for line in found.lines))


def test_what_is_recorded_costs_nothing_and_tells_what_the_rest_will_take(on_gpu):
    job = resolve(RunRequest(("t1",), ("t_a",), seeds=1, plan=on_gpu.plan))
    run_in_process(job, on_gpu.home)
    found = _estimate(on_gpu.home, experiments=("t1",), plan=on_gpu.plan)
    first, second, third, _ = found.lines
    assert first.recorded
    assert first.usd == first.at_most_usd == 0
    assert not second.recorded
    assert second.seconds_rest_on == "1 record"
    assert second.usd == pytest.approx(second.seconds * second.usd_per_second)
    assert third.seconds is None  # nobody has run t_b yet
    assert found.known_usd == pytest.approx(second.usd)


def test_time_on_a_cpu_says_nothing_of_a_gpu_and_a_class_is_scaled_from_another(on_gpu):
    run_in_process(resolve(RunRequest(("t1",), ("t_b",), seeds=1, plan=on_gpu.plan)), on_gpu.home)
    path = next(on_gpu.home.steps.glob("*/record.json"))
    record = json.loads(path.read_text())
    for device, rests_on in [("cpu", ""), ("A100-40GB", "1 record on A100-40GB, scaled to A10")]:
        record["usage"] |= {"device": device, "seconds": 10.0}
        path.write_text(json.dumps(record))
        line = _estimate(on_gpu.home, experiments=("t1",), plan=on_gpu.plan).lines[3]
        assert line.seconds_rest_on == rests_on
        assert line.seconds == (25.0 if rests_on else None)


def test_on_this_machine_everything_is_free_whatever_it_takes(toy):
    job = resolve(RunRequest(("t1",), plan=toy.plan))
    found = estimate(job, toy.home, rates.LOCAL)
    assert [line.usd for line in found.lines] == [0.0] * 4
    assert not found.unknown


def test_full_models_are_estimated_on_a_machine_that_has_none_of_them(tmp_path: Path):
    found = _estimate(Home(tmp_path), experiments=("c1",), profile="real")
    assert "foresight download-models" in found.unprepared
    by_label = {line.label: line for line in found.lines}
    assert by_label["vlm X3 photographs"].size_bytes == 2000 * 8 * 8 * 3584 * 2
    assert by_label["vae X6 photographs"].size_bytes == 2000 * 7 * 7 * 128 * 2
    assert by_label["vlm X3 photographs@448"].size_bytes == 2000 * 16 * 16 * 3584 * 2
    assert by_label["c1/e1_5 seed 0"].resources.device == "A10"
    assert by_label["c1/e1_4 seed 0"].resources.device == "cpu"


def test_another_class_is_for_steps_on_a_gpu_only(tmp_path: Path):
    found = _estimate(Home(tmp_path), experiments=("c1",), profile="real", gpu="h100")
    assert {line.resources.device for line in found.lines if line.label.startswith(("vlm", "vae", "c1/e1_5"))} == {
        "H100"
    }
    assert {line.resources.device for line in found.lines if line.label.startswith("c1/e1_4")} == {"cpu"}


@pytest.mark.parametrize(
    ("profile", "gpu", "said"),
    [
        ("tiny", "A10", "no step of this runs on a GPU"),
        ("real", "A10", "asks for A100-40GB"),
        ("real", "T4", "Unknown GPU"),
    ],
)
def test_a_class_that_does_not_fit_is_refused(profile: str, gpu: str, said: str):
    with pytest.raises(UserError, match=said):
        resolve(RunRequest(("c1",), profile=profile, compute="modal", gpu=gpu))
