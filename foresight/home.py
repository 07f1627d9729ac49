"""FORESIGHT_HOME: where all state lies. One folder, no lock on it: runs side by side are normal."""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from foresight.errors import UserError


@dataclass(frozen=True)
class Home:
    """The layout under FORESIGHT_HOME (default `.foresight/` in the working directory).

    In a container models and data sets lie on volumes of their own, and the ledger on the container's own disk:
    `models_at`, `datasets_at` and `ledger_at` say where, if not under `root`.
    """

    root: Path
    models_at: Path | None = None
    datasets_at: Path | None = None
    ledger_at: Path | None = None

    @classmethod
    def from_environment(cls) -> Home:
        return cls(Path(os.environ.get("FORESIGHT_HOME") or ".foresight").resolve())

    @property
    def steps(self) -> Path:
        """`<fingerprint>/{record.json, artifacts/, attempts/<n>/, claim.lock}`"""
        return self.root / "steps"

    @property
    def features(self) -> Path:
        """`<fingerprint>/{00000.safetensors, …, manifest.json}`"""
        return self.root / "features"

    @property
    def models(self) -> Path:
        return self.models_at or self.root / "models"

    @property
    def datasets(self) -> Path:
        """`<name>-<spec hash>/{images.npy, manifest.json}`"""
        return self.datasets_at or self.root / "datasets"

    @property
    def ledger(self) -> Path:
        """`<run-id>/{run.json, <call-id>.json, cancel}`"""
        return self.ledger_at or self.root / "ledger"

    @property
    def results(self) -> Path:
        """`<experiment-id>/{results.yaml, artifacts/, runs/<run-id>/}`"""
        return self.root / "results"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def wandb(self) -> Path:
        """`<run-id>/wandb/…`, as the wandb client lays it out: what `wandb sync` uploads."""
        return self.root / "wandb"

    def resolved(self) -> Home:
        """The same home with an absolute root: a handler may change the working directory."""
        return replace(self, root=self.root.resolve())

    @property
    def id(self) -> str:
        """Tells this home from others that use the same volumes. Made when it is first asked for, by many at once."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "home-id").open("a+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.seek(0)
            known = stream.read()
            if not known:
                known = uuid.uuid4().hex
                stream.write(known)
        return known

    def step(self, fingerprint: str) -> Path:
        return self.steps / fingerprint

    def record(self, fingerprint: str) -> Path:
        return self.step(fingerprint) / "record.json"

    def require_writable(self) -> None:
        """Raise `UserError` before anything starts if nothing can be written here."""
        if self.root.is_file():
            raise UserError(f"FORESIGHT_HOME is a file, {self.root}. Set it to a folder, old or new.")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable.{os.getpid()}"
            try:
                probe.write_bytes(bytes(4096))  # an empty file fits on a full disk
                with probe.open("r+b") as stream:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise UserError(
                    f"FORESIGHT_HOME lies on a file system without file locks: {self.root} ({error.strerror}). They "
                    "keep two runs from computing one step twice. Set FORESIGHT_HOME to a local disk, or mount that "
                    "one with locks (NFS: version 4, or with lockd)."
                ) from error
            raise UserError(
                f"FORESIGHT_HOME is not writable: {self.root} ({error.strerror}). "
                "Free some space or permissions there, or set FORESIGHT_HOME to another folder."
            ) from error
