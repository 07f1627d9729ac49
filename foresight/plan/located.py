"""YAML whose every value knows its line, read strictly.

PyYAML's loader forgets where values came from, keeps the last of two equal keys, and follows YAML 1.1, in which `no`
is false, `010` is eight, `1:30` is ninety and `1e-3` is *text*. In a file that fixes what counts as success such a
surprise must be a message. So the node tree is composed (C parser) and turned into plain data here, and each surprise
becomes a `Problem`; all of a file's are reported together.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from foresight.errors import UserError
from foresight.yaml_text import Loader

Location = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_EXPONENT_TEXT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+|[-+]?\.[0-9]+[eE][-+]?[0-9]+")
_DECIMAL_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place of a file."""

    location: Location
    message: str
    line: int | None = None  # where it differs from the location's own line, such as a second key of the same name


@dataclass
class Document:
    """Plain data (mappings as dict, sequences as tuple), where each part stands, and what was wrong with the YAML."""

    path: Path
    data: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, location: Location) -> int:
        """Line, from 1, of the value at `location`, or of the nearest part around it that the file has."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def name(self, location: Location) -> str:
        """`("experiments", 0, "title")` -> `experiments[c1].title`: list entries by their own name if they have one."""
        text, data = "", self.data
        for part in location:
            inside = data[part] if _has(data, part) else None
            if isinstance(part, int):
                text += f"[{_own_name(inside) or part}]"
            else:
                text += f".{part}" if text else part
            data = inside
        return text or "the file"

    def refuse(self, what: str, problems: list[Problem]) -> None:
        """Raise one `UserError` with all problems, in the order of their lines, if there are any."""
        if not problems:
            return
        rows = sorted({(p.line or self.line(p.location), self.name(p.location), p.message) for p in problems})
        count = "1 problem" if len(rows) == 1 else f"{len(rows)} problems"
        listing = "\n".join(f"  {self.path}:{line}: {name}: {message}" for line, name, message in rows)
        raise UserError(f"The {what} cannot be used: {count}. Correct the file and try again.\n{listing}")


def _has(data: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(data, tuple) and part < len(data)
    return isinstance(data, dict) and part in data


def _own_name(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return None
    name = next((entry[key] for key in ("short", "id", "name") if key in entry), None)
    return name if isinstance(name, str) else None


def read_located(path: Path, what: str) -> Document:
    """Read the one YAML document of `path`. Raises `UserError` if there is no file or the text is not YAML at all."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"The {what} {path} cannot be read: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The {what} {path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    loader = Loader(text)
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(
            f"The {what} is not valid YAML: {where}: {error.problem or error.context}. Check indentation, quotes."
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"The {what} {path} is not valid YAML: {error}. Remove what is not text.") from error
    finally:
        loader.dispose()
    document = Document(path)
    if root is None:
        raise UserError(
            f"The {what} {path} is empty. `foresight plan validate` without a file shows that the packaged one is fine."
        )
    document.data = _Reader(document).value(root, (), ())
    return document


class _Reader:
    """Turns nodes into data, noting lines and problems in the document."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def value(self, node: yaml.Node, location: Location, around: tuple[int, ...]) -> Any:
        self._document.lines.setdefault(location, node.start_mark.line + 1)
        if id(node) in around:
            return self._problem(location, node, "refers to itself; an alias must not contain its own anchor")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location, (*around, id(node)))
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            return tuple(self.value(child, (*location, index), (*around, id(node))) for index, child in items)
        assert isinstance(node, yaml.ScalarNode)  # there is no fourth kind
        return self._scalar(node, location)

    def _problem(self, location: Location, node: yaml.Node, message: str) -> None:
        self._document.problems.append(Problem(location, message, node.start_mark.line + 1))

    def _mapping(self, node: yaml.MappingNode, location: Location, around: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag == _TAG + "merge":
                self._problem(
                    location, key_node, "a key must be plain text ('<<' is not supported); write the fields out"
                )
                continue
            line = key_node.start_mark.line + 1
            if key in first_lines:
                self._problem(
                    (*location, key), key_node, f"the key stands twice (first on line {first_lines[key]}); remove one"
                )
                continue
            first_lines[key] = self._document.lines[(*location, key)] = line
            result[key] = self.value(value_node, (*location, key), around)
        return result

    def _scalar(self, node: yaml.ScalarNode, location: Location) -> Any:
        text, kind = node.value, node.tag.removeprefix(_TAG)
        if kind == "str":
            if not node.style and _EXPONENT_TEXT.fullmatch(text):
                return self._problem(
                    location, node, f"YAML reads {text} as text; write 1.0e-3 (point and sign), or quote it"
                )
            return text
        if kind == "null":
            return None
        if kind == "bool" and text in ("true", "false"):
            return text == "true"
        if kind == "int" and _DECIMAL_INT.fullmatch(text):
            return int(text)
        if kind == "float" and _DECIMAL_FLOAT.fullmatch(text):
            number = float(text)
            return number if math.isfinite(number) else self._problem(location, node, f"{text} is not a finite number")
        return self._problem(
            location,
            node,
            f"YAML reads {text} as {kind.lstrip('!')}; quote it if it is text, else use true, false or a decimal",
        )
