"""The questions at the end of unit 17."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        "Why does DPO need no partition function?",
        ("Both answers to a prompt share it.",
         "Z(x) is nearly 1 as soon as β is small.",
         "The reference model is normalised already."),
        0,
        ("Only differences enter Bradley-Terry's likelihood, so what both answers share cancels.",
         "Z depends on the rewards: with r = 1 everywhere it is e^{1/β}, far from 1 at a small β.",
         "π_ref sums to 1; π_ref e^{r/β} does not, and Z is what it sums to.")),
    Question(
        "The implicit reward of one *token* of an optimal policy is",
        ("the reward model's score of the text so far.", "its advantage Q - V.",
         "the answer's reward, divided by its length."),
        1,
        ("Nobody scored the text so far: the reward came for the whole answer.",
         "β log(π*/π_ref) = Q - V. Along an answer these telescope to r - V(x).",
         "Shares differ from token to token: those that decide something carry it.")),
    Question(
        "DPO's loss fell, and the log-probability of the chosen answers fell too. This is",
        ("a sign that chosen and rejected answers are swapped.",
         "impossible as long as the loss decreases.",
         "allowed: only the difference has to grow."),
        2,
        ("Swapped pairs would make the *rejected* answers win; here the chosen ones still lead.",
         "The loss holds only the difference of the two log-ratios.",
         "Likelihood displacement: the mass goes to answers that nobody compared.")),
    Question(
        "You switch from sums over tokens to means (13 tokens an answer) and keep β. What happens?",
        ("The policy goes much further from the reference.",
         "Nothing: a mean is the sum, up to a constant factor.",
         "The policy stays much nearer to the reference."),
        0,
        ("β times a mean log-ratio is a 13th of β times the sum: to reach the same margin the sum "
         "must grow 13-fold. Multiply β by the length.",
         "The constant is the length, and it multiplies β.",
         "The other way round: the leash has become 13 times longer.")),
    Question(
        "All labels are certain (p = 1). At which h are DPO and IPO content?",
        ("Both at h = 0.", "DPO at 1/(2τ), IPO nowhere.", "DPO nowhere, IPO at 1/(2τ)."),
        2,
        ("h = 0 is where training begins.",
         "It is IPO that has a target. DPO's loss falls for ever.",
         "The logit of p = 1 is infinite; IPO's (p - 1/2)/τ is finite.")),
    Question(
        "Why can pairs that the *policy itself* wrote help where pairs of a fixed corpus cannot?",
        ("They are longer, so that each label says more.",
         "They show the judge what it has come to say.",
         "They are drawn from the policy, so no judge is needed."),
        1,
        ("Length has no part in it.",
         "Mass that moved to unseen answers becomes seen in the next round, and is judged.",
         "They do: labels are what on-policy training pays with.")),
)
