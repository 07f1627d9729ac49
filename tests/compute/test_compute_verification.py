"""Code is what was planned for as long as a step works, whoever edits it meanwhile."""

from __future__ import annotations

import sys

import pytest

from foresight.cli.shortcut import run_in_process
from foresight.compute.request import RunRequest, resolve

LATE = '''
def late(runner):
    """Somebody edits a file while the handler works, and the handler imports it only now."""
    from pathlib import Path

    (Path(__file__).parent / "toy_late.py").write_text("VALUE = 20\\n")
    from toy_late import VALUE

    return {"finding": "read {value}", "metrics": {"value": VALUE}, "artifacts": []}
'''


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
    assert "t1/t_b seed 0 is not what was planned: the code of toy_handlers:late" in entry["error"]


def test_what_a_handler_can_do_without_may_be_missing(late):
    (late.folder / "toy_optional.py").write_text("import no_such_library\n")
    late.edit_handlers(
        "import os, time", "import os, time\ntry:\n    import toy_optional\nexcept ImportError:\n    pass\n"
    )
    assert ran(late)["metrics"] == {"value": 1.0}
