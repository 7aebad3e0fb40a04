# %% [markdown] tags=["card", "slide"]
r"""
# Adversarial IRL

A judge tries to tell your steps from a demonstrator's; you are paid for fooling the judge. You play this game exactly, then
with networks, and see what else it pays.

**Afterwards you can**

- read GAIL, AIRL and forward KL as one game with three rewards,
- say which reward pays for what, and which pays for staying alive,
- keep a learned reward that survives a change of the world,
- recognise the discriminator's logit when language models call it something else.
"""

# %% [markdown] tags=["slide"]
r"""
## A demonstrator who does nothing

A pole in miniature: seven leans, from fallen left to fallen right. Left alone, it falls on the way it leans. A push moves
it one step, and slips one time in ten. A fall ends the episode.

The demonstrator does nothing, nine times in ten. An imitator watches, starts from random pushes, and is paid by a perfect
judge: $-\log(1 - D)$ per step, $D$ the probability that the step is the demonstrator's. This is GAIL, generative
adversarial imitation (Ho and Ermon 2016).
"""

# %%
import math

import torch
from IPython.display import display

from tutorlib import predict, progress, quiz, recall
from tutorlib.exercises.adversarial_irl.worlds import (
    METHODS,
    balancer,
    beam,
    idler,
    numbers,  # a float64 tensor
    steps_alive,
)
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors
from tutorlib.mdp import uniform_policy

torch.set_num_threads(1)  # today's tensors are tiny: more threads would only wait for each other
pole = beam()  # [states] = leans -3 ... +3; actions: push left, nothing, push right
for name, policy in {"does nothing": idler(pole), "pushes at random": uniform_policy(pole),
                     "balances": balancer(pole)}.items():
    print(f"{name:>16}: {steps_alive(pole, policy):4.1f} steps before the fall")
WHO = ("it falls as soon as the demonstrator", "it falls even sooner",
       "it stands at least five times as long")
predict("adversarial_irl.idler", "After imitating the one who does nothing, the imitator ...", WHO)

# %% tags=["hide-input"]
from tutorlib.viz import roadmap

roadmap("07")

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

One state, two actions. The demonstrator takes them with probabilities $(0.9, 0.1)$, the policy with $(0.5, 0.5)$.

- Of all steps with the first action, the demonstrator's share is $0.9 / (0.9 + 0.5) = 0.643$. This is the best judge, $D$.
- With the second: $0.1 / (0.1 + 0.5) = 0.167$.
- GAIL pays $-\log(1 - 0.643) = 1.030$ and $-\log(1 - 0.167) = 0.182$.

So the first action pays more, the policy moves towards it, and then the judge must be asked again: at $(0.9, 0.1)$ it can only
toss a coin.
"""

# %%
demo, pi = numbers([0.9, 0.1]), numbers([0.5, 0.5])
for _ in range(8):
    D = demo / (demo + pi)  # the best judge of this policy
    reward = -torch.log(1 - D)
    print(f"policy {pi[0]:.3f}   D {D[0]:.3f} {D[1]:.3f}   reward {reward[0]:.3f} {reward[1]:.3f}")
    pi = pi * reward.exp()  # a step of the policy: more of what pays more
    pi = pi / pi.sum()

# %% [markdown] tags=["slide"]
r"""
## Imitation is minimising a divergence

Let $\rho(s, a)$ be occupancies that sum to 1 (unit 01's, times $1 - \gamma$), and $u = \rho_\text{demo} / \rho_\pi$. For a convex $f$ with $f(1) = 0$,

$$\min_\pi\; D_f = \sum_{s,a} \rho_\pi\, f(u)$$

is 0 exactly where the two agree. No judge yet. He enters because $f(u) = \max_t\, (t u - f^*(t))$, with the **conjugate**
$f^*(t) = \max_v (t v - f(v))$. Put that in, with $\rho_\pi u = \rho_\text{demo}$:

$$\min_\pi \max_{T(s,a)}\; \mathbb{E}_\text{demo}[T] - \mathbb{E}_\pi[f^*(T)]$$

Both sides are expectations: samples will do. The best critic is $T = f'(u)$, and the policy is left with the reward
$f^*(f'(u))$. [§2.4, Eqs 2-4]
"""

# %% [markdown]
r"""
## Table 4

| method | $f(u)$ | divergence |
|---|---|---|
| AIRL (Fu et al. 2018) | $-\log u$ | reverse, $\mathrm{KL}(\rho_\pi \| \rho_\text{demo})$ |
| GAIL (Ho and Ermon 2016) | $u \log u - (u + 1) \log \frac{u + 1}{2}$ | $2\, \mathrm{JS}$ |
| FAIRL (Ghasemipour et al. 2020) | $u \log u$ | forward, $\mathrm{KL}(\rho_\text{demo} \| \rho_\pi)$ |

JS, the Jensen-Shannon divergence, is the mean of both KLs to the mixture $\frac{1}{2}(\rho_\text{demo} + \rho_\pi)$. The tutorial [§2.4] prints JS for
GAIL; its $f$ gives twice that.
"""

# %% [markdown] exercise="adversarial_irl.f_divergence_table"
r"""
Complete the table: write `f_divergence_table(u)`.

- `u`: ratios $\rho_\text{demo} / \rho_\pi$, all above 0, `[points]`.
- Return a dict with the keys `"reverse_kl"`, `"jensen_shannon"`, `"forward_kl"`. Each value is `[3, points]`, with the rows
  $f(u)$ as in table 4, the critic $f'(u)$, and the reward $f^*(f'(u))$, exact constants included.

You need no search for $f^*$: at $t = f'(u)$ the maximum of $t v - f(v)$ lies at $v = u$.

For $u = 2$ and reverse KL: $f = -0.693$, $f' = -0.5$, reward $-0.5 \cdot 2 + 0.693 = -0.307$.
"""

# %% exercise="adversarial_irl.f_divergence_table"
def f_divergence_table(u):
    """Return {name: [3, points]} with f(u), f'(u) and f*(f'(u)); u is a tensor [points]."""
    ### BEGIN SOLUTION
    f = {"reverse_kl": -u.log(),
         "jensen_shannon": u * u.log() - (u + 1) * ((u + 1) / 2).log(),
         "forward_kl": u * u.log()}
    slope = {"reverse_kl": -1 / u,
             "jensen_shannon": (2 * u / (u + 1)).log(),
             "forward_kl": u.log() + 1}
    return {name: torch.stack([f[name], slope[name], u * slope[name] - f[name]]) for name in f}
    ### END SOLUTION


# %%
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

from tutorlib.irl import normalised_occupancy

p, q = (normalised_occupancy(pole, x).flatten() for x in (balancer(pole), uniform_policy(pole)))
P, Q = p.numpy(), q.numpy()
kept = q > 0
table = {name: as_tensor(rows).double() for name, rows in f_divergence_table(p[kept] / q[kept]).items()}
known = {"reverse_kl": rel_entr(Q, P).sum(), "jensen_shannon": jensenshannon(P, Q) ** 2,
         "forward_kl": rel_entr(P, Q).sum()}  # scipy's, of balancer and random pusher
for name, (f, critic, reward) in table.items():
    game = p[kept] @ critic - q[kept] @ reward  # E_demo[T] - E_pi[f*(T)] at the best critic
    print(f"{name:>14}: Σ ρ_π f(u) = {q[kept] @ f:.6f}   the game's value {game:.6f}   "
          f"scipy {known[name]:.6f}")
ratio = float(q[kept] @ table["jensen_shannon"][0] / known["jensen_shannon"])
print(f"GAIL's f gives {ratio:.6f} times the Jensen-Shannon divergence")

# %% [markdown] exercise="adversarial_irl.optimal_discriminator"
r"""
The three critics are all functions of $u$, so one **discriminator** serves them all. It is a classifier with label 1 for
the demonstrator, and maximises $\mathbb{E}_\text{demo}[\log D] + \mathbb{E}_\pi[\log(1 - D)]$. Write
`optimal_discriminator(demo, policy)`:

- `demo`, `policy`: occupancies $\rho_\text{demo}$ and $\rho_\pi$, `[states, actions]`; each sums to 1 and may hold zeros.
- Return the best $D(s, a)$, `[states, actions]`; where neither ever goes, there is no evidence: $1/2$.

Find it entry by entry: set the derivative of $\rho_\text{demo} \log D + \rho_\pi \log(1 - D)$ by $D$ to 0.
"""

# %% exercise="adversarial_irl.optimal_discriminator"
def optimal_discriminator(demo, policy):
    """Return D [states, actions] from two occupancies [states, actions]."""
    ### BEGIN SOLUTION
    total = demo + policy
    return torch.where(total > 0, demo / total, 0.5)
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## Everything in one number: the logit

$$h = \log \frac{D}{1 - D} = \log \frac{\rho_\text{demo}}{\rho_\pi} = \log u$$

The logit of the best discriminator is the **log density ratio**. Up to constants, which move no policy while all
episodes are equally long, the three rewards are functions of it:

| | with $D$ | with $h$ | pays when $h = 0$ |
|---|---|---|---|
| AIRL | $\log D - \log(1 - D)$ | $h$ | 0 |
| GAIL | $-\log(1 - D)$ | $\log(1 + e^h)$ | $\log 2$ |
| GAIL, as often coded | $\log D$ | $-\log(1 + e^{-h})$ | $-\log 2$ |
| forward KL | $D / (1 - D)$ | $e^h$ | 1 |
"""

# %% [markdown] exercise="adversarial_irl.policy_reward"
r"""
Write `policy_reward(logit, method)`.

- `logit`: $h$, any shape, as a discriminator returns it: it carries its gradient.
- `method`: `"airl"`, `"gail"` ($-\log(1 - D)$), `"gail_log_d"` ($\log D$) or `"forward_kl"`.
- Return the rewards, in the shape of `logit`. They must be finite for a sure judge ($h = 45$, where $D$ rounds to 1), and
  **fixed numbers**: the policy climbs them, it does not reach through them to bend the judge.

At $h = \log 2$ ($D = 2/3$), `"gail"` pays $-\log(1/3) = 1.099$.
"""

# %% exercise="adversarial_irl.policy_reward"
def policy_reward(logit, method):
    """Return the reward of each logit, without a gradient; same shape."""
    ### BEGIN SOLUTION
    h = logit.detach()
    if method == "airl":
        return h
    if method == "gail":
        return torch.nn.functional.softplus(h)
    if method == "gail_log_d":
        return torch.nn.functional.logsigmoid(h)
    return h.exp()
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## The game, exactly

Now play on the pole, for both demonstrators. Each round: exact occupancies, the best discriminator, your reward, and one exact step
of the policy, $\pi \propto \pi\, e^{\eta A}$, with the advantage $A$ of that reward.

One precaution. A fallen pole stays fallen: we let the judge look at that **absorbing state** too, for ever, as at any other. Every
episode is then equally long. Remember this line: `pay_absorbing=True`.

The distance is total variation: half the sum of $|\rho_\text{demo} - \rho_\pi|$, between 0 and 1.
"""

# %%
from tutorlib.exercises.adversarial_irl.worlds import LABELS
from tutorlib.irl import GameSettings, play_game
from tutorlib.viz import lines


def play(demonstrator, method, **settings):
    """Play the exact game on the pole with your reward; return its policies and distances."""
    return play_game(pole, demonstrator, lambda h: as_tensor(policy_reward(h, method)).double(),
                     GameSettings(rounds=150, **settings))


guarded = {(who.__name__, m): play(who(pole), m, pay_absorbing=True)
           for who in (idler, balancer) for m in METHODS}
curves = {LABELS[m]: guarded["balancer", m].distances.clamp(min=1e-12) for m in METHODS}
worst = max(float(game.distances[-1]) for game in guarded.values())
lines(curves, yscale="log", xlabel="round of the game", ylabel="total variation to the demonstrator",
      title=f"All four rewards lead to the demonstrator: after 150 rounds less than "
            f"{10 ** math.ceil(math.log10(worst)):g} is left (shown: the balancer)")

# %% [markdown] tags=["slide"]
r"""
## Play: one demonstrator, one policy, three rewards

Four actions in one state. The sliders are the policy's weights. The middle shows each reward minus its mean under the
policy; the right shows how fast each share would grow.

1. Make the policy do *wait* only (weights 1, 1, 1, 100). Which reward shouts, which one hardly whispers?
2. Make *left* rare (1) and the rest high. Who pays most for the missing mode?
3. Find weights where all three pushes vanish. How many such policies are there?
"""

# %% tags=["hide-input"]
from tutorlib.irl import f_divergence, log_density_ratio
from tutorlib.viz import density_explorer


def game_of(kind, method):
    """Return (divergence, reward), two functions of arrays demo and policy."""
    def cost(p, q):
        return float(f_divergence(kind, torch.as_tensor(p), torch.as_tensor(q)))

    def reward(p, q):
        h = log_density_ratio(torch.as_tensor(p), torch.as_tensor(q))
        return as_tensor(policy_reward(h, method)).double().numpy()

    return cost, reward


density_explorer([0.55, 0.3, 0.1, 0.05],
                 {"reverse KL": game_of("reverse_kl", "airl"), "2 JS": game_of("jensen_shannon", "gail"),
                  "forward KL": game_of("forward_kl", "forward_kl")},
                 ("left", "right", "jump", "wait"), start=[0.1, 0.2, 0.3, 0.4])

# %%
# Your answers? Each line: reward minus its mean under the policy, for left, right, jump, wait.
# 1 and 2: forward KL shouts where a mode is missing, GAIL whispers where the policy overdoes it.
# 3: all are silent at one policy only, the demonstrator's.
shown = numbers([0.55, 0.3, 0.1, 0.05])  # of left, right, jump, wait
for name, weights in (("waits only", [1, 1, 1, 100]), ("left is rare", [1, 100, 100, 100]),
                      ("as demonstrated", [55, 30, 10, 5])):
    pi = numbers(weights) / sum(weights)
    for m in ("airl", "gail", "forward_kl"):
        pay = as_tensor(policy_reward((shown / pi).log(), m)).double()
        print(f"{name:<15}  {LABELS[m]:<17}", *(f"{x:+8.2f}" for x in pay - pi @ pay))

# %% [markdown] tags=["slide"]
r"""
## A reward that runs away

FAIRL's paper and code pay $-u \log u = -h e^h$ for forward KL. It looks right: $\mathbb{E}_\pi[-u \log u] = -\sum \rho_\text{demo} \log u$ is minus
the forward KL itself. But the policy gradient takes a reward as *fixed*, while $u$ changes with the policy. Per entry:

$$\frac{d}{d\rho_\pi} \big(\rho_\pi\, r\big) = r + \rho_\pi \frac{d r}{d\rho_\pi} = -u \log u + u\,(\log u + 1) = u$$

The gradient wanted is $u$. A fixed $-u \log u$ is another thing: it even falls as $u$ grows beyond $1/e$. (For AIRL
the same extra term is $-1$, a constant, which moves no policy.)
"""

# %%
from tutorlib.mdp import TabularMDP

one_state = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
demo = numbers([[0.9, 0.1]])
printed, tracks = lambda h: -h * h.exp(), {}
for name, reward, begin in (("u, from 0.5", lambda h: h.exp(), 0.5), ("log u, from 0.5", lambda h: h, 0.5),
                            ("−u log u, from 0.5", printed, 0.5), ("−u log u, from 0.89", printed, 0.89)):
    start = numbers([[begin, 1 - begin]])
    run = play_game(one_state, demo, reward, GameSettings(40, 0.5, "gradient"), start)
    tracks[name] = run.policies[:, 0, 0]
    print(f"{name:>20}: first action {begin:.2f} -> {tracks[name][1]:.4f} -> ... -> {tracks[name][-1]:.4f}")
lines(tracks, xlabel="step of exact policy gradient", ylabel="probability of the first action",
      target=0.9, target_label="demonstrator",
      title=f"−u log u moves the wrong way from the first step, and ends at "
            f"{tracks['−u log u, from 0.5'][-1]:.2f}; u arrives at {tracks['u, from 0.5'][-1]:.2f}")

# %% [markdown]
r"""
So why not let the gradient run through the reward? The next cell compares, at the policy $(0.5, 0.5)$. A leak repairs the printed
reward, changes GAIL's, and silences forward KL: $\sum \rho_\pi u = \sum \rho_\text{demo}$ is a constant. With a discriminator *network* it is worse:
the policy would push the judge's weights, not its own behaviour.

(FAIRL's authors report good results with networks. What diverges here is the exact game.)
"""

# %%
forms = {"AIRL: h": lambda h: h, "GAIL: −log(1 − D)": torch.nn.functional.softplus,
         "forward KL: u": torch.exp, "FAIRL as printed: −h exp(h)": printed}
for name, form in forms.items():
    slopes = []
    for leak in (False, True):
        theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # logits of the policy
        pi = torch.softmax(theta, 0)
        reward = form((demo[0] / pi).log())
        (pi * (reward if leak else reward.detach())).sum().backward()
        slopes.append(float(theta.grad[0]))
    print(f"{name:>28}: slope for the first action {slopes[0]:+.3f} fixed, {slopes[1]:+.3f} through")

# %% [markdown] tags=["slide"]
r"""
## AIRL: a reward to keep

At the end of the game $h = 0$: GAIL pays $\log 2$ whatever one does, forward KL 1. The judge knows nothing, and its reward is worth
nothing. AIRL keeps something, by the *form* of its discriminator:

$$D = \frac{e^{f}}{e^{f} + \pi(a|s)}, \qquad f(s, a, s') = g(s) + \gamma\, \Phi(s') - \Phi(s)$$

($\Phi$ is a shaping potential as in unit 05; Fu et al. call it $h$.) When the policy has become the demonstrator, $D = 1/2$ means
$f = \log \pi_\text{demo}$, which for a soft-optimal demonstrator (unit 03) is the advantage
$(Q - V)/\lambda = (r + \gamma V(s') - V(s))/\lambda$. So $g = r/\lambda$ and $\Phi = V/\lambda$ fit.
"""

# %% [markdown] exercise="adversarial_irl.airl_logit"
r"""
Write `airl_logit(state_reward, potential, next_potential, terminated, log_policy, discount)`, the logit $\log D - \log(1 - D)$ of
a batch of transitions.

- `state_reward`, `potential`, `next_potential`: $g(s)$, $\Phi(s)$, $\Phi(s')$; `log_policy`: $\log \pi(a|s)$; all `[transitions]`.
- `terminated`: booleans, `[transitions]`; true where the step ended the episode. Nothing follows an end: there $\Phi(s')$
  counts as 0.
- Return `[transitions]`, finite also where $f$ is in the hundreds: simplify before you compute. The judge is trained
  through this logit: do not detach.

For $g = 3$, $\Phi(s) = 2$, $\Phi(s') = 4$, $\gamma = 0.5$, $\log \pi = -1$: $f = 3 + 2 - 2 = 3$, logit $4$. If that step ended the episode: $2$.
"""

# %% exercise="adversarial_irl.airl_logit"
def airl_logit(state_reward, potential, next_potential, terminated, log_policy, discount):
    """Return log D - log(1 - D) of each transition, [transitions]."""
    ### BEGIN SOLUTION
    following = next_potential.masked_fill(terminated, 0.0)
    f = state_reward + discount * following - potential
    return f - log_policy
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## Two doors

A house of two rooms with two doors; in the right room, one cell pays 1 per step. The demonstrator knows the way through the lower
door; the upper one is shut. It is soft-optimal at $\lambda = 0.2$.

Play AIRL exactly: $g$ and $\Phi$ are tables, fitted to the discriminator's own loss in each round. Actions decide the next state here, and the
reward is the state's alone: then (Fu et al., theorem C.1) $g$ is the true reward$/\lambda$ up to a constant.
"""

# %%
from tutorlib.exercises.adversarial_irl.worlds import HOUSE_TEMPERATURE, house, house_grid
from tutorlib.irl import play_airl
from tutorlib.irl.shaped import next_states
from tutorlib.mdp import soft_policy_iteration

lower, upper = house("2"), house("1", start="left")  # which door is open; where episodes begin
expert = soft_policy_iteration(lower, HOUSE_TEMPERATURE).policy
airl = play_airl(lower, expert, rounds=120)
g, phi, successor = airl.reward.state_reward, airl.reward.potential, next_states(lower)
truth = lower.reward[:, 0] / HOUSE_TEMPERATURE
logit = as_tensor(airl_logit(g[:, None].expand(-1, 4).flatten(), phi[:, None].expand(-1, 4).flatten(),
                             phi[successor].flatten(), torch.zeros(successor.numel(), dtype=torch.bool),
                             expert.log().flatten(), lower.discount)).double()
error = (g - truth) - (g - truth).mean()
print(f"policy: total variation {airl.distances[0]:.2f} -> {airl.distances[-1]:.0e}")
print(f"your logit at the demonstrator: at most {logit.abs().max():.0e}, so D = 1/2 everywhere")
print(f"g − r/λ varies by {error.abs().max():.0e} around {float((g - truth).mean()):.2f}")

# %% [markdown]
r"""
Now the lower door is shut and the upper one opened; episodes begin in the left room. Three ways to use what was learned: plan anew for $g$;
plan anew for $f$, as a reward of state and action; or just repeat the demonstrator's actions.

Before you run it: what does $f = \log \pi_\text{demo}$ say about walking into a door that is no longer open?
"""

# %%
from tutorlib.irl import evaluate_transfer
from tutorlib.mdp import policy_evaluation, return_of, value_iteration
from tutorlib.viz import Panel, gridworld_panels

as_pairs = g[:, None].expand(-1, 4).contiguous()
rewards = {"plan for g(s)": as_pairs, "plan for f(s, a)": airl.reward.advantage}
moved = {name: evaluate_transfer(upper, r) for name, r in rewards.items()}
best = moved["plan for g(s)"].optimal
for name, found in moved.items():
    print(f"{name:>22}: true return {found.achieved:.3f} of {best:.3f}")
print(f"{'repeat the actions':>22}: true return {return_of(upper, expert):.3f} of {best:.3f}")
grid = house_grid("1")
seen = [upper.state_names.index(str(grid.cell_of(s))) for s in range(grid.mdp.n_states)]
panels = []
for name, r in rewards.items():
    plan = value_iteration(upper.replace(reward=r)).policy
    panels.append(Panel(grid, policy_evaluation(upper, plan)[seen], plan[seen], name))
share = {name: found.achieved / best for name, found in moved.items()}
gridworld_panels(panels, label="true value",
                 title=f"With the other door open, g earns {share['plan for g(s)']:.0%} of the best "
                       f"return, f earns {share['plan for f(s, a)']:.0%}: f still leads to the old door")

# %% [markdown]
r"""
An advantage says what was best *given the old ways on*. The potential $\Phi$ took over that part, and $g$ kept what belongs to the
state. Three conditions are easily forgotten: the true reward depends on the state alone, actions decide what happens, and the
demonstrator's data cover the states in question. Unit 05's rank test says when states are linked well enough.
"""

# %% [markdown] tags=["slide"]
r"""
## Does it scale? Samples and networks

CartPole and the pendulum have no table. The judge becomes a network that sees samples of both sides; its logit estimates $h$, and
PPO (unit 02) climbs `policy_reward(logit)`. Imitators see 10 episodes and no reward. On CartPole the guard stays on: who falls
enters an absorbing state. A penalty on the judge's slope and a limit on its logit keep the pay finite.

Most curves were measured beforehand, by `benchmarks/irl/imitators.py`; one imitator per task is trained now.
"""

# %% tags=["hide-input"]
import json

from tutorlib.control import evaluate
from tutorlib.irl import AdversarialConfig, cartpole_ppo, pendulum_config, train_adversarial
from tutorlib.syllabus import course_root
from tutorlib.viz import learning_curves

measured = json.loads((course_root() / "benchmarks" / "irl" / "imitators.json").read_text())["tasks"]


def imitate(task, config, start=None, seed=7, points=8):
    """Imitate once; return {steps: true return of the likeliest actions} on the way."""
    each, curve = config.ppo.n_envs * config.ppo.n_steps, {}
    every = config.ppo.total_steps // each // points

    def watch(steps, policy):
        if steps // each % every == 0:
            curve[steps] = float(evaluate(task, policy, 20, seed=5).mean())

    if start is not None:
        watch(0, start)
    train_adversarial(task, demos[task], config, seed, start=start,
                      callback=lambda entry, policy: watch(entry["steps"], policy))
    return curve


def beside_the_measured(name, task, live, live_name):
    """Draw the curves measured beforehand and the one just run."""
    curves = {LABELS[m]: [run["likeliest"] for run in runs] for m, runs in measured[name]["runs"].items()}
    ends = ", ".join(f"{label.split(':')[0]} {sum(c[-1] for c in runs) / len(runs):.0f}"
                     for label, runs in curves.items())
    return learning_curves(
        curves | {f"{live_name}, just now": [list(live.values())]}, list(live), band=(0, 100),
        xlabel="environment steps", ylabel="true return (20 episodes)",
        target=float(demos[task].returns().mean()), target_label="demonstrator",
        title=(f"Without seeing a reward, after {max(live):,} steps: {ends} (measured before); "
               f"{live_name} just now {list(live.values())[-1]:.0f}").replace("-", "−"))


# %%
from tutorlib.control import ControlTask, IgnoresFlag, PPOConfig, record_demonstrations, train_ppo
from tutorlib.control.arm import PENDULUM, SwingsUp

cartpole = ControlTask("CartPole-v1", 500, 8)  # fixed horizon: 500 steps, falls are absorbed
pendulum = ControlTask(PENDULUM)  # Gymnasium's Pendulum-v1, many at once
balancing = IgnoresFlag(train_ppo("CartPole-v1", PPOConfig(total_steps=40_960), seed=0).policy)
demos = {task: record_demonstrations(task, teacher, 10, seed=1, greedy=False)
         for task, teacher in ((cartpole, balancing), (pendulum, SwingsUp()))}
for task, by in demos.items():
    print(f"{task.env_id}: the demonstrator earns {by.returns().mean():.0f}")
now = imitate(cartpole, AdversarialConfig("gail", cartpole_ppo("gail", 40_960)))
beside_the_measured("cartpole", cartpole, now, "GAIL")

# %% [markdown] tags=["slide"]
r"""
## Real actions, and a running start

The pendulum's torque is a real number, cut to $[-2, 2]$. AIRL needs $\log \pi$ of what was *done*. At a bound that is the
probability of the whole tail (Fujita and Maeda 2018). With the density there, $-\log \pi$ pays a wide policy for growing wider.

$-\log \pi$ is also a bonus for entropy, until $f$ has become $\log \pi_\text{demo}$. So here all begin as **clones** (unit 04), which Ho
and Ermon suggest to save steps. At first they may get worse: judge and critic know nothing yet.
"""

# %%
from tutorlib.imitation import BCConfig, clone

print("what −log π pays at the bound 2, for a normal policy with mean 0")
for std in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0):
    density = torch.distributions.Normal(0.0, std).log_prob(torch.tensor(2.0))
    tail = torch.special.log_ndtr(torch.tensor(-2.0 / std))
    print(f"standard deviation {std:4.1f}: by the density {-density:5.2f}, by the tail {-tail:5.2f}")
alone = {LABELS[m].split(":")[0]: runs[0] for m, runs in measured["pendulum_alone"]["runs"].items()}
print(*(f"{name} from a policy that knows nothing, {run['steps'][-1]:,} steps (measured before, one run): "
        f"{run['likeliest'][-1]:.0f}" for name, run in alone.items()), sep="\n")
cloning = BCConfig(max_epochs=60, batch_size=256, validation_fraction=0.0, hidden=(64, 64))
begin = clone(pendulum, demos[pendulum], cloning, seed=7).policy
now = imitate(pendulum, pendulum_config("airl"), begin)
beside_the_measured("pendulum", pendulum, now, "AIRL")

# %% [markdown] tags=["slide"]
r"""
## Break it: take the guard away

Back to the pole. One argument changes: `pay_absorbing=False`. Now an episode simply ends with the fall, and no reward is paid after,
as in most environments. The judge is still perfect.

Look at who stands how long. The distances fell to 0 before; what has the reward been asking for now? And why does it depend on the
sign of the reward?
"""

# %%
from tutorlib.viz import bars

unguarded = {(who.__name__, m): play(who(pole), m, pay_absorbing=False)
             for who in (idler, balancer) for m in METHODS}
alive = {key: steps_alive(pole, game.policy) for key, game in unguarded.items()}
own = {who.__name__: steps_alive(pole, who(pole)) for who in (idler, balancer)}
outcome = WHO[2] if alive["idler", "gail"] >= 5 * own["idler"] else (
    WHO[1] if alive["idler", "gail"] < 0.9 * own["idler"] else WHO[0])
groups = ["demonstrator", *(LABELS[m] for m in METHODS)]
bars({"of the one who does nothing": [own["idler"], *(alive["idler", m] for m in METHODS)],
      "of the balancer": [own["balancer"], *(alive["balancer", m] for m in METHODS)]}, groups=groups,
     ylabel="steps before the fall, of the imitator",
     title=f"Without the guard GAIL \"learns\" {alive['idler', 'gail']:.0f} steps from a demonstrator "
           f"who falls after {own['idler']:.0f}, and log D unlearns the balancer's "
           f"{own['balancer']:.0f} to {alive['balancer', 'gail_log_d']:.0f}")

# %%
from tutorlib.irl.survival import BalancesByRule, PushesOneWay, survival_run

quick = PPOConfig(total_steps=20_480, epochs=5)
for who, method, guarded, seed in (
        (PushesOneWay(), "gail", False, 0), (PushesOneWay(), "gail", False, 1),
        (PushesOneWay(), "gail", True, 0), (BalancesByRule(), "gail_log_d", False, 0),
        (BalancesByRule(), "gail_log_d", False, 1), (BalancesByRule(), "gail_log_d", True, 0)):
    run = survival_run(who, method, guarded, seed, ppo=quick)
    print(f"{LABELS[method]:>17}, {'with' if guarded else 'without'} the guard, seed {seed}: the demonstrator "
          f"lasts {run.demonstrator_return:.0f} steps, the imitator {run.imitator_return:.0f}")

# %% [markdown] exercise="adversarial_irl.survival_bias"
r"""
Diagnose it with numbers. Write `survival_bias(reward, logits, mask)`, which splits each episode's return: what it earned for
*being alive*, and what for *likeness*. A judge who knows nothing has logit 0 everywhere and pays $r(0)$ per step.

$$\sum_{t < L} r(h_t) = \underbrace{\sum_{t < L} r(0)}_{\text{alive}} + \underbrace{\sum_{t < L} \big(r(h_t) - r(0)\big)}_{\text{likeness}}$$

- `reward`: a function of a tensor of logits, entry by entry.
- `logits`: $h_t$, `[episodes, time]`; `mask`: booleans, true for the steps that an episode lasted. What stands behind the end is filling.
- Return `[episodes, 2]`: alive, likeness; sums, not means.

GAIL's $-\log(1 - D)$, two steps with $h = (\log 2, 0)$: alive $2 \log 2 = 1.386$, likeness $\log 3 - \log 2 = 0.405$.
"""

# %% exercise="adversarial_irl.survival_bias"
def survival_bias(reward, logits, mask):
    """Return [episodes, 2]: paid for being alive, paid for likeness."""
    ### BEGIN SOLUTION
    blind = reward(torch.zeros_like(logits))  # what no evidence pays
    alive = torch.where(mask, blind, 0.0).sum(-1)
    likeness = torch.where(mask, reward(logits) - blind, 0.0).sum(-1)
    return torch.stack([alive, likeness], dim=-1)
    ### END SOLUTION


# %%
from tutorlib.mdp import sample_trajectories

target, strayed = (normalised_occupancy(pole, who(pole)) for who in (idler, balancer))
judge = log_density_ratio(target, strayed).clamp(-10, 10)  # the idler is imitated, a balancer is met
bias = {}
for who in (idler, balancer):
    steps = sample_trajectories(pole, who(pole), 500, generator=torch.Generator().manual_seed(1), horizon=200)
    logits = judge[steps.states[:, :200], steps.actions]
    for m in METHODS:
        parts = survival_bias(lambda x, m=m: as_tensor(policy_reward(x, m)).double(), logits, steps.mask)
        bias[who.__name__, m] = as_tensor(parts).double().mean(0)
print("mean return, 500 episodes each: for being alive + for likeness")
for m in METHODS:
    for who, label in (("idler", "the imitated one"), ("balancer", "a balancer")):
        a, b = bias[who, m].tolist()
        print(f"{LABELS[m]:>20}  {label:<17} {a:+7.1f} {b:+8.1f} = {a + b:+8.1f}")

# %% [markdown] tags=["slide"]
r"""
## Diagnosis: survival bias

$-\log(1 - D)$ and $u$ are never negative: every further step pays something. $\log D$ is never positive: every
step costs, and ending early is the way out. Only $r(0) = 0$ is neutral at the end of the game.

So a do-nothing demonstrator seems to "teach" CartPole, and goal-reaching tasks look solved with $\log D$. Kostrikov et al. 2019
described the bias. The cure is not a cleverer reward but a **fixed horizon**, or a judge who looks at absorbing states: then all
are paid $r(0)$ equally often.
"""

# %% [markdown] tags=["slide"]
r"""
## The bridge: a judge of sentences

A model answers with *blue*, *grey* or *grey today*, $\pi_\text{ref} = (0.6, 0.3, 0.1)$. People demonstrate $(0.2, 0.3, 0.5)$. Train a judge to
tell their answers from the model's: its logit is $\log(\pi_\text{demo} / \pi_\text{ref})$, **a reward learned from demonstrations** (unit 13).

Now tune the model on it as in unit 03: $\pi^* \propto \pi_\text{ref}\, e^{r/\beta}$. At $\beta = 1$ this is the demonstrator. Read backwards,
$r = \beta \log(\pi^* / \pi_\text{ref})$ up to a constant: the **implicit reward** of direct preference optimisation (unit 17). One log density
ratio, three names.
"""

# %%
ref, people = numbers([0.6, 0.3, 0.1]), numbers([0.2, 0.3, 0.5])
D = as_tensor(optimal_discriminator(people[None], ref[None]))[0].double()
r = D.log() - (1 - D).log()
print("the judge's logit        ", [f"{x:+.3f}" for x in r])
for beta in (4.0, 1.0, 0.25):
    tuned = torch.softmax(ref.log() + r / beta, 0)
    implicit = beta * (tuned / ref).log()
    same = float(((implicit - r) - (implicit - r).mean()).abs().max())
    print(f"tuned on it, β = {beta:<5g}", [f"{x:.3f}" for x in tuned],
          f"  β log(π*/π_ref) − r varies by {same:.0e}")
print(f"E_ref[logit] = {float(ref @ r):.4f}, −KL(ref ‖ people) = {-float((ref * (ref / people).log()).sum()):.4f}")

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. Imitation minimises an f-divergence; the judge makes it a game of two expectations.
2. All rewards are functions of one logit, $h = \log(\rho_\text{demo} / \rho_\pi)$, held fixed while the policy climbs.
3. A right objective is not yet a right reward: $-u \log u$ runs away.
4. AIRL's $g$ can move to a new world, $f$ cannot.
5. Where episodes end early, the sign of a reward decides who lives. Fix the horizon.
"""

# %%
display(recall("adversarial_irl.idler", outcome))
display(progress())
quiz("adversarial_irl")

# %% [markdown]
r"""
## Go further

- Ho and Ermon (2016), [arXiv 1606.03476](https://arxiv.org/abs/1606.03476): GAIL; read section 3, imitation as a dual of RL.
- Fu, Luo and Levine (2018), [arXiv 1710.11248](https://arxiv.org/abs/1710.11248): AIRL; section 5 on disentangled rewards.
- Ghasemipour, Zemel and Gu (2020), [arXiv 1911.02256](https://arxiv.org/abs/1911.02256): the family of divergences, FAIRL.
- Kostrikov et al. (2019), [arXiv 1809.02925](https://arxiv.org/abs/1809.02925): absorbing states and survival bias.
- Sun and van der Schaar (2025), [§2.4]: table 4 in its place.

**Open question.** A judge that sees only samples overfits, and its logit is then about the sample. Which regulariser keeps a reward worth
keeping?
"""
