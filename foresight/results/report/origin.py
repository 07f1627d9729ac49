"""What a result took and what produced it, over all the records that it rests on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from foresight.compute.provenance import repository
from foresight.home import Home
from foresight.results.lineage import readable, used_by, with_used
from foresight.results.record import Attempt, Provenance, Record


@dataclass(frozen=True)
class Spent:
    """What one thing took."""

    what: str
    device: str
    seconds: float
    peak_bytes: int
    usd: float
    steps: int


@dataclass(frozen=True)
class Cost:
    extractions: tuple[Spent, ...]
    sub_experiments: tuple[Spent, ...]
    failed: Spent | None  # attempts that did not finish

    @property
    def rows(self) -> list[Spent]:
        return [*self.extractions, *self.sub_experiments, *([self.failed] if self.failed else [])]

    @property
    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows)

    @property
    def usd(self) -> float:
        return sum(row.usd for row in self.rows)


@dataclass(frozen=True)
class Data:
    """A data set, as its manifest has it where that lies here."""

    name: str
    sha256: str
    shape: tuple[int, ...] = ()  # [N, S, S, 3], or [N, T, S, S, 3] for clips; empty: no manifest here
    sources: int = 0
    origins: tuple[str, ...] = ()  # without what tells one source from another


@dataclass(frozen=True)
class Source:
    """What produced the numbers, over all records; a list where they differ."""

    repository: str | None  # where others find the code; None: nobody said
    commits: list[str]
    dirty: bool
    locks: list[str]
    python: list[str]
    platforms: list[str]
    versions: dict[str, str]
    models: list[tuple[str, str, str, str, bool]]  # role, id, revision, weights, stand-in
    data: list[Data]
    split: list[float]  # shares of the sources: train, validation, test; empty where records differ or do not say


def cost_of(home: Home, records: Mapping[str, list[Record]]) -> Cost:
    """Of every step that a number here rests on, and of the attempts at them that did not finish.

    An extraction is counted once here, and again in the report of another experiment that reads it too.
    """
    own = [record for of in records.values() for record in of]
    known, used = {record.fingerprint for record in own}, defaultdict[str, list[Record]](list)
    for sub_id, record in used_by(home, own):
        if record is not None and record.fingerprint not in known:
            used[f"{sub_id}, used by what is shown"].append(record)
    counted = {**records, **used}
    every_sub = [record for of in counted.values() for record in of]
    fingerprints = dict.fromkeys(
        fingerprint for record in every_sub for fingerprint in record.identity.get("features", {}).values()
    )
    extractions = [record for fp in fingerprints if (record := readable(home, fp)) is not None]
    by_model: dict[str, list[Record]] = {}
    for record in extractions:
        for model in record.provenance.models.values():
            by_model.setdefault(model.id, []).append(record)
    every = [*extractions, *every_sub]
    return Cost(
        tuple(_spent(f"features of {model}", of) for model, of in by_model.items()),
        tuple(_spent(sub_id, of) for sub_id, of in counted.items() if of),
        _failed(home, [record.fingerprint for record in every]),
    )


def _spent(what: str, records: list[Record]) -> Spent:
    return Spent(
        what=what,
        device=", ".join(sorted({record.usage.device for record in records})),
        seconds=sum(record.usage.seconds for record in records),
        peak_bytes=max(record.usage.peak_memory_bytes for record in records),
        usd=sum(record.usage.cost_usd for record in records),
        steps=len(records),
    )


def _failed(home: Home, fingerprints: list[str]) -> Spent | None:
    attempts = []
    for fingerprint in fingerprints:
        for path in sorted(home.step(fingerprint).glob("attempts/*/attempt.json")):
            attempts.append(Attempt.model_validate_json(path.read_text()))
    if not attempts:
        return None
    seconds, usd = sum(one.seconds for one in attempts), sum(one.cost_usd for one in attempts)
    return Spent("attempts that did not finish", "", seconds, 0, usd, len(attempts))


def source_of(home: Home, records: list[Record]) -> Source:
    records = with_used(home, records)
    all_of: list[Provenance] = [record.provenance for record in records]
    versions: dict[str, set[str]] = {}
    for one in all_of:
        for library, version in one.versions.items():
            versions.setdefault(library, set()).add(version)
    features = {fp for record in records for fp in record.identity.get("features", {}).values()}
    extracted = [record.provenance for fp in sorted(features) if (record := readable(home, fp)) is not None]
    models = {
        (role, model.id, model.revision, model.weights_sha256, model.stand_in)
        for one in (*all_of, *extracted)
        for role, model in one.models.items()
    }
    splits = {tuple(record.identity.get("split") or ()) for record in records}
    data = {name: sha256 for one in all_of for name, sha256 in sorted(one.data.items())}
    return Source(
        repository=repository(),
        commits=sorted({one.git_commit for one in all_of if one.git_commit}),
        dirty=any(one.git_dirty for one in all_of),
        locks=sorted({one.lock_sha256 for one in all_of if one.lock_sha256}),
        python=sorted({one.python for one in all_of}),
        platforms=sorted({one.platform for one in all_of}),
        versions={library: " and ".join(sorted(found)) for library, found in sorted(versions.items())},
        models=sorted(models),
        data=_data(home, data),
        split=list(splits.pop()) if len(splits) == 1 else [],
    )


def _data(home: Home, names: Mapping[str, str]) -> list[Data]:
    """By the manifests that lie here; of another only its name and hash are known."""
    found = {}
    for path in sorted(home.datasets.glob("*/manifest.json")) if names else []:
        try:
            manifest = json.loads(path.read_text())
            found[manifest["sha256"]] = (tuple(manifest["shape"]), manifest["sources"].values())
        except (ValueError, KeyError, TypeError):  # `datasets verify` names it
            continue
    data = []
    for name, sha256 in sorted(names.items()):
        shape, sources = found.get(sha256, ((), ()))
        origins = dict.fromkeys(str(one["origin"]).split(",")[0].strip() for one in sources)
        data.append(Data(name, sha256, shape, len(sources), tuple(origins)))
    return data
