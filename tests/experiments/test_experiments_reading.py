"""How two arms stand to each other: only what the interval of their paired difference excludes is said."""

import numpy as np
import pytest

from foresight.experiments.reading import standing

RNG = np.random.default_rng(0)
SOURCES = [f"source {index // 2}" for index in range(60)]


@pytest.mark.parametrize(("shift", "said"), [(0.1, "ahead of"), (-0.1, "behind"), (0.0, "level with")])
def test_a_difference_is_said_where_it_excludes_zero(shift, said):
    """The scores vary by more than they differ, alike in both arms: pairs tell them apart."""
    level = RNG.uniform(size=60)
    assert standing(level + shift, level + RNG.normal(0, 0.1, 60), SOURCES) == said


def test_few_sources_tell_nothing():
    scores = np.linspace(0.5, 1, 60)
    assert standing(scores, scores - 0.4, [str(index % 9) for index in range(60)]).startswith("not told apart")
