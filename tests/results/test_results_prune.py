"""Pruning makes room and never takes what a verdict rests on."""

from __future__ import annotations

import numpy as np
import pytest
from results_builders import begin, complete, finished_run, good, record, samples, store

from foresight.compute import ledger
from foresight.compute.claim import Holder, try_claim
from foresight.compute.fingerprint import fingerprint_of
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.errors import UserError
from foresight.features.store import FeatureWriter
from foresight.files import write_atomic, write_json
from foresight.home import Home
from foresight.results import prune, runs, spending, verify, view
from foresight.results.record import Attempt, Record

ID = "c1-vlm-latent-sufficiency"
OLD, NEW, PART = "a" * 64, "b" * 64, "c" * 64


def reading(fingerprint: str, salt: str, **changes) -> Record:
    """A record of e1_4 that reads features."""
    one = record("e1_4", 0, samples("iou", 0.8, baseline=0.3), salt=salt, **changes)
    identity = {**one.identity, "features": {"photographs/vlm:X3": fingerprint}}
    return one.model_copy(update={"identity": identity, "fingerprint": fingerprint_of(identity)})


def extracted(home: Home, fingerprint: str) -> None:
    writer = FeatureWriter(home, fingerprint, 3)
    writer.write(0, np.ones((3, 2, 2, 4), dtype=np.float32))
    writer.finish({"kind": "extract"})


def failed_attempt(home: Home, fingerprint: str) -> None:
    folder = home.step(fingerprint) / "attempts/1"
    write_atomic(folder / "log.txt", "boom\n" * 100)
    write_atomic(folder / "artifacts/half.png", b"half")
    entry = Attempt(fingerprint=fingerprint, number=1, cause="exception", error="boom", seconds=3.0, cost_usd=0.5,
                    started_at="2026-01-01T00:00:00+00:00", finished_at="2026-01-01T00:00:03+00:00")  # fmt: skip
    write_json(folder / "attempt.json", entry.model_dump(mode="json"))


@pytest.fixture
def grown(home: Home) -> Home:
    """Two runs: the second was computed anew on other features, and the first one's are read by nothing shown."""
    for fingerprint in (OLD, NEW):
        extracted(home, fingerprint)
    FeatureWriter(home, PART, 200).write(0, np.ones((64, 1, 1, 2), dtype=np.float32))  # died half way
    for run_id, features in (("run-1", OLD), ("run-2", NEW)):
        run = begin(home, run_id)
        complete(home, run, store(home, reading(features, run_id, run_id=run_id), {"plot.png": b"x"}))
        runs.finish(home, ID, run_id, "completed")
    failed_attempt(home, reading(NEW, "run-2").fingerprint)
    failed_attempt(home, "d" * 64)  # never finished: somebody has yet to read its log
    view.rebuild(home, ID)
    return home


def test_it_names_what_nothing_needs_with_its_size_and_touches_nothing(grown):
    before = {path: path.stat().st_mtime_ns for path in grown.root.rglob("*")}
    found = {item.path: item for item in prune.find(grown)}
    assert set(found) == {f"features/{OLD}", f"steps/{reading(NEW, 'run-2').fingerprint}/attempts/1"}
    assert found[f"features/{OLD}"].size_bytes == sum(path.stat().st_size for path in (grown.features / OLD).iterdir())
    assert {path: path.stat().st_mtime_ns for path in grown.root.rglob("*")} == before


def test_verdicts_costs_and_verification_are_the_same_after_it(grown):
    shown, spent = view.read(grown, ID), spending.by_run(grown)
    assert verify.verify(grown) == []
    prune.remove(grown, prune.find(grown))
    assert prune.find(grown) == []
    assert not (grown.features / OLD).exists()
    assert (grown.features / NEW).is_dir()
    assert (grown.features / PART).is_dir()
    assert verify.verify(grown) == []
    view.rebuild(grown, ID)
    assert (view.read(grown, ID), spending.by_run(grown)) == (shown, spent)


def test_features_of_another_profile_that_is_shown_are_kept(grown):
    extracted(grown, "e" * 64)
    run = begin(grown, "run-3", profile="real")
    complete(grown, run, store(grown, reading("e" * 64, "run-3", profile="real", run_id="run-3")))
    kept = {item.path for item in prune.find(grown)}
    assert f"features/{'e' * 64}" not in kept
    assert f"features/{NEW}" not in kept  # tiny is not hidden by real for good


def test_a_pruned_extraction_has_no_record_any_more(grown):
    one = record("e1_1", 0, salt="x").model_copy(update={"fingerprint": OLD, "kind": "extract", "label": "vlm X3"})
    write_json(grown.record(OLD), one.model_dump(mode="json"))
    prune.remove(grown, prune.find(grown))
    assert not grown.record(OLD).exists()
    assert (grown.step(OLD) / "record.pruned.json").is_file()


def test_nothing_is_pruned_while_something_runs(grown):
    entry = CallEntry(
        call_id="c1",
        run_id="r1",
        backend="modal",  # alive until somebody has seen it end
        submitted_at=ledger.now(),
        steps=(StepEntry(label="s", fingerprint="ab" * 32),),
    )
    (grown.ledger / "r1").mkdir(parents=True)
    ledger.write_call(grown, entry)
    with pytest.raises(UserError, match="r1 is running"):
        prune.find(grown)


def test_what_is_claimed_is_left_alone(grown):
    claim = try_claim(grown, OLD, Holder.here("c1", "r1"))
    assert not isinstance(claim, Holder)
    try:
        assert f"features/{OLD}" not in {item.path for item in prune.find(grown)}
    finally:
        claim.release()
    assert f"features/{OLD}" in {item.path for item in prune.find(grown)}


def test_a_fresh_home_has_nothing_to_prune(home):
    assert prune.find(home) == []
    finished_run(home, "run-1", good())
    assert prune.find(home) == []
