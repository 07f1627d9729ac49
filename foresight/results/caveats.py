"""What must be read beside a criterion and changes no verdict: levels beyond the oracle, heads that no epoch helped.

From a results.yaml alone, so that the shell, Prefect's page and the report say the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from foresight.results.findings import number

ORACLE = "_oracle"  # ends the name of a metric that shows what could be reached at best
UNTRAINED = re.compile(r"^Seed (\d+): no epoch of training helped '(.+)' on validation, .*; read from it: (.+)\.$")
"""As `foresight.probes.training.note_untrained` writes it of a head that a criterion is read from."""


def of(row: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    """One sentence each, without its full stop. `row`: the criterion; `entry`: the sub-experiment it is read from."""
    return [*_beyond_the_oracle(row, entry), *_untrained(row, entry)]


def oracle_of(row: Mapping[str, Any], entry: Mapping[str, Any]) -> float | None:
    """The best that could be reached, mean over seeds, where the sub-experiment measured it."""
    found = entry.get("metrics", {}).get(row["metric"] + ORACLE)
    return None if found is None else float(found)


def _beyond_the_oracle(row: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    oracle = oracle_of(row, entry)
    if oracle is None:
        return []
    higher = row["direction"] == "higher"
    missed = [
        f"{words} ({number(row[level])})"
        for level, words in (("acceptable", "the acceptable level"), ("target", "the target"))
        if level in row and ((oracle < row[level]) if higher else (oracle > row[level]))
    ]
    if not missed:
        return []
    return [
        f"{' and '.join(missed)} {'lie' if len(missed) > 1 else 'lies'} out of reach here: the oracle, what the same "
        f"decoder makes of the true latents, is itself at {number(oracle)}, so nothing read from tokens could get there"
    ]


def _untrained(row: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    found = [
        (int(said[1]), said[2])
        for note in entry.get("notes", [])
        if (said := UNTRAINED.match(note)) and row["metric"] in said[3].split(", ")
    ]
    if not found:
        return []
    seeds, of = sorted(seed for seed, _ in found), len(entry.get("seeds", found))
    return [
        f"no epoch of training helped the head that this is read from ('{found[0][1]}', seed "
        f"{', '.join(map(str, seeds))}; {len(seeds)} of {max(of, len(seeds))} seeds): there it stands as it started"
    ]
