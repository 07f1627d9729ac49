"""The fingerprint: one name for one piece of work, wherever and whenever it is asked for.

The fingerprint of a value is the sha256 of its canonical JSON (keys sorted, no white space, UTF-8). So anyone
can check it from the `identity` in a record, with nothing but a JSON library.

What has an identity is what JSON gives back unchanged: None, bool, int, finite float, str, list and dict with str keys.
A tuple counts as the list it becomes in JSON. Everything else raises, because each has more than one reasonable form
and a silent choice would one day name two different pieces of work alike:

- `1`, `1.0` and `True` differ. Libraries treat them differently (`train_size=1` is one sample, `1.0` all of them),
  and a needless recomputation is cheaper than a wrong hit.
- numpy scalars raise, even float64: `np.float32(0.1)` is not `0.1`, and only the author knows which was meant.
- Subclasses of str and int (enums) raise: their JSON form is not the one that they print as.
- Sets have no order, paths mean something else on another machine, NaN is not equal to itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from foresight.files import canonical_json, sha256_bytes


def fingerprint_of(value: Any) -> str:
    """64 hex digits. Raises `TypeError` with the place in `value` of whatever has no canonical form."""
    return sha256_bytes(canonical_json(_canonical(value, "identity", ())))


def _canonical(value: Any, place: str, above: tuple[int, ...]) -> Any:
    """`value` as plain JSON. `above` holds the ids of the containers around it, to find one that contains itself."""
    kind = type(value)
    if value is None or kind in (bool, int):
        return value
    if kind is float:
        if not math.isfinite(value):
            raise _refused(value, place, "it is not a finite number", "leave the key out, or write it as a string")
        return value
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _refused(value, place, "it is not valid Unicode", "decode the bytes properly first") from None
        return value
    if isinstance(value, (Mapping, list, tuple)):
        if id(value) in above:
            raise _refused(kind, place, "it contains itself", "build the identity from plain, separate values")
        above = (*above, id(value))
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise _refused(key, place, "JSON has only str as keys", "write the key as a str")
            _canonical(key, f"a key of {place}", above)
        return {key: _canonical(item, f"{place}[{key!r}]", above) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item, f"{place}[{index}]", above) for index, item in enumerate(value)]
    why, what_to_do = _ADVICE.get(
        _family(kind), ("it has no canonical form", "pass the plain values that it stands for")
    )
    raise _refused(value, place, why, what_to_do)


def _refused(value: Any, place: str, why: str, what_to_do: str) -> TypeError:
    kind = type(value)
    return TypeError(
        f"{place} = {value!r:.80} ({kind.__module__}.{kind.__qualname__}) cannot be fingerprinted: {why}. "
        f"To do: {what_to_do}."
    )


_ADVICE = {
    "numpy": ("its precision is not the one that JSON keeps", "convert it with `.item()` or `.tolist()`"),
    "set": ("it has no order", "pass `sorted(…)`"),
    "pathlib": ("a path means something else on another machine", "pass an id, a revision or a content hash"),
    "enum": ("its JSON form is not the one it prints as", "pass its `.value`"),
    "bytes": ("JSON has no bytes", "pass their sha256"),
}


def _family(kind: type) -> str:
    names = {base.__name__ for base in kind.__mro__}
    if kind.__module__.partition(".")[0] == "numpy":
        return "numpy"
    if names & {"set", "frozenset"}:
        return "set"
    if names & {"PurePath"}:
        return "pathlib"
    if names & {"Enum"}:
        return "enum"
    return "bytes" if names & {"bytes", "bytearray"} else ""
