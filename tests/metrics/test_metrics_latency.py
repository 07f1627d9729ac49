"""Times, on a clock that the paths themselves move."""

from __future__ import annotations

import numpy as np
import pytest

from foresight.metrics.latency import in_turn, overhead


class Machine:
    def __init__(self) -> None:
        self.now, self.calls = 0.0, []

    def path(self, name, seconds):
        """`seconds(picture, call)`: how long the path takes at its call of that number."""

        def run(picture):
            number = sum(one[0] == name for one in self.calls)
            self.calls.append((name, picture))
            self.now += seconds(picture, number)

        return run

    def measure(self, paths, n, **options):
        return in_turn(paths, n, rng=np.random.default_rng(0), clock=lambda: self.now, **options)


def test_each_picture_has_the_median_of_its_rounds_and_the_first_ones_do_not_count():
    machine = Machine()
    slow_start = machine.path("a", lambda picture, call: 100.0 if call < 3 else 1.0 + picture)
    disturbed = machine.path("b", lambda picture, call: 50.0 if call == 5 else 2.0)
    seconds = machine.measure({"a": slow_start, "b": disturbed}, 3, rounds=5, warm_up=1)
    assert seconds["a"] == pytest.approx([1.0, 2.0, 3.0])
    assert seconds["b"] == pytest.approx([2.0, 2.0, 2.0]), "one interruption moves no median"
    assert overhead(seconds["b"], seconds["a"]) == pytest.approx([1.0, 0.0, -1 / 3])


def test_paths_meet_the_same_picture_in_turn_and_in_any_order():
    machine = Machine()
    paths = {name: machine.path(name, lambda picture, call: 1.0) for name in "abc"}
    machine.measure(paths, 4, rounds=6, warm_up=0)
    turns = [machine.calls[start : start + 3] for start in range(0, len(machine.calls), 3)]
    assert all(len({picture for _, picture in turn}) == 1 for turn in turns)
    assert all({name for name, _ in turn} == set("abc") for turn in turns)
    assert len({turn[0][0] for turn in turns}) == 3, "none is always the first"


def test_what_the_device_still_does_is_waited_for():
    machine = Machine()
    pending = []

    def synchronise():
        machine.now += sum(pending)
        pending.clear()

    seconds = machine.measure(
        {"a": lambda picture: pending.append(3.0)}, 2, rounds=2, warm_up=0, synchronise=synchronise
    )
    assert seconds["a"] == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize(("rounds", "n"), [(0, 3), (3, 0)])
def test_nothing_is_no_measurement(rounds, n):
    with pytest.raises(ValueError, match="measure nothing"):
        Machine().measure({"a": lambda picture: None}, n, rounds=rounds, warm_up=0)
