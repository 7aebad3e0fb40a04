"""The quiz of unit 08."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        "You double every true reward, and the judge's temperature with it. What changes in the "
        "judge's answers?",
        ("Nothing.", "They become surer.", "They become more random."),
        0,
        ("Only the ratio of difference and temperature counts. A fitted reward is in units of the "
         "judge's temperature.",
         "That would be so with the old temperature.",
         "That would need a temperature that grows faster than the rewards.")),
    Question(
        "All segments have 5 steps. Which change of the reward can no comparison reveal?",
        ("A constant added to every step.", "A factor on every step.",
         "A bonus for one particular cell."),
        0,
        ("It adds 5 times the constant on both sides of every comparison.",
         "A noisy judge becomes surer: the factor shows in how often it errs.",
         "Some segments visit that cell more often than others, and are then preferred more.")),
    Question(
        "And if segments have different lengths, and you still compare sums?",
        ("Nothing changes.", "The constant shows, as a taste for length.",
         "The loss is no longer convex in the table."),
        1,
        ("A constant c adds c times the difference in length.",
         "If longer segments won more often, for whatever reason, a reward that pays for each step "
         "explains the labels.",
         "It stays a logistic regression on counts.")),
    Question(
        "Three segments; the judge says a over b, b over c and c over a. What does the best table "
        "of rewards say?",
        ("There is none: the labels contradict each other.", "All three returns are equal.",
         "a is best, since it was named first."),
        1,
        ("Contradictions are ordinary: the likelihood weighs them.",
         "Each pair then has probability one half, and no other returns do better on the circle.",
         "Order of asking does not enter.")),
    Question(
        "T-REX's reward ranks all demonstrations right. Why can the policy trained on it still be "
        "bad?",
        ("Ranking implies the right policy, so it cannot.",
         "It may rest on a mere sign of quality.",
         "Because ranks are not numbers."),
        1,
        ("A reward that knows the clock ranks all pairs whose better window begins later.",
         "The time or the speed may go with quality and not make it. Ask what the reward looks "
         "at.",
         "The likelihood turns ranks into numbers well enough.")),
    Question(
        "Contrastive preference learning fits no reward. What does it assume about the judge?",
        ("Nothing more than Bradley and Terry.",
         "It goes by advantages under its own plan.",
         "It knows the policy that made the segments."),
        1,
        ("Both use the same sigmoid, but on sums of different things.",
         "A judge of sums of rewards prefers a lucky start; a judge of advantages does not.",
         "The policy that made them never enters.")),
)
