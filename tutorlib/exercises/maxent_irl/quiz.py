"""The questions at the end of unit 06."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        "The expected features of policy and demonstrator agree to six digits. What follows?",
        ("Policy and demonstrator behave alike.", "The reward is the true one, up to its scale.",
         "The gradient of the weights is 0."),
        2,
        ("Only if the features can tell all behaviours apart. Two features matched here while the "
         "visits were far apart.",
         "Even equal behaviour would leave a family of rewards (unit 05).",
         "The gradient is the feature gap, and nothing more follows: what the features cannot see "
         "may still differ.")),
    Question(
        "A coin decides between +3 and -3; the alternative is a safe 0; λ = 1. Somebody gambles "
        "half of the time. What does the trajectory model of 2008 conclude?",
        ("That she is indifferent.", "That she dislikes gambling.", "That she likes gambling."),
        1,
        ("So says the causal model, and it is right.",
         "It believes that gamblers choose their luck, and would gamble 91 % of the time. To "
         "explain 50 % it invents a dislike of log(0.91/0.09), about 2.3.",
         "The other way round: it expects 91 %, and sees 50 %.")),
    Question(
        "With a rich reward and ten walks the loss falls below 0. Why is that alarming?",
        ("It claims a probability above 1.", "Losses are always positive.",
         "It is not: lower is better."),
        0,
        ("A negative log-likelihood of choices cannot be negative. The ten walks' visits obey no "
         "dynamics, and the reward runs away along what no policy can do.",
         "A log-density may be anything; but these are probabilities of choices.",
         "Below 0 it has stopped being a likelihood.")),
    Question(
        "You add 1 to the reward of every state; the horizon is fixed. What changes in the fit?",
        ("The policy becomes more daring.", "Nothing.", "The demonstrations become likelier."),
        1,
        ("Q and V both rise by one per step left; only their difference decides.",
         "A constant is earned by everybody. That is why rewards are compared by behaviour.",
         "Every walk of the same length earns it, so no choice changes.")),
    Question(
        "Two rewards explain the demonstrations equally well: one per cell, one per cell and "
        "move. Which would you take to a world with other dynamics?",
        ("The one per cell and move: it has more parameters.", "The one per cell.",
         "Either: they explain the same."),
        1,
        ("Its extra parameters hold the old world's dynamics.",
         "It says what is wanted, not how it was reached. That is an assumption, and it must be "
         "true: somebody who likes the *move* is not served by it.",
         "At home they do. Elsewhere the one per move repeats old moves.")),
    Question(
        "When are the trajectory model of 2008 and the causal one of 2010 the same?",
        ("When the horizon is so long that luck averages out.",
         "When λ is so small that only the best action is taken.",
         "When an action decides the next state."),
        2,
        ("The number of steps does not matter; chance does.",
         "Then luck is chosen even more greedily by the one, and not at all by the other.",
         "Without chance nothing can be bent. Tokens decide their next state: language models "
         "live there (unit 09).")),
)
