"""What a handler hands back, checked before anything is believed.

A handler returns `{"finding": str, "metrics": {name: number}, "artifacts": [names]}`; whatever is not that is refused
here, with one message that names the entry, says what is wrong with it and what to do. A number is a finite number:
no NaN, no bool, no string, because a verdict is computed from it. The per-sample scores are the truth of a metric:
one that was given as well must be their mean, and one that was not is filled in from them.

The finding may hold `{metric}` or `{metric:.3f}` fields; any other brace is text. What leaves this module is a
`str.format` template, so that the same sentence can be written with one seed's numbers or with those of all seeds.
"""

from __future__ import annotations

import difflib
import math
import numbers
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from pydantic import ValidationError

from foresight.errors import StepFailed
from foresight.results.record import Samples

KEYS = ("finding", "metrics", "artifacts")
SHAPE = 'A handler returns {"finding": str, "metrics": {name: number}, "artifacts": [names]}.'
TOLERANCE = 1e-6

_FIELD = re.compile(r"\{([A-Za-z_]\w*)(:[^{}]*)?\}")


class InvalidOutput(StepFailed):
    """A handler gave something that cannot be recorded. Running it again would give the same, so it is not retried."""

    def __init__(self, message: str) -> None:
        super().__init__(message, cause="invalid_output", retryable=False)


def checked_keys(returned: Any) -> tuple[str, dict[str, Any], list[str]]:
    """Finding, metrics and artifact names as the handler returned them, their types checked. Raises `InvalidOutput`."""
    if not isinstance(returned, Mapping):
        raise InvalidOutput(f"The handler returned {_kind(returned)}, not a dict. {SHAPE}")
    for key in returned:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            raise InvalidOutput(
                f"The handler returned an unknown key {key!r}. {SHAPE}" + "".join(f" Did you mean {n!r}?" for n in near)
            )
    finding, metrics, artifacts = (
        returned.get("finding", ""),
        returned.get("metrics", {}),
        returned.get("artifacts", []),
    )
    if not isinstance(finding, str):
        raise InvalidOutput(f"The finding is {_kind(finding)}, not a string. {SHAPE}")
    if not isinstance(metrics, Mapping):
        raise InvalidOutput(f"The metrics are {_kind(metrics)}, not a dict. {SHAPE}")
    if (
        isinstance(artifacts, str)
        or not isinstance(artifacts, Sequence)
        or not all(isinstance(a, str) for a in artifacts)
    ):
        raise InvalidOutput(f"The artifacts are {_kind(artifacts)}, not a list of names. {SHAPE}")
    return finding, dict(metrics), list(artifacts)


def finite_number(name: Any, value: Any) -> float:
    """`value` as a float. Python and numpy numbers pass; all else raises `InvalidOutput` naming the metric."""
    if not isinstance(name, str) or not name:
        raise InvalidOutput(f"{name!r} is no name for a metric. Use a string such as 'lpips'.")
    if isinstance(value, (bool, np.bool_)):
        raise InvalidOutput(
            f"Metric {name!r} is a bool. A metric is a number that can be compared: give 0.0 or 1.0, "
            "or say it in the finding."
        )
    if not isinstance(value, numbers.Real):
        raise InvalidOutput(
            f"Metric {name!r} is {_kind(value)}, not a number. Put text and lists into save_json_artifact, "
            "the score of each sample into log_samples, and call .item() on a tensor."
        )
    number = float(value)
    if not math.isfinite(number):
        raise InvalidOutput(
            f"Metric {name!r} is {number}. Something before it divided by zero or diverged: "
            "leave out what was not measured."
        )
    return number


def samples(
    metric: str,
    scores: Any,
    *,
    groups: Sequence[Any],
    baselines: Mapping[str, Any],
    higher_is_better: bool,
) -> Samples:
    """The scores of one metric and of its baselines, as the record keeps them. Raises `InvalidOutput`."""

    def column(what: str, values: Any) -> list[float]:
        array = np.asarray(values)
        if array.ndim != 1 or array.dtype.kind not in "fiu":
            raise InvalidOutput(f"{what} must be one number a sample: got shape {list(array.shape)} of {array.dtype}.")
        wrong = np.flatnonzero(~np.isfinite(array))
        if wrong.size:
            raise InvalidOutput(
                f"{what}: sample {wrong[0]} is {array[wrong[0]]} ({wrong.size} of {array.size} are not finite)."
            )
        return [float(value) for value in array]

    try:
        return Samples(
            metric=metric,
            scores=column(f"The scores of {metric!r}", scores),
            groups=[str(group) for group in groups],
            baselines={name: column(f"Baseline {name!r} of {metric!r}", values) for name, values in baselines.items()},
            higher_is_better=higher_is_better,
        )
    except ValidationError as error:
        raise InvalidOutput(
            f"log_samples({metric!r}): {error.errors()[0]['msg'].removeprefix('Value error, ')}."
        ) from error


def checked_metrics(given: Mapping[str, Any], logged: Sequence[Samples]) -> dict[str, float]:
    """The metrics, every logged one among them. Raises `InvalidOutput` where a metric is not the mean of its scores."""
    metrics = {name: finite_number(name, value) for name, value in given.items()}
    for entry in logged:
        mean = float(np.mean(entry.scores))
        stated = metrics.setdefault(entry.metric, mean)
        if not math.isclose(stated, mean, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            raise InvalidOutput(
                f"Metric {entry.metric!r} was returned as {stated:.9g}, but the mean of its {len(entry.scores)} logged "
                f"scores is {mean:.9g}. Leave the metric out, and it is filled in from the scores."
            )
    return metrics


def refuse_both(metrics: Mapping[str, float], not_measured: Mapping[str, str]) -> None:
    """Raises `InvalidOutput` where a metric has a number although it is said that it was not measured."""
    for name in not_measured:
        if name in metrics:
            raise InvalidOutput(
                f"Metric {name!r} is given as {metrics[name]:.9g}, and not_measured says why it has no number: "
                f"{not_measured[name]}. Leave out one of them."
            )


def template(finding: str, metrics: Mapping[str, float]) -> str:
    """The finding as a `str.format` template over `metrics`. Raises `InvalidOutput` on a field that is no metric."""
    parts, end = [], 0
    for field in _FIELD.finditer(finding):
        name, spec = field[1], field[2] or ""
        if name not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            raise InvalidOutput(
                f"The finding has a field {{{name}}}, but no metric of that name. The metrics: {known}."
            )
        try:
            format(metrics[name], spec[1:])
        except ValueError as error:
            raise InvalidOutput(f"The finding's field {field[0]} cannot be written: {error}.") from error
        parts += [_literal(finding[end : field.start()]), field[0]]
        end = field.end()
    return "".join([*parts, _literal(finding[end:])])


def artifact_name(name: str) -> str:
    """`name` within the artifacts folder; a leading `artifacts/` is dropped. Raises `InvalidOutput` if it leaves it."""
    path = PurePosixPath(name.replace("\\", "/"))
    inner = PurePosixPath(*path.parts[1:]) if path.parts[:1] == ("artifacts",) else path
    if path.is_absolute() or ".." in path.parts or not inner.parts or "\0" in name:
        raise InvalidOutput(
            f"Artifact name {name!r} does not name a file inside the artifacts folder. "
            "Give a plain name such as 'grid.png'."
        )
    return str(inner)


def plain_json(value: Any, where: str = "data") -> Any:
    """`value` with numpy scalars and arrays as plain numbers and lists. Raises `InvalidOutput` naming the place."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf" and np.isfinite(value).all():  # nothing to look for, number by number
            return value.tolist()
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidOutput(f"{where} is {value}, which JSON does not know. Write None where there is no value.")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain_json(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise InvalidOutput(
        f"{where} is {_kind(value)}, which JSON does not know. Convert it to numbers, strings, lists and dicts."
    )


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
