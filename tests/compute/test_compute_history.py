"""What steps took before is what an estimate rests on: the same work, on the same class or scaled, or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresight.compute import history
from foresight.compute.gpus import GPU_CLASSES
from foresight.compute.history import Taken, expected_seconds, read_history, work_of
from foresight.files import read_json, write_json
from foresight.home import Home

DEVICES = st.sampled_from(["cpu", *GPU_CLASSES])
TAKEN = st.builds(Taken, DEVICES, st.floats(0.1, 1e5), st.integers(0, 10**9))


def test_seeds_of_one_sub_experiment_are_one_kind_of_work():
    assert work_of("c1/e1_4 seed 12") == "c1/e1_4"
    assert work_of("vlm X3 photographs@168") == "vlm X3 photographs@168"


def test_what_was_measured_on_the_class_itself_comes_first():
    earlier = [Taken("A10", 100, 0), Taken("A100-40GB", 30, 0), Taken("A10", 120, 0), Taken("cpu", 9000, 0)]
    assert expected_seconds(earlier, "A10") == (110, "2 records")
    assert expected_seconds(earlier, "cpu") == (9000, "1 record")


def test_other_classes_are_scaled_and_it_is_said():
    assert expected_seconds([Taken("A10", 100, 0)], "A100-80GB") == (40, "1 record on A10, scaled to A100-80GB")


@given(st.lists(TAKEN, max_size=6), DEVICES)
def test_a_number_is_given_only_where_something_comparable_was_measured(earlier: list[Taken], device: str):
    comparable = [each for each in earlier if (each.device == "cpu") == (device == "cpu")]
    found = expected_seconds(earlier, device)
    assert (found is None) == (not comparable)
    if found is not None:
        fastest = max(each.speed for each in GPU_CLASSES.values()) * (1 + 1e-9)  # rounding apart
        assert min(e.seconds for e in comparable) / fastest <= found[0] <= max(e.seconds for e in comparable) * fastest


def test_records_are_read_by_profile_and_work_and_a_damaged_one_is_passed_over(tmp_path: Path):
    home = Home(tmp_path)
    rows = [
        ("a", "tiny", "c1/e1_1 seed 0", 3.0, "T2"),
        ("b", "tiny", "c1/e1_1 seed 1", 5.0, "T1"),
        ("c", "real", "x", 9.0, "T1"),
    ]
    for fingerprint, profile, label, seconds, at in rows:
        home.step(fingerprint).mkdir(parents=True)
        content = {
            "profile": profile,
            "label": label,
            "usage": {"device": "cpu", "seconds": seconds},
            "artifacts": [{"size_bytes": 7}, {"size_bytes": 3}],
            "finished_at": at,
        }
        home.record(fingerprint).write_text(json.dumps(content))
    home.step("d").mkdir()
    home.record("d").write_text("{")
    found = read_history(home)
    assert set(found) == {("tiny", "c1/e1_1"), ("real", "x")}
    assert [taken.seconds for taken in found["tiny", "c1/e1_1"]] == [5.0, 3.0]
    assert found["real", "x"] == [Taken("cpu", 9.0, 10)]


def test_a_record_is_read_once_and_again_when_another_takes_its_place(tmp_path: Path, monkeypatch):
    home, read = Home(tmp_path), []
    monkeypatch.setattr(history, "read_json", lambda path: read.append(path) or read_json(path))
    content = {"profile": "tiny", "label": "x", "usage": {"device": "cpu", "seconds": 3.0}, "artifacts": []}
    write_json(home.record("a"), {**content, "finished_at": "T1"})
    assert read_history(home) == read_history(home) == {("tiny", "x"): [Taken("cpu", 3.0, 0)]}
    assert len(read) == 1
    write_json(home.record("a"), {**content, "usage": {"device": "cpu", "seconds": 4.0}, "finished_at": "T2"})
    assert read_history(home) == {("tiny", "x"): [Taken("cpu", 4.0, 0)]}


def test_a_record_that_is_withdrawn_while_they_are_read_is_passed_over(tmp_path: Path, monkeypatch):
    home = Home(tmp_path)
    home.step("a").mkdir(parents=True)
    home.record("a").write_text("{}")

    def withdrawn(path: Path):
        path.unlink()
        return read_json(path)

    monkeypatch.setattr(history, "read_json", withdrawn)
    assert read_history(home) == {}


@pytest.mark.parametrize("device", ["cpu", "H100"])
def test_nothing_measured_is_nothing_known(device: str):
    assert expected_seconds([], device) is None
