"""Every strategy starts from both streams side by side, learns what only both say together, and knows what it should
of other cells."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foresight.probes.fusion import FusedEncoder
from foresight.probes.strategies import STRATEGIES
from foresight.probes.training import parameter_count, seeded, train

A, B, GRID = 6, 4, (3, 5)
every_strategy = pytest.mark.parametrize("strategy", list(STRATEGIES))


def encoder(strategy: str, *, hidden: int = 16, layers: int = 2, **options: int) -> FusedEncoder:
    options = options or ({"queries": 5} if strategy == "perceiver" else {})
    with seeded(0):
        return FusedEncoder((A, B), strategy=strategy, hidden=hidden, layers=layers, **options).eval()


def streams(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, *GRID, width, generator=generator) for width in (A, B))  # type: ignore[return-value]


@every_strategy
def test_streams_of_unlike_width_become_one_grid(strategy):
    made = encoder(strategy).strategy(*streams(2))
    assert made.shape == (2, *GRID, 16)
    assert made.std() > 0


@every_strategy
def test_before_training_a_fused_token_is_both_side_by_side(strategy):
    a, b = streams(2)
    assert torch.equal(encoder(strategy)(a, b), torch.cat([a, b], -1))


class Reader(nn.Module):
    """Streams side by side -> fused tokens, for the trainer."""

    def __init__(self, strategy: str) -> None:
        super().__init__()
        self.encoder = encoder(strategy, hidden=32)

    def forward(self, both: torch.Tensor) -> torch.Tensor:
        return self.encoder(*both.split((A, B), -1))


def gained(strategy: str, *, second: bool) -> float:
    """The part of the validation loss that training takes away, where what is to be added to the first feature is a's
    times b's; without the `second` stream b is noise of its own."""
    arrays = []
    for n, seed in ((96, 1), (32, 2)):
        a, b = streams(n, seed)
        target = torch.cat([a, b], -1)
        target[..., 0] += 3 * (a[..., 0] * b[..., 0]).clamp(-1, 1)
        shown = b if second else streams(n, seed + 10)[1]
        arrays.append((torch.cat([a, shown], -1).numpy(), target.numpy()))

    def loss(made: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(made[..., 0], target[..., 0])

    history = train(Reader(strategy), loss, *arrays, seed=0, epochs=15, lr=1e-2, batch_size=16)
    return 1 - history.best_validation_loss / history.validation_loss[0]


@every_strategy
def test_training_finds_what_only_both_streams_say_together(strategy):
    assert gained(strategy, second=True) > 0.4
    assert gained(strategy, second=False) < 0.1, "of one stream alone there is nothing to find"


@pytest.mark.parametrize(
    ("strategy", "looks_around"),
    [("cross_attention", True), ("perceiver", True), ("concat_mlp", False), ("film", False)],
)
def test_whether_a_cell_knows_of_another(strategy, looks_around):
    a, b = streams(1)
    net = encoder(strategy).strategy
    before = net(a, b)
    for stream in (a, b):
        stream[:, 2, 4] += 3.0
    after = net(a, b)
    assert not torch.allclose(before[:, 2, 4], after[:, 2, 4])
    assert torch.allclose(before[:, 0, 0], after[:, 0, 0], atol=1e-6) != looks_around


def weights(strategy: str, layers: int, **options: int) -> int:
    return parameter_count(encoder(strategy, hidden=64, layers=layers, **options).strategy)


@every_strategy
def test_a_layer_weighs_nearly_alike(strategy):
    layer = weights(strategy, 3) - weights(strategy, 2)
    assert layer == pytest.approx(8 * 64**2, rel=0.03)


def test_only_the_perceiver_has_a_layer_more_and_as_many_queries_as_it_is_given():
    totals = {strategy: weights(strategy, 4) for strategy in STRATEGIES}
    usual = totals.pop("cross_attention")
    extra = totals.pop("perceiver") - usual
    assert all(abs(total / usual - 1) < 0.03 for total in totals.values())
    assert extra == pytest.approx(8 * 64**2, rel=0.05)
    assert weights("perceiver", 2, queries=9) - weights("perceiver", 2, queries=4) == 5 * 64
