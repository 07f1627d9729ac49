"""Reading the box of one object from tokens: a head, and what a score has to leave behind.

Beside the head stands what looks at nothing: the mean box of train, and the one box that overlaps train's boxes best;
and what can learn nothing: the same head trained on boxes dealt out anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foresight.probes.boxes import BoxProbe, best_constant_box, fit_box_probe, mean_box

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

View = Literal["tokens", "pooled"]
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of boxes [N, 4] and true ones [N, 4]: [N]
Guesses = Mapping[str, list[np.ndarray]]  # by baseline; each guess is [N, 4], or [4] for all

PUBLISHED = {"epochs": 100, "lr": 1e-3, "batch_size": 32}  # training of the pooled head
DEALS, DEAL_PATIENCE = 3, 5  # heads on dealt-out boxes: one alone varies by .07 IoU; none has anything to wait for


class OneBox:
    """The one object of each picture of a handler's data, and the heads that look for it."""

    def __init__(self, runner: ExperimentRunner) -> None:
        self.runner, self.split = runner, runner.split()
        self.boxes = runner.dataset().labels("box").astype(np.float32)
        self.true = self.boxes[self.split.test]

    def fit(
        self, name: str, need: str, view: View = "tokens", *, boxes: np.ndarray | None = None, **settings: Any
    ) -> BoxProbe:
        """H5 on the tokens of a point, or the published H3 on their mean. `name` is that of its loss curve."""
        split, features = self.split, self.runner.features(need)
        boxes = self.boxes if boxes is None else boxes
        return fit_box_probe(
            features[split.train],
            boxes[split.train],
            features[split.val],
            boxes[split.val],
            seed=self.runner.seed,
            view=view,
            device=self.runner.device,
            watch=self.runner.loss_curve(name),
            **{**(PUBLISHED if view == "pooled" else self.runner.config.get("head", {})), **settings},
        )

    def guesses(self, need: str) -> Guesses:
        """`mean_box`, `best_box`, and `permuted_boxes` by heads on the tokens of `need`."""
        train = self.boxes[self.split.train]
        return {
            "mean_box": [mean_box(train)],
            "best_box": [best_constant_box(train)],
            "permuted_boxes": self._fits_to_nothing(need),
        }

    def beside(self, guesses: Guesses, score: Score) -> dict[str, np.ndarray]:
        """[N] by baseline: the mean over its guesses."""
        return {name: np.mean([score(self.all(one), self.true) for one in of], axis=0) for name, of in guesses.items()}

    def all(self, guess: np.ndarray) -> np.ndarray:
        """[N, 4]: a guess for each picture, or one [4] for all."""
        return np.broadcast_to(guess, self.true.shape)

    def _fits_to_nothing(self, need: str) -> list[np.ndarray]:
        """Test boxes [N, 4] by the same head, trained on boxes that were dealt out anew within each part."""
        rng, test = self.runner.rng, self.runner.features(need)[self.split.test]
        predicted = []
        for deal in range(DEALS):
            dealt = self.boxes.copy()
            for part in (self.split.train, self.split.val):
                dealt[part] = self.boxes[rng.permutation(part)]
            head = self.fit(f"permuted_{deal}", need, boxes=dealt, patience=DEAL_PATIENCE)
            predicted.append(head.predict(test))
        return predicted
