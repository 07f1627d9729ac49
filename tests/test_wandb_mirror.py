"""What W&B is shown of a run, with the real client: offline, and against a server on a good day and on bad ones.

The steps of these tests are over, or go on, without the mirror's help: it is a process that nobody waits for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from wandb_server import KEY, OnDisk, WandbServer, serving

from foresight.compute import ledger, planner
from foresight.compute.backend import Call
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.compute.request import RunRequest, resolve
from foresight.compute.run_step import run_call, steps_to_json
from foresight.compute.step import Step
from foresight.files import read_json, write_json
from foresight.home import Home
from foresight.results.record import read_record

CURVES = '''
from foresight.probes.training import Epoch

def curves(runner):
    """Curves with steps of their own, and a number without one."""
    for step in range(4):
        runner.log_metrics({"warm_up": 1.0 / (step + 1)}, step=step * 10)
    watch = runner.loss_curve("head")
    for number, loss in enumerate((0.5, 0.4, 0.3)):
        watch(Epoch(number, 2, train_loss=loss, validation_loss=loss + 0.1))
    runner.log_metrics({"seen": 12.0})
    picture = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738"
        "550000000049454e44ae426082"
    )
    runner.results.save_artifact("plots/map.png", picture)
    runner.results.save_artifact("broken.png", "no picture")
    runner.log_samples("accuracy", [0.9, 0.8], groups=["a", "b"], baseline=[0.5, 0.5])
    return {"finding": "accuracy {accuracy}", "metrics": {}, "artifacts": ["plots/map.png"]}
'''


class Mirrored:
    """One flow run over a toy programme, whose steps a test runs itself, with the mirror beside it."""

    def __init__(self, toy, second: str) -> None:
        (toy.folder / "toy_handlers.py").write_text((toy.folder / "toy_handlers.py").read_text() + CURVES)
        plan = toy.second_handler(second)
        self.home: Home = toy.home
        job = resolve(RunRequest(experiments=("t1",), sub_experiments=("t_b",), seeds=1, plan=plan))
        self.steps: Sequence[Step] = tuple(planner.plan_steps(job, self.home, "run").seeded.values())

    def compute(self) -> None:
        run_call(steps_to_json(Call(tuple(self.steps))), self.home, "call", "run")

    def attempt(self, number: int = 1) -> Path:
        return self.home.step(self.steps[0].fingerprint) / "attempts" / str(number)

    def start(
        self, server: WandbServer | None = None, *, key: str = KEY, answer_s: float = 120.0, finish_s: float = 200.0
    ):
        request = self.home.wandb / "run" / "request.json"
        steps = [{**step.to_json(), "fingerprint": step.fingerprint, "above": 0} for step in self.steps]
        mode = "online" if server else "offline"
        content = {"home": str(self.home.root), "run_id": "run", "mode": mode, "link": "http://prefect/run"}
        write_json(request, {**content, "steps": steps, "answer_s": answer_s, "finish_s": finish_s})
        own = {"WANDB_ERROR_REPORTING": "false", "HOME": str(self.home.root)}  # no netrc of the developer's
        if server:
            own |= {"WANDB_API_KEY": key, "WANDB_BASE_URL": server.url}
        with request.with_name("wandb.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "foresight.wandb_mirror", str(request)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**{k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}, **own},
            )

    def finish(self, process: subprocess.Popen[str]) -> list[str]:
        """End it as a flow run does, and return what it said."""
        said, _ = process.communicate(timeout=250)
        return said.splitlines()

    def log(self) -> str:
        return (self.home.wandb / "run" / "wandb.log").read_text()

    def on_disk(self) -> OnDisk:
        return OnDisk(self.home.root / read_json(self.attempt() / "wandb.json")["folder"])


def test_a_seed_becomes_a_run_with_its_settings_curves_pictures_and_findings(toy):
    mirrored = Mirrored(toy, "curves")
    step = mirrored.steps[0]
    ledger.write_call(
        mirrored.home,
        CallEntry(
            call_id="fc-1",
            run_id="run",
            backend="modal",
            steps=(StepEntry(label=step.label, fingerprint=step.fingerprint),),
            submitted_at=ledger.now(),
            link="https://modal/fc-1",
        ),
    )
    mirrored.compute()
    said = mirrored.finish(mirrored.start())

    assert len(said) == 2, mirrored.log()
    assert said[0].startswith("t1/t_b seed 0: left out broken.png: ")
    assert said[1].startswith("1 run kept here; to upload: wandb sync ")
    assert list(Path("/").glob(said[1].split()[-1][1:]))  # the path that the line names leads to it
    shown = mirrored.on_disk()
    assert (shown.run.run_group, shown.run.job_type, shown.run.display_name) == ("run", "t_b", "t1/t_b seed 0")
    assert (shown.config["seed"], shown.config["profile"], shown.config["sub_experiment"]) == (0, "tiny", "t_b")
    assert (shown.config["prefect"], shown.config["modal"]) == ("http://prefect/run", "https://modal/fc-1")
    assert shown.config["fingerprint"] == step.fingerprint
    curve = [(row["log_metrics/step"], row["head/train/loss"]) for row in shown.history if "head/train/loss" in row]
    assert curve == [(0, 0.5), (1, 0.4), (2, 0.3)]
    assert [row["head/validation/loss"] for row in shown.history if "head/validation/loss" in row] == [0.6, 0.5, 0.4]
    assert [row["log_metrics/step"] for row in shown.history if "warm_up" in row] == [0, 10, 20, 30]
    assert [row["seen"] for row in shown.history if "seen" in row] == [12.0]
    counter = [row["_step"] for row in shown.history]
    assert counter == sorted(set(counter))  # what goes backwards W&B would drop
    (picture,) = (row for row in shown.history if row.get("pictures/plots/map.png/_type") == "image-file")
    assert (shown.folder / "files" / picture["pictures/plots/map.png/path"]).read_bytes()[1:4] == b"PNG"
    record = read_record(mirrored.home, step.fingerprint)
    assert shown.summary["accuracy"] == record.metrics["accuracy"]
    assert shown.summary["baseline/accuracy/baseline"] == 0.5
    assert shown.summary["finding"] == "accuracy 0.85"
    assert "record.json" in shown.files
    assert shown.exit_code == 0


def test_a_step_that_fails_is_a_failed_run_with_the_curve_it_left(toy):
    mirrored = Mirrored(toy, "broken")
    mirrored.compute()
    mirrored.finish(mirrored.start())
    shown = mirrored.on_disk()
    assert [row["loss"] for row in shown.history] == [0.1]
    assert shown.summary["cause"] == "exception"
    assert "the last line of the handler" in shown.summary["error"]
    assert shown.exit_code == 1


def test_what_runs_already_computed_is_not_shown_again(toy):
    mirrored = Mirrored(toy, "steady")
    assert mirrored.finish(mirrored.start()) == []
    assert not (mirrored.home.wandb / "run" / "wandb").exists()


def test_on_a_good_day_the_run_is_online_while_the_step_works_and_the_log_says_where(toy):
    mirrored = Mirrored(toy, "curves")
    with serving("good") as server:
        process = mirrored.start(server)
        # an attempt under way: what has been logged so far, and no end
        mirrored.attempt().mkdir(parents=True)
        line = json.dumps({"metrics": {"loss": 0.75}, "step": 3, "time": ""})
        (mirrored.attempt() / "metrics.jsonl").write_text(f'{line}\n{{"metrics": {{"lo')
        assert process.stdout is not None
        assert process.stdout.readline() == f"{server.url}/team/foresight/groups/run\n"
        url = f"{server.url}/team/foresight/runs/"
        assert server.has_a_curve.wait(200)  # the step goes on
        with (mirrored.attempt() / "metrics.jsonl").open("a") as stream:
            stream.write('ss": 0.5}, "step": 4, "time": ""}\n')
        said = mirrored.finish(process)
    assert said == []
    assert process.returncode == 0, mirrored.log()
    assert [(row["log_metrics/step"], row["loss"]) for row in server.history] == [(3, 0.75), (4, 0.5)]
    assert read_json(mirrored.attempt() / "wandb.json")["url"].startswith(url)
    assert server.runs[0]["groupName"] == "run"
    assert {server.runs[0][name] for name in ("host", "repo", "commit")} <= {None, ""}
    assert "/config.yaml" in server.files
    assert "/requirements.txt" not in server.files


@pytest.mark.parametrize(
    ("day", "says", "answer_s"),
    [
        ("refuses", "the key is not known", 120.0),
        ("hangs", "Timed out", 1.0),
        ("ends", "what was sent was refused", 120.0),
        ("breaks", "what was sent is not taken", 10.0),
    ],
)
def test_on_a_bad_day_it_says_so_once_and_keeps_everything_here(toy, day: str, says: str, answer_s: float):
    mirrored = Mirrored(toy, "curves")
    mirrored.compute()
    with serving(day) as server:
        process = mirrored.start(server, answer_s=answer_s)
        said = mirrored.finish(process)
        assert process.returncode == 0, mirrored.log()
    trouble = [line for line in said if "trouble" in line]
    assert len(trouble) == 1, said
    assert says in trouble[0]
    assert "wandb sync" in said[-1]
    assert len(mirrored.on_disk().history) == 4 + 3 + 1 + 1 + 1
    assert mirrored.on_disk().summary["finding"] == "accuracy 0.85"


@pytest.mark.parametrize("key", ["", "too-short"])
def test_without_a_key_that_could_be_one_it_works_offline(toy, key: str):
    mirrored = Mirrored(toy, "steady")
    mirrored.compute()
    with serving("good") as server:
        said = mirrored.finish(mirrored.start(server, key=key))
    assert "key" in said[0], said
    assert "wandb sync" in said[-1]
    assert mirrored.on_disk().summary["finding"]


def test_it_ends_at_its_own_limit_whatever_holds_it_up_and_says_how_to_upload(toy):
    mirrored = Mirrored(toy, "curves")
    mirrored.compute()
    with serving("hangs") as server:
        process = mirrored.start(server, answer_s=600.0, finish_s=0.5)
        assert server.asked.wait(200)  # it waits for an answer that will not come
        said = mirrored.finish(process)
    assert process.returncode == 1
    assert len(said) == 1
    assert "not everything was taken 0.5 s after" in said[0]


def test_it_outlives_a_flow_run_that_is_killed_only_to_finish(toy):
    mirrored = Mirrored(toy, "curves")
    mirrored.compute()
    process = mirrored.start()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()  # nobody reads any more
    process.stdin.close()
    assert process.wait(200) == 0, mirrored.log()
    assert mirrored.on_disk().exit_code == 0
