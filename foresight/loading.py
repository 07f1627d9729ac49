"""Reading results back, in a notebook: the document, the per-sample scores, the features, by the names they have.

import foresight

c1 = foresight.load("c1")
c1.document["recommendation"]
c1.samples("e1_4", "spatial_iou")[0].scores            # seed 0, one score a held-out picture, groups beside it
c1.features("e1_4", "single_object/vlm:X3")[:8]        # float32 [8, H, W, D]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foresight.errors import UserError
from foresight.features.store import FeatureArray, open_features
from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.results import document, runs, view
from foresight.results.record import Record, Samples, read_record


@dataclass(frozen=True)
class Results:
    """What an experiment, or one run of it, has left."""

    home: Home
    document: Mapping[str, Any]  # the content of results.yaml

    def records(self, sub_experiment: str) -> dict[int, Record]:
        """Seed -> record. Raises `UserError` for an unknown sub-experiment, or a record that is gone."""
        entries = self.document["results"]["experiments"]
        if sub_experiment not in entries:
            raise UserError(f"There is no sub-experiment '{sub_experiment}' here. There are: {', '.join(entries)}.")
        found = {}
        for seed, fingerprint in entries[sub_experiment].get("records", {}).items():
            record = read_record(self.home, fingerprint)
            if record is None:
                raise UserError(
                    f"The record of {sub_experiment} seed {seed} is gone. `foresight results verify` tells more."
                )
            found[int(seed)] = record
        return found

    def samples(self, sub_experiment: str, metric: str) -> dict[int, Samples]:
        """Seed -> scores, groups and baselines, one entry a sample. Raises `UserError` for an unknown metric."""
        found = {}
        for seed, record in self.records(sub_experiment).items():
            by_name = {samples.metric: samples for samples in record.samples}
            if metric not in by_name:
                raise UserError(
                    f"{sub_experiment} has no samples of '{metric}'. It has: {', '.join(by_name) or 'none'}."
                )
            found[seed] = by_name[metric]
        return found

    def features(self, sub_experiment: str, name: str) -> FeatureArray:
        """What the sub-experiment read as `<data>/<role>:<point>[@side]`, e.g. `single_object/vlm:X3`."""
        for record in self.records(sub_experiment).values():
            known = record.identity["features"]
            if name not in known:
                raise UserError(f"{sub_experiment} read no features '{name}'. It read: {', '.join(known) or 'none'}.")
            return open_features(self.home, known[name])
        raise UserError(f"{sub_experiment} has no finished seed, so nothing says which features it reads.")


def load(experiment: str, run_id: str | None = None, home: Home | None = None) -> Results:
    """The results of an experiment (id or short name), or of one run of it.

    Raises `UserError` if there are none.
    """
    home = home or Home.from_environment()
    experiment_id = runs.find_experiment(home, experiment) or load_plan().experiment(experiment).id
    if run_id is not None:
        return Results(home, document.of_run(home, runs.read_run(home, experiment_id, run_id)).content)
    content = view.read(home, experiment_id)
    if content is None:
        raise UserError(f"{experiment_id} has no results here. `foresight run {experiment}` makes some.")
    return Results(home, content)
