"""The questions at the end of unit 04."""

from __future__ import annotations

from tutorlib.grading import Question

QUIZ = (
    Question(
        "A clone's validation loss, on episodes of the demonstrator that were held out, is nearly "
        "zero. What do you know of its cost when it is run?",
        ("It is nearly zero as well.", "That it is at most the horizon times the error rate.",
         "Little: the loss speaks for the states of the demonstrator."),
        2,
        ("Where the clone has left the demonstrator's states, the loss says nothing.",
         "That holds if every error is undone at the next step. In general the bound grows with "
         "the square of the horizon.",
         "Held-out episodes are still the demonstrator's. Run the clone, or ask the expert about "
         "the states it gets to.")),
    Question(
        "One slip in a thousand steps, no way back. You double a short horizon. The cost",
        ("doubles.", "is about four times as large.", "rises by the slip rate."),
        1,
        ("So it would if each slip were mended at once.",
         "Twice as many slips, each followed by twice as many lost steps on average: T squared.",
         "That is what a single further step adds at the very beginning.")),
    Question(
        "DAgger's cost grows with T, not T squared. What does this rest on?",
        ("On an expert who drives part of the time.",
         "On more labels than behaviour cloning has.",
         "On labels in the learner's states, and mistakes that can be undone at a bounded cost."),
        2,
        ("The mixture only softens the first rounds. Most of the data come from the learner's own "
         "driving.",
         "In this unit both had the same number of labels. Where they were asked for is what "
         "differed.",
         "And on aggregation, or another no-regret learner. If no mistake can be undone, DAgger's "
         "cost grows like T squared too.")),
    Question(
        "Behaviour cloning minimises KL(demonstrator || policy). The demonstrator passes a tree on "
        "the left or on the right, half each. A policy that can only hold one bump will",
        ("pick one side.", "put its bump in the middle, at the tree.", "refuse to choose."),
        1,
        ("Seeking one mode is what the *reverse* divergence does, KL(policy || demonstrator).",
         "Forward KL punishes a probability near 0 wherever the demonstrator goes, so it covers "
         "both sides. Richer policies are the cure.",
         "A fit always gives a policy.")),
    Question(
        "Adding the last action to the observations improved the validation loss, and the car no "
        "longer left the valley. Why?",
        ("The network was over-fitted to its training episodes.",
         "It learned to repeat, and then repeats itself.",
         "The action was recorded one step late."),
        1,
        ("Held-out episodes are predicted as well as training episodes: there is no gap.",
         "The demonstrator mostly repeats itself, so copying explains the data; run, the clone "
         "copies its own action. Acting tells a cause from an effect.",
         "A late action would show as a poor validation loss.")),
    Question(
        "You have logged chats of good support agents and no way to try answers out. Nobody scored "
        "the chats. What can you do?",
        ("Imitation by DAgger, with the agents as experts.", "Offline-RL on the logged chats.",
         "Clone the agents, or do Offline-IRL."),
        2,
        ("DAgger needs to act, and an expert to ask about where it got to. Neither is at hand.",
         "The four answers of the table would allow it, but Offline-RL learns from rewards that "
         "were logged with the data. Here nobody scored the chats.",
         "No row of Table 3 is for offline imitation, although behaviour cloning does just that. "
         "SFT of a language model is this case.")),
)
