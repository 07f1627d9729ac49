"""What a file must get right beyond its shape: names that refer to something, an order without cycles, sides that fit.

The checks read the raw data of a `Document`, not the models, so that one wrong field does not hide the other problems
of a file: whatever is malformed is reported by the schema and passed over here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foresight.data.recipes import RECIPES
from foresight.errors import UserError
from foresight.features.points import parse_point
from foresight.plan.handlers import handler_problem
from foresight.plan.located import Location, Problem
from foresight.plan.parts import IMAGE_SIDE_PX, parse_need, unknown
from foresight.plan.schema import FULL_MODEL_SIDE_PX, Plan, Profile
from foresight.plan.shapes import shape_problems

_COMMIT = re.compile(r"[0-9a-f]{40}")


def plan_problems(data: Any, folder: Path) -> Iterator[Problem]:
    """All cross-references of a plan's raw data. `folder` is where the plan lies."""
    experiments = list(_entries(data, "experiments"))
    gates = list(_entries(data, "gates"))
    subs = [entry for at, experiment in experiments for entry in _entries(experiment, "sub_experiments", at)]
    shorts = {e["short"]: e for _, e in experiments if isinstance(e.get("short"), str)}

    yield from _unique(experiments, "id")
    yield from _unique(experiments, "short")
    yield from _unique(subs, "id")
    yield from _unique(gates, "id")
    yield from _unique(gates, "unlocks_phase")
    for at, experiment in experiments:
        yield from _experiment_problems(at, experiment, shorts)
    yield from _cycles(experiments, shorts)
    for at, sub in subs:
        for key in ("needs", "uses", "models", "metric_weights"):
            yield from _repeated(at, sub, key)
        handler = sub.get("handler")
        if isinstance(handler, str) and re.fullmatch(r"[\w.]+:\w+", handler) and (wrong := handler_problem(handler)):
            yield Problem((*at, "handler"), wrong)
    for at, gate in gates:
        yield from _gate_problems(at, gate, shorts)
    profiles = data.get("profiles") if isinstance(data, dict) else None
    if isinstance(profiles, str) and not (folder / profiles).is_file():
        yield Problem(
            ("profiles",), f"there is no file {folder / profiles}; correct the path, which starts at the plan's folder"
        )


def _experiment_problems(at: Location, experiment: Mapping[str, Any], shorts: Mapping[str, Any]) -> Iterator[Problem]:
    own_subs = [sub["id"] for _, sub in _entries(experiment, "sub_experiments") if isinstance(sub.get("id"), str)]
    yield from _use_problems(at, experiment)
    criteria = list(_entries(experiment, "criteria", at))
    yield from _unique(criteria, "name")
    for where, criterion in criteria:
        designated = criterion.get("sub_experiment")
        if isinstance(designated, str) and designated not in own_subs:
            yield Problem((*where, "sub_experiment"), unknown("sub-experiment", designated, own_subs, "here"))
    for key in ("depends_on", "replaces"):
        yield from _repeated(at, experiment, key)
        for where, name in _texts(experiment, key, at):
            yield from _unknown_experiment(where, name, shorts)
            if key == "depends_on" and _phase(shorts.get(name)) > _phase(experiment) > 0:
                yield Problem(
                    where, f"'{name}' belongs to phase {_phase(shorts[name])}, after this one; move one of them"
                )


def _use_problems(at: Location, experiment: Mapping[str, Any]) -> Iterator[Problem]:
    """What is used stands above what uses it, so that there is an order to run them in, and no circle."""
    subs = {sub["id"]: sub for _, sub in _entries(experiment, "sub_experiments") if isinstance(sub.get("id"), str)}
    above: list[str] = []
    for where, sub in _entries(experiment, "sub_experiments", at):
        for place, name in _texts(sub, "uses", where):
            if name not in subs:
                yield Problem(place, unknown("sub-experiment here", name, list(subs)))
            elif name not in above:
                yield Problem(place, f"'{name}' must stand above what uses it, since it is run first; move it up")
            elif sub.get("handler") and not subs[name].get("handler"):
                yield Problem(place, f"'{name}' has no handler, so it can leave nothing to use; give it one")
        if isinstance(sub.get("id"), str):
            above.append(sub["id"])


def _gate_problems(at: Location, gate: Mapping[str, Any], shorts: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _repeated(at, gate, "experiments")
    unlocks = gate.get("unlocks_phase")
    for where, name in _texts(gate, "experiments", at):
        yield from _unknown_experiment(where, name, shorts)
        if isinstance(unlocks, int) and _phase(shorts.get(name)) >= unlocks:
            phase = _phase(shorts[name])
            yield Problem(
                where,
                f"'{name}' belongs to phase {phase}, which a gate to phase {unlocks} cannot wait for; correct one",
            )


def _unknown_experiment(where: Location, name: str, shorts: Mapping[str, Any]) -> Iterator[Problem]:
    if name not in shorts:
        by_id = next((short for short, e in shorts.items() if e.get("id") == name), None)
        yield Problem(where, f"write its short name, '{by_id}'" if by_id else unknown("experiment", name, list(shorts)))


def _cycles(experiments: list[tuple[Location, dict[str, Any]]], shorts: Mapping[str, Any]) -> Iterator[Problem]:
    """One problem a cycle, at the `depends_on` of its first experiment."""
    edges = {short: [n for _, n in _texts(e, "depends_on") if n in shorts] for short, e in shorts.items()}
    seen: set[frozenset[str]] = set()
    for at, experiment in experiments:
        start = experiment.get("short")
        cycle = _path_back(start, edges) if isinstance(start, str) else None
        if cycle and frozenset(cycle) not in seen:
            seen.add(frozenset(cycle))
            yield Problem(
                (*at, "depends_on"), f"depends on itself: {' -> '.join(cycle)}; remove one of these dependencies"
            )


def _path_back(start: str, edges: Mapping[str, list[str]]) -> list[str] | None:
    """A shortest path from `start` to itself, or None."""
    paths, visited = [[start]], set()
    for path in paths:
        for name in edges[path[-1]]:
            if name == start:
                return [*path, start]
            if name not in visited:
                visited.add(name)
                paths.append([*path, name])
    return None


def profile_problems(data: Any) -> Iterator[Problem]:
    """All cross-references of a profiles file's raw data."""
    profiles = list(_entries(data, "profiles"))
    yield from _unique(profiles, "name")
    yield from _unique(profiles, "rank")
    for at, profile in profiles:
        yield from _model_problems(at, profile)
        yield from _repeated(at, profile, "seeds")
        models, data_sets = _mapping(profile, "models"), _mapping(profile, "data")
        stand_ins = bool(models) and all(m.get("stand_in") is True for m in models.values() if isinstance(m, dict))
        multiple = IMAGE_SIDE_PX if stand_ins else FULL_MODEL_SIDE_PX
        for name, choice in data_sets.items():
            yield from _recipe_problems((*at, "data", name), choice)
            side = _mapping(choice, "parameters").get("side")
            yield from _side_problem((*at, "data", name, "parameters", "side"), side, multiple)
        for name, settings in _mapping(profile, "sub_experiments").items():
            where = (*at, "sub_experiments", name)
            chosen = settings.get("data") if isinstance(settings, dict) else None
            if isinstance(chosen, str) and chosen not in data_sets:
                yield Problem((*where, "data"), unknown("data set", chosen, list(data_sets), "in this profile"))
            yield from _repeated(where, settings, "needs")
            for place, text in _texts(settings, "needs", where):
                yield from _need_problem(place, text, models, multiple)


def _recipe_problems(at: Location, choice: Any) -> Iterator[Problem]:
    recipe = choice.get("recipe") if isinstance(choice, dict) else None
    if not isinstance(recipe, str):
        return
    if recipe not in RECIPES:
        yield Problem((*at, "recipe"), unknown("recipe", recipe, list(RECIPES)))
        return
    yield from shape_problems(RECIPES[recipe].parameters, _mapping(choice, "parameters"), (*at, "parameters"))


def _model_problems(at: Location, profile: Mapping[str, Any]) -> Iterator[Problem]:
    for role, model in _mapping(profile, "models").items():
        if not isinstance(model, dict):
            continue
        where, revision = (*at, "models", role), model.get("revision", "")
        if model.get("stand_in") is False and isinstance(revision, str) and not _COMMIT.fullmatch(revision):
            page = f"https://huggingface.co/{model.get('id')}/commits/main"
            what = f"'{revision}' can move" if revision else "a name alone can mean other weights tomorrow"
            yield Problem((*where, "revision"), f"{what}; pin a commit, 40 hex digits in quotes, listed at {page}")
        if model.get("stand_in") is True and profile.get("moves_gates") is True:
            yield Problem(
                (*where, "stand_in"), "a stand-in cannot move a gate; set moves_gates to false, or name the full model"
            )


def _need_problem(where: Location, text: str, models: Mapping[str, Any], multiple: int) -> Iterator[Problem]:
    try:
        need = parse_need(text)
    except ValueError:
        return  # the schema says so
    if need.role not in models:
        yield Problem(where, unknown("model", need.role, list(models), "in this profile"))
    else:
        try:
            parse_point(need.point, need.role)
        except UserError as error:
            yield Problem(where, str(error))
    if need.side is not None:
        yield from _side_problem(where, need.side, multiple)


def _side_problem(where: Location, side: Any, multiple: int) -> Iterator[Problem]:
    if isinstance(side, int) and (side <= 0 or side % multiple):
        why = (
            "whole tokens"
            if multiple == IMAGE_SIDE_PX
            else "28 px tokens and 32 px cells cover the same pixels only there"
        )
        near = max(multiple, round(side / multiple) * multiple)
        yield Problem(where, f"an image side must be a multiple of {multiple} px here ({why}), not {side}; take {near}")


def together_problems(plan: Plan, profile: Profile, at: Location) -> Iterator[Problem]:
    """What a profile lacks to run what the plan implements or itself sets up. `at`: where it stands in its file."""
    known = {sub.id: sub for experiment in plan.experiments for sub in experiment.sub_experiments}
    for sub_id in profile.sub_experiments:
        if sub_id not in known:
            yield Problem(
                (*at, "sub_experiments", sub_id), unknown("sub-experiment", sub_id, list(known), "in the plan")
            )
    used = {need.role for sub in known.values() for need in (*map(parse_need, sub.needs), *profile.needs_of(sub))}
    used |= {role for sub in known.values() for role in sub.models}
    for role in profile.models.keys() - used:
        yield Problem((*at, "models", role), unknown("model", role, sorted(used), "that the plan uses"))
    for sub in known.values():
        if not sub.implemented and sub.id not in profile.sub_experiments:
            continue
        where, settings = (*at, "sub_experiments", sub.id), profile.for_sub_experiment(sub.id)
        needs = profile.needs_of(sub)
        if needs and settings.data is None:
            yield Problem(
                where, f"{sub.id} reads features but has no data; add `data:` with one of {list(profile.data)}"
            )
        for need in needs if settings.needs is None else ():
            yield from _need_problem(where, str(need), profile.models, profile.side_multiple_px)
        try:
            profile.resources_of("sub_experiment", sub)
        except ValidationError as error:
            yield Problem(where, f"with the defaults, {error.errors()[0]['ctx']['error']}; set both here")
        for role in sub.models:
            if role not in profile.models:
                yield Problem(
                    where, f"{sub.id} loads a model: {unknown('model', role, list(profile.models), 'in this profile')}"
                )


def _entries(data: Any, key: str, at: Location = ()) -> Iterator[tuple[Location, dict[str, Any]]]:
    """The mappings in the list `data[key]`, with where they are."""
    listed = data.get(key) if isinstance(data, dict) else None
    for index, entry in enumerate(listed if isinstance(listed, tuple) else ()):
        if isinstance(entry, dict):
            yield (*at, key, index), entry


def _texts(data: Any, key: str, at: Location = ()) -> Iterator[tuple[Location, str]]:
    """The strings in the list `data[key]`, with where they are."""
    listed = data.get(key) if isinstance(data, dict) else None
    for index, entry in enumerate(listed if isinstance(listed, tuple) else ()):
        if isinstance(entry, str):
            yield (*at, key, index), entry


def _mapping(data: Any, key: str) -> dict[str, Any]:
    inside = data.get(key) if isinstance(data, dict) else None
    return inside if isinstance(inside, dict) else {}


def _phase(experiment: Any) -> int:
    phase = experiment.get("phase") if isinstance(experiment, dict) else None
    return phase if isinstance(phase, int) else 0


def _unique(entries: list[tuple[Location, dict[str, Any]]], key: str) -> Iterator[Problem]:
    seen: set[Any] = set()
    for at, entry in entries:
        value = entry.get(key)
        if isinstance(value, str | int):
            if value in seen:
                yield Problem((*at, key), f"'{value}' is taken by an earlier entry; give each its own {key}")
            seen.add(value)


def _repeated(at: Location, data: Any, key: str) -> Iterator[Problem]:
    listed = data.get(key) if isinstance(data, dict) else None
    seen: set[Any] = set()
    for index, value in enumerate(listed if isinstance(listed, tuple) else ()):
        if isinstance(value, str | int):
            if value in seen:
                yield Problem((*at, key, index), f"'{value}' is listed twice; remove one")
            seen.add(value)
