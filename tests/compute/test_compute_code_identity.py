import importlib
import os
import sys
import textwrap
from pathlib import Path

import pytest

from foresight.compute.code_identity import code_identity, code_modules
from foresight.errors import UserError
from foresight.plan.loader import load_plan

HANDLER = """
from typing import TYPE_CHECKING

from labs.probes import linear
from labs import tools
from . import near

if TYPE_CHECKING:
    from labs import only_types


def run(runner):
    from ..late import finish
    x = 1
    return finish(linear.fit(near.y, x))
"""
FILES = {
    "labs/__init__.py": "",
    "labs/experiments/__init__.py": "VERSION = 1\n\ndef lazy():\n    from labs import unrelated as u\n    return u\n",
    "labs/experiments/handler.py": HANDLER,
    "labs/experiments/near.py": "y = 2\n",
    "labs/probes/__init__.py": "",
    "labs/probes/linear.py": "from labs.deep import maths\n\ndef fit(a, b):\n    return maths.add(a, b)\n",
    "labs/deep/maths.py": "def add(a, b):\n    return a + b\n",
    "labs/tools.py": "import json\n",
    "labs/late.py": "def finish(x):\n    return x\n",
    "labs/only_types.py": "T = int\n",
    "labs/unrelated.py": "z = 3\n",
}
REFERENCE = "labs.experiments.handler:run"


@pytest.fixture
def labs(tmp_path, monkeypatch):
    """A team's own package, on the path."""
    for name, text in FILES.items():
        write(tmp_path / name, text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_it_covers_what_the_handler_reaches_and_nothing_else(labs):
    assert code_modules(REFERENCE) == [
        "labs", "labs.deep.maths", "labs.experiments", "labs.experiments.handler", "labs.experiments.near",
        "labs.late", "labs.probes", "labs.probes.linear", "labs.tools",
    ]  # fmt: skip
    assert not any(name.startswith("labs") for name in sys.modules), "it was imported"


@pytest.mark.parametrize(
    "rewritten",
    [
        '"""A new docstring."""\n'
        + HANDLER.replace("    x = 1", '    """Words."""\n    # a comment\n    x   =  (1)\n'),
        HANDLER.replace("    from labs import only_types", "    from labs import only_types, unrelated"),
    ],
)
def test_words_formatting_and_types_change_nothing(labs, rewritten):
    before = code_identity(REFERENCE)
    write(labs / "labs/experiments/handler.py", rewritten)
    assert code_identity(REFERENCE) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("labs/experiments/handler.py", "x = 1", "x = 2"),
        ("labs/probes/linear.py", "(a, b)\n", "(b, a)\n"),
        ("labs/deep/maths.py", "a + b", "a - b"),
        ("labs/late.py", "return x", "return -x"),
        ("labs/experiments/near.py", "2", "3"),
        ("labs/experiments/__init__.py", "VERSION = 1", "VERSION = 2"),
    ],
)
def test_one_changed_line_in_what_it_reaches_changes_it(labs, file, old, new):
    before = code_identity(REFERENCE)
    assert old in FILES[file]
    write(labs / file, FILES[file].replace(old, new))
    assert code_identity(REFERENCE) != before


@pytest.mark.parametrize("file", ["labs/unrelated.py", "labs/only_types.py", "labs/new.py"])
def test_an_unrelated_module_changes_nothing(labs, file):
    before = code_identity(REFERENCE)
    write(labs / file, "other = 4\n")
    assert code_identity(REFERENCE) == before


def test_an_edit_of_equal_size_is_seen(labs):
    path = labs / "labs/experiments/near.py"
    before = code_identity(REFERENCE)
    write(path, "y = 9\n")
    os.utime(path, ns=(1, 1))
    assert code_identity(REFERENCE) != before


def test_it_is_the_same_wherever_the_code_lies(labs, tmp_path, monkeypatch):
    before = code_identity(REFERENCE)
    (labs / "labs").rename(tmp_path / "moved")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "moved").rename(elsewhere / "labs")
    monkeypatch.syspath_prepend(elsewhere)
    importlib.invalidate_caches()
    assert code_identity(REFERENCE) == before


def test_else_of_type_checking_counts(labs):
    text = HANDLER.replace("    from labs import only_types\n", "    pass\nelse:\n    from labs import unrelated\n")
    write(labs / "labs/experiments/handler.py", text)
    assert "labs.unrelated" in code_modules(REFERENCE)


def test_a_lazy_export_counts_only_for_who_asks_for_it(labs):
    assert "labs.unrelated" not in code_modules(REFERENCE)
    write(labs / "labs/experiments/handler.py", HANDLER + "\nfrom labs.experiments import lazy\n")
    assert "labs.unrelated" in code_modules(REFERENCE)


def test_the_packages_around_a_module_count_without_being_named(labs):
    write(labs / "labs/around/__init__.py", "SCALE = 1\n")
    write(labs / "labs/around/handler.py", "import labs.tools\n\ndef run(runner):\n    return labs\n")
    before = code_identity("labs.around.handler:run")
    write(labs / "labs/around/__init__.py", "SCALE = 10\n")
    assert code_identity("labs.around.handler:run") != before


def test_star_import_of_a_package_counts_all_of_it(labs):
    write(labs / "labs/experiments/handler.py", HANDLER + "\nfrom labs.deep import *\n")
    write(labs / "labs/deep/more.py", "m = 1\n")
    assert "labs.deep.more" in code_modules(REFERENCE)


def test_circular_imports_end(labs):
    write(labs / "labs/late.py", "from labs.experiments import handler\ndef finish(x):\n    return x\n")
    assert "labs.late" in code_modules(REFERENCE)


def test_a_lone_file_counts_the_files_beside_it(labs):
    write(labs / "lone.py", "import beside\nimport json\n\ndef run(runner):\n    return beside.q\n")
    write(labs / "beside.py", "q = 1\n")
    assert code_modules("lone:run") == ["beside", "lone"]


def test_foresight_counts_for_a_team_s_own_handler(labs):
    write(labs / "labs/experiments/handler.py", "from foresight import files\n\ndef run(runner):\n    return files\n")
    assert {"foresight.files", "labs.experiments.handler"} <= set(code_modules(REFERENCE))


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("labs.experiments.nothing:run", "no module 'labs.experiments.nothing'"),
        ("nowhere:run", "no module 'nowhere'"),
        ("labs.experiments.handler:walk", "handler.py defines no 'walk'"),
        ("labs.experiments.handler", "not of the form"),
        ("__main__:run", "no module '__main__'"),
    ],
)
def test_a_handler_that_is_not_there_is_a_clear_error(labs, reference, says):
    with pytest.raises(UserError, match=says):
        code_identity(reference)


def test_a_missing_import_names_file_and_line(labs):
    write(labs / "labs/experiments/handler.py", "import labs.gone\n\ndef run(runner):\n    pass\n")
    with pytest.raises(UserError, match=r"handler\.py:1: there is no module 'labs\.gone'"):
        code_identity(REFERENCE)
    text = "try:\n    import labs.gone\nexcept ImportError:\n    pass\n\ndef run(runner):\n    pass\n"
    write(labs / "labs/experiments/handler.py", text)
    assert code_identity(REFERENCE)


def test_a_syntax_error_names_file_and_line(labs):
    write(labs / "labs/tools.py", textwrap.dedent("x = 1\ndef (:\n"))
    with pytest.raises(UserError, match=r"tools\.py:2"):
        code_identity(REFERENCE)


def test_no_handler_of_the_plan_is_computed_again_for_words_about_plans_records_or_calls():
    """Such a module reached by one careless import would have a reworded message recompute a step on a GPU."""
    handlers = {sub.handler for experiment in load_plan(None).experiments for sub in experiment.sub_experiments}
    reached = {module for handler in handlers if handler for module in code_modules(handler)}
    assert "foresight.probes.linear" in reached
    ours = ("foresight.plan", "foresight.results", "foresight.compute", "foresight.cli")
    assert not [module for module in reached if module.startswith(ours)]
