"""The verdict cannot lie: what was not measured is not met, and what a blank image reaches is no achievement."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_builders import IOU, LPIPS, SOURCES, record, samples

from foresight.metrics import statistics
from foresight.metrics.statistics import Insufficient
from foresight.plan.schema import Criterion
from foresight.results import assessment
from foresight.results.assessment import Evidence, assess, judge
from foresight.results.record import Record, Samples

RANK = {"not met": 0, "marginal": 1, "met": 2}


def evidence(*records, failed=None, unfinished=()) -> Evidence:
    return Evidence({one.seed: one for one in records}, failed or {}, frozenset(unfinished))


def lpips(centre: float, baseline: float | None = 0.6, *, seeds: int = 3, **changes) -> Evidence:
    return evidence(
        *(
            record("e1_5", seed, samples("lpips", centre, baseline=baseline, seed=seed, **changes))
            for seed in range(seeds)
        )
    )


def iou(centre: float, baseline: float = 0.2) -> Evidence:
    return evidence(*(record("e1_4", seed, samples("iou", centre, baseline=baseline, seed=seed)) for seed in range(3)))


def test_all_met_with_three_seeds_is_proceed_with_high_confidence():
    found = assess([LPIPS, IOU], {"e1_5": lpips(0.2), "e1_4": iou(0.8)})
    assert [one.verdict for one in found.criteria] == ["met", "met"]
    assert (found.recommendation, found.confidence, found.success_criteria_met) == ("proceed", "high", True)
    assert found.criteria[0].value == pytest.approx(0.2)
    assert (found.criteria[0].baseline, found.criteria[0].n, found.criteria[0].n_seeds) == ("mean_image", 20, 3)


def test_nothing_measured_is_pending_and_never_met():
    found = assess([LPIPS, IOU], {})
    assert [one.verdict for one in found.criteria] == ["not measured"] * 2
    assert (found.recommendation, found.confidence, found.success_criteria_met) == ("pending", "low", False)
    assert found.criteria[0].value is None
    assert found.criteria[0].reason == "e1_5 has not run"


def test_no_criteria_are_no_success():
    assert assess([], {}).success_criteria_met is False
    assert assess([], {}).recommendation == "pending"


@pytest.mark.parametrize(
    ("centre", "verdict"),
    [(0.2, "met"), (0.349, "marginal"), (0.351, "marginal"), (0.5, "not met")],
)
def test_the_ends_of_the_interval_decide_where_lower_is_better(centre, verdict):
    assert judge(LPIPS, lpips(centre, 0.9)).verdict == verdict


@pytest.mark.parametrize(
    ("centre", "verdict"),
    [(0.8, "met"), (0.601, "marginal"), (0.599, "marginal"), (0.4, "not met")],
)
def test_the_ends_of_the_interval_decide_where_higher_is_better(centre, verdict):
    assert judge(IOU, iou(centre)).verdict == verdict


@pytest.mark.parametrize("n", [11, 12, 20])
def test_scores_exactly_at_acceptable_are_acceptable(n):
    """The mean of eleven 0.35 is 0.35000000000000003."""
    scores = Samples(
        metric="lpips",
        scores=[0.35] * n,
        groups=SOURCES[:n],
        baselines={"blank": [0.6] * n},
        higher_is_better=False,
    )
    assert judge(LPIPS, evidence(record("e1_5", 0, scores))).verdict == "met"


def test_a_criterion_that_the_mean_image_reaches_as_well_is_not_met():
    """Published e1_2: SSIM 0.914 against a threshold of 0.75, and a blank white image scores 0.944."""
    ssim = LPIPS.model_copy(
        update={
            "name": "ssim",
            "metric": "ssim",
            "direction": "higher",
            "target": 0.85,
            "acceptable": 0.75,
            "failure": 0.65,
        }
    )
    found = judge(ssim, evidence(record("e1_5", 0, samples("ssim", 0.914, baseline=0.944))))
    assert found.verdict == "not met"
    assert "mean_image" in found.reason
    assert found.baseline_value == pytest.approx(0.944)
    equal = judge(ssim, evidence(record("e1_5", 0, samples("ssim", 0.914, baseline=0.914))))
    assert equal.verdict == "not met"


def test_it_is_the_best_baseline_that_counts():
    one = samples("lpips", 0.2, baseline=0.6)
    both = one.model_copy(
        update={"baselines": {"blank": one.baselines["mean_image"], "copy": [s - 0.01 for s in one.scores]}}
    )
    found = judge(LPIPS, evidence(record("e1_5", 0, both)))
    assert (found.verdict, found.baseline) == ("not met", "copy")


@pytest.mark.parametrize("ours", [0.2, 0.6], ids=["ahead of it", "no better than it"])
def test_a_baseline_beside_one_seed_says_nothing_of_the_others(ours):
    criterion = LPIPS.model_copy(update={"acceptable": 0.7, "failure": 0.9})
    three = [samples("lpips", ours, baseline=0.6 if seed == 0 else None, seed=seed) for seed in range(3)]
    found = assess([criterion], {"e1_5": evidence(*(record("e1_5", s, one) for s, one in enumerate(three)))})
    assert found.criteria[0].verdict == "marginal"
    assert "'mean_image' stands beside 1 of 3 seeds only" in found.criteria[0].reason
    assert (found.recommendation, found.confidence) == ("investigate", "low")


def test_without_a_baseline_nothing_is_met():
    found = assess([LPIPS], {"e1_5": lpips(0.2, None)})
    assert (found.criteria[0].verdict, found.recommendation, found.confidence) == ("marginal", "investigate", "low")
    assert judge(LPIPS, lpips(0.9, None)).verdict == "not met"


def test_without_per_sample_scores_it_is_investigate_with_low_confidence():
    for value in (0.01, 0.9):
        found = assess([LPIPS], {"e1_5": evidence(record("e1_5", 0, metrics={"lpips": value}))})
        assert (found.criteria[0].verdict, found.recommendation, found.confidence) == ("marginal", "investigate", "low")
        assert found.criteria[0].interval is None
        assert found.criteria[0].value == value


def test_one_seed_without_per_sample_scores_leaves_no_interval():
    with_scores = record("e1_5", 0, samples("lpips", 0.2, baseline=0.6))
    found = judge(LPIPS, evidence(with_scores, record("e1_5", 1, metrics={"lpips": 0.2})))
    assert (found.verdict, found.interval) == ("marginal", None)


def test_too_few_sources_are_marginal_however_good_or_bad_the_score():
    for centre in (0.01, 0.99):
        found = judge(LPIPS, lpips(centre, n=9))
        assert found.verdict == "marginal"
        assert isinstance(found.interval, Insufficient)
        assert "9 test sources" in found.reason


def test_a_metric_that_is_not_the_mean_of_its_scores_is_never_met():
    edited = record("e1_5", 0, samples("lpips", 0.34, baseline=0.9), metrics={"lpips": 0.1})
    found = judge(LPIPS, evidence(edited))
    assert found.verdict == "marginal"
    assert "not the mean" in found.reason


def test_a_criterion_is_read_from_its_own_sub_experiment_only():
    """Last writer wins was the published way: any `lpips` anywhere decided."""
    elsewhere = evidence(record("e1_2", 0, samples("lpips", 0.1, baseline=0.9)))
    found = assess([LPIPS], {"e1_2": elsewhere})
    assert found.criteria[0].verdict == "not measured"
    assert assess([LPIPS], {"e1_2": elsewhere, "e1_5": lpips(0.6, 0.9)}).criteria[0].verdict == "not met"


def test_a_metric_under_another_name_is_not_measured_and_the_names_are_said():
    """Published Q1 proceeded with none of four criteria measured: its handlers said `best_r2` for `linear_probe_r2`."""
    found = assess([LPIPS], {"e1_5": evidence(record("e1_5", 0, metrics={"best_lpips": 0.1}))})
    assert (found.criteria[0].verdict, found.recommendation) == ("not measured", "investigate")
    assert "best_lpips" in found.criteria[0].reason


def test_what_was_tried_and_failed_is_to_be_investigated():
    found = assess([LPIPS, IOU], {"e1_5": evidence(failed={0: "out of memory"}), "e1_4": iou(0.8)})
    assert (found.recommendation, found.success_criteria_met) == ("investigate", False)
    assert "out of memory" in found.criteria[0].reason


def test_what_a_rule_of_its_own_makes_void_is_not_measured_and_says_why():
    def void(seed: int) -> Record:
        return record("e1_5", seed, metrics={"other": 0.1}, not_measured={"lpips": "the reference is no better"})

    found = assess([LPIPS], {"e1_5": evidence(*(void(seed) for seed in range(3)))})
    assert (found.criteria[0].verdict, found.recommendation) == ("not measured", "investigate")
    assert found.criteria[0].reason == (
        "e1_5 left it unmeasured in 3 of 3 seeds: seed 0, void: the reference is no better"
    )
    done = [record("e1_5", seed, samples("lpips", 0.2, baseline=0.6, seed=seed)) for seed in range(2)]
    found = judge(LPIPS, evidence(*done, void(2)))
    assert found.verdict == "marginal", "the seeds in which it exists are a selection"
    assert found.reason.endswith("; 2 of 3 seeds only, seed 2 void: the reference is no better")


def test_seeds_still_to_come_leave_a_criterion_unmeasured():
    done = record("e1_5", 0, samples("lpips", 0.2, baseline=0.6))
    found = assess([LPIPS], {"e1_5": evidence(done, unfinished=(1, 2))})
    assert (found.criteria[0].verdict, found.criteria[0].value, found.recommendation) == (
        "not measured",
        None,
        "pending",
    )
    assert "1 of 3 seeds" in found.criteria[0].reason


def test_seeds_that_failed_keep_the_others_from_meeting_it():
    """Judging by the seeds that survived is a selection."""
    done = [record("e1_5", seed, samples("lpips", 0.2, baseline=0.6, seed=seed)) for seed in range(2)]
    found = judge(LPIPS, evidence(*done, failed={2: "diverged"}))
    assert found.verdict == "marginal"
    assert "diverged" in found.reason
    bad = [record("e1_5", seed, samples("lpips", 0.6, baseline=0.9, seed=seed)) for seed in range(2)]
    assert judge(LPIPS, evidence(*bad, failed={2: "diverged"})).verdict == "not met"


def test_one_not_met_is_a_pivot_whatever_else_is_missing():
    assert assess([LPIPS, IOU], {"e1_5": lpips(0.6, 0.9), "e1_4": iou(0.8)}).recommendation == "pivot"
    assert assess([LPIPS, IOU], {"e1_5": lpips(0.6, 0.9)}).recommendation == "pivot"


def test_unmeasured_comes_before_marginal():
    assert assess([LPIPS, IOU], {"e1_5": lpips(0.35, 0.9)}).recommendation == "pending"
    assert assess([LPIPS, IOU], {"e1_5": lpips(0.35, 0.9), "e1_4": iou(0.8)}).recommendation == "investigate"


def test_fewer_than_three_seeds_are_medium_confidence():
    found = assess([LPIPS], {"e1_5": lpips(0.2, seeds=2)})
    assert (found.recommendation, found.confidence) == ("proceed", "medium")


def test_seeds_that_disagree_widen_the_interval_until_it_is_not_met_any_more():
    apart = evidence(
        *(
            record("e1_5", seed, samples("lpips", 0.30 + step, baseline=0.9, seed=seed))
            for seed, step in enumerate((-0.04, 0, 0.04))
        )
    )
    assert judge(LPIPS, lpips(0.30, 0.9)).verdict == "met"
    assert judge(LPIPS, apart).verdict == "marginal"


def test_failure_level_is_known_in_both_directions():
    assert judge(LPIPS, lpips(0.45, 0.9)).at_or_beyond_failure
    assert not judge(LPIPS, lpips(0.44, 0.9)).at_or_beyond_failure
    assert judge(IOU, iou(0.5)).at_or_beyond_failure
    assert not judge(IOU, iou(0.51)).at_or_beyond_failure
    assert not judge(IOU, Evidence()).at_or_beyond_failure


# Whatever a record may hold, and whatever may be missing.

FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1, 1)
SUBS = ("e1_1", "e1_4", "e1_5")
METRICS = ("lpips", "iou", "other")


@pytest.fixture(autouse=True, scope="module")
def _few_resamples():
    patch = pytest.MonkeyPatch()
    for name in ("mean_interval", "paired_difference_interval"):
        patch.setattr(assessment, name, functools.partial(getattr(statistics, name), resamples=299))
    yield
    patch.undo()


@st.composite
def criteria(draw) -> list[Criterion]:
    found = []
    for index in range(draw(st.integers(0, 3))):
        levels = sorted(draw(st.lists(st.floats(-1, 1), min_size=3, max_size=3, unique=True)))
        direction = draw(st.sampled_from(["higher", "lower"]))
        failure, acceptable, target = levels if direction == "higher" else levels[::-1]
        found.append(
            Criterion(
                name=f"c{index}",
                sub_experiment=draw(st.sampled_from(SUBS)),
                metric=draw(st.sampled_from(METRICS)),
                direction=direction,
                target=target,
                acceptable=acceptable,
                failure=failure,
                arm="any",
            )
        )
    return found


@st.composite
def logged(draw, metric: str) -> Samples:
    n = draw(st.integers(1, 24))
    column = st.lists(FINITE, min_size=n, max_size=n) if draw(st.booleans()) else st.just([draw(FINITE)] * n)
    groups = SOURCES[:n] if draw(st.booleans()) else draw(st.lists(st.sampled_from(SOURCES), min_size=n, max_size=n))
    names = draw(st.lists(st.sampled_from(["mean", "blank", "copy"]), unique=True, max_size=3))
    return Samples(
        metric=metric,
        scores=draw(column),
        groups=groups,
        baselines={name: draw(column) for name in names},
        higher_is_better=draw(st.booleans()),
    )


@st.composite
def everything(draw) -> dict[str, Evidence]:
    found = {}
    for sub in draw(st.lists(st.sampled_from(SUBS), unique=True)):
        records, failed, unfinished = {}, {}, set()
        for seed in range(draw(st.integers(0, 3))):
            fate = draw(st.sampled_from(["record", "record", "record", "failed", "unfinished"]))
            if fate == "record":
                chosen = draw(st.lists(st.sampled_from(METRICS), unique=True))
                scores = [draw(logged(metric)) for metric in chosen if draw(st.booleans())]
                given_metrics = {m: draw(FINITE) for m in chosen if m not in {one.metric for one in scores}}
                means = {one.metric: assessment.mean(one.scores) for one in scores}
                records[seed] = record(sub, seed).model_copy(
                    update={"samples": scores, "metrics": {**given_metrics, **means}}
                )
            elif fate == "failed":
                failed[seed] = "it broke"
            else:
                unfinished.add(seed)
        found[sub] = Evidence(records, failed, frozenset(unfinished))
    return found


@settings(max_examples=150)
@given(criteria(), everything())
def test_whatever_happened_the_assessment_keeps_its_word(wanted, found):
    result = assess(wanted, found)
    said = [one.verdict for one in result.criteria]
    assert [one.criterion for one in result.criteria] == wanted
    assert (result.recommendation == "proceed") == (bool(said) and set(said) == {"met"}) == result.success_criteria_met
    for one in result.criteria:
        seen = found.get(one.criterion.sub_experiment, Evidence())
        has_metric = any(one.criterion.metric in r.metrics for r in seen.records.values())
        assert (one.verdict == "not measured") == (one.value is None)
        if not has_metric or seen.unfinished:
            assert one.verdict == "not measured"
        if one.verdict == "met":
            assert isinstance(one.interval, statistics.Interval)
            assert isinstance(one.difference, statistics.Interval)
            assert one.difference.low > 0
            assert not seen.failed
            assert not one.at_or_beyond_failure
        assert one.reason


@settings(max_examples=60)
@given(criteria(), everything(), st.randoms(use_true_random=False))
def test_the_order_in_which_records_arrive_changes_nothing(wanted, found, random):
    def shuffled(mapping: dict) -> dict:
        items = list(mapping.items())
        random.shuffle(items)
        return dict(items)

    again = shuffled(
        {sub: Evidence(shuffled(dict(e.records)), shuffled(dict(e.failed)), e.unfinished) for sub, e in found.items()}
    )
    assert assess(wanted, again) == assess(wanted, found)


@settings(max_examples=60)
@given(
    st.integers(1, 3),
    st.lists(st.floats(0, 1), min_size=14, max_size=14),
    st.lists(st.floats(0, 1), min_size=14, max_size=14),
    st.sampled_from([LPIPS, IOU]),
    st.floats(0.001, 0.5),
)
def test_better_scores_never_give_a_worse_verdict(seeds, scores, baseline, criterion, gain):
    better = gain if criterion.direction == "higher" else -gain

    def verdict(shift: float) -> str:
        records = {}
        for seed in range(seeds):
            one = Samples(
                metric=criterion.metric,
                scores=[score + shift + 0.01 * seed for score in scores],
                groups=SOURCES[seed : seed + 14],
                baselines={"blank": baseline},
                higher_is_better=criterion.direction == "higher",
            )
            records[seed] = record(criterion.sub_experiment, seed, one)
        return judge(criterion, Evidence(records)).verdict

    assert RANK[verdict(better)] >= RANK[verdict(0.0)]


def test_a_criterion_that_was_another_when_it_was_measured_is_not_met():
    def records(*then: Criterion | None) -> Evidence:
        return Evidence(
            {
                seed: record(
                    "e1_5", seed, samples("lpips", 0.2, baseline=0.5, seed=seed), criteria=None if c is None else (c,)
                )
                for seed, c in enumerate(then)
            }
        )

    assert judge(LPIPS, records(None, LPIPS, LPIPS)).verdict == "met"
    moved = judge(LPIPS, records(None, LPIPS, LPIPS.model_copy(update={"acceptable": 0.15, "target": 0.1})))
    assert moved.verdict == "marginal"
    assert moved.reason.endswith("its target was 0.1 when e1_5 seed 2 was measured")
    assert judge(LPIPS, records(IOU)).reason.endswith("it was no criterion when e1_5 seed 0 was measured")
