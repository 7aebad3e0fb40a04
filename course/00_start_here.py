# %% [markdown] tags=["card", "slide"]
r"""
# Start here

Welcome. Before any theory you will steer a small robot by painting rewards, then try the harder direction: watch a
robot and guess what it wants. That guess is what this course is about, for robots first and for language models later.

**Afterwards you can**

- say why behaviour alone does not give a reward away,
- read the map of the course,
- pass an exercise, and use its check, hints and solution.
"""

# %% [markdown]
r"""
## Your first cell

A notebook is a list of cells. Click the next one and press **Shift+Enter**: it runs, and the next cell is selected. Go on
like that to the end. `[*]` means that a cell is working; loading the tools takes a few seconds.

Nothing here can break. In doubt, *Kernel → Restart Kernel* and run from the top. *Help → Show Keyboard Shortcuts*
lists the rest. All of it runs on this machine (if you started it yourself): what you do stays here.
"""

# %%
import torch
from IPython.display import Markdown, display

from tutorlib import check, hint, predict, progress, quiz, recall, solution

torch.set_num_threads(1)  # today's tensors are tiny: more threads would only wait for each other
tools = (check, hint, solution, progress)
print("It runs. You have four tools:", ", ".join(tool.__name__ for tool in tools))

# %% [markdown] tags=["slide"]
r"""
## A robot that wants something

A **reward** says what arriving in a cell is worth. From the map and the rewards the computer finds the robot's best steps
(arrows) and what to expect from each cell (the numbers: its **value**).

- A reward one step later counts 5 % less (the *discount* slider).
- A bump leaves the robot in place and counts as a step.
- At G the game is over: nothing more to expect, so its value is 0; its reward is paid on arriving.
"""

# %% [markdown]
r"""
You choose the reward: set the brush, then paint cells with the mouse, or with arrow keys and space. Can you make the robot
take the long way round the wall? Can you make it never want to arrive? (The other sliders get units of their own.)
"""

# %%
from tutorlib.mdp import GridWorld
from tutorlib.viz import GridPainter

ROOM = """
S....
.##..
.#...
...#G
"""
GridPainter(GridWorld(ROOM, rewards={"G": 1.0}))

# %% [markdown] tags=["slide"]
r"""
## The question turned round

You gave a reward and saw behaviour. Now the inverse: below is a robot's behaviour, every best step from every cell. It was made by one
of four rewards:

- **prize**: $+1$ on reaching G;
- **fine**: $-1$ for every step that does not reach G;
- **both**: $+1$ on reaching G, $-0.04$ for every other step;
- **tip**: $+1$ on reaching G, and $+0.1$ for every other step.
"""

# %%
from tutorlib.mdp import value_iteration
from tutorlib.viz import Panel, gridworld, gridworld_panels

suspects = {
    "prize": GridWorld(ROOM, rewards={"G": 1.0}),
    "fine": GridWorld(ROOM, rewards={"G": 0.0}, step_reward=-1.0),
    "both": GridWorld(ROOM, rewards={"G": 1.0}, step_reward=-0.04),
    "tip": GridWorld(ROOM, rewards={"G": 1.0}, step_reward=0.1),
}


def best_steps(world):
    """Return a policy: the probability of each step in each cell, [states, actions]."""
    # value_iteration (unit 01 builds it) works out what each step from each cell is worth
    q = value_iteration(world.mdp).q_values  # [states, actions]
    best = q >= q.max(dim=-1, keepdim=True).values - 1e-6  # rounding must not break a tie
    return best / best.sum(dim=-1, keepdim=True)  # best steps share equally


# %% tags=["hide-input"]
# The robot's steps, and a question. (The lines below give something away: leave them folded.)
seen = best_steps(suspects["fine"])
display(gridworld(suspects["fine"], policy=seen, title="It goes a shortest way to G"))
COUNTS = ("None of them", "Only one", "Two of them", "Three of them", "All four")
predict("start_here.suspects", "How many of the four rewards make exactly these steps best?", COUNTS[1:])

# %%
same = [name for name, world in suspects.items()
        if torch.equal(best_steps(world) > 0, seen > 0)]  # the same best steps in every cell
outcome = COUNTS[len(same)]
print(f"{outcome}: {', '.join(same)}")
discount = suspects["tip"].mdp.discount
print(f"A tip of 0.1 for ever is worth {0.1 / (1 - discount):.3g}, arriving {1.0:.3g}.")
panels = [Panel(world, policy=best_steps(world), title=name) for name, world in suspects.items()]
gridworld_panels(panels, title=f"{len(same)} of {len(suspects)} rewards lead to the same steps")

# %% [markdown] tags=["slide"]
r"""
## Same steps, different wishes

A robot that loves the goal and one that hates walking look alike. The tip changes everything: 0.1 for ever, each step
counting 5 % less than the one before, is worth

$$0.1 + 0.95 \cdot 0.1 + 0.95^2 \cdot 0.1 + \dots = \frac{0.1}{1 - 0.95} = 2,$$

more than the 1 for arriving. So it walks on for ever. A tip below 0.05 would change nothing.
"""

# %% [markdown] tags=["slide"]
r"""
Behaviour is **evidence** about reward, not proof. Finding rewards behind behaviour is *inverse
reinforcement learning*. So with a language model: its step is one token, and nobody can
paint its reward. People show good answers, or say which of two is better; only sometimes can a program check one.
"""

# %% [markdown] tags=["slide"]
r"""
## A knob that you will meet again: temperature

A language model gives each possible next word a score, its **logit** $z$. Word $i$ gets the probability

$$p_i = \frac{e^{z_i/\lambda}}{\sum_k e^{z_k/\lambda}},$$

its weight over the sum of all words' weights.
"""

# %% [markdown] tags=["slide"]
r"""
By hand, for two words with scores 2 and 0. At temperature $\lambda = 1$ the weights are $e^2 = 7.39$ and $e^0 = 1$: the
first word gets $7.39 / 8.39 = 0.88$. At $\lambda = 2$ they are $e^1 = 2.72$ and $1$: it gets $2.72 / 3.72 = 0.73$. Heat
flattens.
"""

# %% [markdown]
r"""
### When scores are large

$e^{1000}$ is too large for a computer: it overflows to infinity, and infinity over infinity is not a number (`nan`).
There is a way out: subtract the row's largest score from each score first. This changes nothing, because only the
differences between scores matter. The next cell tries it on two rows with the same difference, at temperature 1.
"""

# %%
for row in (torch.tensor([2.0, 0.0]), torch.tensor([1000.0, 998.0])):
    plain, safe = torch.exp(row), torch.exp(row - row.max())  # weights of two words
    print(f"scores {row.tolist()}: first word {plain[0] / plain.sum():.2f}, "
          f"with the largest score subtracted {safe[0] / safe.sum():.2f}")

# %% [markdown]
r"""
## How an exercise works

Below are a task, a cell for your answer, and a **check**. The check has three outcomes:

- *not attempted*: the cell is as you found it;
- *not passed*: it says where you differ, and names a mistake that it knows;
- *passed*: with a picture of what you built.

The lesson always goes on: unless you pass, `check` hands a reference answer to the later cells. In `exercises/`, the cell
below the check gives three **hints**, one by one; `solution("...")` shows an answer.
"""

# %% [markdown] exercise="start_here.softmax_with_temperature"
r"""
Write `softmax_with_temperature(logits, temperature)`, the formula above for several prompts at once.

- `logits`: a tensor of scores, `[prompts, words]`; some may be as large as 1000.
- `temperature`: a number above 0.
- Return a tensor of probabilities of the same shape, in which each row sums to 1. For `[[2.0, 0.0]]` at temperature 2:
  about `[[0.73, 0.27]]`.

**Get it wrong first, on purpose**, to see all three outcomes:

1. Run your cell and the check as they are.
2. Replace the line `raise ...` by `return torch.softmax(logits, dim=-1)`, and run both again. What does the check know?
3. Mend it, and run both once more.
"""

# %% exercise="start_here.softmax_with_temperature"
def softmax_with_temperature(logits, temperature):
    """Return probabilities [prompts, words] from logits [prompts, words]; each row sums to 1."""
    ### BEGIN SOLUTION
    scaled = logits / temperature
    # the highest score becomes 0: the fraction stays the same, and exp cannot overflow
    weights = torch.exp(scaled - scaled.amax(dim=-1, keepdim=True))
    return weights / weights.sum(dim=-1, keepdim=True)
    ### END SOLUTION


# %% [markdown]
r"""
## Turn the knob

Your function now drives a slider (the arrow keys work too). Until the course has its own language model, three scores
made up by us stand in for it. Where do the words drawn become boring? Where do they become nonsense?
"""

# %%
from tutorlib.exercises.start_here import SCORES, WORDS
from tutorlib.viz import Slider, bars, explorer

logits = torch.tensor(SCORES, dtype=torch.float64)  # [1 prompt, 3 words]


def the_sky_is(temperature):
    """Draw the next word's probabilities, and count thirty words drawn from them."""
    p = torch.as_tensor(softmax_with_temperature(logits, temperature))[0]
    # multinomial draws at random, each word as often as its probability says
    draws = torch.multinomial(p, 30, replacement=True, generator=torch.Generator().manual_seed(7))
    counts = torch.bincount(draws, minlength=len(WORDS)).tolist()
    said = "30 draws: " + ", ".join(f"{n} {w}" for n, w in zip(counts, WORDS, strict=True))
    rows = {f"{w} ({share:.1%})": share for w, share in zip(WORDS, p.tolist(), strict=True)}
    return bars(rows, ylabel="probability", note=said, xlabel=f"The sky is ...\n{said}",
                title=f"At temperature {temperature:.2g}, '{WORDS[0]}' has {p[0]:.0%}",
                target=1.0, target_label="certain")


explorer(the_sky_is, {"temperature": Slider(0.1, 10.0, 1.0, label="temperature", log=True)})

# %% [markdown]
r"""
## The map

The same few lines of algebra serve in a gridworld and in a language model. Two examples:

| | in a gridworld | in a language model |
|---|---|---|
| a **policy** | chances of each step in a cell | chances of each next word |
| a reward, guessed | from a robot's steps | from the answers that people prefer |

Below: the way through the units, and the full list, folded.
"""

# %% tags=["hide-input"]
from tutorlib.syllabus import SHARED_OBJECTS, UNITS, ready_units
from tutorlib.viz import roadmap

ready = ready_units()
numbers = {unit.number for unit in ready}


def status(*units):
    """Return the numbers of units, each with what has been written so far."""
    return ", ".join(f"{n} {'ready' if n in numbers else 'planned'}" for n in units)


lines = ["| the object | in a gridworld | unit | in a language model | unit |", "|---|---|---|---|---|"]
for shared in SHARED_OBJECTS:
    lines.append(f"| **{shared.name}** | {shared.tabular} | {status(shared.tabular_unit)} "
                 f"| {shared.language} | {status(*shared.language_units)} |")
written = ", ".join(unit.number for unit in ready)
missing = ", ".join(unit.number for unit in UNITS if unit not in ready)
minutes = sum(unit.minutes for unit in ready)
display(roadmap("00", note=f"Ready: {written}."))
display(Markdown(f"**Ready:** {written} (about {minutes} minutes). **Planned:** {missing or 'none'}."))
table = "\n".join(lines)
summary = f"All {len(SHARED_OBJECTS)} objects with two lives, and the units that treat them"
Markdown(f"<details><summary>{summary}</summary>\n\n{table}\n\n</details>")

# %% [markdown]
r"""
## Your machine, and three folders

- `exercises/`: lessons with gaps that you fill. *Learn here.*
- `notebooks/`: the same lessons with working code, for reading and presenting.
- `solutions/`: solved, with why it works and what people get wrong.

The next cell asks the **doctor** whether this machine has what the course needs. Where it does not, the
doctor names the command that mends it.
"""

# %%
from tutorlib.doctor import doctor

doctor()

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. A reward and a world give behaviour: planning.
2. Behaviour gives evidence about reward, not the reward itself.
3. Both questions return, with the same algebra, for language models.
4. Temperature divides scores: cold sharpens, heat flattens.
5. `check` tells right from wrong, `hint` helps, and the lesson always goes on.

Here is your prediction again, then your progress, then four questions.
"""

# %%
recall("start_here.suspects", outcome)

# %%
progress()

# %%
quiz("start_here")

# %% [markdown]
r"""
## Go further

- Sutton and Barto (2018), *Reinforcement Learning*, chapter 1: what a reward is, and is not.
- Ng and Russell (2000), *Algorithms for inverse reinforcement learning*: today's puzzle, with the remark that a reward of
  zero explains any behaviour.
- Sun and van der Schaar (2025), [arXiv 2507.13158](https://arxiv.org/abs/2507.13158): the tutorial that this course follows.
"""

# %% [markdown]
r"""
**To think about.** Which change to the room would tell prize from fine? New walls will not do: prize, fine and both are one
wish, rescaled and shaped (unit 05). What would a second exit do? **An open question.** People's judgements are behaviour too. Which reward do they reveal when people disagree?
"""
