"""Bad input gets one clear message on stderr and exit 2; light commands stay light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGED = Path(__file__).parents[2] / "foresight" / "plan" / "research_plan.yaml"


@pytest.fixture
def foresight(toy):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "foresight", *arguments],
            env=toy.environment,
            cwd=toy.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "c9"], "did you mean"),
        (["run", "c1", "--sub-experiment", "e1_9"], "Did you mean"),
        (["run", "c2"], "--stub-mode"),
        (["run", "c1", "--profile", "tinny"], "tiny"),
        (["run", "c1", "--compute", "moon"], "Unknown compute"),
        (["run", "c1", "--compute", "modal"], "not part of this version"),
        (["run", "c1", "--gpu", "B9"], "Unknown GPU"),
        (["run", "c1", "--budget", "-2"], "more than 0"),
        (["run", "c1", "--seeds", "0"], "at least 1"),
        (["run", "c1", "--plan", "nowhere.yaml"], "nowhere.yaml"),
        (["results", "show", "c1"], "no results here"),
        (["cancel", "no-such-run"], "No run"),
        (["gates", "override", "gate_1_reconstruction", "--reason", "because"], "needs a name"),
        (["gates", "override", "gate_9", "--by", "Ada", "--reason", "because"], "gate_9"),
        (["datasets", "prepare", "photographies"], "did you mean"),
        (["plan", "validate", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(foresight, toy, arguments: list[str], said: str):
    done = foresight(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(toy.home.root.rglob("*.json"))  # nothing started, nothing half-written


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    question: Does", "    qestion: Does", "qestion"),
        ("    depends_on: [t1]", "    depends_on: [t2]", "depends"),
        ("toy_handlers:steady", "toy_handlers:stady", "stady"),
    ],
)
def test_a_wrong_plan_is_refused_with_file_and_line(foresight, toy, old: str, new: str, said: str):
    path = Path(toy.plan)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    done = foresight("run", "t1", "--plan", toy.plan)
    assert done.returncode == 2
    assert "plan.yaml:" in done.stderr
    assert said in done.stderr


LIGHT = [
    ["--help"],
    ["plan", "validate"],
    ["results", "list"],
    ["status"],
    ["gates"],
    ["run", "t1", "--plan", "plan.yaml", "--dry-run"],
]


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_light_commands_import_neither_torch_nor_prefect_nor_modal(toy, arguments: list[str]):
    code = (
        "import sys, json; from foresight.cli import app\n"
        "try: app(sys.argv[1:], standalone_mode=False)\n"
        "finally: print('LOADED', json.dumps([m for m in ('torch', 'prefect', 'modal') if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=toy.environment,
        cwd=toy.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert loaded == ["LOADED []"], done.stderr


def test_doctor_and_lists_speak_json(foresight):
    assert json.loads(foresight("results", "list", "--json").stdout) == []
    assert json.loads(foresight("status", "--json").stdout) == []
    assert {row["gate"] for row in json.loads(foresight("gates", "show", "--json").stdout)} >= {"gate_1_reconstruction"}
    assert {row["name"] for row in json.loads(foresight("datasets", "list", "--json").stdout)} >= {"photographs"}


def test_an_override_stands_beside_the_measured_verdict(foresight):
    assert (
        foresight("gates", "override", "gate_1_reconstruction", "--by", "Ada", "--reason", "seen by eye").returncode
        == 0
    )
    rows = json.loads(foresight("gates", "show", "--json").stdout)
    gate = next(row for row in rows if row["gate"] == "gate_1_reconstruction")
    assert gate["verdict"] == "pending"
    assert gate["opens"] is True
    assert gate["overrides"][0]["by"] == "Ada"
