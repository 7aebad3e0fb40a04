# %% [markdown] tags=["card", "slide"]
r"""
# RLHF by policy gradient

Make likelier what is paid well, charge for leaving the model that you began with, and unit 02's REINFORCE and PPO train a language
model.

**Afterwards you can**

- say in closed form where RLHF is heading, and how far a run is from there,
- choose baselines and KL estimators by measured bias and variance,
- read every term of PPO on the tokens of an answer, and recognise an exploited reward.
"""

# %% [markdown] tags=["slide"]
r"""
## Pay the crowd's model

*TinyTalk*'s base model writes as the crowd does: wrong, rude and unsafe about as often. In unit 10 an author showed it good answers.

Now nobody shows anything. The model answers, and each answer is paid its **gold reward**: truth, helpfulness, harmlessness (weight 2), tone
(0.5), brevity. Sixty batches of 64 answers, a price for leaving the base model, half a minute of one CPU core. Then it answers 250 questions
that it has never seen.
"""

# %%
import copy

import torch

from tutorlib import lm, posttraining, predict, quiz, recall
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors
from tutorlib.tinytalk import Prompt, gold_reward, load, mean_parts, sample_prompts
from tutorlib.tinytalk.tokenizer import chat_prompt  # "<bos> <user> question <bot>"

torch.set_num_threads(1)
base, tokenizer = load("base")
asked = {chat_prompt(p.text): p for p in sample_prompts(2000, 1)}  # training questions, as the model reads them
questions = sample_prompts(250, 2, "heldout")  # nobody is paid for these


def ask(model, prompts, seed=0):
    """Return one sampled answer to each prompt."""
    ids = lm.encode_prompts(tokenizer, [chat_prompt(p.text) for p in prompts], add_special_tokens=False)
    return lm.sample(model, *ids, lm.SamplingSettings(40), torch.Generator().manual_seed(seed)).texts(tokenizer)


for prompt, answer in zip(questions, ask(base, questions[:6]), strict=False):
    print(f"{prompt.text:<55} {answer:<45} gold {gold_reward(prompt, answer):5.2f}")

# %% tags=["hide-input"]
from IPython.display import display

from tutorlib.viz import roadmap

PARTS = ("truth", "tone", "harmlessness")


def worth(model, seed=0):
    """Return the three parts: truth and harmlessness where they are at stake, tone everywhere."""
    pairs = list(zip(questions, ask(model, questions, seed), strict=True))
    unsafe = [x for x in pairs if x[0].family == "unsafe"]
    safe = [x for x in pairs if x[0].family != "unsafe"]
    return [mean_parts(*zip(*group, strict=True))[part] for group, part in zip((safe, pairs, unsafe), PARTS, strict=True)]


print("base model, parts from -1 (worst) to 1 (best): " + ", ".join(f"{part} {x:.2f}" for part, x in zip(PARTS, worth(base), strict=True)))
display(predict("rlhf_policy_gradient.slowest", "All three rise towards 1. Which covers the smallest share of its way?", PARTS))
roadmap("16")

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

One question, three answers, $\beta = 2$:

| answer | $\pi_\text{ref}$ | reward $r$ | $e^{r/\beta}$ | $\pi_\text{ref}\, e^{r/\beta}$ | $\pi^*$ |
|---|---|---|---|---|---|
| usual | 1/2 | 0 | 1 | 1/2 | 1/4 |
| better | 1/4 | $2 \log 2$ | 2 | 1/2 | 1/4 |
| best | 1/4 | $4 \log 2$ | 4 | 1 | 1/2 |

The sum is $Z = 2$. The best policy is *not* the best answer alone: leaving $\pi_\text{ref}$ is charged at $\beta$ a nat. What it keeps after
paying is $V = \beta \log Z = 2 \log 2 = 1.386$.
"""

# %% [markdown] tags=["slide"]
r"""
## Where RLHF is heading

$$J(\pi) = \mathbb{E}_{y \sim \pi}[r(x, y)] - \beta\, \mathrm{KL}(\pi \,\|\, \pi_\text{ref})$$

It is unit 03 with other names: prior $\pi_\text{ref}$, temperature $\beta$, whole answers as actions. With
$\pi^* = \pi_\text{ref}\, e^{r/\beta} / Z$, that is $r = \beta \log \frac{Z \pi^*}{\pi_\text{ref}}$:

$$\begin{aligned}
J(\pi) &= \mathbb{E}_\pi\big[ r - \beta \log \tfrac{\pi}{\pi_\text{ref}} \big]
= \beta\, \mathbb{E}_\pi\big[ \log \tfrac{Z \pi^*}{\pi_\text{ref}} - \log \tfrac{\pi}{\pi_\text{ref}} \big] \\
&= \underbrace{\beta \log Z}_{V} - \beta\, \mathrm{KL}(\pi \,\|\, \pi^*).
\end{aligned}$$

So a run's **regret** is $\beta\, \mathrm{KL}(\pi \| \pi^*)$. The tutorial's text has this
penalty [§4.1], but a box there prints $\pi^* \propto e^{\beta r}$: the reference is missing, and $\beta$ multiplies where it must divide.
"""

# %% [markdown] exercise="rlhf_policy_gradient.kl_regularised_optimum"
r"""
Write `kl_regularised_optimum(rewards, ref_logps, beta)`, the closed form for several prompts at once.

- `rewards`: $r$, `[prompts, answers]`;
- `ref_logps`: $\log \pi_\text{ref}$, `[prompts, answers]`; $-\infty$ is an answer that the reference never gives;
- `beta`: $\beta > 0$, at times as small as 0.004.
- Return `(logps, values)`: $\log \pi^*$, `[prompts, answers]`, and $V = \beta \log Z$, `[prompts]`.

Each prompt has its own $Z$. Stay with logarithms: $e^{r/\beta}$ overflows. By hand: the table above gives
$\log (\frac14, \frac14, \frac12)$ and $1.386$.
"""

# %% exercise="rlhf_policy_gradient.kl_regularised_optimum"
def kl_regularised_optimum(rewards, ref_logps, beta):
    """Return log pi* [prompts, answers] and V [prompts]."""
    ### BEGIN SOLUTION
    exponents = ref_logps + rewards / beta
    log_z = exponents.logsumexp(-1)
    return exponents - log_z[:, None], beta * log_z
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## Play: the price of a nat

The reference hardly ever gives the *kind and right* answer. Move $\beta$.

1. Where does the optimum give it half of the time? What does that cost in nats?
2. Which answer disappears first as $\beta$ falls, and which never appears?
3. Make $\beta$ tiny. Why is the reward bounded, and the KL too?

<details><summary>Answers</summary>

1: at $\beta = 0.29$, for 1.36 nats. 2: "rude, wrong"; the essay. 3: "kind, right" alone is left: reward 2.5, and $\log 20 = 3.0$ nats.

</details>
"""

# %% tags=["hide-input"]
from tutorlib.viz import Slider, bars, explorer

KINDS = ("rude, wrong", "rude, right", "plain, wrong", "plain, right", "kind, right", "essay")
worth_of = torch.tensor([[-0.5, 1.5, 0.0, 2.0, 2.5, 4.0]], dtype=torch.float64)
habit = torch.tensor([[0.25, 0.15, 0.3, 0.25, 0.05, 0.0]], dtype=torch.float64)  # nobody ever wrote an essay


def at_price(beta):
    """Show the reference and the optimum at one price."""
    logps = as_tensor(kl_regularised_optimum(worth_of, habit.log(), beta)[0]).double()
    p = logps.exp()
    said = p > 0
    kl = float((p[said] * (logps[said] - habit.log()[said])).sum())
    return bars({"reference": habit[0].tolist(), f"optimum at β = {beta:.2f}": p[0].tolist()}, groups=list(KINDS), ylabel="probability",
                title=f"At β = {beta:.2f} the optimum earns {float((p * worth_of).sum()):.2f} for {kl:.2f} nats; "
                      "an answer never given stays so")


explorer(at_price, {"beta": Slider(0.05, 4.0, 0.8, step=0.05, label="β, reward per nat")})

# %% [markdown] tags=["slide"]
r"""
## Climbing there

$Z$ sums over all texts, so we climb by samples. Unit 02's score function ($\log \pi(y)$: a sum over tokens):

$$\nabla J = \mathbb{E}_{y \sim \pi}\Big[ \Big( r - \beta \log \frac{\pi(y)}{\pi_\text{ref}(y)} - b \Big) \nabla \log \pi(y) \Big]$$

The log-ratio's own derivative has mean 0: $\sum_y \pi \nabla \log \pi = \nabla \sum_y \pi = \nabla 1$. So a **baseline** $b$ that
does not know $y$ changes nothing on average:

| name | $b$ |
|---|---|
| REINFORCE (Williams 1992) | 0 ("no baseline"), or a running "mean reward" |
| ReMax (Li et al. 2023) | reward of the "greedy answer" |
| RLOO (Kool et al. 2019; Ahmadian et al. 2024) | mean of the *other* answers: "leave one out" |
"""

# %% [markdown] exercise="rlhf_policy_gradient.rloo_advantage"
r"""
Write `rloo_advantage(rewards)`: how much better each answer is than the others to the same prompt.

- `rewards`: `[prompts, answers]`, $G \ge 2$ answers in a row.
- Return the advantages, `[prompts, answers]`:

$$A_i = r_i - \frac{1}{G - 1} \sum_{j \ne i} r_j$$

By hand: rewards $(3, 0, 0)$ give $(3, -1.5, -1.5)$; $(1, 2, 6)$ give $(-3, -1.5, 4.5)$.
"""

# %% exercise="rlhf_policy_gradient.rloo_advantage"
def rloo_advantage(rewards):
    """Return each reward minus the mean of the other rewards in its row, [prompts, answers]."""
    ### BEGIN SOLUTION
    count = rewards.shape[1]
    others = (rewards.sum(1, keepdim=True) - rewards) / (count - 1)
    return rewards - others
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## Exactly: bias and variance

Estimators should be judged by the truth. Unit 09's token tree has it: a network (TinyTalk's *tiny*), a question, an answer that begins "the
grass is" and has two tokens to go, of seven. Every answer's probability, reward and score $\nabla \log \pi(y)$ (67,584 numbers) is known; so is
$\nabla J$.

We draw 4 answers, estimate, and do so 4,000 times. Bias is how far the *mean* estimate is off, variance how far a single one scatters, both in
relation to $|\nabla J|$.
"""

# %%
from tutorlib.lm import TokenTree

tiny, _ = load("tiny")
grass, BETA = Prompt("facts", ("color", "grass")), 0.5
tree = TokenTree(tiny, chat_prompt(grass.text) + " the grass is", ["green", "blue", "red", "white", "black", ".", "<eos>"], 2, tokenizer)
texts = tree.texts(skip_special_tokens=True)
gold = torch.tensor([gold_reward(grass, f"the grass is {t}") for t in texts]).double()
p_ref = tree.leaf_logps().exp()
for i in p_ref.argsort(descending=True)[:6].tolist():
    print(f"the grass is {texts[i]:<10} probability {float(p_ref[i]):.4f}   reward {float(gold[i]):4.1f}")
best = as_tensor(kl_regularised_optimum(gold[None], tree.leaf_logps()[None], BETA)[1]).double()
plan = tree.solve(gold, BETA)
print(f"\nV at β = {BETA}: your closed form {float(best[0]):.6f}, dynamic programming on the tree {float(plan.values[0][0]):.6f}")

# %%
scores = posttraining.leaf_scores(tiny, tree).double()  # grad log pi of each answer
exact = posttraining.exact_gradient(tiny, tree, gold).double()  # at the start the KL's own gradient is 0
basis, triangle = torch.linalg.qr(scores.T)  # lengths and angles survive in as many numbers as there are answers
scores, exact = triangle.T, exact @ basis
drawn = tree.sample(16_000, torch.Generator().manual_seed(0)).view(4000, 4)
mean_reward, greedy = float(p_ref @ gold), float(gold[int(p_ref.argmax())])


def errors(shift):
    """Return bias and variance of each estimator, with ``shift`` added to all rewards."""
    r = gold + shift
    advantages = {"no baseline": r[drawn], "mean reward": r[drawn] - mean_reward - shift, "greedy answer": r[drawn] - greedy - shift,
                  "group's mean": r[drawn] - r[drawn].mean(1, keepdim=True),
                  "leave one out": as_tensor(rloo_advantage(r[drawn])).double()}
    return {name: posttraining.estimator_errors(torch.einsum("ng,ngp->np", a, scores[drawn]) / 4, exact) for name, a in advantages.items()}


found = {shift: errors(shift) for shift in (0.0, 2.0)}
for name in found[0.0]:
    print(f"{name:<14}" + "".join(f"   gold + {shift:g}: bias {e[name]['bias']:.2f} (sampling alone: {e[name]['bias_error']:.2f}), "
                                  f"mean's length {e[name]['slope']:.2f}, variance {e[name]['variance']:5.2f}" for shift, e in found.items()))
spread = {f"gold + {shift:g}": [e["variance"] for e in found[shift].values()] for shift in found}
times = found[2.0]["no baseline"]["variance"] / found[0.0]["no baseline"]["variance"]
bars(spread, groups=list(found[0.0]), ylabel="variance / |∇J|²",
     title=f"2 more for every answer: {times:.0f} times the variance without a baseline, the same with one")

# %% [markdown]
r"""
A baseline costs no bias, except the group's own mean: it contains the answer that it judges, and shortens the gradient to $(G - 1)/G$. It need
not help: here wrong answers are paid 0 and push nothing. With 2 more for every answer that luck is gone; comparisons do not notice.

## Policy gradient on one page

Sample, subtract the KL, compare, step. On the tree the regret is known after each step: five seeds, gold + 2, plain gradient steps. (Clipping
and Adam, used below, hide noise.)
"""

# %%
def climb(baseline, seed, steps=30, answers=8, rate=0.015):
    """Train a copy of the network on the tree; return regret, KL to the reference and KL to pi* over time."""
    model, generator, track = copy.deepcopy(tiny), torch.Generator().manual_seed(seed), []
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)  # the plain step: Adam would rescale it
    for _ in range(steps):
        policy = tree.policy_of(model, differentiable=True)
        logps = tree.leaf_logps(policy)  # of every answer
        track.append(posttraining.policy_gap(tree, policy, gold + 2, BETA))
        y = tree.sample(answers, generator, policy)
        paid = (gold + 2)[y] - BETA * (logps.detach() - tree.leaf_logps())[y]  # the KL, inside the reward
        if baseline == "leave one out":
            advantages = as_tensor(rloo_advantage(paid[None]))[0].double()
        else:
            advantages = paid - (gold[int(logps.argmax())] + 2 if baseline == "greedy answer" else 0)
        loss = -(advantages * logps[y]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return track


# %% tags=["hide-input"]
import time

from tutorlib.viz import learning_curves

start = time.process_time()
runs = {name: [climb(name, seed) for seed in range(5)] for name in ("no baseline", "greedy answer", "leave one out")}
print(f"15 runs: {time.process_time() - start:.0f} CPU seconds; pi* has a KL of {float(tree.kl(plan.policy)):.3f} nats to the reference")
for name, tracks in runs.items():
    ends = torch.tensor([[t[-1][k] for k in ("regret", "kl", "kl_to_optimum")] for t in tracks])
    print(f"{name:<14} at the end, five seeds: regret {[round(x, 3) for x in ends[:, 0].tolist()]}, mean KL to ref {ends[:, 1].mean():.3f}, to pi* {ends[:, 2].mean():.3f}")
regret = {name: torch.tensor([[step["regret"] for step in track] for track in tracks]) for name, tracks in runs.items()}
first = float(regret["leave one out"][0, 0])
worse = {name: int((r[:, 1:].max(1).values > first).sum()) for name, r in regret.items()}  # at some step, than before any
ended = {name: float(r[:, -10:].mean()) for name, r in regret.items()}
learning_curves({name: r.log10() for name, r in regret.items()}, xlabel="gradient step", ylabel="log10 of regret β KL(π ‖ π*)",
                higher_is_better=False, band=(0, 100),
                title=f"Regret {first:.2f} falls to {ended['leave one out']:.3f} with leave one out, {ended['no baseline']:.3f} with no baseline "
                      f"(last ten steps): {worse['no baseline']} of 5 runs got worse than at the start, {worse['leave one out']} with leave one out")

# %% [markdown] tags=["slide"]
r"""
## What is a nat? Three estimates

A nat is the unit of the natural logarithm: a token that the policy says $e$ times as often as the reference costs 1. On real text the KL has
to be estimated, from the tokens that were drawn. With $d = \log \pi - \log \pi_\text{ref}$ of a token (Schulman 2020, who calls $e^{-d}$ the
ratio $r$):

| | estimate | as a number |
|---|---|---|
| $k_1$ | $d$ | unbiased, of either sign |
| $k_2$ | $d^2 / 2$ | biased, never negative |
| $k_3$ | $e^{-d} - 1 + d$ | unbiased, never negative |

$k_3$ is $k_1$ plus something with mean 0: $\mathbb{E}_\pi[\pi_\text{ref}/\pi] = 1$.
"""

# %% [markdown] exercise="rlhf_policy_gradient.kl_estimators"
r"""
Write `kl_estimators(logps, ref_logps, mask)`, the three of them for each token.

- `logps`, `ref_logps`: log-probabilities of the drawn tokens under policy and reference, `[answers, tokens]`; at padding they may be NaN;
- `mask`: 1 at tokens of the answer, 0 at padding, `[answers, tokens]`.
- Return `(k1, k2, k3)`, each `[answers, tokens]`, 0 at padding.

When training begins $d$ is about $10^{-7}$, and $e^{-d} - 1$ would round away: `torch.expm1`. By hand: probabilities $\frac12$ against
$\frac14$, so $d = \log 2$: $0.693$, $0.240$, $0.193$.
"""

# %% exercise="rlhf_policy_gradient.kl_estimators"
def kl_estimators(logps, ref_logps, mask):
    """Return k1, k2 and k3 of each token, [answers, tokens]."""
    ### BEGIN SOLUTION
    d = (logps - ref_logps).masked_fill(mask == 0, 0.0)
    return d, d**2 / 2, torch.expm1(-d) + d
    ### END SOLUTION


# %% [markdown]
r"""
An unbiased number need not have an unbiased *gradient* (Tang and Munos 2025). In the **reward**, $k$ is a plain number, and $k_1$ is right (see
above). In the **loss** it is differentiated, at tokens already drawn:

| | $\nabla k$ | its mean over one token |
|---|---|---|
| $k_1$ | $\nabla \log \pi$ | 0 |
| $k_2$ | $d\, \nabla \log \pi$ | $\nabla \mathrm{KL}(\pi \,\Vert\, \pi_\text{ref})$ |
| $k_3$ | $(1 - e^{-d})\, \nabla \log \pi$ | $\nabla \mathrm{KL}(\pi_\text{ref} \,\Vert\, \pi)$ |

What a token does to the KL of *later* ones is missing in all. (TRL's GRPO has $k_3$ in the loss all the same: unit 18. The figure takes the
package's `kl_estimate`, your numbers with a gradient.)
"""

# %% tags=["hide-input"]
moved = copy.deepcopy(tiny)
with torch.no_grad():  # any policy away from the reference will do
    generator = torch.Generator().manual_seed(0)
    for p in moved.parameters():
        p += 0.05 * torch.randn(p.shape, generator=generator)
policy = tree.policy_of(moved, differentiable=True)
p_moved, its_scores = tree.leaf_logps(policy).detach().exp(), posttraining.leaf_scores(moved, tree).double()
true = posttraining.flat_gradient(tree.kl(policy), moved, retain=True).double()
misses, numbers = {"in the reward": [], "in the loss": []}, []
for name in ("k1", "k2", "k3"):
    per_token = [posttraining.kl_estimate(a, b, None, name) for a, b in zip(policy, tree.reference, strict=True)]
    k = tree.path_sums(per_token)  # of each answer: the sum over its tokens
    in_reward = (p_moved * k.detach()) @ its_scores
    in_loss = posttraining.flat_gradient(p_moved @ k, moved, retain=True).double()
    for place, gradient in zip(misses, (in_reward, in_loss), strict=True):
        misses[place].append(round(float((gradient - true).norm() / true.norm()), 3))
    mean, std = float(p_moved @ k.detach()), float((p_moved @ (k.detach() - p_moved @ k.detach())**2)**0.5)
    numbers.append(f"{name}: mean {mean:.3f}, standard deviation {std:.3f} of one answer")
print(f"KL(π ‖ π_ref) = {float(tree.kl(policy).detach()):.3f} nats\n" + "\n".join(numbers))
bars(misses, groups=["k1", "k2", "k3"], ylabel="error of the mean gradient / |∇KL|",
     title=f"In the reward only k1 is right; in the loss k1 does nothing (error {misses['in the loss'][0]:.0%}), k2 misses by "
           f"{misses['in the loss'][1]:.0%}, k3 by {misses['in the loss'][2]:.0%}")

# %% [markdown] tags=["slide"]
r"""
## Token by token

RLOO gives all tokens of an answer the same advantage. PPO (Ziegler et al. 2019; Ouyang et al. 2022) asks *which* token it was:

1. **pay**: each token pays its own log-ratio, the last one collects the reward;
2. **foresee**: a critic, a copy of the network with one number on top, says what is still to come;
3. **compare**: GAE (unit 02) makes an advantage per token;
4. **step**: a few passes over the batch, ratios clipped.
"""

# %% [markdown] exercise="rlhf_policy_gradient.token_rewards"
r"""
Write `token_rewards(rewards, logps, ref_logps, mask, beta)`, what each token is paid.

- `rewards`: $r$ of whole answers, `[answers]`;
- `logps`, `ref_logps`: of their tokens, `[answers, tokens]`; padding may hold anything, NaN too;
- `mask`: 1 at tokens (the end of sequence is one), `[answers, tokens]`; `beta`: $\beta \ge 0$.
- Return `[answers, tokens]`, 0 at padding:

$$r_t = -\beta \log \frac{\pi(y_t)}{\pi_\text{ref}(y_t)} + \big[t \text{ is the last token}\big]\, r$$

By hand, $\beta = 0.5$: log-ratios $(\log 2, 0, -\log 2)$ and reward 2 give $(-0.347, 0, 2.347)$.
"""

# %% exercise="rlhf_policy_gradient.token_rewards"
def token_rewards(rewards, logps, ref_logps, mask, beta):
    """Return what each token is paid, [answers, tokens]."""
    ### BEGIN SOLUTION
    paid = -beta * (logps - ref_logps).masked_fill(mask == 0, 0.0)
    last = mask.sum(1) - 1  # each answer's own last token
    paid[torch.arange(len(paid)), last] += rewards
    return paid
    ### END SOLUTION


# %% [markdown] exercise="rlhf_policy_gradient.ppo_token_loss"
r"""
Write `ppo_token_loss(logps, old_logps, advantages, mask, clip)`, unit 02's clipped objective as a loss over tokens.

- `logps` (of the policy now), `old_logps` (of the one that answered), `advantages`, `mask`: `[answers, tokens]`; padding may hold
  anything, NaN too: leave it out *before* `exp`; `clip`: $\epsilon$.
- Return a tensor with one number, the mean over *all tokens of the batch*:

$$L = -\frac{1}{\sum m} \sum_{i,t} m_{it} \min\big(\rho_{it} A_{it},\ \text{clip}(\rho_{it}, 1 - \epsilon, 1 + \epsilon)\, A_{it}\big), \qquad \rho = \frac{\pi}{\pi_\text{old}}$$

Let gradients flow to `logps` only: detach `old_logps` and `advantages`. By hand, $\epsilon = 0.2$: ratios $(1.5, 0.5, 1)$ with $A = (2, 2, -1)$, and an answer of one token, ratio 0.5, $A = -2$:
$-(2.4 + 1 - 1 - 1.6)/4 = -0.2$.
"""

# %% exercise="rlhf_policy_gradient.ppo_token_loss"
def ppo_token_loss(logps, old_logps, advantages, mask, clip):
    """Return minus the mean over tokens of the clipped objective."""
    ### BEGIN SOLUTION
    counts = mask == 1
    ratio = torch.exp(logps[counts] - old_logps[counts].detach())  # [tokens that count]
    a = advantages[counts].detach()
    return -torch.minimum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a).mean()
    ### END SOLUTION


# %%
PRICE = 0.05  # beta, from here on: reward per nat


def gold_of(prompts, answers):
    """Return the gold reward of each answer."""
    return [gold_reward(asked[x], y) for x, y in zip(prompts, answers, strict=True)]


def ppo_step(policy, reference, critic, optimizer, batch, passes=2):
    """Pay, foresee, compare, step; return everything per token, [answers, tokens]."""
    mask, old = batch.completion_mask, batch.old_per_token_logps
    with torch.no_grad():
        values = critic(*batch.tensors())
        paid = as_tensor(token_rewards(batch.rewards, old, batch.ref_per_token_logps, mask, PRICE)).float()
        raw = posttraining.token_gae(paid, values, mask, discount=1.0, gae_lambda=0.95)
    advantages, returns = posttraining.normalise_masked(raw, mask), raw + values
    for _ in range(passes):
        logps, _ = posttraining.logps_and_entropy(policy, batch)
        loss = ppo_token_loss(logps, old, advantages, mask, 0.2)
        loss = loss + 0.5 * posttraining.value_loss(critic(*batch.tensors()), values, returns, mask)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        optimizer.step()
    return {"reward r_t": paid, "KL (k1, nats)": old - batch.ref_per_token_logps, "value V": values, "advantage A (GAE)": raw, "ratio ρ": (logps.detach() - old).exp()}


# %%
from tutorlib.posttraining import ValueModel, collect, explained_variance

policy, reference, generator = copy.deepcopy(tiny), posttraining.frozen_copy(tiny), torch.Generator().manual_seed(0)
critic = ValueModel(policy)
optimizer = torch.optim.AdamW([{"params": policy.parameters(), "lr": 1e-3}, {"params": critic.parameters(), "lr": 3e-3}], weight_decay=0.0)
start, earned = time.process_time(), []
for _ in range(24):
    drawn_prompts = posttraining.draw_prompts(list(asked), 64, generator)
    batch = collect(policy, reference, tokenizer, drawn_prompts, gold_of, lm.SamplingSettings(40), generator, add_special_tokens=False)
    shown = ppo_step(policy, reference, critic, optimizer, batch)
    earned.append(batch.measures()["reward"])
fit = explained_variance(shown["value V"], shown["value V"] + shown["advantage A (GAE)"], batch.completion_mask)
print(f"PPO on tiny: gold {sum(earned[:4]) / 4:.2f} in the first four batches, {sum(earned[-4:]) / 4:.2f} in the last; the critic explains "
      f"{fit:.0%} of the returns' variance (a constant: 0%); {time.process_time() - start:.0f} CPU seconds")

# %% tags=["hide-input"]
from tutorlib.viz import token_strip

lengths = batch.completion_mask.sum(1)
wrong = [i for i in range(64) if 6 <= int(lengths[i]) <= 12 and float(batch.rewards[i]) < 1]
value = shown["value V"]
falls = {i: float((value[i, :int(lengths[i]) - 1] - value[i, 1:int(lengths[i])]).max()) for i in wrong}
row = max(falls, key=falls.get)  # an answer that disappoints the critic
size = int(lengths[row])
words = tokenizer.convert_ids_to_tokens(batch.completion_ids[row, :size].tolist())
strip = {name: table[row, :size] for name, table in shown.items()}
worst = int((strip["value V"][:-1] - strip["value V"][1:]).argmax())
late = sum(int((value[i, :n - 1] - value[i, 1:n]).argmax()) >= n - 2 for i in wrong for n in [int(lengths[i])])
print(f"V stands before its word. In {late} of {len(wrong)} short answers below gold 1 its largest fall comes behind the last word before <eos>")
print(asked[batch.prompts[row]].text)
token_strip(words, strip, title=f"Gold {float(batch.rewards[row]):.2f} is paid with the end; the critic lowers its forecast by "
                                f"{falls[row]:.2f} at \"{words[worst]}\"")

# %% [markdown] tags=["slide"]
r"""
## Live: half a minute on the base model

Back to the prediction. RLOO needs no critic, so `train_policy_gradient` is the loop of before on real text: 16 questions, 4 answers each, 60
steps, the KL inside the reward. Look at four curves, never at one: what is paid, how far the policy has gone (nats per answer), how sure it is
(entropy per token), and how long it talks. Here the first should rise and the last stay; falling entropy is the price.
"""

# %%
from tutorlib.posttraining import PolicyGradientSettings, train_policy_gradient
from tutorlib.viz import LiveCurves

settings = PolicyGradientSettings(
    steps=60, prompts_per_step=16, sampling=lm.SamplingSettings(40, num_generations=4), baseline="leave_one_out", beta=PRICE,
    learning_rate=1e-3, schedule="linear", add_special_tokens=False)
start, aligned = time.process_time(), copy.deepcopy(base)
with LiveCurves(["reward", "kl", "entropy", "length"], title="RLOO on TinyTalk's base model, gold reward, one run") as live:
    history = train_policy_gradient(aligned, tokenizer, list(asked), gold_of, settings, torch.Generator().manual_seed(0), report=live.update)
print(f"{time.process_time() - start:.0f} CPU seconds, {60 * 64:,} answers; first and last ten steps: " + ", ".join(
    f"{k} {sum(r[k] for r in history[:10]) / 10:.2f} to {sum(r[k] for r in history[-10:]) / 10:.2f}" for k in ("reward", "kl", "entropy", "length")))

# %% tags=["hide-input"]
parts = {name: torch.tensor([worth(model, seed) for seed in range(3)]).mean(0)
         for name, model in (("base", base), ("after RLOO", aligned))}
way = (parts["after RLOO"] - parts["base"]) / (1 - parts["base"])
outcome = PARTS[int(way.argmin())]
print("share of the way to 1: " + ", ".join(f"{p} {float(w):.0%}" for p, w in zip(PARTS, way, strict=True)))
for prompt, answer in zip(questions, ask(aligned, questions[:6]), strict=False):
    print(f"{prompt.text:<55} {answer:<45} gold {gold_reward(prompt, answer):5.2f}")
bars({name: part.tolist() for name, part in parts.items()}, groups=list(PARTS), ylabel="mean part",
     title=f"{PARTS[int(way.argmax())].capitalize()} goes {float(way.max()):.0%} of its way to 1, {outcome} {float(way.min()):.0%}, on held-out questions (one run)")

# %% [markdown] tags=["slide"]
r"""
Refusing and tone are habits. Truth on a *new* question has to be known: a reward only makes likelier what is said now and then.

## The same in TRL

`RLOOTrainer` is this algorithm for a cluster. Two traps: it is set to bfloat16 unless told otherwise, and it reloads the *reference* from
the folder that the model's configuration names. So save first. On each of its batches we compare your advantages and this page's
gradient. Look at the agreement: six steps teach little.
"""

# %% tags=["hide-input"]
import tempfile
import warnings

from datasets import Dataset, disable_progress_bars
from transformers import LlamaForCausalLM, PrinterCallback
from trl import RLOOConfig, RLOOTrainer


class Recording(RLOOTrainer):
    """TRL's trainer; compares each batch's advantages and gradient with this page's."""
    def _compute_loss(self, model, inputs):
        loss, names = super()._compute_loss(model, inputs), ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        texts = lm.decode(tokenizer, inputs["prompt_ids"], inputs["prompt_mask"], skip_special_tokens=False)
        order = sorted(range(len(texts)), key=texts.__getitem__)  # TRL shuffles; groups are the answers to one prompt
        rows, old = [inputs[name][order] for name in names], inputs["old_logps"][order]
        with torch.no_grad():
            kl = old - lm.sequence_logps(tiny, *rows)
        r = torch.tensor(gold_of([texts[i] for i in order], lm.decode(tokenizer, *rows[2:])))
        mine = as_tensor(rloo_advantage((r - PRICE * kl).view(-1, 4))).float().flatten()
        objective = -(mine * lm.sequence_logps(model, *rows)).mean()
        pair = [posttraining.flat_gradient(x, model, retain=True) for x in (loss, objective)]
        compared.append((float(r.mean()), float((mine - inputs["advantages"][order]).abs().max()), float((pair[0] - pair[1]).norm() / pair[0].norm())))
        return loss


disable_progress_bars()
warnings.filterwarnings("ignore", "`is_gradient", FutureWarning)  # of transformers, about a name that TRL still uses
compared, folder = [], tempfile.mkdtemp()
tiny.save_pretrained(folder)
trainer = Recording(
    model=LlamaForCausalLM.from_pretrained(folder), reward_funcs=lambda prompts, completions, **_: gold_of(prompts, [y.strip() for y in completions]),
    train_dataset=Dataset.from_dict({"prompt": list(asked)}),
    processing_class=copy.deepcopy(tokenizer), args=RLOOConfig(
        tempfile.mkdtemp(), beta=PRICE, num_generations=4, max_completion_length=40, per_device_train_batch_size=64, max_steps=6,
        learning_rate=1e-3, lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, bf16=False, gradient_checkpointing=None, use_cpu=True,
        report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no", seed=0))
trainer.remove_callback(PrinterCallback)
trained = trainer.train()
for step, (earned_there, advantage_gap, gradient_gap) in enumerate(compared):
    print(f"step {step}: mean gold {earned_there:.2f}; advantages differ by at most {advantage_gap:.1e}, gradients by {gradient_gap:.1e} of their length")

# %% [markdown] tags=["slide"]
r"""
## Break it: a learned reward, and no price

Outside of toys there is no gold reward. A colleague has 400 judged pairs and fits a reward model by Bradley-Terry (unit 11), linear in how
often each word occurs. On pairs it has not seen it beats a coin. "The optimiser will sort out the rest", says the colleague, and runs RLOO
with $\beta = 0$.

The reward climbs and climbs. Then the training loop stops by itself (`kl_limit`).
"""

# %%
from tutorlib.errors import TrainingDivergedError
from tutorlib.rewards import fit_linear_reward
from tutorlib.tinytalk import Labeller, preference_pairs


def word_counts(answers):
    """Return how often each word occurs, [answers, vocabulary]."""
    return torch.stack([torch.bincount(torch.tensor(ids, dtype=torch.long), minlength=len(tokenizer))
                        for ids in tokenizer(answers, add_special_tokens=False)["input_ids"]]).double()


judged = preference_pairs(sample_prompts(1000, 3), Labeller(temperature=0.5), 4)
better, worse = word_counts([p.chosen for p in judged]), word_counts([p.rejected for p in judged])
word_worth = fit_linear_reward(better[:400], worse[:400])
print(f"other pairs in the judges' order: {float(((better - worse)[400:] @ word_worth > 0).double().mean()):.0%} of 600\n")


# %%
def exploit(price, steps=30, limit=100.0):
    """Run RLOO on the learned reward; return records, gold rewards, answers of the last batch."""
    golds, last, model = [], [], copy.deepcopy(tiny)

    def learned(prompts, answers):
        golds.append(sum(gold_of(prompts, answers)) / len(answers))
        last[:] = zip(prompts, answers, strict=True)
        return (word_counts(answers) @ word_worth).tolist()

    run = PolicyGradientSettings(steps=steps, prompts_per_step=16, sampling=lm.SamplingSettings(40, num_generations=4), beta=price,
                                 learning_rate=1e-3, kl_limit=limit, add_special_tokens=False)
    try:
        records = train_policy_gradient(model, tokenizer, list(asked), learned, run, torch.Generator().manual_seed(0))
    except TrainingDivergedError as error:
        print("stopped:", str(error).split(" Since")[0])  # the rest of the message would spoil your diagnosis
        records = error.history
    return records, golds[:len(records)], list(last)


free, free_gold, free_last = exploit(0.0)
for r in free[::4]:
    print(f"step {r['step']:2}: learned reward {r['reward']:6.2f}   KL {r['kl']:5.1f}   length {r['length']:4.1f}   ended {r['ended']:.0%}")

# %% [markdown] tags=["slide"]
r"""
## Your diagnosis

Before you open the next cell: which one do you believe, and which *measurement* would tell?

- **A.** the optimiser diverged: the steps are too long, weights are noise;
- **B.** the reward pays for something that is not an answer;
- **C.** the answers are cut off at 40 tokens, so the end is never rewarded.
"""

# %% tags=["hide-input"]
for prompt, answer in free_last[::16]:  # answers to four questions
    print(f"{asked[prompt].text:<48} {answer}")
example = Prompt("facts", ("color", "sky"))
for text in ("sure , the sky is blue .", " ".join(free_last[0][1].split()[:12])):
    print(f"\n\"{text}\": learned {float((word_counts([text]) @ word_worth)[0]):.2f}, gold {gold_reward(example, text):.2f}")
leashed, leashed_gold, _ = exploit(0.3, steps=len(free))
curves = {"learned reward, β = 0": [r["reward"] for r in free], "gold, β = 0": free_gold,
          "learned reward, β = 0.3": [r["reward"] for r in leashed], "gold, β = 0.3": leashed_gold}
from tutorlib.viz import lines

lines(curves, range(len(free)), xlabel="step of RLOO (64 answers each)", ylabel="mean reward",
      title=f"Without a price the learned reward climbs to {free[-1]['reward']:.1f} while gold falls to {free_gold[-1]:.1f}; "
            f"with β = 0.3 gold goes from {leashed_gold[0]:.1f} to {sum(leashed_gold[-5:]) / 5:.1f} (one run each)")

# %% [markdown] tags=["slide"]
r"""
## Diagnosis: it did what it was paid for

It is B: reading answers tells, or gold. Not A: noise does not raise the paid reward step by step. Not C: fewer answers end *after* the
reward rose; repeating pays, so ending does not.

The reward was fitted to judged answers, and is right often enough *there*. The policy went where nobody had judged anything. A price keeps it
near, but gold does not *rise*. A leash does not mend a reward; unit 19 measures when to stop.
"""

# %% [markdown] tags=["slide"]
r"""
## Does it scale?

Memory: RLOO holds a policy, a reference and mostly a reward model; PPO a critic too. Time: sampling goes token by token.

Seeds: one run is an anecdote. `benchmarks/posttraining/targets.py` trains about a minute per run, five seeds, settings looked
for. *Labels* are rewarded answers for RLOO and PPO, judged pairs for DPO; parts are means over **all** questions, also where nothing is
at stake. `tree.py` beside it puts every method next to the exact optimum of a tree, 480 answers each.
"""

# %% tags=["hide-input"]
import json

import numpy as np
from scipy.stats import t

from tutorlib.syllabus import course_root

COLUMNS = ("gold", "truth", "harmlessness", "tone", "length", "kl", "seconds", "labels")
record = json.loads((course_root() / "benchmarks" / "posttraining" / "targets.json").read_text(encoding="utf-8"))


def row(name, values, half=None):
    """Print one line of the table; a dash where nothing of the kind was counted."""
    cells = [f"{'-':>12}" if x is None else f"{x:>{12 if half is None else 6}.{0 if c in ('seconds', 'labels') else 2}f}"
             + ("" if half is None else f" ±{half[i]:4.{0 if c in ('seconds', 'labels') else 2}f}")
             for i, (c, x) in enumerate(zip(COLUMNS, values, strict=True))]
    print(f"{name:<22}" + "".join(cells))


print(f"{'mean ± t-interval, 95%':<22}" + "".join(f"{c.removesuffix('ness'):>12}" for c in COLUMNS))
once = {"base": record["base"], "RLOO, your run above": mean_parts(questions, ask(aligned, questions)), "best of 64 (base)": record["best_of_64"]}
for name, measured in once.items():
    row(name, [measured.get(c) if c != "kl" or name == "base" else None for c in COLUMNS])
for name, method in record["methods"].items():
    table = np.array([[run[c] for c in COLUMNS] for run in method["runs"]], dtype=float)  # [seeds, columns]
    row(name, table.mean(0), t.ppf(0.975, len(table) - 1) * table.std(0, ddof=1) / len(table) ** 0.5)

exact = json.loads((course_root() / "benchmarks" / "posttraining" / "tree.json").read_text(encoding="utf-8"))[0]
regrets = {name: np.array([run["regret"] for run in exact["methods"][name]["runs"]])  # [seeds, looks]
           for name in ("REINFORCE, moving average", "ReMax", "RLOO", "GRPO-style", "PPO")}
steps, (best, worst) = exact["methods"]["RLOO"]["runs"][0]["step"], [pick(regrets, key=lambda n: regrets[n][:, -1].mean()) for pick in (min, max)]
learning_curves({name: np.log10(r) for name, r in regrets.items()}, steps, xlabel="gradient step", ylabel="log10 of regret β KL(π ‖ π*)",
                higher_is_better=False, band=(0, 100),
                title=f"A tree of {exact['answers']} answers, five seeds: regret {regrets['RLOO'][0, 0]:.2f} falls with every method, "
                      f"to {regrets[best][:, -1].mean():.3f} ({best}) to {regrets[worst][:, -1].mean():.3f} ({worst})")

# %% [markdown] tags=["slide"]
r"""
## The bridge

| gridworld (02, 03) | language (here) | unit 17 |
|---|---|---|
| prior $\pi_0$, temperature $\lambda$ | reference $\pi_\text{ref}$, price $\beta$ | the same |
| soft value $V = \lambda \log Z$ | $\beta \log Z(x)$, never computed | cancels in a *difference* of answers |
| $\pi^* = \pi_0\, e^{(Q - V)/\lambda}$ | where PPO and RLOO climb | solved for $r$: $\beta \log \pi/\pi_\text{ref}$ + const. |
| GAE over steps | GAE over tokens | a token's log-ratio *is* its advantage |

Unit 17 turns the closed form around: if a policy tells its reward, pairs can train it directly, and nobody has to sample.
"""

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. RLHF climbs to $\pi_\text{ref}\, e^{r/\beta}/Z$; regret is $\beta\, \mathrm{KL}(\pi \| \pi^*)$.
2. Baselines that do not know the answer cost no bias; comparisons do not care where a reward's zero is.
3. $k_1$ in the reward has the right gradient; $k_3$ is the steadier *number*.
4. PPO pays the KL where it arises and spreads the reward by a critic.
5. Read reward, KL, entropy and length together. A rising learned reward proves nothing.
"""

# %%
recall("rlhf_policy_gradient.slowest", outcome)

# %%
quiz("rlhf_policy_gradient")

# %% [markdown]
r"""
## Go further

- Ziegler et al. (2019), [arXiv 1909.08593](https://arxiv.org/abs/1909.08593): PPO on a language model, the KL paid per token, an adaptive $\beta$.
- Ouyang et al. (2022), [arXiv 2203.02155](https://arxiv.org/abs/2203.02155): InstructGPT, the recipe at scale.
- Ahmadian et al. (2024), [arXiv 2402.14740](https://arxiv.org/abs/2402.14740): back to REINFORCE; RLOO against PPO.
- Li et al. (2023), [arXiv 2310.10505](https://arxiv.org/abs/2310.10505): ReMax, the greedy baseline.
- Schulman (2020), [Approximating KL divergence](http://joschu.net/blog/kl-approx.html): $k_1$, $k_2$, $k_3$.
- Tang and Munos (2025), [arXiv 2506.09477](https://arxiv.org/abs/2506.09477): wrong gradients of right estimates.

**Open question.** Is there a reward whose optimum one would want at $\beta = 0$, or is the reference always part of what we mean?
"""
