"""The questions at the end of unit 03."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        r"In a state with Q = (1, 1) the temperature falls towards 0. Where does the soft-optimal "
        r"policy go?",
        ("To the first action.", "To one half each.", "It jumps between the two."),
        1,
        ("That is how `argmax` breaks ties. The Gibbs policy depends on Q alone, and Q is equal.",
         "Equal Q get equal weights at every temperature. Only differences of Q are sharpened.",
         "The weights are equal at each temperature, so nothing jumps.")),
    Question(
        "You multiply all rewards by 10 and the temperature by 10. What happens to the policy?",
        ("It becomes ten times greedier.", "It becomes flatter.", "Nothing."),
        2,
        ("Rewards alone times 10 would do that; the temperature undoes it.",
         "The temperature alone times 10 would do that; the rewards undo it.",
         "Only Q / λ enters the policy. Temperature is measured in units of reward.")),
    Question(
        "Steps cost a little; the goal pays and ends the episode. An entropy bonus, or a KL "
        "penalty to the uniform policy: which can make staying away the best plan?",
        ("The entropy bonus.", "Both: they differ by a constant.", "The KL penalty."),
        0,
        ("Each further step pays up to λ log|A|, and the goal stops the payments.",
         "The constant is λ log|A| per step. When the agent decides how many steps there are, it "
         "is not a constant any more.",
         "A KL penalty is never negative, so no step is paid for: staying away only costs.")),
    Question(
        "A model is tuned with a leash (β KL to the reference). Which answers can it never "
        "learn to give?",
        ("Answers with a low reward.", "Long answers.", "Answers the reference never gives."),
        2,
        ("They become rarer, but exp(r / β) is above 0: none vanishes.",
         "Length does not enter; only the reference's probability and the reward do.",
         "The optimum is the reference times a factor. Zero times any factor is zero, whatever "
         "the reward.")),
    Question(
        "Two policies have the same expected reward. The objective is reward minus β times the "
        "KL to the reference. Which one is better?",
        ("The one closer to the reference.", "The one closer to uniform.", "Both are as good."),
        0,
        ("With equal rewards only the penalty is left. The same order appears in their KL to the "
         "optimum.",
         "That would be so with a uniform reference.",
         "The penalty tells them apart.")),
    Question(
        "Soft value over whole trajectories: V = λ log of a sum of exp(return / λ). "
        "When is it the same as the soft backup's value?",
        ("Always.", "When each action decides its next state.", "When the horizon is infinite."),
        1,
        ("In the gamble above they differed: chance inside the exponential counts as choice.",
         "Then choosing actions is choosing a trajectory. Text is like that: the next state is "
         "the text plus the word.",
         "The horizon does not matter; chance does.")),
)
