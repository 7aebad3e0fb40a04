"""Post-training: direct alignment, policy gradients and PPO for language models."""

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

__all__ = [
    "DirectSettings", "Judge", "OnlineSettings", "PreferenceBatch", "PreferencePair",
    "RewardFunction", "collate_preferences", "dpo_loss", "encode_preferences", "frozen_copy",
    "hinge_loss", "implicit_reward", "ipo_loss", "judge_by", "judged_pairs", "kto_loss",
    "kto_reference_point", "log_ratio_gap", "odds_ratio_loss", "orpo_loss", "pair_logps",
    "pair_loss", "reference_logps", "score", "simpo_loss", "train_direct", "train_direct_online",
]
