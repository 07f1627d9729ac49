"""The one trainer of every probe that has no closed form.

Adam on batches shuffled by the seed; after each epoch the loss on validation; the best weights so far are *copied*
(not referenced: the optimizer goes on changing them in place) and put back at the end. The untrained module competes
too, as epoch 0, so that a head which starts from a closed-form solution can only gain. Test data are never seen here.

On the CPU the same seed gives the same numbers to the last bit. On a GPU reductions may differ in the last digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import nn

from foresight.errors import StepFailed
from foresight.metrics.threads import single_thread

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Rate = Callable[[float], float]
"""A factor of the learning rate, by the share of all steps that is done, 0..1."""
POINTS = 30
"""How many epochs of a training are shown, evenly, beside the first and the last: a curve needs no more."""


@dataclass(frozen=True)
class Epoch:
    """How far a training is; number 0 is the untrained module."""

    number: int
    of: int
    train_loss: float
    validation_loss: float


Watch = Callable[[Epoch], None]


class Training(TypedDict, total=False):
    """How a probe is trained, as a profile says it: what `train` can be told, and every `fit_` hands on to it."""

    epochs: int  # at the most
    patience: int  # epochs without a better validation loss before it stops
    lr: float
    batch_size: int
    weight_decay: float
    largest_gradient: float | None  # the norm of all gradients is bounded by it
    watch: Watch | None  # is called with `POINTS` of the epochs, when they end


class Diverged(StepFailed):
    """A loss was no finite number."""


@dataclass(frozen=True)
class TrainingHistory:
    """The loss curve. Entry 0 is the untrained module; entry e is after epoch e."""

    train_loss: list[float]  # mean over the epoch's batches, as the weights moved
    validation_loss: list[float]
    best_epoch: int  # whose weights the module has now
    stopped_early: bool

    @property
    def best_validation_loss(self) -> float:
        return self.validation_loss[self.best_epoch]

    @property
    def converged(self) -> bool:
        """Whether more epochs would hardly have helped: patience ran out, or the last tenth gained under 1 %."""
        before = min(self.validation_loss[: max(1, math.floor(0.9 * len(self.validation_loss)))])
        return self.stopped_early or self.best_validation_loss > 0.99 * before


def note_untrained(
    note: Callable[[str], None],
    histories: Mapping[str, TrainingHistory],
    seed: int,
    *,
    decides: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Say of each head that no epoch made better on validation: what it scores, it scored before training.

    `decides`: head -> the metrics of criteria that are read from it, so that it is said at the criterion too
    (`foresight.results.caveats`).
    """
    for name, history in histories.items():
        if history.best_epoch == 0:
            read = (decides or {}).get(name, ())
            note(
                f"Seed {seed}: no epoch of training helped '{name}' on validation, so it stands as it started"
                + (f"; read from it: {', '.join(read)}." if read else ".")
            )


def note_unconverged(note: Callable[[str], None], histories: Mapping[str, TrainingHistory], seed: int) -> None:
    """Say of which heads the validation loss was still falling when their epochs were over."""
    if still := [name for name, history in histories.items() if history.best_epoch and not history.converged]:
        note(f"Seed {seed}: not trained to convergence, the validation loss was still falling: {', '.join(still)}.")


def train(
    module: nn.Module,
    loss: Loss,
    train_arrays: tuple[np.ndarray, np.ndarray],
    validation_arrays: tuple[np.ndarray, np.ndarray],
    *,
    seed: int,
    epochs: int = 100,
    patience: int = 20,
    lr: float = 1e-3,
    batch_size: int = 32,
    weight_decay: float = 0.0,
    largest_gradient: float | None = None,
    rate: Rate | None = None,
    device: str = "cpu",
    watch: Watch | None = None,
) -> TrainingHistory:
    """Fit `module(inputs) -> predictions` in place to (inputs, targets), first axis N; the best weights stay in it.

    `loss(predictions, targets)` is the mean over the batch. Stops after `patience` epochs without a better validation
    loss; the other settings are those of `Training`, and `rate` changes the learning rate as training goes on. Raises
    `Diverged` when a loss is not a finite number: a diverged probe is no measurement.
    """
    for name, (inputs, targets) in {"training": train_arrays, "validation": validation_arrays}.items():
        if len(inputs) != len(targets) or not len(inputs):
            raise ValueError(f"{name} needs as many inputs as targets, and some: not {len(inputs)} and {len(targets)}")
    n, generator = len(train_arrays[0]), np.random.default_rng(seed)
    module.to(device)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=weight_decay)
    batches, step = math.ceil(n / batch_size), 0

    with seeded(seed), single_thread():
        train_loss = [_evaluate(module, loss, train_arrays, batch_size, device)]
        validation_loss = [_evaluate(module, loss, validation_arrays, batch_size, device)]
        best_epoch, best_weights = 0, _copy_of_weights(module)
        if watch:
            watch(Epoch(0, epochs, train_loss[0], validation_loss[0]))
        for epoch in range(1, epochs + 1):
            module.train()
            total = 0.0
            for index in np.array_split(generator.permutation(n), batches):
                if rate is not None:
                    optimizer.param_groups[0]["lr"] = lr * rate(step / (epochs * batches))
                step += 1
                value = loss(*_apply(module, train_arrays, index, device))
                optimizer.zero_grad()
                value.backward()
                if largest_gradient is not None:
                    nn.utils.clip_grad_norm_(module.parameters(), largest_gradient)
                optimizer.step()
                total += float(value.detach()) * len(index)
            train_loss.append(_finite(total / n, "training", epoch, lr))
            validation_loss.append(
                _finite(_evaluate(module, loss, validation_arrays, batch_size, device), "validation", epoch, lr)
            )
            if validation_loss[-1] < validation_loss[best_epoch]:
                best_epoch, best_weights = epoch, _copy_of_weights(module)
            over = epoch == epochs or epoch - best_epoch >= patience
            if watch and (over or epoch % math.ceil(epochs / POINTS) == 0):
                watch(Epoch(epoch, epochs, train_loss[-1], validation_loss[-1]))
            if over:
                break
    module.load_state_dict(best_weights)
    module.eval()
    return TrainingHistory(train_loss, validation_loss, best_epoch, stopped_early=len(train_loss) <= epochs)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's random numbers come from `seed` inside the block; outside they go on as if nothing had happened."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@torch.inference_mode()
def predict(module: nn.Module, inputs: np.ndarray, *, device: str = "cpu", batch_size: int = 256) -> np.ndarray:
    """[N, ...] float32: the module's predictions in evaluation mode, in batches."""
    module.eval()
    with single_thread():
        starts = range(0, len(inputs), batch_size)
        parts = [module(_tensor(inputs[start : start + batch_size], device)).cpu() for start in starts]
    return torch.cat(parts).numpy()


def parameter_count(module: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _apply(
    module: nn.Module, arrays: tuple[np.ndarray, np.ndarray], index: np.ndarray | slice, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = (_tensor(array[index], device) for array in arrays)
    return module(inputs), targets


@torch.inference_mode()
def _evaluate(
    module: nn.Module, loss: Loss, arrays: tuple[np.ndarray, np.ndarray], batch_size: int, device: str
) -> float:
    module.eval()
    total, n = 0.0, len(arrays[0])
    for start in range(0, n, batch_size):
        index = slice(start, min(start + batch_size, n))
        total += float(loss(*_apply(module, arrays, index, device))) * (index.stop - index.start)
    return total / n


def _copy_of_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _finite(value: float, part: str, epoch: int, lr: float) -> float:
    if not math.isfinite(value):
        raise Diverged(
            f"The probe diverged: its {part} loss is {value} in epoch {epoch} at learning rate {lr:g}. "
            "Its scores would mean nothing. Lower the learning rate, or look for infinities in its features.",
            cause="exception",
            retryable=False,
        )
    return value


def _tensor(array: np.ndarray, device: str) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)
