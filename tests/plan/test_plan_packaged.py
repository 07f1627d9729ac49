"""The packaged plan and profiles: that they hold what the programme fixed, and that no key of them can be misspelt."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from foresight.errors import UserError
from foresight.plan.loader import (
    PACKAGED_PLAN,
    PACKAGED_PROFILES,
    load_plan,
    load_plan_and_profile,
    load_profile,
    load_profiles,
)

SUB_EXPERIMENTS = {
    "c1": "e1_1 e1_2 e1_3 e1_4 e1_5 e1_6",
    "q1": "eq1_1 eq1_2 eq1_3 eq1_4 eq1_5 eq1_6 eq1_7",
    "q2": "e_q2_1 e_q2_2 e_q2_3 e_q2_4 e_q2_5 e_q2_6",
    "p2": "e_p2_1 e_p2_2 e_p2_3 e_p2_4 e_p2_5 e_p2_6",
    "c2": "e2_1 e2_2 e2_3 e2_4",
    "q3": "e_q3_1 e_q3_2 e_q3_3",
    "c3": "e3_1 e3_2 e3_3 e3_4 e3_4p e3_5 e3_5p e3_6 e3_6p e3_7a e3_7b e3_8a e3_8b e3_8c e3_streaming",
    "q4": "e_q4_1 e_q4_2 e_q4_3 e_q4_4 e_q4_5 e_q4_6",
    "q5": "e_q5_1 e_q5_2 e_q5_3 e_q5_4 e_q5_5 e_q5_6",
    "c4": "e4_1 e4_2 e4_3 e4_4 e4_5",
}

# experiment/criterion: designated sub-experiment, direction, target, acceptable, failure
CRITERIA = {
    "c1/lpips": ("e1_5", "lower", 0.25, 0.35, 0.45),
    "c1/ssim": ("e1_5", "higher", 0.85, 0.75, 0.65),
    "c1/psnr": ("e1_5", "higher", 25, 22, 18),
    "c1/spatial_iou": ("e1_4", "higher", 0.75, 0.60, 0.50),
    "q1/linear_probe_r2": ("eq1_4", "higher", 0.7, 0.5, 0.3),
    "q1/spearman_correlation": ("eq1_5", "higher", 0.8, 0.6, 0.4),
    "q1/neighborhood_recall_at_10": ("eq1_6", "higher", 0.4, 0.2, 0.1),
    "q1/cka": ("eq1_7", "higher", 0.5, 0.4, 0.2),
    "q2/bbox_iou": ("e_q2_2", "higher", 0.8, 0.7, 0.5),
    "q2/lpips": ("e_q2_5", "lower", 0.25, 0.3, 0.5),
    "q2/edge_f1": ("e_q2_5", "higher", 0.7, 0.6, 0.4),
    "q2/mAP": ("e_q2_4", "higher", 0.5, 0.4, 0.3),
    "p2/spatial_iou": ("e_p2_4", "higher", 0.70, 0.60, 0.50),
    "p2/lpips": ("e_p2_4", "lower", 0.25, 0.35, 0.45),
    "p2/mAP": ("e_p2_4", "higher", 0.50, 0.40, 0.20),
    "p2/latency_overhead": ("e_p2_6", "lower", 0.15, 0.25, 0.50),
    "c2/param_efficiency": ("e2_4", "higher", 0.9, 0.8, 0.6),
    "q3/temporal_consistency": ("e_q3_1", "higher", 0.8, 0.7, 0.5),
    "c3/cosine_sim_t5": ("e3_4p", "higher", 0.75, 0.65, 0.5),
    "c3/vlm_retention": ("e3_8c", "higher", 0.90, 0.80, 0.60),
    "q4/data_efficiency": ("e_q4_1", "higher", 0.8, 0.7, 0.6),
    "q5/horizon_at_0.5_cosine": ("e_q5_1", "higher", 10, 5, 3),
    "c4/accuracy_improvement": ("e4_3", "higher", 0.15, 0.10, 0.05),
}


def test_the_programme_is_complete():
    plan = load_plan()
    assert {e.short: " ".join(s.id for s in e.sub_experiments) for e in plan.experiments} == SUB_EXPERIMENTS
    assert {e.short: (e.phase, e.depends_on, e.replaces) for e in plan.experiments} == {
        "c1": (1, (), ()),
        "q1": (1, (), ()),
        "q2": (1, (), ()),
        "p2": (1, (), ("c1", "q2")),
        "c2": (2, ("p2",), ()),
        "q3": (2, ("p2",), ()),
        "c3": (3, ("c2", "q3"), ()),
        "q4": (3, ("c3",), ()),
        "q5": (3, ("c3",), ()),
        "c4": (4, ("c3", "q5"), ()),
    }
    assert {e.kind for e in plan.experiments if e.short.startswith("c")} == {"claim"}
    assert {e.kind for e in plan.experiments if e.short.startswith("q")} == {"question"}


def test_every_criterion_is_as_fixed():
    found = {
        f"{e.short}/{c.name}": (c.sub_experiment, c.direction, c.target, c.acceptable, c.failure)
        for e in load_plan().experiments
        for c in e.criteria
    }
    assert found == CRITERIA


def test_the_gates_ask_of_whom_they_should():
    assert {g.id: (g.experiments, g.unlocks_phase) for g in load_plan().gates} == {
        "gate_1_reconstruction": (("q1", "p2"), 2),
        "gate_2_bridging": (("c2", "q3"), 3),
        "gate_3_prediction": (("c3",), 4),
        "gate_4_verification": (("c4",), None),
    }


@pytest.mark.parametrize("name", ["c1", "q1", "c2"])
def test_all_of_it_is_implemented(name):
    assert load_plan().experiment(name).not_implemented == ()


def test_repro_holds_out_as_many_pictures_as_were_published():
    subs = load_profile("repro").sub_experiments
    published = {"eq1_1": 270, "eq1_2": 270, "eq1_3": 450, "eq1_4": 108, "eq1_5": 360, "eq1_6": 450, "eq1_7": 360}
    assert {sub: subs[sub].split.test for sub in published} == published
    assert subs["eq1_4"].split.train + subs["eq1_4"].split.validation == 432


@pytest.mark.parametrize("name", ["tiny", "repro", "real"])
def test_each_profile_fits_the_plan(name):
    plan, profile = load_plan_and_profile(None, name)
    for experiment in plan.experiments:
        for sub in experiment.sub_experiments:
            if sub.implemented:
                assert profile.for_sub_experiment(sub.id).data in profile.data
                assert {need.role for need in profile.needs_of(sub)} | set(sub.models) <= set(profile.models)


def test_only_real_moves_gates_and_only_tiny_stands_in():
    profiles = load_profiles()
    assert [p.name for p in profiles] == ["tiny", "repro", "real"]  # by rank
    assert [p.moves_gates for p in profiles] == [False, False, True]
    assert [[m.stand_in for m in p.models.values()] for p in profiles] == [[True] * 3, [False] * 3, [False] * 3]
    assert all(len(p.seeds) >= 3 for p in profiles)


def test_tiny_needs_no_gpu_and_the_others_extract_on_one():
    plan = load_plan()
    subs = [sub for e in plan.experiments for sub in e.sub_experiments]
    tiny, repro, real = load_profiles()
    assert {tiny.resources_of("sub_experiment", sub).device for sub in subs} == {"cpu"}
    assert tiny.resources_of("extract").device == "cpu"
    assert [p.resources_of("extract").device for p in (repro, real)] == ["A10", "A100-40GB"]


def test_the_ablations_have_three_values_on_each_axis_of_features():
    plan = load_plan()
    for profile in load_profiles():
        points = profile.needs_of(plan.experiment("c1").sub_experiment("e1_6"))
        sides = {need.side for need in points if need.point == "X3"}
        assert len(sides) >= 3, profile.name
        assert len([need for need in points if need.point.startswith("X1.")]) >= 3
        assert len([need for need in points if need.point.startswith("X4.")]) >= 3


def test_reading_the_plan_is_light():
    code = (
        "import sys; import foresight.plan.loader as l; l.load_plan_and_profile(None, 'tiny')\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'rich', 'prefect', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---------------------------------------------------------------- a misspelt key never passes


def _keys(node: yaml.Node, inside: tuple[str, ...] = ()) -> Iterator[tuple[yaml.ScalarNode, tuple[str, ...]]]:
    """Every key with the keys around it."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key, inside
            yield from _keys(value, (*inside, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _keys(item, inside)


def _marks(path: Path) -> list[tuple[int, int, int]]:
    """Start and end in the text, and line from 1, of the first and the last key at each position of the schema.

    All but the parameters of handlers, which are free: what they may be is the handler's business.
    """
    positions: dict[tuple[str, ...], list[tuple[int, int, int]]] = {}
    for key, inside in _keys(yaml.compose(path.read_text(), Loader=yaml.SafeLoader)):
        if not (len(inside) > 3 and inside[1] == "sub_experiments" and inside[3] == "parameters"):
            mark = (key.start_mark.index, key.end_mark.index, key.start_mark.line + 1)
            positions.setdefault((*inside, key.value), []).append(mark)
    return sorted({mark for marks in positions.values() for mark in (marks[0], marks[-1])})


PLAN_TEXT, PROFILES_TEXT = PACKAGED_PLAN.read_text(), PACKAGED_PROFILES.read_text()
PLAN_KEYS, PROFILE_KEYS = _marks(PACKAGED_PLAN), _marks(PACKAGED_PROFILES)


def refusal(load: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(*arguments)
    return str(caught.value)


def load_all(plan: Path, profiles: Path) -> None:
    load_profiles(profiles)  # answers most at once; the rest shows only against the plan
    for name in ("tiny", "repro", "real"):
        load_plan_and_profile(plan, name)


def test_any_key_of_the_plan_renamed_is_refused_with_its_line(tmp_path):
    path = tmp_path / "research_plan.yaml"
    for start, end, line in PLAN_KEYS:
        path.write_text(PLAN_TEXT[:end] + "x" + PLAN_TEXT[end:])
        message = refusal(load_plan, path)
        assert f"{path}:{line}: " in message
        assert f"'{PLAN_TEXT[start:end]}x'" in message


def test_any_key_of_the_profiles_renamed_is_refused(tmp_path):
    plan, profiles = tmp_path / "plan.yaml", tmp_path / "profiles.yaml"
    plan.write_text(PLAN_TEXT + "profiles: profiles.yaml\n")
    for start, end, line in PROFILE_KEYS:
        profiles.write_text(PROFILES_TEXT[:end] + "x" + PROFILES_TEXT[end:])
        message = refusal(load_all, plan, profiles)
        assert f"{profiles}:" in message, f"line {line}: {PROFILES_TEXT[start:end]}"


def test_an_unknown_profile_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"no profile 'tinny' in profiles.yaml: did you mean 'tiny'\? Known: tiny"):
        load_profile("tinny")
