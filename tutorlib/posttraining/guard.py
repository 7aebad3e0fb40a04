"""Notice that training diverges, say why it may have, and give back the last good weights.

A policy that is paid for something else than language leaves it: its KL to the reference explodes.
A step that is too long makes weights NaN. Either way, what was learned before is worth keeping.
The price is one more copy of the weights in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from tutorlib.errors import InvalidModelError, TrainingDivergedError


@contextmanager
def guarded(models: Sequence[nn.Module], kl_limit: float | None, history: list[dict]
            ) -> Iterator[Callable[[float], None]]:
    """Yield a function to call with the KL per answer before each step, which notes the weights.

    Raises TrainingDivergedError, with the models back at the weights that were noted last, if that
    KL is beyond ``kl_limit`` (None: no limit) or NaN, if a loss or gradient is not finite, or if
    the model's numbers became NaN.

    >>> layer, history = nn.Linear(1, 1), [{"step": 0, "reward": 1.0, "entropy": 2.0}]
    >>> with guarded([layer], 10.0, history) as check:
    ...     check(3.0)
    """
    noted, steps = _copies(models), []

    def check(kl: float) -> None:
        if kl != kl or (kl_limit is not None and kl > kl_limit):
            raise TrainingDivergedError(f"answers are {kl:.3g} nats from the reference, beyond "
                                        f"kl_limit={kl_limit}.{_so_far(history)}")
        noted[:] = _copies(models)
        steps.append(len(steps))

    try:
        yield check
    except (InvalidModelError, TrainingDivergedError) as error:
        if isinstance(error, InvalidModelError) and not history:
            raise  # the model came like this
        for model, state in zip(models, noted, strict=True):
            model.load_state_dict(state)
        raise TrainingDivergedError(
            f"training diverged: {error} The weights are again those from before step "
            f"{steps[-1] if steps else 0}; error.history holds the records so far", history
        ) from error


def _copies(models: Sequence[nn.Module]) -> list[dict[str, Tensor]]:
    """Return copies of all weights."""
    return [{name: value.detach().clone() for name, value in model.state_dict().items()}
            for model in models]


def _so_far(history: list[dict]) -> str:
    """Say what reward and entropy did until then, and what to try."""
    if not history:
        return (" That is so before the first step: is the reference the model that training "
                "began with?")
    first, last = history[0], history[-1]
    return (f" Since the start the reward went from {first['reward']:.3g} to {last['reward']:.3g} "
            f"and the entropy per token from {first['entropy']:.2f} to {last['entropy']:.2f} nats. "
            "Read some answers: the reward may pay for what is no language. A larger beta or a "
            "smaller learning_rate keeps the policy nearer.")
