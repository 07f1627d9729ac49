"""What the UI's form offers and the server refuses, and that the shell is free to run another plan's experiments."""

from __future__ import annotations

import jsonschema
import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from flows import forms
from flows.deploy import CHECKOUT, DEPLOYMENTS
from flows.run_experiment import run_experiment
from foresight.plan.loader import load_plan, load_profiles

DEPLOYED = yaml.safe_load(DEPLOYMENTS.read_text())["deployments"]
BY_NAME = {(entry["entrypoint"].partition(":")[2], entry["name"]): entry for entry in DEPLOYED}


def form(entry: dict) -> dict:
    return parameter_schema(load_flow_from_entrypoint(str(CHECKOUT / entry["entrypoint"]))).model_dump()


def test_every_experiment_of_the_plan_is_deployed_by_its_short_name_with_its_own_choices():
    for experiment in load_plan().experiments:
        entry = BY_NAME[experiment.short, experiment.short]
        flow = load_flow_from_entrypoint(str(CHECKOUT / entry["entrypoint"]))
        assert flow.name == "run-experiment"
        assert experiment.question in flow.description
        fields = parameter_schema(flow).properties
        assert fields["experiment"]["enum"] == [entry["parameters"]["experiment"]] == [experiment.short]
        assert fields["sub_experiment"]["anyOf"][0]["items"]["enum"] == [sub.id for sub in experiment.sub_experiments]
        assert fields["profile"]["enum"] == [profile.name for profile in load_profiles()]


@pytest.mark.parametrize(
    "entry", DEPLOYED, ids=lambda entry: f"{entry['entrypoint'].partition(':')[2]}/{entry['name']}"
)
def test_every_field_of_every_form_says_what_it_is(entry):
    for name, field in form(entry)["properties"].items():
        assert len(field.get("description", "")) > 2, name


@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": "huge"},
        {"experiment": "q1"},
        {"sub_experiment": ["eq1_1"]},
        {"seeds": 0},
        {"seeds": 101},
        {"budget": 0},
        {"gpu": "T1000"},
        {"compute": "mainframe"},
        {"stub_mode": "perhaps"},
    ],
)
def test_the_form_of_c1_refuses_what_is_wrong_and_takes_what_is_right(wrong):
    schema = forms.with_empty_fields(form(BY_NAME["c1", "c1"]))
    right = {"experiment": "c1", "profile": "tiny", "sub_experiment": ["e1_4"], "seeds": 2, "budget": 1.5, "gpu": "A10"}
    jsonschema.validate(right, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**right, **wrong}, schema)


def test_what_may_be_left_empty_is_one_field_of_one_kind():
    fields = forms.with_empty_fields(form(BY_NAME["c1", "c1"]))["properties"]
    assert [name for name, field in fields.items() if "type" not in field] == []
    for name in ("sub_experiment", "seeds", "gpu", "budget", "plan"):
        assert "default" not in fields[name], name  # the form would send it, as a null that the server refuses


def test_the_flow_itself_takes_the_ids_of_any_plan():
    given = {"experiment": "t1", "sub_experiment": ["t_a"], "profile": "mine", "plan": "plan.yaml"}
    assert run_experiment.validate_parameters(given)["experiment"] == "t1"


def test_an_experiment_that_the_plan_lacks_has_no_flow():
    from flows import run_experiment as module

    with pytest.raises(AttributeError, match="no experiment 'c9' in this plan"):
        _ = module.c9


def test_the_nightly_waits_to_be_switched_on_and_never_runs_twice_at_once():
    nightly = BY_NAME["research_program", "nightly"]
    (schedule,) = nightly["schedules"]
    assert (schedule["cron"], schedule["active"]) == ("0 2 * * *", False)
    assert "foresight_timezone" in schedule["timezone"]
    assert nightly["concurrency_limit"]["limit"] == 1
