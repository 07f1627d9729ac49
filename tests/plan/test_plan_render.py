"""What `foresight plan show` prints, and the JSON that a program reads instead."""

from __future__ import annotations

import io
import json

from rich.console import Console

from foresight.plan import render
from foresight.plan.loader import load_plan


def shown(width: int = 200) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    for renderable in render.renderables(load_plan()):
        console.print(renderable)
    return stream.getvalue()


def test_experiments_stand_by_phase_with_what_is_implemented():
    lines = shown().splitlines()
    phases = [line.strip() for line in lines if line.startswith("Phase ")]
    assert phases == [
        "Phase 1",
        "Phase 2 (opened by gate_1_reconstruction)",
        "Phase 3 (opened by gate_2_bridging)",
        "Phase 4 (opened by gate_3_prediction)",
    ]
    q3 = next(line for line in lines if line.strip().startswith("q3 "))
    assert "not implemented" in q3
    assert "(e_q3_1)" in q3


def test_every_criterion_shows_its_level_its_unit_and_where_it_is_read():
    lines = shown().splitlines()
    psnr = next(line.split() for line in lines if " psnr " in line)
    assert psnr[:8] == ["c1", "psnr", "e1_5", ">=", "25", "dB", ">=", "22"]
    lpips = next(line.split() for line in lines if " lpips " in line)
    assert lpips[:7] == ["c1", "lpips", "e1_5", "<=", "0.25", "<=", "0.35"]
    assert "horizon_at_0.5_cosine" in shown(width=100)  # names keep their words together in a narrow window


def test_gates_show_what_they_ask_and_open():
    line = next(line.split() for line in shown().splitlines() if line.strip().startswith("gate_1_reconstruction"))
    assert line[1:5] == ["q1,", "p2", "phase", "2"]


def test_status_counts_handlers():
    c1 = load_plan().experiment("c1")
    subs = [sub.model_copy(update={"handler": "a.b:run"}) for sub in c1.sub_experiments]
    for ready, words in [(0, "not implemented"), (2, "2 of 6 implemented"), (6, "implemented")]:
        handlers = [s if i < ready else s.model_copy(update={"handler": None}) for i, s in enumerate(subs)]
        assert render.status(c1.model_copy(update={"sub_experiments": tuple(handlers)})) == words


def test_json_says_all_that_the_plan_says():
    plan = load_plan()
    content = json.loads(json.dumps(render.as_json(plan), allow_nan=False))
    assert content["hash"] == plan.hash
    q3 = next(e for e in content["experiments"] if e["short"] == "q3")
    assert q3["hash"] == plan.experiment("q3").hash
    assert q3["implemented"] is False
    assert q3["not_implemented"] == [f"e_q3_{n}" for n in range(1, 4)]
    assert q3["criteria"][0]["acceptable"] == 0.7
