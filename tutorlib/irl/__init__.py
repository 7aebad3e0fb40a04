"""Inverse reinforcement learning: which rewards explain behaviour, and how to find one."""

from tutorlib.irl.adversarial import AdversarialConfig, AdversarialResult, train_adversarial
from tutorlib.irl.ambiguity import (
    ShapingFit,
    fit_shaping,
    redistribution,
    reward_family,
    shape_reward,
    shaping_matrix,
    shaping_term,
)
from tutorlib.irl.apprenticeship import (
    ApprenticeSettings,
    Apprenticeship,
    apprentice,
    feature_expectations,
    feature_table,
    hull_weights,
    projection_step,
)
from tutorlib.irl.causal import (
    CausalSolution,
    causal_loss,
    causal_loss_by_recursion,
    solve_causal,
)
from tutorlib.irl.cpl import cpl_loss, fit_cpl, segment_logps
from tutorlib.irl.demonstrations import (
    check_demonstrations,
    demonstrations_from_lists,
    expert_branch_visits,
    expert_occupancy,
    expert_visits,
)
from tutorlib.irl.discriminators import LogitNet, ShapedNet
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
from tutorlib.irl.identifiability import (
    Identification,
    Recovery,
    identify,
    identify_from_paths,
    joint_matrix,
    recover_reward,
)
from tutorlib.irl.likelihood import causal_likelihood, entering_flow
from tutorlib.irl.linear_program import LPReward, lp_irl, margin_matrix, optimality_margins
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
from tutorlib.irl.preference_loop import (
    ARM_PPO,
    PreferenceLoopConfig,
    PreferenceLoopResult,
    learn_from_preferences,
)
from tutorlib.irl.preference_tables import fit_preference_table, hidden_dimensions, is_hidden
from tutorlib.irl.preferences import (
    Labeller,
    preference_loss,
    preference_probability,
    segment_returns,
)
from tutorlib.irl.reward_ensembles import (
    RewardEnsemble,
    RewardFitConfig,
    choose_queries,
    disagreement,
    fit_ensemble,
    segment_features,
    step_features,
)
from tutorlib.irl.rewards import LinearReward, NeuralReward, TabularReward, pay
from tutorlib.irl.segments import (
    Segments,
    cut_segments,
    cut_windows,
    join_segments,
    table_cells,
    visit_counts,
)
from tutorlib.irl.shaped import (
    AirlResult,
    RewardParts,
    airl_matrix,
    play_airl,
    take_apart,
)
from tutorlib.irl.survival import SurvivalRun, survival_run
from tutorlib.irl.tabular_game import (
    GameResult,
    GameSettings,
    normalised_occupancy,
    play_game,
)
from tutorlib.irl.transfer import Transfer, evaluate_transfer, evaluate_transfers
from tutorlib.irl.trex import rank_labels, trex_pairs, window_starts
from tutorlib.irl.union import disjoint_union, join_visits, split_states

__all__ = [
    "ARM_PPO", "DIVERGENCES", "REWARDS", "AdversarialConfig", "AdversarialResult", "AirlResult",
    "ApprenticeSettings", "Apprenticeship", "CausalSolution", "FDivergence", "FitResult",
    "FitSettings", "GameResult", "GameSettings", "Identification", "ImitationReward",
    "LPReward", "Labeller", "LinearReward", "LogitNet", "MaxEntSolution", "NeuralReward",
    "Paths", "PreferenceLoopConfig", "PreferenceLoopResult", "Recovery", "RewardEnsemble",
    "RewardFitConfig", "RewardParts", "Segments", "ShapedNet", "ShapingFit",
    "SurvivalRun", "TabularReward", "Transfer", "airl_matrix", "apprentice", "backward_pass",
    "causal_likelihood", "causal_loss", "causal_loss_by_recursion", "check_demonstrations",
    "choose_queries", "cpl_loss", "cut_segments", "cut_windows", "demonstrations_from_lists",
    "disagreement", "disjoint_union", "entering_flow", "enumerate_paths", "evaluate_transfer",
    "evaluate_transfers", "expert_branch_visits", "expert_occupancy", "expert_visits",
    "f_divergence", "feature_expectations", "feature_table", "fit_cpl", "fit_ensemble",
    "fit_preference_table", "fit_reward", "fit_shaping", "forward_pass", "hidden_dimensions",
    "hull_weights", "identify", "identify_from_paths", "is_hidden", "join_segments",
    "join_visits", "joint_matrix", "learn_from_preferences", "log_density_ratio", "lp_irl",
    "margin_matrix", "maxent_loss", "maxent_values", "normalised_occupancy", "one_step_gamble",
    "optimal_discriminator", "optimality_margins", "path_probabilities", "path_returns",
    "path_visits", "pay", "play_airl", "play_game", "policy_reward", "preference_loss",
    "preference_probability", "projection_step", "rank_labels", "recover_reward",
    "redistribution", "reward_family", "segment_features", "segment_logps", "segment_returns",
    "shape_reward", "shaping_matrix", "shaping_term", "solve_causal", "solve_maxent",
    "split_states", "step_features", "survival_run", "table_cells", "take_apart",
    "train_adversarial", "trajectory_distribution", "trex_pairs", "visit_counts",
    "window_starts",
]
