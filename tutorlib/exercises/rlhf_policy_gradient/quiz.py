"""The questions at the end of unit 16."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        "A reference gives an answer with probability 0, its reward is 100, and beta is 0.01. How "
        "often does the optimal policy give it?",
        ("Nearly always.", "Never.", "It depends on the other answers' rewards."),
        1,
        ("The factor exp(r / beta) is huge, but it multiplies a 0.",
         "pi* is pi_ref times something: what the reference never says it never says. RL of this "
         "kind sharpens what is there.",
         "They share one Z; none of them can lift a 0.")),
    Question(
        "Which baseline, on average, makes the gradient too short?",
        ("the greedy answer's reward (ReMax)", "the mean of the *other* answers (RLOO)",
         "the mean of a group that contains the answer itself"),
        2,
        ("The greedy answer does not depend on the sampled one: no bias, though perhaps much "
         "variance.",
         "The others are independent of the answer. That is why it is left out.",
         "An answer that lowers its own advantage shortens the gradient by (G - 1)/G.")),
    Question(
        "A REINFORCE loop subtracts k3 from the *reward*. Its trouble is that",
        ("its mean is not the KL.", "its gradient there is not that of the KL.",
         "it may be negative."),
        1,
        ("Its mean is the KL exactly: k3 is unbiased as a number.",
         "An unbiased number inside the reward need not give an unbiased gradient. k1 does: its "
         "own derivative has mean 0, k3's has not.",
         "k3 is never negative; k1 may be.")),
    Question(
        "In PPO at token level, which token is charged for leaving the reference?",
        ("The token that left it.", "The last one, for all of them.",
         "All of them, by equal shares."),
        0,
        ("Each pays minus beta times its own log-ratio, so blame lands where it is due.",
         "That is how a sequence-level method such as RLOO does it.",
         "Then a harmless word would pay for another's fault.")),
    Question(
        "Reward climbs, entropy falls to 0, KL passes 60 nats, answers repeat one word. First "
        "suspect:",
        ("the critic: its explained variance is low.", "the reward, and too low a price of KL.",
         "the sampling temperature."),
        1,
        ("A bad critic makes noisy steps; it does not invent something that pays.",
         "The policy does what it is paid for. Look at what the reward *pays for*, and at beta.",
         "It was the same at the start, when answers were fine.")),
    Question(
        "Four answers to a prompt all earn reward 1. RLOO (at beta 0) then",
        ("makes all four likelier.", "makes all four rarer.", "learns nothing from this prompt."),
        2,
        ("Compared with each other none is better.",
         "Their advantages are 0, not negative.",
         "Every advantage is 0. Prompts that are always or never solved teach nothing: unit 18.")),
)
