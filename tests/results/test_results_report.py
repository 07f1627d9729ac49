"""The report: a stranger can read what was asked, what came out, how sure it is, what it cost; nothing is fetched."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from results_builders import (
    IOU,
    LPIPS,
    begin,
    complete,
    experiment,
    finished_run,
    good,
    plan,
    record,
    samples,
    store,
)

from foresight.errors import UserError
from foresight.files import write_json
from foresight.home import Home
from foresight.metrics.statistics import Interval
from foresight.plan.schema import Gate
from foresight.results import gates, points, runs
from foresight.results.record import Attempt
from foresight.results.report import along, facts, glossary, numbers, origin, page, scale, wording

PLAN = plan(experiment(), gates=[Gate(id="gate_1", experiments=("c1",), unlocks_phase=2)])


class Page(HTMLParser):
    """What a browser would make of it, as far as the tests ask."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.headings: list[int] = []
        self.outside: list[str] = []
        self.words: list[str] = []
        self._silent = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self._silent = tag in ("style", "script")
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found["href"]))
        if tag == "img":
            self.images.append(found)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag in ("link", "script", "iframe", "object", "embed", "video", "audio"):
            self.outside.append(tag)
        for name in ("src", "srcset", "href", "data", "poster"):
            value = found.get(name)
            if value and not value.startswith(("data:", "#")):
                self.outside.append(value)

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def picture(width: int = 40, height: int = 20) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "#0072B2").save(stream, "PNG")
    return stream.getvalue()


def html(home: Home, name: str | None = "c1", of=PLAN) -> str:
    found = facts.experiment(home, name, of) if name else facts.programme(home, of)
    return page.render(found, Path("x.html"), moving="real", origin="foresight results report").text


def of(home: Home, name: str = "c1") -> facts.ExperimentFacts:
    return facts.experiment(home, name, PLAN)


@pytest.fixture
def mixed(home: Home) -> Home:
    """IoU met, LPIPS far off, e1_1 failed with an attempt that was paid for."""
    run = begin(home, "run-1", seeds=(0, 1, 2))
    complete(
        home,
        run,
        *(
            store(
                home, record("e1_4", seed, samples("iou", 0.8, baseline=0.3, seed=seed), finding="IoU {iou:.2f} <b>&")
            )
            for seed in range(3)
        ),
    )
    complete(
        home,
        run,
        *(
            store(
                home,
                record("e1_5", seed, samples("lpips", 0.6, baseline=0.9, seed=seed), metrics={"weights": 12.0}),
                {"grid.png": picture(), "learning_curve.png": picture(), "scores.json": b"{}"},
            )
            for seed in range(3)
        ),
    )
    lost = record("e1_5", 0).fingerprint
    failed = Attempt(fingerprint=lost, number=1, cause="out_of_memory", error="too big", seconds=7.0, cost_usd=1.5,
                     started_at="2026-01-01T00:00:00+00:00", finished_at="2026-01-01T00:00:07+00:00")  # fmt: skip
    write_json(home.step(lost) / "attempts/1/attempt.json", failed.model_dump(mode="json"))
    changes = {"status": "failed", "error": "RuntimeError: no such luck", "steps": {0: "0" * 64}}
    runs.update_sub_experiment(home, run.experiment.id, "run-1", "e1_1", **changes)
    runs.finish(home, run.experiment.id, "run-1", "failed")
    return home


def test_it_says_what_was_asked_what_came_out_how_sure_and_what_it_cost(mixed):
    text = Page(html(mixed)).text
    assert "Can the latents be decoded back to pixels?" in text
    assert "of 2 criteria 1 is met and 1 is not met" in text
    assert "What decides is lpips, 0.6 where at most 0.35 is acceptable: even the better end" in text
    assert "Protocol complete: 2 of 2 criteria have an interval" in text
    assert "with 3 seeds" in text
    assert "That is about the measuring alone: of the real models there is nothing to be confident of." in text
    assert "confidence" not in text.split("Criteria")[0]
    assert "$3.00" in text  # six finished steps of 25 cents and the attempt that did not finish


def test_stand_ins_stand_above_everything_and_decide_nothing(mixed):
    shown = Page(html(mixed)).text
    assert shown.index("the real model code with tiny weights") < shown.index("Criteria")
    assert wording.verdict(of(mixed))[0].startswith("Pivot (rehearsal on stand-ins): the rule gives this word, and")


def test_a_verdict_of_stand_ins_is_never_shown_as_a_bare_word_or_in_a_verdicts_colour(mixed):
    for text in (html(mixed), html(mixed, None)):
        assert '<span class="badge rehearsal">pivot (rehearsal on stand-ins)</span>' in text
        assert 'class="badge pivot"' not in text
        assert 'class="verdict pivot"' not in text
    assert "<title>" in text
    whole = page.render(facts.programme(mixed, PLAN), Path("x.md"), moving="real", origin="").text
    assert "| pivot (rehearsal on stand-ins) |" in whole


def test_the_question_is_answered_by_the_heads_of_the_findings_that_decide(mixed):
    assert wording.answers(of(mixed)) == [("e1_4", "IoU 0.80 <b>&")]
    assert wording._head("A good (2; of 3) [1. 2] reading; more. And more.") == "A good (2; of 3) [1. 2] reading."
    text = Page(html(mixed)).text
    assert text.index("IoU 0.80") < text.index("What decides is")
    assert "since one criterion that is not met is enough" in text


def test_real_models_are_not_called_stand_ins(home):
    finished_run(home, "run-1", [one for seed in range(3) for one in good(seed, stand_in=False)])
    assert "stand-in" not in Page(html(home)).text.lower()
    assert '<span class="badge proceed">proceed</span>' in html(home)
    assert wording.verdict(of(home))[0] == ("Proceed: the idea holds by its own criteria; of 2 criteria 2 are met.")


def test_what_was_not_measured_is_said(mixed):
    assert wording.not_measured(of(mixed)) == [
        "The real models (Qwen2.5-VL): stand-ins took their place.",
        "e1_1 Study e1_1 is failed: RuntimeError: no such luck.",
    ]
    run = begin(mixed, "run-2", experiment((LPIPS, IOU), short="c7"))
    complete(mixed, run, store(mixed, record("e1_1", metrics={"a": 1.0}, experiment_id="c7-study")))
    said = wording.not_measured(of(mixed, "c7"))
    assert "Criterion lpips: e1_5 has not run." in said
    assert any(line.startswith("e1_4 Study e1_4 is pending") for line in said)


def test_a_value_without_an_interval_is_among_what_was_not_measured(home):
    finished_run(home, "run-1", [record("e1_4", metrics={"iou": 0.9}), record("e1_5", 0, samples("lpips", 0.2))])
    said = " ".join(wording.not_measured(of(home)))
    assert "spatial_iou has no interval: no per-sample scores" in said
    assert "lpips has no comparison with a trivial baseline" in said


def test_a_stub_run_is_nothing_but_a_rehearsal(home):
    run = begin(home, "run-1", stub=True)
    for sub in ("e1_1", "e1_4", "e1_5"):
        runs.update_sub_experiment(home, run.experiment.id, "run-1", sub, status="stub")
    text = Page(html(home)).text
    assert "Nothing was measured" in text
    assert "--stub-mode" in text


def test_nothing_is_fetched_and_every_link_leads_somewhere(mixed):
    shown = Page(html(mixed))
    assert shown.outside == []
    assert len(set(shown.ids)) == len(shown.ids)
    assert {link.removeprefix("#") for link in shown.links} <= set(shown.ids)
    assert "url(" not in html(mixed)


def test_it_can_be_read_without_eyes(mixed):
    """Every picture has a text, every drawing a label, and headings do not skip a level."""
    text = html(mixed)
    shown = Page(text)
    assert len(shown.images) == 2
    assert all(image["alt"] and image["width"] == "40" for image in shown.images)
    assert text.count("<svg") == text.count('role="img" aria-label="')
    for above, below in zip(shown.headings, shown.headings[1:], strict=False):
        assert below <= above + 1
    assert shown.headings[0] == 1
    assert shown.headings.count(1) == 1


def luminance(colour: str) -> float:
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "paper"), ("quiet", "paper"), ("ink", "soft"), ("quiet", "soft"), ("link", "paper"),
        ("good", "good-soft"), ("warn", "warn-soft"), ("bad", "bad-soft"), ("none", "none-soft"), ("ink", "warn-soft"),
    ],
)  # fmt: skip
def test_every_text_has_enough_contrast(theme: int, text: str, ground: str):
    """WCAG 2.2 AA asks for 4.5 to 1."""
    style = Path(page.__file__).with_name("templates").joinpath("page.css").read_text()
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", style.split(":root")[theme + 1]))
    lighter, darker = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_what_a_handler_wrote_is_text_and_no_markup(mixed):
    assert "IoU 0.80 &lt;b&gt;&amp;" in html(mixed)


def test_pictures_come_before_curves_and_other_files_by_name(mixed):
    sub = of(mixed).subs[2]
    assert [path.name for path in sub.pictures] == ["grid.png", "learning_curve.png"]
    assert sub.files == ("artifacts/e1_5/scores.json",)


def test_a_file_that_is_no_picture_is_said_to_be_none(home):
    finished_run(home, "run-1", good())  # whose plot.png is a line of text
    assert "plot.png is no picture that can be shown" in Page(html(home)).text
    assert "no picture that can be shown" in page.render(of(home), Path("x.md"), moving="real", origin="").text


def test_large_pictures_become_smaller(home):
    import numpy as np

    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    finished_run(home, "run-1", good())
    store(home, good()[2], {"plot.png": stream.getvalue()})
    text = html(home)
    assert "data:image/jpeg;base64," in text
    assert len(text) < len(stream.getvalue())


def test_an_edited_results_yaml_changes_nothing(mixed):
    from foresight.results import view

    before = html(mixed)
    path = view.rebuild(mixed, "c1-vlm-latent-sufficiency")
    assert path is not None
    path.write_text(path.read_text().replace("pivot", "proceed").replace("0.6", "0.2"))
    assert html(mixed) == before


def test_every_metric_stands_beside_every_baseline_and_the_published_figure(mixed):
    sub = of(mixed).subs[2]
    assert [(metric.name, metric.baselines, metric.sources) for metric in sub.metrics] == [
        ("lpips", {"mean_image": pytest.approx(0.9)}, 20)
    ]
    assert [metric.name for metric in sub.others] == []
    assert [metric.name for metric in sub.repeated] == ["weights"]  # a count, the same for every seed
    text = Page(html(mixed)).text
    assert "lpips ↑ 0.600 0.900 mean image behind (" in text  # these samples say that more is better
    assert "0.264 (0.236)" in text
    assert "another model's decoder" in text


def test_the_programme_shows_gates_decisions_and_what_has_not_run(mixed):
    whole = plan(experiment(), experiment(short="c9", phase=2), gates=PLAN.gates)
    gates.override(mixed, whole, "gate_1", by="Ada Lovelace", reason="the pivot is under way")
    text = html(mixed, None, whole)
    shown = Page(text)
    assert "Opened by Ada Lovelace" in shown.text
    assert "has not run in real" in shown.text
    assert "Can the latents be decoded back to pixels?" in shown.text
    assert shown.outside == []
    assert len(set(shown.ids)) == len(shown.ids)
    assert {link.removeprefix("#") for link in shown.links} <= set(shown.ids)


def test_markdown_says_the_same_and_its_pictures_lie_beside(mixed, tmp_path):
    output = tmp_path / "FINDINGS.md"
    report = page.render(of(mixed), output, moving="real", origin="foresight results report c1")
    page.write(report, output)
    text = output.read_text()
    assert wording.verdict(of(mixed))[1] in text
    assert "| lpips (e1_5) | 0.600 |" in text
    linked = re.findall(r"!\[[^]]*]\(([^)]+)\)", text)
    assert len(linked) == 2
    assert all((tmp_path / name).is_file() for name in linked)
    whole = page.render(facts.programme(mixed, PLAN), output, moving="real", origin="").text
    assert "| gate_1 | phase 2 |" in whole
    assert "\n\n\n" not in text


def test_another_suffix_and_a_missing_folder_are_refused(mixed, tmp_path):
    with pytest.raises(UserError, match=r"\.html or \.md"):
        page.render(of(mixed), Path("c1.pdf"), moving="real", origin="")
    with pytest.raises(UserError, match="no folder"):
        page.write(page.Report("x", {}), tmp_path / "nowhere/c1.html")


def test_what_loses_to_a_guess_is_seen_to_lose(home):
    """The best baseline is the one that we are least ahead of; a result behind it is not in a winner's letters."""
    seeds = [samples("iou", 0.6, baseline=0.7, seed=seed) for seed in range(3)]
    finished_run(home, "run-1", [record("e1_4", seed, one) for seed, one in enumerate(seeds)])
    metric = of(home).subs[1].metrics[0]
    assert (metric.best, metric.against) == ("mean_image", "behind")
    text = html(home)
    assert '<span class="badge against behind">behind</span>' in text
    assert '<td class="n ours">' not in text.split('class="metrics"')[1].split("</table>")[0]


@pytest.mark.parametrize(("ours", "said"), [(0.72, "ahead"), (0.7001, "level"), (0.68, "behind")])
def test_ahead_or_behind_is_said_where_the_interval_leaves_no_doubt(home, ours: float, said: str):
    finished_run(home, "run-1", [record("e1_4", s, samples("iou", ours, baseline=0.7, seed=s)) for s in range(3)])
    assert of(home).subs[1].metrics[0].against == said


def test_the_oracle_is_drawn_where_a_record_has_one(home):
    of_seed = [
        record("e1_5", s, samples("lpips", 0.5, baseline=0.9, seed=s), samples("lpips_oracle", 0.3, seed=s))
        for s in range(3)
    ]
    finished_run(home, "run-1", of_seed)
    row = next(one for one in of(home).criteria if one.row["name"] == "lpips")
    assert row.oracle == pytest.approx(0.3)
    assert "oracle 0.300" in html(home)


def test_what_lies_beyond_the_oracle_is_said_at_its_criterion(home):
    """0.3 is at acceptable and misses the target; 0.36 misses both; 0.2 neither."""
    for oracle, said in (
        (0.3, "The target (0.25) lies out of reach here: the oracle"),
        (0.36, "The acceptable level (0.35) and the target (0.25) lie out of reach here"),
        (0.2, None),
    ):
        finished_run(home, f"run-{oracle}", [
            record("e1_5", 0, samples("lpips", 0.5, baseline=0.9), samples("lpips_oracle", oracle), salt=str(oracle))
        ])  # fmt: skip
        text = Page(html(home)).text
        assert (said in text) if said else ("out of reach" not in text)


def test_the_same_score_elsewhere_stands_at_the_criterion_and_its_finding_at_the_top(home):
    """A linear probe that reaches what the designated arm does not is no footnote."""
    linear = record("e1_1", 0, samples("lpips", 0.336, baseline=0.9), finding="Linearly LPIPS {lpips:.3f}; and more.")
    decides = record("e1_5", 0, samples("lpips", 0.5, baseline=0.9), finding="Painted LPIPS {lpips:.3f}.")
    finished_run(home, "run-1", [linear, decides])
    assert wording.beside(of(home)) == [("e1_1", "Linearly LPIPS 0.336.")]
    text = Page(html(home)).text
    assert text.index("Painted LPIPS 0.500.") < text.index("Linearly LPIPS 0.336.") < text.index("What the words stand")
    assert "The same score elsewhere e1_1 study e1_1 0.336" in text


def along_points(home: Home) -> facts.ExperimentFacts:
    """Three seeds: lpips falls apart from X2 to X3 and does not move from X3 to X4.last; iou is read at X3 alone."""
    records = []
    for seed in range(3):
        scores = {"lpips_x2": 0.2, "lpips_x4_last": 0.5004}
        at_points = [samples(name, value, baseline=0.9, seed=seed, higher=False) for name, value in scores.items()]
        decides = samples("lpips", 0.5, baseline=0.9, seed=seed, higher=False)
        jitter = decides.model_copy(update={"scores": [s + (-1) ** i * 0.01 for i, s in enumerate(decides.scores)]})
        records.append(record("e1_5", seed, jitter, *at_points))
        records.append(record("e1_4", seed, samples("iou", 0.8, baseline=0.3, seed=seed)))
    finished_run(home, "run-1", records)
    return of(home)


def test_where_a_score_is_lost_along_the_points_is_at_the_top_with_an_interval(home):
    found = along_points(home)
    assert [(step.before, step.after, step.word) for step in found.steps] == [
        ("X2", "X3", "lost"), ("X3", "X4.last", "no change seen")
    ]  # fmt: skip
    assert along.where(found.steps) == [
        "X2 \u2192 X3, the merger: lpips (e1_5) loses.",
        "X3 \u2192 X4.last, language model: lpips (e1_5) does not move beyond its interval.",
    ]
    text = Page(html(home)).text
    assert text.index("lpips (e1_5) loses.") < text.index("What the words stand for")
    assert "X2 \u2192 X3 , the merger lpips \u2193 e1_5 0.200 \u2192 0.500 lost (\u22120.30" in text
    written = page.render(found, Path("x.md"), moving="real", origin="").text
    assert "| X2 \u2192 X3, the merger | lpips (e1_5) | 0.200 | 0.500 | lost (" in written


def test_how_a_score_was_read_is_said_where_it_matters():
    def step(metric: str, how: str, word: str) -> along.Step:
        low, high = {"lost": (-2, -1), "gained": (1, 2), "no change seen": (-1, 1)}[word]
        gain = Interval((low + high) / 2, low, high, 10, 3, "")
        return along.Step(points.Series("e1", metric, how, True), "X2", "X3", (1.0, 0.0), gain)

    alike = [step("lpips", "at one width", "lost"), step("lpips", "as they are", "lost"), step("ssim", "", "lost")]
    assert along.where(alike) == ["X2 \u2192 X3, the merger: lpips and ssim (e1) lose."]
    apart = [
        step("iou", "at one width", "gained"),
        step("iou", "as they are", "lost"),
        step("f1", "", "no change seen"),
    ]
    assert along.where(apart) == [
        "X2 \u2192 X3, the merger: iou as they are (e1) loses; iou at one width (e1) gains; f1 (e1) does not "
        "move beyond its interval."
    ]


def test_an_interval_says_how_much_of_it_comes_from_the_seeds(home):
    """e1_4's seeds lie far apart, e1_5's are the same: one interval is mostly seeds, the other not at all."""
    far = {0: 0.7, 1: 0.8, 2: 0.9}
    records = [
        record("e1_4", s, samples("iou", centre, baseline=0.3, spread=0.01, seed=s)) for s, centre in far.items()
    ]
    records += [record("e1_5", s, samples("lpips", 0.2, baseline=0.9, seed=s)) for s in range(3)]
    finished_run(home, "run-1", records)
    parts = {one.row["name"]: wording.parts(one) for one in of(home).criteria}
    assert parts["lpips"] == "all from sources, none from seeds"
    assert re.fullmatch(r"mostly seeds: seeds ± 0\.24\d, sources −0\.00\d+ \+0\.00\d+", parts["spatial_iou"])
    text = Page(html(home)).text
    assert parts["spatial_iou"] in text
    assert re.search(r"ahead \([^)]+, mostly seeds\)", text)
    assert "their standard error times 4.3 where there are three" in text


def test_a_criterions_word_on_stand_ins_is_a_rehearsals_too(home):
    finished_run(home, "run-1", [one for seed in range(3) for one in good(seed)])
    assert '<span class="badge rehearsal">met (rehearsal)</span>' in html(home)
    assert 'class="badge met"' not in html(home)
    assert "| **met (rehearsal)**: all of" in page.render(of(home), Path("x.md"), moving="real", origin="").text


@pytest.mark.parametrize("address", ["https://github.com/someone/foresight", None])
def test_it_says_how_to_cite_it_and_invents_no_address(home, monkeypatch, address):
    monkeypatch.setattr(origin, "repository", lambda: address)
    finished_run(home, "run-1", good())
    text = Page(html(home)).text
    cited = "Foresight, C1 “VLM latent sufficiency”, profile tiny, a rehearsal on stand-ins, run run-1 of "
    assert cited in text
    assert f"code at commit {'a' * 12}, criteria " in text
    if address:
        assert f". {address}" in text
        assert f"git clone {address} foresight" in text
    else:
        assert "No public address of the code is known here" in text
        assert "https://" not in text.split("How to reproduce it")[1]


def test_notes_that_say_something_was_not_measured_are_collected(home):
    noted = record("e1_5", 0, samples("lpips", 0.2, baseline=0.9))
    notes = ["ap_large: insufficient, no object of that size was held out.", "It was a fine day."]
    also = record("e1_4", 0, samples("iou", 0.8, baseline=0.3)).model_copy(update={"notes": notes[:1]})
    finished_run(home, "run-1", [noted.model_copy(update={"notes": notes}), also])
    assert "e1_4 and e1_5: ap_large: no data, no object of that size was held out." in wording.not_measured(of(home))
    assert "fine day" not in " ".join(wording.not_measured(of(home)))


def test_terms_and_points_are_those_that_the_page_uses(mixed):
    names = [name for name, _ in glossary.terms([of(mixed)])]
    assert {"source", "seed", "±", "LPIPS", "IoU", "mean image"} <= set(names)
    assert "CKA" not in names
    assert [name for name, _ in glossary.points([of(mixed)])] == ["X3", "X6"]


def test_data_are_described_by_their_manifest(home):
    content = {"sha256": "d" * 64, "shape": [480, 8, 112, 96, 3], "sources": {"a": {"origin": "drawn, D7, clip 0"}}}
    write_json(home.datasets / "motion-1/manifest.json", content)
    (home.datasets / "broken").mkdir()
    (home.datasets / "broken/manifest.json").write_text("{")
    known, other = origin._data(home, {"motion": "d" * 64, "else": "e" * 64})[::-1]
    said = wording.data(known, [0.6, 0.15, 0.25])
    assert said.startswith("480 clips of 8 frames, 96 x 112 px, drawn by a generator, of 1 source; train / validation")
    assert "60% / 15% / 25% of the sources" in said
    assert wording.data(other, []) == "its manifest does not lie here"


@pytest.mark.parametrize(
    ("value", "spread", "said"),
    [
        (0.61, None, "0.610"),
        (0.6102, 0.02231, "0.610 ± 0.022"),
        (21.0, None, "21.0"),
        (-0.0325, 0.0062, "−0.0325 ± 0.0062"),
        (0.0, None, "0"),
        (1234.5, None, "1,234"),
        (2e-7, None, "2.00e-07"),
        (0.0, 0.5, "0.000 ± 0.500"),
    ],
)
def test_a_column_of_numbers_has_even_digits(value: float, spread: float | None, said: str):
    assert numbers.measured(value, spread) == said


def test_signs_are_true_ones_and_names_stay():
    assert numbers.prose("X3 -> X6: -0.03 (e1-4, 2026-11-26, 1e-05)") == "X3 → X6: −0.03 (e1-4, 2026-11-26, 1e-05)"


# The drawing of a criterion


ROW = {"name": "x", "value": 0.5, "interval": {"low": 0.45, "high": 0.55}, "direction": "higher", "target": 0.9,
       "acceptable": 0.7, "failure": 0.5, "unit": ""}  # fmt: skip


def boxes(svg: str) -> list[tuple[float, float, float]]:
    """Every text of a drawing: left, right, base line."""
    found = []
    for anchor, x, y, text in re.findall(
        r'<text class="\w+"(?: text-anchor="(\w+)")? x="([\d.]+)" y="([\d.]+)">([^<]*)</text>', svg
    ):
        left = float(x) - (len(text) * 6.6 if anchor == "end" else 0)
        found.append((left, left + len(text) * 6.6, float(y)))
    return found


@pytest.mark.parametrize("width", [scale.WIDE, scale.NARROW])
@pytest.mark.parametrize("oracle", [None, 0.95, 30.0])
@pytest.mark.parametrize(
    "baselines", [{}, {f"guess {index}": 0.3 + index / 1000 for index in range(7)}, {"mean": -45.0, "other": 99.0}]
)
def test_no_two_labels_overlap_and_none_leaves_the_drawing(width: int, oracle: float | None, baselines: dict):
    drawn = boxes(scale._draw(ROW, baselines, oracle, width, "wide", ""))
    assert len(drawn) == 4 + len(baselines) + (oracle is not None)
    for left, right, base in drawn:
        assert left >= 0
        assert right <= width
        assert not any(
            other != (left, right, base) and other[2] == base and other[0] < right and left < other[1]
            for other in drawn
        )


@pytest.mark.parametrize("width", [scale.WIDE, scale.NARROW])
@pytest.mark.parametrize("levels", [(0.9, 0.7, 0.5), (0.52, 0.51, 0.5), (0.9, 0.52, 0.5), (0.9, 0.89, 0.5)])
def test_no_hairline_strikes_a_label_through(width: int, levels: tuple[float, ...]):
    row = {**ROW, **dict(zip(("target", "acceptable", "failure"), levels, strict=True))}
    svg = scale._draw(row, {}, None, width, "wide", "")
    ties = [
        (float(x), float(to))
        for x, to in re.findall(r'<line class="tie" x1="([\d.]+)" x2="[\d.]+" y1="[\d.]+" y2="([\d.]+)"/>', svg)
    ]
    names = [box for box in boxes(svg) if box[2] > 40]
    assert len(names) == 3
    assert not any(left < x < right and base < to for x, to in ties for left, right, base in names)


def test_baselines_stand_in_the_order_of_their_values_each_on_its_line():
    svg = scale._draw(ROW, {"b": 99.0, "a": 60.0, "c": -45.0}, None, 330, "narrow", "")
    written = re.findall(r">((?:← )?[abc] [^<]*)<", svg)
    assert [text.split()[0] if "←" not in text else "c" for text in written] == ["c", "a", "b"]


def test_better_lies_where_the_direction_says():
    for direction, levels in (("higher", (0.9, 0.7, 0.5)), ("lower", (0.25, 0.35, 0.45))):
        row = {**ROW, "direction": direction, **dict(zip(("target", "acceptable", "failure"), levels, strict=True))}
        svg = scale._draw(row, {}, None, 680, "wide", "")
        left = {kind: float(x) for kind, x in re.findall(r'<rect class="(\w+)" x="([\d.]+)"', svg)}
        order = sorted(left, key=lambda kind: left[kind], reverse=direction == "lower")
        assert order == ["failed", "short", "fine", "aim"]


def test_a_far_baseline_does_not_squash_the_thresholds():
    svg = scale._draw(ROW, {"random": -45.1}, None, 680, "wide", "")
    assert "← random −45.1" in svg
    places = [float(x) for x in re.findall(r'<line class="tick" x1="([\d.]+)"', svg)]
    assert max(places) - min(places) > 200


def test_the_drawing_says_in_words_what_it_shows():
    said = scale.in_words({**ROW, "unit": "dB"}, {"mean_image": 0.2}, 0.8)
    assert said == (
        "x 0.500 dB, 95 % interval 0.450 to 0.550; target 0.9; acceptable 0.7; failure 0.5; oracle 0.800; "
        "baseline mean image 0.200. "
        "Higher is better."
    )
    assert scale.draw({**ROW, "value": None}, {}) == ""


@pytest.mark.parametrize(
    ("seconds", "said"), [(4.23, "4.2 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (59.99, "60.0 s")]
)
def test_durations_as_one_says_them(seconds: float, said: str):
    assert wording.duration(seconds) == said


def test_a_reader_imports_neither_torch_nor_prefect():
    code = (
        "import sys; from foresight.results.report import page, facts; print({'torch', 'prefect'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_dino_is_drawn_where_it_occurs(monkeypatch: pytest.MonkeyPatch):
    assert "DINOv2" not in glossary.diagram([])
    monkeypatch.setattr(glossary, "points", lambda _: [("X7", "")])
    assert ">DINOv2</text>" in glossary.diagram([])
    assert ">X3 or X7 tokens</text>" in glossary.diagram([])
