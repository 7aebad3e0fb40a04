# %% [markdown] tags=["card", "slide"]
r"""
# Preference-based RL

Few of us can do a backflip; most can say which of two attempts looked more like one. This unit turns comparisons
into a reward, and the reward into a policy that can surpass its teachers.

**Afterwards you can**

- fit a reward to comparisons of segments, and say what they hide,
- learn from ranked *bad* demonstrations (T-REX), and spend a budget of questions,
- say why a reward that foresees every answer may still fail.
"""

# %% [markdown] tags=["slide"]
r"""
## Bad teachers

A robot arm with one joint starts anywhere; each episode lasts three seconds. It should stand upright and still: each step
costs $\theta^2 + 0.1\, \dot\theta^2 + 0.001\, u^2$ ($\theta$: angle from upright, $\dot\theta$: speed, $u$: torque). The learner is not
told that.

It sees episodes of beginners, only the bad ones, and a **ranking**: which episode was better than which. A reward is fitted
to the ranking, and PPO (unit 02) is trained on that reward. How good can it become?
"""

# %%
import copy
import math
from dataclasses import replace

import torch
from tqdm.auto import tqdm

from tutorlib import predict, quiz, recall
from tutorlib.control import PPOConfig, evaluate, record_demonstrations, train_ppo
from tutorlib.control.arm import ARM
from tutorlib.exercises.preference_based_rl.worlds import garden
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors
from tutorlib.viz import gridworld, learning_curves, lines, roadmap

torch.set_num_threads(1)
BETTER = ("worse than the best of them", "about as good as the best of them (within 20 points)",
          "better than any of them")
predict("preference_based_rl.teachers",
        "Learned from ranked episodes that all return less than -200, policies will be, on average over seeds, ...", BETTER)

# %% tags=["hide-input"]
roadmap("08")

# %% [markdown] tags=["slide"]
r"""
## Why comparisons

- **Rewards are hard to write.** A bonus that seems harmless gets milked (unit 02).
- **Demonstrations are hard to give**, and whoever imitates them is no better than they are (unit 04).
- **Judging is easier than doing**, and needs no units: nobody has to say *how much* better.

The price: one comparison tells at most one bit. So we ask about **segments**, short stretches of behaviour, and
we choose our questions (Christiano et al. 2017; tutorial [§3.2]).
"""

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

Two segments of three steps. Under some reward the left one pays $1, 0, 2$, the right one $0, 1, 1$. Their **returns** are
$G = 3$ and $2$. Bradley and Terry (1952) say how a judge chooses:

$$P(\text{left}) = \frac{e^{3}}{e^{3} + e^{2}} = \frac{1}{1 + e^{-1}} = \sigma(3 - 2) = 0.731$$

The judge said *left*. The loss of this reward is $-\log 0.731 = 0.313$, with a minus sign: a likelihood is
*maximised*, a loss minimised. Had the judge said *right*: $-\log 0.269 = 1.313$. For a tie, half of each.
"""

# %%
left, right = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[0.0, 1.0, 1.0]])
G_left, G_right = left.sum(1), right.sum(1)                       # returns: sums, not means
P = G_left.exp() / (G_left.exp() + G_right.exp())                 # Christiano et al. 2017, eq. 1
print(f"P(left) = {P.item():.3f} = sigmoid of the difference: {torch.sigmoid(G_left - G_right).item():.3f}")
for mu, said in ((1.0, "left"), (0.0, "right"), (0.5, "a tie")):
    print(f"the judge said {said:<6}: loss {(-mu * P.log() - (1 - mu) * (1 - P).log()).item():.3f}")
print(f"7 more in every step, on both sides: P(left) = {torch.sigmoid((left + 7).sum() - (right + 7).sum()):.3f}")

# %% [markdown] exercise="preference_based_rl.segment_bt_loss"
r"""
Write `segment_bt_loss(left_rewards, right_rewards, labels, discount, error_rate)`.

$$G = \sum_t \gamma^t r_t, \quad P = (1 - e)\, \sigma(G_\text{left} - G_\text{right}) + \frac{e}{2}, \quad
\frac{1}{n} \sum_i \big({-\mu_i} \log P_i - (1 - \mu_i) \log (1 - P_i)\big)$$

- `left_rewards`, `right_rewards`: `[pairs, steps]`; row $i$ is one comparison.
- `labels`: $\mu$, `[pairs]`: 1 left is better, 0 right, 0.5 a tie; anything between is allowed.
- `discount`: $\gamma$; `error_rate`: $e$, the share of answers given at random (left half of the time). It may be 0, and returns may
  lie 1000 apart: mind overflow.
- Return one number, the mean over pairs.

Hand case ($\gamma = 1$, $e = 0$): the pair above, and a tie between equals: $(0.313 + 0.693)/2 = 0.503$.
"""

# %% exercise="preference_based_rl.segment_bt_loss"
def segment_bt_loss(left_rewards, right_rewards, labels, discount, error_rate):
    """Return the mean loss of comparisons; rewards [pairs, steps], labels [pairs]."""
    ### BEGIN SOLUTION
    weights = discount ** torch.arange(left_rewards.shape[1], dtype=left_rewards.dtype)
    gap = (left_rewards - right_rewards) @ weights                   # [pairs]
    win, lose = torch.nn.functional.logsigmoid(gap), torch.nn.functional.logsigmoid(-gap)
    if error_rate > 0:                                               # mix e / 2 into both chances
        chance = torch.full_like(gap, math.log(error_rate / 2))
        win = torch.logaddexp(win + math.log(1 - error_rate), chance)
        lose = torch.logaddexp(lose + math.log(1 - error_rate), chance)
    return (-labels * win - (1 - labels) * lose).mean()
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## A garden, and a judge with a taste

A dog walks in a garden; its owner likes some places and dislikes others: a reward $R(s')$ for arriving. The picture shows it;
the learner will not see it.

A synthetic **labeller** judges pairs of random walks by the true rewards, with Bradley-Terry noise. Then a return is *linear* in
the unknown table $R(s')$: it counts visits. So the best table is a logistic regression on differences of counts, a convex
problem.
"""

# %%
from tutorlib.irl import (
    Labeller,
    cut_segments,
    cut_windows,
    evaluate_transfer,
    fit_preference_table,
    hidden_dimensions,
    is_hidden,
    pay,
    segment_features,
    table_cells,
    visit_counts,
)
from tutorlib.mdp import sample_trajectories, uniform_policy

grid = garden()
mdp, taste = grid.mdp, grid.cell_rewards  # 18 cells; the taste is for the labeller alone


def random_walks(n, generator, length=5):
    """Return n segments of random behaviour, and their visit counts [n, cells]."""
    walks = sample_trajectories(mdp, uniform_policy(mdp), n, 2 * length, generator)
    segments = cut_segments(walks.states, walks.actions, n, length, generator)
    return segments, visit_counts(table_cells(segments, mdp.n_actions, "arrival"), mdp.n_states)


# %%
g, n = torch.Generator().manual_seed(0), 1000
segments, counts = random_walks(2 * n, g)
paid = taste[segments.states[:, 1:]]                                     # [2 n, steps]
labels = Labeller(temperature=1.0).label(paid[:n], paid[n:], g)
table = fit_preference_table(counts[:n], counts[n:], labels, l2=0.1)
for name, guess in (("nothing (all 0)", 0 * taste), ("the true taste", taste), ("the fitted table", table)):
    steps = guess[segments.states[:, 1:]]
    print(f"{name:<17} your loss: {float(segment_bt_loss(steps[:n], steps[n:], labels, 1.0, 0.0)):.4f}")
regret = evaluate_transfer(mdp, pay(mdp, table, "arrival")).regret_share
print(f"the plan for the fitted table loses {regret:.1%} of what a random policy loses, against the best plan")
off = table - table.mean() - (taste - taste.mean())
gridworld(grid, taste, label="true R(s'), paid on arrival",
          title=f"What the owner likes: {n} comparisons recover it up to a constant, to {float(off.abs().mean()):.2f} a cell")

# %% [markdown] tags=["slide"]
r"""
## What comparisons reveal

Demonstrations hide any potential $v$, one number per state (unit 05): adding $v(s) - \gamma \mathbb{E}\, v(s')$ changes no
soft-optimal policy. Comparisons of segments hide what alters *no* difference of returns: the null space of the
differences of visit counts. The cell counts both dimensions, for these walks.

And the **scale**? A judge without noise gives only an order. With noise, closer returns mean more
errors, and a known temperature fixes the unit (Skalse et al. 2023).
"""

# %%
many, c = random_walks(4000, g)
c_sa = visit_counts(table_cells(many, mdp.n_actions, "action"), mdp.n_states * mdp.n_actions)
shaping = torch.eye(mdp.n_states, dtype=torch.float64)[:, None] - mdp.discount * mdp.transition_matrix  # [s, a, v]
from_demos = int(torch.linalg.matrix_rank(shaping.reshape(-1, mdp.n_states)))
print(f"r(s, a), {c_sa.shape[1]} numbers: soft-optimal demonstrations hide {from_demos} dimensions, "
      f"comparisons {hidden_dimensions(c_sa[:2000], c_sa[2000:])} "
      f"(a constant, is it hidden? {is_hidden(torch.ones(c_sa.shape[1]), c_sa[:2000], c_sa[2000:])})")

slopes = {}
for name, temperature in (("noisy judge", 1.0), ("judge without noise", 0.0)):
    slopes[name] = []
    for n in (100, 300, 1000, 3000):
        walks, counts = random_walks(2 * n, g)
        paid = taste[walks.states[:, 1:]]
        said = Labeller(temperature=temperature).label(paid[:n], paid[n:], g)
        fit = fit_preference_table(counts[:n], counts[n:], said, l2=0.1)
        centred = taste - taste.mean()
        slopes[name].append(float((fit - fit.mean()) @ centred / (centred @ centred)))
lines(slopes, [100, 300, 1000, 3000], xscale="log", xlabel="comparisons", ylabel="scale of fitted reward (1 = true)",
      target=1.0, target_label="true scale", title=f"Noise reveals the scale: {slopes['noisy judge'][-1]:.2f} with 3000 noisy "
      f"answers; without noise it grows with the data, to {slopes['judge without noise'][-1]:.1f}")

# %% [markdown]
r"""
Why should the scale matter? A common factor changes no greedy plan. But an order of segments does not even
fix *ratios*. Say three segments are ordered $a < b < c$. With returns $(0, 1, 3)$, a coin flip between $a$ and $c$ is worth
$1.5$, more than $b$; with $(0, 2, 3)$, less. Same order, opposite choice, as soon as the world offers a gamble.

So noise tells the two worlds apart: a noisy judge prefers $c$ to $b$ in 88% of the cases in the first, in 73% in the second: $\sigma(2)$ and $\sigma(1)$.
"""

# %% [markdown] tags=["slide"]
r"""
## Play: be the judge

Twenty pairs of walks, and no taste but yours: decide on one first (corners? never twice the same
cell?), and judge. The map is fitted after each answer.

1. After how many answers do you recognise your taste?
2. *About the same* is an answer too. What happens to the map?
3. Judge by something the map cannot hold, such as *it went straight*. What does the map say?

`judge_me.save("my_taste.json")` keeps your answers, `judge_me.load(...)` replays them.
"""

# %%
from tutorlib.viz import WalkComparer

walks, counts = random_walks(40, torch.Generator().manual_seed(5))


def fit_my_taste(judged, labels):
    """Return the table fitted to the answers so far: pair k compares walks k and k + 20."""
    index = torch.tensor(judged)
    return fit_preference_table(counts[:20][index], counts[20:][index],
                                torch.tensor(labels, dtype=torch.float64), l2=0.3)


pairs = [(walks.states[k], walks.states[k + 20]) for k in range(20)]
judge_me = WalkComparer(grid, pairs, fit_my_taste, title="Which walk do you prefer?")
judge_me

# %% [markdown] tags=["slide"]
r"""
## T-REX: a ranking is many comparisons

$m$ ranked demonstrations give $m(m-1)/2$ comparisons, and each of these many **windows** (Brown et al. 2019): cut both
to stretches of equal length; the window of the better one counts as better. Not always true for a single window, but on
average.

Two things must not decide: *length*, since sums over more steps are larger or smaller for no merit; and the *clock*. So:
equal lengths, and windows that begin anywhere, drawn independently of rank.
"""

# %% [markdown] exercise="preference_based_rl.trex_labels"
r"""
Write `trex_labels(lengths, ranks, pairs, spots, window)`:

- `lengths`, `ranks`: steps and rank of each demonstration, `[demonstrations]`; **rank 1 is the best**; ranks may be shared.
- `pairs`: which two are compared, `[pairs, 2]`, numbers from 0.
- `spots`: a random number in $[0, 1)$ for each side, `[pairs, 2]`: its window begins at $\lfloor$ spot $\times$ places $\rfloor$, where
  *places* counts the places in which a window fits.
- `window`: steps of a window; every demonstration has at least that many.
- Return `(starts, labels)`: whole numbers `[pairs, 2]`, and floats `[pairs]`: 1 if the first is ranked better, 0 if the second,
  0.5 if they share a rank.

A window of 4 fits into a demonstration of 10 steps in 7 places; spot 0.5 means start 3.
"""

# %% exercise="preference_based_rl.trex_labels"
def trex_labels(lengths, ranks, pairs, spots, window):
    """Return starts [pairs, 2] and labels [pairs]."""
    ### BEGIN SOLUTION
    places = lengths[pairs] - window + 1                             # [pairs, 2]
    starts = (spots * places).long()                                 # rounds down
    first, second = ranks[pairs].T
    labels = 0.5 + 0.5 * torch.sign(second - first).double()         # rank 1 is the best
    return starts, labels
    ### END SOLUTION


# %%
BEGINNER = PPOConfig(total_steps=32 * 61 * 14, n_envs=32, n_steps=61, epochs=6, minibatch_size=976,
                     learning_rate=4e-3, discount=0.95, hidden=(32, 32))  # 61: an episode of 60 steps and its reset


def beginners(seed, stages=8):
    """Return policies after each of the first rounds of training on the true reward."""
    kept = []

    def keep(entry, policy):
        kept.append(copy.deepcopy(policy))
        return len(kept) == stages

    train_ppo(ARM, BEGINNER, seed, callback=keep)
    return kept


def ranked(policies, seed, worst=-200.0):
    """Return episodes with a return below ``worst`` only, and their ranks."""
    demos = [record_demonstrations(ARM, p, 6, 100 * seed + i, greedy=False) for i, p in enumerate(policies)]
    obs, actions = torch.cat([d.obs for d in demos]), torch.cat([d.actions for d in demos])
    returns = torch.cat([d.returns() for d in demos])
    bad = returns < worst  # not even luck: who started nearly upright is left out
    ranks = 1 + returns[bad].argsort(descending=True).argsort()
    return obs[bad], actions[bad], returns[bad], ranks


# %%
from tutorlib.irl import RewardEnsemble, RewardFitConfig, fit_ensemble, step_features


def fit_to_ranking(obs, actions, ranks, seed, n_pairs=1000, window=45, rule=trex_labels):
    """Return reward networks on the observation, fitted to windows of ranked episodes."""
    g = torch.Generator().manual_seed(seed)
    pairs = torch.stack([torch.randperm(len(obs), generator=g)[:2] for _ in range(n_pairs)])
    spots = torch.rand(n_pairs, 2, generator=g, dtype=torch.float64)
    starts, labels = (as_tensor(x) for x in rule(torch.full((len(obs),), 60), ranks, pairs, spots, window))
    sides = [segment_features(cut_windows(obs, actions, pairs[:, k], starts[:, k].long(), window), "departure")
             for k in (0, 1)]
    networks = RewardEnsemble(obs.shape[-1], members=3, seed=seed)
    fit_ensemble(networks, *sides, labels.float(), RewardFitConfig(steps=150, batch_pairs=32), seed)
    return networks


def practise(networks, seed):
    """Return a policy trained by PPO on a learned reward."""
    def reward_fn(obs, actions, next_obs, ended):
        return networks.reward(step_features(obs, actions, next_obs, "departure"))
    return train_ppo(ARM, BEGINNER, seed, reward_fn=reward_fn).policy


# %%
SEEDS, trex = 4, []  # seeds 0 to 2 served to choose the window; seed 3 did not
for seed in tqdm(range(SEEDS), desc="T-REX"):
    policies = beginners(seed)
    obs, actions, returns, ranks = ranked(policies, seed)
    networks = fit_to_ranking(obs, actions, ranks, seed)
    fresh = record_demonstrations(ARM, practise(networks, seed), 60, seed=7)
    teacher = max(float(evaluate(ARM, p, 60, 7, greedy=False).mean()) for p in policies)
    trex.append({"obs": obs, "actions": actions, "ranks": ranks, "returns": returns, "networks": networks,
                 "fresh": fresh, "teacher": teacher, "best": float(returns.max())})
for seed, run in enumerate(trex):
    print(f"seed {seed}: {len(run['returns'])} episodes, best {run['best']:.0f}; the most advanced beginner averages "
          f"{run['teacher']:.0f}; the policy from the ranking {float(run['fresh'].returns().mean()):.0f}")
run = trex[1]
short = practise(fit_to_ranking(run["obs"], run["actions"], run["ranks"], 1, window=30), 1)
print(f"seed 1 once more, with windows of 30 steps: {float(record_demonstrations(ARM, short, 60, seed=7).returns().mean()):.0f}")

# %% tags=["hide-input"]
from tutorlib.viz import Picture, new_figure, style
from tutorlib.viz.look import series_look

achieved = sum(float(run["fresh"].returns().mean()) for run in trex) / SEEDS
best_shown = sum(run["best"] for run in trex) / SEEDS
outcome = BETTER[2] if achieved > best_shown + 20 else BETTER[0] if achieved < best_shown - 20 else BETTER[1]
runs = [(run["networks"].reward(o[:, :-1]).sum(1), true) for run in trex
        for o, true in ((run["obs"], run["returns"]), (run["fresh"].obs, run["fresh"].returns()))]
predicted, actual = ([torch.cat([run[k] for run in runs[side::2]]) for side in (0, 1)] for k in (0, 1))
better = [run["fresh"].returns() > run["best"] for run in trex]
surpassed = sum(float(run["fresh"].returns().mean()) > run["best"] for run in trex)
title = (f"In {surpassed} of {SEEDS} seeds the new policy is better on average than any episode it was shown; "
         f"so are {float(torch.cat(better).float().mean()):.0%} of all its episodes")
with style():
    fig, ax = new_figure(title=title, width=8.4)
    for index, name in enumerate(("ranked demonstrations", "the new policy's episodes")):
        ax.plot(actual[index], predicted[index], label=name, **series_look(index) | {"linestyle": "", "alpha": 0.7})
    best = max(run["best"] for run in trex)
    ax.axvline(best, color="#5a5a5a", ls="--", lw=1.4, marker="", label=f"best shown: {best:.0f}")
    ax.set(xlabel="true return (reward)", ylabel="predicted return (own scale per seed)")
    fig.legend(loc="outside lower left", ncols=3)
Picture(fig, alt=f"{title}. Scatter of predicted against true return, {SEEDS} seeds together. Demonstrations have true "
        f"returns from {float(actual[0].min()):.0f} to {best:.0f}, the new policies' episodes from "
        f"{float(actual[1].min()):.0f} to {float(actual[1].max()):.0f}.")

# %% [markdown] tags=["slide"]
r"""
## How can that be?

Imitation copies *what was done*. A reward says *why one was better than another*, here: higher and calmer. That
direction goes on beyond the last demonstration, and PPO follows it: **extrapolation**, which nothing guarantees.

The true reward made the beginners, ranked, measured, and helped once more: the window of 45 was chosen by
true returns in seeds 0 to 2. The last line shows seed 1 with windows of 30. Seed 3 was not looked
at then.
"""

# %% [markdown] tags=["slide"]
r"""
## Which question next?

A person's patience is the scarcest resource here. Fit several reward models, each to a **bootstrap** of the answers (drawn with
repetition), and ask where they contradict each other: the variance over members of their $P(\text{left})$ (Christiano et al. 2017,
section 2.2.4).

Not where the mean is near one half: there all may agree on a coin flip, and the answer moves nobody.
"""

# %% [markdown] exercise="preference_based_rl.query_budget"
r"""
Write `query_budget(returns, segments, asked, budget)`: the most disputed questions that have not been asked.

- `returns`: `[members, pairs, 2]`, predicted return of the left and the right segment; $p_m = \sigma(\text{left} - \text{right})$.
- `segments`: `[pairs, 2]`, which segments a pair compares. The list is careless: pairs may come twice, or mirrored:
  $(i, j)$ and $(j, i)$ are **one question**.
- `asked`: `[pairs]`, true where a row has been answered. Its copies and mirror images are answered too.
- Score: the variance of $p_m$ over members. Return the questions with the highest scores, highest first, as rows
  (lower number, higher number), whole numbers `[questions, 2]`: `budget` of them, or all that are left.
"""

# %% exercise="preference_based_rl.query_budget"
def query_budget(returns, segments, asked, budget):
    """Return the questions to ask, [questions, 2], the most disputed first."""
    ### BEGIN SOLUTION
    p = torch.sigmoid(returns[..., 0] - returns[..., 1])             # [members, pairs]
    score = p.var(0)
    done = {tuple(sorted(row)) for row in segments[asked].tolist()}
    chosen = []
    for k in score.argsort(descending=True).tolist():
        question = tuple(sorted(segments[k].tolist()))
        if question not in done and len(chosen) < budget:
            done.add(question)
            chosen.append(question)
    return torch.tensor(chosen).view(-1, 2)
    ### END SOLUTION


# %%
def survey(seed, active, rounds=8, per_round=6, members=4):
    """Return after each round: agreement with the truth on fresh pairs, and regret (share)."""
    g = torch.Generator().manual_seed(seed)
    walks, counts = random_walks(120, g)
    paid, judge = taste[walks.states[:, 1:]], Labeller(temperature=0.5)
    pool = torch.stack([torch.randperm(120, generator=g)[:2].sort().values for _ in range(400)])
    asked, labels = torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, dtype=torch.float64)
    guesses, agreement, regret = 0.1 * torch.randn(members, 18, generator=g, dtype=torch.float64), [], []
    for _ in range(rounds):
        known = (pool[:, None] == asked).all(-1).any(1)
        returns = (guesses @ counts.T)[:, pool]                      # [members, pairs, 2]
        if not active:
            returns = torch.rand(returns.shape, generator=g)         # then the choice is by chance
        new = as_tensor(query_budget(returns, pool, known, per_round)).long()
        asked = torch.cat([asked, new])
        labels = torch.cat([labels, judge.label(paid[new[:, 0]], paid[new[:, 1]], g)])
        sides, k = (counts[asked[:, 0]], counts[asked[:, 1]], labels), len(labels)
        again = [torch.randint(k, (k,), generator=g).bincount(minlength=k) for _ in guesses]
        guesses = torch.stack([fit_preference_table(*sides, l2=0.3, weights=w) for w in again])
        table = fit_preference_table(*sides, l2=0.3)
        agreement.append(foresight(table))
        regret.append(evaluate_transfer(mdp, pay(mdp, table, "arrival")).regret_share)
    return agreement, regret


# %%
TEST, test_counts = random_walks(1000, torch.Generator().manual_seed(99))
test_gap = taste[TEST.states[:, 1:]].sum(1)[:500] - taste[TEST.states[:, 1:]].sum(1)[500:]


def foresight(table):
    """Return the share of fresh pairs that a table foresees."""
    return float((((test_counts[:500] - test_counts[500:]) @ table > 0) == (test_gap > 0)).double().mean())


surveys = {name: torch.tensor([survey(seed, name == "most disputed") for seed in tqdm(range(8), desc=name)])
           for name in ("most disputed", "at random")}  # [seeds, 2, rounds]
for name, found in surveys.items():
    print(f"{name:>13}: regret after 12, 24, 48 questions:", ", ".join(f"{x:.2f}" for x in found[:, 1].mean(0)[[1, 3, 7]]))
ends = {name: float(found[:, 0, -1].mean()) for name, found in surveys.items()}
learning_curves({name: 100 * found[:, 0] for name, found in surveys.items()}, 6 * torch.arange(1, 9),
                xlabel="questions asked", ylabel="fresh pairs foreseen (%)",
                title=f"After 48 questions: {ends['most disputed']:.0%} of fresh pairs foreseen when the most disputed are asked, "
                      f"{ends['at random']:.0%} at random")

# %% [markdown] tags=["slide"]
r"""
## Read the bands

Disputed questions are a heuristic, and a modest one: the bands overlap, and regret need not follow accuracy, since a plan depends on
a few cells and accuracy on all. Christiano et al. found the same: on some of their tasks it hurt. Always plot *random* beside your clever
rule. (Unit 14 derives better rules; here even repeated questions would teach, since the judge is noisy.)
"""

# %% [markdown] tags=["slide"]
r"""
## Roll out, ask, fit, improve

Now without demonstrations. The arm starts with random motions, and in turn:

1. roll out the present policy;
2. ask about 20 pairs of 15-step segments, the most disputed of 200;
3. fit three reward networks to *all* answers, allowing for 10% random ones;
4. train PPO on their mean, standardised: comparisons fix no constant.

The loop matters: a reward fitted to clumsy behaviour never saw the arm near the top. The labeller errs on purpose.
"""

# %%
from tutorlib.irl import ARM_PPO, PreferenceLoopConfig, learn_from_preferences

loop = PreferenceLoopConfig(rounds=5, queries=20, length=15)  # 5 PPO iterations a round
judge = Labeller(temperature=1.0, error_rate=0.1)
asked = [learn_from_preferences(ARM, judge, loop, seed) for seed in tqdm(range(3), desc="loop")]
curves = {"100 comparisons": torch.tensor([[h["true_return"] for h in result.history] for result in asked])}
told_config = replace(ARM_PPO, total_steps=25 * 32 * 61)
told = [train_ppo(ARM, told_config, seed).episode_returns for seed in tqdm(range(3), desc="true reward")]
curves["told the true reward"] = torch.tensor([[sum(r[k * 160 - 32:k * 160]) / 32 for k in range(1, 6)] for r in told])
final = {name: float(c[:, -1].mean()) for name, c in curves.items()}
learning_curves(curves, 20 * torch.arange(1, 6), xlabel="comparisons asked so far", ylabel="true return (mean of 32 episodes)",
                band=(0, 100), title=f"100 comparisons bring the arm to {final['100 comparisons']:.0f}; "
                f"told the true reward it reaches {final['told the true reward']:.0f} with as many steps")

# %% [markdown] tags=["slide"]
r"""
## Break it

It rains. Every step costs 1, under the trees 0.7, in puddles 2; a gate G leads out of the garden and ends the walk. Everybody
hurries home. The owner judges 3000 pairs of segments of five steps, all this in mind.

The fit has no bug. It foresees fresh pairs about as well as the true reward. The dog plans with it, and never comes home.

What is missing from the table? (You have seen it twice today.)
"""

# %%
from tutorlib.exercises.preference_based_rl.worlds import rainy_garden
from tutorlib.mdp import state_distributions, value_iteration

rain = rainy_garden()
costs, gate = rain.cell_rewards, rain.state_of(3, 4)


def judged_walks(n, lengths, generator):
    """Return differences of counts [n, cells] and labels; segment k has lengths[k % len(lengths)] steps."""
    walks = sample_trajectories(rain.mdp, uniform_policy(rain.mdp), 4 * n, 16, generator)
    counts = torch.cat([visit_counts(table_cells(cut_segments(
        walks.states, walks.actions, 2 * n // len(lengths), k, generator, walks.mask), 4, "arrival"), 18) for k in lengths])
    counts = counts[torch.randperm(len(counts), generator=generator)]  # lengths now meet at random
    returns = (counts @ costs)[:, None]
    return counts[:n], counts[n:], Labeller().label(returns[:n], returns[n:], generator)


def home(reward):
    """Return the plan for a reward per cell, and how often it brings the dog home in 40 steps."""
    policy = value_iteration(rain.with_rewards(reward).mdp).policy
    return policy, float(state_distributions(rain.mdp, policy, 40)[40, gate])


# %%
g = torch.Generator().manual_seed(1)
left, right, said = judged_walks(3000, [5], g)
fitted = fit_preference_table(left, right, said, l2=0.1)
left_2, right_2, said_2 = judged_walks(3000, [5], g)
for name, R in (("true", costs), ("fitted", fitted)):
    right_answers = float((((left_2 - right_2) @ R > 0) == (said_2 == 1)).double().mean())
    print(f"{name:>6} reward: foresees {right_answers:.1%} of fresh answers; home within 40 steps: {home(R)[1]:.0%}")

# %% tags=["hide-input"]
from tutorlib.viz import Panel, gridworld_panels

panels = [Panel(rain, R, home(R)[0], name) for name, R in (("true reward, its plan", costs), ("fitted reward, its plan", fitted))]
shifted = float((fitted - costs).mean())
gridworld_panels(panels, label="reward on arrival", title=f"The fitted reward is the true one plus {shifted:.1f} in every cell: "
                 f"{float((fitted > 0).double().mean()):.0%} of the cells now pay for staying, and {home(fitted)[1]:.0%} come home")

# %% [markdown] tags=["slide"]
r"""
## Diagnosis: the hidden constant

Segments of one length cannot show a constant. Where everybody lives equally long, as the arm does, it does not matter. Here the
dog decides *when to stop*: if every step costs, it hurries; if every step pays, it stays for ever. (Unit 07 met
this in imitation.)

The cure: compare segments of *different* length, if the judge really counts steps. If not (longer clips
look better), the same sums learn a taste for length.
"""

# %%
left_3, right_3, said_3 = judged_walks(3000, [2, 4, 6, 8], g)
mended = fit_preference_table(left_3, right_3, said_3, l2=0.1)
bored = (left_3.sum(1) > right_3.sum(1)).double()  # this judge just likes longer clips
longer = fit_preference_table(left_3, right_3, torch.where(left_3.sum(1) == right_3.sum(1), 0.5, bored), l2=0.1)
for name, pair, R in (("5 against 5 steps", (left, right), fitted), ("2 to 8 steps", (left_3, right_3), mended),
                      ("2 to 8, a judge of length", (left_3, right_3), longer)):
    print(f"{name:<26} hidden dimensions {hidden_dimensions(*pair)}, mean fitted reward {float(R.mean()):5.2f} "
          f"(true {float(costs.mean()):.2f}), home {home(R)[1]:.0%}")

# %% [markdown] tags=["slide"]
r"""
## Do we need the reward?

Perhaps a judge does not add up rewards. After a lucky start, a lazy segment pays well: would you call it good? People
may rather compare *how little was given away*: sums of **advantages** (Knox et al. 2022). In unit 03's soft plans
the advantage of an action is

$$A(s, a) = Q - V = \alpha \log \pi^*(a | s)$$

($\alpha$: the temperature, elsewhere $\lambda$). So put $\alpha \log \pi$ where the reward stood, and fit the *policy* itself: **contrastive preference
learning** (Hejna et al. 2023). No reward, no roll-outs.
"""

# %% [markdown] exercise="preference_based_rl.cpl_loss"
r"""
Write `cpl_loss(logits, states, actions, labels, alpha, discount)`:

$$P(\text{left}) = \sigma\Big(\sum_t \gamma^t\, \alpha \log \pi(a_t | s_t)\Big|_\text{left} - \sum_t \gamma^t\, \alpha \log \pi(a_t | s_t)
\Big|_\text{right}\Big)$$

- `logits`: `[states, actions]`; $\pi$ is their softmax, row by row.
- `states`: `[pairs, 2, steps + 1]`, index 0 of the second axis is left; action $t$ was taken in state $t$. `actions`: `[pairs, 2, steps]`.
- `labels`: $\mu$, `[pairs]`, as before; `alpha`: $\alpha > 0$; `discount`: $\gamma$.
- Return the mean of $-\mu \log P - (1 - \mu) \log(1 - P)$ over pairs, finite also where the policy is all but sure.

One step each from the same state, taken with probability 0.75 (preferred) and 0.25, $\alpha = 1$: $-\log 0.75 = 0.288$.
"""

# %% exercise="preference_based_rl.cpl_loss"
def cpl_loss(logits, states, actions, labels, alpha, discount):
    """Return the mean loss of comparisons under a policy [states, actions]."""
    ### BEGIN SOLUTION
    logp = torch.log_softmax(logits, 1)[states[..., :-1], actions]   # [pairs, 2, steps]
    weights = discount ** torch.arange(actions.shape[2], dtype=logits.dtype)
    score = alpha * (logp * weights).sum(2)                          # [pairs, 2]
    gap = score[:, 0] - score[:, 1]
    win, lose = torch.nn.functional.logsigmoid(gap), torch.nn.functional.logsigmoid(-gap)
    return (-labels * win - (1 - labels) * lose).mean()
    ### END SOLUTION


# %%
from tutorlib.irl import fit_cpl
from tutorlib.mdp import policy_evaluation, soft_value_iteration

plan, n, alpha = soft_value_iteration(mdp, 0.5), 6000, 0.5
segments, counts = random_walks(2 * n, torch.Generator().manual_seed(8), length=4)
A = alpha * plan.policy.log()[segments.states[:, :-1], segments.actions]  # advantages
chances = {"advantages": torch.sigmoid(A.sum(1)[:n] - A.sum(1)[n:]),
           "rewards": torch.sigmoid(taste[segments.states[:, 1:]].sum(1)[:n] - taste[segments.states[:, 1:]].sum(1)[n:])}
worth = lambda pi: float(mdp.initial_state_dist @ policy_evaluation(mdp, pi))  # noqa: E731
print(f"true return: random policy {worth(uniform_policy(mdp)):.2f}, the judge's soft plan {worth(plan.policy):.2f}")
both = torch.stack([segments.states[:n], segments.states[n:]], 1), torch.stack([segments.actions[:n], segments.actions[n:]], 1)
for judged_by, mu in chances.items():
    pi = fit_cpl(segments[:n], segments[n:], mu, 18, 4, alpha, l2=1e-4)
    R = fit_preference_table(counts[:n], counts[n:], mu, l2=1e-4)
    by_reward = soft_value_iteration(mdp.replace(reward=pay(mdp, R, "arrival")), alpha).policy
    print(f"judge goes by {judged_by:<10}: distance to the judge's plan: CPL {float((pi - plan.policy).abs().max()):.3f}, "
          f"reward then plan {float((by_reward - plan.policy).abs().max()):.3f}; returns {worth(pi):.2f}, {worth(by_reward):.2f}; "
          f"CPL loss {float(cpl_loss(pi.log(), *both, mu, alpha, 1.0)):.4f}")

# %% [markdown] tags=["slide"]
r"""
## The judge decides which method is right

Same walks, same sigmoid, two kinds of judge. If the judge goes by advantages, CPL finds the judge's plan, with no planner; a reward
table fitted to the same answers does not. If the judge adds up rewards, it is the other way round.

So a preference model is an assumption about *people*. Nothing in the loss tells you that it is wrong.
"""

# %% [markdown] tags=["slide"]
r"""
## The bridge: the last step before language

- A segment becomes an answer, its return one number for the whole: your `segment_bt_loss` with one "step" is the loss of a **reward model**
  (unit 11).
- The labeller becomes a person, or another model (unit 14).
- PPO on the learned reward becomes **RLHF** (unit 16).
- CPL with a reference policy, segments of one step from a common state (the prompt), is **DPO** (unit 17). The cell computes both.
"""

# %%
g = torch.Generator().manual_seed(3)
logits, ref = torch.randn(2, 5, 6, generator=g, dtype=torch.float64)  # 5 prompts, 6 answers each
prompt = torch.randint(5, (40,), generator=g)
chosen, rejected = torch.rand(40, 6, generator=g).argsort(1)[:, :2].T  # two different answers to each prompt
states = prompt[:, None, None].expand(-1, 2, 2)  # one step from the prompt; where it leads is not looked at
beta, actions = 0.3, torch.stack([chosen, rejected], 1)[..., None]
# CPL with a reference: log pi - log ref in place of log pi. Both are normalised, so the difference of log-softmaxes
ratio = torch.log_softmax(logits, 1) - torch.log_softmax(ref, 1)
dpo = -torch.nn.functional.logsigmoid(beta * (ratio[prompt, chosen] - ratio[prompt, rejected])).mean()  # Rafailov et al. 2023, eq. 7
cpl = float(cpl_loss(logits - ref, states, actions, torch.ones(40, dtype=torch.float64), beta, 1.0))
bt = float(segment_bt_loss(beta * ratio[prompt, chosen][:, None], beta * ratio[prompt, rejected][:, None],
                           torch.ones(40, dtype=torch.float64), 1.0, 0.0))
print(f"DPO's loss {dpo:.12f}\nyour CPL   {cpl:.12f}   (of logits minus reference logits: a number per prompt cancels)")
print(f"your Bradley-Terry loss, with beta log(pi / ref) as the reward: {bt:.12f}")

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. Bradley-Terry on sums of rewards: a logistic regression on differences, in which a constant cancels.
2. Here comparisons hide one number, demonstrations one per state; noise of known size reveals the scale.
3. A ranking of bad demonstrations can teach more than the best of them: by extrapolation, which nobody guarantees.
4. Ask where models disagree, and plot random beside it.
5. A reward can foresee answers and still fail: the constant it cannot see decides when to stop.
"""

# %%
recall("preference_based_rl.teachers", outcome)

# %%
quiz("preference_based_rl")

# %% [markdown]
r"""
## Go further

- Christiano et al. (2017), [arXiv 1706.03741](https://arxiv.org/abs/1706.03741): the loop, and the backflip; 2.2 is what you built.
- Brown et al. (2019), [arXiv 1904.06387](https://arxiv.org/abs/1904.06387): T-REX; look for its causal confusions.
- Skalse et al. (2023), [arXiv 2203.07475](https://arxiv.org/abs/2203.07475): what each source of data hides.
- Hejna et al. (2023), [arXiv 2310.13639](https://arxiv.org/abs/2310.13639): CPL; Knox et al. (2022),
  [arXiv 2206.02231](https://arxiv.org/abs/2206.02231): judges who go by regret.
- Lee et al. (2021), [arXiv 2111.03026](https://arxiv.org/abs/2111.03026): synthetic labellers with human faults.

**Open question.** Judges differ from each other, and from themselves yesterday. Whose sum of rewards is it then?
"""
