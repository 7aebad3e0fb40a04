# %% [markdown] tags=["card", "slide"]
r"""
# Imitation learning

The reward is hidden from here on. What is left is behaviour: somebody who knows how. Copying is the simplest thing to do,
and it works, until the copy gets somewhere its teacher has never been.

**Afterwards you can**

- clone a demonstrator, and say which divergence that minimises,
- compute how small errors compound over a horizon, and what stops them,
- let an expert teach where it matters (DAgger), and name the problem you have by what you are given.
"""

# %% [markdown] tags=["slide"]
r"""
## A copy on a rope

A rope walker crosses a river. The wind may push it aside; it leans back and never falls. (Whoever falls needs
four right strokes in a row. The walker knows them, but never needed them.)

We clone the walker by counting in 40 walks of 25 steps, with a tenth of a count for every action. In the walker's states the clone
does the same in over 99 of 100 steps. Each step that ends in the river costs 1.
"""

# %%
import math

import torch

from tutorlib import predict, quiz, recall
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors
from tutorlib.imitation import clone_tabular, in_the_river, rope_expert, tightrope
from tutorlib.mdp import sample_trajectories, state_distributions

torch.set_num_threads(1)  # today's tensors are tiny: more threads would only wait for each other
rope = tightrope(length=12, wind=0.2)  # 12 marks in a ring, 3 places at each; 4 river states
walker = rope_expert(rope)  # the demonstrator, [states, actions]
walks = sample_trajectories(rope, walker, 40, 25, torch.Generator().manual_seed(0))
clone_of_walker = clone_tabular(rope, walks, smoothing=0.1)  # a tenth of a count for each action


def rope_cost(policy, steps, world=rope):
    """Return the expected steps in the river within 1 to `steps` steps, exactly."""
    return state_distributions(world, policy, steps)[1:, in_the_river(world)].sum(-1).cumsum(0)


print(f"a walk of 25 steps costs the walker {rope_cost(walker, 25)[-1]:.2f} steps in the river, "
      f"the clone {rope_cost(clone_of_walker, 25)[-1]:.2f}")
WHO = ("about as much", "about twice as much", "about four times as much", "ten times or more")
predict("imitation_learning.doubling", "What does a walk of 50 steps cost the clone?", WHO)

# %% tags=["hide-input"]
from tutorlib.viz import roadmap

roadmap("04")

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

Forget the rope for a moment: a walker is *on* the demonstrator's path or *off* it. On it, one step in ten slips:
$\epsilon = 0.1$. Each step that ends off the path costs 1.

- **Always back at the next step.** Every step costs 0.1: after 1, 2, 3 steps 0.1, 0.2, 0.3.
- **No way back.** After one step 0.1 are off; after two, $0.1 + 0.9 \cdot 0.1 = 0.19$; after three, $0.19 + 0.81 \cdot 0.1 =
  0.271$. Costs add up to 0.1, 0.29, 0.561.

Same slips. What differs is what a slip leads to.
"""

# %% [markdown] tags=["slide"]
r"""
## Behaviour cloning is maximum likelihood

Take the demonstrator's states $s$ as inputs, its actions $a$ as labels. **Behaviour cloning** (BC) fits the policy that
makes them likeliest (brackets: the tutorial that this course follows, [§2.4]):

$$\max_\pi \; \mathbb{E}_{s \sim d^E} \, \mathbb{E}_{a \sim \pi^E(\cdot|s)} \big[\log \pi(a|s)\big]$$

$d^E$ is the distribution of states that the demonstrator visits. Add and subtract $\log \pi^E$:

$$-\mathbb{E}[\log \pi] = \mathbb{E}_{s \sim d^E} \big[\, \mathrm{KL}\big(\pi^E(\cdot|s) \,\|\, \pi(\cdot|s)\big) + H\big(\pi^E(\cdot|s)\big) \big]$$

The entropy is not ours to change. So BC minimises the **forward KL**, in the demonstrator's states and nowhere else.
"""

# %% [markdown] exercise="imitation_learning.bc_loss"
r"""
Write `bc_loss(logits, actions, mask)`, the loss of behaviour cloning on recorded episodes of different lengths:

$$L = -\frac{1}{\sum_{i,t} m_{i,t}} \sum_{i,t:\, m_{i,t}} \log \pi(a_{i,t} | s_{i,t}), \qquad \pi = \mathrm{softmax}(z)$$

- `logits`: $z$, the policy's scores of all actions, `[episodes, steps, actions]`; some are near a thousand.
- `actions`: what the demonstrator did, whole numbers, `[episodes, steps]`.
- `mask`: true for a step that happened, `[episodes, steps]`. Short episodes are padded: with any valid action, and logits that may be NaN.
- Return one number, in nats: each *step* counts alike.

One step, two actions with scores 1 and 0, the first was taken: $\log(1 + e) - 1 = 0.313$.
"""

# %% exercise="imitation_learning.bc_loss"
def bc_loss(logits, actions, mask):
    """Return the mean negative log-likelihood, a number, of logits [episodes, steps, actions]."""
    ### BEGIN SOLUTION
    logps = torch.log_softmax(logits[mask], dim=-1)  # select first: NaN times 0 would be NaN
    chosen = logps.gather(-1, actions[mask][:, None])  # [happened, 1]
    return -chosen.mean()
    ### END SOLUTION


# %%
loss = float(as_tensor(bc_loss(clone_of_walker.log()[walks.states[:, :-1]], walks.actions, walks.mask)))
agrees = float((clone_of_walker * walker).sum(-1)[walks.states[:, :-1]].mean())
print(f"the clone on the walks it was made from: loss {loss:.4f} nats, agreement {agrees:.2%}")

# Your loss is a forward KL plus an entropy: a demonstrator who tosses a loaded coin, 10,000 times
odds = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
tosses = torch.multinomial(odds, 10_000, True, generator=torch.Generator().manual_seed(0))[None]
shares = torch.bincount(tosses[0]).double() / tosses.numel()  # counted: they stand for the demonstrator
for name, pi in {"the shares counted": shares, "uniform": torch.full((3,), 1 / 3).double()}.items():
    loss = float(as_tensor(bc_loss(pi.log().expand(1, 10_000, 3), tosses, tosses >= 0)))
    kl = float((shares * (shares / pi).log()).sum())
    entropy = float(-(shares * shares.log()).sum())
    print(f"{name:<19} loss {loss:.6f} = KL {kl:.6f} + entropy {entropy:.6f}")

# %% [markdown]
r"""
## What forward KL does when it cannot fit

A demonstrator passes a tree on the left or on the right, half each. The clone may only hold *one* bump. $-\log \pi$ is
dear wherever the demonstrator goes and the clone does not; so the bump must cover both sides.

The reverse, $\mathrm{KL}(\pi \,\|\, \pi^E)$, is dear where the clone goes and the demonstrator does not: it picks a side (both are
equally good). It asks how likely the demonstrator would do what the *clone* does, and recordings do not say (unit 07).
"""

# %% tags=["hide-input"]
from tutorlib.viz import lines

angles = torch.linspace(-30, 30, 121, dtype=torch.float64)  # steering angle, degrees


def bump(centre, width):
    weights = torch.exp(-0.5 * ((angles - centre) / width) ** 2)
    return weights / weights.sum()


demonstrator = 0.5 * bump(-12.0, 3.0) + 0.5 * bump(12.0, 3.0)
family = [(c, w) for c in torch.arange(-20, 20.5, 1.0).tolist() for w in torch.arange(2, 20.5, 0.5).tolist()]
fits = {}
for name, divergence in {
        "forward KL: cloning": lambda pi: (demonstrator * (demonstrator / pi).log()).sum(),
        "reverse KL": lambda pi: (pi * (pi / demonstrator).log()).sum()}.items():
    fits[name] = min(family, key=lambda cw: float(divergence(bump(*cw))))  # every bump, tried out
at_tree = {name: float(bump(*cw)[angles.abs() <= 3].sum()) for name, cw in fits.items()}
at_tree["demonstrator"] = float(demonstrator[angles.abs() <= 3].sum())
per_degree = 2.0  # two grid points a degree
lines({"demonstrator": demonstrator * per_degree, **{n: bump(*cw) * per_degree for n, cw in fits.items()}}, angles,
      xlabel="steering angle (degrees; the tree is at 0)", ylabel="probability density (per degree)",
      title=f"The clone steers within 3 degrees of the tree in {at_tree['forward KL: cloning']:.0%} of cases, "
            f"demonstrator and reverse KL in {max(at_tree['demonstrator'], at_tree['reverse KL']):.1%}")

# %% [markdown] exercise="imitation_learning.error_recursion"
r"""
Back to the two-state walk, with a knob between its two ends. Write `error_recursion(slip, recovery, horizon)`.

Each step, a walker on the path slips with probability $\epsilon$ = `slip`. A walker off the path first finds back with
probability $b$ = `recovery`; if it does, it takes this step on the path, and can slip in it. A step that *ends* off the path costs
1. With $f_t$ the probability of being off after step $t$:

$$f_0 = 0, \qquad \mathrm{cost}(T) = \sum_{t=1}^{T} f_t$$

- Return the expected cost of every horizon from 1 to `horizon`, `[horizon]`.

By hand, $\epsilon = 0.1$, $b = 0.4$: $f_1 = 0.1$, then $f_2 = 0.9 \cdot 0.1 + 0.1 \cdot (0.6 + 0.4 \cdot 0.1) = 0.154$; costs 0.1, 0.254.
"""

# %% exercise="imitation_learning.error_recursion"
def error_recursion(slip, recovery, horizon):
    """Return the expected cost of horizons 1 to `horizon`, [horizon]."""
    ### BEGIN SOLUTION
    off, total, costs = 0.0, 0.0, []
    for _ in range(horizon):
        stays = off * (1 - recovery)  # did not find back
        off = stays + (1 - stays) * slip  # everybody else is on the path, and may slip
        total += off
        costs.append(total)
    return torch.tensor(costs, dtype=torch.float64)
    ### END SOLUTION


# %% [markdown]
r"""
Three ways to the same number. Your recursion; the closed form for no way back,

$$T - \frac{(1 - \epsilon)\big(1 - (1 - \epsilon)^T\big)}{\epsilon} \;\approx\; \epsilon\, \frac{T (T + 1)}{2} \quad \text{while } \epsilon T \ll 1;$$

and the walk as a decision process (unit 01), planned exactly, then simulated.
"""

# %%
from tutorlib.imitation import slip_process, slipping_policy

for steps in (50, 100):
    lost = float(as_tensor(error_recursion(0.01, 0.0, steps))[-1])
    mended = float(as_tensor(error_recursion(0.01, 1.0, steps))[-1])
    closed = steps - 0.99 * (1 - 0.99**steps) / 0.01
    walk = slip_process(recovery=0.0, horizon=steps)
    planned = float(state_distributions(walk, slipping_policy(0.01))[1:, 1].sum())
    runs = sample_trajectories(walk, slipping_policy(0.01), 20_000, None, torch.Generator().manual_seed(1))
    paid = -runs.rewards.sum(-1)
    error = float(paid.std()) / math.sqrt(len(paid))
    print(f"T = {steps:3}: no way back {lost:.3f} (closed form {closed:.3f}, planned {planned:.3f}, "
          f"20,000 walks {float(paid.mean()):.2f} ± {error:.2f}); back at once {mended:.3f}")

# %% [markdown] tags=["slide"]
r"""
## Two theorems

Costs lie in $[0, 1]$ a step; $\epsilon$ is the clone's error rate *in the demonstrator's states*. Then
(Ross and Bagnell 2010; [Thm 2.1])

$$J(\pi) \le J(\pi^E) + T^2 \epsilon \qquad (J \text{: expected total cost}),$$

for at worst all steps after the first error are lost. If errors are measured in the states that the *learner* visits, and
one error, after which the *demonstrator* takes over, adds at most $u$ (Ross, Gordon and Bagnell 2011):

$$J(\pi) \le J(\pi^E) + u\, T \epsilon .$$

The tutorial prints $T \epsilon$ [Thm 2.3]: that is $u = 1$.
"""

# %% [markdown]
r"""
## Play with the way back

The slope on logarithmic axes is the power: 1 for $T$, twice the steps cost 2 times as much; 2 for $T^2$, 4 times as much.

1. Recovery 0: how many times as much do 100 steps cost as 50 at $\epsilon = 0.001$, and at 0.2? Why can it not stay near 4?
2. Now a little recovery, 0.02. At which horizons does it hardly help?
3. Between which two positions of the slider is the cost of 100 steps at $\epsilon = 0.01$ halved?
"""

# %% tags=["hide-input"]
from tutorlib.viz import Picture, Slider, explorer, new_figure, style
from tutorlib.viz.look import series_look


def growth(slip, recovery, horizon):
    """Draw the cost against the horizon, between the two ends of the model."""
    curves = {"no way back": 0.0, f"recovery {recovery:g}": recovery, "back at the next step": 1.0}
    costs = {n: as_tensor(error_recursion(slip, r, horizon)).double() for n, r in curves.items()}
    mine = costs[f"recovery {recovery:g}"]
    ratio = float(mine[horizon // 2 * 2 - 1] / mine[horizon // 2 - 1])
    title = f"{horizon} steps cost {float(mine[-1]):.2f}, {ratio:.1f} times what {horizon // 2} steps cost"
    with style():
        fig, ax = new_figure(title=title)
        for index, (name, cost) in enumerate(costs.items()):
            ax.plot(range(1, horizon + 1), cost, label=name, **(series_look(index) | {"marker": ""}))
        ax.plot([horizon], [float(mine[-1])], "s", color=series_look(1)["color"])
        ax.set(xscale="log", yscale="log", xlabel="horizon T (steps)", ylabel="expected cost (steps off the path)")
        ax.legend()
    ends = "; ".join(f"{name}: {float(cost[-1]):.3g} at {horizon} steps" for name, cost in costs.items())
    return Picture(fig, alt=f"{title}. Cost against horizon, both logarithmic, slip {slip:g}. {ends}.")


explorer(growth, {"slip": Slider(0.001, 0.2, 0.01, label="slip ε", log=True),
                  "recovery": Slider(0.0, 1.0, 0.1, step=0.02, label="recovery b"),
                  "horizon": Slider(10, 400, 100, step=10, label="horizon T", units="steps")})

# %% [markdown] tags=["slide"]
r"""
## Measured: what the clone knows

Is the rope's clone like the walker without a way back, or like the one with? A way back exists: four right strokes (they go
by the names of the leanings; after a wrong one it begins anew). Look at what the clone would do in the river, in which of its
rows there were data, and what more data change.
"""

# %%
seen = torch.zeros(rope.n_states, dtype=torch.bool)
seen[walks.states[:, :-1]] = True
print(f"states in the recordings: {int(seen.sum())} of {rope.n_states}; "
      f"in the river: {int(seen[in_the_river(rope)].sum())} of 4\n")
for state in (1, 2, 36, 39):
    row = ", ".join(f"{name} {p:.2f}" for name, p in zip(rope.action_names, clone_of_walker[state], strict=True))
    print(f"{rope.state_names[state]:<22} {row}   walker: {rope.action_names[int(walker[state].argmax())]}")

doubling = rope_cost(clone_of_walker, 50)
ratio = float(doubling[49] / doubling[24])
outcome = WHO[min(range(4), key=lambda i: abs(math.log(ratio) - math.log((1, 2, 4, 10)[i])))]
print(f"\n25 steps cost {float(doubling[24]):.2f}, 50 steps {float(doubling[49]):.2f}: {ratio:.2f} times as much")
many = sample_trajectories(rope, walker, 400, 25, torch.Generator().manual_seed(0))
more = rope_cost(clone_tabular(rope, many, smoothing=0.1), 50)
print(f"cloned from 400 walks: {float(more[24]):.3f} and {float(more[49]):.3f}, {float(more[49] / more[24]):.2f} times")
sure = float(rope_cost(clone_tabular(rope, walks), 50)[-1])
print(f"cloned from 40 walks without the tenth of a count: 50 steps cost {sure:.2f}")

# %% [markdown]
r"""
In the river the clone guesses: $3 + 9 + 27 + 81 = 120$ strokes on average. The demonstrator *never shows what it never needs*.

All slips come from the tenth of a count, which stands for what a real learner does not fit exactly. Ten times the walks make
slips ten times rarer, but the growth no slower: the walker will not fall in for us. So let the *clone* walk, and ask the
walker: what would you do here?
"""

# %% [markdown] exercise="imitation_learning.dagger_loop"
r"""
**DAgger**, dataset aggregation (Ross, Gordon and Bagnell 2011). Write `dagger_loop(drive, expert, fit, betas)`. The learner
$\hat\pi$ begins uniform; data $D$ begin empty. For each round $i$:

1. drive the mixture $\beta_i\, \pi^E + (1 - \beta_i)\, \hat\pi$: `drive(policy, i)` returns the states visited, `[n]`;
2. label *these* states with the expert's actions;
3. put the pairs behind all earlier ones in $D$;
4. clone: `fit(states, actions)` returns a new $\hat\pi$.

- `expert`: its action in each state, whole numbers, `[states]`; to mix it, make it a table.
- Policies are tables, `[states, actions]`; `fit.n_states` and `fit.n_actions` give the sizes. All inputs but `betas` are tensors.
- `betas`: one $\beta_i$ for each round, a list.
- Return `(policy, states, actions)`: the last $\hat\pi$, and $D$ in order.
"""

# %% exercise="imitation_learning.dagger_loop"
def dagger_loop(drive, expert, fit, betas):
    """Return (learner [states, actions], all states [pairs], all labels [pairs])."""
    ### BEGIN SOLUTION
    teacher = torch.nn.functional.one_hot(expert, fit.n_actions).double()
    learner = torch.full((fit.n_states, fit.n_actions), 1 / fit.n_actions, dtype=torch.float64)
    states = actions = torch.zeros(0, dtype=torch.long)
    for round_, beta in enumerate(betas):
        visited = drive(beta * teacher + (1 - beta) * learner, round_)
        states = torch.cat([states, visited])
        actions = torch.cat([actions, expert[visited]])  # the learner's states, the expert's labels
        learner = fit(states, actions)
    return learner, states, actions
    ### END SOLUTION


# %%
from tutorlib.imitation import action_counts, policy_from_counts

ROUNDS, SEEDS, LONGEST = 20, 20, 200


class Count:
    """Clones by counting, with a tenth of a count for each action, as in the hook."""

    n_states, n_actions = rope.n_states, rope.n_actions

    def __call__(self, states, actions):
        pairs = (as_tensor(column).long() for column in (states, actions))
        return policy_from_counts(action_counts(rope, *pairs), smoothing=0.1)


def learn(seed, betas, world=rope):
    """Return what your loop learns from 20 rounds of 2 walks of 25 steps: 1,000 labels."""
    def drive(policy, round_):
        generator = torch.Generator().manual_seed(1000 * seed + round_)
        return sample_trajectories(world, as_tensor(policy).double(), 2, 25, generator).states[:, :-1].flatten()
    return as_tensor(dagger_loop(drive, walker.argmax(-1), Count(), betas)[0]).double()


PLANS = {"behaviour cloning": [1.0] * ROUNDS, "DAgger": [1.0] + [0.0] * (ROUNDS - 1)}
learners = {name: [learn(seed, betas) for seed in range(SEEDS)] for name, betas in PLANS.items()}

# %% tags=["hide-input"]
at_home = state_distributions(rope, walker, 25)[:-1].mean(0)  # where the demonstrator is
costs, rates = {}, {}
for name, policies in learners.items():
    costs[name] = torch.stack([rope_cost(pi, LONGEST) for pi in policies])  # [seeds, horizons]
    rates[name] = sum(float(at_home @ (1 - (pi * walker).sum(-1))) for pi in policies) / SEEDS
doubled = {name: float(c.mean(0)[49] / c.mean(0)[24]) for name, c in costs.items()}
claim = (f"From 25 to 50 steps the cost of cloning grows {doubled['behaviour cloning']:.1f} times, that of DAgger "
         f"{doubled['DAgger']:.1f} times, at error rates of {rates['behaviour cloning']:.2%} and {rates['DAgger']:.2%}")
T = torch.arange(1, LONGEST + 1)
with style():
    fig, ax = new_figure(title=claim)
    for index, (name, cost) in enumerate(costs.items()):
        look = series_look(index, LONGEST) | {"markevery": [0, 1, 3, 7, 15, 31, 63, 127, 199]}
        ax.plot(T, cost.mean(0), label=f"{name} ({SEEDS} seeds)", **look)
        ax.fill_between(T, cost.quantile(0.1, 0), cost.quantile(0.9, 0), color=look["color"], alpha=0.18, lw=0)
    for power, start, shift in ((2, costs["behaviour cloning"].mean(0)[9], 1.6), (1, costs["DAgger"].mean(0)[9], 0.5)):
        guide = shift * float(start) * (T[9:] / 10) ** power
        ax.plot(T[9:], guide, ":", color="#5a5a5a", marker="", lw=1.6)
        ax.annotate(f"slope {power}", (40, float(guide[30])), xytext=(0, 8 if power == 2 else -14),
                    textcoords="offset points", ha="right" if power == 2 else "left", color="#5a5a5a")
    ax.set(xscale="log", yscale="log", xlabel="horizon T (steps)", ylabel="expected cost (steps in the river)")
    ax.legend(title="lines: means; bands: 10 to 90 % over seeds")
ends = "; ".join(f"{name}: {float(c.mean(0)[24]):.2f} at 25, {float(c.mean(0)[49]):.2f} at 50, "
                 f"{float(c.mean(0)[-1]):.1f} at {LONGEST} steps" for name, c in costs.items())
Picture(fig, alt=f"{claim}. Expected cost against horizon, both logarithmic. {ends}.")

# %% [markdown]
r"""
Both have 1,000 labels of the same expert, and about the same error rate in the demonstrator's states. What differs is
*where* the questions were asked. (The clone's curve bends at the end: a step costs at most 1.)

The guarantee, for the best of many rounds, has three legs: **aggregation** (or another way to do well on *all* rounds, "no
regret"), an **interactive expert**, and **recoverability**, $u$. Saw off the last: a river without a way out.
"""

# %%
from tutorlib.imitation import recoverability

gorge = tightrope(length=12, wind=0.2, way_out=False)
drowned = [learn(seed, PLANS["DAgger"], gorge) for seed in range(5)]
for name, world, found in (("river, four strokes", rope, learners["DAgger"][:5]), ("gorge, no way out", gorge, drowned)):
    grown = torch.stack([rope_cost(pi, 50, world) for pi in found])  # [seeds, horizons]
    times = grown[:, 49] / grown[:, 24]
    print(f"{name:<20} DAgger: 25 steps {float(grown[:, 24].mean()):.2f}, 50 steps {float(grown[:, 49].mean()):.2f}; "
          f"{float(times.min()):.2f} to {float(times.max()):.2f} times as much (5 seeds)")
print("\nu, the most that one slip costs a walker who then follows the demonstrator, T = 50:")
for recovery in (1.0, 0.5, 0.1, 0.0):
    print(f"  a way back found with probability {recovery:<4g} a step: u = {recoverability(recovery, 50):.1f}")

# %% [markdown] tags=["slide"]
r"""
## Break it: a better loss, a worse driver

A car in a valley must rock itself out: push the way it moves. A hand-written demonstrator does that. We record five episodes
and clone it with a small network in two ways, from three seeds each:

- **plain**: the network sees position and speed;
- **with memory**: it also sees the action of the step before. More information can only help?

Then both drive. A return is minus the number of steps; $-200$ means that the car never got out.
"""

# %%
from gymnasium.spaces import Box, Discrete

from tutorlib import imitation
from tutorlib.control import record_demonstrations
from tutorlib.imitation import MOUNTAIN_CAR_EXPERT, agreement, pairs_of, validation_loss

CAR, STARTS = "MountainCar-v0", 3  # push left, nothing, push right; cut at 200 steps; 3 networks each
shown = record_demonstrations(CAR, MOUNTAIN_CAR_EXPERT, episodes=5, seed=0)
fresh = record_demonstrations(CAR, MOUNTAIN_CAR_EXPERT, episodes=20, seed=1)  # never trained on
views = {"plain": lambda demos: demos, "with memory": lambda demos: imitation.with_last_action(demos, 3)}
config = imitation.BCConfig(max_epochs=80, learning_rate=5e-3)  # one episode of five is held out
cars, scores = {}, {}
for name, view in views.items():
    inputs = Box(-10, 10, (view(shown).obs.shape[-1],))
    cars[name] = [imitation.clone_in(inputs, Discrete(3), view(shown), config, seed).policy for seed in range(STARTS)]
    held_out = pairs_of(view(fresh))
    scores[name] = [validation_loss(car, *held_out) for car in cars[name]]
    agrees = [agreement(car, *held_out) for car in cars[name]]
    print(f"{name:<12} on 20 fresh episodes of the demonstrator: loss {min(scores[name]):.3f} to {max(scores[name]):.3f} nats, "
          f"same action in {min(agrees):.1%} to {max(agrees):.1%} of steps")

# %%
from tutorlib.control import evaluate
from tutorlib.imitation import SeesLastAction

drivers = {"demonstrator": [MOUNTAIN_CAR_EXPERT], "plain": cars["plain"],
           "with memory": [SeesLastAction(car, n_actions=3) for car in cars["with memory"]]}
returns = {name: [float(evaluate(CAR, driver, episodes=40, seed=2).mean()) for driver in each]
           for name, each in drivers.items()}
for name, each in returns.items():
    print(f"{name:<13} mean return over 40 episodes: {', '.join(f'{value:.1f}' for value in each)}")

# %% [markdown] tags=["slide"]
r"""
## Your diagnosis

Something is wrong that no held-out episode shows. Before you open the next cell, decide which one you believe, and which
*measurement* would tell:

- **A.** over-fitting: five episodes are too few;
- **B.** a bug in how the last action is fed back when driving;
- **C.** the network found a short cut that works in recordings only.
"""

# %% tags=["hide-input"]
def by_kind(policy, demos):
    """Return agreement where the demonstrator repeats its action, and where it changes it."""
    found = {}
    same = demos.actions[:, 1:] == demos.actions[:, :-1]
    for kind, steps in {"repeats": same, "changes": ~same}.items():
        chosen = steps & demos.mask[:, 1:]
        found[kind] = agreement(policy, demos.obs[:, 1:-1][chosen], demos.actions[:, 1:][chosen])
    return found


from tutorlib.imitation import BangBang
from tutorlib.viz import bars

train_gap = {n: sum(validation_loss(car, *pairs_of(v(shown))) for car in cars[n]) / STARTS for n, v in views.items()}
each = {name: [by_kind(car, view(fresh)) for car in cars[name]] for name, view in views.items()}
kinds = {name: {k: sum(one[k] for one in rows) / STARTS for k in rows[0]} for name, rows in each.items()}
repeats = float((fresh.actions[:, 1:] == fresh.actions[:, :-1])[fresh.mask[:, 1:]].float().mean())
print(f"A. loss on the training episodes: plain {train_gap['plain']:.3f}, with memory {train_gap['with memory']:.3f}")
deaf = BangBang((0.0, 1.0, 0.0, 0.0, 0.0), low=0, high=2)  # the demonstrator: gets the last action, ignores it
print(f"B. the demonstrator, driven through the same feedback: {float(evaluate(CAR, SeesLastAction(deaf, 3), 40, 2).mean()):.1f}")
print(f"C. the demonstrator repeats its last action in {repeats:.1%} of steps")
bars({name: [kind["repeats"], kind["changes"]] for name, kind in kinds.items()},
     groups=["where it repeats its action", "where it changes it"],
     ylabel="same action as the demonstrator (mean of 3)",
     title=f"Where the demonstrator changes its mind, the clone with memory follows in {kinds['with memory']['changes']:.0%} "
           f"of steps, the plain one in {kinds['plain']['changes']:.0%}")

# %% [markdown] tags=["slide"]
r"""
## Diagnosis: a copycat

It is C. Copying the last action explains the recordings, where it is the *demonstrator's*. When driving it is the clone's own, and
the clone agrees with itself for ever.

Not A: training and held-out loss are alike. Not B: the demonstrator drives well through that feedback. De Haan et al. (2019) call
it *causal confusion*; Spencer et al. (2021) answer: this unit's shift of states, fed back. Cures: leave the clue out, or
ask in the clone's states.
"""

# %% [markdown] tags=["slide"]
r"""
## Does it scale?

A pole on a cart, four real numbers, a network, an expert that answers exactly. Three students, 100 labels each:

- the first 100 steps of *one* episode;
- 20 states from each of *five* episodes of the expert;
- **DAgger**: five rounds, 20 states from each, the first driven by the expert.

All three run one loop: cloning is its first round. A fallen pole costs 1 for each step left to the horizon.
"""

# %%
from tutorlib.imitation import CARTPOLE_EXPERT, BCConfig, ControlDaggerConfig, dagger_control
from tutorlib.viz import learning_curves

bc = BCConfig(max_epochs=60, learning_rate=1e-2, batch_size=32, validation_fraction=0)
STUDENTS = {
    "one episode": ControlDaggerConfig(rounds=1, labels=100, max_steps=100, bc=bc),
    "five episodes": ControlDaggerConfig(rounds=1, episodes=5, labels=100, bc=bc),
    "DAgger": ControlDaggerConfig(rounds=5, labels=20, bc=bc)}
horizons = torch.arange(25, 501, 25)
falls = {name: [] for name in STUDENTS}
for seed in range(5):
    for name, config in STUDENTS.items():
        student = dagger_control("CartPole-v1", CARTPOLE_EXPERT, config, seed).policy
        lasted = record_demonstrations("CartPole-v1", student, 40, seed=10_000 + seed).lengths()
        falls[name].append((horizons - lasted[:, None]).clamp(min=0).double().mean(0))

# %% tags=["hide-input"]
ends = {name: float(torch.stack(runs).mean(0)[-1]) for name, runs in falls.items()}
learning_curves({name: torch.stack(runs) for name, runs in falls.items()}, horizons, band=(0, 100), higher_is_better=False,
                xlabel="horizon T (steps)", ylabel="cost (steps after the fall)",
                title=f"100 labels each, T = 500: one episode costs {ends['one episode']:.0f} steps, "
                      f"five episodes {ends['five episodes']:.0f}, DAgger {ends['DAgger']:.0f}")

# %% [markdown]
r"""
Two lessons. *Where* labels come from matters more than how many: neighbouring steps of one episode say nearly the same. And
coverage by the expert alone goes a long way: this cart forgives, and $T^2$ is a worst case, not a law.

Interaction has a price that the count of labels hides: the learner has to fall, for real, to be taught about falling, and
the expert has to answer about places where it would never be.
"""

# %% [markdown] tags=["slide"]
r"""
## Which problem do you have?

[Table 3] sorts settings by what is *given*. ✓ is yes, – is *no*. *External*: it answers for any new action, as a simulator or a
rule of the game does. (People who compared a fixed set of answers are data.)

| setting | external dynamics | external reward | learned reward | data |
|---|---|---|---|---|
| RL | ✓ | ✓ | – | – |
| Offline-RL | – | – | ✓ or – | ✓ |
| Imitation | ✓ | – | – | ✓ |
| Inverse-RL | ✓ | – | ✓ | ✓ |
| Offline-IRL | – | – | ✓ | ✓ |
| LfD | ✓ | ✓ | – | ✓ |
| Preference-based RL | ✓ | – | ✓ | ✓ (preferences) |
"""

# %% [markdown]
r"""
**Offline** means: no trying out. Only logged steps are at hand, and what *would* have happened after another action is not
among them. An offline learner can be no surer than its data reach.

Cloning uses the data column alone. That is why the tutorial lists BC among the solvers of four rows, although it is the right
tool in few. LfD is learning *from* demonstrations: a reward exists, they only help to find it.
"""

# %% [markdown] exercise="imitation_learning.classify_setting"
r"""
Make the table a tool. Write `classify_setting(dynamics, external_reward, learned_reward, data)`.

- Four booleans, one for each column; `data` is true for behaviour *or* preferences.
- Return the names of *all* rows that fit, as a list; an empty list when none does. "✓ or –" fits both.

`classify_setting(True, True, False, False)` is `["RL"]`. Of the sixteen combinations only six have a row at all, and two of
these have two rows: find them, and ask yourself what a fifth question would have to be.
"""

# %% exercise="imitation_learning.classify_setting"
def classify_setting(dynamics, external_reward, learned_reward, data):
    """Return the names of the rows of Table 3 that fit four booleans, a list."""
    ### BEGIN SOLUTION
    table = {
        "RL": (True, True, False, False),
        "Offline-RL": (False, False, None, True),  # None: either
        "Imitation": (True, False, False, True),
        "Inverse-RL": (True, False, True, True),
        "Offline-IRL": (False, False, True, True),
        "LfD": (True, True, False, True),
        "Preference-based RL": (True, False, True, True),
    }
    given = (dynamics, external_reward, learned_reward, data)
    return [name for name, row in table.items()
            if all(want is None or want == got for want, got in zip(row, given, strict=True))]
    ### END SOLUTION


# %%
CASES = {  # dynamics, external reward, learned reward, data
    "a chess engine that plays itself": (True, True, False, False),
    "this unit's rope, DAgger included": (True, False, False, True),
    "a chatbot tuned on people's comparisons (RLHF)": (True, False, True, True),
    "logs of a clinic, outcomes recorded": (False, False, False, True),
    "logs of a clinic, reward to be inferred": (False, False, True, True),
    "a Go program started from human games": (True, True, False, True),
    "nothing but a simulator": (True, False, False, False)}
for case, given in CASES.items():
    found = classify_setting(*given)
    found = [found] if isinstance(found, str) else [] if found is None else list(found)
    print(f"{case:<47} {' or '.join(sorted(found)) or 'no row: nothing to learn from'}")

# %% [markdown]
r"""
Four questions leave two pairs undecided, and hide one gap:

- *Inverse-RL* or *Preference-based RL*? Ask for the **kind** of data: actions, or comparisons?
- *Offline-RL* or *Offline-IRL*, when a reward is learned? Ask whether rewards were **logged** with the data.
- *Offline imitation*, no dynamics, no reward at all, has no row; its answers lead to Offline-RL. Behaviour cloning is exactly
  this case. So is fine-tuning a language model on good answers.
"""

# %% [markdown] tags=["slide"]
r"""
## The bridge: writing is walking

| here | in a language model (unit 10) |
|---|---|
| state $s$ | prompt and tokens so far |
| action $a$ | the next token |
| demonstrations | good answers |
| `bc_loss`, `mask` | supervised fine-tuning (SFT), masks |
| driving | generating |
| compounding error | **exposure bias** |

SFT is behaviour cloning: trained on human prefixes, it continues its own.
"""

# %%
from tutorlib.mdp import TabularMDP

text = ("the sky is blue . the sky is grey and the rain is cold . the rain is grey . "
        "the sun is warm and the sky is blue .").split()
words = sorted(set(text))
ids = [words.index(word) for word in text]
append = torch.eye(len(words), dtype=torch.float64).expand(len(words), -1, -1)  # the token is the next state
language = TabularMDP.from_dense(append, torch.zeros(len(words), len(words), dtype=torch.float64),
                                 state_names=words, action_names=words)
model = clone_tabular(language, [(ids[:-1], ids[1:])], smoothing=0.01)  # a bigram model: BC by counting
known = torch.zeros(len(words), len(words), dtype=torch.bool)
known[ids[:-1], ids[1:]] = True  # pairs of words that somebody wrote
written = sample_trajectories(language, model, 4000, 40, torch.Generator().manual_seed(0)).states
bad = ~known[written[:, :-1], written[:, 1:]]
print(f"a step leaves what was written with probability {float(bad.float().mean()):.1%}")
for length in (5, 10, 20, 40):
    clean = float((~bad[:, :length]).all(-1).float().mean())
    print(f"answers of {length:2} tokens without such a step: {clean:.0%}")
print("\nexpected cost of T tokens, one slip in a thousand (tokens spent off the path)")
for recovery, kind in ((0.0, "no way back"), (0.01, "back after about 100 tokens"), (0.5, "after 2 tokens")):
    cost = as_tensor(error_recursion(0.001, recovery, 2000)).double()
    print(f"  {kind:<28}" + "".join(f"  T = {T}: {float(cost[T - 1]):7.2f}" for T in (500, 1000, 2000)))

# %% [markdown]
r"""
Is every long answer doomed? About $(1 - \epsilon)^T$ is the chance of no slip *at all*: this bigram model's slips do not
compound. What one costs depends on the way back: a typo is passed over, a wrong step in a proof is not.

And $T^2$ is what *can* happen. With a deterministic demonstrator within the class, one policy for all steps and a bounded
total cost, cloning needs no more demonstrations for longer horizons (Foster, Block and Misra 2024).
"""

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. Behaviour cloning is maximum likelihood: forward KL, in the demonstrator's states.
2. One error rate, two growths: without a way back the cost grows as $T^2$, with one as $T$.
3. The demonstrator never shows what it never needs; held-out episodes are its own.
4. DAgger asks in the learner's states. It needs aggregation, an expert at hand, errors that can be undone.
5. Ask what is given: dynamics, reward, data.
6. SFT is behaviour cloning; exposure bias is its price.
"""

# %%
recall("imitation_learning.doubling", outcome)

# %%
quiz("imitation_learning")

# %% [markdown]
r"""
## Go further

- Pomerleau (1991), Neural Computation 3: a cloned driver, taught with shifted views of its road.
- Ross, Gordon and Bagnell (2011), [arXiv 1011.0686](https://arxiv.org/abs/1011.0686): DAgger.
- Spencer et al. (2021), [arXiv 2102.02872](https://arxiv.org/abs/2102.02872): easy, Goldilocks, hard; and on the copycat.
- de Haan et al. (2019), [arXiv 1905.11979](https://arxiv.org/abs/1905.11979): causal confusion, with this unit's car.
- Foster, Block and Misra (2024), [arXiv 2407.15007](https://arxiv.org/abs/2407.15007): is cloning all you need?

**Open question.** For a language model, DAgger's expert would have to continue the model's mistakes. Who writes these labels,
and how many are needed?
"""
