"""Reading plans and profiles: strictly, and with every problem of a file in one message.

An error names the file, the line, the field, what is wrong and what to do. The packaged files are the default; a team
may bring a plan of its own, with handlers in its own package, and say in it (`profiles:`) which profiles file goes with
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from foresight.errors import UserError
from foresight.plan.checks import plan_problems, profile_problems, together_problems
from foresight.plan.located import Document, Problem, read_located
from foresight.plan.parts import unknown
from foresight.plan.schema import Plan, Profile, ProfileFile
from foresight.plan.shapes import shape_problems

PACKAGED_PLAN = Path(__file__).with_name("research_plan.yaml")
PACKAGED_PROFILES = Path(__file__).with_name("profiles.yaml")

_Model = TypeVar("_Model", bound=BaseModel)


def load_plan(path: Path | None = None) -> Plan:
    """The plan in `path`, or the packaged one. Raises `UserError` with all of the file's problems."""
    source = PACKAGED_PLAN if path is None else Path(path)
    document = read_located(source, "plan")
    return _validated(Plan, document, "plan", plan_problems(document.data, source.parent))


def load_profiles(path: Path | None = None) -> tuple[Profile, ...]:
    """All profiles of `path`, or the packaged ones, smallest first. Raises `UserError` with all problems."""
    return _read_profiles(PACKAGED_PROFILES if path is None else Path(path))[1]


def load_profile(name: str, path: Path | None = None) -> Profile:
    """One profile by name. Raises `UserError`, also if it is unknown, then naming those there are."""
    return _named(name, load_profiles(path), PACKAGED_PROFILES if path is None else Path(path))


def load_plan_and_profile(plan_path: Path | None, profile_name: str) -> tuple[Plan, Profile]:
    """A plan and a profile that fit together; the profile is from the plan's own `profiles` file, else a packaged one.

    Raises `UserError` also where the profile lacks a model or data for a sub-experiment that has a handler, or sets up
    one that the plan does not know.
    """
    plan = load_plan(plan_path)
    source = PACKAGED_PROFILES if plan.profiles is None or plan_path is None else Path(plan_path).parent / plan.profiles
    document, profiles = _read_profiles(source)
    profile = _named(profile_name, profiles, source)
    index = next(i for i, entry in enumerate(document.data["profiles"]) if entry["name"] == profile_name)
    document.refuse("profile for this plan", [*together_problems(plan, profile, ("profiles", index))])
    return plan, profile


def _read_profiles(path: Path) -> tuple[Document, tuple[Profile, ...]]:
    document = read_located(path, "profiles file")
    content = _validated(ProfileFile, document, "profiles file", profile_problems(document.data))
    return document, tuple(sorted(content.profiles, key=lambda profile: profile.rank))


def _named(name: str, profiles: tuple[Profile, ...], path: Path) -> Profile:
    for profile in profiles:
        if profile.name == name:
            return profile
    names = [profile.name for profile in profiles]
    raise UserError(f"There is {unknown('profile', name, names, f'in {path.name}')}")


def _validated(model: type[_Model], document: Document, what: str, others: Iterable[Problem]) -> _Model:
    unreadable = {problem.location for problem in document.problems}
    document.refuse(what, [*document.problems, *shape_problems(model, document.data, (), unreadable), *others])
    return model.model_validate(document.data)
