"""What the UI's artifacts say: verdicts with interval and baseline, findings with their pictures, cost, gates."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image
from results_builders import begin, complete, experiment, finished_run, good, plan, record, samples, store

from foresight.home import Home
from foresight.plan.schema import Gate
from foresight.results import gates, markdown, view
from foresight.results.pictures import MOST_BYTES, data_uri
from foresight.results.sides import side


def picture(path, size=(1600, 900), noise=False):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8) if noise else np.full((*size[::-1], 3), 90)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition("base64,")[2])))


def test_a_picture_becomes_an_address_that_holds_it_small(tmp_path):
    address = data_uri(picture(tmp_path / "plain.png"))
    assert decoded(address).size == (640, 360)
    assert decoded(address).convert("RGB").getpixel((300, 200)) == (90, 90, 90)
    heavy = data_uri(picture(tmp_path / "heavy.png", noise=True))
    assert len(base64.b64decode(heavy.partition("base64,")[2])) <= MOST_BYTES
    (tmp_path / "note.txt").write_text("no picture")
    assert data_uri(tmp_path / "note.txt") is None
    assert data_uri(tmp_path / "gone.png") is None


def test_findings_carry_their_pictures_and_the_verdict_its_interval_and_baseline(tmp_path):
    home = Home(tmp_path)
    run = finished_run(home, "run-a", good())
    path = view.rebuild(home, run.experiment.id)
    for plot in path.parent.glob("artifacts/*/plot.png"):
        plot.unlink()
        picture(plot, (300, 200))
    document = view.read(home, run.experiment.id)
    page = markdown.findings(document, path.parent)
    assert "Clusters: 0.72." in page
    assert len(re.findall(r"!\[plot\]\(data:image/(png|jpeg);base64,", page)) == 3
    verdict = markdown.verdict(document)
    assert re.search(r"\| lpips \| \*\*met\*\* \| 0\.2 \| 0\.\d+ … 0\.\d+ \| ≤ 0\.35 \| mean image 0\.5 \|", verdict)
    assert "- lpips (e1_5): all of [" in verdict
    assert markdown.in_short(document).startswith("proceed (rehearsal on stand-ins), protocol complete but for")


def test_a_verdict_of_stand_ins_is_never_a_bare_word_and_one_of_real_models_is(tmp_path):
    for stand_in, title, column, sure in (
        (True, "proceed (rehearsal on stand-ins)\n", "| rehearsed |", "protocol complete but for the number of seeds"),
        (False, "proceed\n", "| verdict |", "confidence medium"),
    ):
        home = Home(tmp_path / str(stand_in))
        run = finished_run(home, "run-a", good(stand_in=stand_in))
        view.rebuild(home, run.experiment.id)
        document = view.read(home, run.experiment.id)
        page = markdown.verdict(document)
        assert page.startswith(f"# VLM latent sufficiency: {title}")
        assert column in page
        assert f", {sure}, run" in page
        assert ("confidence" in page) is not stand_in
        assert sure in markdown.in_short(document)


def test_the_page_compares_extraction_points_and_names_what_the_oracle_misses(tmp_path):
    home = Home(tmp_path)
    measured = [
        record("e1_5", 0, samples("lpips", 0.5, baseline=0.9), metrics={"lpips_oracle": 0.3, "lpips_x2": 0.2}),
        record("e1_4", 0, samples("iou", 0.8, baseline=0.3)),
    ]
    run = finished_run(home, "run-a", measured)
    view.rebuild(home, run.experiment.id)
    page = markdown.verdict(view.read(home, run.experiment.id))
    assert "  - the target (0.25) lies out of reach here: the oracle, what the same decoder makes of the true" in page
    assert "| score | X2 | X3 |\n|---|---|---|\n| lpips (e1_5; less is better) | 0.2 | 0.5 |" in page


def test_cost_tells_what_this_run_computed_from_what_it_took_from_records(tmp_path):
    home = Home(tmp_path)
    first = finished_run(home, "run-1", good())
    again = finished_run(home, "run-2", good())  # the same records
    assert "| **all** | 3 | | 6.0 | **0.75** | |" in markdown.cost(side(home, first))
    page = markdown.cost(side(home, again))
    assert "| e1_4 | 0 | 1 | 0.0 | 0.00 | – |" in page
    assert "**0.00**" in page


def test_both_verdicts_of_a_gate_that_was_opened_stay_visible(tmp_path):
    home = Home(tmp_path)
    programme = plan(experiment(), gates=[Gate(id="gate_1", experiments=("c1",), unlocks_phase=2)])
    gates.override(home, programme, "gate_1", by="Ada", reason="worth a try")
    page = markdown.gates([gates.evaluate(home, programme, "gate_1")])
    assert "**pending**" in page
    assert "opened by Ada" in page


def test_a_page_of_findings_shows_what_a_probe_does_before_how_it_was_trained(tmp_path):
    home = Home(tmp_path)
    one = record("e1_5", 0, samples("lpips", 0.2, baseline=0.5))
    drawn = picture(tmp_path / "drawn.png", (60, 40)).read_bytes()
    run = begin(home, "run-a")
    complete(home, run, store(home, one, {"learning_curve_global.png": drawn, "grid.png": drawn, "more.png": drawn}))
    path = view.rebuild(home, run.experiment.id)
    page = markdown.findings(view.read(home, run.experiment.id), path.parent)
    assert re.findall(r"!\[([^]]+)]", page) == ["grid", "more"]
