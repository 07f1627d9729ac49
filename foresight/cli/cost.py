"""An estimate for the eye: what a job will take, and which number rests on what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from foresight.cli.output import console, table
from foresight.compute.estimate import Estimate, Line
from foresight.units import duration, size, usd


def show(found: Estimate) -> None:
    """A row for each kind of work, and the sum."""
    rows = [_row(lines) for lines in _by_work(found.lines)]
    console.print(table(["step", "on", "n", "time", "dollars", "bytes", "rests on"], rows))
    console.print()
    for line in summary(found):
        console.print(line, markup=False)


def summary(found: Estimate) -> Iterator[str]:
    """What it comes to, in sentences."""
    to_run = found.to_run
    if not to_run:
        yield f"Nothing to run: all {len(found.lines)} steps are recorded."
        return
    known = len(to_run) - len(found.unknown)
    if found.rates.are_free:
        yield f"{len(to_run)} of {len(found.lines)} steps to run: $0.00 on this machine, whatever they take."
    elif known:
        yield f"{usd(found.known_usd)} for {known} of the {len(to_run)} steps to run, as earlier records took."
    if found.unknown:
        yield (
            f"Unknown for {len(found.unknown)} step{'s' if len(found.unknown) > 1 else ''} without an earlier record: "
            f"at most {usd(found.unknown_at_most_usd)} by the timeouts, one attempt each."
        )
    timed = [line.seconds for line in to_run if line.seconds is not None]
    if timed:
        all_of = "" if len(timed) == len(to_run) else f" for {len(timed)} of them"
        yield f"About {duration(sum(timed))} of work{all_of}, one step after another."
    sized = [line.size_bytes for line in to_run if line.size_bytes is not None]
    if sized:
        all_of = "" if len(sized) == len(to_run) else f" by {len(sized)} of them"
        yield f"About {size(sum(sized))} of features and artifacts{all_of}."
    if not found.rates.are_free:
        yield f"Prices: {found.rates.basis}. Starting and idle containers are not counted."
    if found.unprepared:
        yield f"Every step is counted, since nobody can tell yet what is recorded: {found.unprepared}"


def as_json(found: Estimate) -> dict[str, Any]:
    return {
        "prepared": not found.unprepared,
        "missing": found.unprepared,
        "prices": found.rates.basis,
        "known_usd": found.known_usd,
        "unknown_steps": len(found.unknown),
        "unknown_at_most_usd": found.unknown_at_most_usd,
        "steps": [
            {
                "label": line.label,
                "device": line.resources.device,
                "recorded": line.recorded,
                "seconds": line.seconds,
                "seconds_rest_on": line.seconds_rest_on or None,
                "bytes": line.size_bytes,
                "bytes_rest_on": line.bytes_rest_on or None,
                "usd": line.usd,
                "at_most_usd": line.at_most_usd,
            }
            for line in found.lines
        ],
    }


def _by_work(lines: Sequence[Line]) -> list[list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.work, []).append(line)
    return list(found.values())


def _row(lines: Sequence[Line]) -> list[str]:
    """The steps of one kind of work; their sums are of those that are still to run."""
    to_run, first = [line for line in lines if not line.recorded], lines[0]
    if not to_run:
        return [first.work, first.resources.device, str(len(lines)), "–", usd(0.0), "–", "recorded"]
    seconds = None if first.seconds is None else sum(line.seconds or 0.0 for line in to_run)
    known = [line.usd for line in to_run if line.usd is not None]
    sizes = [line.size_bytes for line in to_run if line.size_bytes is not None]
    at_most = sum(line.at_most_usd for line in to_run)
    rests_on = first.seconds_rest_on or ("–" if at_most == 0 else "its timeout")
    if len(to_run) < len(lines):
        rests_on += f"; {len(lines) - len(to_run)} recorded"
    return [
        first.work,
        first.resources.device,
        str(len(to_run)),
        duration(seconds),
        usd(sum(known)) if known else f"≤ {usd(at_most)}",
        size(sum(sizes)) if sizes else "–",
        rests_on,
    ]
