"""Whether a handler exists, found without importing it.

A plan that names a missing function must fail before anything starts, not after an hour; and looking must not import
the handler, which imports torch. So the module's file is looked for, parent by parent, and its syntax tree is asked for
the name.
"""

from __future__ import annotations

import ast
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

    `importlib.util.find_spec("a.b")` would import `a`, so only the first part is left to it.
    """
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except ValueError:  # a module that was put into sys.modules by hand
        spec = None
    if spec is None:
        return f"no package '{first}' on the Python path. Install it, or set PYTHONPATH to the folder that holds it."
    file = Path(spec.origin) if spec.origin else None
    folders = None if spec.submodule_search_locations is None else [Path(p) for p in spec.submodule_search_locations]
    name = first
    for part in rest:
        if folders is None:
            return f"'{name}' is a module, not a package, so it has no '{part}'."
        found = _below(folders, part)
        if found is None:
            return unknown(f"module in '{name}' called", part, _modules_in(folders))
        (file, folders), name = found, f"{name}.{part}"
    if file is None:
        return f"'{name}' is a folder without code, not a module."
    return file if file.suffix == ".py" else f"'{name}' is not Python source ({file})."


def _below(folders: list[Path], part: str) -> tuple[Path | None, list[Path] | None] | None:
    """File and search folders of a package's `part`, in the import system's order: package, module, bare folder."""
    for folder in folders:
        if (folder / part / "__init__.py").is_file():
            return folder / part / "__init__.py", [folder / part]
        if (folder / f"{part}.py").is_file():
            return folder / f"{part}.py", None
    bare = [folder / part for folder in folders if (folder / part).is_dir()]
    return (None, bare) if bare else None


def _modules_in(folders: list[Path]) -> list[str]:
    return sorted({path.stem for folder in folders for path in folder.glob("*.py") if path.stem != "__init__"})


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
