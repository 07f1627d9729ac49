"""Every kind of mistake in a profiles file is refused, alone or against the plan that it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from foresight.errors import UserError
from foresight.plan.loader import load_plan_and_profile, load_profile

PLAN = """\
version: 1
profiles: profiles.yaml
experiments:
  - id: a1-alpha
    short: a1
    title: Alpha
    kind: claim
    phase: 1
    question: Does it?
    criteria:
      - {name: score, sub_experiment: s1, metric: a, direction: higher, target: 3, acceptable: 2, failure: 1, arm: One.}
    sub_experiments:
      - id: s1
        title: First
        aim: To see.
        handler: team:run
        needs: ["vlm:X3"]
        models: [vae]
        resources: {timeout_s: 90}
"""

PROFILES = """\
version: 1
profiles:
  - name: small
    rank: 1
    moves_gates: false
    description: Small.
    models:
      vlm: {id: here/small, stand_in: true, licence: MIT, dtype: float32, batch_size: 8}
      vae: {id: here/tiny, stand_in: true, licence: MIT, dtype: float32, batch_size: 8}
    data:
      crops: {recipe: photographs, parameters: {side: 112, per_source: 4}}
    sub_experiments:
      s1: {data: crops, needs: ["vlm:X3@168"], parameters: {rate: 1.0e-3, widths: [64, 128]}}
    seeds: [0, 1]
    split: {train: 0.6, validation: 0.15, test: 0.25}
    resources:
      extract: {device: cpu, timeout_s: 60}
      sub_experiment: {device: cpu, timeout_s: 60}
  - name: full
    rank: 2
    moves_gates: true
    description: Full.
    models:
      vlm:
        id: there/big
        revision: 0123456789abcdef0123456789abcdef01234567
        stand_in: false
        licence: MIT
        dtype: bfloat16
        batch_size: 8
      vae:
        id: there/vae
        revision: "1111111111111111111111111111111111111111"
        stand_in: false
        licence: MIT
        dtype: float32
        batch_size: 8
    data:
      shapes: {recipe: single_object, parameters: {n: 99}}
    sub_experiments:
      s1: {data: shapes}
    seeds: [0]
    split: {train: 60, validation: 15, test: 24}
    resources:
      extract: {device: A10G, timeout_s: 60}
      sub_experiment: {device: cpu, timeout_s: 60}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "team.py").write_text("def run(runner): ...\n")
    (tmp_path / "plan.yaml").write_text(PLAN)
    monkeypatch.syspath_prepend(tmp_path)

    def write(old: str = "", new: str = "") -> Path:
        assert not old or PROFILES.count(old) == 1, f"{old!r} must stand once in the profiles"
        (tmp_path / "profiles.yaml").write_text(PROFILES.replace(old, new) if old else PROFILES)
        return tmp_path / "plan.yaml"

    return write


@pytest.mark.parametrize("name", ["small", "full"])
def test_a_plan_brings_its_own_profiles(write, name):
    plan, profile = load_plan_and_profile(write(), name)
    assert (plan.experiments[0].short, profile.name) == ("a1", name)


def test_parameters_come_as_a_record_will_hold_them(write):
    settings = load_plan_and_profile(write(), "small")[1].for_sub_experiment("s1")
    assert settings.parameters == {"rate": 0.001, "widths": [64, 128]}


SMALL, FULL = "profiles[small]", "profiles[full]"

CASES = {  # what is wrong: text of the file, what replaces it, line, message
    "typo": ("moves_gates: false", "moves_gate: false", 5, f"{SMALL}.moves_gate: no field 'moves_gate': did you mean"),
    "name twice": ("name: full", "name: small", 19, f"{SMALL}.name: 'small' is taken by an earlier entry"),
    "rank twice": ("rank: 2", "rank: 1", 20, f"{FULL}.rank: '1' is taken by an earlier entry"),
    "branch for a revision": (
        "revision: 0123456789abcdef0123456789abcdef01234567",
        "revision: main",
        26,
        f"{FULL}.models.vlm.revision: 'main' can move; pin a commit, 40 hex digits in quotes, listed at https://huggingface.co/there/big/commits/main",
    ),
    "no revision": (
        '        revision: "1111111111111111111111111111111111111111"\n',
        "",
        31,
        f"{FULL}.models.vae.revision: a name alone can mean other weights tomorrow; pin a commit",
    ),
    "revision that YAML takes for a number": (
        'revision: "1111111111111111111111111111111111111111"',
        "revision: 1111111111111111111111111111111111111111",
        33,
        f"{FULL}.models.vae.revision: must be text, not 1111",
    ),
    "stand-in that moves a gate": (
        "moves_gates: false",
        "moves_gates: true",
        8,
        f"{SMALL}.models.vlm.stand_in: a stand-in cannot move a gate",
    ),
    "unknown dtype": ("dtype: bfloat16", "dtype: float16", 29, f"{FULL}.models.vlm.dtype: must be 'float32' or"),
    "unknown recipe": (
        "recipe: photographs",
        "recipe: photos",
        11,
        "recipe: no recipe 'photos': did you mean 'photographs'",
    ),
    "unknown parameter of a recipe": (
        "per_source: 4",
        "per_sourc: 4",
        11,
        f"{SMALL}.data.crops.parameters.per_sourc: no field 'per_sourc': did you mean 'per_source'?",
    ),
    "parameter missing": ("{n: 99}", "{}", 39, f"{FULL}.data.shapes.parameters.n: 'n' is missing; add it"),
    "parameter out of range": (
        "per_source: 4",
        "per_source: 0",
        11,
        "per_source: should be greater than or equal to 1, not 0",
    ),
    "side of broken tokens": (
        "side: 112",
        "side: 100",
        11,
        "an image side must be a multiple of 28 px here (whole tokens), not 100; take 112",
    ),
    "side of broken cells": (
        "{n: 99}",
        "{n: 99, side: 252}",
        39,
        f"{FULL}.data.shapes.parameters.side: an image side must be a multiple of 224 px here",
    ),
    "need at a side of broken cells": (
        "{data: shapes}",
        '{data: shapes, needs: ["vlm:X3@336"]}',
        41,
        f"{FULL}.sub_experiments.s1.needs[0]: an image side must be a multiple of 224 px",
    ),
    "unknown data set": (
        "{data: shapes}",
        "{data: shape}",
        41,
        f"{FULL}.sub_experiments.s1.data: no data set 'shape' in this profile: did you mean 'shapes'?",
    ),
    "need of an unknown model": (
        "vlm:X3@168",
        "vml:X3@168",
        13,
        f"{SMALL}.sub_experiments.s1.needs[0]: no model 'vml' in this profile: did you mean 'vlm'?",
    ),
    "need of a point that the model lacks": (
        "vlm:X3@168",
        "vae:X3@168",
        13,
        f"{SMALL}.sub_experiments.s1.needs[0]: 'X3' is no extraction point of a vae",
    ),
    "exponent read as text": (
        "1.0e-3",
        "1e-3",
        13,
        f"{SMALL}.sub_experiments.s1.parameters.rate: YAML reads 1e-3 as text",
    ),
    "seed twice": ("seeds: [0, 1]", "seeds: [0, 0]", 14, f"{SMALL}.seeds[1]: '0' is listed twice"),
    "negative seed": ("seeds: [0, 1]", "seeds: [0, -1]", 14, f"{SMALL}.seeds[1]: should be greater than or equal to 0"),
    "no seeds": ("seeds: [0, 1]", "seeds: []", 14, f"{SMALL}.seeds: must not be empty"),
    "split that is not whole": (
        "test: 0.25",
        "test: 0.35",
        15,
        f"{SMALL}.split: fractions of a split add up to 1.1, not to 1",
    ),
    "unknown GPU": ("device: A10G", "device: T4", 45, f"{FULL}.resources.extract.device: Unknown GPU 'T4'"),
    "zero batch": (
        "dtype: float32, batch_size: 8}\n      vae: {id: here",
        "dtype: float32, batch_size: 0}\n      vae: {id: here",
        8,
        f"{SMALL}.models.vlm.batch_size: should be greater",
    ),
    "settings of what the plan lacks": (
        "s1: {data: shapes}",
        "s1: {data: shapes}\n      s2: {data: shapes}",
        42,
        f"{FULL}.sub_experiments.s2: no sub-experiment 's2' in the plan: did you mean 's1'?",
    ),
    "no data for what reads features": (
        "{data: shapes}",
        "{parameters: {}}",
        41,
        f"{FULL}.sub_experiments.s1: s1 reads features but has no data",
    ),
    "no settings at all": (
        "    sub_experiments:\n      s1: {data: shapes}\n",
        "",
        19,
        f"{FULL}.sub_experiments.s1: s1 reads features but has no data",
    ),
    "timeout beyond the default deadline": (
        "sub_experiment: {device: cpu, timeout_s: 60}\n  - name: full",
        "sub_experiment: {device: cpu, deadline_s: 30}\n  - name: full",
        13,
        f"{SMALL}.sub_experiments.s1: with the defaults, deadline_s (30) is shorter than one attempt, timeout_s (90)",
    ),
    "no model for what the handler loads": (
        "      vae:\n        id: there",
        "      vay:\n        id: there",
        41,
        f"{FULL}.sub_experiments.s1: s1 loads a model: no model 'vae' in this profile: did you mean 'vay'?",
    ),
}


@pytest.mark.parametrize(("old", "new", "line", "expected"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_named_with_its_line(write, old, new, line, expected):
    plan = write(old, new)
    with pytest.raises(UserError) as caught:  # noqa: PT012, either profile may be the wrong one
        load_plan_and_profile(plan, "small")
        load_plan_and_profile(plan, "full")
    rows = [row for row in str(caught.value).splitlines() if f"profiles.yaml:{line}: " in row]
    assert any(expected in row for row in rows), str(caught.value)


def test_a_profile_is_checked_alone_too(write, tmp_path):
    write("recipe: photographs", "recipe: photos")
    with pytest.raises(UserError, match="The profiles file cannot be used: 1 problem"):
        load_profile("full", tmp_path / "profiles.yaml")
