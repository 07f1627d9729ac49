import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from foresight.errors import StepFailed
from foresight.probes.training import (
    TrainingHistory,
    note_unconverged,
    note_untrained,
    parameter_count,
    predict,
    seeded,
    train,
)
from foresight.results import caveats

RNG = np.random.default_rng(0)
MAP = RNG.normal(size=(12, 2)).astype(np.float32)


def data(n: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    x = RNG.normal(size=(n, 12)).astype(np.float32)
    return x, (x @ MAP + noise * RNG.normal(size=(n, 2))).astype(np.float32)


TRAIN, VAL = data(40, 3.0), data(40)


def network(seed: int = 0, dropout: float = 0.0) -> nn.Module:
    with seeded(seed):
        return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 2))


def validation_loss(module: nn.Module) -> float:
    return float(np.mean((predict(module, VAL[0]) - VAL[1]) ** 2))


def test_best_weights_come_back_after_overfitting():
    module = network()
    history = train(module, mse_loss, TRAIN, VAL, seed=0, epochs=150, patience=150, lr=1e-2)
    assert history.best_epoch < 150
    assert history.validation_loss[-1] > 1.2 * history.best_validation_loss
    assert validation_loss(module) == pytest.approx(history.best_validation_loss, rel=1e-5)
    assert history.best_validation_loss == min(history.validation_loss)
    assert len(history.train_loss) == len(history.validation_loss) == 151
    assert not history.stopped_early


def test_patience_ends_the_training():
    history = train(network(), mse_loss, TRAIN, VAL, seed=0, epochs=500, patience=7, lr=1e-2)
    assert history.stopped_early
    assert len(history.validation_loss) == history.best_epoch + 7 + 1


def test_a_start_that_training_only_spoils_is_kept():
    module = nn.Linear(12, 2)
    module.weight.data, module.bias.data = torch.tensor(MAP.T.copy()), torch.zeros(2)
    start = copy.deepcopy(module.state_dict())
    history = train(module, mse_loss, TRAIN, VAL, seed=0, epochs=20, patience=20)
    assert history.best_epoch == 0
    assert all(torch.equal(module.state_dict()[name], value) for name, value in start.items())


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    def run(seed: int):
        module = network(0, dropout=0.2)
        return train(module, mse_loss, TRAIN, VAL, seed=seed, epochs=5), predict(module, VAL[0])

    (first, first_out), (second, second_out), (other, _) = run(1), run(1), run(2)
    assert first == second
    assert np.array_equal(first_out, second_out)
    assert first.train_loss[1:] != other.train_loss[1:]


def test_random_numbers_and_threads_of_the_caller_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    before = torch.get_num_threads()
    torch.manual_seed(5)
    train(network(3, dropout=0.5), mse_loss, TRAIN, VAL, seed=1, epochs=2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == before


def test_divergence_is_an_error_and_no_measurement():
    with pytest.raises(
        StepFailed, match=r"diverged: its training loss is (inf|nan) in epoch \d+ at learning rate 1e\+20"
    ):
        train(network(), mse_loss, TRAIN, VAL, seed=0, epochs=20, lr=1e20)
    spoiled = (VAL[0], np.where(VAL[1] == VAL[1][0, 0], np.nan, VAL[1]))
    with pytest.raises(StepFailed, match="validation loss is nan"):
        train(network(), mse_loss, TRAIN, spoiled, seed=0, epochs=2)


def test_every_sample_is_seen_once_an_epoch_in_an_order_of_the_seed():
    seen: list[np.ndarray] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(x[:, 0].numpy().copy())
            return x * self.weight

    x = np.arange(10, dtype=np.float32)[:, None]
    train(Spy(), mse_loss, (x, x), (x, x), seed=0, epochs=2, batch_size=4)
    assert [len(batch) for batch in seen] == [4, 3, 3] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    assert list(first) != list(range(10))


def test_a_training_can_be_watched_from_before_its_first_epoch_to_its_last_and_is_not_changed_by_it():
    seen = []
    watched, alone = network(), network()
    history = train(watched, mse_loss, TRAIN, VAL, seed=0, epochs=100, patience=100, watch=seen.append)
    assert [epoch.number for epoch in seen] == [*range(0, 100, 4), 100], "some thirty, evenly"
    assert {epoch.of for epoch in seen} == {100}
    assert [epoch.train_loss for epoch in seen] == history.train_loss[::4]
    assert [epoch.validation_loss for epoch in seen] == history.validation_loss[::4]
    assert train(alone, mse_loss, TRAIN, VAL, seed=0, epochs=100, patience=100) == history


def test_the_epoch_that_stops_a_training_is_watched():
    seen = []
    history = train(network(), mse_loss, TRAIN, VAL, seed=0, epochs=1000, patience=3, lr=0.3, watch=seen.append)
    assert history.stopped_early
    assert seen[-1].number == len(history.validation_loss) - 1
    assert seen[-1].validation_loss == history.validation_loss[-1]


def test_features_may_be_half_precision_on_disk():
    halves = tuple(part.astype(np.float16) for part in TRAIN), tuple(part.astype(np.float16) for part in VAL)
    train(network(), mse_loss, *halves, seed=0, epochs=1)
    assert predict(network(), halves[0][0]).dtype == np.float32


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="validation needs"):
        train(network(), mse_loss, TRAIN, (VAL[0][:0], VAL[1][:0]), seed=0)


def test_parameters_are_counted():
    assert parameter_count(network()) == 12 * 64 + 64 + 64 * 2 + 2


def test_a_head_that_training_never_helped_is_named():
    said: list[str] = []
    curves = {"boxes": TrainingHistory([1, 1], [1, 2], 0, True), "classes": TrainingHistory([1, 1], [2, 1], 1, False)}
    note_untrained(said.append, curves, seed=2)
    assert said == ["Seed 2: no epoch of training helped 'boxes' on validation, so it stands as it started."]


def test_what_is_read_from_a_head_that_training_never_helped_is_said_at_the_criterion():
    said: list[str] = []
    curves = {"boxes": TrainingHistory([1, 1], [1, 2], 0, True), "other": TrainingHistory([1, 1], [1, 2], 0, True)}
    for seed in (0, 2):
        note_untrained(said.append, curves, seed=seed, decides={"boxes": ["bbox_iou", "mAP"]})
    entry = {"notes": said, "seeds": [0, 1, 2]}
    row = {"metric": "mAP", "direction": "higher", "acceptable": 0.4}
    assert caveats.of(row, entry) == [
        "no epoch of training helped the head that this is read from ('boxes', seed 0, 2; 2 of 3 seeds): there it "
        "stands as it started"
    ]
    assert caveats.of({**row, "metric": "lpips"}, entry) == []


def test_a_head_that_was_still_learning_at_the_end_is_named():
    said: list[str] = []
    falling, flat = [1 / n for n in range(1, 21)], [1.0, 0.5, *[0.5 - 1e-5 * n for n in range(18)]]
    curves = {
        "falling": TrainingHistory(falling, falling, 19, False),
        "flat": TrainingHistory(flat, flat, 19, False),
        "stopped": TrainingHistory(falling, falling, 19, True),
        "untrained": TrainingHistory([1, 1], [1, 2], 0, False),
    }
    note_unconverged(said.append, curves, seed=1)
    assert said == ["Seed 1: not trained to convergence, the validation loss was still falling: falling."]


def test_the_learning_rate_follows_its_schedule():
    asked: list[float] = []

    def halt(done: float) -> float:
        asked.append(done)
        return 1.0 if done < 0.5 else 0.0

    stopped, whole = network(), network()
    train(stopped, mse_loss, TRAIN, VAL, seed=0, epochs=4, patience=9, batch_size=10, rate=halt)
    train(whole, mse_loss, TRAIN, VAL, seed=0, epochs=2, patience=9, batch_size=10)
    assert asked == [step / 16 for step in range(16)]
    assert validation_loss(stopped) == pytest.approx(validation_loss(whole), rel=1e-5)
