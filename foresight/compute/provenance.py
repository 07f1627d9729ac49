"""What produced the numbers: which commit, which lock, which versions, on what."""

from __future__ import annotations

import os
import platform
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from foresight.compute.step import Step
from foresight.files import sha256_file
from foresight.results.record import ModelIdentity, Provenance
from foresight.versions import installed

LIBRARIES = (
    "numpy", "scipy", "scikit-learn", "scikit-image", "torch", "torchvision", "transformers", "diffusers",
    "safetensors", "lpips", "pillow", "av", "matplotlib",
)  # fmt: skip

_ROOT = Path(__file__).resolve().parents[2]
INSIDE = ("local", "internal", "lan", "localhost", "home", "corp", "invalid", "test", "example")
"""Names of the last part of a host that only one network knows, or none (RFC 2606, 6762, 8375)."""
_GIT_TIMEOUT_S = 20.0
_HEAD, _NO_COMMIT = "# branch.oid ", "(initial)"  # as `git status` says it
_COMMIT, _DIRTY = "FORESIGHT_GIT_COMMIT", "FORESIGHT_GIT_DIRTY"


def provenance_of(step: Step) -> Provenance:
    """Models, data and seed come from the identity, which was checked before the work began."""
    commit, dirty = checkout()
    identity = step.identity
    models = {identity["role"]: identity["model"]} if "model" in identity else identity.get("models", {})
    data = identity.get("data", {})
    if isinstance(data, str):  # an extraction works on one data set, whose name bears no identity
        data = {step.work["data_spec"]["name"]: data}
    return Provenance(
        git_commit=commit,
        git_dirty=dirty,
        lock_sha256=_lock_sha256(),
        versions=_versions(),
        models={role: ModelIdentity.model_validate(model) for role, model in models.items()},
        data=dict(data),
        seed=identity.get("seed"),
        python=platform.python_version(),
        platform=_platform(),
        processor=processor(),
    )


def look() -> None:
    """Find out now what stays the same for every step of this process and of those that are forked from it."""
    _versions(), _lock_sha256(), _platform(), processor(), _is_of_a_checkout()


_platform = cache(platform.platform)  # it starts a process


@cache
def processor() -> str:
    """The CPU's model name: other processors add in another order, and the last bits of a sum differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@cache
def checkout() -> tuple[str | None, bool | None]:
    """The commit of the checkout that this code runs from and whether it was changed since; None outside of one.

    The package must be part of the checkout: an environment inside some other repository is not that repository. In a
    container there is none, and the environment says what it was deployed from.
    """
    if _COMMIT in os.environ:
        return os.environ[_COMMIT], {"yes": True, "no": False}.get(os.environ[_DIRTY])
    if not _is_of_a_checkout():
        return None, None
    status = _git("status", "--porcelain=v2", "--branch")
    if status is None:
        return _git("rev-parse", "HEAD"), None
    lines = status.splitlines()
    head = next((line for line in lines if line.startswith(_HEAD)), _HEAD + _NO_COMMIT).removeprefix(_HEAD)
    changed = any(not line.startswith("# ") for line in lines)
    return None if head == _NO_COMMIT else head, changed


@cache
def repository() -> str | None:
    """Where others find this code: the https address of the checkout's remote, else that of pyproject.toml's urls.

    None rather than an address that would lead nobody there: a path, ssh, a name of one network, or one that carries a
    password.
    """
    remote = _git("remote", "get-url", "origin") if _is_of_a_checkout() else None
    project = _ROOT / "pyproject.toml"
    urls = tomllib.loads(project.read_text())["project"].get("urls", {}) if project.is_file() else {}
    named = [urls[name] for name in ("Repository", "Source", "Homepage") if name in urls]
    return next((found for one in (remote, *named) if one and (found := public_address(one))), None)


def public_address(address: str) -> str | None:
    """The address without `.git`, or None if it is not plain https to a host of the whole network."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    open_to_all = "." in host and not host.replace(".", "").isdigit() and host.rsplit(".", 1)[1] not in INSIDE
    if parts.scheme != "https" or parts.username or parts.password or parts.query or not open_to_all:
        return None
    return address.rstrip("/").removesuffix(".git")


@cache
def _is_of_a_checkout() -> bool:
    return _git("ls-files", "--error-unmatch", str(Path(__file__).resolve())) is not None


def deployed_as(commit: str | None, dirty: bool | None) -> dict[str, str]:
    """Environment variables by which `checkout` knows, in a container, what was deployed there."""
    return {} if commit is None else {_COMMIT: commit, _DIRTY: {True: "yes", False: "no", None: "unknown"}[dirty]}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):  # none in a container; slow on a network disk
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def _lock_sha256() -> str | None:
    lock = _ROOT / "requirements.lock"
    return sha256_file(lock) if lock.is_file() else None


def _versions() -> dict[str, str]:
    found = {library: installed(library) for library in LIBRARIES}
    return {library: version for library, version in found.items() if version is not None}
