"""What bears on an experiment's hash, how things are looked up, and how a profile resolves what it leaves open."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from foresight.errors import UserError
from foresight.plan.loader import load_plan, load_profile
from foresight.plan.schema import Criterion, Experiment, Need, Plan, Profile, Resources, Settings, Split, parse_need


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan()


@pytest.fixture(scope="module")
def tiny() -> Profile:
    return load_profile("tiny")


def changed(experiment: Experiment, part: str, index: int, **fields: object) -> Experiment:
    entries = list(getattr(experiment, part))
    entries[index] = entries[index].model_copy(update=fields)
    return Experiment.model_validate({**dict(experiment), part: tuple(entries)})


def test_the_hash_ignores_what_only_helps_a_reader(plan):
    c1 = plan.experiment("c1")
    same = changed(c1, "sub_experiments", 0, title="Another", aim="Another", resources=Resources(device="H100"))
    assert same.hash == c1.hash
    assert Experiment.model_validate({**dict(c1), "title": "Another", "question": "Another?"}).hash == c1.hash


def test_the_hash_ignores_order(plan):
    c1 = plan.experiment("c1")
    turned = {"criteria": c1.criteria[::-1], "sub_experiments": c1.sub_experiments[::-1]}
    assert Experiment.model_validate({**dict(c1), **turned}).hash == c1.hash


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        ("criteria", {"target": 0.2}),
        ("criteria", {"acceptable": 0.36}),
        ("criteria", {"failure": 0.46}),
        ("criteria", {"sub_experiment": "e1_2"}),
        ("criteria", {"metric": "lpips_foreground"}),
        ("criteria", {"arm": "Another."}),
        ("sub_experiments", {"needs": ("vlm:X2",)}),
        ("sub_experiments", {"handler": "another.module:run"}),
        ("sub_experiments", {"models": ("vae",)}),
        ("sub_experiments", {"metric_weights": ("lpips-alex",)}),
    ],
)
def test_the_hash_follows_what_could_change_a_verdict(plan, part, fields):
    c1 = plan.experiment("c1")
    assert changed(c1, part, 0, **fields).hash != c1.hash


def test_the_plans_hash_follows_gates_and_every_experiment(plan):
    fewer = plan.model_copy(update={"gates": plan.gates[1:]})
    c1 = changed(plan.experiment("c1"), "criteria", 0, acceptable=0.36)
    assert len({plan.hash, Plan.model_validate(dict(fewer)).hash}) == 2
    other = Plan.model_validate({**dict(plan), "experiments": (c1, *plan.experiments[1:])})
    assert other.hash != plan.hash


def test_an_experiment_has_two_names(plan):
    assert plan.experiment("q1") is plan.experiment("q1-latent-alignment")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda plan: plan.experiment("c11"), r"no experiment 'c11' in this plan: did you mean 'c1'"),
        (
            lambda plan: plan.experiment("c1").sub_experiment("e1_7"),
            r"no sub-experiment 'e1_7' of c1: did you mean 'e1_",
        ),
        (lambda plan: plan.experiment("c1").criterion("lipps"), r"no criterion 'lipps' of c1: did you mean 'lpips'"),
        (lambda plan: plan.gate("gate_1"), r"no gate 'gate_1' in this plan.*Known: gate_1_reconstruction"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(plan, ask, message):
    with pytest.raises(UserError, match=message):
        ask(plan)


def test_phases_and_their_gates(plan):
    assert [(n, [e.short for e in es]) for n, es in plan.phases().items()] == [
        (1, ["c1", "q1", "q2", "p2"]),
        (2, ["c2", "q3"]),
        (3, ["c3", "q4", "q5"]),
        (4, ["c4"]),
    ]
    assert plan.gate_before(1) is None
    assert plan.gate_before(2).id == "gate_1_reconstruction"


@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("vlm:X3", Need(role="vlm", point="X3")),
        ("vlm:X1.32", Need(role="vlm", point="X1.32")),
        ("vlm:X4.0", Need(role="vlm", point="X4.0")),
        ("vlm:X4.last@168", Need(role="vlm", point="X4.last", side=168)),
        ("vae:X6", Need(role="vae", point="X6")),
    ],
)
def test_a_need_reads_as_it_is_written(text, need):
    assert parse_need(text) == need
    assert str(need) == text


@pytest.mark.parametrize(
    "text", ["", "X3", "vlm:", "VLM:X3", "vlm:X3@", "vlm:X3@0", "vlm:X1", "vlm:X4.first", "vlm:X5", "vlm:X3 "]
)
def test_a_malformed_need_is_refused(text):
    with pytest.raises(ValueError, match=r"need|point|side"):
        parse_need(text)


def test_models_are_frozen_and_closed(plan):
    with pytest.raises(ValidationError):
        plan.experiment("c1").criteria[0].acceptable = 0.9
    with pytest.raises(ValidationError):
        Split(train=0.5, validation=0.2, test=0.3, rest=0.0)


@pytest.mark.parametrize("value", ["0.5", True, None, float("nan"), float("inf")])
def test_a_threshold_is_a_finite_number(plan, value):
    with pytest.raises(ValidationError):
        Criterion.model_validate({**dict(plan.experiment("c1").criteria[0]), "target": value})


def test_a_plan_can_be_made_in_python_with_lists(plan):
    assert Plan.model_validate({**dict(plan), "experiments": list(plan.experiments)}) == plan


# ---------------------------------------------------------------- profiles


def test_settings_override_the_plans_needs(plan, tiny):
    e1_4 = plan.experiment("c1").sub_experiment("e1_4")
    assert [str(n) for n in tiny.needs_of(e1_4)] == list(e1_4.needs)
    other = {**tiny.sub_experiments, "e1_4": Settings(data="single_object", needs=("vlm:X3@168",))}
    assert tiny.model_copy(update={"sub_experiments": other}).needs_of(e1_4) == (
        Need(role="vlm", point="X3", side=168),
    )


def test_a_sub_experiment_that_the_profile_does_not_name_has_empty_settings(tiny):
    assert tiny.for_sub_experiment("e9_9") == Settings()


def test_resources_are_the_profiles_then_the_plans_then_the_settings(plan, tiny):
    sub = plan.experiment("c1").sub_experiment("e1_5")
    defaults = {
        "extract": Resources(device="A10", timeout_s=10.0),
        "sub_experiment": Resources(device="cpu", timeout_s=5.0),
    }
    profile = tiny.model_copy(
        update={
            "resources": tiny.resources.model_copy(update={**defaults, "everything_on": None}),
            "sub_experiments": {"e1_5": Settings(resources=Resources(timeout_s=7.0))},
        }
    )
    asked = sub.model_copy(update={"resources": Resources(device="A100-40GB", timeout_s=6.0, memory_gb=3.0)})
    assert profile.resources_of("extract") == Resources(device="A10", timeout_s=10.0)
    assert profile.resources_of("sub_experiment", asked) == Resources(device="A100-40GB", timeout_s=7.0, memory_gb=3.0)
    on_cpu = profile.model_copy(update={"resources": profile.resources.model_copy(update={"everything_on": "cpu"})})
    assert on_cpu.resources_of("sub_experiment", asked).device == "cpu"
    assert on_cpu.resources_of("extract").device == "cpu"


@pytest.mark.parametrize(("name", "device"), [("a10g", "A10"), ("A100", "A100-40GB"), ("h100", "H100"), ("cpu", "cpu")])
def test_a_gpu_has_one_name(name, device):
    assert Resources(device=name).device == device


def test_a_split_is_shares_or_counts():
    assert Split(train=0.6, validation=0.15, test=0.25).counts is None
    assert Split(train=200, validation=30, test=50).counts == (200, 30, 50)
    for wrong in [(0.6, 0.3, 0.3), (0.5, 0.2, 0.2), (200, 30.5, 50), (200, 0, 50)]:
        with pytest.raises(ValidationError):
            Split(train=wrong[0], validation=wrong[1], test=wrong[2])
