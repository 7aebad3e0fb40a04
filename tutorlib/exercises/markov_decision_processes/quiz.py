"""The quiz of unit 01: every option has its explanation."""

from tutorlib.grading import Question

QUIZ = (
    Question(
        "Two states lead to each other with reward 1 and discount 0.9. What is each worth?",
        ("1.9", "9", "10", "It has no finite value"),
        2,
        ("That is one reward now and one more, discounted; the sum goes on for ever.",
         "Nearly: 0.9 / (1 - 0.9) = 9 leaves out the reward paid now.",
         "Right: V = 1 + 0.9 V, so V = 1 / (1 - 0.9) = 10.",
         "A discount below 1 makes the geometric series finite."),
    ),
    Question(
        "Value iteration stops when the largest change is 0.01, with discount 0.99. How far from "
        "the optimum can a value still be?",
        ("at most 0.01", "at most about 1", "at most 0.0001", "no bound is known"),
        1,
        ("The change is not the error. Many small changes of one sign may still be to come.",
         "Right: the bound is 0.99 / 0.01 times the change, which is 0.99.",
         "The error can be far larger than the last change.",
         "The contraction gives one: discount / (1 - discount) times the last change."),
    ),
    Question(
        "Which line is a Bellman optimality backup?",
        ("max over a of reward, plus discount times max over a of the expected next value",
         "max over a of [reward + discount times the expected next value]",
         "mean over a of [reward + discount times the expected next value]",
         "max over a of [reward + discount times the largest possible next value]"),
        1,
        ("One action must earn both parts; two maxima mix two actions.",
         "Right: add for each action, then choose once.",
         "That evaluates the policy that acts at random.",
         "The agent chooses its action, not the outcome; chance calls for an expectation."),
    ),
    Question(
        "What does the occupancy measure of a policy (unnormalised, discount 0.95) sum to?",
        ("1", "the number of states", "20", "the return of the policy"),
        2,
        ("Only after multiplying by 1 - discount, as many papers do.",
         "The number of states plays no part; time is what is shared out.",
         "Right: 1 + 0.95 + 0.95^2 + ... = 1 / (1 - 0.95) = 20.",
         "The return is its product with the reward, not its sum."),
    ),
    Question(
        "On the frozen lake with discount 0.99, why does the best policy walk into the border?",
        ("A tie: all first steps are worth the same.",
         "Bumping is rewarded.",
         "It slides only towards cells that it likes; waiting costs little.",
         "Value iteration had not converged."),
        2,
        ("Left is strictly better there; the values of the actions differ.",
         "Only reaching the goal is rewarded.",
         "Right: the move intended fails harmlessly, both slips are acceptable, and a discount "
         "of 0.99 makes a lost step cheap.",
         "It had: policy iteration, which solves its equations exactly, agrees."),
    ),
    Question(
        "Why can the methods of this unit not be run as they are on a real language model?",
        ("Its transitions are unknown.", "Its actions are continuous.",
         "Its states are all token sequences: too many for a table.",
         "It has no terminal state."),
        2,
        ("They are known exactly: the next state is the text with the token appended.",
         "Tokens are discrete; there are many, but they can be listed.",
         "Right: every prefix is a state of its own, and a table needs an entry for each.",
         "The end-of-sequence token leads to one."),
    ),
)
