"""The quiz of unit 02: every option has its explanation."""

from tutorlib.grading import Question

QUIZ = (
    Question(
        "Q-learning explores with epsilon = 0.1. What do its values tell you?",
        ("What the exploring behaviour earns",
         "What the best behaviour would earn",
         "What the random steps alone earn"),
        1,
        ("That is what SARSA learns: its target looks up the action that is really taken next.",
         "Right: the maximum in its target stands for the best next action, whatever is done.",
         "Random steps are how it gathers experience; its target never asks what they are worth."),
    ),
    Question(
        "You subtract a baseline b(s) from the return in REINFORCE. What happens to the estimate?",
        ("It becomes biased, unless b is the true value.",
         "It stays unbiased; a good baseline makes it less noisy.",
         "It stays unbiased; any baseline makes it less noisy."),
        1,
        ("In each state the mean score is 0, so whatever depends on the state alone drops out.",
         "Right: unbiased for every b, and least noisy near the true value.",
         "Unbiased, yes. A bad baseline adds noise: try b = 1000."),
    ),
    Question(
        "An episode is cut by a time limit. What should the critic's target for its last step be?",
        ("The reward alone", "The reward plus the discounted value of the state reached",
         "The reward plus the discounted value of the state after the reset"),
        1,
        ("That is right after termination. Here the process would have gone on.",
         "Right: only the watching stopped. (Pardo et al. 2018)",
         "That state belongs to another episode and has nothing to do with this action."),
    ),
    Question(
        "A good action (A > 0) has a ratio of 1.5 with clip = 0.2. What is the slope of its "
        "objective?",
        ("1.5 A", "1.2 A", "0"),
        2,
        ("That would be the slope without clipping.",
         "1.2 A is the value of the objective there; it is flat.",
         "Right: beyond 1.2 the objective is constant, so this sample asks for no further change."),
    ),
    Question(
        "The value loss of a run falls to 0 and its returns collapse. What follows?",
        ("Training went well; the returns will recover.",
         "The critic agrees with its targets; the targets may be wrong.",
         "The learning rate is too low."),
        1,
        ("A small value loss says nothing about returns.",
         "Right: the loss measures agreement with targets that the code itself makes. In the "
         "failing run they said that nothing ever ends.",
         "A low learning rate leaves the loss high for long; here it fell fast."),
    ),
    Question(
        "A language model writes an answer and gets one reward at its end. What is an action?",
        ("One token", "The whole answer", "The prompt"),
        0,
        ("Right: the state is the prompt with the tokens so far, and each token's log-probability "
         "gets a weight. (Treating the answer as one action is possible too: unit 16.)",
         "Then its log-probability is the sum over tokens, which is the same gradient when the "
         "reward comes at the end; but PPO and GAE work on single tokens.",
         "The prompt is where the episode starts: a state."),
    ),
)
