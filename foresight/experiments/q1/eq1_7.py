"""eq1_7, centred kernel alignment: how similar are the two representations as a whole?

Debiased linear CKA of held-out pictures between every point of the vision-language model (mean visual token) and the
video model's latents, flat and as channel means. p comes from dealing the pictures out anew 999 times, adjusted after
Holm for all points and both views, since they are read together. Baselines: pictures dealt out anew, and a space that
is the category and nothing else.

`cka`, Q1's criterion, is X4.last against flat X6: one value, fixed in advance, and not the best of many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.q1.spaces import DEALS, LTX, VLM, HeldOut, estimate, held_out, metric_name, point_of, space
from foresight.metrics.alignment import Gram, cka, cka_null, cka_without
from foresight.metrics.statistics import holm, pseudo_values
from foresight.metrics.structure import permutation_p
from foresight.plots.charts import curve
from foresight.plots.maps import heat_map
from foresight.plots.style import Estimate

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

VIEWS = {"flat": "flat", "channel mean": "mean"}
HIGH, ACCEPTABLE, WEAK = 0.5, 0.4, 0.25


def run(runner: ExperimentRunner) -> dict[str, Any]:
    held = held_out(runner)
    ours = {need: Gram.of(space(runner, held, need).held) for need in runner.needs if need != LTX}
    theirs = {view: Gram.of(space(runner, held, LTX, VIEWS[view]).held) for view in VIEWS}
    category = None if held.labels is None else Gram.of_labels(held.labels)

    # Every point against both views: value, null, and the jackknife's scores against the flat one
    metrics: dict[str, float] = {}
    values: dict[tuple[str, str], float] = {}
    p_values: dict[tuple[str, str], float] = {}
    line: dict[str, Estimate] = {}
    chance: dict[str, float] = {}
    for done, (need, gram) in enumerate(ours.items()):
        runner.progress(done / (len(ours) + 1), f"{need} and the permutations of its pictures")
        for view, other in theirs.items():
            value, null = cka(gram, other), cka_null(gram, other, runner.rng)
            if value is None or null is None:
                runner.note(f"CKA of {need} and X6 ({view}) is not defined: one of them has no structure of its own.")
                continue
            values[need, view], p_values[need, view] = value, permutation_p(value, null)
            if view == "flat":
                chance[need] = float(np.quantile(null, 0.95))
            else:
                metrics[metric_name("cka", point_of(need), "channel mean")] = value
        scores = _scores(gram, theirs["flat"])
        if scores is None:
            continue
        line[need] = estimate(scores, held.sources)
        name = "cka" if need == VLM else metric_name("cka", point_of(need))
        beside = _baselines(runner, gram, theirs["flat"], category)
        runner.log_samples(name, scores, groups=held.sources, baselines=beside, higher_is_better=True)
        if need == VLM:
            metrics |= {f"cka_{baseline}": np.mean(other) for baseline, other in beside.items()}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    if (VLM, "flat") not in adjusted or VLM not in line:
        return {"finding": "Not measured: one of the two spaces has no structure among these pictures."}
    metrics["cka_p"] = adjusted[VLM, "flat"]

    runner.progress(len(ours) / (len(ours) + 1), "pictures")
    _pictures(runner, held, ours, values, line, chance, category, theirs["flat"])
    runner.results.save_json_artifact(
        "cka.json",
        [
            {"point": point_of(need), "view": view, "cka": value, "p_holm": adjusted[need, view]}
            for (need, view), value in values.items()
        ],
    )

    # Finding
    found = values[VLM, "flat"]
    word = "high" if found > HIGH else "acceptable" if found > ACCEPTABLE else "low" if found > WEAK else "hardly any"
    alone = f"; the {held.label} alone has {{cka_category:.3f}}" if "cka_category" in metrics else ""
    return {
        "finding": f"There is {word} alignment of X4.last and X6 as a whole (low: over {WEAK:g}, acceptable: over "
        f"{ACCEPTABLE:g}, high: over {HIGH:g}): debiased CKA {{cka:.3f}} "
        f"(permuted pictures {{cka_permuted_pictures:.3f}}, p {{cka_p:.3f}}{alone}).",
        "metrics": metrics,
    }


def _scores(first: Gram, second: Gram) -> np.ndarray | None:
    whole, without = cka(first, second), cka_without(first, second)
    return None if whole is None or without is None else pseudo_values(whole, without)


def _baselines(runner: ExperimentRunner, ours: Gram, theirs: Gram, category: Gram | None) -> dict[str, np.ndarray]:
    """Pictures dealt out anew, and the category instead of the first space."""
    rng = runner.rng
    deals = [_scores(ours, theirs.permuted(rng.permutation(len(theirs.matrix)))) for _ in range(DEALS)]
    known = None if category is None else _scores(category, theirs)
    chance = np.mean([scores for scores in deals if scores is not None], axis=0)
    return {"permuted_pictures": chance, **({} if known is None else {"category": known})}


def _pictures(
    runner: ExperimentRunner,
    held: HeldOut,
    ours: dict[str, Gram],
    values: dict[tuple[str, str], float],
    line: dict[str, Estimate],
    chance: dict[str, float],
    category: Gram | None,
    flat: Gram,
) -> None:
    points, shown = [point_of(need) for need in ours], runner.caption(len(held))
    table = np.array([[values.get((need, view), np.nan) for need in ours] for view in VIEWS])
    drawn = heat_map(
        table,
        title="CKA of the vision-language model's points with X6",
        caption=shown,
        unit="debiased linear CKA",
        row_labels=[f"X6 {view}" for view in VIEWS],
        column_labels=points,
        x_label="point of the vision-language model, mean visual token",
    )
    runner.results.save_artifact("cka.png", drawn)
    among = np.array([[cka(a, b) for b in ours.values()] for a in ours.values()], dtype=float)
    drawn = heat_map(
        among,
        title="CKA among the vision-language model's own points",
        caption=shown,
        unit="debiased linear CKA",
        row_labels=points,
        column_labels=points,
    )
    runner.results.save_artifact("self_similarity.png", drawn)
    known = None if category is None else cka(category, flat)
    drawn = curve(
        [point_of(need) for need in line],
        {
            "with flat X6": list(line.values()),
            "95 % of permutations": [chance[need] for need in line],
        },
        title="Alignment with X6 through the vision-language model",
        caption=shown,
        x_label="point, mean visual token",
        y_label="debiased linear CKA",
        baselines={} if known is None else {f"{held.label} alone": known},
        thresholds={"acceptable at X4.last": ACCEPTABLE},
    )
    runner.results.save_artifact("by_point.png", drawn)
