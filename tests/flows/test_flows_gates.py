"""Phases behind their gate, in a profile that moves gates: one that is not passed stops the next phase."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def two_phases(toy):
    """The toy programme with a handler in phase 2."""
    plan = Path(toy.plan)
    later = 'aim: Later., handler: "toy_handlers:steady"}'
    plan.write_text(plan.read_text().replace("aim: Later.}", later).replace("metric: gain", "metric: accuracy"))
    return toy


@pytest.fixture
def deciding(two_phases):
    """The same with a profile whose verdicts count."""
    profiles = two_phases.folder / "profiles.yaml"
    text = profiles.read_text().replace("name: tiny", "name: real").replace("moves_gates: false", "moves_gates: true")
    profiles.write_text(text)
    return two_phases


def test_a_rehearsal_runs_all_phases_whatever_was_measured_and_says_why(two_phases, shell):
    plan = Path(two_phases.plan)
    thresholds = "target: 0.9, acceptable: 0.7"
    assert thresholds in plan.read_text()
    plan.write_text(plan.read_text().replace(thresholds, "target: 0.99, acceptable: 0.98"))
    done = shell.run("program", "--plan", two_phases.plan, "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert "gate_1: not applicable: only the profile that moves gates decides; tiny is a rehearsal" in done.stderr
    assert (two_phases.home.results / "t2-later" / "results.yaml").exists()
    assert "not met" in shell.run("results", "show", "t1").stdout


def test_a_passed_gate_lets_the_next_phase_start(deciding, shell):
    done = shell.run("program", "--plan", deciding.plan, "--profile", "real", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert "gate_1: pass" in done.stderr
    assert (deciding.home.results / "t2-later" / "results.yaml").exists()


def test_a_failed_gate_stops_the_next_phase_until_a_person_opens_it(deciding, shell):
    plan = Path(deciding.plan)
    thresholds = "target: 0.9, acceptable: 0.7"
    assert thresholds in plan.read_text()
    plan.write_text(plan.read_text().replace(thresholds, "target: 0.99, acceptable: 0.98"))
    run = ("program", "--plan", deciding.plan, "--profile", "real", "--seeds", "1")
    done = shell.run(*run)
    assert done.returncode == 0, done.stderr  # completed, whatever the verdict
    assert "phase 2 is not started: gate_1 is fail" in done.stderr
    assert not (deciding.home.results / "t2-later").exists()

    opened = shell.run("gates", "override", "gate_1", "--by", "Ada", "--reason", "worth a try", "--plan", deciding.plan)
    assert opened.returncode == 0, opened.stderr
    again = shell.run(*run)
    assert "overridden by Ada" in again.stderr
    assert (deciding.home.results / "t2-later" / "results.yaml").exists()
    shown = shell.run("results", "show", "t1")
    assert "not met" in shown.stdout  # the measured verdict stands beside the decision
