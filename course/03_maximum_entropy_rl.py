# %% [markdown] tags=["card", "slide"]
r"""
# Maximum-entropy RL

A planner of best actions is brittle: one closed street stops it. Pay it a
little for variety, and the maximum becomes a log-sum-exp, the best action a Gibbs policy. The same four lines of algebra
later tune language models.

**Afterwards you can**

- write the soft Bellman backup and say what its temperature does,
- plan towards a prior policy,
- prove the closed form of RLHF (reinforcement learning from human feedback), and what any other policy loses.
"""

# %% [markdown] tags=["slide"]
r"""
## A courier with a taste for variety

A robot walks from S to G. Reaching G pays 10 and ends the episode; every other step costs 0.5; the discount is 0.95. Its
owner adds a bonus for variety: each step also earns $\lambda$ times the **entropy** $H(\pi) = -\sum_a \pi \log \pi$ of the
choice it made there, with $\lambda = 1.5$. The robot plans perfectly for reward plus bonus.

Beside it, a random walker plans nothing and takes each direction with equal probability.
"""

# %%
import itertools
import math

import torch
from IPython.display import display

from tutorlib import predict, quiz, recall
from tutorlib.exercises.maximum_entropy_rl.worlds import two_streets
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors
from tutorlib.mdp import q_values, state_distributions, uniform_policy, value_iteration
from tutorlib.viz import gridworld

torch.set_num_threads(1)  # today's tensors are tiny: more threads would only wait for each other
town = two_streets()  # 12 cells; actions: up, right, down, left
start, goal = town.state_of(1, 0), town.state_of(1, 4)
display(gridworld(town, show_rewards=True, title="Two streets from S to G, six steps each"))
WHO = ("the courier, who plans", "the random walker", "both about as often (within 5 points)")
predict("maximum_entropy_rl.courier", "Who is more often at G within 100 steps?", WHO)

# %% tags=["hide-input"]
from tutorlib.viz import roadmap

roadmap("03")

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

One state, two actions, worth $Q = (1, 0)$. The first is taken with probability $p$; we want expected $Q$ plus $\lambda$
times entropy, at $\lambda = 1$.

- Always the first ($p = 1$): $1 + 0 = 1$.
- A coin ($p = 0.5$): $0.5 + 0.693 = 1.193$.

Better than both: form weights $e^{1} = 2.718$ and $e^{0} = 1$. Their sum is $Z = 3.718$. Take $p = 2.718/3.718 = 0.731$:
$0.731 + 0.582 = 1.313$, and $\log Z = 1.313$ too. The optimum is the *logarithm of the sum*; the policy is the *shares*.
"""

# %%
from tutorlib.viz import lines

p = torch.linspace(0, 1, 1001, dtype=torch.float64)  # probability of the first action
entropy_of_p = -torch.special.xlogy(p, p) - torch.special.xlogy(1 - p, 1 - p)  # 0 log 0 = 0
curves, peaks = {}, {}
for lam in (0.25, 1.0, 2.0):
    worth = 1 * p + 0 * (1 - p) + lam * entropy_of_p  # expected Q plus lambda times entropy
    Z = math.exp(1 / lam) + math.exp(0 / lam)
    curves[f"λ = {lam:g}"], peaks[lam] = worth, float(p[worth.argmax()])
    print(f"λ = {lam:<4g} highest: {worth.max():.3f} at p = {p[worth.argmax()]:.3f}   "
          f"λ log Z = {lam * math.log(Z):.3f}, share = {math.exp(1 / lam) / Z:.3f}")
lines(curves, p, xlabel="p, probability of the action worth 1", ylabel="expected Q + λ entropy",
      title=f"Heat moves the best p from {peaks[0.25]:.2f} to {peaks[2.0]:.2f}, towards one half")

# %% [markdown] tags=["slide"]
r"""
## Four lines of algebra

Let a **prior policy** $\pi_0$ say what is done by habit, and charge $\lambda$ for leaving it. With
$Z = \sum_a \pi_0 e^{Q/\lambda}$ and $\pi^* = \pi_0 e^{Q/\lambda} / Z$,

$$\begin{aligned}
\sum_a \pi \Big(Q - \lambda \log \frac{\pi}{\pi_0}\Big)
&= \lambda \sum_a \pi \log \frac{\pi_0\, e^{Q/\lambda}}{\pi} \\
&= \lambda \sum_a \pi \log \frac{Z\, \pi^*}{\pi} \\
&= \lambda \log Z - \lambda\, \mathrm{KL}(\pi \,\|\, \pi^*) \\
&\le \lambda \log Z .
\end{aligned}$$

$\mathrm{KL}(\pi \| \pi^*) = \sum_a \pi \log (\pi / \pi^*)$, the Kullback-Leibler divergence, is never negative, and 0 only at
$\pi = \pi^*$. So the best value is $V = \lambda \log Z$, the best policy is $\pi^*$, and any other loses exactly
$\lambda\, \mathrm{KL}$.
"""

# %% [markdown]
r"""
Small print. In KL and in the entropy, a term with $\pi = 0$ is read as 0. The logarithm is natural; its unit is the
**nat**, so $\lambda$ is a price: reward per nat.

With $\pi_0 = 1$ for every action, the objective is the entropy bonus. (Ones are not a probability, but the algebra does not
mind: only $\pi^*$ must sum to 1.) For the same $Q$, a uniform $\pi_0$ gives the same $\pi^*$, and a $V$ lower by
$\lambda \log |A|$ at each step.
"""

# %% [markdown]
r"""
## One object, many names

| here | control (soft actor-critic, SAC) | language models | physics, $Q = -E$ |
|---|---|---|---|
| temperature $\lambda$ | $\alpha$ | $\beta$ | $k_B T$ |
| prior $\pi_0$ | none ($\pi_0 = 1$) | reference $\pi_\text{ref}$ | degeneracy |
| $V = \lambda \log Z$ | soft value | log-partition $\beta \log Z$ | minus the free energy |
| $\pi^* = \pi_0\, e^{(Q - V)/\lambda}$ | energy-based policy | KL-regularised optimum | Gibbs, Boltzmann |

Read the last columns later. Some papers write $\beta$ for $1/\lambda$: look where it stands. The tutorial that this course
follows [§4.1] uses the result without deriving it; this unit is background (Todorov 2007; Ziebart 2010; Haarnoja et al. 2017).
"""

# %% [markdown] exercise="maximum_entropy_rl.soft_backup"
r"""
In a decision process, $Q$ looks one step ahead, and the four lines hold in every state. Write
`soft_backup(mdp, values, temperature)`, one **soft Bellman backup** with the entropy bonus:

$$V(s) = \lambda \log \sum_a e^{Q(s,a)/\lambda}, \qquad Q(s,a) = r(s,a) + \gamma \sum_{s'} P(s'|s,a)\, V(s')$$

- `mdp`: a `TabularMDP`. `q_values(mdp, values)` returns $Q$, `[states, actions]`; `mdp.terminal`, `[states]`, is true where the
  episode is over, and the value there is 0.
- `values`: the present $V$, `[states]`; `temperature`: $\lambda > 0$, at times as small as 0.001.
- Return the new values, `[states]`.

A state with $Q = (1, 0)$ gets $1.313$ at $\lambda = 1$.
"""

# %% exercise="maximum_entropy_rl.soft_backup"
def soft_backup(mdp, values, temperature):
    """Return the new values [states] from values [states]."""
    ### BEGIN SOLUTION
    q = q_values(mdp, values)  # [states, actions]
    soft = temperature * torch.logsumexp(q / temperature, dim=-1)  # takes the maximum out itself
    return soft.masked_fill(mdp.terminal, 0.0)
    ### END SOLUTION


# %% [markdown] exercise="maximum_entropy_rl.gibbs_policy"
r"""
Write `gibbs_policy(q, temperature, prior)`, the policy that attains the soft value:

$$\pi(a|s) = \frac{\pi_0(a|s)\, e^{Q(s,a)/\lambda}}{\sum_b \pi_0(b|s)\, e^{Q(s,b)/\lambda}}$$

- `q`: $Q$, `[states, actions]`; `temperature`: $\lambda > 0$, at times very small.
- `prior`: $\pi_0$, `[states, actions]`. An entry of 0 forbids an action, even one whose $Q$ is the highest.
- Return $\pi$, `[states, actions]`; each row sums to 1.

For $Q = (2, 0)$, $\lambda = 2$ and an even prior: $(0.731, 0.269)$. It is unit 00's softmax with one factor more.
"""

# %% exercise="maximum_entropy_rl.gibbs_policy"
def gibbs_policy(q, temperature, prior):
    """Return the policy [states, actions] from q and prior, both [states, actions]."""
    ### BEGIN SOLUTION
    exponent = q / temperature + prior.log()  # a forbidden action gets minus infinity
    return torch.softmax(exponent, dim=-1)
    ### END SOLUTION


# %%
from tutorlib.viz import Panel, gridworld_panels


def soft_plan(mdp, temperature):
    """Repeat your backup until it stands still; return V [states] and pi [states, actions]."""
    values, change = torch.zeros(mdp.n_states, dtype=torch.float64), math.inf
    while change > 1e-10:  # the backup is a contraction by gamma: this ends
        updated = as_tensor(soft_backup(mdp, values, temperature)).double()
        values, change = updated, float((updated - values).abs().max())
    q = q_values(mdp, values)
    # a uniform prior: a factor common to all actions cancels in the shares
    return values, as_tensor(gibbs_policy(q, temperature, uniform_policy(mdp))).double()


hard = value_iteration(town.mdp)
V_cool, pi_cool = soft_plan(town.mdp, 0.2)
V_warm, pi_warm = soft_plan(town.mdp, 0.6)
panels = [Panel(town, hard.values, hard.policy, "hard maximum"),
          Panel(town, V_cool, pi_cool, "λ = 0.2"), Panel(town, V_warm, pi_warm, "λ = 0.6")]
gridworld_panels(panels, label="(soft) value",
                 title=f"From S the hard planner goes up with probability {hard.policy[start, 0]:.0%}, "
                       f"the soft one at λ = 0.2 with {pi_cool[start, 0]:.0%}")

# %% [markdown] tags=["slide"]
r"""
## Why exploration appears

Both streets are equally good. The hard planner takes the first in its list and never sees the other. The soft planner
uses both: nobody told it to explore, it is *paid* for options.

Now the upper street is closed overnight, after everybody has planned. Nobody replans. Who still arrives?

(An honest limit: this variety is undirected. It does not seek out what it knows least about, and it costs reward.)
"""

# %%
from tutorlib.mdp import return_of

closed_town = two_streets(closed=True)
open_cells = [s for s in range(town.mdp.n_states) if town.cell_of(s) != (0, 2)]  # still walkable


def arrives(mdp, policy, home, steps=100):
    """Return the probability of being at ``home`` within ``steps`` steps."""
    return float(state_distributions(mdp, policy, steps)[steps, home])


walker = uniform_policy(town.mdp)
for name, pi in {"hard planner": hard.policy, "soft, λ = 0.2": pi_cool,
                 "soft, λ = 0.6": pi_warm, "random walker": walker}.items():
    tomorrow = arrives(closed_town.mdp, pi[open_cells], closed_town.state_of(1, 4))
    print(f"{name:<15} return {return_of(town.mdp, pi):6.3f}   home within 100 steps: "
          f"{arrives(town.mdp, pi, goal):4.0%} today, {tomorrow:4.0%} with the street closed")

# %% [markdown] tags=["slide"]
r"""
## Play with the heat

The painter plans with an entropy bonus as soon as its temperature is above 0.

1. Raise the temperature step by step from 0.2. Watch the cell above G: at which temperature is its arrow into G
   no longer the longest?
2. Go on to 1.5. Where would this courier rather be?
3. Back at 0.2, paint $-2$ into the middle of the upper street. With which probability does S go *down* now? And at 0.4, at
   0.6?
"""

# %%
from tutorlib.viz import GridPainter

GridPainter(town, temperature=0.2, brush=-2.0, title="Two streets, painted: heat spreads the courier")

# %% [markdown]
r"""
What does cooling leave? When it is cold, only the two equal streets count: $\lambda \log(e^{Q/\lambda} + e^{Q/\lambda}) = Q + \lambda \log 2$: at S the soft value stays
$\lambda \log 2$ above the hard one, and $\log 2$ nats of entropy stay in the choice. And a ceiling: no step's bonus exceeds
$\lambda \log 4$, so all steps together earn at most $\lambda \log 4 / (1 - \gamma)$.
"""

# %% tags=["hide-input"]
from tutorlib.viz import Picture, new_figure, style
from tutorlib.viz.look import series_look

heats = torch.logspace(-2, -0.2, 37).tolist()
plans = [soft_plan(town.mdp, lam) for lam in heats]
over = [float(V[start] - hard.values[start]) for V, _ in plans]
spread = [float(-torch.special.xlogy(pi, pi)[start].sum()) for _, pi in plans]  # entropy at S
claim = (f"Cooled to λ = 0.01, the soft value is {over[0] / heats[0]:.3f} λ above the hard one, and "
         f"{spread[0]:.3f} nats of entropy stay: log 2, for two streets")
with style():
    fig, (left, right) = new_figure(1, 2, title=claim, width=9.6, height=4.2)
    curves = {"soft minus hard value of S": over, "λ log 2": [lam * math.log(2) for lam in heats],
              "bound λ log 4 / (1 − γ)": [lam * math.log(4) / (1 - town.mdp.discount) for lam in heats]}
    for index, (name, curve) in enumerate(curves.items()):
        left.plot(heats, curve, label=name, **series_look(index, len(heats)))
    left.set(xscale="log", yscale="log", ylim=(3e-3, 100), xlabel="temperature λ (reward per nat)", ylabel="value (reward)")
    right.plot(heats, spread, label="entropy of the choice at S", **series_look(3, len(heats)))
    for count in (2, 4):
        right.axhline(math.log(count), color="#5a5a5a", linestyle="--", marker="", linewidth=1.4)
        right.text(heats[0], math.log(count) + 0.02, f"log {count}")
    right.set(xscale="log", xlabel="temperature λ (reward per nat)", ylabel="entropy at S (nats)", ylim=(0, 1.55))
    left.legend(fontsize=10, loc="upper left"), right.legend(fontsize=11, loc="lower right")
Picture(fig, alt=f"{claim}. Left: soft minus hard value of S from {over[0]:.2g} to {over[-1]:.2g}, first on the line λ log 2, "
        f"always below the bound. Right: entropy at S from {spread[0]:.3f} to {spread[-1]:.3f} nats; log 4 is 1.386.")

# %% [markdown] tags=["slide"]
r"""
## Break it: who is home?

Back to the owner's bonus of $\lambda = 1.5$. The next cell lets your planner plan, and counts. Then it does the same for many
temperatures, and for a courier with another bonus: minus $\lambda$ times the KL to the *random walker's* policy.

Look at the curves before you read on. The planner does exactly what it was asked to do. So what was asked?
"""

# %%
from tutorlib.mdp import soft_value_iteration

at_home = {"courier": arrives(town.mdp, soft_plan(town.mdp, 1.5)[1], goal),
           "walker": arrives(town.mdp, walker, goal)}
difference = at_home["courier"] - at_home["walker"]
outcome = WHO[2] if abs(difference) <= 0.05 else WHO[0] if difference > 0 else WHO[1]
print(f"at G within 100 steps: the courier with {at_home['courier']:.1%}, the walker with {at_home['walker']:.1%}")
heats = [0.1, 0.2, 0.3, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0, 1.5, 3.0, 10.0, 30.0, 100.0]
with_entropy = [arrives(town.mdp, soft_plan(town.mdp, lam)[1], goal) for lam in heats]
with_kl = [arrives(town.mdp, soft_value_iteration(town.mdp, lam, prior=walker).policy, goal)
           for lam in heats]
lines({"reward + λ entropy": with_entropy, "reward − λ KL to the walker": with_kl}, heats,
      xscale="log", target=at_home["walker"], target_label="random walker",
      xlabel="temperature λ (reward per nat)", ylabel="probability of G within 100 steps",
      title=f"Paid for entropy, the courier stays away: {with_entropy[-1]:.1%} at λ = 100; "
            f"with a KL penalty {with_kl[-1]:.0%} come home, nearly as the walker")

# %% [markdown] tags=["slide"]
r"""
## Diagnosis: survival by entropy

Never arriving earns less than $(\lambda \log 4 - 0.5)/(1 - 0.95)$. Arriving pays 10. Below $\lambda = 1 / \log 4 = 0.721$ home is
surely better; a little above, near 0.76, one more step beside G is worth more than G.

$-\mathrm{KL}(\pi \| \text{uniform}) = H(\pi) - \log 4$: the two bonuses differ by a constant *per step*. With a fixed number of steps
that is harmless. Where the agent decides when to stop, it can decide everything: a walk home, or a model's end-of-text.
A KL penalty pays nobody for going on. (Unit 07 meets this bias in imitation.)
"""

# %% [markdown] exercise="maximum_entropy_rl.soft_policy_step"
r"""
Backups creep towards the optimum. **Soft policy iteration** strides: evaluate a policy exactly, entropy included, then take the
Gibbs policy of its $Q$. Write `soft_policy_step(mdp, policy, temperature)`, one such round (entropy bonus: $\pi_0 = 1$):

$$V = r_\pi + \lambda H_\pi + \gamma P_\pi V, \qquad \pi_\text{new}(a|s) \propto e^{Q(s,a)/\lambda}$$

- `policy`: `[states, actions]`; it may hold zeros. $r_\pi$, $H_\pi$: mean of `mdp.reward` (`[states, actions]`) and entropy in each
  state; $P_\pi$: `[states, states]`, from `mdp.transition_matrix`, `[states, actions, next_states]`.
- Terminal states earn nothing: $V = 0$ there.
- Return `(values, new_policy)`: the value of the policy *given*, `[states]`, and its improvement.

In a street a coin decides between walking home ($+1$) and waiting ($-1$). With $\gamma = 0.5$, $\lambda = 1$:
$V = 0 + \log 2 + 0.25\, V$, so $V = 0.924$.
"""

# %% exercise="maximum_entropy_rl.soft_policy_step"
def soft_policy_step(mdp, policy, temperature):
    """Return (values [states], new policy [states, actions]) of policy [states, actions]."""
    ### BEGIN SOLUTION
    entropy = -torch.special.xlogy(policy, policy).sum(dim=-1)  # 0 log 0 = 0
    income = (policy * mdp.reward).sum(dim=-1) + temperature * entropy
    income = income.masked_fill(mdp.terminal, 0.0)
    step = torch.einsum("sa,sat->st", policy, mdp.transition_matrix)  # P_pi
    eye = torch.eye(mdp.n_states, dtype=torch.float64)
    values = torch.linalg.solve(eye - mdp.discount * step, income)
    return values, torch.softmax(q_values(mdp, values) / temperature, dim=-1)
    ### END SOLUTION


# %% tags=["hide-input"]
from tutorlib.exercises.maximum_entropy_rl.worlds import random_mdp
from tutorlib.viz import learning_curves

ROUNDS, SEEDS, FLOOR = 10, 20, 1e-13  # below FLOOR only rounding is left
errors = {"soft policy iteration": [], "soft backups": []}
for seed in range(SEEDS):  # from 5 to 100 states
    mdp = random_mdp(torch.Generator().manual_seed(seed), states=5 * seed + 5, actions=3, discount=0.95)
    truth = soft_value_iteration(mdp, 0.2, tolerance=1e-14).values
    policy, values = uniform_policy(mdp), torch.zeros(mdp.n_states, dtype=torch.float64)
    strides, creeps = [], []
    for _ in range(ROUNDS):
        worth, policy = (as_tensor(x).double() for x in soft_policy_step(mdp, policy, 0.2))
        values = as_tensor(soft_backup(mdp, values, 0.2)).double()
        strides.append(math.log10(max(FLOOR, float((worth - truth).abs().max()))))
        creeps.append(math.log10(max(FLOOR, float((values - truth).abs().max()))))
    errors["soft policy iteration"].append(strides)
    errors["soft backups"].append(creeps)
slowest = 1 + max(next((i for i, e in enumerate(run) if e < -9), ROUNDS) for run in errors["soft policy iteration"])
left_over = min(10 ** run[-1] for run in errors["soft backups"])
learning_curves(errors, range(1, ROUNDS + 1), higher_is_better=False, band=(0, 100), xlabel="round",
                ylabel="log10 of largest error in V",
                title=f"5 to 100 states, {SEEDS} random processes: {slowest} rounds of policy iteration reach "
                      f"1e-9; {ROUNDS} backups still miss by {math.floor(10 * left_over) / 10} or more")

# %% [markdown] exercise="maximum_entropy_rl.kl_control"
r"""
Text ends. So now a **horizon**: $T$ decisions, no discount, and a prior $\pi_0$. Each action decides its
next state, as a word does. Write `kl_control(next_states, reward, prior, temperature, horizon)`. From $V_T = 0$, backwards:

$$Q_t(s,a) = r(s,a) + V_{t+1}(s'), \quad V_t(s) = \lambda \log \sum_a \pi_0(a|s)\, e^{Q_t(s,a)/\lambda}, \quad
\pi_t(a|s) = \pi_0(a|s)\, e^{(Q_t(s,a) - V_t(s))/\lambda}$$

- `next_states`: $s'$, whole numbers, `[states, actions]`; `reward`, `prior`: `[states, actions]`; `horizon`: $T$;
  `temperature`: $\lambda > 0$, at times tiny.
- Return `(values, policy)`, float64: `[horizon + 1, states]`, zeros in the last row, and `[horizon, states, actions]`.

$T = 1$, $Q = (0, 1)$, an even prior, $\lambda = 1$: $V_0 = 0.620$. The end is a state that leads to itself and pays 0; there
$\lambda \log \sum_a \pi_0 = \lambda \log 1 = 0$, so no mask. (The check's sky example comes later.)
"""

# %% exercise="maximum_entropy_rl.kl_control"
def kl_control(next_states, reward, prior, temperature, horizon):
    """Return (values [horizon + 1, states], policy [horizon, states, actions])."""
    ### BEGIN SOLUTION
    values = torch.zeros(horizon + 1, len(reward), dtype=torch.float64)
    policy = torch.zeros(horizon, *reward.shape, dtype=torch.float64)
    for t in reversed(range(horizon)):
        q = reward + values[t + 1][next_states]  # [states, actions]
        exponent = q / temperature + prior.log()
        values[t] = temperature * torch.logsumexp(exponent, dim=-1)
        policy[t] = torch.softmax(exponent, dim=-1)
    return values, policy
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## A value that counts trajectories

Unroll your recursion, and the soft value is one log-partition over whole trajectories $\tau$ with return $R(\tau)$:

$$V_0(s_0) = \lambda \log \sum_\tau \pi_0(\tau)\, e^{R(\tau)/\lambda}, \qquad \pi^*(\tau) = \pi_0(\tau)\, e^{(R(\tau) - V_0)/\lambda}$$

The next cell enumerates them all. It needs actions that decide the next state. With chance it fails: the sum then
treats luck as a choice. The cell's last lines show it on a gamble; unit 06 is about the difference.
"""

# %%
from tutorlib.exercises.maximum_entropy_rl.worlds import normal, simplex

g, lam, T = torch.Generator().manual_seed(3), 0.5, 5
moves, r = torch.randint(4, (4, 3), generator=g), normal(g, 4, 3)  # 4 states, 3 actions
habit, partition = simplex(g, 4, 3), 0.0
for plan in itertools.product(range(3), repeat=T):  # 3^5 trajectories from state 0
    s, chance, R = 0, 1.0, 0.0
    for a in plan:
        chance, R, s = chance * float(habit[s, a]), R + float(r[s, a]), int(moves[s, a])
    partition += chance * math.exp(R / lam)
V, _ = kl_control(moves, r, habit, lam, T)
print(f"{3**T} trajectories: λ log of their sum {lam * math.log(partition):.12f}")
print(f"your recursion:                     V_0 {float(V[0][0]):.12f}")

# A gamble (+3 or -3, half each) against a safe 0; even prior, λ = 1. Nobody can choose to win
expected = 0.5 * 3 + 0.5 * -3  # what gambling is worth: 0, as the safe choice
soft_value = math.log(0.5 * math.exp(expected) + 0.5 * math.exp(0))
over_outcomes = math.log(0.5 * (0.5 * math.exp(3) + 0.5 * math.exp(-3)) + 0.5 * math.exp(0))
print(f"gamble: soft value {soft_value:.3f}, log-partition over outcomes {over_outcomes:.3f}: "
      "as if one could choose to win")

# %% [markdown] tags=["slide"]
r"""
## The bridge: three answers

A model continues *The colour of the sky is* with *blue*, *grey* or *grey today*, $\pi_\text{ref} = (0.6, 0.3, 0.1)$. A reader in the
rain rewards $r = (0, 1, 2)$. RLHF maximises $J(\pi) = \mathbb{E}[r] - \beta\, \mathrm{KL}(\pi \| \pi_\text{ref})$: our four lines, one state, $\lambda$ called
$\beta$:

$$\pi^* = \frac{\pi_\text{ref}\, e^{r/\beta}}{Z}, \quad J^* = \beta \log Z, \quad J(\pi) = J^* - \beta\, \mathrm{KL}(\pi \| \pi^*)$$

At $\beta = 1$: $Z = 0.6 + 0.3 \cdot 2.718 + 0.1 \cdot 7.389 = 2.154$, $J^* = 0.768$.

(The tutorial's box on DPO, direct preference optimisation [§4.1], prints $e^{\beta r}$ without $\pi_\text{ref}$; Rafailov et al. 2023, eq. 4, have the form above.)
"""

# %% [markdown] exercise="maximum_entropy_rl.performance_gap"
r"""
Write `performance_gap(policy, reference, reward, beta)`: what a policy loses against the best one,

$$J^* - J(\pi) = \beta\, \mathrm{KL}(\pi \,\|\, \pi^*)$$

- `policy`, `reference`, `reward`: $\pi$, $\pi_\text{ref}$, $r$ of each answer, `[answers]`; `policy` may hold zeros, `reference` does not.
- `beta`: $\beta > 0$, at times as small as 0.001.
- Return one number, in units of reward.

The untuned model of the example, `policy = reference`, pays no penalty and earns $0.3 \cdot 1 + 0.1 \cdot 2 = 0.5$; it loses
$0.768 - 0.5 = 0.268$. Either side of the equation is a way to compute it.
"""

# %% exercise="maximum_entropy_rl.performance_gap"
def performance_gap(policy, reference, reward, beta):
    """Return J* - J(policy), a number; policy, reference and reward are [answers]."""
    ### BEGIN SOLUTION
    log_best = torch.log_softmax(reward / beta + reference.log(), dim=-1)  # log pi*
    kl = (torch.special.xlogy(policy, policy) - policy * log_best).sum()  # 0 log 0 = 0
    return beta * kl
    ### END SOLUTION


# %% [markdown]
r"""
Two checks of the bridge follow. First: choosing whole answers at once, or word by word with your recursion, is one problem.

Second: the gap in a decision process. In words: the loss is $\lambda$ times the KL *in each state*, weighted by the policy's
discounted visits $d_\pi$:

$$J^* - J(\pi) = \lambda \sum_s d_\pi(s)\, \mathrm{KL}\big(\pi(\cdot|s) \,\|\, \pi^*(\cdot|s)\big)$$
"""

# %%
from tutorlib.exercises.maximum_entropy_rl.control import TREE  # the same answers, word by word
from tutorlib.exercises.maximum_entropy_rl.worlds import REFERENCE, REWARD, numbers
from tutorlib.mdp import occupancy_measure, soft_policy_evaluation

pi_ref, r = numbers(REFERENCE), numbers(REWARD)
best = as_tensor(gibbs_policy(r[None], 1.0, pi_ref[None]))[0].double()  # one state, three actions
V, pi = (as_tensor(x).double() for x in kl_control(*TREE, 1.0, 2))  # states: prompt, blue, grey, end
spelled = [float(x) for x in (pi[0, 0, 0], pi[0, 0, 1] * pi[1, 2, 0], pi[0, 0, 1] * pi[1, 2, 1])]
print(f"whole answers: pi* {[f'{x:.3f}' for x in best]}   J* {math.log((pi_ref * r.exp()).sum()):.6f}")
print(f"word by word:  pi* {[f'{x:.3f}' for x in spelled]}   V_0 {float(V[0, 0]):.6f}")
print(f"the untuned model loses {float(performance_gap(pi_ref, pi_ref, r, 1.0)):.6f}\n")

lam, generator, worst = 1.0, torch.Generator().manual_seed(0), 0.0
optimum = soft_value_iteration(town.mdp, lam, prior=walker, tolerance=1e-13)
for _ in range(200):  # the same identity in the gridworld, with the discounted visits as weights
    some = simplex(generator, town.mdp.n_states, 4)
    lost = float((optimum.values - soft_policy_evaluation(town.mdp, some, lam, walker))[start])
    visits = occupancy_measure(town.mdp, some).sum(-1).masked_fill(town.mdp.terminal, 0.0)
    kl = (some * (some / optimum.policy).log()).sum(-1)  # KL(pi || pi*) of each state
    worst = max(worst, abs(lost - lam * float(visits @ kl)))
print(f"gridworld, 200 random policies: |J* - J - λ Σ visits · KL| is at most {worst:.0e}")

# %% [markdown] tags=["slide"]
r"""
## Play with the leash

Five answers now, and a flaw: the reward likes *sky sky sky*, which the model hardly ever says. Every policy lies on or
below the curve; the best ones are on it. Where the line through your point meets KL = 0, read $J^*$; its slope is $\beta$.

Shorten the leash (raise $\beta$): which answers fall back first? Loosen it: at which $\beta$ does the nonsense take over half? How would you know
if nobody had told you that it is nonsense?
"""

# %% tags=["hide-input"]
from tutorlib.viz import Slider, explorer

SAID = ("blue", "grey", "grey today", "who knows", "sky sky sky")
habit_5, reward_5 = numbers([0.55, 0.28, 0.1, 0.068, 0.002]), numbers([0.0, 1.0, 2.0, -1.0, 4.0])


def place(pi):  # (KL to the reference, expected reward)
    return float((torch.special.xlogy(pi, pi) - pi * habit_5.log()).sum()), float(pi @ reward_5)


def tuned(beta):  # the best policy at this beta
    return as_tensor(gibbs_policy(reward_5[None], beta, habit_5[None]))[0].double()


edge = [place(tuned(b)) for b in torch.logspace(1.5, -1.2, 80).tolist()]
crowd = simplex(torch.Generator().manual_seed(1), 300, 5) ** 4  # 300 random policies, some extreme
crowd = [place(pi) for pi in crowd / crowd.sum(-1, keepdim=True)]


def leash(beta):
    """Draw the answers at this beta, and where their policy stands between reward and KL."""
    pi, (kl, gain) = tuned(beta), place(tuned(beta))
    best = gain - beta * kl  # J*
    title = f"At β = {beta:g}: reward {gain:.2f} for {kl:.2f} nats; '{SAID[-1]}' has {pi[-1]:.0%}"
    with style():
        fig, (left, right) = new_figure(1, 2, title=title, width=9.6, height=4.3)
        left.barh(SAID, habit_5.tolist(), height=0.38, align="edge", color="#9aa5b1", label="reference")
        left.barh(SAID, pi.tolist(), height=-0.38, align="edge", color="#0b64a8", hatch="//", label="tuned")
        right.scatter(*zip(*crowd, strict=True), s=9, color="#9aa5b1", label="random policies")
        right.plot(*zip(*edge, strict=True), **series_look(0) | {"marker": ""}, label="best for some β")
        right.axline((0, best), slope=beta, color="#c8500a", ls="--", lw=1.6, marker="", label=f"slope β, from J* = {best:.2f}")
        left.set(xlabel="probability", xlim=(0, 1)), right.plot(kl, gain, "s", color="#c8500a")
        right.set(xlabel="KL to the reference (nats)", ylabel="expected reward", xlim=(-0.1, 6.4), ylim=(-1.1, 4.2))
        for ax, columns in ((left, 2), (right, 1)):  # below the axes: no point is hidden
            ax.legend(fontsize=10, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=columns)
    said = "; ".join(f"{a} {q:.3f} to {p:.3f}" for a, q, p in zip(SAID, habit_5, pi, strict=True))
    return Picture(fig, alt=f"{title}. From reference to tuned: {said}. Right: the curve of best policies; J* {best:.2f}.")


explorer(leash, {"beta": Slider(0.1, 10.0, 1.0, label="β, the leash", log=True)})

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. Reward plus $\lambda$ entropy turns the maximum into a log-sum-exp and the best action into a Gibbs policy.
2. $\lambda$ is a price, reward per nat: cold gives a hard optimum, ties shared; with a KL penalty, heat gives the prior.
3. An entropy bonus pays for every further step; a KL penalty pays nobody.
4. Over trajectories, $V = \lambda \log Z$, as long as actions decide what happens.
5. $J^* - J(\pi) = \beta\, \mathrm{KL}(\pi \| \pi^*)$: tuning towards a reward is imitating $\pi^*$ (units 16, 17).
"""

# %%
recall("maximum_entropy_rl.courier", outcome)

# %%
quiz("maximum_entropy_rl")

# %% [markdown]
r"""
## Go further

- Levine (2018), [arXiv 1805.00909](https://arxiv.org/abs/1805.00909): control as inference, and how chance complicates it.
- Haarnoja et al. (2018), [arXiv 1801.01290](https://arxiv.org/abs/1801.01290): SAC; its lemma 2 is your *nowhere worse*.
- Geist et al. (2019), [arXiv 1901.11275](https://arxiv.org/abs/1901.11275): the same theory for any convex penalty.
- Korbak et al. (2022), [arXiv 2205.11275](https://arxiv.org/abs/2205.11275): RLHF as Bayesian inference.

**Open question.** If the reward is wrong in rare, huge ways, a KL leash need not help (Kwa et al. 2024,
[arXiv 2407.14503](https://arxiv.org/abs/2407.14503)). Which leash would?
"""
