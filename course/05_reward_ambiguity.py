# %% [markdown] tags=["card", "slide"]
r"""
# Reward ambiguity

Behaviour is evidence about a reward. But how much does it say? This unit counts: which rewards explain what you see, which
of them you may believe, and what more you would have to watch.

**Afterwards you can**

- say which rewards explain a behaviour, and write them all down,
- shape a reward without touching the policy,
- match an expert whose reward you never learn,
- tell by a rank whether the reward can be known at all.
"""

# %% [markdown] tags=["slide"]
r"""
## I show you an optimal policy

Below, a robot crosses a yard in the wind, paid 10 for reaching G and -1 a step. The arrows are an **optimal** policy. If you saw them
alone, six explanations:

- A: twice what it is really paid,
- B: nothing at all,
- C: a cost of 1 per step, and no goal,
- D: 2 added to every step's pay,
- E: its pay, plus the rise $\gamma\, \Phi(s') - \Phi(s)$ of a random landscape,
- F: 1 for each move along the arrows, 0 for others.
"""

# %%
import itertools
import math

import torch
from IPython.display import display

from tutorlib import predict, quiz, recall
from tutorlib.exercises.reward_ambiguity.worlds import STREET, YARD, normal, numbers, yard
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors
from tutorlib.mdp import GridWorld, TabularMDP, soft_value_iteration, value_iteration
from tutorlib.viz import gridworld

torch.set_num_threads(1)
grid = yard()  # 13 cells; actions: up, right, down, left
mdp, alive = grid.mdp, ~grid.mdp.terminal
expert = value_iteration(mdp).policy
display(gridworld(grid, policy=expert, title="What the robot does, in each of 12 cells"))
HOW_MANY = ("one", "two", "three", "four", "five", "all six")
predict("reward_ambiguity.six", "How many of the six make these arrows optimal?", HOW_MANY)

# %% tags=["hide-input"]
from tutorlib.viz import roadmap

roadmap("05")

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

One step from home, $\gamma = 0.5$. *Walk* pays $x$ and ends the episode; *wait* pays $y$ and stays. Somebody always walks. Waiting
once, then walking, gives $y + 0.5\,x$, so walking is optimal when

$$x \ge y + 0.5\,x, \qquad \text{that is} \qquad y \le 0.5\,x .$$

Half of the plane explains it: $(1, -1)$, $(-7, -5)$, $(0, 0)$.

Now somebody walks softly, with probability $p$, at $\lambda = 1$. As $Q = V + \lambda \log \pi$ (unit 03),
$x = \log p + v$ and $y + \gamma v = \log (1 - p) + v$, for *any* $v$: a line. The right picture draws it for the soft policies of
$(1, -1)$ under two discounts.
"""

# %% tags=["hide-input"]
from tutorlib.viz import Picture, new_figure, style
from tutorlib.viz.look import series_look

x_true, y_true = 1.0, -1.0  # what the street really pays
v = torch.linspace(-6, 6, 121, dtype=torch.float64)
rows = {}
for gamma in (0.5, 0.9):
    plan = soft_value_iteration(STREET.replace(discount=gamma), 1.0, tolerance=1e-13)
    walk, wait = plan.policy[0].log().tolist()
    rows[gamma] = (walk + v, wait + v - gamma * v, float(plan.policy[0, 0]))
claim = "A hard policy leaves half the plane open, a soft one a line; two discounts leave one point"
with style():
    fig, (left, right) = new_figure(1, 2, title=claim, width=9.6, height=4.5)
    left.fill_between([-8, 8], [-4, 4], -8, alpha=0.25, color="#0b64a8", hatch="//", label="walking is optimal")
    for point, aside in (((1, -1), (8, -6)), ((-7, -5), (8, -4)), ((0, 0), (-14, 9))):
        left.plot(*point, "ko"), left.annotate(str(point), point, xytext=aside, textcoords="offset points")
    for index, (gamma, (x, y, p)) in enumerate(rows.items()):
        right.plot(x, y, label=f"γ = {gamma}: walks with {p:.2f}", **series_look(index, len(v)))
    right.plot(x_true, y_true, "k*", markersize=16, label="the reward")
    for ax in (left, right):
        ax.set(xlim=(-8, 8), ylim=(-8, 8), xlabel="x, reward of walking", ylabel="y, reward of waiting")
        ax.legend(fontsize=10, loc="upper left")
Picture(fig, alt=f"{claim}. Left: the half plane below the line y = 0.5 x, with the points (1, -1), (-7, -5), (0, 0) in it or on "
        f"its edge. Right: two lines of slope 0.5 and 0.1, for soft policies that walk with probability {rows[0.5][2]:.2f} and "
        f"{rows[0.9][2]:.2f}; they cross at the true reward (1, -1).")

# %% [markdown]
r"""
This picture is the whole unit. A *hard* policy leaves a cone of rewards open, a *soft* one a free number per state; a second
environment cuts that down, here to a point.

The tutorial says it in one line: reward models in IRL are not unique [take-away §2.4]. All else here is *background*: Ng et al. (1999),
Ng and Russell (2000), Abbeel and Ng (2004), Cao et al. (2021), Kim et al. (2021), Skalse et al. (2023).
"""

# %% [markdown] exercise="reward_ambiguity.explains"
r"""
Judge the six yourself. Write `explains(mdp, policy, rewards)`: for each candidate reward, is `policy` optimal? It is when no
single deviation pays, in any state where the episode goes on:

$$Q^\pi(s,a) \le V^\pi(s), \qquad Q^\pi(s,a) = r(s,a) + \gamma \sum_{s'} P(s'|s,a)\, V^\pi(s')$$

- `policy`: one-hot, `[states, actions]`; `rewards`: `[n, states, actions]`, 0 in terminal states.
- `policy_evaluation(paid, policy)` returns $V^\pi$, `q_values(paid, values)` returns $Q$, for a process
  `paid = mdp.replace(reward=...)`.
- Return `n` truth values. Count a gain below $10^{-9}$ as none.

The street's four candidates $(x, y)$: $(4, 1)$, $(-7, -5)$, $(0, 0)$, $(1, 0.6)$. The last one fails: $1 < 0.6 + 0.5$.
"""

# %% exercise="reward_ambiguity.explains"
from tutorlib.mdp import policy_evaluation, q_values


def explains(mdp, policy, rewards):
    """Return for each of rewards [n, states, actions] whether policy is optimal, [n]."""
    ### BEGIN SOLUTION
    verdicts = []
    for reward in rewards:
        paid = mdp.replace(reward=reward)
        values = policy_evaluation(paid, policy)  # of the policy itself, not the optimum
        gain = q_values(paid, values) - values[:, None]
        verdicts.append(bool((gain[~mdp.terminal] <= 1e-9).all()))
    return torch.tensor(verdicts)
    ### END SOLUTION


# %%
landscape = (6 * normal(torch.Generator().manual_seed(2), mdp.n_states)).masked_fill(~alive, 0.0)
rise = mdp.discount * mdp.transition_matrix @ landscape - landscape[:, None]
costs = GridWorld(YARD, rewards={"G": 0.0}, step_reward=-1.0, slip=0.1, discount=0.9).mdp.reward
candidates = {"A, twice the pay": 2 * mdp.reward, "B, nothing": 0 * mdp.reward,
              "C, costs only": costs, "D, 2 more a step": mdp.reward + 2,
              "E, plus a rise": mdp.reward + rise, "F, 1 for the arrows": expert}
tables = torch.stack(list(candidates.values())).masked_fill(~alive[:, None], 0.0)
raised = torch.stack([mdp.reward + 3]).masked_fill(~alive[:, None], 0.0)
verdicts = [bool(x) for x in explains(mdp, expert, tables)]
for name, table, verdict in zip(candidates, tables, verdicts, strict=True):
    best = value_iteration(mdp.replace(reward=table))
    print(f"{name:<20} explains: {verdict!s:<6} from S the best is worth "
          f"{float(best.values @ mdp.initial_state_dist):6.2f}")
print(f"3 more a step        explains: {bool(explains(mdp, expert, raised)[0])}")
outcome = HOW_MANY[sum(verdicts) - 1]

# %% [markdown] tags=["slide"]
r"""
## Why so many, and why not F

The conditions are linear in $r$, so their solutions form a **cone**: scale one, add two, and you stay inside. Its tip is $r = 0$. (C has
no goal, but arriving ends the costs. D is luck: 2 more a step keep the arrows, 3 do not.)

F looks most faithful. But it pays for *following the arrows*, and arriving ends the pay: the best plan turns back just before G, again
and again. Unit 07 meets this as survival bias.
"""

# %% [markdown] tags=["slide"]
r"""
## Shaping: what a path gives back

Candidate E pays each step the rise of a **potential** $\Phi$, $F = \gamma \Phi(s') - \Phi(s)$. Along any path the sum telescopes:

$$\begin{aligned}
\sum_{t=0}^{T-1} \gamma^t F_t &= \sum_t \big(\gamma^{t+1} \Phi(s_{t+1}) - \gamma^t \Phi(s_t)\big) \\
&= \gamma^T \Phi(s_T) - \Phi(s_0) .
\end{aligned}$$

If the first term vanishes, every policy loses the same $\Phi(s_0)$: values move, $V' = V - \Phi$, and the order of policies stays
(Ng, Harada and Russell 1999). It vanishes for an endless process ($\gamma^T \to 0$), and where an episode ends *if $\Phi = 0$
there*. Under a fixed horizon, $\Phi$ must count as 0 at time $T$.
"""

# %% [markdown] exercise="reward_ambiguity.shape_reward"
r"""
Write `shape_reward(mdp, potential)`, the shaped reward

$$r'(s,a) = r(s,a) + \gamma \sum_{s'} P(s'|s,a)\, \Phi(s') - \Phi(s)$$

- `potential`: $\Phi$, `[states]`. In terminal states it may hold anything; there it counts as 0, and they go on paying 0.
- `mdp.reward`: `[states, actions]`; `mdp.transition_matrix`: `[states, actions, next_states]`; `mdp.terminal`: `[states]`.
- Return $r'$, `[states, actions]` (or per move, `[states, actions, next_states]`: the check averages over $s'$).

The street with $\Phi = 8$ there and 3 at home: walk pays $1 + 0.5 \cdot 0 - 8 = -7$, wait $-1 + 0.5 \cdot 8 - 8 = -5$. Waiting now
pays more, and walking is still optimal.
"""

# %% exercise="reward_ambiguity.shape_reward"
def shape_reward(mdp, potential):
    """Return the shaped reward [states, actions] from potential [states]."""
    ### BEGIN SOLUTION
    held = potential.masked_fill(mdp.terminal, 0.0)  # nothing takes it back after the end
    ahead = mdp.transition_matrix @ held  # E[Phi(s')], [states, actions]
    return mdp.reward + mdp.discount * ahead - held[:, None]
    ### END SOLUTION


# %%
def mean_reward(table):
    """Return r(s, a) of an answer that may be r(s, a, s')."""
    table = as_tensor(table).double()
    return table if table.ndim == 2 else (mdp.transition_matrix * table).sum(-1)


shaped = mdp.replace(reward=mean_reward(shape_reward(mdp, landscape)))
hard = [value_iteration(m) for m in (mdp, shaped)]
soft = [soft_value_iteration(m, 1.0, tolerance=1e-13) for m in (mdp, shaped)]
print(f"rewards changed by up to {float((shaped.reward - mdp.reward).abs().max()):.1f} a step")
print(f"optimal actions changed in {int((hard[0].policy != hard[1].policy)[alive].any(-1).sum())} cells")
print(f"soft probabilities changed by {float((soft[0].policy - soft[1].policy)[alive].abs().max()):.0e}")
print(f"V' is V - Φ, to {float((hard[1].values - hard[0].values + landscape).abs().max()):.0e}")

# %% [markdown] tags=["slide"]
r"""
## Play: two rewards, one policy?

Paint a reward on the left, a potential on the right, whose map plans for the *shaped* reward. The lines below say whether both ask for
the same behaviour.

1. Paint mountains of $\Phi$. Can you move an arrow?
2. Untick *hold Φ at 0 where episodes end* and paint $\Phi$ into G. Which sign keeps the robot away?
3. Switch to *a second reward*. Find one with the same optimal actions but another soft policy.
"""

# %%
from tutorlib.irl import fit_shaping
from tutorlib.viz import TwoRewards

TwoRewards(grid, second=(landscape / 2).round(decimals=0), brush=8.0,
           distance=lambda m, first, second: fit_shaping(m, first, second).distance,
           title="A reward, and the same reward shaped by a painted potential")

# %% [markdown] tags=["slide"]
r"""
## One reward, please: the linear program

To choose from the cone, Ng and Russell (2000) ask for the reward $R$ that separates the policy best from its rivals, with a
price on size:

$$\max_{|R| \le 1} \; \sum_s \min_{a \neq \pi(s)} \big(V^\pi(s) - Q^\pi(s,a)\big) - c \sum_s |R(s)|, \qquad V^\pi(s) \ge Q^\pi(s,a)$$

For a reward $R(s)$ of the state that is left, the constraint is $(P_{\pi} - P_a)(I - \gamma P_{\pi})^{-1} R \succeq 0$, with $P_\pi$ the
moves under the policy. $R = 0$ always satisfies it, so the program never fails; it may only say nothing. The cell pays $R$ on *arrival*
instead, as our gridworlds do.
"""

# %%
from tutorlib.irl import lp_irl, pay
from tutorlib.viz import Panel, gridworld_panels

prices = (0.0, 0.8, 1.2)
answers = {c: lp_irl(mdp, expert, penalty=c, paid="arrival") for c in prices}
panels = [Panel(grid, found.reward, None, f"price c = {c:g}" + (": R = 0" if found.trivial else ""))
          for c, found in answers.items()]
fine = all(bool(x) for x in explains(mdp, expert, torch.stack(
    [pay(mdp, found.reward, "arrival") for found in answers.values()])))
nothing = next(c for c, found in answers.items() if found.trivial)
gridworld_panels(panels, label="R, reward for arriving",
                 title=f"Three prices, three rewards; {'all' if fine else 'not all'} explain the arrows, "
                       f"at c = {nothing:g} by paying nothing")

# %% [markdown] tags=["slide"]
r"""
## Do we need the reward? Apprenticeship

The box, the margin, the price were *our* wishes, not evidence. Must we choose one reward? Suppose it is $r = w \cdot \phi(s,a)$: known
features, unknown $|w|_2 \le 1$. With **feature expectations** $\mu(\pi) = \mathbb{E}\big[\sum_t \gamma^t \phi(s_t, a_t)\big]$ the
return is $w \cdot \mu(\pi)$, and

$$|J(\pi) - J(\pi_E)| = |w \cdot (\mu(\pi) - \mu_E)| \le |\mu(\pi) - \mu_E|_2 .$$

Match $\mu_E$, and you are as good as the expert, *whatever $w$ is* (Abbeel and Ng 2004). Each round plans for where the mixture so far
falls short, and mixes the new policy in: by a **projection**, which you write, or by **max-margin**, the best mixture of all policies so far.
"""

# %% [markdown] exercise="reward_ambiguity.projection_step"
r"""
Write the projection variant's round, `projection_step(expert, mixture, candidate)`: the point of the **segment** from `mixture` to
`candidate` that is nearest to `expert`, and the weights for the next plan.

$$\text{step} = \frac{(c - m) \cdot (e - m)}{|c - m|^2} \text{ held to } [0, 1], \quad \text{point} = m + \text{step}\,(c - m), \quad
w = e - \text{point}$$

- All three are feature expectations, `[features]`: $e = \mu_E$, $m$ of the mixture so far, $c$ of the newest policy.
- If $c = m$, the step is 0.
- Return `(step, point, weights)`. The weights count by their direction; their length is free.

For $e = (1, 1)$, $m = (0, 0)$, $c = (4, 0)$: step $0.25$, point $(1, 0)$, weights $(0, 1)$.
"""

# %% exercise="reward_ambiguity.projection_step"
def projection_step(expert, mixture, candidate):
    """Return (step, point [features], weights [features])."""
    ### BEGIN SOLUTION
    direction = candidate - mixture
    length = float(direction @ direction)
    step = float(direction @ (expert - mixture)) / length if length > 0 else 0.0
    step = min(max(step, 0.0), 1.0)  # outside, a policy would have a negative probability
    point = mixture + step * direction
    return step, point, expert - point
    ### END SOLUTION


# %%
from tutorlib.irl import ApprenticeSettings, apprentice, feature_expectations
from tutorlib.mdp import policy_iteration, uniform_policy

ROUNDS, SEEDS, FEATURES = 40, 8, 5


def hidden_task(seed):
    """Return features [states, actions, 5] and a hidden w of length 1."""
    generator = torch.Generator().manual_seed(seed)
    phi = torch.rand(mdp.n_states, 4, FEATURES, generator=generator, dtype=torch.float64)
    w = normal(generator, FEATURES)
    return phi.masked_fill(~alive[:, None, None], 0.0), w / w.norm()


def learn(phi, mu_expert, rounds=ROUNDS):
    """Run your rounds; return the distance to the expert and mu, before each round."""
    point, trail = feature_expectations(mdp, uniform_policy(mdp), phi), []
    weights = mu_expert - point
    for _ in range(rounds):
        trail.append((float((mu_expert - point).norm()), point))
        best = policy_iteration(mdp.replace(reward=phi @ weights)).policy
        reached = feature_expectations(mdp, best, phi)
        _, *found = projection_step(mu_expert, point, reached)
        point, weights = (as_tensor(x).double() for x in found)
    return trail

# %% tags=["hide-input"]
from tutorlib.viz import learning_curves

names = ("distance, your rounds", "loss, your rounds", "distance, max-margin")
curves, worst = {name: [] for name in names}, -math.inf  # worst: loss minus distance, at most 0
for seed in range(SEEDS):
    phi, w = hidden_task(seed)
    taught = soft_value_iteration(mdp.replace(reward=phi @ w), 0.5).policy  # an expert who wavers
    mu_expert = feature_expectations(mdp, taught, phi)
    trail = learn(phi, mu_expert)
    gaps = [far for far, _ in trail]
    losses = [abs(float(w @ (mu - mu_expert))) for _, mu in trail]
    worst = max(worst, max(a - b for a, b in zip(losses, gaps, strict=True)))
    other = apprentice(mdp, mu_expert, phi, settings=ApprenticeSettings("max_margin", 1e-6, ROUNDS - 1)).margins
    padded = [*other, *[other[-1]] * (ROUNDS - len(other))]
    for name, run in zip(names, (gaps, losses, padded), strict=True):
        curves[name].append([math.log10(max(g, 1e-6)) for g in run])
ends = {name: 10 ** (sum(run[-1] for run in runs) / SEEDS) for name, runs in curves.items()}
met = max(next(i for i, g in enumerate(run) if g <= -6) for run in curves[names[2]])  # rounds to 1e-6
learning_curves(curves, range(ROUNDS), higher_is_better=False, band=(0, 100), xlabel="round",
                ylabel="log10 of distance or loss (return)",
                title=f"In every run the loss {'stays below' if worst < 1e-12 else 'exceeds'} the distance, "
                      f"{ends[names[0]]:.1g} after {ROUNDS - 1} projections; "
                      f"max-margin is there after {met} rounds")

# %% [markdown]
r"""
What comes out is a **mixture**: draw one of the policies for each episode. (Or take $\pi(a|s) \propto \rho(s,a)$ of the mixed visits.) No
reward comes out: the last weights only say where the mixture still fell short.

The guarantee needs pay that is linear in *these* features. And an expert known from few episodes may lie beyond what policies can
reach: hence steps in $[0, 1]$.
"""

# %% [markdown] tags=["slide"]
r"""
## A soft policy says more

A soft policy shows not only what is best but by how much: $\lambda \log \frac{\pi(a|s)}{\pi(b|s)} = Q(s,a) - Q(s,b)$. Unit 03 went from
$r$ to $\pi$. Backwards, from $Q = V + \lambda \log \pi$ and $r = Q - \gamma\, \mathbb{E}[V(s')]$:

$$r(s,a) = \lambda \log \pi(a|s) + v(s) - \gamma \sum_{s'} P(s'|s,a)\, v(s')$$

for any function $v$ (Cao et al. 2021), when all of $\pi$ is above 0. These rewards, and no others, have the soft-optimal policy $\pi$; $v$ is their soft
value. It is $\lambda \log \pi$, shaped by $-v$.
"""

# %% [markdown] exercise="reward_ambiguity.reward_family"
r"""
Write `reward_family(mdp, policy, values, temperature)`: one reward for each row of `values`, all with the soft-optimal policy
`policy`.

$$r(s,a) = \lambda \log \pi(a|s) + v(s) - \gamma \sum_{s'} P(s'|s,a)\, v(s')$$

- `policy`: $\pi$, `[states, actions]`, all entries above 0; `temperature`: $\lambda$.
- `values`: $n$ functions $v$, `[n, states]`; 0 in terminal states.
- Return `[n, states, actions]`; terminal states pay 0.

The check plans softly for each of your rewards: any family passes whose members all lead to $\pi$, as long as different $v$ give
different rewards. Walking with probability 0.75 at $\lambda = 2$, with $v = 2$ in the street: walk pays
$2 \log 0.75 + 2 = 1.425$, wait $2 \log 0.25 + 2 - 0.5 \cdot 2 = -1.773$.
"""

# %% exercise="reward_ambiguity.reward_family"
def reward_family(mdp, policy, values, temperature):
    """Return rewards [n, states, actions] with soft-optimal policy, one per row of values."""
    ### BEGIN SOLUTION
    ahead = torch.einsum("sat,nt->nsa", mdp.transition_matrix, values)  # E[v(s')]
    reward = temperature * policy.log() + values[..., None] - mdp.discount * ahead
    return reward.masked_fill(mdp.terminal[:, None], 0.0)
    ### END SOLUTION


# %% [markdown]
r"""
How many dimensions does each kind of evidence leave open? The next cell counts in the yard, 48 numbers: it goes deep into the cone (at its
edge many steps would leave it) and adds small random rewards; and it counts the soft policy's flat directions.

It also looks at *scale* (Skalse et al. 2023): a soft policy at a known temperature fixes it. So do noisy comparisons of two paths,
$P = \sigma(R_1 - R_2)$; a bare order does not.
"""

# %%
from tutorlib.irl import shaping_matrix

free = int(torch.linalg.matrix_rank(shaping_matrix(mdp)))  # directions v -> v - gamma E[v']
inside = mdp.reward + 1.0 * (expert - 1)  # deep in the cone: other moves cost 1 more
noise = 0.05 * normal(torch.Generator().manual_seed(1), 200, *mdp.reward.shape)
around = (inside + noise).masked_fill(~alive[:, None], 0.0)
kept = sum(bool(x) for x in explains(mdp, expert, around))
print(f"optimal policy: {kept} of 200 random steps from a reward keep it: no direction is ruled out")
print(f"soft policy:    {free} of {12 * 4} directions change nothing, the others are seen")
pi = soft_value_iteration(mdp, 1.0).policy
double = mdp.replace(reward=2 * mdp.reward)
at = {lam: float((soft_value_iteration(double, lam).policy - pi)[alive].abs().max()) for lam in (1, 2)}
print(f"doubled pay:    soft policy moves by {at[1]:.2f} at λ = 1, by {at[2]:.0e} at λ = 2")
for factor in (1, 2):
    print(f"paths 1 apart, pay x {factor}: order P = {float(factor > 0):.2f}, "
          f"noisy P = {1 / (1 + math.exp(-factor)):.2f}")

# %% [markdown] tags=["slide"]
r"""
## Watch it twice: a rank

Watch it under another discount (a weak battery) or in another wind. One reward, two soft policies:

$$\lambda \log \pi_1 + (E - \gamma_1 P_1)\, v_1 \;=\; r \;=\; \lambda \log \pi_2 + (E - \gamma_2 P_2)\, v_2 .$$

Rows are pairs $(s,a)$; $E$ copies $v(s)$ to each action. What $(v_1, v_2)$ may still be is the kernel of

$$M = [\,E - \gamma_1 P_1,\; -(E - \gamma_2 P_2)\,], \qquad 2|S| \text{ columns.}$$

In endless processes a constant always stays open: at best rank $M = 2|S| - 1$, and $r$ is known *up to a constant* (Cao et al. 2021).
With an end, a constant can change behaviour (candidate D, a little more): the rank can be full.
"""

# %% [markdown] exercise="reward_ambiguity.rank_test"
r"""
Write `rank_test(first, second)` for two endless processes: the rank of $M$, and whether it identifies the reward up to a constant.

$$M = [\,E - \gamma_1 P_1,\; -(E - \gamma_2 P_2)\,], \qquad E_{(s,a),\,t} = 1 \text{ if } s = t, \text{ else } 0$$

- Each process has its own `discount` and `transition_matrix`, `[states, actions, next_states]`. $M$ has $|S||A|$ rows, one for each
  pair, in the same order in both blocks.
- `torch.linalg.matrix_rank` returns the rank; keep float64 and its default tolerance. Discounts that hardly differ count too.
- Return `(rank, identified)`: a whole number, and true exactly if it is $2|S| - 1$.

Two states, actions *go* (to the other state) and *stay*, discounts 0.5 and 0. State 0 has the rows $(1, -0.5, -1, 0)$ for go,
$(1 - 0.5, 0, -1, 0)$ for stay; state 1 their mirror images. The rank is 3 of 4.
"""

# %% exercise="reward_ambiguity.rank_test"
def rank_test(first, second):
    """Return (rank of M, whether it is 2 |S| - 1)."""
    ### BEGIN SOLUTION
    blocks = []
    for mdp in (first, second):
        here = torch.eye(mdp.n_states, dtype=torch.float64)[:, None, :]  # [states, 1, states]
        blocks.append((here - mdp.discount * mdp.transition_matrix).flatten(0, 1))
    rank = int(torch.linalg.matrix_rank(torch.cat([blocks[0], -blocks[1]], dim=1)))
    return rank, rank == 2 * first.n_states - 1
    ### END SOLUTION


# %% tags=["hide-input"]
from tutorlib.exercises.reward_ambiguity.worlds import endless_mdp
from tutorlib.irl import identify, recover_reward

six = endless_mdp(torch.Generator().manual_seed(0), states=6, actions=3, discount=0.9)
windy = endless_mdp(torch.Generator().manual_seed(1), states=6, actions=3, discount=0.9).replace(reward=six.reward)
pairs = {"same twice": (six, six), "discount 0.9 and 0.85": (six, six.replace(discount=0.85)),
         "discount 0.9 and 0.5": (six, six.replace(discount=0.5)), "two dynamics": (six, windy)}
claim = "Rank you can see: " + ", ".join(f"{int(rank_test(*pair)[0])} for {name}" for name, pair in pairs.items())
sizes = {name: identify(pair).singular_values for name, pair in pairs.items()}
with style():
    fig, ax = new_figure(title=claim, width=8.6, height=4.6)
    for index, (name, values) in enumerate(sizes.items()):
        ax.plot(range(1, 13), (values / values[0]).clamp(min=1e-17), label=name, **series_look(index))
    ax.axhline(1e-9, color="#5a5a5a", linestyle="--", linewidth=1.2, marker="")
    ax.text(1, 3e-9, "below: counted as 0")
    ax.set(yscale="log", xlabel="singular value of M, in order (12 = 2|S|)", ylabel="size relative to the largest")
    ax.legend(fontsize=11, loc="lower left")
last = {name: float(values[10] / values[0]) for name, values in sizes.items()}
Picture(fig, alt=f"{claim}. Relative singular values on a logarithmic axis. The twelfth is rounding in all four; with the same "
        "process twice six values are; the eleventh is " + ", ".join(f"{x:.1g} for {n}" for n, x in last.items()) + ".")

# %%
print(f"{'pair':<24}{'rank':>5}{'open':>6}   largest error of the recovered reward, up to a constant")
for name, pair in pairs.items():
    policies = [soft_value_iteration(m, 1.0, tolerance=1e-14).policy for m in pair]
    found = recover_reward(pair, policies)
    apart = found.reward - six.reward
    apart = apart - apart.mean()  # a constant is open in any case
    print(f"{name:<24}{found.identification.rank:>5}{found.identification.free:>6}   "
          f"{float(apart.abs().max()):.0e}")
battery = [mdp, mdp.replace(discount=0.5)]  # the yard: it has an end
found = recover_reward(battery, [soft_value_iteration(m, 1.0, tolerance=1e-14).policy for m in battery])
print(f"the yard, two discounts: rank {found.identification.rank} of {found.identification.unknowns}, "
      f"error {float((found.reward - mdp.reward).abs().max()):.0e}: exactly, constant and all")

# %% [markdown] tags=["slide"]
r"""
## Can one environment do?

Kim et al. (2021) ask it for rewards $R(s)$, a fixed horizon, no discount, no chance. A path $\tau$ then has
$P(\tau) \propto e^{R(\tau)}$: one sees differences of path sums, and the question is the rank of a matrix that counts visits.

Walk round a ring, both ways, from place 0. On an even ring even and odd places alternate: add $c$ to one kind, take it from the other:
all path sums move alike. An odd ring, or a stop, ends that.
"""

# %%
from tutorlib.irl import identify_from_paths


def ring(places, stop=False):
    """Return a ring walked both ways; with ``stop`` one may wait in place 0."""
    dense = torch.zeros(places, 2, places, dtype=torch.float64)
    for s, (a, step) in itertools.product(range(places), enumerate((1, -1))):
        dense[s, a, (s + step) % places] = 1.0
    if stop:
        dense[0, 1] = torch.eye(places)[0]
    start = torch.eye(places, dtype=torch.float64)[0]
    return TabularMDP.from_dense(dense, torch.zeros(places), start, discount=1.0, horizon=8)


for name, process in {"3 places": ring(3), "4 places": ring(4), "5 places": ring(5),
                      "6 places": ring(6), "4 places, a stop": ring(4, True)}.items():
    hidden = identify_from_paths(process, horizon=2 * process.n_states)
    verdict = "up to a constant" if hidden.up_to_constant else "not identified"
    print(f"{name:<18} rank {hidden.rank} of {hidden.unknowns}, open: {hidden.free}   R(s) {verdict}")

# %% [markdown]
r"""
Their result: a strongly connected graph identifies the reward exactly when it is *aperiodic*, given a horizon long enough. Under
chance this fails: there the causal soft policy does not follow $P(\tau) \propto e^{R(\tau)}$ (unit 06).

Text has no chance, but its states form a tree: no prefix comes back, and only sums along whole answers are seen. How to spread them over
the words stays open (unit 20).
"""

# %% [markdown] tags=["slide"]
r"""
## Does it scale? Ranks meet data

A rank is for exact policies. From $n$ choices per state, $\log \pi$ is known to about $1/\sqrt n$, and solving divides by the smallest
singular value that counts. Two discounts that hardly differ are enough on paper, and useless.

The curves show the error of the recovered reward (root mean square, constant removed).
"""

# %% tags=["hide-input"]
budgets = [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000]


def watched(policy, n, generator):
    """Return the policy as estimated from n observed choices per state, half a count added to each."""
    counts = torch.stack([torch.bincount(torch.multinomial(row, n, True, generator=generator), minlength=len(row))
                          for row in policy]).double() + 0.5
    return counts / counts.sum(-1, keepdim=True)


errors = {}
for name in ("discount 0.9 and 0.85", "discount 0.9 and 0.5", "two dynamics"):
    exact, runs = [soft_value_iteration(m, 1.0).policy for m in pairs[name]], []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        run = [recover_reward(pairs[name], [watched(p, n, generator) for p in exact]).reward - six.reward for n in budgets]
        runs.append([math.log10(float((e - e.mean()).square().mean().sqrt())) for e in run])
    errors[name] = runs
at_end = {name: 10 ** (sum(run[-1] for run in runs) / 8) for name, runs in errors.items()}
learning_curves(errors, [math.log10(n) for n in budgets], higher_is_better=False, band=(0, 100),
                xlabel="log10 of choices observed per state", ylabel="log10 of error of the reward",
                title=f"Rank {' and '.join(sorted({str(identify(pairs[name]).rank) for name in errors}))} in all three, "
                      f"yet at {budgets[-1]:,} choices the errors are "
                      + ", ".join(f"{e:.1g}" for e in at_end.values()))

# %% [markdown] tags=["slide"]
r"""
## Break it: explained, and useless

The gate in the middle of the top row closes. Five rewards explain what was seen: the *linear program*'s and the *shaped pay* the arrows;
*λ log π* and a *family* member with a random $v$ one soft policy; and the reward known from *two discounts* two of them. We plan for each in
the *new* yard, and pay the plan what the robot is really paid.

Before you run the cell: which will survive?
"""

# %%
from tutorlib.irl import evaluate_transfer


def with_gate_closed(world, cell):
    """Return the yard's process where nobody can step into ``cell``: one stays instead."""
    dense, shut = world.mdp.transition_matrix.clone(), world.state_of(*cell)
    for s in set(range(world.mdp.n_states)) - {shut}:
        dense[s, :, s] += dense[s, :, shut]
        dense[s, :, shut] = 0.0
    return TabularMDP.from_dense(dense, world.mdp.reward, world.mdp.initial_state_dist,
                                 terminal=world.mdp.terminal, discount=world.mdp.discount)


seen = soft_value_iteration(mdp, 0.5, tolerance=1e-13).policy
members = reward_family(mdp, seen, torch.stack([0 * landscape, landscape]), 0.5)
plain, mountain = as_tensor(members).double()
exact = recover_reward(battery, [soft_value_iteration(m, 0.5, tolerance=1e-14).policy for m in battery], 0.5)
rewards = {"linear program": pay(mdp, answers[0.0].reward, "arrival"), "λ log π": plain,
           "family, random v": mountain, "shaped pay": shaped.reward, "two discounts": exact.reward}

# %% tags=["hide-input"]
new = with_gate_closed(grid, (0, 2))
regret = {name: [max(0.0, evaluate_transfer(world, table).regret) for world in (mdp, new)] for name, table in rewards.items()}
lost = {name: after for name, (_, after) in regret.items()}
safe = [name for name, after in lost.items() if after < 1e-6]
plans = {name: value_iteration(new.replace(reward=table)).policy for name, table in rewards.items()}
gridworld_panels(
    [Panel(grid, policy_evaluation(new, plan), plan, f"{name}: loses {lost[name]:.1f}") for name, plan in plans.items()],
    label="what following the arrows really pays",
    title=f"All five explain the old yard; with the third cell of the top row shut, {len(safe)} still serve "
          f"({', '.join(safe)}), and the worst loses {max(lost.values()):.1f} from S")

# %% [markdown] tags=["slide"]
r"""
## Diagnosis: what transfer needs

$\gamma P_\text{old}\, \Phi - \Phi$ is a shaping in the old dynamics only. In the new ones, paths no longer give back what they were paid. A
robot that never comes home gets $-1 / (1 - 0.9) = -10$.

A reward transfers when what stayed open is harmless in the *new* world too: watch several environments, or restrict the reward, say to
places (as AIRL does, unit 07). One more trap: $r(s,a)$ averages what *arriving* pays over the wind. In another wind even the exact table
is wrong.
"""

# %% [markdown] tags=["slide"]
r"""
## The bridge: a shift per prompt

A prompt $x$ is a state, an answer $y$ an action, and then it ends. The family of unit 03's tuned policy:

$$r(x,y) = \beta \log \frac{\pi(y|x)}{\pi_\text{ref}(y|x)} + c(x) ,$$

with $c(x)$ in place of $v$. Preferences between answers to *one* prompt see only $r(x,y_1) - r(x,y_2)$; so does the policy. Reward models
(unit 11) are known up to $c(x)$; DPO (unit 17) reads this line as the reward's definition.
"""

# %%
from tutorlib.mdp import gibbs_policy

prompts = numbers([[0.0, 1.0, 2.0], [3.0, -1.0, 0.5]])  # r(x, y): 2 prompts, 3 answers each
reference = numbers([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])
beta, shift = 0.7, numbers([[5.0], [-40.0]])  # c(x): any number per prompt
tuned, moved = (gibbs_policy(r / beta, 1.0, reference) for r in (prompts, prompts + shift))
prefers = [torch.sigmoid(r[:, 1] - r[:, 0]).tolist() for r in (prompts, prompts + shift)]
implicit = beta * (tuned / reference).log()  # what DPO calls the reward
left_over = prompts - implicit  # should be one number per prompt
print(f"tuned policies differ by {float((tuned - moved).abs().max()):.0e}, "
      f"preferences by {max(abs(a - b) for a, b in zip(*prefers, strict=True)):.0e}")
print(f"r - β log(π/π_ref) within a prompt varies by {float(left_over.std(-1).max()):.0e}: it is c(x) =",
      [round(float(c), 3) for c in left_over[:, 0]])
across = [float(r[0].max() - r[1].max()) for r in (prompts, prompts + shift)]
print(f"the two prompts' best answers are {across[0]:.1f} apart before, {across[1]:.1f} after: "
      "scores across prompts mean nothing")

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. An optimal policy leaves a cone of rewards open, zero included; a soft one leaves $v(s)$, one number per state.
2. Shaping moves values, not policies, if $\Phi = 0$ where episodes end.
3. A method that returns one reward adds a wish. Feature matching needs none, but the right features.
4. Two different enough environments identify the reward: rank $2|S| - 1$; how *well*, singular values say.
5. What explains the past need not transfer.
6. In language, $c(x)$ is free.
"""

# %%
recall("reward_ambiguity.six", outcome)

# %%
quiz("reward_ambiguity")

# %% [markdown]
r"""
## Go further

- Ng, Harada and Russell (1999, ICML): also why *only* potentials are safe when the dynamics are unknown.
- Cao, Cohen and Szpruch (2021), [arXiv 2106.03498](https://arxiv.org/abs/2106.03498): finite horizons, action-independent rewards.
- Skalse et al. (2023), [arXiv 2203.07475](https://arxiv.org/abs/2203.07475): what each kind of data leaves open.
- Gleave et al. (2021), [arXiv 2006.13900](https://arxiv.org/abs/2006.13900): a distance between rewards that ignores shaping.

**Open question.** People are not soft-optimal either. If the model of the chooser is wrong, what of the reward can be known (Skalse and
Abate 2023, [arXiv 2212.03201](https://arxiv.org/abs/2212.03201))?
"""
