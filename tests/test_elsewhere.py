"""Features that stayed on Modal's volume: not missing, not here, and never taken for either."""

from __future__ import annotations

from pathlib import Path

import pytest

from foresight import elsewhere
from foresight.compute.fingerprint import fingerprint_of
from foresight.compute.planner import Seeded, StepPlan, is_sound, withdraw_broken
from foresight.compute.step import Step
from foresight.errors import UserError
from foresight.features.store import open_features
from foresight.files import sha256_bytes, sha256_file, write_atomic, write_json
from foresight.home import Home
from foresight.results.record import Artifact, Provenance, Record, Usage, read_record
from foresight.results.verify import verify

IDENTITY = {"kind": "extract", "point": "X3"}
FINGERPRINT = fingerprint_of(IDENTITY)
SHARD = f"features/{FINGERPRINT}/00000.safetensors"


def write_record(home: Home, label: str = "vlm X3") -> Record:
    record = Record(
        fingerprint=FINGERPRINT,
        kind="extract",
        label=label,
        profile="tiny",
        artifacts=[Artifact(name="00000.safetensors", path=SHARD, sha256=sha256_bytes(b"shard"), size_bytes=5)],
        usage=Usage(device="cpu", seconds=1.0, cpu_seconds=1.0, peak_memory_bytes=1, cost_usd=0.0),
        provenance=Provenance(
            git_commit=None, git_dirty=None, lock_sha256=None, versions={}, seed=None, python="3.11", platform="test"
        ),
        identity=IDENTITY,
        attempt=1,
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-01T00:00:01+00:00",
    )
    write_json(home.record(FINGERPRINT), record.model_dump(mode="json"))
    return record


def came_home(home: Home) -> Record:
    record = write_record(home)
    elsewhere.note(home, FINGERPRINT, sha256_file(home.record(FINGERPRINT)), [SHARD])
    return record


def plan(*, needed: bool) -> StepPlan:
    """The extraction, and a seed that reads it and is still to run, or none."""
    extract = Step("extract", "vlm X3", "tiny", IDENTITY)
    reader = Step("sub_experiment", "c1/e1_4 seed 0", "tiny", {"seed": 0}, needs={"shapes/vlm:X3": FINGERPRINT})
    return StepPlan(None, (extract,), {Seeded("c1", "e1_4", 0): reader} if needed else {})


def test_a_record_whose_features_stayed_there_is_sound(tmp_path: Path) -> None:
    home = Home(tmp_path)
    record = came_home(home)
    assert is_sound(record, home, thorough=True)
    assert verify(home) == []
    assert withdraw_broken(plan(needed=False), home) == []
    assert withdraw_broken(plan(needed=True), home, "modal") == []
    assert read_record(home, FINGERPRINT) is not None


def test_what_runs_here_and_needs_them_has_them_made_again_and_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path)
    came_home(home)
    (line,) = withdraw_broken(plan(needed=True), home, "local")
    assert "on Modal's volume" in line
    assert "computing it again" in line
    assert read_record(home, FINGERPRINT) is None


def test_what_runs_there_and_needs_what_is_only_here_has_it_made_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_record(home)
    write_atomic(home.root / SHARD, b"shard")
    (line,) = withdraw_broken(plan(needed=True), home, "modal")
    assert "on this machine" in line


def test_the_note_is_about_one_record_and_no_other(tmp_path: Path) -> None:
    """One that is computed here later takes the record's place: if its features are missing, they are missing."""
    home = Home(tmp_path)
    came_home(home)
    record = write_record(home, "another")
    assert elsewhere.left_elsewhere(home, FINGERPRINT) == frozenset()
    assert not is_sound(record, home, thorough=False)
    assert len(verify(home)) == 1


def test_who_opens_them_is_told_where_they_are(tmp_path: Path) -> None:
    home = Home(tmp_path)
    came_home(home)
    with pytest.raises(UserError, match=f"modal volume get foresight-results features/{FINGERPRINT}"):
        open_features(home, FINGERPRINT)


def test_manifests_of_what_is_there_do_not_look_like_what_is_here(tmp_path: Path) -> None:
    home = Home(tmp_path)
    place = elsewhere.planned_from(home, "modal")
    assert place.models != home.models
    assert place.datasets != home.datasets
    assert elsewhere.planned_from(home, "local") == home
