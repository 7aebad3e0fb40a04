"""The questions at the end of unit 05."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        "You add a potential's rise, γ Φ(s') - Φ(s), to every reward of an endless process. What "
        "happens to the optimal policy?",
        ("It climbs to high Φ.", "Nothing.", "It depends on the sign of Φ."),
        1,
        ("What a step up pays, the steps after it take back: along any path only -Φ(s₀) is left.",
         "Every policy loses the same Φ(s₀), so their order stays.",
         "The sum is -Φ(s₀) for either sign, the same for every policy.")),
    Question(
        "The same, but episodes end, and Φ is 5 at the goal and 0 elsewhere. What may happen?",
        ("Nothing.", "The values shift by 5.", "The policy may change."),
        2,
        ("The proof needs the next step to take γ Φ back. After the end there is no next step.",
         "Only paths that end collect the 5, and sooner is more.",
         "Reaching the goal now pays γ 5 extra. Hold Φ at 0 where episodes end.")),
    Question(
        "Apprenticeship learning ends with |μ(π) - μ_E| = 0.1, features as in the true reward, "
        "|w| ≤ 1. What do you know?",
        ("The reward, to 0.1.", "The expert's policy, to 0.1.",
         "Your return differs from the expert's by at most 0.1."),
        2,
        ("Many w agree on these two policies; the last w is no estimate of the true one.",
         "Other policies, or mixtures, can have the same feature expectations.",
         "|w · (μ - μ_E)| ≤ |w| |μ - μ_E|, whatever w is.")),
    Question(
        "A soft-optimal policy on |S| states with |A| actions, known exactly, at a known "
        "temperature, discount and dynamics. How many numbers of the reward are left open?",
        ("One: a constant.", "|S|.", "|S| (|A| - 1)."),
        1,
        ("That is what is left after a second, different enough environment.",
         "One potential value for each state.",
         "That is how many the policy *does* fix: the log-odds in each state.")),
    Question(
        "You watch the expert a second time, in the same world with the same discount. What does "
        "the rank tell you?",
        ("It stays |S|: no news.", "It rises to 2|S| - 1.", "It rises by one."),
        0,
        ("Both blocks are equal, so every v₁ is matched by v₂ = v₁.",
         "That takes another discount, or other dynamics.",
         "Nothing in the second block is new.")),
    Question(
        "Two rewards give the same choices in noiseless comparisons. One is twice the other. Can "
        "noisy comparisons, P = σ(difference), tell them apart?",
        ("No: order is order.", "Yes: how often people waver shows the scale.",
         "Only with infinitely many labels."),
        1,
        ("Order alone cannot, but here frequencies are seen.",
         "A doubled difference is 88 % in place of 73 %: noise is information.",
         "Every label carries some; more labels sharpen the estimate.")),
)
