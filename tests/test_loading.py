"""Results read back by name, after a real run of the toy programme and of planted features."""

from __future__ import annotations

import pytest

import foresight
from foresight.cli.shortcut import run_in_process
from foresight.compute.request import RunRequest, resolve
from foresight.errors import UserError


def test_what_a_run_left_is_read_back_by_name(toy):
    documents, failed = run_in_process(resolve(RunRequest(("t1",), plan=toy.plan)), toy.home)
    assert not failed
    loaded = foresight.load("t1-toy")
    assert loaded.document == documents["t1-toy"]
    samples = loaded.samples("t_a", "accuracy")
    assert sorted(samples) == [0, 1]
    assert len(samples[0].scores) == len(samples[0].groups) == len(samples[0].baselines["chance"]) == 24
    run = foresight.load("t1-toy", run_id=loaded.document["run_id"])
    assert run.records("t_b")[1].seed == 1


def test_what_is_not_there_is_named(toy):
    with pytest.raises(UserError, match="no results here"):
        foresight.load("c1")
    run_in_process(resolve(RunRequest(("t1",), plan=toy.plan)), toy.home)
    loaded = foresight.load("t1-toy")
    with pytest.raises(UserError, match="There are: t_a, t_b"):
        loaded.records("t_z")
    with pytest.raises(UserError, match="It has: accuracy"):
        loaded.samples("t_a", "precision")
    with pytest.raises(UserError, match="It read: none"):
        loaded.features("t_a", "photographs/vlm:X3")
