"""The questions at the end of unit 11."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        "A reward model gives two answers to one prompt 5.0 and 4.0, and two answers to another "
        "prompt 1.0 and -3.0. What do the numbers say?",
        ("Answers to the first prompt are better.",
         "The second pair is decided more clearly; across prompts the numbers say nothing.",
         "The first pair is decided more clearly, for its rewards are higher."),
        1,
        ("Comparisons leave a constant per prompt free: only differences within a prompt count.",
         "Gaps of 1 and 4 nats: sigmoid gives 0.73 and 0.98. A constant per prompt is arbitrary.",
         "The level of a prompt's rewards is arbitrary. The gap decides.")),
    Question(
        "Labels come from somebody whose own ceiling is 83 %. Your reward model is right on 91 % "
        "of fresh pairs of theirs, many thousands. Then",
        ("something is wrong: no model can know the coin.",
         "the model is better than the labeller.",
         "the model is well calibrated."),
        0,
        ("The ceiling is what somebody reaches who knows every probability. Above it there is "
         "only luck, which thousands of pairs rule out, or a leak (the same pairs in training).",
         "It may well rank better than the labeller does. But its agreement with *noisy labels* "
         "has a limit all the same.",
         "Calibration compares confidence with frequency. Accuracy alone says nothing of it.")),
    Question(
        "Training loss falls, held-out loss rises, held-out accuracy stays level. What is "
        "happening?",
        ("The learning rate is too small.",
         "The order is still as right, but the model grows too sure of it.",
         "Chosen and rejected are swapped in the held-out pairs."),
        1,
        ("A small learning rate would leave the training loss high.",
         "Gaps grow, on wrong pairs too. Stop early, or fit a temperature on held-out pairs.",
         "Then accuracy would lie as far below one half as it should lie above.")),
    Question(
        "All rows of a batch are padded on the right to the longest. A colleague's head reads "
        "`hidden[:, -1]`. The mistake shows as",
        ("an error about shapes.", "NaN in the first step.",
         "a model that learns, but worse, and scores a text differently in another batch."),
        2,
        ("Shapes are as they should be.",
         "Hidden states at padding are finite numbers.",
         "That is why the check is a property: the same text, padded more, must score the same.")),
    Question(
        "You replace every reward of a model by its third power. What stays the same?",
        ("Its accuracy on pairs.", "Its Bradley-Terry loss.", "Its calibration."),
        0,
        ("Any increasing function keeps the order, and with it accuracy and what best-of-n picks.",
         "The loss looks at gaps, and these change.",
         "Confidence is the sigmoid of a gap, and gaps change.")),
    Question(
        "Best-of-16 by your reward model gains less gold reward than its accuracy on pairs "
        "promised. The likeliest reason?",
        ("Sixteen samples are too few.",
         "Picking the largest of 16 picks the model's own errors as well.",
         "The policy was not fine-tuned."),
        1,
        ("More samples make the selection stronger, and its errors with it.",
         "Accuracy averages over ordinary pairs. Selection goes where the reward is highest, and "
         "there overestimates gather: unit 19.",
         "Best-of-n changes no weights, and gains for any policy whose answers differ.")),
)
