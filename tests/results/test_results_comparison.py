"""What has changed between two runs: real shifts are seen, noise is not, and nothing flips that did not run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from results_builders import IOU, SOURCES, begin, complete, experiment, finished_run, good, record, samples, store

from foresight.errors import UserError
from foresight.home import Home
from foresight.metrics.statistics import Insufficient, Interval
from foresight.results import comparison_text, runs, view
from foresight.results.comparison import compare, difference_of, gate_flips
from foresight.results.gates import GateState
from foresight.results.record import Samples
from foresight.results.sides import compare_named, side, since_previous
from foresight.results.spending import Spent


def scored(scores, groups=None, higher=True) -> Samples:
    scores = list(map(float, scores))
    names = SOURCES[: len(scores)] if groups is None else groups
    return Samples(metric="iou", scores=scores, groups=names, higher_is_better=higher)


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path)


def sides(home: Home, before, after, **changes):
    a = finished_run(home, "run-a", before, **changes)
    b = finished_run(home, "run-b", after, **changes)
    return side(home, a), side(home, b)


def test_a_small_shift_of_every_source_is_seen_where_the_sources_themselves_differ_a_lot():
    rng = np.random.default_rng(0)
    hard = rng.normal(0.5, 0.2, 30)
    estimate, how = difference_of({0: scored(hard)}, {0: scored(hard + 0.02 + rng.normal(0, 0.005, 30))})
    assert isinstance(estimate, Interval)
    assert estimate.low > 0
    assert estimate.estimate == pytest.approx(0.02, abs=0.005)
    assert how == "paired by source, 1 seed"


def test_the_same_shift_over_other_sources_is_not_claimed():
    rng = np.random.default_rng(0)
    hard = rng.normal(0.5, 0.2, 30)
    after = scored(hard + 0.02, [f"other-{i}" for i in range(30)])
    estimate, how = difference_of({0: scored(hard)}, {0: after})
    assert isinstance(estimate, Interval)
    assert not estimate.excludes_zero
    assert how.startswith("unpaired")


def test_noise_moves_nothing_more_often_than_chance_has_it():
    rng = np.random.default_rng(1)
    moved = 0
    for _ in range(60):
        hard = rng.normal(0.5, 0.2, 24)
        estimate, _ = difference_of(
            {0: scored(hard + rng.normal(0, 0.05, 24))}, {0: scored(hard + rng.normal(0, 0.05, 24))}
        )
        moved += estimate.excludes_zero
    assert moved <= 9  # 3 expected; 10 or more of 60 at 5 % happens once in 2,000 times


def test_sources_are_paired_by_name_not_by_their_place():
    rng = np.random.default_rng(2)
    hard = dict(zip(SOURCES[:20], rng.normal(0.5, 0.3, 20), strict=True))
    shuffled = list(rng.permutation(SOURCES[:20]))
    before = scored([hard[name] for name in hard], list(hard))
    after = scored([hard[name] + 0.01 for name in shuffled], shuffled)
    estimate, _ = difference_of({0: before}, {0: after})
    assert isinstance(estimate, Interval)
    assert estimate.low == pytest.approx(0.01)
    assert estimate.high == pytest.approx(0.01)


def test_what_a_run_took_stays_known_when_its_records_were_computed_again(home):
    a = finished_run(home, "run-a", good(run_id="run-a"))
    spent = Spent(seconds=65.0, cost_usd=0.5)
    a = runs.update(home, a.experiment.id, "run-a", lambda run: run.model_copy(update={"spent": spent}))
    b = finished_run(home, "run-b", good(run_id="run-b"), options={"refresh": True})  # in place of them
    said = comparison_text.lines(compare(side(home, a), side(home, b)))
    assert "(then 1 min 05 s, $0.50)" in said[-1] + said[0]


def test_too_few_sources_are_no_evidence():
    estimate, _ = difference_of({0: scored([0.1] * 5)}, {0: scored([0.9] * 5)})
    assert isinstance(estimate, Insufficient)


def test_a_change_for_the_worse_moves_the_metric_flips_the_verdict_and_says_so(home):
    worse = [
        record("e1_1", 0, metrics={"silhouette": 0.5}, salt="b", run_id="run-b"),
        record("e1_4", 0, samples("iou", 0.4, baseline=0.3), salt="b", run_id="run-b"),
        *[one for one in good(run_id="run-a") if one.sub_experiment == "e1_5"],
    ]
    found = compare(*sides(home, good(run_id="run-a"), worse))
    assert found.same == ("e1_5",)
    (moved,) = found.moved
    assert (moved.sub_experiment, moved.metric, moved.better) == ("e1_4", "iou", False)
    assert {change.metric: change.kind for change in found.changes} == {"silhouette": "no interval", "iou": "moved"}
    assert [(flip.what, flip.before, flip.after) for flip in found.flips] == [
        ("spatial_iou", "met", "not met"),
        ("recommendation", "proceed", "pivot"),
    ]
    assert (found.after.seconds, found.after.cost_usd) == (4.0, 0.5)  # e1_5 was not computed by it
    text = "\n".join(comparison_text.lines(found))
    assert "flipped   spatial_iou: met → not met" in text
    assert "e1_4 iou: 0.8 → 0.4, worse by -0.4" in text
    page = comparison_text.markdown(found)
    assert "**not met**" in page
    assert "**worse**" in page
    json.dumps(comparison_text.as_json(found))


def test_the_same_records_are_no_news(home):
    found = compare(*sides(home, good(), good()))
    assert not found.is_news
    assert found.same == ("e1_1", "e1_4", "e1_5")
    assert found.changes == ()
    assert "nothing new" in comparison_text.lines(found)[0]


def test_a_run_of_one_sub_experiment_flips_nothing_of_the_others(home):
    found = compare(*sides(home, good(), [one for one in good(salt="b") if one.sub_experiment == "e1_1"]))
    assert found.flips == ()


def test_a_failure_is_news_and_so_is_its_end(home):
    a = finished_run(home, "run-a", good())
    b = begin(home, "run-b")
    complete(home, b, *[store(home, one) for one in good() if one.sub_experiment == "e1_4"])
    runs.update_sub_experiment(home, b.experiment.id, "run-b", "e1_5", status="failed", error="out of memory")
    b = runs.finish(home, b.experiment.id, "run-b", "failed")
    assert compare(side(home, a), side(home, b)).failed == {"e1_5": "out of memory"}
    assert compare(side(home, b), side(home, a)).mended == ("e1_5",)


def test_a_record_that_was_computed_again_no_longer_speaks_for_the_earlier_run(home):
    a = finished_run(home, "run-a", good())
    view.rebuild(home, a.experiment.id)
    again = [record("e1_4", 0, samples("iou", 0.9, baseline=0.3), run_id="run-b")]
    b = finished_run(home, "run-b", again)
    a = runs.read_run(home, a.experiment.id, "run-a")
    (change,) = compare(side(home, a), side(home, b)).changes
    assert (change.kind, change.before, change.after) == ("no interval", 0.8, 0.9)


def test_runs_are_found_by_id_by_commit_and_by_what_went_before(home):
    commit = "abcdef0" + "1" * 33
    finished_run(home, "run-a", good(), git_commit=commit, started_by="nightly")
    finished_run(home, "run-b", good(salt="b"), git_commit="f" * 40)
    finished_run(home, "run-c", good(salt="c"), git_commit="e" * 40, started_by="nightly")
    (found,) = compare_named(home, "run-a", "run-b")
    assert (found.before.name, found.after.name) == ("run-a", "run-b")
    (found,) = compare_named(home, "abcdef0", "ffffffff", experiment="c1")
    assert (found.before.name, found.after.name) == ("run-a", "run-b")
    experiment_id = found.experiment_id
    assert since_previous(home, experiment_id, "run-c").before.name == "run-a"  # a nightly against a nightly
    assert since_previous(home, experiment_id, "run-b").before.name == "run-a"
    assert since_previous(home, experiment_id, "run-a") is None
    with pytest.raises(UserError, match=r"neither a run here nor a git commit.*run-c"):
        compare_named(home, "run-x", "run-b")
    with pytest.raises(UserError, match="No run here was made at commit abcabcab"):
        compare_named(home, "abcabcab", "run-b")


def test_runs_of_different_experiments_have_nothing_to_compare(home):
    finished_run(home, "run-a", good())
    other = experiment([IOU], short="q9")
    finished_run(home, "run-b", [record("e1_4", 0, samples("iou", 0.8), experiment_id=other.id)], other)
    with pytest.raises(UserError, match="nothing to compare"):
        compare_named(home, "run-a", "run-b")


def test_a_gate_that_is_decided_otherwise_is_a_flip():
    def gate(verdict):
        return GateState("gate_1", 2, "real", verdict, (), ())

    assert gate_flips([gate("pass")], [gate("pass")]) == []
    (flip,) = gate_flips([gate("pass")], [gate("fail")])
    assert (flip.what, flip.before, flip.after) == ("gate_1", "pass", "fail")
    assert "gate_1" in comparison_text.program([], [flip])
