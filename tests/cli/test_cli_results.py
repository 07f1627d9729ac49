"""`foresight results …` on a run of the toy programme."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def ran(foresight, toy):
    """The toy programme, run once; what it printed does not matter here."""
    done = foresight("run", "t1", "--plan", toy.plan, "--in-process")
    assert done.returncode == 0, done.stderr
    return foresight


def test_a_report_of_an_experiment_and_of_the_programme_is_one_file(ran, toy):
    done = ran("results", "report", "t1", "-o", "t1.html", "--plan", toy.plan)
    assert done.returncode == 0, done.stderr
    text = (toy.folder / "t1.html").read_text()
    assert "Does the machinery work?" in text
    assert "foresight run t1 --profile tiny" in text
    assert json.loads(ran("results", "report", "--plan", toy.plan, "--json").stdout)["file"] == "programme.html"
    text = (toy.folder / "programme.html").read_text()
    assert "Is there more?" in text
    assert "gate_" in text


def test_a_report_without_a_name_takes_the_experiments(ran, toy):
    assert ran("results", "report", "t1").returncode == 0
    assert (toy.folder / "t1.html").is_file()
    done = ran("results", "report", "t1", "-o", "FINDINGS.md")
    assert done.returncode == 0
    assert "# Toy" in (toy.folder / "FINDINGS.md").read_text()


def test_a_report_says_that_a_record_was_edited(ran, toy):
    record = next(path for path in toy.home.steps.glob("*/record.json") if '"t_a"' in path.read_text())
    record.write_text(json.dumps({**json.loads(record.read_text()), "finding": "EXCELLENT"}))
    assert ran("results", "report", "t1").returncode == 0
    assert "was changed after run" in (toy.folder / "t1.html").read_text()
