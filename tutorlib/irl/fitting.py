"""Learn a reward from demonstrations by causal maximum-entropy IRL.

Each gradient step plans softly for the present reward, counts where that plan goes, and moves the
reward's parameters along the gap between those visits and the demonstrator's. It stops when the
visits agree, or when the gradient is gone (what is left of the gap then lies outside of what the
model can express), or after a number of steps; the result says which.

The objective "gap" matches visits from the process's own start (Ziebart 2010). From few
demonstrations it has no minimum unless ``l2`` gives it one; "likelihood" fits the actions that
were seen, where they were seen (``tutorlib.irl.likelihood``). With exact visits the two are the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.irl.causal import CausalSolution, gap_loss, solve_causal
from tutorlib.irl.demonstrations import (
    Episode,
    as_trajectories,
    expert_occupancy,
    expert_visits,
)
from tutorlib.irl.layout import check_reward, resolve_steps
from tutorlib.irl.likelihood import entering_flow
from tutorlib.mdp import TabularMDP, Trajectories


@dataclass(frozen=True)
class FitSettings:
    """How a reward is fitted."""

    temperature: float = 1.0  # lambda of the soft-optimal policy that the demonstrator is taken for
    horizon: int | None = None  # decisions per episode; None: the process's own
    objective: str = "gap"  # "gap": match visits; "likelihood": of the demonstrated actions
    steps: int = 500  # most gradient steps
    learning_rate: float = 0.1  # of Adam or sgd; L-BFGS searches along its line from 1
    optimizer: str = "adam"  # "adam", "sgd" (plain gradient descent) or "lbfgs"
    l2: float = 0.0  # weight of half the squared parameters, added to the loss
    occupancy_tolerance: float = 1e-3  # stop when no visit differs by more than this
    gradient_tolerance: float = 1e-5  # or when no parameter's gradient is larger than this


@dataclass(frozen=True)
class Evidence:
    """What is asked of the policy: visits, and where its flow enters (None: at the start)."""

    occupancy: Float[Tensor, "*batch states actions"]
    entering: Tensor | None


@dataclass(frozen=True)
class FitResult:
    """A learned reward, the plan it induces, and how it was reached."""

    reward: Float[Tensor, "*batch states actions"]
    solution: CausalSolution
    expert_occupancy: Float[Tensor, "*batch states actions"]
    history: list[dict[str, float]]  # per step: step, loss (nats), occupancy_gap, gradient
    stopped_by: str  # "occupancy", "gradient"; "steps" ran out; "stalled": nothing moves any more

    @property
    def converged(self) -> bool:
        """Whether the visits agree or the gradient is gone, to the tolerances of the settings."""
        return self.stopped_by in ("occupancy", "gradient")


def fit_reward(mdp: TabularMDP, model: nn.Module,
               demonstrations: Trajectories | Sequence[Episode] | Tensor,
               settings: FitSettings | None = None) -> FitResult:
    """Train ``model`` in place until its soft-optimal policy visits what the demonstrator visits.

    ``model(mdp)`` returns r(s, a), [*batch, states, actions]: see ``tutorlib.irl.rewards``.
    ``demonstrations`` is whatever ``expert_occupancy`` takes; for the likelihood over a horizon, a
    table must be per step. Convex for tabular and linear models with the objective "gap".

    Raises InvalidArgumentError for demonstrations that cannot have happened in ``mdp`` and for a
    reward that stops being finite; NotConvergedError when the loss has no minimum.

    >>> from tutorlib.irl.rewards import TabularReward
    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], horizon=1)
    >>> expert = torch.tensor([[0.75, 0.25]], dtype=torch.float64)
    >>> fit_reward(mdp, TabularReward(mdp), expert).converged
    True
    """
    settings = settings or FitSettings()
    evidence = _evidence(mdp, demonstrations, settings)
    optimizer = _optimizer(model, settings)
    history, latest = [], {}

    def closure() -> Tensor:
        optimizer.zero_grad()
        latest.update(_evaluate(mdp, model, evidence, settings, latest.get("solution")))
        latest["loss"].backward()
        return latest["loss"]

    for step in range(settings.steps + 1):
        closure()
        history.append(_record(step, model, latest, evidence))
        stopped_by = _verdict(history, settings)
        if stopped_by or step == settings.steps:
            break
        optimizer.step(closure if settings.optimizer == "lbfgs" else None)
    reward = latest["reward"].detach()
    plan = solve_causal(mdp, reward, settings.temperature, settings.horizon)
    return FitResult(reward, plan, evidence.occupancy, history, stopped_by or "steps")


def _evidence(mdp: TabularMDP, demonstrations, settings: FitSettings) -> Evidence:
    """Return what the objective asks for."""
    if settings.objective == "gap":
        return Evidence(expert_occupancy(mdp, demonstrations, settings.horizon), None)
    if settings.objective != "likelihood":
        raise InvalidArgumentError(
            f"objective is {settings.objective!r}; expected 'gap' or 'likelihood'"
        )
    endless = resolve_steps(mdp, settings.horizon) is None
    visits = demonstrations
    if not isinstance(visits, Tensor):
        visits = expert_visits(mdp, as_trajectories(mdp, demonstrations), settings.horizon,
                               per_step=not endless, max_missing=1.0)
    entering = entering_flow(mdp, visits, settings.horizon)
    total = visits if endless else visits.sum(-3)
    return Evidence(expert_occupancy(mdp, total, settings.horizon), entering)


def _optimizer(model: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name."""
    parameters, rate = list(model.parameters()), settings.learning_rate
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate)
    if settings.optimizer == "lbfgs":
        return torch.optim.LBFGS(parameters, max_iter=10, history_size=20, tolerance_grad=0.0,
                                 tolerance_change=0.0, line_search_fn="strong_wolfe")
    raise InvalidArgumentError(
        f"optimizer is {settings.optimizer!r}; expected 'adam', 'sgd' or 'lbfgs'"
    )


def _evaluate(mdp: TabularMDP, model: nn.Module, evidence: Evidence, settings: FitSettings,
              former: CausalSolution | None) -> dict:
    """Return the model's reward, its solution, and the loss summed over any batch."""
    reward = model(mdp)
    check_reward(mdp, reward, "the model's reward")
    guess = former.values if former is not None and former.endless else None
    solution = solve_causal(mdp, reward, settings.temperature, settings.horizon, guess,
                            evidence.entering)
    losses = gap_loss(mdp, reward, evidence.occupancy, solution, settings.temperature,
                      evidence.entering)
    if settings.l2:
        penalty = settings.l2 / 2 * sum((p**2).sum() for p in model.parameters())
        return {"reward": reward, "solution": solution, "loss": losses.sum() + penalty}
    if float(losses.detach().min()) < -1e-3:  # a likelihood of more than 1: see causal.py
        raise NotConvergedError(
            "the loss has no minimum: no policy of this process has the demonstrated visits, "
            "which are a sample's, and the reward runs away along a shaping; use "
            "objective='likelihood', an l2 above 0, or fewer features"
        )
    return {"reward": reward, "solution": solution, "loss": losses.sum()}


def _record(step: int, model: nn.Module, latest: dict, evidence: Evidence) -> dict[str, float]:
    """Return one line of the history."""
    gap = (latest["solution"].occupancy - evidence.occupancy).abs().max()
    gradient = max(float(p.grad.abs().max()) for p in model.parameters())
    return {"step": step, "loss": float(latest["loss"].detach()), "occupancy_gap": float(gap),
            "gradient": gradient}


def _verdict(history: list[dict[str, float]], settings: FitSettings) -> str | None:
    """Return why to stop, or None to go on."""
    now = history[-1]
    if now["occupancy_gap"] <= settings.occupancy_tolerance and not settings.l2:
        return "occupancy"
    if now["gradient"] <= settings.gradient_tolerance:
        return "gradient"
    # a line search that finds nothing better in floating point leaves everything as it was
    still = len(history) > 1 and now == history[-2] | {"step": now["step"]}
    return "stalled" if still else None
