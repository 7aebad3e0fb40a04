"""Post-training: direct alignment, policy gradients and PPO for language models, and their checks.

``direct`` and ``direct_training`` learn from judged pairs; ``policy_gradient`` and ``ppo`` from a
reward, by sampling; ``exact`` says what they ought to do, by enumeration on a token tree.
"""

from tutorlib.posttraining.advantages import (
    MovingAverage,
    explained_variance,
    normalise_masked,
    rloo_advantages,
    sequence_advantages,
    token_gae,
)
from tutorlib.posttraining.direct import (
    dpo_loss,
    hinge_loss,
    implicit_reward,
    ipo_loss,
    kto_loss,
    log_ratio_gap,
    odds_ratio_loss,
    orpo_loss,
    simpo_loss,
)
from tutorlib.posttraining.direct_online import OnlineSettings, judged_pairs, train_direct_online
from tutorlib.posttraining.direct_training import DirectSettings, pair_loss, train_direct
from tutorlib.posttraining.exact import (
    estimator_errors,
    exact_gradient,
    exact_objective,
    expected_dpo_loss,
    flat_gradient,
    gradient_estimates,
    implicit_advantages,
    leaf_scores,
    policy_gap,
)
from tutorlib.posttraining.guard import guarded
from tutorlib.posttraining.kl import adaptive_beta, kl_estimate, token_rewards
from tutorlib.posttraining.policy_gradient import (
    PolicyGradientSettings,
    policy_loss,
    ratio_loss,
    reinforce_loss,
    train_policy_gradient,
)
from tutorlib.posttraining.ppo import (
    Experience,
    TokenPPOSettings,
    ValueModel,
    make_experience,
    ppo_loss,
    train_token_ppo,
    value_loss,
)
from tutorlib.posttraining.preferences import (
    Judge,
    PreferenceBatch,
    PreferencePair,
    RewardFunction,
    collate_preferences,
    encode_preferences,
    frozen_copy,
    judge_by,
    kto_reference_point,
    pair_logps,
    reference_logps,
    score,
)
from tutorlib.posttraining.rollouts import Rollouts, collect, logps_and_entropy
from tutorlib.posttraining.steps import draw_prompts, take_step

__all__ = [
    "DirectSettings", "Experience", "Judge", "MovingAverage", "OnlineSettings",
    "PolicyGradientSettings", "PreferenceBatch", "PreferencePair", "RewardFunction", "Rollouts",
    "TokenPPOSettings", "ValueModel", "adaptive_beta", "collate_preferences", "collect",
    "dpo_loss", "draw_prompts", "encode_preferences", "estimator_errors", "exact_gradient",
    "exact_objective", "expected_dpo_loss", "explained_variance", "flat_gradient", "frozen_copy",
    "gradient_estimates", "guarded", "hinge_loss", "implicit_advantages", "implicit_reward",
    "ipo_loss", "judge_by", "judged_pairs", "kl_estimate", "kto_loss", "kto_reference_point",
    "leaf_scores", "log_ratio_gap", "logps_and_entropy", "make_experience", "normalise_masked",
    "odds_ratio_loss", "orpo_loss", "pair_logps", "pair_loss", "policy_gap", "policy_loss",
    "ppo_loss", "ratio_loss", "reference_logps", "reinforce_loss", "rloo_advantages", "score",
    "sequence_advantages", "simpo_loss", "take_step", "token_gae", "token_rewards",
    "train_direct", "train_direct_online", "train_policy_gradient", "train_token_ppo",
    "value_loss",
]
