"""Finite decision processes, exactly: gridworlds, planning hard and soft, an environment."""

from tutorlib.mdp.env import MDPEnv
from tutorlib.mdp.gridworld import GridWorld
from tutorlib.mdp.planning import (
    FinitePlan,
    Plan,
    bellman_backup,
    expected_next_values,
    finite_horizon_plan,
    greedy_policy,
    next_distribution,
    occupancy_measure,
    policy_evaluation,
    policy_iteration,
    q_values,
    return_of,
    state_distributions,
    uniform_policy,
    value_iteration,
)
from tutorlib.mdp.rollout import Trajectories, sample_trajectories
from tutorlib.mdp.soft import (
    SoftPlan,
    gibbs_policy,
    soft_backup,
    soft_backward,
    soft_maximum,
    soft_policy_evaluation,
    soft_policy_iteration,
    soft_value_iteration,
)
from tutorlib.mdp.tabular import TabularMDP

__all__ = [
    "FinitePlan",
    "GridWorld",
    "MDPEnv",
    "Plan",
    "SoftPlan",
    "TabularMDP",
    "Trajectories",
    "bellman_backup",
    "expected_next_values",
    "finite_horizon_plan",
    "gibbs_policy",
    "greedy_policy",
    "next_distribution",
    "occupancy_measure",
    "policy_evaluation",
    "policy_iteration",
    "q_values",
    "return_of",
    "sample_trajectories",
    "soft_backup",
    "soft_backward",
    "soft_maximum",
    "soft_policy_evaluation",
    "soft_policy_iteration",
    "soft_value_iteration",
    "state_distributions",
    "uniform_policy",
    "value_iteration",
]
