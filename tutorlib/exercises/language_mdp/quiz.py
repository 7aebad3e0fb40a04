"""The questions at the end of unit 09."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        "Text generation is a decision process. Which part is not given with the model?",
        ("The dynamics.", "The reward.", "The policy."),
        1,
        ("Appending a token is known and certain. That is rare: most control problems must learn "
         "or simulate their dynamics.",
         "Prompts, tokens, appending, the model's probabilities: all there. What a good answer is "
         "must come from data: Parts IV and V.",
         "The policy is the model itself.")),
    Question(
        "An answer uses up the horizon, and its last token is the end of sequence. What is it?",
        ("Terminated.", "Truncated.", "Both."),
        0,
        ("It came to its own end; that there was no room left does not matter any more.",
         "Truncated means that the model was not done. Here it was.",
         "Then an estimator would add a value for text that never comes.")),
    Question(
        "The reward is paid with the last token. Where does the optimal policy of the tree differ "
        "most from the reference?",
        ("At the last token.", "Where continuations differ in value.", "At the first token."),
        1,
        ("When it is reached, everything may be decided already.",
         "log π*/π_ref = (Q − V)/β. If all words lead to equal values, nothing is gained by "
         "preferring one.",
         "Only if the first word decides. 'The sky is' leads to right and wrong answers alike.")),
    Question(
        "A tree is built over nine words out of 251, and the reference renormalised. "
        "What is exact then?",
        ("All numbers about the whole model.",
         "All numbers about the model that may only say these words.", "Nothing."),
        1,
        ("Answers with other words are left out; their mass is gone.",
         "It is a model of its own, and about that one nothing is approximated.",
         "For the restricted model every sum is complete.")),
    Question(
        "A batch scores answers differently from one at a time, with a GPT-2, and alike with a "
        "Llama. What is the first suspect?",
        ("Dropout.", "The positions of left-padded prompts.", "The end of sequence."),
        1,
        ("Dropout would make two equal calls differ, batch or not, with both.",
         "GPT-2 adds a vector for the absolute position. A Llama looks at differences of "
         "positions, which padding leaves alone.",
         "A lost token would be lost in both.")),
    Question(
        "Why do maximum entropy over trajectories (2008) and the causal model (2010) agree on "
        "text?",
        ("The horizon is finite.", "The reward is at the end.", "A token decides the next state."),
        2,
        ("On the finite gamble of unit 06 they differed.",
         "Where rewards are paid plays no part: see the gamble.",
         "Without chance there is no luck that could be mistaken for choice.")),
)
