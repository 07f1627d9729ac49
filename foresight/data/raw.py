"""Datasets that a person has to download: what is missing, where to get it, where to put it, and what to type next."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from foresight.errors import UserError


@dataclass(frozen=True)
class RawDataset:
    """One dataset that does not come with the package."""

    name: str
    url: str
    layout: str  # what the folder must hold

    def require(self, root: Path | None, candidates: Iterable[str], what: str) -> Path:
        """The first of `candidates` (paths under `root`) that exists. Raises `UserError` if none does."""
        names = list(candidates)
        if root is None:
            raise UserError(f"{self.name} needs the folder of its raw files and was given none. {self.advice(None)}")
        for name in names:
            if (root / name).exists():
                return root / name
        raise UserError(
            f"{self.name}: {what} is missing: there is no {' or '.join(names)} in {root}. {self.advice(root)}"
        )

    def advice(self, root: Path | None) -> str:
        """Where to get it, where to put it, and the next command."""
        place = f"in {root}, or in any folder FOLDER" if root else "in a folder FOLDER"
        return (
            f"Download it from {self.url} and put {self.layout} {place}, "
            "then run `foresight datasets prepare NAME --from FOLDER`."
        )

    def too_few(self, asked: int, found: int, root: Path, why: str) -> UserError:
        return UserError(
            f"{self.name}: {asked} items were asked for, but {root} has only {found} {why}. "
            f"Ask for fewer in the profile, or complete the download: {self.advice(root)}"
        )


def order(identifiers: Iterable[str], seed: int) -> list[str]:
    """A random order in which the place of one identifier does not depend on which others there are."""
    return sorted(identifiers, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())


def generator_seed(identifier: str, seed: int) -> list[int]:
    """For `np.random.default_rng`: one generator an item, whatever the others are."""
    return [seed, int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8], "big")]
