"""Imitation of a demonstrator: behaviour cloning, how its errors compound, and DAgger."""

from tutorlib.imitation.cloning import (
    action_counts,
    clone_tabular,
    negative_log_likelihood,
    policy_from_counts,
)
from tutorlib.imitation.compounding import (
    closed_form_cost,
    expected_cost,
    off_path,
    recoverability,
    slip_process,
    slipping_policy,
)
from tutorlib.imitation.control_dagger import (
    ControlDaggerConfig,
    ControlDaggerResult,
    dagger_control,
)
from tutorlib.imitation.dagger import (
    DaggerConfig,
    DaggerResult,
    dagger,
    expert_first,
    geometric,
    linear,
)
from tutorlib.imitation.experts import (
    CARTPOLE_EXPERT,
    MOUNTAIN_CAR_EXPERT,
    BangBang,
    SeesLastAction,
    with_last_action,
)
from tutorlib.imitation.neural import (
    BCConfig,
    BCResult,
    agreement,
    bc_loss,
    clone,
    clone_in,
    pairs_of,
    split_episodes,
    validation_loss,
)
from tutorlib.imitation.pairs import demonstrated_pairs, expert_table
from tutorlib.imitation.tightrope import in_the_river, rope_expert, tightrope

__all__ = [
    "CARTPOLE_EXPERT", "MOUNTAIN_CAR_EXPERT", "BCConfig", "BCResult", "BangBang",
    "ControlDaggerConfig", "ControlDaggerResult", "DaggerConfig", "DaggerResult",
    "SeesLastAction", "action_counts", "agreement", "bc_loss", "clone", "clone_in",
    "clone_tabular", "closed_form_cost", "dagger", "dagger_control", "demonstrated_pairs",
    "expected_cost", "expert_first", "expert_table", "geometric", "in_the_river", "linear",
    "negative_log_likelihood", "off_path", "pairs_of", "policy_from_counts", "recoverability",
    "rope_expert", "slip_process", "slipping_policy", "split_episodes", "tightrope",
    "validation_loss", "with_last_action",
]
