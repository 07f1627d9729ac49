"""What to change after a step ran out of memory: a smaller batch where that is cheaper, else the next larger GPU class.

Neither bears identity: batch size, device and memory are no part of a fingerprint. Half a batch costs about a tenth
more time while there is enough in it to keep a GPU busy, and twice the time below that, since each pass then takes as
long as before. The next class costs what its price says, by the second; whether the step would be faster there is not
known, so it is not counted on. Whichever is less is taken. Every change makes the step need less, or gives it more, and
there are at most `MAX_CHANGES` of them, so a step that fits nowhere ends soon.

Where it was main memory that ran out, a container is given twice as much; on this machine only the batch can give way.
A step on a CPU never moves to a GPU. A100-80GB and H100 have the same 80 GB, but for an H100 Modal may give an H200,
which has 141 GB; so it is the last thing to try.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from foresight.compute.backend import Call
from foresight.compute.gpus import next_class
from foresight.compute.rates import Rates
from foresight.compute.step import Resources, Step

MAX_CHANGES = 5
MAX_MEMORY_GB = 256.0

BUSY_BATCH = 4
"""The smallest batch that keeps a GPU about busy: an image of 224 px is 64 tokens of a 7B model."""

HALF_BATCH_TIME = 1.1
TINY_BATCH_TIME = 2.0


def after(call: Call, rates: Rates, errors: Iterable[str]) -> Call:
    """The call as it is to be tried after it ran out of memory with these errors, as far as it can be changed."""
    for error in errors:
        changed = change(call, rates, error)
        if changed is None:
            break
        call = changed[0]
    return call


def change(call: Call, rates: Rates, error: str) -> tuple[Call, str] | None:
    """(the call to try next, why), or None where there is nothing left to change. `error` is what it ended with."""
    if max(len(_adjustments(step)) for step in call.steps) >= MAX_CHANGES:
        return None
    now, batch = call.resources, _batch(call)
    what = f"out of memory on {now.device}" + (f" with a batch of {batch}" if batch else "")
    halved = batch // 2 if batch and batch > 1 else None
    if "cuda" not in error.lower():  # main memory
        if halved and rates.are_free:
            return _changed(call, f"{what}: a batch of {halved}", now, halved)
        if rates.are_free or now.memory_gb * 2 > MAX_MEMORY_GB:
            return None
        more = replace(now, memory_gb=now.memory_gb * 2)
        return _changed(call, f"out of main memory with {now.memory_gb:g} GB: {more.memory_gb:g} GB", more)
    larger = next_class(now.device)
    if halved and (larger is None or _time_of(halved) <= _price_of(now, larger, rates)):
        return _changed(call, f"{what}: a batch of {halved}", now, halved)
    return None if larger is None else _changed(call, f"{what}: {larger}", replace(now, device=larger))


def _time_of(halved: int) -> float:
    """Of a batch of so many, in times of one of twice as many."""
    return HALF_BATCH_TIME if halved >= BUSY_BATCH else TINY_BATCH_TIME


def _price_of(now: Resources, larger: str, rates: Rates) -> float:
    """Of the larger class, in times of the price now; where all is free it costs nothing more."""
    return 1.0 if rates.are_free else rates.usd_per_second(replace(now, device=larger)) / rates.usd_per_second(now)


def _batch(call: Call) -> int | None:
    """The largest batch among its steps; None if a step has none that may be changed."""
    sizes = [step.work.get("batch_size") for step in call.steps]
    return None if None in sizes else max(size for size in sizes if size is not None)


def _adjustments(step: Step) -> list[str]:
    return list(step.work.get("adjustments", ()))


def _changed(call: Call, why: str, resources: Resources, batch: int | None = None) -> tuple[Call, str]:
    def changed(step: Step) -> Step:
        work = {**step.work, "adjustments": [*_adjustments(step), why]}
        if batch is not None:
            work["batch_size"] = min(batch, step.work["batch_size"])
        own = replace(step.resources, device=resources.device, memory_gb=resources.memory_gb)
        return replace(step, work=work, resources=own)

    return Call(tuple(changed(step) for step in call.steps)), why
