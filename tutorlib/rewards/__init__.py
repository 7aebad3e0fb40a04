"""Rewards learned from human judgement: likelihoods, reward models, and how good they are."""

from tutorlib.rewards.annotation import (
    ELO_PER_NAT,
    OrderConsistency,
    annotation_quality,
    expected_gap,
    measured_quality,
    order_consistency,
    to_elo,
)
from tutorlib.rewards.data_files import data_folder, find_data, read_json_lines
from tutorlib.rewards.embeddings import (
    EmbeddedPairs,
    EmbeddingReward,
    EmbeddingSettings,
    combine,
    fit_linear_reward,
    train_embedding_reward,
)
from tutorlib.rewards.encoders import HashedWords, SentenceEncoder
from tutorlib.rewards.human_data import (
    HumanPair,
    embed_pairs,
    load_embedded,
    load_human_pairs,
    save_embedded,
    split_dialogues,
    split_pairs,
)
from tutorlib.rewards.implicit import ImplicitReward
from tutorlib.rewards.intervals import (
    bootstrap_interval,
    clopper_pearson_interval,
    wilson_interval,
)
from tutorlib.rewards.labelling import (
    LabellingSession,
    Question,
    Taste,
    answer_all,
    crowd_answers,
    learn_taste,
    likeness,
    taste_fitter,
)
from tutorlib.rewards.likelihoods import (
    OUTCOMES,
    bradley_terry_loss,
    bradley_terry_probability,
    centering_penalty,
    classification_loss,
    plackett_luce_loss,
    sample_rankings,
    thurstone_loss,
    thurstone_probability,
    tie_logps,
    tie_loss,
)
from tutorlib.rewards.metrics import (
    CalibrationCurve,
    Share,
    best_of_n,
    calibration_curve,
    fit_temperature,
    label_agreement,
    labelled_accuracy,
    labelled_rewards,
    labels_ceiling,
    pairwise_accuracy,
    preference_calibration,
    rank_correlation,
)
from tutorlib.rewards.models import RewardModel, body_of, last_token_index
from tutorlib.rewards.training import (
    OBJECTIVES,
    PairBatch,
    RewardSettings,
    TokenPair,
    collate_pairs,
    encode_labelled,
    encode_pairs,
    pair_rewards,
    reward_loss,
    train_reward_model,
)

__all__ = [
    "ELO_PER_NAT", "OBJECTIVES", "OUTCOMES", "CalibrationCurve", "EmbeddedPairs",
    "EmbeddingReward", "EmbeddingSettings", "HashedWords", "HumanPair", "ImplicitReward",
    "LabellingSession",
    "OrderConsistency", "PairBatch", "Question", "RewardModel", "RewardSettings",
    "SentenceEncoder", "Share", "Taste", "TokenPair", "annotation_quality", "answer_all",
    "best_of_n", "body_of", "bootstrap_interval", "bradley_terry_loss",
    "bradley_terry_probability", "calibration_curve", "centering_penalty", "classification_loss",
    "clopper_pearson_interval", "collate_pairs", "combine", "crowd_answers", "data_folder",
    "embed_pairs", "encode_labelled", "encode_pairs", "expected_gap", "find_data",
    "fit_linear_reward", "fit_temperature", "label_agreement", "labelled_accuracy",
    "labelled_rewards", "labels_ceiling",
    "last_token_index", "learn_taste", "likeness", "load_embedded", "load_human_pairs",
    "measured_quality", "order_consistency", "pair_rewards", "pairwise_accuracy",
    "plackett_luce_loss", "preference_calibration", "rank_correlation", "read_json_lines",
    "reward_loss", "sample_rankings", "save_embedded", "split_dialogues", "split_pairs",
    "taste_fitter", "thurstone_loss", "thurstone_probability", "tie_logps", "tie_loss", "to_elo",
    "train_embedding_reward", "train_reward_model", "wilson_interval",
]
