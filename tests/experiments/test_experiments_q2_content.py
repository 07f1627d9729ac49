"""What a finding says that tokens tell: only what is ahead of labels dealt out anew."""

import numpy as np

from foresight.experiments.q2.content import Scores, told


def scores(right: float, blind: float, n: int = 100) -> Scores:
    rng = np.random.default_rng(0)
    of = [(rng.random(n) < share).astype(float) for share in (right, blind)]
    return Scores(of[0], [f"picture {index}" for index in range(n)], {"permuted_labels": of[1]})


def test_what_is_no_better_than_chance_cannot_be_told():
    said = told({"position_accuracy": scores(0.25, 0.25), "patch_accuracy": scores(0.9, 0.5)})
    assert said.startswith("the tokens tell class of a token in {patch_accuracy:.0%} of cases")
    assert "; relative position cannot be told from them ({position_accuracy:.0%}, " in said
    assert told({}) == ""
