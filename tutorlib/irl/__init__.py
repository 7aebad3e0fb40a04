"""Inverse reinforcement learning: rewards from behaviour, by likelihood and by a game."""

from tutorlib.irl.causal import (
    CausalSolution,
    causal_loss,
    causal_loss_by_recursion,
    solve_causal,
)
from tutorlib.irl.demonstrations import (
    check_demonstrations,
    demonstrations_from_lists,
    expert_branch_visits,
    expert_occupancy,
    expert_visits,
)
from tutorlib.irl.divergences import (
    DIVERGENCES,
    REWARDS,
    FDivergence,
    ImitationReward,
    f_divergence,
    log_density_ratio,
    optimal_discriminator,
    policy_reward,
)
from tutorlib.irl.fitting import FitResult, FitSettings, fit_reward
from tutorlib.irl.likelihood import causal_likelihood, entering_flow
from tutorlib.irl.maxent import (
    MaxEntSolution,
    maxent_loss,
    maxent_values,
    one_step_gamble,
    solve_maxent,
    trajectory_distribution,
)
from tutorlib.irl.passes import backward_pass, forward_pass
from tutorlib.irl.paths import (
    Paths,
    enumerate_paths,
    path_probabilities,
    path_returns,
    path_visits,
)
from tutorlib.irl.rewards import LinearReward, NeuralReward, TabularReward, pay
from tutorlib.irl.transfer import Transfer, evaluate_transfer, evaluate_transfers
from tutorlib.irl.union import disjoint_union, join_visits, split_states

__all__ = [
    "DIVERGENCES",
    "REWARDS",
    "CausalSolution",
    "FDivergence",
    "FitResult",
    "FitSettings",
    "ImitationReward",
    "LinearReward",
    "MaxEntSolution",
    "NeuralReward",
    "Paths",
    "TabularReward",
    "Transfer",
    "backward_pass",
    "causal_likelihood",
    "causal_loss",
    "causal_loss_by_recursion",
    "check_demonstrations",
    "demonstrations_from_lists",
    "disjoint_union",
    "entering_flow",
    "enumerate_paths",
    "evaluate_transfer",
    "evaluate_transfers",
    "expert_branch_visits",
    "expert_occupancy",
    "expert_visits",
    "f_divergence",
    "fit_reward",
    "forward_pass",
    "join_visits",
    "log_density_ratio",
    "maxent_loss",
    "maxent_values",
    "one_step_gamble",
    "optimal_discriminator",
    "path_probabilities",
    "path_returns",
    "path_visits",
    "pay",
    "policy_reward",
    "solve_causal",
    "solve_maxent",
    "split_states",
    "trajectory_distribution",
]
