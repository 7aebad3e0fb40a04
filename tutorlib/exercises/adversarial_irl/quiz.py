"""The questions at the end of unit 07."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        "Policy and demonstrator visit every state-action pair equally often. What does the best "
        "discriminator say?",
        ("1 everywhere.", "1/2 everywhere.", "It depends on the divergence."),
        1,
        ("That would be certainty where there is nothing to tell apart.",
         "Its logit is log(ρ_demo / ρ_π) = 0. All four rewards are constant then.",
         "The discriminator sees occupancies only; the divergence decides what is made of its "
         "logit.")),
    Question(
        "GAIL's f in table 4 is −(u + 1) log((1 + u) / 2) + u log u. What does Σ ρ_π f(u) give?",
        ("The Jensen-Shannon divergence.", "Half of it.", "Twice the Jensen-Shannon divergence."),
        2,
        ("The table says so, but you have computed it: there is a factor of two.",
         "The factor goes the other way.",
         "Twice; a constant factor changes no minimiser, only the numbers.")),
    Question(
        "An environment ends episodes early. The reward is −log(1 − D). The demonstrator does "
        "nothing and falls at once. What may the learner do?",
        ("Fall like the demonstrator.", "Stand as long as it can.", "Not learn at all."),
        1,
        ("Only if falling paid more. Every step alive pays something above 0, and a fall ends it.",
         "Standing earns a little at every step, for ever. Who looks at the score only thinks that "
         "imitation worked.",
         "It learns well, but from the length of episodes and not from the demonstrator.")),
    Question(
        "What does a fixed horizon change about that?",
        ("Every episode has equally many steps.",
         "The rewards become unbiased estimates.",
         "The discriminator becomes stronger."),
        0,
        ("So r(0) is paid equally often to everybody, and a constant moves no policy.",
         "Bias here is not about estimation.",
         "It may see what follows a fall, but that is not what removes the pay for lasting.")),
    Question(
        "Which part of AIRL's f = g(s) + γ Φ(s') − Φ(s) would you take to a new world?",
        ("f.", "Φ.", "g."),
        2,
        ("f is an advantage: it holds the old world's dynamics, through Φ.",
         "Φ is a value function of the old world.",
         "With deterministic dynamics and a reward of the state alone, g is that reward up to a "
         "constant.")),
    Question(
        "E_π[−u log u] is minus the forward KL. Why is r = −u log u a bad reward all the same?",
        ("It is too large.",
         "The policy gradient holds r fixed, but u changes with the policy.",
         "Forward KL cannot be minimised with a discriminator."),
        1,
        ("Scale is a matter of the learning rate.",
         "With r held fixed, the right reward is f*(f'(u)) = u. −u log u even falls where the "
         "demonstrator goes more often.",
         "It can: with r = u the exact game converged.")),
)
