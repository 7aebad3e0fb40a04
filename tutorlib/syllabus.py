"""The units of the course: numbers, slugs, titles, promises. One list for every map of it.

A unit is *ready* when its lesson source ``course/NN_slug.py`` exists; nothing here says so by hand.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tutorlib.errors import LessonError, nearest


@dataclass(frozen=True)
class Unit:
    """One unit of the course."""

    number: str  # two digits, "06"
    slug: str  # file and exercise-id stem, "maxent_irl"
    title: str
    part: str  # key of PARTS
    promise: str  # what the learner can do afterwards
    minutes: int  # learner minutes, planned; 0 for units that are not written yet
    needs: tuple[str, ...] = ()  # numbers of the units it builds on

    @property
    def stem(self) -> str:
        """File name without its ending, for example ``06_maxent_irl``."""
        return f"{self.number}_{self.slug}"


PARTS = {
    "0": "Start",
    "I": "The reward is known",
    "II": "The reward is hidden",
    "III": "Language as a decision process",
    "IV": "Rewards from human evidence",
    "V": "Optimising with a reward",
    "VI": "Limits and frontier",
}

UNITS = (
    Unit("00", "start_here", "Start here", "0",
         "Find your way round the course and pass a first exercise", 25),
    Unit("01", "markov_decision_processes", "Markov decision processes", "I",
         "Write down a decision problem and solve it exactly", 110, ("00",)),
    Unit("02", "reinforcement_learning", "Reinforcement learning", "I",
         "Learn a policy from experience alone, up to PPO on CartPole", 110, ("01",)),
    Unit("03", "maximum_entropy_rl", "Maximum-entropy RL", "I",
         "Derive the Gibbs policy that later becomes RLHF", 105, ("01",)),
    Unit("04", "imitation_learning", "Imitation learning", "II",
         "Copy a demonstrator, and see why errors compound", 140, ("01",)),
    Unit("05", "reward_ambiguity", "Reward ambiguity", "II",
         "Say which rewards a behaviour can and cannot reveal", 160, ("03",)),
    Unit("06", "maxent_irl", "Maximum-entropy IRL", "II",
         "Recover a reward from demonstrations by maximum likelihood", 160, ("03", "05")),
    Unit("07", "adversarial_irl", "Adversarial IRL", "II",
         "Match a demonstrator by a game between policy and discriminator", 160, ("02", "06")),
    Unit("08", "preference_based_rl", "Preference-based RL", "II",
         "Do better than the demonstrator by learning from comparisons", 185, ("02",)),
    Unit("09", "language_mdp", "The language MDP", "III",
         "See text generation as a decision process, and solve a small one exactly", 120, ("03",)),
    Unit("10", "sft_is_imitation", "SFT is imitation", "III",
         "Fine-tune a language model and recognise behaviour cloning", 140, ("04", "09")),
    Unit("11", "reward_models", "Reward models", "IV",
         "Turn comparisons between answers into a reward", 180, ("10",)),
    Unit("12", "verifiers_and_process_rewards", "Verifiers and process rewards", "IV",
         "Reward what can be checked, step by step", 0, ("11",)),
    Unit("13", "learning_from_demonstrations", "Alignment from demonstrations", "IV",
         "Learn a reward from demonstrations of good answers", 0, ("07", "10")),
    Unit("14", "whose_preferences", "Whose preferences?", "IV",
         "Ask the right questions of the right people", 0, ("11",)),
    Unit("15", "inference_time", "Inference-time optimisation", "V",
         "Improve answers without touching the weights", 0, ("11",)),
    Unit("16", "rlhf_policy_gradient", "RLHF by policy gradient", "V",
         "Optimise a language model against a reward, with a leash", 160, ("02", "11")),
    Unit("17", "direct_alignment", "Direct alignment", "V",
         "Derive DPO from the Gibbs policy, and see what it cannot see", 150, ("03", "11")),
    Unit("18", "grpo_and_rlvr", "GRPO and verifiable rewards", "V",
         "Train on answers that can be checked, and tell the conventions apart", 0, ("12", "16")),
    Unit("19", "reward_overoptimization", "Reward over-optimisation", "VI",
         "Measure Goodhart's law with a gold reward you own", 0, ("16",)),
    Unit("20", "sparse_rewards", "Sparse rewards", "VI",
         "Spread a late reward over the steps that earned it", 0, ("16",)),
    Unit("21", "scaling_up", "Scaling up", "VI",
         "Run the same code on a GPU and a real model", 0, ("17", "18")),
    Unit("22", "capstone", "Capstone", "VI",
         "Align a model to a persona you are not told, on a budget", 0, ("19",)),
)


@dataclass(frozen=True)
class SharedObject:
    """One mathematical object that a gridworld and a language model share: the course's thread."""

    name: str
    tabular: str  # what it is in a gridworld (Markdown, TeX between dollars)
    tabular_unit: str  # number of the unit that treats it there
    language: str  # what it is in a language model
    language_units: tuple[str, ...]


SHARED_OBJECTS = (
    SharedObject("log-sum-exp of $Q$ over a prior", "soft value $V$", "03",
                 r"log-partition $\beta \log Z$, DPO's normaliser", ("17",)),
    SharedObject("Gibbs policy", r"soft-optimal policy $\exp((Q - V)/\lambda)$", "03",
                 r"KL-regularised optimum $\pi_\text{ref} \exp(r/\beta)/Z$", ("16",)),
    SharedObject("maximum likelihood of a reward", "feature expectations matched by MaxEnt IRL",
                 "06", "Bradley-Terry likelihood of a reward model", ("11",)),
    SharedObject("log density ratio", "discriminator logit, which is AIRL's reward", "07",
                 r"implicit reward $\beta \log(\pi/\pi_\text{ref})$; reward from demonstrations",
                 ("17", "13")),
    SharedObject("forward KL", "behaviour cloning and its $T^2$", "04",
                 "supervised fine-tuning and exposure bias", ("10",)),
    SharedObject("reward ambiguity", "potential shaping changes nothing", "05",
                 "a per-prompt shift of the reward changes nothing", ("11",)),
    SharedObject("dynamics", "chance splits MaxEnt from causal MaxEnt", "06",
                 "token dynamics are deterministic: the two agree", ("09",)),
)


def find_unit(name: str) -> Unit:
    """Return the unit of this number ("06", "6"), slug or stem.

    >>> find_unit("1").slug
    'markov_decision_processes'
    """
    for unit in UNITS:
        if name in (unit.slug, unit.stem) or name.zfill(2) == unit.number:
            return unit
    known = [unit.number for unit in UNITS] + [unit.slug for unit in UNITS]
    raise LessonError(f"there is no unit {name!r}: {nearest(name, known)}")


def course_root(start: str | Path | None = None) -> Path:
    """Return the folder that holds ``course/``: at or above ``start``, else beside the package.

    The environment variable ``TUTORLIB_ROOT`` overrides the search.
    """
    override = os.environ.get("TUTORLIB_ROOT")
    here = Path(override or start or Path.cwd()).resolve()
    beside_package = Path(__file__).resolve().parent.parent
    for folder in (here, *here.parents, beside_package):
        if (folder / "course").is_dir() and (folder / "tutorlib").is_dir():
            return folder
    raise LessonError(
        f"no course/ folder at or above {here}; run this inside a clone of the course"
    )


def ready_units(root: str | Path | None = None) -> tuple[Unit, ...]:
    """Return the units whose lesson source exists under ``root`` (default: ``course_root()``)."""
    folder = Path(root) if root is not None else course_root()
    return tuple(u for u in UNITS if (folder / "course" / f"{u.stem}.py").is_file())
