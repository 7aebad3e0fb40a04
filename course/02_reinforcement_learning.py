# %% [markdown] tags=["card", "slide"]
r"""
# Reinforcement learning

Unit 01 planned with the rules in hand. Now the rules are hidden: you act, see what happens, and learn from that.
You start with one number in a table and end with your own PPO balancing a pole.

**Afterwards you can**

- learn values from single steps, and say whose values they are,
- estimate the slope of the return from trajectories, and measure its noise,
- build PPO and train it on CartPole,
- diagnose a run that fails without an error.
"""

# %%
import torch
from IPython.display import display
from tqdm import tqdm

from tutorlib import predict, progress, quiz, recall
from tutorlib.mdp import GridWorld, MDPEnv
from tutorlib.viz import bars, gridworld, gridworld_panels, learning_curves, roadmap

torch.set_num_threads(1)  # today's networks are tiny: a second thread would only wait for the first
roadmap("02")             # you are here: the reward is known, the world is not

# %% [markdown] tags=["slide"]
r"""
## Two learners at a cliff

A robot walks from S to G. Each step costs 0.01. Stepping into X, the cliff, costs 1 and ends the episode. Two learners
know none of this. Nothing is discounted. Both act on what they have learned, but one step in ten is random
(**$\varepsilon$-greedy**, $\varepsilon = 0.1$).

They differ in one look-up. **Q-learning** learns what the *best* behaviour is worth. **SARSA** learns what its
*own* behaviour is worth. Which of them earns more while it learns?
"""

# %% tags=["hide-input"]
CLIFF = GridWorld("""
........
........
........
SXXXXXXG
""", step_reward=-0.01, rewards={"G": 0.0, "X": -1.0}, discount=1.0)
OPTIONS = ("Q-learning", "SARSA", "No clear difference")
display(gridworld(CLIFF, title="Along the edge it is short; one fall there costs a hundred steps"))
predict("reinforcement_learning.cliff",
        "In the second half of training, who earns more per episode?", OPTIONS)

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

Two steps: from A to B with reward 1, from B to the end with reward 2. The discount is $\gamma = 0.5$, and each update moves
half of the way ($\alpha = 0.5$). All values start at 0.

- Episode 1, at A: the step paid 1, and B seems worth 0: target $1 + 0.5 \cdot 0 = 1$. New value $0.5$.
- Episode 1, at B: target $2$. New value $1$.
- Episode 2, at A: target $1 + 0.5 \cdot 1 = 1.5$. New value $0.5 + 0.5 \,(1.5 - 0.5) = 1$.

Both are really worth 2. News of B's reward travels back one step per episode.
"""

# %%
value = {"A": 0.0, "B": 0.0, "end": 0.0}
for episode in range(1, 9):
    for here, reward, following in (("A", 1.0, "B"), ("B", 2.0, "end")):
        target = reward + 0.5 * value[following]         # one real step, the table for the rest
        value[here] += 0.5 * (target - value[here])      # move half of the way
    print(f"after episode {episode}: A {value['A']:.3f}, B {value['B']:.3f}")

# %% [markdown] tags=["slide"]
r"""
## The rule, for actions

With actions the table holds $Q(s, a)$. After seeing one step $(s, a, r, s')$:

$$Q(s, a) \leftarrow Q(s, a) + \alpha \,\big(\text{target} - Q(s, a)\big)$$

$$\text{Q-learning: } r + \gamma \max_{a'} Q(s', a') \qquad \text{SARSA: } r + \gamma\, Q(s', a')$$

SARSA's $a'$ is the action taken next. So SARSA learns **on-policy**, about the behaviour that makes the experience.
Q-learning learns **off-policy**: the maximum may be an action that nobody took. (Sutton and Barto 2018, Equations 6.7, 6.8.)
"""

# %% [markdown] exercise="reinforcement_learning.td_target"
r"""
Write `td_target(reward, next_q, terminated, discount, next_action=None)`, the target of one step.

- `reward`: a number, paid in this step.
- `next_q`: a tensor `[actions]`, the row $Q(s', \cdot)$ of the state reached.
- `terminated`: `True` if the step ended the episode. Then nothing follows.
- `next_action`: the action taken next (SARSA), or `None` (Q-learning).
- Return one number. For reward 1, row `[2.0, 4.0]`, not terminated, discount 0.5 and no action: $1 + 0.5 \cdot 4 = 3$.
"""

# %% exercise="reinforcement_learning.td_target"
def td_target(reward, next_q, terminated, discount, next_action=None):
    """Return the number that Q(s, a) should move to; next_q is a tensor [actions]."""
    ### BEGIN SOLUTION
    if terminated:
        return reward
    worth = next_q.max() if next_action is None else next_q[next_action]
    return reward + discount * worth
    ### END SOLUTION


# %%
def learn(mdp, sarsa, episodes, seed, epsilon=0.1, alpha=0.5, max_steps=200):
    """Act, see, update with your target. Return the table, and return and length of each episode."""
    env, generator = MDPEnv(mdp, max_steps=max_steps), torch.Generator().manual_seed(seed)
    q, returns, lengths = torch.zeros_like(mdp.reward), [], []

    def act(state):  # epsilon-greedy: now and then at random, else the best in the table, ties by lot
        if torch.rand(1, generator=generator) < epsilon:
            return int(torch.randint(len(q[state]), (1,), generator=generator))
        best = (q[state] == q[state].max()).nonzero()[:, 0]
        return int(best[torch.randint(len(best), (1,), generator=generator)])

    for episode in range(episodes):
        state, total, steps, over = env.reset(seed=seed if episode == 0 else None)[0], 0.0, 0, False
        action = act(state)
        while not over:
            following, reward, terminated, truncated, _ = env.step(action)
            next_action = act(following)
            target = td_target(reward, q[following], terminated, mdp.discount,
                               next_action if sarsa else None)
            q[state, action] += alpha * (float(target) - q[state, action])
            state, action, over = following, next_action, terminated or truncated
            total, steps = total + reward, steps + 1
        returns, lengths = [*returns, total], [*lengths, steps]
    return q, torch.tensor(returns), torch.tensor(lengths)


# %%
SEEDS = range(5)
runs = {name: [learn(CLIFF.mdp, name == "SARSA", 400, seed) for seed in tqdm(SEEDS, desc=name)]
        for name in ("Q-learning", "SARSA")}
late = {name: torch.stack([returns[200:].mean() for _, returns, _ in found])  # one number per seed
        for name, found in runs.items()}
gap = late["SARSA"] - late["Q-learning"]
unclear = abs(gap.mean()) < 2 * gap.std() / len(SEEDS) ** 0.5  # two standard errors
outcome = "No clear difference" if unclear else "SARSA" if gap.mean() > 0 else "Q-learning"
for name, numbers in late.items():
    print(f"{name:>10}: {numbers.mean():.3f} per episode (seeds: {numbers.min():.3f} to {numbers.max():.3f})")
print("Earns more while learning:", outcome)

# %% tags=["hide-input"]
from tutorlib.mdp import greedy_policy
from tutorlib.viz import Panel


def walk(q):
    """Return the states that the greedy policy of q goes through, from the start to an end."""
    state = CLIFF.state_of(3, 0)
    path = [state]
    while not CLIFF.mdp.terminal[state] and len(path) < 40:
        state = int(CLIFF.mdp.successors[state, q[state].argmax(), 0])
        path.append(state)
    return path


tables = {name: torch.stack([q for q, _, _ in found]).mean(0) for name, found in runs.items()}
paths = {name: walk(q) for name, q in tables.items()}
panels = [Panel(CLIFF, policy=greedy_policy(q), path=paths[name], title=f"{name}: {len(paths[name]) - 1} steps")
          for name, q in tables.items()]
gridworld_panels(panels, title=f"Without slips, Q-learning's way is shorter: {len(paths['Q-learning']) - 1} "
                               f"steps against {len(paths['SARSA']) - 1}")

# %% [markdown] tags=["slide"]
r"""
## Whose values?

Q-learning found the shortest way, right along the edge. It is the best way for somebody who never errs. But one step in
ten of the learner is random, and along the edge one random step in four is a fall: it earns less.

SARSA's values include its own random steps, so it keeps away from the edge. Neither is wrong. They answer different questions. Remember
this when a language model learns from *other people's* answers: that is off-policy too.
"""

# %% [markdown] tags=["slide"]
r"""
## Sparse or dense reward?

In many tasks the reward comes only at the goal: it is **sparse**. A beginner wanders until it gets there by chance. It is
tempting to pay for progress. Two ways, in an empty room of 8 by 8:

- **bonus**: $+0.2$ for each step that comes closer to G;
- **potential**: $\gamma \Phi(s') - \Phi(s)$ on top of the reward, where $\Phi$ grows towards G. Coming closer pays, going away costs at
  least as much; at the end $\Phi = 0$, so the loan is paid back.
"""

# %%
from tutorlib.mdp import expected_next_values, value_iteration

ROOM = GridWorld("S.......\n" + 6 * "........\n" + ".......G", discount=0.95)
distance = torch.tensor([7 - r + 7 - c for r, c in ROOM.cells.tolist()], dtype=torch.float64)
alive = (~ROOM.mdp.terminal).double()
closer = expected_next_values(ROOM.mdp, -distance) + distance[:, None]  # steps gained, [states, actions]
potential = (1 - distance / 14) * alive                                 # 0 at the end: nothing follows
shaping = 0.95 * expected_next_values(ROOM.mdp, potential) - potential[:, None]
tasks = {"sparse": ROOM.mdp, "potential": ROOM.mdp.replace(reward=ROOM.mdp.reward + shaping * alive[:, None]),
         "bonus": ROOM.mdp.replace(reward=ROOM.mdp.reward + 0.2 * closer.clamp(min=0) * alive[:, None])}
lengths = {name: torch.stack([learn(mdp, False, 40, seed)[2] for seed in tqdm(SEEDS, desc=name)])
           for name, mdp in tasks.items()}

# %% tags=["hide-input"]
best = {name: value_iteration(mdp).policy for name, mdp in tasks.items()}
start, goes = ROOM.state_of(0, 0), {}
for name, policy in best.items():  # where does the best plan for each reward lead in 100 steps?
    state, steps = start, 0
    while not ROOM.mdp.terminal[state] and steps < 100:
        state, steps = int(ROOM.mdp.successors[state, policy[state].argmax(), 0]), steps + 1
    goes[name] = f"reaches G in {steps} steps" if ROOM.mdp.terminal[state] else "never reaches G"
for name, text in goes.items():
    print(f"The best plan for the reward '{name}' {text}.")
first, last = (lengths[name].float().mean(0) for name in ("potential", "bonus"))
display(learning_curves({name: x.float() for name, x in lengths.items()}, xlabel="episode",
        ylabel="steps to G (cut at 200)", higher_is_better=False, band=(0, 100),
        title=f"A potential shows the way; a bonus keeps the robot dancing ({last[-1]:.0f} steps at the end)"))

# %% [markdown]
r"""
## Pay for the right thing

The bonus can be earned for ever: one step away (free), one step closer ($+0.2$), again and again. The best plan for *that*
reward never arrives. The robot did nothing wrong; the reward did. A language model can milk its reward model
in the same way (unit 19).

A potential cannot: over any loop its payments cancel, up to discounting, and the best plan stays what it was (Ng,
Harada and Russell 1999; unit 05). It only brings the news forward.
"""

# %% [markdown] tags=["slide"]
r"""
## Without a table: change the policy itself

A language model has a **policy**, a softmax over logits, but no table. Climb its return directly.

Two arms pay 1 and 0. Logits 0, so $\pi = (\tfrac12, \tfrac12)$. An arm's **score**, the slope of its log-probability:
$\text{onehot} - \pi$.

- Draw arm 0: $1$ times score $(\tfrac12, -\tfrac12)$ gives $(\tfrac12, -\tfrac12)$.
- Draw arm 1: $0$ gives $(0, 0)$.

Mean: $(\tfrac14, -\tfrac14)$, exactly the slope of the expected return.
"""

# %%
logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
pays = torch.tensor([1.0, 0.0], dtype=torch.float64)
(torch.softmax(logits, 0) @ pays).backward()           # expected return; autograd gives its slope
print("exact slope:", logits.grad.tolist())
pi = torch.softmax(logits.detach(), 0)
for baseline in (0.0, 0.5):
    for arm in (0, 1):
        score = torch.eye(2, dtype=torch.float64)[arm] - pi
        print(f"baseline {baseline}: if arm {arm} is drawn, the estimate is", (0.0 + (pays[arm] - baseline) * score).tolist())

# %% [markdown] tags=["slide"]
r"""
## REINFORCE

Look at the last two lines: with the mean reward subtracted, *both* draws give the exact slope. A **baseline** took away all the
noise, and no truth. With many steps the rule is (Williams 1992; in this form Sutton and Barto 2018, section 13.4)

$$\hat g = \sum_{t} \gamma^t \,\big(G_t - b(s_t)\big)\, \nabla \log \pi(a_t|s_t), \qquad G_t = r_t + \gamma\, G_{t+1}.$$

$G_t$ are the rewards to go: an action cannot change what was paid before it. Averaged over trajectories, $\hat g$ is the slope
of the expected return, for any $b$ of the state alone. No model is needed.
"""

# %% [markdown] exercise="reinforcement_learning.reinforce_gradient"
r"""
Write `reinforce_gradient(logits, states, actions, rewards, discount, baseline)` for one trajectory of a softmax table.

- `logits`: `[states, actions]`; the policy is `softmax(logits[s])`.
- `states`, `actions`, `rewards`: `[steps]`, what happened at each step.
- `baseline`: `[states]`, the number $b(s)$.
- Return $\hat g$, a tensor `[states, actions]`. In row $s_t$, $\nabla \log \pi(a_t|s_t)$ is $\text{onehot}(a_t) - \pi(\cdot|s_t)$;
  other rows get nothing from step $t$.

Example, all logits 0, two states: action 0 in state 0 pays 1, then action 1 in state 1 pays 2; $\gamma = 0.5$, $b = (1, 0)$.
$G_1 = 2$ and $G_0 = 2$, both weights are 1: `[[0.5, -0.5], [-0.5, 0.5]]`.
"""

# %% exercise="reinforcement_learning.reinforce_gradient"
def reinforce_gradient(logits, states, actions, rewards, discount, baseline):
    """Return the estimate [states, actions] of the slope of the return from one trajectory."""
    ### BEGIN SOLUTION
    policy = torch.softmax(logits, -1)
    gradient, to_go = torch.zeros_like(logits), 0.0
    for t in reversed(range(len(rewards))):
        to_go = rewards[t] + discount * to_go              # G_t from G_{t+1}
        s, a = states[t], actions[t]
        score = -policy[s]
        score[a] += 1.0                                    # onehot(a) - policy[s]
        gradient[s] += discount**t * (to_go - baseline[s]) * score
    return gradient
    ### END SOLUTION


# %%
from tutorlib.control import exact_policy_gradient, softmax_policy
from tutorlib.mdp import policy_evaluation, return_of, sample_trajectories

POND = GridWorld("S..\n.X.\n..G", slip=0.2, step_reward=-0.04, discount=0.9)
no_baseline = torch.zeros(9, dtype=torch.float64)


def mean_gradient(logits, n, generator, baseline=no_baseline):
    """Return the mean of your estimate over n sampled trajectories."""
    runs = sample_trajectories(POND.mdp, softmax_policy(logits), n, 60, generator)
    live = runs.mask.sum(1)                                # steps before the end, [n]
    return sum(torch.as_tensor(reinforce_gradient(logits, runs.states[i, :k], runs.actions[i, :k],
               runs.rewards[i, :k], POND.mdp.discount, baseline)) for i, k in enumerate(live)) / n


logits, generator = torch.zeros(9, 4, dtype=torch.float64), torch.Generator().manual_seed(0)
exact = exact_policy_gradient(POND.mdp, logits)            # from the model, for comparison only
for n in (10, 100, 1000):
    error = (mean_gradient(logits, n, generator) - exact).norm() / exact.norm()
    print(f"{n:>5} trajectories: relative error of the slope {error:.2f}")
for _ in tqdm(range(60), desc="climbing"):
    logits = logits + 4.0 * mean_gradient(logits, 8, generator)
print(f"return after 60 steps of 8 trajectories: {return_of(POND.mdp, softmax_policy(logits)):.2f}, "
      f"best possible: {float(POND.mdp.initial_state_dist @ value_iteration(POND.mdp).values):.2f}")

# %% [markdown] tags=["slide"]
r"""
## How noisy is it?

The estimate is right on average, but one trajectory says little. What may stand in for the weight of step $t$?

- **whole return**: everything the episode paid;
- **to go**: what was paid from $t$ on;
- **minus $V$**: the same, less the value of the state (a *baseline*);
- **TD error**: $r_t + \gamma V(s_{t+1}) - V(s_t)$, one step of experience and a **critic** for the rest. This is **actor-critic**.

Here the exact slope is known, so noise and bias can be measured.
"""

# %%
from tutorlib.control import estimate_gradients

logits = 0.5 * torch.randn(9, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
exact, V = exact_policy_gradient(POND.mdp, logits), policy_evaluation(POND.mdp, softmax_policy(logits))
runs = sample_trajectories(POND.mdp, softmax_policy(logits), 4000, 60, torch.Generator().manual_seed(0))
noise, bias, chance = {}, {}, {}
for label, weight, critic in (("whole return", "whole_return", V), ("to go", "reward_to_go", V),
                              ("minus V", "baseline", V), ("TD error", "td_error", V),
                              ("TD error, critic 0", "td_error", 0 * V)):
    one = estimate_gradients(weight, POND.mdp, logits, runs, critic)  # [4000, states, actions]
    noise[label] = float(one.var(0).sum().sqrt())                     # of one trajectory
    bias[label] = float((one.mean(0) - exact).norm())
    chance[label] = noise[label] / 4000**0.5                          # what luck alone leaves of a bias
    print(f"{label:>18}: noise {noise[label]:.2f}, bias {bias[label]:.3f} (luck {chance[label]:.3f})")
bars({name: [round(x, 2) for x in sizes.values()] for name, sizes in (("noise", noise), ("bias", bias))},
     groups=list(noise), ylabel="size of noise or bias (slope)", target=float(exact.norm()), target_label="exact slope",
     title=f"Each idea lowers the noise, {noise['whole return'] / noise['TD error']:.0f}-fold in all; "
           "a wrong critic brings a bias")

# %% [markdown] tags=["slide"]
r"""
## Between one step and all of them

The **advantage** is how much better it went than $V$ expected. The TD error is quiet, but it believes the critic; the return
believes nobody, but it is noisy. **Generalised advantage estimation** mixes them (Schulman et al. 2016, Equation 16; why
$\gamma$ and $\lambda$ have an index: next card):

$$\delta_t = r_t + \gamma_t V(s_{t+1}) - V(s_t), \qquad A_t = \delta_t + \gamma_t \lambda_t A_{t+1}$$

By hand, with $\gamma = 0.5$, $\lambda = 0.8$, rewards $1, 2$ and values $3, 2, 6$:

- $\delta_1 = 2 + 0.5 \cdot 6 - 2 = 3$, and that is $A_1$;
- $\delta_0 = 1 + 0.5 \cdot 2 - 3 = -1$, so $A_0 = -1 + 0.5 \cdot 0.8 \cdot 3 = 0.2$.
"""

# %% [markdown]
r"""
## Two kinds of ending

Why the index on $\gamma_t$ and $\lambda_t$? Because episodes stop in two ways.

- **Terminated**: the pole fell. Nothing follows, so $\gamma_t = 0$ removes the next value.
- **Truncated**: time is up. The pole still stands and would have gone on, so $\gamma_t = \gamma$ and the last state keeps its value.

In both cases the next step belongs to another episode: $\lambda_t = 0$ stops the sum. (Pardo et al. 2018.)
"""

# %% [markdown] exercise="reinforcement_learning.gae"
r"""
Write `gae(rewards, values, discount_t, lambda_t)` for several environments side by side.

- `rewards`, `discount_t`, `lambda_t`: `[time, envs]`. The endings are in $\gamma_t$ and $\lambda_t$ already.
- `values`: `[time + 1, envs]`; `values[t]` is $V(s_t)$, so there is one row more.
- Return the advantages $A_t$, `[time, envs]`. Nothing follows the last row: there $A_{T-1} = \delta_{T-1}$.

Return the example above as environment 0: `[0.2, 3.0]`. With the same numbers and a first step that terminates,
$A_0 = 1 + 0 - 3 = -2$.
"""

# %% exercise="reinforcement_learning.gae"
def gae(rewards, values, discount_t, lambda_t):
    """Return advantages [time, envs]; values has one row more, [time + 1, envs]."""
    ### BEGIN SOLUTION
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[0])                   # A of the step after, [envs]
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + discount_t[t] * values[t + 1] - values[t]
        following = delta + discount_t[t] * lambda_t[t] * following
        advantages[t] = following
    return advantages
    ### END SOLUTION


# %% [markdown]
r"""
## Play: noise against bias

Each dot is an estimate of the slope at the start S, made with your `gae`; the cross is the truth. Move $\lambda$, the number of
trajectories per dot, and the error of the critic. When does the *cloud* miss the cross? When is it only wide? Which
$\lambda$ would you take if you did not trust your critic?
"""

# %% tags=["hide-input"]
from tutorlib.viz import Picture, Slider, explorer, new_figure, style

wrong = torch.randn(9, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
discounts = (POND.mdp.discount * runs.mask).T              # 0 after the end, [60, 4000]
at_start = ((runs.states[:, :-1] == 0) & runs.mask)[:, :, None]
onehot = torch.nn.functional.one_hot(runs.actions, 4).double()
scores = at_start * (onehot - softmax_policy(logits)[0])   # [4000, 60, 4]
scores = scores * (0.9 ** torch.arange(60, dtype=torch.float64))[:, None]
LINKS = {1: "right", 2: "down"}


def cloud(gae_lambda, n, error):
    """Draw 100 estimates of two entries of the slope, each from n trajectories."""
    critic = ((V + error * wrong) * (~POND.mdp.terminal))[runs.states].T      # [61, 4000]
    found = gae(runs.rewards.T.clone(), critic, discounts, torch.full_like(discounts, gae_lambda))
    weights = torch.as_tensor(found).T * runs.mask
    one = (weights[:, :, None] * scores).sum(1)[:, list(LINKS)]               # [4000, 2]
    off = (one.mean(0) - exact[0, list(LINKS)]).norm().item()
    dots = torch.stack([one[i::100][:int(n)].mean(0) for i in range(100)])
    wide = dots.var(0).sum().sqrt().item()
    title = f"$\\lambda$ = {gae_lambda:g}: the cloud is {wide:.2f} wide and {off:.2f} off"
    with style():
        fig, ax = new_figure(title=title, height=4.0)
        ax.plot(*dots.T, "o", color="#0b64a8", alpha=0.5, label=f"estimates (trajectories each: {n:.0f})")
        ax.plot(*exact[0, list(LINKS)], "P", color="#c8500a", markersize=14, label="exact slope")
        ax.set(xlabel="slope for 'right' at S", ylabel="slope for 'down' at S", xlim=(-0.6, 0.6), ylim=(-0.6, 0.6))
        fig.legend(loc="outside lower left", ncols=2)
    return Picture(fig, f"One hundred estimates of two slopes, trajectories each: {n:.0f}, at lambda {gae_lambda:g} "
                        f"with critic error {error:g}: {wide:.2f} wide, centre {off:.2f} from the exact slope.")


explorer(cloud, {"gae_lambda": Slider(0, 1, 0.9, label="lambda"),
                 "n": Slider(1, 40, 8, step=1, label="trajectories per dot"),
                 "error": Slider(0, 0.6, 0.2, label="critic error")})

# %% [markdown] tags=["slide"]
r"""
## More steps from the same experience

Experience is dear, and REINFORCE throws it away after one step. More steps mean data of a slightly *older* policy. The **ratio**
$\rho = \pi(a|s) / \pi_\text{old}(a|s)$ corrects for its actions, not for the states it visits. So stay close: clipping takes away the reason to go
far (Schulman et al. 2017).

$$\min\big(\rho A,\ \text{clip}(\rho, 1 - \epsilon, 1 + \epsilon)\, A\big)$$

| $\epsilon = 0.2$ | $\rho A$ | clipped | minimum |
|---|---|---|---|
| $\rho = 1.5$, $A = 2$ | 3.0 | 2.4 | 2.4 |
| $\rho = 0.5$, $A = 2$ | 1.0 | 1.6 | 1.0 |
| $\rho = 1.5$, $A = -2$ | $-3.0$ | $-2.4$ | $-3.0$ |
| $\rho = 0.5$, $A = -2$ | $-1.0$ | $-1.6$ | $-1.6$ |
"""

# %% [markdown] exercise="reinforcement_learning.ppo_clip_objective"
r"""
Write `ppo_clip_objective(logps, old_logps, advantages, clip)`, the last column of the table.

- `logps`, `old_logps`: `[samples]`, $\log \pi(a|s)$ under the new and the old policy.
- `advantages`: `[samples]`; `clip`: the number $\epsilon$.
- Return the objective of each sample, `[samples]`: no mean, no minus sign. Gradients must flow back to `logps`, so stay in torch.
"""

# %% exercise="reinforcement_learning.ppo_clip_objective"
def ppo_clip_objective(logps, old_logps, advantages, clip):
    """Return the clipped objective of each sample, [samples]; higher is better."""
    ### BEGIN SOLUTION
    ratio = torch.exp(logps - old_logps)
    held = ratio.clamp(1 - clip, 1 + clip)
    return torch.minimum(ratio * advantages, held * advantages)
    ### END SOLUTION


# %% [markdown]
r"""
## All of PPO

CartPole's state is four numbers, so tables become networks: policy and critic. One round of **PPO**:

1. follow the policy for 32 steps in 16 environments;
2. compute advantages with `gae`; the critic's target is advantage plus value;
3. pass over them ten times: raise your objective, lower the critic's squared error.

It also normalises advantages, starts from orthogonal weights, lets the learning rate fall to 0 and clips
gradients (Huang et al. 2022). `tutorlib.control.ppo` is the same, with comments.
"""

# %%
from tutorlib.control import PPOConfig, Runner, make_envs, normalise
from tutorlib.control.ppo import Batch, make_networks, make_optimiser


def make_samples(rollout, policy, critic, config, advantages_of):
    """Return the steps of a rollout as flat samples, with advantages and targets of the critic."""
    with torch.no_grad():
        values = critic(rollout.obs).squeeze(-1)                        # [steps + 1, envs]
        advantages = torch.as_tensor(advantages_of(rollout, values, config)).float()
        logps, _ = policy.logp_and_entropy(rollout.obs[:-1], rollout.actions)
    columns = (rollout.obs[:-1], rollout.actions, logps, advantages, advantages + values[:-1])
    return Batch(*(column[rollout.valid] for column in columns))       # resets are no experience


def your_advantages(rollout, values, config):
    """Return advantages by your gae; the rollout knows its endings."""
    return gae(rollout.rewards, values, rollout.discount_t(config.discount), rollout.lambda_t(config.gae_lambda))


def losses(policy, critic, batch, config):
    """Return what to minimise for policy and critic."""
    logps, _ = policy.logp_and_entropy(batch.obs, batch.actions)
    gain = ppo_clip_objective(logps, batch.logps, normalise(batch.advantages), config.clip)
    return -gain.mean(), 0.5 * (critic(batch.obs).squeeze(-1) - batch.returns).square().mean()


# %%
def train(seed, config, advantages_of=your_advantages):
    """Return the policy, the critic, and per round: mean return of the last 20 episodes, critic's loss."""
    envs, generator = make_envs("CartPole-v1", config.n_envs), torch.Generator().manual_seed(seed)
    policy, critic = make_networks(envs, config, seed, "cpu")
    optimiser, runner = make_optimiser(policy, critic, config), Runner(envs, seed)
    weights = [*policy.parameters(), *critic.parameters()]
    rounds, curve, misses = config.total_steps // (config.n_envs * config.n_steps), [], []
    for i in range(rounds):
        optimiser.param_groups[0]["lr"] = config.learning_rate * (1 - i / rounds)
        rollout = runner.collect(policy, config.n_steps, generator)
        samples = make_samples(rollout, policy, critic, config, advantages_of)
        for _ in range(config.epochs):
            order = torch.randperm(len(samples.logps), generator=generator)
            for index in order.split(config.minibatch_size):
                policy_loss, critic_loss = losses(policy, critic, samples[index], config)
                optimiser.zero_grad()
                (policy_loss + config.value_coef * critic_loss).backward()
                torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm)
                optimiser.step()
        curve.append(float(torch.tensor(runner.finished[-20:]).mean()))
        misses.append(critic_loss.item())
    return policy, critic, curve, misses


# %%
from dataclasses import replace

from tutorlib.control import evaluate

ppo = PPOConfig(total_steps=40_960)  # 80 rounds of 16 * 32 steps
contestants = {"PPO": ppo,
               "no clipping": replace(ppo, clip=1e6),  # is it the clipping or the rate? try 1e-3 for both
               "one step per round": replace(ppo, epochs=1, minibatch_size=512, learning_rate=1e-2)}
trained = {name: [train(seed, config) for seed in tqdm(range(3), desc=name)]
           for name, config in contestants.items()}
for name, found in trained.items():
    fresh = [evaluate("CartPole-v1", policy, 100, seed=99, greedy=False).mean().item() for policy, *_ in found]
    print(f"{name:>18}: mean return over 100 fresh episodes, per seed:", ", ".join(f"{x:.0f}" for x in fresh))
curves = {name: torch.tensor([curve for _, _, curve, _ in found]) for name, found in trained.items()}
ends = {name: curve[:, -1].mean().item() for name, curve in curves.items()}
learning_curves(curves, 512 * torch.arange(1, 81), xlabel="environment steps", target=475, target_label="solved",
                ylabel="return (mean of last 20 episodes)", band=(0, 100),
                title=f"The same experience, used ten times over with care: PPO ends at {ends['PPO']:.0f}, "
                      f"one step per round at {ends['one step per round']:.0f}")

# %% [markdown] tags=["slide"]
r"""
## Break it

A colleague rewrites the advantages. It runs, with no error and no warning, and in mid-training the critic's loss looks far
better than yours. The returns do not.

Look at the numbers before you read the code. Then look at the picture: what is each critic asked to say in the last steps
before the pole falls? Both versions get the same experience and the same critic there.
"""

# %%
def colleague(rewards, values, terminated, truncated, discount, gae_lambda):
    """Return advantages [time, envs]; terminated and truncated are booleans [time, envs]."""
    discount_t = discount * (~truncated).float()                     # no next value after the end
    lambda_t = gae_lambda * (~(terminated | truncated)).float()      # no sum across episodes
    advantages = gae(rewards, values, discount_t, lambda_t)
    return advantages


def with_flags(function):
    """Let a function of rewards, values and flags drive the training loop."""
    return lambda rollout, values, config: function(
        rollout.rewards, values, rollout.terminated, rollout.truncated, config.discount, config.gae_lambda)


failing = [train(seed, ppo, with_flags(colleague)) for seed in tqdm(range(3), desc="colleague")]
for name, found in (("yours", trained["PPO"]), ("colleague's", failing)):
    print(f"{name}, means over 3 seeds")
    for i in (4, 19, 39, 79):
        print(f"  round {i + 1:>2}: return {sum(c[i] for _, _, c, _ in found) / 3:>3.0f}, "
              f"critic's loss {sum(m[i] for *_, m in found) / 3:.4f}")

# %% tags=["hide-input"]
from tutorlib.viz import lines

STEPS = 8  # before the fall
(policy, critic, *_), runner = failing[0], Runner(make_envs("CartPole-v1", 16), seed=7)
rollout = runner.collect(policy, 200, torch.Generator().manual_seed(7))
with torch.no_grad():
    values = critic(rollout.obs).squeeze(-1)
falls = [(t, e) for t, e in rollout.terminated.nonzero().tolist() if t >= STEPS]
targets = {}
for name, advantages_of in (("your targets", your_advantages), ("the colleague's targets", with_flags(colleague))):
    wanted = torch.as_tensor(advantages_of(rollout, values, ppo)).float() + values[:-1]
    targets[name] = torch.stack([wanted[t - STEPS + 1:t + 1, e] for t, e in falls]).mean(0)
yours, theirs = (float(found[-1]) for found in targets.values())
lines(targets, range(-STEPS, 0), xlabel="steps before the fall", ylabel="critic's target (mean over falls)",
      target=1 / (1 - ppo.discount), target_label="1 / (1 − discount)",
      title=f"In the last step before a fall one reward is left: your target is {yours:.0f}, the colleague's {theirs:.0f}")

# %% [markdown] exercise="reinforcement_learning.find_the_bug"
r"""
Mend it: write `find_the_bug(rewards, values, terminated, truncated, discount, gae_lambda)`.

- `rewards`, `terminated`, `truncated`: `[time, envs]`, the last two booleans.
- `values`: `[time + 1, envs]`; `values[t + 1]` belongs to the state that step $t$ led to, also when an episode ends there.
- Return the advantages, `[time, envs]`. You may use your `gae`.

Hand case: values are 4, rewards 1, $\gamma = 0.5$. A fall gives $1 - 4 = -3$; a time limit gives $1 + 0.5 \cdot 4 - 4 = -1$.

Before you type: for which constant $V$ does no fall ever contradict the colleague's critic?
"""

# %% exercise="reinforcement_learning.find_the_bug"
def find_the_bug(rewards, values, terminated, truncated, discount, gae_lambda):
    """Return advantages [time, envs], right at ends and at time limits."""
    ### BEGIN SOLUTION
    discount_t = discount * (~terminated).to(rewards.dtype)      # only a fall leaves nothing to come
    lambda_t = gae_lambda * (~(terminated | truncated)).to(rewards.dtype)
    return gae(rewards, values, discount_t, lambda_t)
    ### END SOLUTION


# %%
for name, run in (("mended", train(0, ppo, with_flags(find_the_bug))), ("failing", failing[0])):
    fresh = evaluate("CartPole-v1", run[0], 100, seed=99, greedy=False).mean()
    print(f"{name}, seed 0: {fresh:.0f} per episode over 100 fresh ones")

# %% [markdown] tags=["slide"]
r"""
## What happened

With the flags exchanged, a fall is followed by the value of the fallen state. So every state is worth $V = 1 + \gamma V$, that
is $1 / (1 - \gamma)$, and no fall contradicts a critic that says so everywhere. Loss and advantages shrink. What is left is noise, blown up by normalising: the policy drifts.

**A falling loss shows agreement with your targets, not that they are right.** Look at returns, and at
what the critic says in states that you understand.
"""

# %% [markdown] tags=["slide"]
r"""
## The bridge: the same estimator writes text

A language model answers with two tokens out of three. The **state** is the prompt with the tokens so far, the **action**
the next token, and one reward comes at the end. Nothing new is needed: your `reinforce_gradient`, unchanged, estimates the
slope of the expected reward. All nine answers can be listed, so its mean can be compared with the exact slope.
"""

# %%
tokens = ("yes", "no", "maybe")
reward = torch.tensor([[0.0, 1.0, 0.5], [0.2, 0.0, 0.1], [0.0, 0.3, 1.0]], dtype=torch.float64)  # of each answer
prefix_logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
pi = torch.softmax(prefix_logits, -1)  # row 0: after the prompt; row 1 + i: after the prompt and token i

mean = torch.zeros_like(prefix_logits)
for i in range(3):
    for j in range(3):
        estimate = reinforce_gradient(prefix_logits, torch.tensor([0, 1 + i]), torch.tensor([i, j]),
                                      torch.stack([0 * reward[i, j], reward[i, j]]), 1.0, torch.zeros(4).double())
        mean += pi[0, i] * pi[1 + i, j] * torch.as_tensor(estimate)  # weighted by the answer's probability

leaf = prefix_logits.clone().requires_grad_()
table = torch.softmax(leaf, -1)
(table[0][:, None] * table[1:] * reward).sum().backward()  # expected reward of the answer
print("largest difference from the exact slope:", f"{(mean - leaf.grad).abs().max():.1e}")
print("log-probability of 'yes no': sum over its tokens =", f"{pi[0, 0].log() + pi[1, 1].log():.3f}")

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. A TD target is one real step plus the table. SARSA asks about its own behaviour, Q-learning about the best.
2. Sparse rewards are slow, careless bonuses get milked, potentials are safe.
3. Score times weight estimates the slope of the return. Critics cut noise; wrong ones bring bias.
4. PPO reuses experience; clipping takes away the reason to go far.
5. Ends differ from time limits, and losses from returns.
"""

# %%
display(recall("reinforcement_learning.cliff", outcome))
display(progress())
quiz("reinforcement_learning")

# %% [markdown]
r"""
## Go further

- Sutton and Barto (2018), chapters 6 and 13: the cliff (Example 6.6), actor-critic.
- Schulman et al. (2016), [arXiv 1506.02438](https://arxiv.org/abs/1506.02438): GAE; read sections 2 and 3.
- Schulman et al. (2017), [arXiv 1707.06347](https://arxiv.org/abs/1707.06347): PPO, readable.
- Huang et al. (2022), *The 37 implementation details of PPO*: what papers leave out.
- Pardo et al. (2018), [arXiv 1712.00378](https://arxiv.org/abs/1712.00378): time limits.
- Sun and van der Schaar (2025), [§2.1]: tasks and algorithms.

**An open question.** Most code drops $\gamma^t$: the gradient of *no* objective (Nota and Thomas 2020). Why does it work?
"""
