# %% [markdown] tags=["card", "slide"]
r"""
# Maximum-entropy IRL

Many rewards explain one behaviour. Maximum entropy picks a *probability* for every behaviour under every reward, and then
asks the oldest question of statistics: which reward makes what we saw most likely?

**Afterwards you can**

- fit a reward to demonstrations, linear or neural, and check your gradient,
- say why the model of 2008 takes luck for choice, and when that does not matter,
- recognise a likelihood that runs away, and tell what a learned reward is good for elsewhere.
"""

# %% [markdown] tags=["slide"]
r"""
## The gardener and the cart

A gardener drives a cart through her garden, twelve moves from S; one move in ten slides sideways. Two students watch many drives:

- one asks what **arriving in each cell** is worth to her,
- the other what **each push of the joystick in each cell** is worth.

Both rewards reproduce her driving. Tomorrow a new cart comes, its joystick upside down: *up* drives down, *left* drives right. Each
reward gets the best possible driver. Whose serves her better?
"""

# %%
import math

import torch
from IPython.display import display

from tutorlib import predict, quiz, recall
from tutorlib.exercises.maxent_irl.worlds import TEMPERATURE, garden, garden_features, terrain
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors
from tutorlib.viz import gridworld

torch.set_num_threads(1)  # small tensors: more threads would only wait for each other
torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)  # its first use is slow: before any check's clock runs
grid = garden()  # 25 cells; actions: up, right, down, left; no cell ends the drive
mdp, T, lam = grid.mdp, grid.mdp.horizon, TEMPERATURE
P, mu, R = mdp.transition_matrix, mdp.initial_state_dist, grid.cell_rewards
for row in range(5):  # . grass, w wet grass, r dry roses, W wet roses
    print(" ".join(terrain()[5 * row:5 * row + 5]))
display(gridworld(grid, R, label="true reward for arriving", title="What nobody sees: dry roses +1, wet roses −1"))
WHO = ("the reward per cell", "the reward per move", "both alike: they explain the same drives")
predict("maxent_irl.students", "Whose reward serves her better with the new cart?", WHO)

# %% tags=["hide-input"]
from tutorlib.viz import roadmap

roadmap("06")

# %% [markdown] tags=["slide"]
r"""
## One principle, two readings

Unit 05 left a whole family of rewards, zero among them. Ziebart et al. (2008): among all distributions over
trajectories that *meet the demonstrated features as often*, take the one of **maximum entropy**. It is an exponential family,

$$p(\tau) \propto e^{\theta \cdot f_\tau / \lambda}, \qquad f_\tau = \sum_{t=1}^{T} \phi(s_t),$$

and the multipliers $\theta$ are the reward's weights. Fitting $\theta$ by **maximum likelihood** is the dual of the same
problem.

So far every move does what it says; chance comes next. (Background: the tutorial [§2.4] only says that rewards are not unique.)
"""

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

One decision: a gamble, $+3$ or $-3$ by the toss of a coin, or a safe $0$; $\lambda = 1$. With chance in the dynamics, 2008 multiplies it in:
$p(\tau) \propto P(\tau)\, e^{R(\tau)}$.

- won: $0.5 \cdot e^{3} = 10.043$; lost: $0.5 \cdot e^{-3} = 0.025$; safe: $1 \cdot e^0 = 1$.
- $P(\text{gamble}) = 10.068 / 11.068 = 0.9096$.

Now choose *before* the coin falls: gambling is worth $0.5 \cdot 3 - 0.5 \cdot 3 = 0$, just like the safe choice. So
$P(\text{gamble}) = 0.5$.
"""

# %%
from tutorlib.irl import one_step_gamble, solve_causal, solve_maxent, trajectory_distribution

bet, outcome = one_step_gamble()  # states: choice, won, lost, kept; actions: gamble, safe
paths, chances = trajectory_distribution(bet, outcome[bet.successors])  # 2008, by listing
luck = solve_maxent(bet, outcome[bet.successors])  # 2008, by recursion
causal = solve_causal(bet, bet.reward)  # 2010: average first, then choose
for path, chance in zip(paths.states.tolist(), chances, strict=True):
    print(f"2008: {' -> '.join(bet.state_names[s] for s in path):<16} {float(chance):.4f}")
won, lost = luck.dynamics[0, 0, 0].tolist()
print(f"2008: gamble {float(luck.policy[0, 0, 0]):.4f}, and a gambler wins with {won:.4f}, loses with {lost:.4f}")
print(f"2010: gamble {float(causal.policy[0, 0, 0]):.4f}, and a gambler wins with 0.5000")

# %% [markdown]
r"""
Which of the two is a policy? A policy chooses actions; nature keeps its coin. The trajectory model also **bends the coin**: it describes gamblers *given that
things went as well as they did*. No one can act it out.

And reading with it misleads. Suppose somebody indifferent gambles half of the time. To explain $0.5$ where it expects
$0.9096$, the model of 2008 must invent a dislike of gambling.
"""

# %% tags=["hide-input"]
from tutorlib.viz import lines

stakes = [i / 10 for i in range(0, 41)]
taken = {"trajectories (2008)": [], "causal (2010)": []}
for stake in stakes:
    bet, outcome = one_step_gamble(stake)
    taken["trajectories (2008)"].append(float(solve_maxent(bet, outcome[bet.successors]).policy[0, 0, 0]))
    taken["causal (2010)"].append(float(solve_causal(bet, bet.reward).policy[0, 0, 0]))
at3 = taken["trajectories (2008)"][30]
lines(taken, stakes, xlabel="stake (won or lost, half each)", ylabel="probability of the gamble",
      title=f"2008 takes a fair gamble with {at3:.0%} at a stake of 3: to explain 50 % it invents "
            f"a dislike of {math.log(at3 / (1 - at3)):.2f}")

# %% [markdown] tags=["slide"]
r"""
## The causal model

Ziebart (2010): the entropy of each action *given what is known when it is taken*. Backwards in time, from $V_T = 0$:

$$Q_t(s,a) = \sum_{s'} P(s'|s,a)\,\big(R(s') + V_{t+1}(s')\big)$$
$$V_t(s) = \lambda \log \sum_a e^{Q_t(s,a)/\lambda}, \qquad \pi_t(a|s) = e^{(Q_t(s,a) - V_t(s))/\lambda}$$

It is unit 03's soft planning, with a clock. Chance stands *outside* the exponential. That is the whole difference
between the two models.
"""

# %% [markdown] exercise="maxent_irl.soft_backup_finite"
r"""
Write `soft_backup_finite(transition_matrix, cell_rewards, temperature, horizon)`, the **backward pass** of the formulas above.

- `transition_matrix`: $P(s'|s,a)$, `[states, actions, next_states]`; `cell_rewards`: $R(s')$, `[states]`, paid for **arriving**;
- `temperature`: $\lambda > 0$, at times tiny; `horizon`: $T$ decisions; no discount, no terminal states.
- Return `(values, policy)`: `[horizon + 1, states]`, zeros in the last row, and `[horizon, states, actions]`.

One decision, $\lambda = 0.5$; a gamble wins 2 with chance 0.75, else loses 1, and playing safe pays 1: $Q = (1.25, 1)$,
$V_0 = 1.487$, $\pi_0 = (0.622, 0.378)$.
"""

# %% exercise="maxent_irl.soft_backup_finite"
def soft_backup_finite(transition_matrix, cell_rewards, temperature, horizon):
    """Return (values [horizon + 1, states], policy [horizon, states, actions])."""
    ### BEGIN SOLUTION
    states, actions, _ = transition_matrix.shape
    values = torch.zeros(horizon + 1, states, dtype=torch.float64)
    policy = torch.zeros(horizon, states, actions, dtype=torch.float64)
    for t in reversed(range(horizon)):
        q = transition_matrix @ (cell_rewards + values[t + 1])  # chance is averaged first
        values[t] = temperature * torch.logsumexp(q / temperature, dim=-1)
        policy[t] = torch.softmax(q / temperature, dim=-1)
    return values, policy
    ### END SOLUTION


# %% [markdown] exercise="maxent_irl.visitation"
r"""
Where does a policy go? Write `visitation(transition_matrix, policy, initial_state_dist)`, the **forward pass**: the chance of being in
each state at each time,

$$d_0 = \mu, \qquad d_{t+1}(s') = \sum_{s,a} d_t(s)\, \pi_t(a|s)\, P(s'|s,a)$$

- `transition_matrix`: `[states, actions, next_states]`; `policy`: `[horizon, states, actions]`, one table per time;
- `initial_state_dist`: $\mu$, `[states]`.
- Return $d$, `[horizon + 1, states]`; each row sums to 1.

If $\mu = (0.8, 0.2)$, and everybody in the first state moves to the second and stays there, then $d_1 = (0, 1)$.
"""

# %% exercise="maxent_irl.visitation"
def visitation(transition_matrix, policy, initial_state_dist):
    """Return the chance of being in each state at each time, [horizon + 1, states]."""
    ### BEGIN SOLUTION
    visits = torch.zeros(len(policy) + 1, len(initial_state_dist), dtype=torch.float64)
    visits[0] = initial_state_dist
    for t in range(len(policy)):
        visits[t + 1] = torch.einsum("s,sa,sat->t", visits[t], policy[t], transition_matrix)
    return visits
    ### END SOLUTION


# %% tags=["hide-input"]
from tutorlib.mdp import sample_trajectories
from tutorlib.viz import Panel, gridworld_panels


def plan(transitions, rewards):
    """Return your policy [T, states, actions] and your visits [T + 1, states] as tensors."""
    policy = as_tensor(soft_backup_finite(transitions, rewards, lam, T)[1]).double()
    return policy, as_tensor(visitation(transitions, policy, mu)).double()


pi_star, d_star = plan(P, R)
drives = sample_trajectories(mdp, pi_star, 200, T, torch.Generator().manual_seed(0)).states  # [200, T + 1]
seen = torch.stack([torch.bincount(drives[:, t], minlength=25).double() / len(drives) for t in range(T + 1)])
roses = [letter == "r" for letter in terrain()]
share = float(d_star[-1][roses].sum())
gridworld_panels([Panel(grid, d_star[1:].sum(0), pi_star[0], "expected, first move's policy"),
                  Panel(grid, seen[1:].sum(0), None, "200 drives, mean", path=drives[0].tolist())],
                 label=f"visits in {T} moves",
                 title=f"The gardener ends on dry roses with {share:.0%}; 200 drives show the same visits to "
                       f"{float((seen - d_star)[1:].sum(0).abs().max()):.2f}")

# %% [markdown] tags=["slide"]
r"""
## The gradient is a gap

Along a drive $\log \pi_t(a_t|s_t) = (Q_t(s_t,a_t) - V_t(s_t))/\lambda$. Add up, and the values telescope but for luck, $R(s') + V_{t+1}(s')$ minus its expectation $Q_t$ at each step.
With luck averaged out, the mean negative log-likelihood is

$$\begin{aligned}
L(\theta) &= \frac{1}{\lambda}\Big(\mathbb{E}_\mu[V_0(s_0)] - \theta \cdot \tilde f\Big), \qquad \tilde f = \frac{1}{n}\sum_{i} \sum_{t=1}^{T} \phi(s_t^i) \\
\nabla_\theta L &= \frac{1}{\lambda}\Big(\mathbb{E}_{\pi_\theta}[f] - \tilde f\Big)
\end{aligned}$$

because $\partial V_t / \partial Q_t = \pi_t$, step by step: the derivative of a log-sum-exp *is* its softmax. $L$ is convex. At a
minimum, if there is one, policy and demonstrator meet every feature equally often.
"""

# %% [markdown] exercise="maxent_irl.irl_gradient"
r"""
Write `irl_gradient(transition_matrix, features, weights, demonstrations, initial_state_dist, temperature)`, the gradient
$\nabla_\theta L$ of the **loss** (mean over demonstrations).

- `features`: $\phi(s')$, `[states, features]`; `weights`: $\theta$, `[features]`; the reward for arriving is $R = \phi\,\theta$;
- `demonstrations`: whole numbers, `[n, T + 1]`: the states $s_0 \dots s_T$ of each drive, here of any length; `initial_state_dist`: $\mu$.
- Return `[features]`. Your `soft_backup_finite` and `visitation` do the work (`as_tensor` makes tensors of lists).

At a fork, with $\lambda = 0.5$: the policy expects features $(0.75, 0.25)$, the demonstrations show $(0.5, 0.5)$. The gradient is
$(0.25, -0.25) / 0.5 = (0.5, -0.5)$.
"""

# %% exercise="maxent_irl.irl_gradient"
def irl_gradient(transition_matrix, features, weights, demonstrations, initial_state_dist, temperature):
    """Return the gradient of the loss with respect to the weights, [features]."""
    ### BEGIN SOLUTION
    horizon = demonstrations.shape[1] - 1
    _, policy = soft_backup_finite(transition_matrix, features @ weights, temperature, horizon)
    visits = as_tensor(visitation(transition_matrix, as_tensor(policy).double(), initial_state_dist))
    expected = visits[1:].double().sum(0) @ features  # arrivals: t = 1 .. T
    shown = features[demonstrations[:, 1:]].sum(1).mean(0)  # sum over time, mean over drives
    return (expected - shown) / temperature
    ### END SOLUTION


# %% [markdown] exercise="maxent_irl.fit_reward"
r"""
Write `fit_reward(transition_matrix, features, demonstrations, initial_state_dist, temperature, learning_rate, steps)`: begin with weights of 0 and take `steps`
steps of gradient descent,

$$\theta \leftarrow \theta - \alpha\, \nabla_\theta L(\theta), \qquad \alpha = \text{learning rate}$$

- The other arguments are those of `irl_gradient`. Return the weights, `[features]`.

The check never compares weights: rewards that lead to the same behaviour are equally right (unit 05). It plans with yours,
and looks at where the policy goes, after a few steps and after many.

If three of four demonstrations go left at a fork, any weights with a difference of $\log 3 = 1.099$ will do.
"""

# %% exercise="maxent_irl.fit_reward"
def fit_reward(transition_matrix, features, demonstrations, initial_state_dist, temperature, learning_rate, steps):
    """Return the weights [features] after gradient descent from 0."""
    ### BEGIN SOLUTION
    weights = torch.zeros(features.shape[1], dtype=torch.float64)
    for _ in range(steps):
        gradient = as_tensor(irl_gradient(transition_matrix, features, weights, demonstrations,
                                          initial_state_dist, temperature))
        weights = weights - learning_rate * gradient
    return weights
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## A reward of two features

Two features of a cell: *is it roses?* and *is it wet?* The claim to test: *she likes roses and dislikes the wet; two weights say it all*. Fit them to 200 drives.

Descent looks at the *feature gap*. What it never sees is the *visits gap*: how far the policy's visits, cell by cell, are from those of
the drives.
"""

# %%
phi = garden_features()  # [25, 2]: rose, wet
theta, gaps, kinds = torch.zeros(2, dtype=torch.float64), {"feature gap": [], "visits gap": []}, {}
shown = phi[drives[:, 1:]].sum(1).mean(0)
for _ in range(81):
    _, visits = plan(P, phi @ theta)
    gaps["feature gap"].append(float((visits[1:].sum(0) @ phi - shown).abs().max()))
    gaps["visits gap"].append(float((visits - seen)[1:].sum(0).abs().max()))
    theta = theta - 0.015 * as_tensor(irl_gradient(P, phi, theta, drives, mu, lam)).double()
for name, d in {"gardener": d_star, "200 drives": seen, "two weights": visits}.items():
    kinds[name] = [float(sum(d[1:, s].sum() for s in range(25) if terrain()[s] == kind)) for kind in ".wrW"]
yours = as_tensor(fit_reward(P, phi, drives, mu, lam, 0.015, 81)).double()
print(f"weights: rose {yours[0]:+.3f}, wet {yours[1]:+.3f}")
for index, word in enumerate(("grass", "wet grass", "dry roses", "wet roses")):
    print(f"visits of {word:<10}" + ", ".join(f"{name} {row[index]:.2f}" for name, row in kinds.items()))
lines(gaps, range(81), xlabel="step of descent", ylabel="largest difference from 200 drives", yscale="log",
      title=f"Two weights: features agree to {gaps['feature gap'][-1]:.0e}, visits stay "
            f"{gaps['visits gap'][-1]:.2f} apart")

# %% [markdown]
r"""
The claim breaks. With the drives, rose visits agree in total (dry plus wet), and wet visits too. But *wet roses* are bad although neither of
their features is: an **interaction**, which no sum of two weights can say. Convergence of the loss says that the model has done what
it can, not that it is right.

So a richer model: a small network from (rose, wet) to $R$. Its gradient is the same gap, passed on by the chain rule.
"""

# %%
from tutorlib.irl import FitSettings, LinearReward, NeuralReward
from tutorlib.irl import fit_reward as fit_model  # the package's own; yours keeps its name

models = {"two weights": LinearReward(phi, "arrival"), "network": NeuralReward(phi.float(), (16,), "arrival", seed=0)}
actions = sample_trajectories(mdp, pi_star, 200, T, torch.Generator().manual_seed(0))  # the same drives
learned, fits = {}, {}
for name, model in models.items():
    fits[name] = fit_model(mdp, model, actions, FitSettings(temperature=lam, optimizer="lbfgs", steps=40, l2=1e-4))
    visits = plan(P, (model.net(model.features)[:, 0] if name == "network" else phi @ model.weights).detach().double())[1]
    kinds[name] = [float(sum(visits[1:, s].sum() for s in range(25) if terrain()[s] == kind)) for kind in ".wrW"]
    table = model.net(model.features)[:, 0].double() if name == "network" else phi @ model.weights
    learned[name] = {kind: float(table[terrain().index(kind)].detach()) for kind in ".wrW"}
for name, reward in learned.items():
    print(f"{name:<12} " + ", ".join(f"{word} {reward[kind] - reward['.']:+.2f}" for word, kind in
                                     (("wet grass", "w"), ("dry roses", "r"), ("wet roses", "W"))))

# %% tags=["hide-input"]
from tutorlib.viz import bars

gap = max(abs(a - b) for a, b in zip(kinds["network"], kinds["gardener"], strict=True))
bars({name: kinds[name] for name in ("gardener", "two weights", "network")},
     groups=["grass", "wet grass", "dry roses", "wet roses"], ylabel=f"visits in {T} moves",
     title=f"A network of the same two features comes within {gap:.2f} visits of the gardener")

# %% [markdown]
r"""
An honest caveat. The printed rewards are differences from grass, because a constant is invisible: every drive has $T$ arrivals. And
nobody demonstrates what to do in cells that nobody reaches. A reward is *identified* only by what behaviour could have
shown.

We chose the features, too. In a real garden the interaction has no name, and the network must find it in pixels.
"""

# %% [markdown] tags=["slide"]
r"""
## A colleague's gradient

A colleague computes loss and gradient in one function, and descends. It runs, and it converges: the features agree. But the weights are not yours. Before reading
the code line by line, do what professionals do first: **check the gradient**. Nudge a weight up and down, divide the difference of the
losses, and compare with what the function claims.
"""

# %%
def colleague(transition_matrix, features, weights, expert_features, initial_state_dist, temperature, horizon):
    """Return loss and gradient; one line is wrong."""
    cell_rewards, policy = features @ weights, []
    values = torch.zeros_like(cell_rewards)
    for _ in range(horizon):
        q = transition_matrix @ (cell_rewards + values)  # [states, actions]
        values = q.max(dim=-1).values
        policy.insert(0, torch.softmax(q / temperature, dim=-1))
    visits = as_tensor(visitation(transition_matrix, torch.stack(policy), initial_state_dist)).double()
    loss = (initial_state_dist @ values - weights @ expert_features) / temperature
    gradient = (visits[1:].sum(0) @ features - expert_features) / temperature
    return loss, gradient


theirs = torch.zeros(2, dtype=torch.float64)
for _ in range(200):
    theirs = theirs - 0.015 * colleague(P, phi, theirs, shown, mu, lam, T)[1]
claimed = colleague(P, phi, theirs, shown, mu, lam, T)[1]
print(f"weights: yours {[round(float(w), 3) for w in yours]}, theirs {[round(float(w), 3) for w in theirs]}; "
      f"feature gap left {lam * float(claimed.abs().max()):.0e}")

# %%
at = torch.tensor([0.4, -0.2], dtype=torch.float64)  # any point will do; here the slope is not 0
print("weight     claimed   by differences")
for k, name in enumerate(("rose", "wet")):
    nudge = 1e-5 * torch.eye(2, dtype=torch.float64)[k]
    up, down = (float(colleague(P, phi, at + sign * nudge, shown, mu, lam, T)[0]) for sign in (1, -1))
    told = float(colleague(P, phi, at, shown, mu, lam, T)[1][k])
    print(f"{name:<6} {told:10.4f} {(up - down) / 2e-5:16.4f}")

# %% [markdown] exercise="maxent_irl.debug"
r"""
Write `debug(transition_matrix, features, weights, expert_features, initial_state_dist, temperature, horizon)`: the colleague's function,
with its one wrong line mended. (Copy it, or build on your own functions.) It should return

$$L = \frac{\mathbb{E}_\mu[V_0] - \theta \cdot \tilde f}{\lambda} \quad \text{and} \quad \nabla_\theta L$$

- `expert_features`: $\tilde f$, `[features]`; the other arguments as before.
- Return `(loss, gradient)`: a number, and `[features]`.

At a fork with weights 0 and $\tilde f = (0.75, 0.25)$: loss $\log 2 = 0.693$, gradient $(-0.25, 0.25)$.
"""

# %% exercise="maxent_irl.debug"
def debug(transition_matrix, features, weights, expert_features, initial_state_dist, temperature, horizon):
    """Return the loss (a number) and its gradient [features]."""
    ### BEGIN SOLUTION
    values, policy = soft_backup_finite(transition_matrix, features @ weights, temperature, horizon)
    worth = initial_state_dist @ as_tensor(values)[0].double()  # log-sum-exp, not max: as the policy is soft
    arrivals = visitation(transition_matrix, as_tensor(policy).double(), initial_state_dist)
    arrivals = as_tensor(arrivals)[1:].double().sum(0)
    return ((worth - weights @ expert_features) / temperature,
            (arrivals @ features - expert_features) / temperature)
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## Play: draw, and be read

Drag a path, or use the arrow keys. After each step one reward per cell is fitted anew by the likelihood of your moves (discount 0.9,
$\lambda = 1$, a light penalty).

1. Where is the reward highest? Why there?
2. Remove the walk; draw three steps along the border. Did you want that, or did the watching stop?
3. Go on, round some cell. What does the model think of it?
4. Begin a second walk. What becomes of the first end?
"""

# %%
from tutorlib.irl import walk_fitter
from tutorlib.mdp import GridWorld
from tutorlib.viz import DemonstrationPad

meadow = GridWorld("......\n......\n..#...\n...#..\n......\nS.....", slip=0.1)
first = [meadow.state_of(*cell) for cell in [(5, 0), (4, 0), (4, 1), (3, 1), (2, 1), (1, 1), (1, 2), (1, 3), (1, 4)]]
DemonstrationPad(meadow, walk_fitter(meadow), walks=[first],
                 title="One walk, and the reward that makes it likely")

# %% [markdown] tags=["slide"]
r"""
## Break it: a likelihood above 1

The second student of the hook gives *each move in each cell* its own reward: 100 numbers, from only ten drives. She minimises the same $L$ by
the same gap. A negative log-likelihood of choices cannot be below 0: no probability is above 1.

Run it. Before you read on: what has her reward found?
"""

# %%
from tutorlib.errors import NotConvergedError
from tutorlib.irl import TabularReward, causal_loss, expert_visits

ten = sample_trajectories(mdp, pi_star, 10, T, torch.Generator().manual_seed(1))
target, table = expert_visits(mdp, ten), torch.zeros(25, 4, dtype=torch.float64, requires_grad=True)
runaway, size, optimizer = [], [], torch.optim.SGD([table], lr=0.05)
for _ in range(300):
    loss = causal_loss(mdp, table, target, lam)  # the gap, for one reward per move
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    runaway.append(float(loss.detach()))
    size.append(float(table.detach().abs().max()))
print(f"step 300: loss {runaway[-1]:.1f} nats, so a likelihood of e^{-runaway[-1]:.0f}; largest reward {size[-1]:.1f}")
try:
    fit_model(mdp, TabularReward(mdp), ten, FitSettings(temperature=lam))
except NotConvergedError as refusal:
    print(f"tutorlib: {refusal}")

# %% [markdown]
r"""
**Diagnosis.** In ten drives luck has not averaged out: here the cart slid left, there never. So *no policy has* their visits. A reward per
move can pay for exactly this: "leave a cell more often than you enter it" (unit 05's shaping). **No policy can earn that pay**, but
$\theta \cdot \tilde f$ grows by it for ever, and $L$ is no longer the negative log-likelihood.

Two cures: a penalty $\tfrac{1}{2} c\, \lVert\theta\rVert^2$, or the **exact** likelihood of the moves, given where they were made.
"""

# %%
curves = {"gap": runaway[::3]}
for name, settings in {"gap, with a penalty": {"objective": "gap", "l2": 0.5},
                       "exact likelihood": {"objective": "likelihood"}}.items():
    found = fit_model(mdp, TabularReward(mdp), ten, FitSettings(
        temperature=lam, optimizer="sgd", learning_rate=0.05, steps=299, occupancy_tolerance=0.0, **settings))
    curves[name] = [line["loss"] for line in found.history][::3]
below = next(i for i, loss in enumerate(runaway) if loss < 0)
lines(curves, range(1, 301, 3), xlabel="step of descent", ylabel="loss (nats per drive, with its penalty)", target=0.0,
      target_label="a likelihood of 1",
      title=f"From step {below + 1} on the gap claims more than certainty; penalty and exact likelihood stay above 0")

# %% [markdown] tags=["slide"]
r"""
## Does it scale? How many drives are enough

Now both students, with the exact likelihood and a light penalty, from 1 to 300 drives, eight times each; and a third, who learns no reward but **copies** her most frequent move in each
cell (unit 04). All are judged by *regret* with the new cart, measured in the true reward: 0 is the best possible drive, 1 is
driving at random.

All 48 fits of a student run as one batch.
"""

# %%
from tutorlib.irl import evaluate_transfer, forward_pass, pay

NUMBERS, SEEDS, flip = (1, 3, 10, 30, 100, 300), 8, [2, 3, 0, 1]  # up <-> down, right <-> left
new_cart = mdp.replace(successors=mdp.successors[:, flip], probabilities=mdp.probabilities[:, flip],
                       reward=mdp.reward[:, flip])
worlds = {"new cart": new_cart, "old cart": mdp, "rain": garden(slip=0.4).mdp}


def watched(n, seed):
    """Return the visits per time of n drives, [T, states, actions]."""
    some = sample_trajectories(mdp, pi_star, n, T, torch.Generator().manual_seed(1000 * seed + n))
    return expert_visits(mdp, some, per_step=True)


evidence = torch.stack([torch.stack([watched(n, seed) for seed in range(SEEDS)]) for n in NUMBERS])
settings, tables = FitSettings(temperature=lam, objective="likelihood", steps=120, l2=0.03, gradient_tolerance=1e-3), {}
for paid, name in (("arrival", "reward per cell"), ("action", "reward per move")):
    model = TabularReward(mdp, paid, batch=(len(NUMBERS), SEEDS))
    fit_model(mdp, model, evidence, settings)
    tables[name] = (paid, model.table.detach())

# %%
regret = {name: {} for name in (*tables, "copied moves")}
counts = evidence.sum(2)  # [numbers, seeds, states, actions]
often = (counts == counts.amax(-1, keepdim=True)).double()  # never seen: all moves alike
copied = (often / often.sum(-1, keepdim=True))[:, :, None].expand(-1, -1, T, -1, -1)
for world, process in worlds.items():
    scale = evaluate_transfer(process, process.reward)
    for name, (paid, table) in tables.items():
        found = [[evaluate_transfer(process, pay(process, one, paid)).regret_share for one in row] for row in table]
        regret[name][world] = torch.tensor(found).T  # [seeds, numbers]
    earned = (forward_pass(process, copied) * process.reward).sum((-2, -1))
    regret["copied moves"][world] = ((scale.optimal - earned) / (scale.optimal - scale.uniform)).T
for world in worlds:
    print(f"regret from {NUMBERS[-1]} drives, {world:<9}", {name: round(float(found[world][:, -1].mean()), 3)
                                                  for name, found in regret.items()})
final = {name: float(found["new cart"][:, -1].mean()) for name, found in regret.items()}
enough = next(n for n, r in zip(NUMBERS, regret["reward per cell"]["new cart"].T, strict=True) if r.mean() < 0.05)

# %% tags=["hide-input"]
from tutorlib.viz import learning_curves

learning_curves({name: found["new cart"] for name, found in regret.items()}, [math.log10(n) for n in NUMBERS],
                xlabel="log10 of the number of drives seen", ylabel="regret with the new cart", higher_is_better=False, band=(0, 100),
                title=f"{enough} drives make the reward per cell serve the new cart; 300 leave a regret of "
                      f"{final['reward per move']:.2f} per move, {final['copied moves']:.2f} copied")

# %% [markdown]
r"""
With the old cart all three do well, even in rain (four slips in ten). The reward per move holds the *old dynamics*: up was good because
it drove up. Its wide band: sample and penalty decide which of many rewards one gets.

That she wants cells and not moves is an **assumption**. Drives of one cart can refute it, never prove it: what a reward per cell
explains, one per move explains too. (Unit 05: two dynamics tell more.)
"""

# %%
import time

from tutorlib.irl import backward_pass

sizes, seconds = (10, 20, 40, 80), []
for side in sizes:  # one gradient step: backward and forward pass, T = 12
    big = GridWorld("\n".join(["." * side] * (side - 1) + ["S" + "." * (side - 1)]), slip=0.1, horizon=T, discount=1.0).mdp
    start = time.process_time()
    forward_pass(big, backward_pass(big, torch.zeros(big.n_states, 4, dtype=torch.float64))[1])
    seconds.append(time.process_time() - start)
    print(f"{side**2:>6} states: {1000 * seconds[-1]:7.1f} ms of CPU time for one gradient step")
print(f"{(sizes[-1] / sizes[1]) ** 2:.0f} times the states of the second take {seconds[-1] / seconds[1]:.0f} times as long")

# %% [markdown]
r"""
The cost grows with the transitions that exist, not with all pairs of states: only three cells can follow a move here. (Small worlds take mostly overhead.) The project's
benchmark (`benchmarks/irl`) compares the same step with the `imitation` package, whose transitions are dense: the two agree to
six digits, and the sparse one goes on to 100,000 states.

What does *not* scale is knowing the dynamics at all. Units 07 and 11 do without.
"""

# %% [markdown] tags=["slide"]
r"""
## The bridge: a reward model is this, with one decision

A reader prefers answer $y^+$ to $y^-$. Call the pair a world: one decision, two actions, rewards $\theta \cdot \phi(y)$. Then
$\pi(y^+) = \sigma\big(\theta \cdot (\phi(y^+) - \phi(y^-))/\lambda\big)$ is the **Bradley-Terry** model (1952), and its gradient is our gap: expected features minus features chosen. Unit 11 trains reward models
by it.

And tokens: a token decides its next state, so there is no luck to mistake for choice. The models of 2008 and 2010 are then *one* (unit 09).
"""

# %%
from tutorlib.mdp import TabularMDP

generator = torch.Generator().manual_seed(5)
pair = torch.randn(2, 3, generator=generator, dtype=torch.float64)  # features of y+ and y-
theta3 = torch.tensor([0.5, -1.0, 0.3], dtype=torch.float64)
fork = torch.zeros(3, 2, 3, dtype=torch.float64)  # prompt -> y+ or y-, which stay
fork[0, 0, 1] = fork[0, 1, 2] = fork[1, :, 1] = fork[2, :, 2] = 1.0
given = torch.cat([torch.zeros(1, 3, dtype=torch.float64), pair])
ours = irl_gradient(fork, given, theta3, torch.tensor([[0, 1]]), torch.tensor([1.0, 0, 0]).double(), 1.0)
difference = pair[0] - pair[1]
print("gradient of the gap:          ", [f"{float(x):+.6f}" for x in ours])
print("gradient of -log σ(θ·(φ+ − φ−)):", [f"{float(x):+.6f}" for x in (torch.sigmoid(theta3 @ difference) - 1) * difference])

nexts = torch.randint(5, (5, 3, 1), generator=generator)  # five states, three tokens, no chance
text = TabularMDP(nexts, torch.ones(5, 3, 1, dtype=torch.float64), torch.randn(5, 3, generator=generator).double(),
                  torch.eye(5).double()[0], discount=1.0, horizon=4)
both = solve_maxent(text, text.reward).policy, solve_causal(text, text.reward).policy
print(f"tokens: the policies of 2008 and 2010 differ by at most {float((both[0] - both[1]).abs().max()):.0e}")

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. Maximum entropy gives every behaviour a probability under every reward; the rest is maximum likelihood.
2. Average chance first, choose second: the causal model is a policy, the trajectory model bends luck.
3. Backward for values, forward for visits; the gradient is a gap of features.
4. Features that agree are not behaviour that agrees; a likelihood above 1 is a bug.
5. Rewards of places travel, rewards of moves stay at home. (A likelihood fits; assumptions transfer.)
"""

# %%
recall("maxent_irl.students", WHO[0] if final["reward per cell"] < final["reward per move"] - 0.05 else WHO[2])

# %%
quiz("maxent_irl")

# %% [markdown]
r"""
## Go further

- Ziebart et al. (2008), *Maximum entropy inverse reinforcement learning*, AAAI: find where chance enters eq. 4.
- Ziebart (2010), PhD thesis, Carnegie Mellon, ch. 5-6: the causal model, derived.
- Gleave & Toyer (2022), [arXiv 2203.11409](https://arxiv.org/abs/2203.11409): a primer that derives both, with care.
- Wulfmeier et al. (2015), [arXiv 1507.04888](https://arxiv.org/abs/1507.04888): the network version.
- The `imitation` package: its tutorial, and `mce_irl.py`, which our tests compare with.

**Open question.** λ was given. Can one garden's drives tell a cold gardener with small wishes from a hot one with large ones?
"""
