"""Bad input gets one clear message on stderr and exit 2; light commands stay light."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from foresight import cli
from foresight.__main__ import main as console_script
from foresight.compute import ledger
from foresight.compute.ledger import CallEntry, StepEntry

PACKAGED = Path(__file__).parents[2] / "foresight" / "plan" / "research_plan.yaml"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "c9"], "did you mean"),
        (["run", "c1", "--sub-experiment", "e1_9"], "did you mean"),
        (["run", "q3"], "--stub-mode"),
        (["run", "c1", "--profile", "tinny"], "tiny"),
        (["run", "c1", "--compute", "moon"], "no --compute 'moon'. Known: local, modal"),
        (["run", "c1", "--gpu", "B9"], "Unknown GPU"),
        (["run", "c1", "--budget", "-2"], "more than 0"),
        (["run", "c1", "--seeds", "0"], "1 to 100"),
        (["run", "c1", "--seeds", "100000"], "how many, not which"),
        (["run", "c1", "--plan", "nowhere.yaml"], "nowhere.yaml"),
        (["results", "show", "c1"], "no results here"),
        (["results", "report", "c1"], "no results here"),
        (["results", "report", "c9"], "did you mean"),
        (["results", "report", "-o", "all.pdf"], ".html or .md"),
        (["results", "report", "-o", "nowhere/all.html"], "is no folder"),
        (["cancel", "no-such-run"], "No run"),
        (["gates", "override", "gate_1_reconstruction", "--reason", "because"], "needs a name"),
        (["gates", "override", "gate_9", "--by", "Ada", "--reason", "because"], "gate_9"),
        (["datasets", "prepare", "photographies"], "did you mean"),
        (["datasets", "prepare", "qqq"], "Known: photographs"),
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
    ["results", "report"],
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


def test_cancel_takes_a_run_id_and_no_pattern(foresight, toy):
    (toy.home.ledger / "r1").mkdir(parents=True)
    entry = CallEntry(
        call_id="c1",
        run_id="r1",
        backend="local",
        submitted_at=ledger.now(),
        steps=(StepEntry(label="s", fingerprint="ab" * 32),),
    )
    ledger.write_call(toy.home, entry)
    for run in ("*", "", "."):
        assert foresight("cancel", run).returncode == 2
    assert foresight("cancel", "r1").returncode == 0


def test_a_damaged_ledger_entry_is_named(foresight, toy):
    (toy.home.ledger / "r1").mkdir(parents=True)
    (toy.home.ledger / "r1" / "c1.json").write_text("{")
    done = foresight("status")
    assert done.returncode == 2
    assert "c1.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_results_yaml_is_named_and_the_next_run_writes_it_again(foresight, toy):
    run = ["run", "t1", "--plan", toy.plan, "--seeds", "1"]
    assert foresight(*run, "--in-process").returncode == 0
    again = foresight("run", "t1", "--plan", toy.plan, "--seeds", "2", "--in-process").stdout.splitlines()
    assert [line for line in again if line.startswith("── t1/t_a")] == [
        "── t1/t_a seed 0: recorded already",
        "── t1/t_a seed 1",
    ]
    assert foresight(*run).returncode == 0
    path = toy.home.results / "t1-toy" / "results.yaml"
    whole = path.read_text()
    for damaged in (whole[:200], "", "[]", "experiment_id: 3"):
        path.write_text(damaged)
        done = foresight("results", "list")
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert str(path) in done.stderr
        done = foresight(*run)
        assert done.returncode == 0, done.stderr
        assert "Nothing to do" in done.stdout
        assert path.read_text() == whole
    assert foresight("results", "verify").returncode == 0


def test_datasets_verify_names_damage_and_mends_nothing(foresight, toy):
    assert foresight("datasets", "prepare", "categories").returncode == 0
    images = next(toy.home.datasets.glob("categories*/images.npy"))
    pixels = bytearray(images.read_bytes())
    pixels[-1] ^= 1
    for damaged in (bytes(pixels), b"no array"):
        images.write_bytes(damaged)
        done = foresight("datasets", "verify", "categories")
        assert (done.returncode, images.read_bytes()) == (1, damaged)
        assert "categories: whole" not in done.stdout


def test_raw_files_for_data_that_need_none_are_refused(foresight):
    done = foresight("datasets", "prepare", "--from", "nowhere")
    assert done.returncode == 2
    assert "--from" in done.stderr


def test_every_model_of_a_full_profile_is_asked_for(foresight, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = foresight("download-models", "--profile", "real")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_up_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def full(**options: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "No space left" in capsys.readouterr().err


def test_ctrl_c_while_modules_are_imported_is_exit_130(monkeypatch: pytest.MonkeyPatch):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    with pytest.raises(SystemExit) as ended:
        console_script()
    assert ended.value.code == 130


def test_an_edited_record_is_not_shown_as_measured_but_computed_again(foresight, toy):
    run = ["run", "t1", "--plan", toy.plan, "--seeds", "1", "--in-process"]
    assert foresight(*run).returncode == 0
    record = next(path for path in toy.home.steps.glob("*/record.json") if '"t_a"' in path.read_text())
    measured = json.loads(record.read_text())["metrics"]["accuracy"]
    edited = json.loads(record.read_text())
    edited["metrics"]["accuracy"] = 0.123
    record.write_text(json.dumps(edited))
    assert str(record.relative_to(toy.home.root)) in foresight("results", "verify").stdout.replace("\n", "")
    assert foresight(*run).returncode == 0
    assert json.loads(record.read_text())["metrics"]["accuracy"] == measured
    assert (record.parent / "record.broken.json").exists()
    assert toy.calls().count("steady 0") == 3  # two sub-experiments, and the edited one again
    assert foresight("results", "verify").returncode == 0
