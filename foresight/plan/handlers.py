"""Whether a handler exists, found without importing it.

A plan that names a missing function must fail before anything starts, not after an hour; and looking must not import
the handler, which imports torch. So the module's file is found through the import system's finders, parent by parent,
and its syntax tree is asked for the name.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
from pathlib import Path

from foresight.plan.parts import unknown


def handler_problem(handler: str) -> str | None:
    """What is wrong with `package.module:function`, and what to do; None if the function is there."""
    module, _, function = handler.partition(":")
    found = module_file(module)
    if isinstance(found, str):
        return f"{found} Write the module, correct the name, or remove the handler (then it counts as not implemented)."
    try:
        tree = ast.parse(found.read_bytes(), filename=str(found))
    except (SyntaxError, ValueError) as error:
        return f"{found} is not valid Python: {error}. Correct it."
    names = _top_level_names(tree)
    if function not in names:
        return f"{unknown(f'function in {found}', function, sorted(names))} Define `def {function}(runner):` there."
    definition = names[function]
    if isinstance(definition, ast.ClassDef | ast.AsyncFunctionDef):
        return f"'{function}' in {found} is not a plain function. Define `def {function}(runner):` there."
    if isinstance(definition, ast.FunctionDef):
        arguments = definition.args
        if not (arguments.posonlyargs or arguments.args or arguments.vararg):
            return (
                f"'{function}' in {found} takes no argument. A handler is given the runner: `def {function}(runner):`."
            )
    return None


def module_file(module: str) -> Path | str:
    """The source file of a dotted module name, or a sentence on why there is none. Imports nothing.

    `importlib.util.find_spec("a.b")` would import `a`; a finder asked for each part in its parent's folders does not.
    """
    parts = module.split(".")
    try:
        spec = importlib.util.find_spec(parts[0])
    except ValueError:  # a module put into sys.modules by hand
        spec = None
    if spec is None:
        return f"no package '{parts[0]}' on the Python path. Install it, or set PYTHONPATH to the folder that holds it."
    for depth in range(1, len(parts)):
        if spec.submodule_search_locations is None:
            return f"'{'.'.join(parts[:depth])}' is a module, not a package, so it has no '{parts[depth]}'."
        name = ".".join(parts[: depth + 1])
        locations = list(spec.submodule_search_locations)
        below = importlib.machinery.PathFinder.find_spec(name, locations)
        if below is None:
            known = [f"{'.'.join(parts[:depth])}.{stem}" for stem in _modules_in(locations)]
            return unknown("module", name, known)
        spec = below
    if spec.submodule_search_locations is not None and spec.origin is None:
        return f"'{module}' is a folder without code, not a module."
    if spec.origin is None or not spec.origin.endswith(".py"):
        return f"'{module}' is not Python source ({spec.origin})."
    return Path(spec.origin)


def _modules_in(locations: list[str]) -> list[str]:
    return sorted(
        {path.stem for location in locations for path in Path(location).glob("*.py") if path.stem != "__init__"}
    )


def _top_level_names(tree: ast.Module) -> dict[str, ast.stmt]:
    """Names that the module binds at its top level: functions, classes, assignments, imports."""
    names: dict[str, ast.stmt] = {}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[statement.name] = statement
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            names.update({(alias.asname or alias.name): statement for alias in statement.names})
        elif isinstance(statement, ast.Assign):
            names.update({target.id: statement for target in statement.targets if isinstance(target, ast.Name)})
        elif (
            isinstance(statement, ast.AnnAssign)
            and statement.value is not None
            and isinstance(statement.target, ast.Name)
        ):
            names[statement.target.id] = statement
    return names
