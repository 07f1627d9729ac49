"""What counts as recorded when a plan is made: what a run is replacing right now is no edited record."""

from __future__ import annotations

import ast
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from foresight.cli.shortcut import recorded_already, run_in_process
from foresight.compute import planner
from foresight.compute.backend import Call
from foresight.compute.code_identity import code_modules
from foresight.compute.request import RunRequest, resolve
from foresight.compute.run_step import run_call, steps_to_json
from foresight.compute.tracking import Tracker
from foresight.plan.loader import load_plan
from foresight.results.verify import verify


def job(toy, **options):
    return resolve(RunRequest(("t1",), ("t_a",), plan=toy.plan, **options))


@pytest.fixture
def under_way(toy):
    """`t_a` was measured, and a run that computes it again has got as far as its first of two seeds."""
    run_in_process(job(toy), toy.home)
    plan = planner.plan_steps(job(toy, refresh=True), toy.home, "second")
    Tracker(toy.home, job(toy, refresh=True), "second").begin(plan)
    first, other = plan.of("t1-toy", "t_a").values()
    run_call(steps_to_json(Call((first,))), toy.home, "call", "second")
    return plan, first, other


def test_a_refresh_that_was_killed_goes_on_with_what_it_had_finished(toy, under_way):
    plan, first, other = under_way
    assert planner.withdraw_broken(plan, toy.home) == []
    assert [planner.state_of(step, toy.home) for step in (first, other)] == ["recorded", "forced"]


def test_another_run_takes_what_a_refresh_has_just_computed(toy, under_way):
    assert planner.withdraw_broken(planner.plan_steps(job(toy), toy.home, "third"), toy.home) == []
    assert recorded_already(job(toy), toy.home) is not None
    assert verify(toy.home) == []


def test_two_runs_that_begin_at_once_may_both_withdraw_what_is_broken(toy, monkeypatch):
    run_in_process(job(toy), toy.home)
    plan = planner.plan_steps(job(toy), toy.home, "next")

    def meanwhile(record, home, *, thorough):
        home.record(record.fingerprint).unlink()
        return False

    monkeypatch.setattr(planner, "is_sound", meanwhile)
    lines = planner.withdraw_broken(plan, toy.home)
    assert len(lines) == 2
    assert all(line.endswith("an artifact of it is missing or damaged; computing it again") for line in lines)


def test_a_number_that_was_edited_after_a_refresh_is_found(toy):
    for refresh in (False, True):
        run_in_process(job(toy, refresh=refresh), toy.home)
    step = planner.plan_steps(job(toy), toy.home, "").of("t1-toy", "t_a")[0]
    path = toy.home.record(step.fingerprint)
    record = json.loads(path.read_text())
    record["metrics"]["extra"] = 2.0
    path.write_text(json.dumps(record))
    assert "was changed after run" in "".join(problem.what for problem in verify(toy.home))
    assert recorded_already(job(toy), toy.home) is None
    (line,) = planner.withdraw_broken(planner.plan_steps(job(toy), toy.home, "again"), toy.home)
    assert "its record was changed after run" in line


NAMES = {"sklearn": "scikit-learn", "skimage": "scikit-image", "PIL": "pillow"}
ELSEWHERE = {
    "pillow": "pixels, which the manifest of the data covers by hash",
    "safetensors": "files, which their records cover by hash",
    "matplotlib": "pictures",
    "pydantic": "shapes of files",
    "filelock": "who may write",
}
"""What handlers import and what it bears on instead of a number."""


def test_the_version_of_every_library_that_bears_on_a_number_is_in_the_identity():
    handlers = [sub.handler for experiment in load_plan().experiments for sub in experiment.sub_experiments]
    modules = {name for handler in handlers if handler for name in code_modules(handler)}
    sources = [Path(spec.origin) for name in modules if (spec := find_spec(name)) and spec.origin]
    imported = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source.read_bytes()))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.partition(".")[0])
    others = {NAMES.get(name, name) for name in imported - set(sys.stdlib_module_names) - {"foresight"}}
    assert {"torch", "pycocotools"} <= others  # it looks at the right files
    assert others - ELSEWHERE.keys() <= set(planner.LIBRARIES)


def test_a_library_that_a_teams_own_handler_imports_is_in_its_identity_too(toy, tmp_path, monkeypatch):
    made = tmp_path / "site"
    for name, module in (("curve-fitter", "curves"), ("rulers", "rulers")):
        (made / module).mkdir(parents=True)
        (made / module / "__init__.py").write_text("")
        info = made / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        (info / "top_level.txt").write_text(f"{module}\n")
    monkeypatch.syspath_prepend(made)
    toy.edit_handlers("import numpy as np", "import curves.deep\nfrom rulers import of_wood\nimport numpy as np")
    before = planner.plan_steps(job(toy), toy.home, "").of("t1-toy", "t_a")[0]
    assert {"curve-fitter": "1.0", "rulers": "1.0"}.items() <= before.identity["versions"].items()
    (made / "rulers-1.0.dist-info" / "METADATA").write_text("Name: rulers\nVersion: 2.0\n")
    (made / "rulers-1.0.dist-info").rename(made / "rulers-2.0.dist-info")
    os.utime(made, (0, 0))  # another time than before, however coarse the clock of the file system
    after = planner.plan_steps(job(toy), toy.home, "").of("t1-toy", "t_a")[0]
    assert after.fingerprint != before.fingerprint
