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


def test_export_and_prune_speak_to_people_and_to_programs(ran, toy):
    done = ran("results", "export", "-o", "tables")
    assert done.returncode == 0, done.stderr
    assert "metrics.csv" in done.stdout
    assert (toy.folder / "tables" / "columns.csv").is_file()
    rows = json.loads(ran("results", "export", "-o", "tables", "--json").stdout)["rows"]
    assert rows["samples.csv"] == 2 * 2 * 2 * 24  # sub-experiments, seeds, ours and chance, samples
    assert "nothing to prune" in ran("results", "prune").stdout
    assert json.loads(ran("results", "prune", "--yes", "--json").stdout) == {
        "deleted": True,
        "items": [],
        "size_bytes": 0,
    }


def test_export_of_nothing_is_refused(foresight, toy):
    done = foresight("results", "export", "-o", "tables")
    assert done.returncode == 2
    assert "no results to export" in done.stderr
    assert not (toy.folder / "tables").exists()
