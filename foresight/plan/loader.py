"""Reading plans and profiles: strictly, and with every problem of a file in one message.

An error names the file, the line, the field, what is wrong and what to do. The packaged files are the default; a team
may bring a plan of its own, with handlers in its own package, and say in it (`profiles:`) which profiles file goes with
it.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from foresight.errors import UserError
from foresight.plan.checks import plan_problems, profile_problems, together_problems
from foresight.plan.located import Document, Location, Problem, read_located
from foresight.plan.parts import near, unknown
from foresight.plan.schema import Plan, Profile, ProfileFile

PACKAGED_PLAN = Path(__file__).with_name("research_plan.yaml")
PACKAGED_PROFILES = Path(__file__).with_name("profiles.yaml")

_Model = TypeVar("_Model", bound=BaseModel)

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a block of fields",
    "model_type": "a block of fields",
}


def load_plan(path: Path | None = None) -> Plan:
    """The plan in `path`, or the packaged one. Raises `UserError` with all of the file's problems."""
    source = PACKAGED_PLAN if path is None else Path(path)
    document = read_located(source, "plan")
    return _validated(Plan, document, "plan", [*plan_problems(document.data, source.parent)])


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
    content = _validated(ProfileFile, document, "profiles file", [*profile_problems(document.data)])
    return document, tuple(sorted(content.profiles, key=lambda profile: profile.rank))


def _named(name: str, profiles: tuple[Profile, ...], path: Path) -> Profile:
    for profile in profiles:
        if profile.name == name:
            return profile
    names = [profile.name for profile in profiles]
    raise UserError(f"There is {unknown(f'profile in {path.name}', name, names)}")


def _validated(model: type[_Model], document: Document, what: str, others: list[Problem]) -> _Model:
    try:
        content = model.model_validate(document.data)
    except ValidationError as error:
        document.refuse(what, [*document.problems, *_shape_problems(model, document, error), *others])
        raise  # not reached: a ValidationError has at least one problem
    document.refuse(what, [*document.problems, *others])
    return content


def _shape_problems(model: type[BaseModel], document: Document, error: ValidationError) -> list[Problem]:
    """Pydantic's findings as sentences. A key that is unknown and meant for a missing one is reported once."""
    broken = {problem.location for problem in document.problems}
    details = error.errors(include_url=False)
    extra = {tuple(d["loc"]) for d in details if d["type"] == "extra_forbidden"}
    problems = []
    for detail in details:
        location: Location = tuple(part for part in detail["loc"] if part != "[key]")
        if location in broken:
            continue  # it could not be read at all, and that is said already
        if detail["type"] == "missing" and any(
            place[:-1] == location[:-1] and _meant(model, place) == location[-1] for place in extra
        ):
            continue
        problems.append(Problem(location, _sentence(model, location, detail)))
    return problems


def _sentence(model: type[BaseModel], location: Location, detail: ErrorDetails) -> str:
    kind, given, field = detail["type"], detail["input"], location[-1] if location else ""
    if kind == "missing":
        return f"'{field}' is missing; add it"
    if kind == "extra_forbidden":
        fields = _fields_at(model, location[:-1])
        return unknown("field", str(field), fields)
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}, not {_shown(given)}"
    if kind == "literal_error":
        expected = detail["ctx"]["expected"]
        return f"must be {expected}, not {_shown(given)}"
    if kind == "string_pattern_mismatch":
        return (
            f"{_shown(given)} is not a name; use lower-case letters, digits and _ (experiment ids: -), a letter first"
        )
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    message = detail["msg"].removeprefix("Input ")
    return f"{message[0].lower()}{message[1:]}, not {_shown(given)}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"the text '{value}'"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a block of fields"
    return "a list" if isinstance(value, tuple) else str(value)


def _meant(model: type[BaseModel], location: Location) -> str | None:
    """The field that an unknown key was most likely meant to be, if the message about it suggests one."""
    fields = _fields_at(model, location[:-1])
    return next(iter(near(str(location[-1]), fields)), None)


def _fields_at(model: type[BaseModel], location: Location) -> list[str]:
    """The fields of the model that the value at `location` is validated against."""
    kind: Any = model
    for part in location:
        kind = _plain(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:  # an entry of a list, or a value of a mapping
            kind = get_args(kind)[0 if get_origin(kind) is tuple else 1]
    kind = _plain(kind)
    return list(kind.model_fields)


def _plain(kind: Any) -> Any:
    """Without `Annotated` and `| None`."""
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        kind = next(argument for argument in get_args(kind) if argument is not type(None))
    return kind
