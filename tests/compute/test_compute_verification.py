"""Code is what was planned for as long as a step works, whoever edits it meanwhile."""

from __future__ import annotations

import sys

import pytest

from foresight.cli.shortcut import run_in_process
from foresight.compute import planner
from foresight.compute.backend import Call
from foresight.compute.request import RunRequest, resolve
from foresight.compute.run_step import run_call, steps_to_json
from foresight.results.record import read_record

LATE = '''
def late(runner):
    """Somebody edits a file while the handler works, and the handler imports it only now."""
    from pathlib import Path

    (Path(__file__).parent / "toy_late.py").write_text("VALUE = 20\\n")
    from toy_late import VALUE

    return {"finding": "read {value}", "metrics": {"value": VALUE}, "artifacts": []}
'''

TORCH = """
from types import SimpleNamespace

SEEDS = []
manual_seed = SEEDS.append
cuda = SimpleNamespace(is_initialized=lambda: False)
"""


@pytest.fixture
def late(toy, monkeypatch):
    (toy.folder / "toy_late.py").write_text("VALUE = 1\n")
    with (toy.folder / "toy_handlers.py").open("a") as stream:
        stream.write(LATE)
    toy.second_handler("late")
    monkeypatch.delitem(sys.modules, "toy_late", raising=False)
    return toy


def ran(toy):
    job = resolve(RunRequest(("t1",), ("t_b",), plan=toy.plan, seeds=1))
    return run_in_process(job, toy.home)[0]["t1-toy"]["results"]["experiments"]["t_b"]


def test_an_edit_while_a_step_works_bears_on_nothing_of_it(late):
    assert ran(late)["metrics"] == {"value": 1.0}


def test_an_edit_between_the_check_and_the_import_is_no_result(late):
    late.edit_handlers("import os, time", "import os, time\nfrom pathlib import Path as P\nP(__file__).touch()")
    late.edit_handlers("P(__file__).touch()", "P(__file__).with_name('toy_late.py').write_text('VALUE = 300')")
    entry = ran(late)
    assert entry["status"] == "failed"
    assert "seed 0: it is not what was planned: the code of toy_handlers:late" in entry["error"]


def test_what_a_handler_can_do_without_may_be_missing(late):
    (late.folder / "toy_optional.py").write_text("import no_such_library\n")
    late.edit_handlers(
        "import os, time", "import os, time\ntry:\n    import toy_optional\nexcept ImportError:\n    pass\n"
    )
    assert ran(late)["metrics"] == {"value": 1.0}


def test_a_torch_that_the_handler_imports_late_has_its_seed(late, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    (late.folder / "torch.py").write_text(TORCH)
    late.edit_handlers(
        '"metrics": {"value": VALUE}', '"metrics": {"value": VALUE, "seed": __import__("torch").SEEDS[0]}'
    )
    late.edit_handlers("    from toy_late import VALUE", "    import torch\n    from toy_late import VALUE")
    monkeypatch.setattr("foresight.compute.code_identity._Project._is_beside_a_lone_file", lambda *_: False)
    job = resolve(RunRequest(("t1",), ("t_b",), plan=late.plan, seeds=2))
    plan = planner.plan_steps(job, late.home, "run").of("t1-toy", "t_b")
    (outcome,) = run_call(steps_to_json(Call((plan[1],))), late.home, "call", "run")
    assert outcome.status == "completed", outcome.error
    assert read_record(late.home, plan[1].fingerprint).metrics["seed"] == 1.0
