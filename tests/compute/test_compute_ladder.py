"""Out of memory: a smaller batch where that is cheaper, else the next larger class, and soon an end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresight.compute import ladder, rates
from foresight.compute.backend import Call
from foresight.compute.gpus import GPU_CLASSES
from foresight.compute.step import Resources, Step

CUDA = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
MAIN = "its container ran out of memory"
DEVICES = ["cpu", *GPU_CLASSES]


def _call(device: str = "A10", batch: int | None = 16, memory_gb: float = 32, steps: int = 2) -> Call:
    work = {} if batch is None else {"batch_size": batch}
    made = [
        Step("extract", f"step {n}", "real", {"n": n}, work, resources=Resources(device=device, memory_gb=memory_gb))
        for n in range(steps)
    ]
    return Call(tuple(made))


def _shape(call: Call) -> tuple[str, int | None, float]:
    return call.resources.device, call.steps[0].work.get("batch_size"), call.resources.memory_gb


def test_the_whole_ladder_of_a_step_with_a_batch_and_of_one_without():
    def all_of(call: Call) -> list[tuple[str, int | None]]:
        shapes = [_shape(call)[:2]]
        while (changed := ladder.change(call, rates.TABLE, CUDA)) is not None:
            call = changed[0]
            shapes.append(_shape(call)[:2])
        return shapes

    assert all_of(_call()) == [("A10", 16), ("A10", 8), ("A10", 4), ("A100-40GB", 4), ("A100-80GB", 4), ("H100", 4)]
    assert all_of(_call(batch=None)) == [("A10", None), ("A100-40GB", None), ("A100-80GB", None), ("H100", None)]
    assert all_of(_call("H100", 4)) == [("H100", 4), ("H100", 2), ("H100", 1)]


def test_the_larger_class_is_taken_where_it_costs_less_than_half_a_batch():
    cheap = replace(rates.TABLE, gpu_usd_per_hour={**rates.TABLE.gpu_usd_per_hour, "A100-40GB": 1.11})
    assert _shape(ladder.change(_call(), cheap, CUDA)[0])[:2] == ("A100-40GB", 16)


def test_the_reason_is_kept_in_every_step():
    changed, why = ladder.change(_call(), rates.TABLE, CUDA)
    assert why == "out of memory on A10 with a batch of 16: a batch of 8"
    again, second = ladder.change(ladder.change(changed, rates.TABLE, CUDA)[0], rates.TABLE, CUDA)
    assert second == "out of memory on A10 with a batch of 4: A100-40GB"
    for step in again.steps:
        assert step.work["adjustments"][0] == why
        assert step.work["adjustments"][-1] == second


def test_a_step_on_a_cpu_never_moves_to_a_gpu():
    assert ladder.change(_call("cpu", None), rates.LOCAL, CUDA) is None
    assert ladder.change(_call("cpu", None), rates.LOCAL, MAIN) is None
    assert _shape(ladder.change(_call("cpu", 8), rates.LOCAL, MAIN)[0]) == ("cpu", 4, 32)


def test_a_container_that_lacked_main_memory_gets_more_of_it_and_no_larger_gpu():
    changed, why = ladder.change(_call("A10", 16, 64), rates.TABLE, MAIN)
    assert _shape(changed) == ("A10", 16, 128)
    assert why == "out of main memory with 64 GB: 128 GB"
    assert ladder.change(_call("A10", 16, 200), rates.TABLE, MAIN) is None


@given(
    st.sampled_from(DEVICES),
    st.none() | st.integers(1, 512),
    st.floats(1, 300),
    st.sampled_from([rates.TABLE, rates.LOCAL]),
    st.lists(st.sampled_from([CUDA, MAIN]), max_size=30),
)
def test_every_change_helps_no_identity_changes_and_it_ends(device, batch, memory_gb, prices, errors):
    call = _call(device, batch, memory_gb)
    for count, error in enumerate(errors):
        changed = ladder.change(call, prices, error)
        if changed is None:
            break
        assert count < ladder.MAX_CHANGES
        before, now = _shape(call), _shape(changed[0])
        smaller_batch = now[1] is not None and now[1] < before[1]
        larger = DEVICES.index(now[0]) > DEVICES.index(before[0])
        assert [smaller_batch, larger, now[2] > before[2]].count(True) == 1
        assert (now[0] == "cpu") == (device == "cpu")
        assert [step.fingerprint for step in changed[0].steps] == [step.fingerprint for step in call.steps]
        call = changed[0]
    assert ladder.after(_call(device, batch, memory_gb), prices, errors) == call


@pytest.mark.parametrize("batch", [1, None])
def test_nothing_left_to_change_is_said(batch: int | None):
    assert ladder.change(_call("H100", batch), rates.TABLE, CUDA) is None
