"""The questions at the end of unit 10."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        "Prompt of 6 tokens, answer of 4 with its end, padded to 12. How many predictions does "
        "fine-tuning learn?",
        ("11, all but the last position.", "4, the first of them at the prompt's last token.",
         "3, for the end of sequence is no word."),
        1,
        ("Eleven predictions are made. Those of prompt and padding are masked out.",
         "The logits at the prompt's last token predict the answer's first token, and so on up to "
         "the end of sequence.",
         "The end is a token of the answer. Left out, nobody teaches the model to stop.")),
    Question(
        "The demonstrations hold two equally good phrasings. A model that cannot hold both is "
        "fitted by maximum likelihood. It will",
        ("spread over both, and over mixtures that nobody wrote.", "choose the shorter one.",
         "settle on one of them."),
        0,
        ("Forward KL is infinite where the demonstrator speaks and the model never does, so the "
         "model covers. What it cannot represent it blends.",
         "Length enters through the convention of the mean, not through a preference for a mode.",
         "That is what the *reverse* direction does.")),
    Question(
        "Two runs on the same data: one reports a loss of 0.9, one of 12. Which is better?",
        ("The first.", "The second.",
         "One cannot say before knowing the convention: per token or per answer."),
        2,
        ("Only if both count alike. A sum over answers of thirteen tokens is about thirteen times "
         "the mean.",
         "A higher loss is worse, if both count alike.",
         "0.9 nats a token and 12 nats an answer may be the same model.")),
    Question(
        "Your loss is as low as that of a healthy run, but the model ends no answer where it "
        "should. Look first at",
        ("the learning rate.", "the mask: is the end of sequence among the targets?",
         "the number of demonstrations."),
        1,
        ("A wrong learning rate raises the loss; it does not make the model chatty.",
         "A target that is never learned costs nothing. Masking by the id of the padding does it "
         "wherever end and padding share an id.",
         "More data with the same mask teach the same habit.")),
    Question(
        "On the demonstrator's prefixes a model errs in 5 of 100 steps. Run on its own, it is "
        "wrong in more and more of them. This is called",
        ("over-fitting.", "exposure bias.", "mode seeking."),
        1,
        ("Over-fitting is a gap between trained and fresh demonstrations. Here both are the "
         "demonstrator's texts.",
         "It was trained on prefixes that it does not produce: the compounding error of unit 04.",
         "Modes are a matter of the direction of KL, not of whose prefix is read.")),
    Question(
        "Fine-tuning made the model as polite as the author, but took its truth only part of the "
        "way. The likeliest reason?",
        ("A manner is one rule, shown always; truth is many facts, each shown rarely.",
         "Politeness has the larger weight in the gold reward.",
         "The loss mask hides numbers."),
        0,
        ("Demonstrations can only teach what they cover. That is one motive for rewards: they can "
         "judge answers that nobody demonstrated.",
         "Fine-tuning sees no reward at all: it only sees answers.",
         "The mask hides prompt and padding; the numbers of an answer are learned.")),
)
