"""Learning to act from experience: tables, policy gradients, and PPO on Gymnasium tasks."""

from tutorlib.control.demonstrations import (
    ControlDemonstrations,
    demonstrations_from_episodes,
    record_demonstrations,
)
from tutorlib.control.estimators import (
    discounted_returns,
    gae,
    normalise,
    ppo_clip_objective,
    td_errors,
)
from tutorlib.control.networks import CategoricalPolicy, GaussianPolicy, make_critic, make_policy
from tutorlib.control.policy_gradient import (
    ESTIMATORS,
    PolicyGradientConfig,
    PolicyGradientResult,
    estimate_gradients,
    exact_policy_gradient,
    exact_return,
    finite_horizon_values,
    score_gradients,
    softmax_policy,
    train_tabular,
)
from tutorlib.control.ppo import PPOConfig, PPOResult, RewardFn, train_ppo
from tutorlib.control.rollout import Rollout, Runner, Transitions, evaluate
from tutorlib.control.tasks import ControlTask, FixedHorizon, IgnoresFlag, make_envs
from tutorlib.control.td import (
    TDConfig,
    TDResult,
    expected_sarsa,
    next_value,
    q_learning,
    sarsa,
    td_control,
)

__all__ = [
    "ESTIMATORS", "CategoricalPolicy", "ControlDemonstrations", "ControlTask", "FixedHorizon",
    "GaussianPolicy", "IgnoresFlag", "PPOConfig", "PPOResult", "PolicyGradientConfig",
    "PolicyGradientResult", "RewardFn", "Rollout", "Runner", "TDConfig", "TDResult",
    "Transitions", "demonstrations_from_episodes", "discounted_returns", "estimate_gradients",
    "evaluate", "exact_policy_gradient", "exact_return", "expected_sarsa",
    "finite_horizon_values", "gae", "make_critic", "make_envs", "make_policy", "next_value",
    "normalise", "ppo_clip_objective", "q_learning", "record_demonstrations", "sarsa",
    "score_gradients", "softmax_policy", "td_control", "td_errors", "train_ppo", "train_tabular",
]
