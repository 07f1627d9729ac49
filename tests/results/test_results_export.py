"""Tidy tables: one row a number, one row a score, every column described, and all of it what the records say."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from results_builders import begin, complete, finished_run, good, record, samples, store

from foresight.errors import UserError
from foresight.home import Home
from foresight.results import runs
from foresight.results.export import COLUMNS, export


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_number_and_score_is_a_row(home, tmp_path):
    finished_run(home, "run-1", [one for seed in range(2) for one in good(seed)])
    written = export(home, tmp_path / "new/folder")
    metrics, scores = rows(tmp_path / "new/folder", "metrics.csv"), rows(tmp_path / "new/folder", "samples.csv")
    assert (
        written == {"metrics.csv": len(metrics), "samples.csv": len(scores)} == {"metrics.csv": 6, "samples.csv": 160}
    )
    iou = next(row for row in metrics if (row["metric"], row["seed"]) == ("iou", "1"))
    mine = [row for row in scores if row["fingerprint"] == iou["fingerprint"] and row["arm"] == "ours"]
    assert len(mine) == 20
    assert np.mean([float(row["score"]) for row in mine]) == pytest.approx(float(iou["value"]), abs=1e-12)
    assert {row["arm"] for row in scores} == {"ours", "mean_image"}
    assert (iou["experiment"], iou["profile"], iou["stand_in"], iou["git_dirty"]) == ("c1", "tiny", "1", "0")


def test_every_column_is_described(home, tmp_path):
    finished_run(home, "run-1", good())
    export(home, tmp_path)
    described = {(row["file"], row["column"]) for row in rows(tmp_path, "columns.csv") if row["meaning"]}
    for name, columns in COLUMNS.items():
        assert list(rows(tmp_path, name)[0]) == list(columns)
        assert {(name, column) for column in columns} <= described


def test_a_record_that_two_runs_show_keeps_its_scores_once(home, tmp_path):
    finished_run(home, "run-1", good())
    finished_run(home, "run-2", good())
    export(home, tmp_path)
    metrics, scores = rows(tmp_path, "metrics.csv"), rows(tmp_path, "samples.csv")
    assert [row["run_id"] for row in metrics] == ["run-1"] * 3 + ["run-2"] * 3
    assert {row["computed_by"] for row in metrics} == {"run-1"}
    assert len(scores) == 80


def test_stubs_and_seeds_that_failed_have_no_row(home: Home, tmp_path):
    run = begin(home, "run-1", seeds=(0, 1))
    complete(home, run, store(home, record("e1_4", 0, samples("iou", 0.8))))
    runs.update_sub_experiment(
        home, run.experiment.id, "run-1", "e1_5", status="failed", steps={1: "e" * 64}, error="x"
    )
    begin(home, "run-2", stub=True)
    assert export(home, tmp_path)["metrics.csv"] == 1


def test_nothing_to_export_and_a_file_in_the_way_are_refused(home, tmp_path):
    with pytest.raises(UserError, match="no results to export"):
        export(home, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        export(home, tmp_path / "out")


def test_sources_of_any_name_come_back_as_they_are(home, tmp_path):
    names = ['a "quoted", listed one', "two\nlines", "", "plain"]
    odd = samples("iou", 0.8, baseline=0.2, n=4).model_copy(update={"groups": names})
    finished_run(home, "run-1", [record("e1_4", 0, odd)])
    export(home, tmp_path)
    assert [row["source"] for row in rows(tmp_path, "samples.csv")] == names * 2


def test_an_export_that_breaks_off_leaves_the_tables_that_were_there(home, tmp_path, monkeypatch):
    finished_run(home, "run-1", good())
    export(home, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    def breaks(_):
        raise OSError("the disk is gone")

    monkeypatch.setattr("foresight.results.export._samples", breaks)
    with pytest.raises(OSError, match="the disk is gone"):
        export(home, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
