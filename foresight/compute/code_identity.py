"""What a handler's code is, for the fingerprint: a hash of what it says, not of how it is written.

It covers the handler's module and, transitively, the project modules that it imports: those of the handler's own
top-level package and of `foresight`; for a handler that is a lone file, also the files beside it. Third-party code is
named by its version, elsewhere in the identity. A module is taken as its syntax tree, so that comments, docstrings,
formatting and imports for the type checker only change nothing, and any change that Python would run does.

Modules are found and read, never imported: planning must not pay for torch, and code that is only looked at must not
run. Importing `a.b.c` runs the `__init__` of `a` and of `a.b`, so they count, with what they import as they load (a
lazy export inside a function of theirs does not run and does not count). In the other modules an import inside a
function counts like one at the top. What is imported by a computed name (`importlib.import_module(…)`) is not seen.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from foresight.errors import UserError
from foresight.files import canonical_json, sha256_bytes, sha256_file

OURS = "foresight"


def code_identity(handler: str) -> str:
    """The sha256 of the code behind `"package.module:function"`.

    Raises `UserError` if the module, the function or a project module that it imports is not there or cannot be parsed.
    """
    module_name, _, function = handler.partition(":")
    if not module_name or not function:
        raise UserError(
            f"handler {handler!r} is not of the form 'package.module:function'. A step finds its code by that name. "
            "Correct it in the plan."
        )
    project = _Project(module_name)
    module = project.module(module_name)
    if module is None:
        raise UserError(
            f"handler {handler!r}: there is no module {module_name!r} with source code. Nothing was imported or run. "
            "Correct the name in the plan, or install its package into this environment."
        )
    if module.names is not None and function.partition(".")[0] not in module.names:
        raise UserError(
            f"handler {handler!r}: {module.path} defines no {function!r} at its top level. "
            "Define it there, or name another function."
        )
    return sha256_bytes(canonical_json({name: found.code for name, found in project.reached_from(module_name).items()}))


def code_modules(handler: str) -> list[str]:
    """The names of the modules that `code_identity(handler)` covers, sorted: to see why a fingerprint changed."""
    module_name = handler.partition(":")[0]
    return sorted(_Project(module_name).reached_from(module_name))


def modules_of_others(handler: str) -> frozenset[str]:
    """Top-level names of what a team's own code imports and neither it, this project nor Python brings.

    Empty for a handler of this project, whose libraries are known.
    """
    module_name = handler.partition(":")[0]
    project = _Project(module_name)
    return frozenset(
        top
        for name, source in project.reached_from(module_name).items()
        if name.partition(".")[0] != OURS
        for imported in source.imports
        if not imported.level and (top := imported.module.partition(".")[0]) not in sys.stdlib_module_names
        if not project.is_ours(top)
    )


@dataclass(frozen=True)
class _Import:
    """One imported name: `import a.b` has module `a.b`; `from .x import y` has module `x`, level 1, name `y`."""

    module: str
    level: int
    name: str | None
    line: int
    deferred: bool  # inside a function
    guarded: bool  # inside a `try`


@dataclass(frozen=True)
class _Source:
    """What one file says."""

    path: Path
    code: str  # sha256 of the syntax tree
    imports: tuple[_Import, ...]
    names: frozenset[str] | None  # what is defined at its top level; None where only running it could tell

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


class _Project:
    """The modules that count as project code for one handler."""

    def __init__(self, handler_module: str) -> None:
        self._top = handler_module.partition(".")[0]
        self._locate = cache(_locate)  # for as long as one handler is looked at: most modules are imported by many

    def reached_from(self, name: str) -> dict[str, _Source]:
        """Every module with source that importing `name` and calling into it can reach."""
        found: dict[str, _Source] = {}
        seen: set[tuple[str, bool]] = set()
        waiting = [(name, False)]
        while waiting:
            name, only_loaded = waiting.pop()
            if (name, only_loaded) in seen:
                continue
            seen.add((name, only_loaded))
            parent = name.rpartition(".")[0]
            if parent:
                waiting.append((parent, True))
            source = self.module(name)
            if source is None:  # a namespace package holds no code
                continue
            found[name] = source
            for imported in source.imports:
                if not (only_loaded and imported.deferred):
                    waiting.extend(self._targets(name, source, imported))
        return found

    def _targets(self, importer: str, source: _Source, imported: _Import) -> Iterator[tuple[str, bool]]:
        """The project modules that one import statement reaches, and whether each is loaded only, not called into."""
        base = imported.module
        if imported.level:
            package = importer if source.is_package else importer.rpartition(".")[0]
            parts = package.split(".")
            if imported.level > len(parts) or not package:
                raise UserError(
                    f"{source.path}:{imported.line}: relative import beyond the top-level package. "
                    "It would fail when run. Import it by its full name."
                )
            base = ".".join(
                [*parts[: len(parts) - imported.level + 1], *([imported.module] if imported.module else [])]
            )
        if not self.is_ours(base):
            return
        if not self._exists(base):
            if imported.guarded:
                return
            raise UserError(
                f"{source.path}:{imported.line}: there is no module {base!r}. The step would fail when it runs. "
                "Correct the import, or put it inside try/except ImportError if it is optional."
            )
        if imported.name and self._exists(f"{base}.{imported.name}"):
            yield base, True
            yield f"{base}.{imported.name}", False
            return
        yield base, False
        if imported.name == "*":
            yield from ((f"{base}.{child}", False) for child in self._children(base))

    def is_ours(self, name: str) -> bool:
        top = name.partition(".")[0]
        return top in (self._top, OURS) or self._is_beside_a_lone_file(top)

    def _is_beside_a_lone_file(self, top: str) -> bool:
        folder = self._lone_folder
        return folder is not None and ((folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file())

    @cached_property
    def _lone_folder(self) -> Path | None:
        """The folder of a handler that is in no package, unless third-party code lies there too."""
        file, locations = self._locate(self._top)
        if file is None or locations or file.parent.name in ("site-packages", "dist-packages"):
            return None
        return file.parent

    def _exists(self, name: str) -> bool:
        file, locations = self._locate(name)
        return file is not None or bool(locations)

    def _children(self, package: str) -> list[str]:
        _, locations = self._locate(package)
        return sorted({path.stem for folder in locations for path in folder.glob("*.py") if path.stem != "__init__"})

    def module(self, name: str) -> _Source | None:
        file, _ = self._locate(name)
        return None if file is None else _read(file)


def _locate(name: str) -> tuple[Path | None, list[Path]]:
    """The file of a module and, for a package, the folders of its children. `(None, [])` if there is no such module."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)  # of a top-level name: runs nothing
    except ValueError:  # `__main__`, which has no name that another process could import it by
        spec = None
    if spec is None:
        return None, []
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for part in rest:
        file, folders = _child(folders, part)
        if file is None and not folders:
            return None, []
    return file, folders


def _child(folders: list[Path], name: str) -> tuple[Path | None, list[Path]]:
    """As the import system would find it: package, then module, then namespace package."""
    for folder in folders:
        if (package := folder / name / "__init__.py").is_file():
            return package, [package.parent]
        for suffix in importlib.machinery.all_suffixes():
            if (module := folder / f"{name}{suffix}").is_file():
                return module, []
    return None, [folder / name for folder in folders if (folder / name).is_dir()]


_sources: dict[Path, tuple[tuple[int, int], _Source]] = {}


def _read(path: Path) -> _Source:
    """What the file says; remembered until its time or size changes."""
    status = path.stat()
    stamp = (status.st_mtime_ns, status.st_size)
    known = _sources.get(path)
    if known and known[0] == stamp:
        return known[1]
    source = _parse(path) if path.suffix == ".py" else _Source(path, sha256_file(path), (), None)
    _sources[path] = (stamp, source)
    return source


def _parse(path: Path) -> _Source:
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise UserError(
            f"{path}:{error.lineno}: {error.msg}. A step whose code cannot be parsed has no identity. Correct the file."
        ) from error
    tree = _WithoutWords().visit(tree)
    imports = tuple(_imports(tree, deferred=False, guarded=False))
    code = sha256_bytes(ast.dump(tree, annotate_fields=False))
    star = any(imported.name == "*" for imported in imports)
    names = frozenset(_names(tree))
    return _Source(path, code, imports, None if star or "__getattr__" in names else names)


class _WithoutWords(ast.NodeTransformer):
    """Drops what Python does not run: docstrings and other bare strings, and what only the type checker reads."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST] | None:
        test = node.test
        name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
        if name == "TYPE_CHECKING":
            kept = ast.Module(node.orelse, [])
            self.generic_visit(kept)
            return list(kept.body)
        return self.generic_visit(node)


def _imports(node: ast.AST, *, deferred: bool, guarded: bool) -> Iterator[_Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield _Import(alias.name, 0, None, child.lineno, deferred, guarded)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                yield _Import(child.module or "", child.level, alias.name, child.lineno, deferred, guarded)
        else:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(child, deferred=deferred or function, guarded=guarded or isinstance(child, ast.Try))


def _names(tree: ast.AST) -> Iterator[str]:
    """What a module binds outside functions and classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        else:
            yield from _names(node)
