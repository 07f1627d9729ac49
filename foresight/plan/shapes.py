"""Pydantic's findings about raw data, as sentences with a place.

"Input should be a valid number [type=float_type]" becomes "must be a number, not the text '0,25'"; an unknown key is
told which one was probably meant.
"""

from __future__ import annotations

import types
from collections.abc import Collection
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from foresight.plan.located import Location, Problem
from foresight.plan.parts import near, unknown

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


def shape_problems(
    model: type[BaseModel], data: Any, at: Location = (), unreadable: Collection[Location] = ()
) -> list[Problem]:
    """What keeps `data`, which stands at `at` of its file, from being a `model`.

    Values at the `unreadable` locations are passed over, since that is reported already; a key that is unknown and was
    meant for a missing one is reported once.
    """
    try:
        model.model_validate(data)
    except ValidationError as found:
        error = found
    else:
        return []
    details = error.errors(include_url=False)
    extra = {tuple(d["loc"]) for d in details if d["type"] == "extra_forbidden"}
    problems = []
    for detail in details:
        location: Location = tuple(part for part in detail["loc"] if part != "[key]")
        if (*at, *location) in unreadable:
            continue
        if detail["type"] == "too_short" and detail["input"]:
            continue  # pydantic counts only the entries without a mistake of their own
        if detail["type"] == "missing" and any(
            place[:-1] == location[:-1] and _meant(model, place) == location[-1] for place in extra
        ):
            continue
        problems.append(Problem((*at, *location), _sentence(model, location, detail)))
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
    if kind in ("too_short", "string_too_short"):
        return "must not be empty; fill it in"
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
