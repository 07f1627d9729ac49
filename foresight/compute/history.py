"""What steps took before, by kind of work: the same step of the same profile, whatever its seed, data or code then.

Read from the records of this home. It is what an estimate rests on, never what a result does, so a record that cannot
be read is passed over here; `results verify` and the next run name it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from foresight.compute.gpus import relative_time
from foresight.files import read_json
from foresight.home import Home

_SEED = re.compile(r" seed \d+$")


@dataclass(frozen=True)
class Taken:
    """What one finished step took."""

    device: str
    seconds: float
    size_bytes: int  # of its artifacts, features among them


History = Mapping[tuple[str, str], Sequence[Taken]]
"""(profile, kind of work) -> every record of it, oldest first."""


def work_of(label: str) -> str:
    """The kind of work that a step's label names: `c1/e1_4 seed 2` is `c1/e1_4`."""
    return _SEED.sub("", label)


def read_history(home: Home) -> History:
    """All records of the home: one JSON file each, a few milliseconds, and once for as long as it stays the same: every
    call of a run that costs money asks."""
    found: dict[tuple[str, str], list[tuple[str, Taken]]] = {}
    for path in home.steps.glob("*/record.json"):
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if path not in _known or _known[path][0] != stamp:
                _known[path] = (stamp, *_read(path))
        except (ValueError, KeyError, TypeError, FileNotFoundError):  # one may be replaced just now
            continue
        _, key, finished_at, taken = _known[path]
        found.setdefault(key, []).append((finished_at, taken))
    return {key: [taken for _, taken in sorted(each, key=lambda pair: pair[0])] for key, each in found.items()}


_known: dict[Path, tuple[tuple[int, int, int], tuple[str, str], str, Taken]] = {}


def _read(path: Path) -> tuple[tuple[str, str], str, Taken]:
    """(profile, kind of work), when it was finished, and what it took."""
    record = read_json(path)
    usage, artifacts = record["usage"], record["artifacts"]
    taken = Taken(usage["device"], float(usage["seconds"]), sum(each["size_bytes"] for each in artifacts))
    return (record["profile"], work_of(record["label"])), str(record["finished_at"]), taken


def expected_seconds(earlier: Sequence[Taken], device: str) -> tuple[float, str] | None:
    """(seconds, what they rest on) of such a step on `device`; None where nothing comparable was measured.

    The median over the records made on this very class; failing that, over those of other GPU classes, each scaled.
    """
    same = [taken.seconds for taken in earlier if taken.device == device]
    if same:
        return median(same), _records(len(same))
    scaled = [
        (taken.seconds * factor, taken.device)
        for taken in earlier
        if (factor := relative_time(taken.device, device)) is not None
    ]
    if not scaled:
        return None
    classes = ", ".join(sorted({name for _, name in scaled}))
    return median(seconds for seconds, _ in scaled), f"{_records(len(scaled))} on {classes}, scaled to {device}"


def _records(count: int) -> str:
    return f"{count} record{'s' if count > 1 else ''}"
