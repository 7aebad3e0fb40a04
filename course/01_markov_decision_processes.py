# %% [markdown] tags=["card", "slide"]
r"""
# Markov decision processes

A robot on ice, a chess program and a language model share one problem: act, get paid, land somewhere new,
act again. This unit writes it down and, while it fits into a table, solves it exactly.

**Afterwards you can**

- state a decision problem,
- find what a policy is worth, and the best one in two ways,
- say where a policy spends its time, and read its return off,
- name the facts that decide which algorithm fits a task.
"""

# %% [markdown] tags=["slide"]
r"""
## A walk on the ice

A robot at S wants to reach G. The walk ends there, or in a hole X. Only G pays: 1 on arrival. The robot is patient: a
reward one step later counts 99 %.

The ice is slippery. One time in three the robot moves as intended; one time in three each, it slides to one or the other
side of that. At the border it stays put.

This is Gymnasium's FrozenLake.
"""

# %%
import gymnasium
import numpy as np
import torch
from IPython.display import display

from tutorlib import mdp as library
from tutorlib import predict, quiz, recall
from tutorlib.viz import gridworld

torch.set_num_threads(1)  # today's tables are tiny: more threads would only wait for each other
MAP = """
S...
.X.X
...X
X..G
"""
lake = library.GridWorld(MAP, slip=2 / 3, rewards={"X": 0.0}, discount=0.99)
table = library.TabularMDP.from_gymnasium(gymnasium.make("FrozenLake-v1"), discount=0.99)
# Gymnasium lists the actions as left, down, right, up: ours, the other way round
same = torch.allclose(lake.mdp.transition_matrix, table.transition_matrix.flip(1))
print("The drawn map is Gymnasium's FrozenLake:", same)
gridworld(lake, title="Two moves in three go sideways, and four holes wait", show_rewards=True)

# %%
from tutorlib.viz import roadmap

STEPS = ("up, into the border", "right", "down", "left, into the border")  # as lake's actions
display(predict("markov_decision_processes.first_step", "Which first step from S is the best?", STEPS))
roadmap("01")

# %% [markdown] tags=["slide"]
r"""
## The smallest case: a pond

Getting home pays 6, once; walking round the pond costs 5. Stepping on the ice costs ½; there, each attempt to cross
succeeds half the time.

| in | action | leads to | reward $r(s,a)$ |
|---|---|---|---|
| bank | walk | home | 6 − 5 = 1 |
| bank | cross | ice | −½ |
| ice | walk | bank | 0 |
| ice | cross | home ½, ice ½ | ½ · 6 = 3 |

Home is **terminal**. A reward is an average over where one lands.
"""

# %% [markdown]
r"""
So the picture below shows 3 on both arrows of *cross*. States, actions, chances $P(s'|s,a)$ and rewards $r(s,a)$ that
depend on nothing else, a start and a discount: a **Markov decision process**.
"""

# %%
from tutorlib.viz import mdp_graph

P = torch.zeros(3, 2, 3, dtype=torch.float64)       # [states, actions, next states]
P[0, 0, 2] = P[0, 1, 1] = P[1, 0, 0] = 1.0          # moves that are certain
P[1, 1] = torch.tensor([0.0, 0.5, 0.5])             # from the ice: stay there, or get home
P[2, :, 2] = 1.0                                    # the end leads only to itself
reward = torch.tensor([[1.0, -0.5], [0.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
pond = library.TabularMDP.from_dense(
    P, reward, initial_state_dist=[1.0, 0.0, 0.0], discount=0.5, terminal=[False, False, True],
    state_names=("bank", "ice", "home"), action_names=("walk", "cross"))
mdp_graph(pond, title="The pond: three states, two actions, one coin",
          positions={"bank": (0, 0), "ice": (2.2, 1.1), "home": (4.4, 0)})

# %% [markdown] tags=["slide"]
r"""
## What is a place worth?

A reward one step later counts $\gamma$ times as much; here $\gamma = \tfrac12$, to keep the sums short. The **value** of
a state is all the reward one can expect from it, so discounted, acting well. Guess 2 for bank and ice, and look one step
ahead:

- bank, walk: $1 + \gamma \cdot 0 = 1$: nothing follows home, so its value is 0
- bank, cross: $-\tfrac12 + \gamma \cdot 2 = 0.5$
- ice, walk: $0 + \gamma \cdot 2 = 1$
- ice, cross: $3 + \gamma\,(\tfrac12 \cdot 0 + \tfrac12 \cdot 2) = 3.5$

Take the better action of each: 1 and 3.5.
"""

# %% [markdown]
r"""
In what sense is 1 and 3.5 a better guess than 2 and 2? The true values will turn out to be 1.5 and 4: the *largest*
error has shrunk from 2 to ½.
"""

# %% [markdown] exercise="markov_decision_processes.bellman_backup"
r"""
The same as a formula is the **Bellman backup** (Bellman 1957; Sutton and Barto 2018, eq. 4.10), with $Q(s,a)$ in the bracket:

$$(BV)(s) = \max_a \Big[\, r(s,a) + \gamma \sum_{s'} P(s' \mid s, a)\, V(s') \Big]$$

Write `bellman_backup(transition_matrix, reward, values, discount, terminal)`, for all states at once.

- `transition_matrix[s, a, t]` is $P(t \mid s,a)$: `[states, actions, states]`
- `reward` is $r(s,a)$: `[states, actions]`; `values` is the guess $V$: `[states]`; `discount` is $\gamma$
- `terminal`: bools, `[states]`. A terminal state is worth 0, **whatever the guess says**; it leads to itself and pays
  nothing.
- Return the new values, `[states]`. Leave the inputs as they are.

Inputs are torch tensors (float64), here and below; return a tensor or a numpy array. For the pond with the guess `[2, 2, 5]` the answer is `[1, 3.5, 0]`: the sums above.
"""

# %% exercise="markov_decision_processes.bellman_backup"
def bellman_backup(transition_matrix, reward, values, discount, terminal):
    """Return the backed-up values [states] from T [states, actions, states] and values [states]."""
    ### BEGIN SOLUTION
    future = torch.where(terminal, 0.0, values)                  # [states]
    q = reward + discount * transition_matrix @ future           # [states, actions]
    return q.max(dim=1).values                                   # [states]
    ### END SOLUTION


# %%
def value_iteration(mdp, tolerance=1e-8):
    """Apply your backup until no value moves by more than tolerance; return values and moves."""
    transition_matrix = mdp.transition_matrix                    # dense: [states, actions, states]
    values, moves = torch.zeros(mdp.n_states, dtype=torch.float64), []
    for _ in range(5_000):
        new = torch.as_tensor(bellman_backup(
            transition_matrix, mdp.reward, values, mdp.discount, mdp.terminal)).double()
        moves.append(float((new - values).abs().max()))
        values = new
        if moves[-1] <= tolerance:
            break
    return values, moves


for tolerance in (1.0, 0.5, 0.1, 0.01, 1e-8):
    values, moves = value_iteration(pond, tolerance)
    print(f"{len(moves):2} sweeps: bank {values[0]:.6f}, ice {values[1]:.6f}")

# %% [markdown] tags=["slide"]
r"""
## Why it settles, and when to stop

The backup is a **contraction**: it brings any two guesses closer by the factor $\gamma$, in the largest difference,

$$\| BV - BW \|_\infty \le \gamma\, \| V - W \|_\infty .$$

So one guess $V^*$ stays put, and the others are drawn to it: **value iteration** (Puterman 1994, section 6.3). Sweep $k$
changes values by at most $\gamma^k$ times the first change. A small change $\delta$ is no small error, though; many of
one sign may follow. What is promised:

$$\| V_k - V^* \|_\infty \le \frac{\gamma}{1-\gamma}\, \delta .$$
"""

# %% tags=["hide-input"]
from tutorlib.viz import COLOURS, Picture, new_figure, style

changes, bounds = {}, {}                                         # discount: one number per sweep
for g in (0.8, 0.95, 0.99):
    _, moves = value_iteration(lake.mdp.replace(discount=g), tolerance=1e-12)
    changes[g], bounds[g] = np.array(moves), moves[0] * g ** np.arange(len(moves))
    print(f"discount {g}: {len(moves)} sweeps; number 50 changes a value by {moves[50]:.1e}, "
          f"the bound allows {bounds[g][50]:.1e}")
kept = all(np.all(m <= bounds[g] * (1 + 1e-9) + 1e-15) for g, m in changes.items())
title = f"{'No sweep changes' if kept else 'Some sweep changes'} a value by more than the contraction allows"
with style():
    fig, ax = new_figure(title=title)
    for g, colour, marker in zip(changes, COLOURS, "os^", strict=False):
        k, look = np.arange(len(changes[g])), {"color": colour, "marker": marker}
        look["markevery"] = len(k) // 8
        ax.semilogy(k, changes[g], linestyle="-", label=f"γ = {g}", **look)
        ax.semilogy(k, bounds[g], linestyle="--", linewidth=1.6, markerfacecolor="white",
                    label=f"bound: first change × {g}ᵏ", **look)
    ax.set(xlabel="sweep k", ylabel="largest change of a value", xlim=(0, 400), ylim=(1e-12, 1))
    fig.legend(loc="outside lower left", ncols=3)
words = [f"At discount {g} the change falls from {m[0]:.2g} to {m[80]:.1e} in 80 sweeps, where "
         f"the bound is {bounds[g][80]:.1e}." for g, m in changes.items()]
Picture(fig, alt=f"{title}. Line chart, logarithmic, of the largest change of a value against the "
                 f"sweep, three discounts, each with its dashed bound. {' '.join(words)}")

# %%
exact, _ = value_iteration(lake.mdp, tolerance=1e-12)
for tolerance in (1e-2, 1e-4, 1e-6):
    early, moves = value_iteration(lake.mdp, tolerance)
    promised = lake.mdp.discount / (1 - lake.mdp.discount) * moves[-1]
    error = float((early - exact).abs().max())
    print(f"change below {tolerance:g} after {len(moves):3} sweeps: S is worth {early[0]:.3f}, "
          f"largest error {error:.2g} (promised: at most {promised:.2g})")

# %% [markdown] tags=["slide"]
r"""
## What a given policy is worth

Fix a **policy** $\pi(a \mid s)$, the chance of each action in each state, and the maximum is gone. Always crossing the pond:

- $V(\text{ice}) = 3 + \gamma \cdot \tfrac12\, V(\text{ice})$; with $\gamma = \tfrac12$: $\tfrac34\, V(\text{ice}) = 3$,
  so $V(\text{ice}) = 4$
- $V(\text{bank}) = -\tfrac12 + \gamma \cdot V(\text{ice}) = -\tfrac12 + \tfrac12 \cdot 4 = 1.5$

Linear equations, one per state: with $P_\pi(s, s') = \sum_a \pi(a|s) P(s'|s,a)$ and
$r_\pi(s) = \sum_a \pi(a|s)\, r(s,a)$,

$$V = r_\pi + \gamma P_\pi V \quad\Longleftrightarrow\quad (I - \gamma P_\pi)\, V = r_\pi .$$
"""

# %% [markdown] exercise="markov_decision_processes.policy_evaluation"
r"""
Write `policy_evaluation(transition_matrix, reward, policy, discount)`: solve those equations.

- `policy`: probabilities of the actions, `[states, actions]`; each row sums to 1.
- Return the values of the policy, `[states]`.

Terminal states need no care here: they lead to themselves and pay nothing, so their equation gives 0. For the pond with
$\pi = $ `[[.5, .5], [0, 1], [1, 0]]`, that is a coin at the bank and crossing on the ice, the answer is
`[1.25, 4, 0]`.
"""

# %% exercise="markov_decision_processes.policy_evaluation"
def policy_evaluation(transition_matrix, reward, policy, discount):
    """Return the values [states] of a policy [states, actions]."""
    ### BEGIN SOLUTION
    step = torch.einsum("sa,sat->st", policy, transition_matrix)     # P of the policy
    paid = (policy * reward).sum(dim=1)                              # r of the policy, [states]
    identity = torch.eye(len(paid), dtype=paid.dtype)
    return torch.linalg.solve(identity - discount * step, paid)
    ### END SOLUTION


# %% [markdown] exercise="markov_decision_processes.greedy_policy"
r"""
Given values of *any* policy, acting **greedily** on them, one step ahead, is at least as good in every state: the policy
improvement theorem (Sutton and Barto 2018, section 4.2).

Write `greedy_policy(transition_matrix, reward, values, discount, terminal)`. It takes the same arguments as your backup,
and asks which action was best rather than how good it was.

- Return one-hot rows, `[states, actions]`, as floats: 1 for the best action, 0 elsewhere; the first action on a tie.

For the pond with the guess `[7, 3.2, 5]` and discount ½: walking from the bank is worth 1, crossing
$-\tfrac12 + \tfrac12 \cdot 3.2 = 1.1$; so row 0 is `[0, 1]`.
"""

# %% exercise="markov_decision_processes.greedy_policy"
def greedy_policy(transition_matrix, reward, values, discount, terminal):
    """Return a one-hot policy [states, actions], greedy for values [states]."""
    ### BEGIN SOLUTION
    future = torch.where(terminal, 0.0, values)                      # [states]
    q = reward + discount * transition_matrix @ future               # [states, actions]
    return torch.nn.functional.one_hot(q.argmax(dim=1), q.shape[1]).to(q.dtype)
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## Policy iteration: evaluate, improve, repeat

Your functions make a second algorithm (Howard 1960). There are finitely many deterministic policies, and each round
finds a better one or stops; so it ends, with the optimum.

A round solves a linear system, which costs more than a sweep. How many rounds replace hundreds of sweeps? And is the
result the best there is? The second cell below tries *every* policy of a smaller lake.
"""

# %%
def policy_iteration(mdp):
    """Evaluate and improve until nothing improves; return policy, values and rounds."""
    T, policy, rounds = mdp.transition_matrix, library.uniform_policy(mdp), 0
    while True:
        rounds += 1
        values = torch.as_tensor(policy_evaluation(T, mdp.reward, policy, mdp.discount)).double()
        ahead = (T, mdp.reward, values, mdp.discount, mdp.terminal)
        gain = float((torch.as_tensor(bellman_backup(*ahead)) - values).max())
        if gain < 1e-9 or rounds == 50:                              # no action is any better
            return policy, values, rounds
        policy = torch.as_tensor(greedy_policy(*ahead)).double()


print("discount   sweeps of value iteration   rounds of policy iteration")
for discount in (0.5, 0.9, 0.99, 0.999):
    slower = lake.mdp.replace(discount=discount)
    values, moves = value_iteration(slower)
    _, _, rounds = policy_iteration(slower)
    print(f"{discount:<8} {len(moves):>15} {rounds:>28}")

# %%
from itertools import product

small = library.GridWorld("S..\n.X.\n..G", slip=2 / 3, rewards={"X": 0.0}, discount=0.99).mdp
acting = (~small.terminal).nonzero().flatten()                       # the states with a choice
rules = torch.tensor(list(product(range(4), repeat=len(acting))))    # every deterministic policy
P, r = small.transition_matrix[acting], small.reward[acting]
rows = torch.arange(len(acting))
chains = P[rows, rules][:, :, acting]                                # [policies, states, states]
paid = r[rows, rules].unsqueeze(-1)                                  # [policies, states, 1]
identity = torch.eye(len(acting), dtype=torch.float64)
worth = torch.linalg.solve(identity - small.discount * chains, paid).squeeze(-1)
champion = worth.max(dim=0).values                                   # best of each state, apart
everywhere = int((worth >= champion - 1e-9).all(dim=1).sum())
tie = " (a tie)" * (everywhere > 1)
gap = float((policy_iteration(small)[1][acting] - champion).abs().max())
print(f"{len(rules)} policies of a 3 by 3 lake; {everywhere} best in every state at once{tie};")
print(f"policy iteration misses that optimum by {gap:.1e}")

# %% tags=["slide"]
best, found, _ = policy_iteration(lake.mdp)
q = library.q_values(lake.mdp, found)
first = STEPS[int(best[0].argmax())]
print("From S:", ", ".join(f"{name} {worth:.3f}" for name, worth in
                           zip(lake.mdp.action_names, q[0].tolist(), strict=True)))
for gamma in (0.5, 0.8, 0.9, 0.99):                                  # patience is a number
    *others, left = library.value_iteration(lake.mdp.replace(discount=gamma)).q_values[0].tolist()
    print(f"at discount {gamma}: left is worth {left:.4f}, the best other step {max(others):.4f}")
holes = lake.mdp.terminal & (lake.cell_rewards == 0)
risk = (best * (lake.mdp.transition_matrix @ holes.double())).sum(dim=1)    # of the next step
print("The next step can end in a hole from:", [lake.cell_of(s) for s in range(16)
                                                if risk[s] > 0 and not holes[s]])
assert torch.allclose(found, library.value_iteration(table).values, atol=1e-6)  # Gymnasium's table
found = found.masked_fill(lake.mdp.terminal, 0.0)                   # the solver leaves 1e-15 there
gridworld(lake, found, best, title=f"The best first step is {first}",
          label="value (discounted reward)")

# %% [markdown] tags=["slide"]
r"""
## Why left?

Whoever chooses a move chooses its two slips as well. Left from S can only stay, or slide down: never right, towards the
cell above a hole, which is worth less. Beside holes, too, the arrows point away, so that both slips are harmless; only
between two holes is there no safe move.

The robot can afford to bump and wait: at $\gamma = 0.99$ a lost step costs 1 %. An impatient one goes another way, as the
lines above show.
"""

# %% [markdown] tags=["slide"]
r"""
## Where does the time go?

Always crossing, from the bank, how much discounted time $d(s)$ falls on each state?

- $d(\text{bank}) = 1$, only at the start
- $d(\text{ice}) = \gamma \cdot 1 \cdot d(\text{bank}) + \gamma \cdot \tfrac12\, d(\text{ice})$; with
  $\gamma = \tfrac12$, $d(\text{ice}) = \tfrac23$
- $d(\text{home}) = \gamma \cdot \tfrac12\, d(\text{ice}) + \gamma \cdot 1 \cdot d(\text{home})$, so
  $d(\text{home}) = \tfrac13$

Together 2, which is $1/(1-\gamma)$. Times the rewards: $1 \cdot (-\tfrac12) + \tfrac23 \cdot 3 = 1.5$: the value of the
bank again.

"""

# %% [markdown] tags=["slide"]
r"""
## Occupancy and return

Let $s_t, a_t$ be the state and action at step $t = 0, 1, \dots$ The **return** is $\sum_t \gamma^t\, r(s_t, a_t)$;
$J(\pi)$ is its expectation from the start. The **occupancy measure** counts discounted time on states and actions:

$$\rho_\pi(s,a) = \sum_t \gamma^t\, P(s_t = s, a_t = a), \qquad J(\pi) = \sum_{s,a} \rho_\pi(s,a)\, r(s,a)$$

Above, $d(s) = \sum_a \rho_\pi(s,a)$.
"""

# %% [markdown] exercise="markov_decision_processes.occupancy_measure"
r"""
Write `occupancy_measure(transition_matrix, policy, initial_state_dist, discount)`, which is $\rho_\pi$.

What flows into a state is what starts there plus what arrives, discounted once:
$d(s') = \mu(s') + \gamma \sum_s P_\pi(s, s')\, d(s)$. Then each state's share is divided among its actions.

- `initial_state_dist`: $\mu$, where episodes begin, `[states]`.
- Return $\rho$, `[states, actions]`, not normalised. Terminal states count for ever, as states that lead to themselves.

For the pond, from the bank, with the coin of exercise 2: `[[.5, .5], [0, .333], [.667, 0]]`.
"""

# %% exercise="markov_decision_processes.occupancy_measure"
def occupancy_measure(transition_matrix, policy, initial_state_dist, discount):
    """Return discounted expected visits [states, actions], which sum to 1 / (1 - discount)."""
    ### BEGIN SOLUTION
    step = torch.einsum("sa,sat->st", policy, transition_matrix)     # from s to t
    identity = torch.eye(len(step), dtype=step.dtype)
    visits = torch.linalg.solve(identity - discount * step.T, initial_state_dist)   # [states]
    return visits[:, None] * policy
    ### END SOLUTION


# %%
from tutorlib.viz import Panel, gridworld_panels

route = "v>>v" "v>v>" ">vv>" ">>>>"                                # row by row: the shortest way
choice = torch.tensor(["^>v<".index(arrow) for arrow in route])     # up, right, down, left
shortest = torch.eye(4, dtype=torch.float64)[choice]                # one-hot: [states, actions]
T, start, panels = lake.mdp.transition_matrix, lake.mdp.initial_state_dist, []
for name, policy in (("shortest route", shortest), ("optimal", best)):
    rho = torch.as_tensor(occupancy_measure(T, policy, start, lake.mdp.discount)).double()
    value = torch.as_tensor(policy_evaluation(T, lake.mdp.reward, policy, lake.mdp.discount))[0]
    earned = float((rho * lake.mdp.reward).sum())
    visits = rho.sum(dim=1).masked_fill(lake.mdp.terminal, 0.0)      # time spent walking
    print(f"{name:14}  sum of rho {float(rho.sum()):.6f}   <rho, r> {earned:.6f}   V(S) {value:.6f}")
    panels.append(Panel(lake, visits, policy, f"{name}: return {earned:.2f}"))
times = [float(torch.as_tensor(panel.values).sum()) for panel in panels]
gridworld_panels(panels, label="occupancy before the end (discounted steps)",
                 title=f"The optimal policy stays on the ice {times[1] / times[0]:.1f} times as much discounted time")

# %% [markdown]
r"""
## Does it scale? And without a table?

A dense table has $S \times A \times S$ numbers, nearly all zero. The package stores only the next states that can occur;
its functions and yours must agree.

A learner gets no table. It meets an **environment** step by step, and averages what it earns: unit 02 lives with that
noise. `MDPEnv` makes one, in Gymnasium's form, of any table. (Its reward is the average $r(s,a)$; the walks below are
paid on arrival.)
"""

# %%
import time

theirs = library.value_iteration(lake.mdp)
print("values agree:   ", torch.allclose(theirs.values, found, atol=1e-6))
print("occupancy agrees:", torch.allclose(library.occupancy_measure(lake.mdp, best), rho))
print("\n  states   dense numbers   stored numbers   one sweep (ms)")
for side in (8, 32, 128, 256):
    rows = ["S" + "." * (side - 1)] + ["." * side] * (side - 2) + ["." * (side - 1) + "G"]
    big = library.GridWorld("\n".join(rows), slip=0.2).mdp
    values = torch.zeros(big.n_states, dtype=torch.float64)
    begin = time.perf_counter()
    for _ in range(3):
        values = library.bellman_backup(big, values)
    spent = (time.perf_counter() - begin) / 3 * 1000
    print(f"{big.n_states:8,} {big.n_states**2 * 4:15,} {big.probabilities.numel():16,} {spent:16.2f}")

# %%
from gymnasium.utils.env_checker import check_env

from tutorlib.viz import learning_curves

env = library.MDPEnv(lake.mdp, max_steps=400)
check_env(env, skip_render_check=True)                              # Gymnasium's own examination
state, _ = env.reset(seed=0)
following, earned, terminated, truncated, _ = env.step(int(best[state].argmax()))
print(f"one step: from {lake.cell_of(state)} to {lake.cell_of(following)}, reward {earned:g}")
seeds, episodes = 20, 200
walks = library.sample_trajectories(lake.mdp, best, seeds * episodes, horizon=400,
                                    generator=torch.Generator().manual_seed(0))
paid = lake.cell_rewards[walks.states[:, 1:]] * walks.mask           # on arrival: [walks, steps]
returns = paid @ lake.mdp.discount ** torch.arange(400, dtype=torch.float64)
running = returns.view(seeds, episodes).cumsum(1) / torch.arange(1, episodes + 1)
spread = float(running[:, -1].std())
learning_curves({"average so far": running}, np.arange(1, episodes + 1),
                title=f"After {episodes} episodes the average is still off by about {spread:.2f}",
                xlabel="episodes", ylabel="return (discounted)", target=float(found[0]),
                target_label="exact, by one linear solve")

# %% [markdown] tags=["slide"]
r"""
## Play: you set the reward

Paint rewards; the optimal policy answers at once (temperature stays 0):

1. Take **slip** to 0: which arrow in the top row turns round, and why?
2. Slip 0.2 again. Lower the **discount**: what becomes of the values, and at 0 of the arrows?
3. Discount 0.99 again. Paint a small reward below the start, on (1, 0). How small still keeps the robot from ever reaching G?
4. Make it jump into the pit, without touching X.
"""

# %%
from tutorlib.viz import GridPainter

yard = library.GridWorld("S..X\n.#..\n...G", slip=0.2, step_reward=-0.05, discount=0.99)
GridPainter(yard)

# %% [markdown] tags=["slide"]
r"""
## Break it: the robot that jumped

A designer wants the robot in that yard to hurry, and charges 2 in place of 0.05 for every step that ends neither in
X nor in G. The robot jumps into the pit, which itself pays −1.

What is wrong? Decide before you run the next cell: the discount, the solver, the slip, or the reward?
"""

# %%
panels, ends = [], []
for cost in (0.05, 0.5, 2.0):
    world = library.GridWorld("S..X\n.#..\n...G", slip=0.2, step_reward=-cost, discount=0.99)
    rule, worth, _ = policy_iteration(world.mdp)
    final = library.state_distributions(world.mdp, rule, horizon=300)[-1]
    ends.append((float(final[world.state_of(0, 3)]), float(final[world.state_of(2, 3)])))
    panels.append(Panel(world, worth, rule, f"{cost:g} a step: pit {ends[-1][0]:.0%}"))
gridworld_panels(panels, label="value (discounted reward)",
                 title=f"Dearer steps drive the robot into the pit: from {ends[0][0]:.0%} of walks "
                       f"to {ends[-1][0]:.0%}")

# %% [markdown] tags=["slide"]
r"""
## What was wrong

Nothing in the solver. Leave slips and discount out. Three moves reach the pit, five the goal; the last pays −1 or +1
*in place of* the charge. So the pit makes $2 \cdot (-2) - 1 = -5$, the goal $4 \cdot (-2) + 1 = -7$. Once a step costs
more than 1, falling in is cheapest. Slips begin it earlier.

The agent optimised **the reward that was written**, not the one that was meant. So this course
learns rewards from behaviour; unit 19 meets the gap again.
"""

# %% [markdown] tags=["slide"]
r"""
## The bridge: a language model is an MDP

State: the text so far. Action: the next token. Transition: append it, with probability 1. Terminal: the end token
[§2.2]. One thing is missing: **nobody hands us the reward.**

Take three tokens, `yes`, `no` and the end `.`, and texts of at most three tokens. A judge that we invent pays 1 for
"yes ." and 1.05 for "no no .".
"""

# %%
tokens = ("yes", "no", ".")
texts = ("", "yes", "no", "yes yes", "yes no", "no yes", "no no", "end")     # the states
judge = {"yes": 1.0, "no no": 1.05}                               # paid when the text is ended


def append(text, token):
    """Return the next state: the longer text, or the end after '.' or a third token."""
    longer = f"{text} {token}".strip()
    return longer if longer in texts else "end"


T3 = torch.zeros(8, 3, 8, dtype=torch.float64)                    # [texts, tokens, next texts]
r3 = torch.zeros(8, 3, dtype=torch.float64)
for s, text in enumerate(texts[:-1]):
    r3[s, tokens.index(".")] = judge.get(text, 0.0)
    for a, token in enumerate(tokens):
        T3[s, a, texts.index(append(text, token))] = 1.0
T3[-1, :, -1] = 1.0                                               # the end stays the end
writer = library.TabularMDP.from_dense(T3, r3, discount=0.9, terminal=[t == "end" for t in texts])
values, moves = value_iteration(writer, tolerance=0.0)
rule, _, _ = policy_iteration(writer)
for s in (values > 0).nonzero().flatten().tolist():
    print(f"V('{texts[s]}') = {values[s]:.3f}, then write '{tokens[int(rule[s].argmax())]}'")
print(f"next states of each (text, token): {writer.n_branches}; exact after {len(moves) - 1} sweeps")

# %% [markdown]
r"""
## What is the same, what is new

Your code ran unchanged. Texts only grow, so values are exact after at most as many sweeps as a text has tokens.

All randomness is now in the policy. The judge prefers "no no ."; at discount 0.9,
$0.9 \cdot 1$ against $0.81 \cdot 1.05 = 0.85$, the agent writes "yes .": unit 09 looks into that. And a real vocabulary has about $10^5$ tokens (Table 1 of the paper says $10^6$), so no
table holds all texts: from unit 02 on we learn instead.
"""

# %% [markdown] exercise="markov_decision_processes.match_tasks"
r"""
No algorithm is best everywhere [§2.1]. Match each row of Table 1 of Sun and van der Schaar (2025) to its algorithm:

`DQN` (a number per action), `curiosity` (a bonus for novelty), `MCTS` (search), `multi-agent PPO` (sampled
policies), `league` (human games first), `HER` (what was reached becomes the goal), `SAC` (climbs a learned
value), `GRPO` (answers marked right or wrong), `RLHF` (human judgements).

| card | actions | states | reward | transitions |
|---|---|---|---|---|
| A | continuous | continuous | sparse | unknown |
| B | about 10 | images | dense | unknown |
| C | tokens | token sequences | sparse | known |
| D | about 100 | about 10^100 | sparse | known |
| E | about 10^26 | partly seen | mixed | unknown |
| F | continuous | continuous | dense | unknown |
| G | tokens | token sequences | noisy and sparse | known |
| H | about 10 | images | sparse | unknown |
| I | about 10^6 | partly seen | mixed | unknown |

`match_tasks` is a dict, `{"A": "...", ...}`.
"""

# %% exercise="markov_decision_processes.match_tasks"
### BEGIN SOLUTION
match_tasks = {
    "A": "HER", "B": "DQN", "C": "GRPO", "D": "MCTS", "E": "league",
    "F": "SAC", "G": "RLHF", "H": "curiosity", "I": "multi-agent PPO",
}
### END SOLUTION

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. States, actions, transitions, rewards, a discount: that is the whole problem.
2. The Bellman backup is a contraction; repeating it finds the optimum, and tells how far off it still is.
3. A fixed policy is worth the solution of a linear system.
4. The return is occupancy times reward, and linear in the reward.
5. The agent optimises what was written, not what was meant.

Your prediction comes back first, then six questions.
"""

# %%
display(recall("markov_decision_processes.first_step", first))
quiz("markov_decision_processes")

# %% [markdown]
r"""
## Go further

- Sutton and Barto (2018), *Reinforcement Learning*, chapters 3 and 4: this unit at leisure. Free online.
- Puterman (1994), *Markov Decision Processes*, sections 6.2-6.4 and 6.9: the proofs; the linear programme over occupancies.
- Howard (1960), *Dynamic Programming and Markov Processes*: policy iteration.
- Sun and van der Schaar (2025), [arXiv 2507.13158](https://arxiv.org/abs/2507.13158), §2.1: MDPs and Table 1.

**An open question.** For a fixed discount, policy iteration is polynomial in the numbers of states and actions (Ye
2011). Is any method, whatever the discount? Nobody knows.
"""
