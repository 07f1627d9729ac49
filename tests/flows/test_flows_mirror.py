"""A run that is shown in W&B, and one whose W&B never answers: the run is the same."""

from __future__ import annotations

import pytest
import yaml
from wandb_server import KEY, OnDisk, serving

from foresight.files import read_json

APART = 'import sys\n    assert "wandb" not in sys.modules\n    print("steady is at work")'


def of_wandb(stderr: str) -> list[str]:
    return [line.split("W&B │ ", 1)[1] for line in stderr.splitlines() if "W&B │ " in line]


def test_a_run_is_shown_offline_if_it_is_asked_for_and_says_how_to_upload_it(toy, shell):
    toy.edit_handlers('print("steady is at work")', APART)  # in the step's own process there is nothing of it
    plain = shell.run("run", "t1", "--plan", toy.plan, "--sub-experiment", "t_a")
    assert plain.returncode == 0, plain.stderr
    assert not of_wandb(plain.stderr)
    assert not toy.home.wandb.exists()

    shown = shell.run("run", "t1", "--plan", toy.plan, FORESIGHT_WANDB="offline")
    assert shown.returncode == 0, shown.stderr
    (line,) = of_wandb(shown.stderr)
    assert line.startswith("2 runs kept here; to upload: wandb sync ")  # those of t_a were computed before
    (folder,) = toy.home.wandb.iterdir()
    runs = [OnDisk(path) for path in folder.glob("wandb/offline-run-*")]
    assert {run.run.display_name for run in runs} == {"t1/t_b seed 0", "t1/t_b seed 1"}
    assert {run.config["flow_run"] for run in runs} == {folder.name}
    assert all("/runs/flow-run/" in run.config["prefect"] for run in runs)
    assert all(run.summary["finding"].startswith("steady: accuracy 0.") for run in runs)
    kept = [read_json(path) for path in toy.home.steps.glob("*/attempts/1/wandb.json")]
    assert all((toy.home.root / each["folder"]).is_dir() for each in kept)
    assert len(kept) == 2


def test_a_setting_that_is_none_is_refused_before_anything_starts(toy, shell):
    refused = shell.run("run", "t1", "--plan", toy.plan, FORESIGHT_WANDB="perhaps")
    assert refused.returncode == 2
    assert "Set it to online, offline or off" in refused.stderr
    assert not toy.home.steps.exists()


@pytest.mark.slow
@pytest.mark.parametrize("day", ["hangs", "refuses", "breaks"])
def test_whatever_w_and_b_does_the_run_ends_as_it_would_and_its_log_says_so_once(toy, shell, day: str):
    with serving(day) as server:
        own = {"FORESIGHT_WANDB": "online", "WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url}
        done = shell.run("run", "t1", "--plan", toy.plan, **own)
        assert server.asked.is_set()
    assert done.returncode == 0, done.stderr
    said = of_wandb(done.stderr)
    assert sum("no step waits for it" in line for line in said) == 1, said
    assert "wandb sync" in said[-1]
    assert KEY not in done.stderr
    content = yaml.safe_load((toy.home.results / "t1-toy" / "results.yaml").read_text())
    assert (content["status"], content["recommendation"]) == ("completed", "proceed")
    assert len(list(toy.home.steps.glob("*/record.json"))) == 4
