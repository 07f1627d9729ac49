"""A person is asked about a gate: an answer counts with its name and reason, no answer changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.exceptions import FlowPauseTimeout
from prefect.logging import disable_run_logger

from flows import decision
from flows.decision import Decision
from foresight.plan.loader import load_plan
from foresight.results import gates


def asked(toy, monkeypatch: pytest.MonkeyPatch, answer: Decision | None) -> gates.GateState:
    def pause(**options):
        assert options["wait_for_input"] is Decision
        if answer is None:
            raise FlowPauseTimeout
        return answer

    monkeypatch.setattr(decision, "pause_flow_run", pause)
    plan = load_plan(Path(toy.plan))
    state = gates.evaluate(toy.home, plan, "gate_1", profile="real", moves_gates=True)
    assert not state.opens
    with disable_run_logger():
        return decision.ask(toy.home, plan, state)


def test_a_decision_opens_the_gate_beside_its_measured_verdict(toy, monkeypatch):
    after = asked(toy, monkeypatch, Decision(open_the_gate=True, by="Ada", reason="worth a try"))
    assert after.opens
    assert after.verdict == "pending"
    assert [(one.by, one.reason) for one in after.overrides] == [("Ada", "worth a try")]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Decision(open_the_gate=False, by="Ada", reason="not yet"),
        Decision(open_the_gate=True, by="", reason="no name"),
        Decision(open_the_gate=True, by="Ada", reason=" "),
    ],
)
def test_no_answer_a_no_and_a_nameless_yes_leave_it_shut(toy, monkeypatch, answer):
    assert not asked(toy, monkeypatch, answer).opens
    assert gates.read_overrides(toy.home) == {}
