"""How long a path takes: warm, synchronised, one picture at a time, the paths in turn (M24 of the programme).

Every path is run on every picture some rounds after those that warm up, and within a round all paths meet the same
picture one after another in an order that is drawn anew: what the machine does beside (another process, a clock that
falls as it gets hot) then meets all of them alike, and the ratio of two paths on one picture is paired. Of the rounds
the median is kept, which one interruption does not move.

A time is a property of the machine. It is compared with another of the same run, and with nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

Path = Callable[[int], object]  # runs on the picture of that index, and returns when its result is there


def in_turn(
    paths: Mapping[str, Path],
    n: int,
    *,
    rounds: int,
    warm_up: int,
    rng: np.random.Generator,
    synchronise: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
    watch: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, np.ndarray]:
    """Path -> seconds [n], the median over `rounds`. `warm_up` rounds go before and count for nothing.

    `synchronise` waits until the device has done what it was given. Raises `ValueError` without rounds or pictures.
    """
    if rounds < 1 or n < 1:
        raise ValueError(f"{rounds} rounds over {n} pictures measure nothing")
    names = list(paths)
    seconds_RNP = np.empty((warm_up + rounds, n, len(names)))
    for turn in range(warm_up + rounds):
        for picture in range(n):
            for which in rng.permutation(len(names)):
                synchronise()
                began = clock()
                paths[names[which]](picture)
                synchronise()
                seconds_RNP[turn, picture, which] = clock() - began
        watch(turn + 1, warm_up + rounds)
    median_NP = np.median(seconds_RNP[warm_up:], axis=0)
    return {name: median_NP[:, which] for which, name in enumerate(names)}


def overhead(seconds_N: np.ndarray, plain_N: np.ndarray) -> np.ndarray:
    """What a path costs over the plain one, as a share of it, picture by picture [n]: 0.25 is a quarter more."""
    return seconds_N / plain_N - 1.0
