"""A gate opens on measured evidence in the one profile that counts, or by a named person's dated word."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from results_builders import IOU, LPIPS, begin, complete, experiment, finished_run, good, plan, record, samples, store

from foresight.errors import UserError
from foresight.plan.schema import Gate
from foresight.results import gates, runs

GATE = Gate(id="gate_1", experiments=("c1",), unlocks_phase=2)
PLAN = plan(experiment(), gates=[GATE])


def real(lpips: float = 0.2, iou: float = 0.8, **changes) -> list:
    settings = {"profile": "real", "stand_in": False, **changes}
    return [
        record("e1_4", 0, samples("iou", iou, baseline=0.2), **settings),
        record("e1_5", 0, samples("lpips", lpips, baseline=0.9), **settings),
    ]


def state(home, of=PLAN) -> gates.GateState:
    return gates.evaluate(home, of, "gate_1")


def test_all_criteria_met_in_real_pass(home):
    finished_run(home, "run-1", real(), profile="real")
    found = state(home)
    assert (found.verdict, found.opens, found.unlocks_phase) == ("pass", True, 2)


def test_a_criterion_not_met_fails_it(home):
    finished_run(home, "run-1", real(lpips=0.6), profile="real")
    found = state(home)
    assert (found.verdict, found.opens) == ("fail", False)
    assert found.reason.startswith("c1: lpips not met")


def test_a_value_at_or_beyond_failure_fails_it_however_wide_the_interval(home):
    wide = record("e1_5", 0, samples("lpips", 0.5, baseline=2.0, spread=0.6), profile="real", stand_in=False)
    finished_run(home, "run-1", [real()[0], wide], profile="real")
    assert state(home).standings[0].reasons[0].startswith("lpips marginal")
    assert state(home).verdict == "fail"


def test_a_marginal_criterion_asks_to_investigate(home):
    finished_run(home, "run-1", real(lpips=0.35), profile="real")
    assert (state(home).verdict, state(home).opens) == ("investigate", False)


def test_an_unmeasured_criterion_keeps_it_pending(home):
    assert (state(home).verdict, state(home).opens) == ("pending", False)
    assert state(home).reason == "c1: has not run in real"
    run = begin(home, "run-1", profile="real", seeds=(0,))
    complete(home, run, store(home, real()[1]))
    assert state(home).verdict == "pending"
    assert "spatial_iou not measured" in state(home).reason


def test_what_was_tried_and_failed_is_still_unmeasured(home):
    finished_run(home, "run-1", real(), profile="real")
    run = begin(home, "run-2", profile="real", seeds=(0,))
    runs.update_sub_experiment(home, run.experiment.id, "run-2", "e1_5", status="failed", error="out of memory")
    assert (state(home).verdict, state(home).opens) == ("pending", False)


@pytest.mark.parametrize("profile", ["tiny", "repro"])
def test_other_profiles_are_rehearsals_and_let_through(home, profile):
    finished_run(home, "run-1", good(profile=profile, stand_in=False), profile=profile)
    rehearsal = gates.evaluate(home, PLAN, "gate_1", profile=profile)
    assert (rehearsal.verdict, rehearsal.opens) == ("not applicable", True)
    assert (state(home).verdict, state(home).opens) == ("pending", False)
    assert state(home).reason == "c1: has not run in real"


def test_a_stub_run_of_real_moves_nothing(home):
    finished_run(home, "run-1", real(), profile="real", stub=True)
    assert (state(home).verdict, state(home).opens) == ("pending", False)


def test_stand_ins_move_nothing(home):
    finished_run(home, "run-1", real(stand_in=True), profile="real")
    assert state(home).verdict == "pending"
    assert "stand-ins" in state(home).reason


def test_results_of_other_criteria_move_nothing(home):
    """Thresholds that were moved after the result need a new result."""
    finished_run(home, "run-1", real(lpips=0.33), profile="real")
    harder = plan(experiment((LPIPS.model_copy(update={"acceptable": 0.30}), IOU)), gates=[GATE])
    assert state(home, harder).verdict == "pending"
    assert "other criteria" in state(home, harder).reason


def test_results_of_another_handler_move_nothing(home):
    finished_run(home, "run-1", real(), profile="real")
    subs = [sub.model_copy(update={"handler": "team.better:run"}) for sub in experiment().sub_experiments]
    assert state(home, plan(experiment(sub_experiments=tuple(subs)), gates=[GATE])).verdict == "pending"


def test_the_worst_experiment_decides(home):
    second = experiment((LPIPS,), short="q1")
    both = plan(experiment(), second, gates=[Gate(id="gate_1", experiments=("c1", "q1"), unlocks_phase=2)])
    finished_run(home, "run-1", real(), profile="real")
    assert gates.evaluate(home, both, "gate_1").verdict == "pending"
    bad = [
        record("e1_5", 0, samples("lpips", 0.6, baseline=0.9), profile="real", stand_in=False, experiment_id=second.id)
    ]
    finished_run(home, "run-2", bad, second, profile="real")
    found = gates.evaluate(home, both, "gate_1")
    assert found.verdict == "fail"
    assert [one.verdict for one in found.standings] == ["pass", "fail"]


def test_the_gate_before_a_phase(home):
    found = gates.before_phase(home, PLAN, 2, profile="real")
    assert found is not None
    assert found.gate == "gate_1"
    assert gates.before_phase(home, PLAN, 1, profile="real") is None
    own = gates.before_phase(home, PLAN, 2, profile="ours", moves_gates=True)
    assert own is not None
    assert own.verdict == "pending"
    with pytest.raises(UserError, match="gate_1"):
        gates.evaluate(home, PLAN, "gate_9")


def test_an_override_opens_and_stands_beside_the_measured_verdict(home):
    finished_run(home, "run-1", real(lpips=0.6), profile="real")
    entry = gates.override(home, PLAN, "gate_1", by=" Ada Lovelace ", reason="the pivot is under way")
    assert (entry.by, entry.measured) == ("Ada Lovelace", "fail")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(entry.date)).total_seconds()) < 60
    found = state(home)
    assert (found.verdict, found.opens, found.overrides) == ("fail", True, (entry,))
    again = gates.override(home, PLAN, "gate_1", by="Grace Hopper", reason="seconded")
    assert state(home).overrides == (entry, again)


@pytest.mark.parametrize(("by", "reason"), [("", "because"), ("  ", "because"), ("Ada", ""), ("Ada", "\n")])
def test_an_override_without_name_or_reason_is_refused(home, by, reason):
    with pytest.raises(UserError, match=r"needs a (name|reason)"):
        gates.override(home, PLAN, "gate_1", by=by, reason=reason)
    assert not (home.results / "gates.json").exists()
    assert not state(home).opens


def test_an_override_of_an_unknown_gate_is_refused(home):
    with pytest.raises(UserError, match="gate_9"):
        gates.override(home, PLAN, "gate_9", by="Ada", reason="because")


def test_overrides_at_once_are_all_kept(home):
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda i: gates.override(home, PLAN, "gate_1", by=f"person {i}", reason="so"), range(12)))
    assert len(gates.read_overrides(home)["gate_1"]) == 12


@pytest.mark.parametrize(
    "content",
    ["not json", json.dumps({"gate_1": [{"by": "", "reason": "x", "date": "2026-01-01", "measured": "fail"}]})],
)
def test_a_damaged_file_of_overrides_opens_nothing(home, content):
    home.results.mkdir(parents=True)
    (home.results / "gates.json").write_text(content)
    with pytest.raises(UserError, match="none counts"):
        state(home)


def test_numbers_from_changes_that_were_not_committed_move_no_gate(home):
    clean = real()
    dirty = clean[0].model_copy(
        update={"provenance": clean[0].provenance.model_copy(update={"git_dirty": True}), "run_id": "run-2"}
    )
    finished_run(home, "run-1", [dirty, clean[1]], profile="real")
    assert state(home).verdict == "pending"
    assert state(home).reason.startswith("c1: e1_4 was measured with changes that were not committed")
    gates.override(home, PLAN, "gate_1", by="Ada Lovelace", reason="only a comment differs")
    assert state(home).opens
    assert state(home).overrides[0].measured == "pending"


def test_a_container_without_git_does_not_hide_that_the_run_was_started_from_a_changed_checkout(home):
    unknown = [
        one.model_copy(update={"provenance": one.provenance.model_copy(update={"git_commit": None, "git_dirty": None})})
        for one in real()
    ]
    finished_run(home, "run-1", unknown, profile="real", git_dirty=True)
    assert "e1_4, e1_5 were measured with changes" in state(home).reason


def test_a_commit_that_git_did_not_call_clean_moves_no_gate(home):
    unsaid = [
        one.model_copy(update={"provenance": one.provenance.model_copy(update={"git_dirty": None})}) for one in real()
    ]
    finished_run(home, "run-1", unsaid, profile="real", git_dirty=False)
    assert state(home).verdict == "pending"


def test_a_clean_run_over_records_of_a_changed_checkout_does_not_wash_them(home):
    finished_run(home, "run-1", real(), profile="real", git_dirty=True)
    finished_run(home, "run-2", real(), profile="real", git_dirty=False)
    assert state(home).verdict == "pending"


def test_a_threshold_that_was_moved_after_it_was_measured_does_not_pass(home):
    records = [one.model_copy(update={"criteria": (LPIPS, IOU)}) for one in real(lpips=0.4)]
    finished_run(home, "run-1", records, profile="real")
    assert state(home).verdict == "fail"
    easier = plan(experiment([LPIPS.model_copy(update={"acceptable": 0.44}), IOU]), gates=[GATE])
    finished_run(home, "run-2", records, easier.experiments[0], profile="real")
    found = state(home, easier)
    assert found.verdict == "investigate"
    assert "its acceptable was 0.35 when e1_5 seed 0 was measured" in found.reason
