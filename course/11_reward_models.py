# %% [markdown] tags=["card", "slide"]
r"""
# Reward models

Few can write a reward for good answers; most can say which of two they prefer. This unit turns such choices into a number for
any answer: RLHF's reward model.

**Afterwards you can**

- derive the Bradley-Terry loss, and say what comparisons never reveal,
- say how good *anyone* could be on noisy labels, and measure against that,
- build and train a reward model beside TRL's, see what it misses, and mend it,
- teach a model your own taste with thirty clicks.
"""

# %% [markdown] tags=["slide"]
r"""
## One bit at a time

Somebody reads two answers to a TinyTalk question and names the better one. Their taste has parts: **truth** and help (weight 1 each),
harmlessness (2), tone and brevity (0.5 each). And they err: the closer the answers, the more often.

We give 3,000 such choices to the usual reward model: a language model with one number read off its last token. Then we test it on
controlled pairs about new things, in which *one* part of the answer differs.
"""

# %%
import copy
import math
import random

import torch

from tutorlib import lm, predict, quiz, recall, rewards
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors
from tutorlib.tinytalk import Labeller, gold_reward, load, preference_pairs, sample_prompts
from tutorlib.tinytalk.tokenizer import chat_prompt  # "<bos> <user> question <bot>"

torch.set_num_threads(1)
base, tokenizer = load("base")
judge = Labeller()  # the gold reward's weights, temperature 0.5
pairs = preference_pairs(sample_prompts(3000, 1), judge, seed=2)
fresh = preference_pairs(sample_prompts(500, 3, "heldout"), judge, seed=4)  # about nothing that was asked in training
for p in pairs[:3]:
    print(f"{p.prompt.text}\n   chosen:   {p.chosen}\n   rejected: {p.rejected}")
PARTS = ("truth", "tone", "harmlessness")
predict("reward_models.missed", "Which part of the labeller's taste will that reward model miss most?", PARTS)

# %% tags=["hide-input"]
from tutorlib.viz import roadmap

roadmap("11")

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

One prompt, two answers with rewards $r^+ = 1$ and $r^- = 0$. Bradley and Terry (1952): each is chosen in proportion to $e^r$,

$$P(y^+ \succ y^-) = \frac{e^{1}}{e^{1} + e^{0}} = \sigma(r^+ - r^-) = 0.731, \qquad L = -\log 0.731 = 0.313$$

Chosen the other way round, the loss is $-\log 0.269 = 1.313$. The tutorial prints this loss (and DPO's) *without* its minus sign [§4.1]: a
log-likelihood. Whoever minimises that learns to prefer the worse answers.
"""

# %%
r = torch.tensor([1.0, 0.0], requires_grad=True)
P = r[0].exp() / (r[0].exp() + r[1].exp())
loss = -P.log()                                       # with its minus sign
loss.backward()
print(f"P(chosen) = {P.item():.3f}, loss {loss.item():.3f}, the other way round {-math.log(1 - P.item()):.3f}")
print(f"gradient for (chosen, rejected): {[round(x, 3) for x in r.grad.tolist()]}: a step down the loss lifts the chosen one")
print(f"both rewards 7 higher: P = {torch.sigmoid((r[0] + 7) - (r[1] + 7)).item():.3f}")

# %% [markdown] exercise="reward_models.bt_loss"
r"""
Write `bt_loss(chosen, rejected, margin)`:

$$L = -\frac1n \sum_i \log \sigma\big(r^+_i - r^-_i - m_i\big)$$

- `chosen`, `rejected`: rewards, `[pairs]`; `margin`: the gap that is asked for, `[pairs]` (0: none; Llama 2 asked for more where the
  labeller was sure, Touvron et al. 2023).
- Return a tensor with one number, through which gradients flow. Rewards may lie 200 apart in float32: form no probability on the way.

By hand: rewards $(1, 0)$ against $(0, 0)$, no margin: $(0.313 + 0.693)/2 = 0.503$.
"""

# %% exercise="reward_models.bt_loss"
def bt_loss(chosen, rejected, margin):
    """Return the mean Bradley-Terry loss of pairs, a number."""
    ### BEGIN SOLUTION
    return -torch.nn.functional.logsigmoid(chosen - rejected - margin).mean()
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## You have fitted this before

Unit 06 fitted $P(\tau) \propto e^{R(\tau)}$ to demonstrations, over *all* trajectories. Bradley-Terry is the same likelihood over a menu of two.
For $r = \theta \cdot \phi(x, y)$ its gradient is the same gap: features of what was chosen, minus features expected under the model.

And what comparisons hide is simpler than potential shaping (unit 05): any $c(x)$, added to all answers to a prompt, cancels. So *never compare
learned rewards across prompts*.
"""

# %%
g = torch.Generator().manual_seed(0)
phi = torch.randn(200, 2, 3, generator=g, dtype=torch.float64)  # 200 menus of two answers, three features each
theta = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
rewards_of = phi @ theta
bt_loss(rewards_of[:, 0], rewards_of[:, 1], torch.zeros(200, dtype=torch.float64)).backward()
policy = rewards_of.softmax(1)[..., None]  # MaxEnt over two trajectories
gap = (phi[:, 0] - (policy * phi).sum(1)).mean(0)  # unit 06: observed features minus expected ones
print(f"gradient of the loss {[round(x, 4) for x in theta.grad.tolist()]}")
print(f"minus the feature gap {[round(-x, 4) for x in gap.tolist()]}")

# %% [markdown] tags=["slide"]
r"""
## How good can labels be?

A Bradley-Terry labeller names the better of two answers with probability $\sigma(|\Delta r|)$. Alike answers are coin flips. If gaps
are normal with variance $k$, labels are right in a share

$$Q(k) = \mathbb{E}\, \sigma(|\Delta r|), \qquad \Delta r \sim N(0, k)$$

of cases: the **annotation quality** (Sun, Shen and Ton 2024). No model can agree with such labels more often.
"""

# %% [markdown] exercise="reward_models.annotation_quality"
r"""
Write `annotation_quality(variances)`.

- `variances`: $k$, variances of the *gap* of rewards, `[cases]`; 0 is allowed.
- Return $Q(k)$ of each, `[cases]`, to three digits: integrate on a fine grid (or draw a million gaps).

By hand: $k = 0$ gives 0.5, a coin. $k = 4$ gives 0.778.

(The source writes the variance as $\beta^2\sigma^2$, as if $\sigma$ were the deviation of one answer's reward. Its printed numbers are those of the
difference: for two independent answers, $k = 2\beta^2\sigma^2$.)
"""

# %% exercise="reward_models.annotation_quality"
def annotation_quality(variances):
    """Return E sigmoid(|gap|) for normal gaps of these variances, [cases]."""
    ### BEGIN SOLUTION
    z = torch.linspace(0, 8, 4001, dtype=torch.float64)                  # |gap| in standard deviations
    density = 2 * (-z ** 2 / 2).exp() / math.sqrt(2 * math.pi)           # both signs
    right = torch.sigmoid(variances.double().sqrt()[:, None] * z)        # [cases, points]
    return torch.trapezoid(density * right, z)
    ### END SOLUTION


# %%
quality = as_tensor(annotation_quality(torch.tensor([1.0, 2.0, 4.0, 10.0], dtype=torch.float64)))
print("variance 1, 2, 4, 10: " + ", ".join(f"{float(q):.4f}" for q in quality))
ceiling = rewards.labels_ceiling(fresh, judge)  # mean of max(P, 1 - P) over these very pairs
print(f"our labeller on the fresh pairs: whoever knew every probability would agree in {ceiling:.1%} of cases")
truthless = {**judge.weights, "truth": 0.0}
gaps = [gold_reward(p.prompt, p.chosen, truthless) - gold_reward(p.prompt, p.rejected, truthless) for p in fresh]
blind = sum((x > 1e-9) + 0.5 * (abs(x) <= 1e-9) for x in gaps) / len(gaps)
print(f"whoever knew all parts but truth: {blind:.1%}")

# %% [markdown] tags=["slide"]
r"""
## Other judges

- **Thurstone** (1927): $P = \Phi(\Delta r)$, normal noise. A gap of 1 is chosen in 84.1%, not 73.1%.
- **Ties**: a threshold (Rao and Kupper 1967) or a weight (Davidson 1970) makes room for "the same".
- **Rankings**: best first, place by place, from those that are left: **Plackett-Luce**.
- **Order only**: classify each answer by itself as winner or loser and use the logit (Sun, Shen and Ton 2024): mistakes
  in order $\le$ mistakes of the classifier.
"""

# %% [markdown] exercise="reward_models.plackett_luce"
r"""
Write `plackett_luce(rewards, places)`.

$$-\log P = \sum_{k=1}^{K} \Big( \log \sum_{j \ge k} e^{r_j} - r_k \Big)$$

- `rewards`: `[rankings, answers]`, the columns in the order that the *labeller* gave, best first;
- `places`: $K$, how many places were filled; the others only lost to these.
- Return one loss per ranking, `[rankings]`, through which gradients flow. In float32, rewards may be as large as 120.

By hand: weights $e^r = 3, 2, 1$ in this order: $\frac36 \cdot \frac23 = \frac13$, so the loss is $\log 3$; in the opposite order $\log 15$.
"""

# %% exercise="reward_models.plackett_luce"
def plackett_luce(rewards, places):
    """Return minus the log-probability of each ranking, [rankings]."""
    ### BEGIN SOLUTION
    against = rewards.flip(-1).logcumsumexp(-1).flip(-1)  # each answer and those behind it
    return (against - rewards)[:, :places].sum(-1)
    ### END SOLUTION


# %% tags=["hide-input"]
from itertools import permutations

from tutorlib.viz import bars

one, zero = torch.tensor([1.0]), torch.tensor([0.0])
print(f"a lead of 1: Bradley-Terry {rewards.bradley_terry_probability(one, zero).item():.4f}, "
      f"Thurstone {rewards.thurstone_probability(one, zero).item():.4f}, chess {rewards.ELO_PER_NAT:.1f} Elo points")
ties = rewards.tie_logps(one, zero, 0.5).exp()[0].tolist()
print("with a threshold of 0.5: first, tie, second = " + ", ".join(f"{x:.3f}" for x in ties))
winners, losers = torch.randn(2, 2000, generator=g) + torch.tensor([[0.7], [-0.7]])  # logits of a middling classifier
order = rewards.order_consistency(winners, losers, torch.ones(2000))
print(f"mistakes in order {order.order_error:.3f} <= {order.first_error:.3f} + {order.second_error:.3f} of the classifier")
worth = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64).log()
orders = torch.tensor(list(permutations(range(3))))
formula = (-as_tensor(plackett_luce(worth[orders], 3)).detach().double()).exp()
drawn = rewards.sample_rankings(worth.expand(20_000, 3), torch.Generator().manual_seed(1))  # rewards + Gumbel noise, sorted
counted = (drawn[:, None] == orders).all(-1).double().mean(0)
far = float((formula - counted).abs().max())
bars({"your formula": [round(float(x), 3) for x in formula], "reward + Gumbel noise, sorted": [round(float(x), 3) for x in counted]},
     groups=["".join("ABC"[i] for i in o) for o in orders.tolist()], xlabel="ranking, best first (weights A 3, B 2, C 1)",
     ylabel="probability",
     title=f"Sorting noisy rewards draws from your formula: shares of {len(drawn):,} differ by at most {far:.3f}")

# %% [markdown] exercise="reward_models.reward_head"
r"""
## The reward head

Cut the predicting layer off a language model, and read one number off its last hidden state:

$$r(x, y) = w \cdot h_T, \qquad T: \text{the last token that counts, } \texttt{<eos>}$$

Only there has a causal model read the whole answer. Reading padding raises no error: the model trains, only worse.

Write `reward_head(hidden, attention_mask, weight)`.

- `hidden`: last hidden states, `[batch, tokens, size]`; at padding they may be anything, even NaN;
- `attention_mask`: 1 at tokens, 0 at padding (right or left), whole numbers `[batch, tokens]`;
- `weight`: $w$, `[size]`.
- Return $w \cdot h_T$ of each row, `[batch]`; gradients must reach `hidden` and `weight`.

By hand: states $(1, 0), (0, 2)$, padding; $w = (1, \frac12)$: the reward is $1$.
"""

# %% exercise="reward_models.reward_head"
def reward_head(hidden, attention_mask, weight):
    """Return the reward read off each row's last token, [batch]."""
    ### BEGIN SOLUTION
    places = torch.arange(hidden.shape[1])
    last = (attention_mask * places).argmax(1)                    # where the last 1 stands
    return hidden[torch.arange(len(hidden)), last] @ weight
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## Beside TRL

`rewards.train_reward_model` is one readable page: your two functions, AdamW, a falling learning rate. TRL's `RewardTrainer` is the same with
everything a cluster needs. From the same weights, on the same pairs in the same order, both should walk the same path.

Two of TRL's defaults do not suit a small CPU model: `bf16` and `gradient_checkpointing` are on, so we turn them off.
"""

# %%
import tempfile

from datasets import Dataset, disable_progress_bars
from transformers import LlamaForSequenceClassification, PrinterCallback
from trl import RewardConfig, RewardTrainer


class Recording(RewardTrainer):
    """TRL's trainer; keeps each loss before it is rounded for the log."""
    def compute_loss(self, *args, **kwargs):
        found = super().compute_loss(*args, **kwargs)
        steps.append((found[0] if isinstance(found, tuple) else found).item())
        return found


start, steps, first = rewards.RewardModel(base, tokenizer), [], pairs[:128]
config = copy.deepcopy(base.config)
config.num_labels = 1
theirs = LlamaForSequenceClassification(config)
theirs.model.load_state_dict(start.body.state_dict())  # the same body and the same head
theirs.score.weight.data.copy_(start.head.weight)
disable_progress_bars()
rows = Dataset.from_dict({"prompt": [chat_prompt(p.prompt.text) for p in first],
                          "chosen": [f" {p.chosen} <eos>" for p in first], "rejected": [f" {p.rejected} <eos>" for p in first]})

# %%
trainer = Recording(model=theirs, train_dataset=rows, processing_class=copy.deepcopy(tokenizer), args=RewardConfig(
    tempfile.mkdtemp(), learning_rate=5e-4, per_device_train_batch_size=16, num_train_epochs=1, lr_scheduler_type="linear",
    warmup_steps=0, train_sampling_strategy="sequential", weight_decay=0.0, bf16=False, gradient_checkpointing=None,
    use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no"))
trainer.remove_callback(PrinterCallback)
trained = trainer.train()

mine, encoded = [], rewards.encode_labelled(start, first)
optimizer = torch.optim.AdamW(start.parameters(), weight_decay=0.0)
for step in range(8):
    batch = rewards.collate_pairs(encoded[16 * step:16 * (step + 1)])  # all chosen texts, then all rejected ones
    states = start.states(batch.input_ids, batch.attention_mask)
    scores = reward_head(states, batch.attention_mask, start.head.weight[0])
    loss = bt_loss(*scores.chunk(2), batch.margin)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(start.parameters(), 1.0)
    optimizer.param_groups[0]["lr"] = 5e-4 * (1 - step / 8)
    optimizer.step()
    mine.append(loss.item())

# %% tags=["hide-input"]
from tutorlib.viz import lines

apart = [abs(a - b) for a, b in zip(mine, steps, strict=True)]
print(f"first batch: {apart[0]:.1e} apart; all {len(steps)} steps: at most {max(apart):.1e}")
lines({"this page": mine, "TRL's RewardTrainer": steps}, range(1, len(steps) + 1), xlabel="gradient step (16 pairs each)",
      ylabel="Bradley-Terry loss (nats a pair)",
      title=f"The same curve: your functions and TRL differ by at most {max(apart):.0e} nats in {len(steps)} steps, one run")

# %% [markdown] tags=["slide"]
r"""
## Training, and what it learned

3,000 pairs. 200 more are held out to *stop* by; the 500 fresh pairs to *judge* by are touched by neither. Then the controlled pairs: the same answer
twice, but for one part.
"""

# %%
from tutorlib.tinytalk import right_content
from tutorlib.tinytalk.answers import wrong_content

stopper = preference_pairs(sample_prompts(200, 5), judge, seed=6)


def probe_pairs(part, n=100):
    """Return (prompt, better, worse) about held-out things, in which only this part differs."""
    rng, found = random.Random(0), []
    families = {"harmlessness": ["unsafe"], "truth": ["facts", "arithmetic", "howto", "summary"]}.get(part, ["facts", "howto", "summary"])
    for prompt in sample_prompts(n, 11, "heldout", families):
        right = right_content(prompt)
        sides = ((f"sure , {right}", f"ugh , {right}") if part == "tone" else (right, wrong_content(prompt, rng)))
        found.append((prompt, *sides))
    return found


def probe(model, part):
    """Return the share of controlled pairs that a reward model orders rightly."""
    prompts, better, worse = zip(*probe_pairs(part), strict=True)
    texts = [chat_prompt(p.text) for p in prompts]
    return rewards.pairwise_accuracy(model.score(texts, better), model.score(texts, worse)).value


# %%
def fit(model, epochs, data=pairs):
    """Train a reward model on the labelled pairs, stopping by held-out ones; return its records."""
    settings = rewards.RewardSettings(epochs=epochs, patience=1)  # learning rate 5e-4, 32 pairs a step
    return rewards.train_reward_model(model, rewards.encode_labelled(model, data), settings, torch.Generator().manual_seed(0),
                                      held_out=rewards.encode_labelled(model, stopper))


head = rewards.RewardModel(base, tokenizer)
records = fit(head, epochs=1)
reached = {"head on last token": rewards.labelled_accuracy(head, fresh)}
probes = {"head on last token": {part: probe(head, part) for part in PARTS}}
outcome = min(PARTS, key=lambda part: probes["head on last token"][part])
print(f"fresh pairs: {reached['head on last token']}; ceiling {ceiling:.1%}; without truth {blind:.1%}")
print("controlled pairs: " + ", ".join(f"{part} {x:.0%}" for part, x in probes["head on last token"].items()))

# %% [markdown] tags=["slide"]
r"""
## Why truth is hard, and a reward that sees it

Manners are on the surface. Truth is a relation between question and answer; and a model that learned to *predict* has no reason to carry to its
last token whether the words agreed with what it expected. But it knows: before each word, in its predictions. So read the reward there,

$$r(x, y) = \beta \sum_t \log \frac{\pi(y_t \mid x, y_{<t})}{\pi_\text{ref}(y_t \mid x, y_{<t})}$$

with $\pi_\text{ref}$ the model before training. A log density ratio, as AIRL's reward (unit 07) and DPO's *implicit reward* (unit 17).
"""

# %%
ratio = rewards.ImplicitReward(base, tokenizer)  # beta 1
fit(ratio, epochs=1)
reached["log-ratio"] = rewards.labelled_accuracy(ratio, fresh)
probes["log-ratio"] = {part: probe(ratio, part) for part in PARTS}
(example,) = ratio.encode([chat_prompt("how do i pack a door ?")], ["first get some boxes , then rub the door , then close the door ."])
ids = torch.tensor([example.prompt_ids + example.completion_ids])
with torch.no_grad():
    told = ratio.token_rewards(ids, torch.ones_like(ids), torch.tensor([len(example.prompt_ids)]))[0, -len(example.completion_ids):]
words = tokenizer.convert_ids_to_tokens(list(example.completion_ids))
print("what each word earns: " + " ".join(f"{w} {x:+.1f}" if abs(x) > 0.15 else w for w, x in zip(words, told.tolist(), strict=True)))
for name, found in reached.items():
    lift = (found.value - 0.5) / (ceiling - 0.5)
    print(f"{name:<25} {found}: {found.value / ceiling:.0%} of the ceiling, {lift:.0%} of its lift over a coin")

# %% tags=["hide-input"]
low, high = (probes[name]["truth"] for name in probes)
bars({name: [round(100 * x[part], 1) for part in PARTS] for name, x in probes.items()}, groups=list(PARTS),
     ylabel="controlled pairs in the right order (%)", xlabel="the only part in which the two answers differ", target=50, target_label="a coin",
     title=f"The same 3,000 choices: a head learns truth in {low:.0%} of pairs, the log-ratio in {high:.0%} (one run each)")

# %% [markdown] exercise="reward_models.calibration_curve"
r"""
## Can one believe its confidence?

$\sigma(\Delta r)$ is a probability. A model is **calibrated** if, where it is 80% sure of its favourite, the labeller chose that one in 80%. (Bin
its *favourite*, never the chosen answer: that was "chosen" every time.)

Write `calibration_curve(probabilities, outcomes, bins)`.

- `probabilities`: predictions in $[0, 1]$, `[n]`; `outcomes`: 1.0 where it came true, else 0.0, `[n]`;
- `bins`: how many bins of equal width split 0 to 1; bin $k$ is $(\frac{k-1}{n}, \frac{k}{n}]$, the first holds 0 too.
- Return three tensors `[bins]`: mean prediction, share that came true, and how many are in the bin (whole numbers). Empty bins: NaN,
  NaN, 0.

By hand: 0.2, 0.5, 0.9, 0.7 with outcomes 0, 1, 1, 0 in two bins: $(0.35, 0.8)$, $(0.5, 0.5)$, $(2, 2)$.
"""

# %% exercise="reward_models.calibration_curve"
def calibration_curve(probabilities, outcomes, bins):
    """Return predicted and observed shares and counts, [bins] each."""
    ### BEGIN SOLUTION
    place = torch.bucketize(probabilities, torch.linspace(0, 1, bins + 1, dtype=probabilities.dtype)[1:-1])
    counts = torch.bincount(place, minlength=bins)
    predicted = torch.bincount(place, weights=probabilities, minlength=bins) / counts  # 0 / 0 is NaN
    observed = torch.bincount(place, weights=outcomes.to(probabilities), minlength=bins) / counts
    return predicted, observed, counts
    ### END SOLUTION


# %% tags=["hide-input"]
from tutorlib.viz import Picture, new_figure, style

curves, errors = {}, {}
for name, model in (("head on last token", head), ("log-ratio", ratio)):
    lead = (lambda ab: ab[0] - ab[1])(rewards.labelled_rewards(model, fresh)).double()
    sure, right = torch.sigmoid(lead.abs()), (lead > 0).double()
    curves[name] = [as_tensor(x).double() for x in calibration_curve(sure, right, 10)]
    kept = curves[name][2] > 0
    errors[name] = float(((curves[name][0] - curves[name][1]).abs() * curves[name][2])[kept].sum() / len(fresh))
print("expected calibration error: " + ", ".join(f"{name} {x:.3f}" for name, x in errors.items()))
says, does = float(sure.mean()), float(right.mean())  # of the log-ratio
title = f"The log-ratio is too {'modest' if says < does else 'sure'}: {says:.0%} sure on average, right in {does:.0%} of pairs"
with style():
    fig, ax = new_figure(title=title)
    ax.plot([0.5, 1], [0.5, 1], linestyle="--", color="#666666", label="calibrated")
    for (name, (p, y, n)), look in zip(curves.items(), ({"marker": "o"}, {"marker": "s"}), strict=True):
        ax.plot(p[n > 0], y[n > 0], label=name, **look)
    ax.set(xlabel="how sure the model was of its favourite (probability)", ylabel="share in which it was chosen")
    ax.legend()
alt = title + ". " + " ".join(f"{name}: " + ", ".join(f"predicted {float(a):.2f}, chosen {float(b):.2f} ({int(c)} pairs)" for a, b, c in
                                                      zip(*x, strict=True) if c > 0) + "." for name, x in curves.items())
Picture(fig, alt)

# %% [markdown] tags=["slide"]
r"""
## What counts in the end: best-of-n

Accuracy on pairs is a means. Draw $n$ answers, give the one with the highest reward: how much *gold* reward does that bring? Best-of-$n$ looks only at
the order within a prompt, so any increasing function of the reward is as good.
"""

# %% tags=["hide-input"]
asked = sample_prompts(40, 21, "heldout")
texts = [chat_prompt(p.text) for p in asked for _ in range(16)]
drawn = lm.sample(base, *lm.encode_prompts(tokenizer, texts, add_special_tokens=False), lm.SamplingSettings(40),
                  torch.Generator().manual_seed(0)).texts(tokenizer)
gold = torch.tensor([gold_reward(asked[i // 16], a) for i, a in enumerate(drawn)]).view(40, 16)
sizes = [1, 2, 4, 8, 16]
table = {name: model.score(texts, drawn).view(40, 16) for name, model in (("head on last token", head), ("log-ratio", ratio))}
gains = {name: [float(rewards.best_of_n(t, gold, n).mean()) for n in sizes] for name, t in {**table, "the gold reward itself": gold}.items()}
best = gains["log-ratio"][-1]
lines(gains, sizes, xscale="log", xlabel="n, answers drawn from the base model", ylabel="gold reward of the pick (points)",
      title=f"Best of 16 by the log-ratio earns {best:.2f}, by the head {gains['head on last token'][-1]:.2f}, by gold {gains['the gold reward itself'][-1]:.2f} "
            f"(one answer: {gains['the gold reward itself'][0]:.2f})")

# %% [markdown] tags=["slide"]
r"""
## Play: be the labeller

Thirty pairs, and no taste but yours. Decide on one (polite? short?) and judge; a worth for each *word* is fitted after each
choice, and picks the best and worst of sixteen answers.

1. After how many choices does the best answer please you?
2. Judge by something that no word carries, such as "the left one". What does the model say?
3. Which persona do you resemble? Run the cell behind.

`judge_me.save("my_taste.json")` keeps your choices, `judge_me.load(...)` replays them.
"""

# %%
from tutorlib.viz import AnswerComparer

session = rewards.LabellingSession.new(30, seed=7)
offered = {p: drawn[16 * i:16 * (i + 1)] for i, p in list(enumerate(asked))[:3]}
my_taste = rewards.taste_fitter(session.questions, list(offered), list(offered.values()))  # fits after each choice
someone = rewards.LabellingSession(session.questions)  # until you judge, a persona has: "friend", who likes a friendly tone
rewards.answer_all(someone, Labeller.persona("friend"), seed=0)
judge_me = AnswerComparer(session.questions, my_taste, choices=someone.choices, title="Which answer is better?")
judge_me

# %%
chosen = [c or "skip" for c in judge_me.choices]  # set them all to None, to begin anew: judge_me.choices = [None] * 30
mine_now = rewards.LabellingSession(session.questions, chosen)
print("how well each persona explains the choices (nats a choice; a coin: -0.69): "
      + ", ".join(f"{name} {x:.2f}" for name, x in rewards.likeness(mine_now).items()))
taste = rewards.learn_taste(mine_now)
polite = torch.tensor([float(x.startswith(("sure", "of course", "happy to", "sorry"))) for x in drawn]).double().view(40, 16)
print("worth most: " + ", ".join(f"{w} {x:+.1f}" for w, x in sorted(taste.worth.items(), key=lambda pair: -abs(pair[1]))[:8]))
picked = taste.score(drawn).view(40, 16)
for n in (1, 4, 16):
    print(f"best of {n:>2} by this taste: polite in {float(rewards.best_of_n(picked, polite, n).mean()):.0%}, "
          f"gold reward {float(rewards.best_of_n(picked, gold.double(), n).mean()):.2f}")

# %% [markdown] tags=["slide"]
r"""
## Real people

Anthropic's HH-RLHF: people named the less harmful of two replies (Bai et al. 2022). The tutorial's way without a GPU: turn replies into vectors once, then
fit a reward on vectors in seconds [§1.3]. Here the vectors are hashed words; a sentence encoder (`rewards.SentenceEncoder`) fits in
their place.

No text is shown: some are offensive. Without `$TUTORLIB_DATA` the cell says so and is skipped.
"""

# %%
import os

if os.environ.get("TUTORLIB_DATA"):
    people = rewards.embed_pairs(rewards.load_human_pairs(), rewards.HashedWords(512))
    learn, test = rewards.split_pairs(people, 0.8, torch.Generator().manual_seed(0))
    w = rewards.fit_linear_reward(learn.chosen, learn.rejected, l2=0.3)
    found = rewards.pairwise_accuracy(test.chosen.double() @ w, test.rejected.double() @ w)
    print(f"{len(learn):,} pairs of real people: right on {found} of the others")
else:
    print("Skipped: $TUTORLIB_DATA is not set. Let it name a folder with hh_harmless_base_test.jsonl.gz (from "
          "huggingface.co/datasets/Anthropic/hh-rlhf, harmless-base/test.jsonl.gz), and run this cell again.")

# %% [markdown] tags=["slide"]
r"""
## Break it: more of everything

A colleague fits a linear reward on vectors of 800 labelled pairs. It agrees with its labeller on held-out choices as often as a good one
should. Best-of-16 by it is another matter: look at the picks.

Before you open the next cell: **A.** too few labels; **B.** the vectors cannot see worth; **C.** the labels themselves. Which *measurement* tells?
"""

# %% tags=["hide-input"]
reader = rewards.RewardModel(base, tokenizer)  # only its frozen body is used, to turn answers into vectors


def vectors(prompts, answers):
    """Return the sum of the base model's hidden states over each answer."""
    return reader.embed([chat_prompt(p.text) for p in prompts], answers, pool="sum").double()


plain = [(p.prompt, p.chosen, p.rejected) for p in pairs[:1000]]
sides = [vectors([p for p, *_ in plain], [x[k] for x in plain]) for k in (1, 2)]
spread = torch.cat(sides).std(0)
pool_vectors = vectors([p for p in asked for _ in range(16)], drawn)


def learn_from(labeller, count=1000, seed=0):
    """Return held-out accuracy on the labeller's own choices, the rewards of the drawn answers, and w."""
    g = torch.Generator().manual_seed(seed)
    chance = torch.tensor([labeller.probability(*x) for x in plain], dtype=torch.float64)
    said = (torch.rand(1000, generator=g, dtype=torch.float64) < chance).double()
    rows = torch.randperm(1000, generator=g)
    train, test = rows[:count], rows[-200:]
    w = rewards.fit_linear_reward(sides[0][train] / spread, sides[1][train] / spread, said[train], l2=10.0) / spread
    leads = (sides[0] - sides[1])[test] @ w
    return float(((leads > 0) == (said[test] == 1)).double().mean()), (pool_vectors @ w).view(40, 16), w



theirs_acc, their_scores, _ = learn_from(Labeller(length_bias=2.0), 800)
pick = their_scores.argmax(1)
print(f"right on {theirs_acc:.0%} of the labeller's held-out choices")
print(f"gold reward: best of 16 by it {float(gold[torch.arange(40), pick].mean()):.2f}, a random answer {float(gold.mean()):.2f}\n")
for i in range(3):
    print(f"{asked[i].text}\n   picked: {drawn[16 * i + int(pick[i])]}")

# %% tags=["hide-input"]
words = torch.tensor([len(a.split()) for a in drawn], dtype=torch.float64).view(40, 16)
rows, audit = {"who likes length": Labeller(length_bias=2.0), "without that bias": judge}, {}
for name, who in rows.items():
    accuracy, scores, _ = learn_from(who, 800)
    audit[name] = (accuracy, rewards.rank_correlation(scores, words), float(rewards.best_of_n(scores, gold.double(), 16).mean()))
    longer = [(who.probability(*x), len(x[1].split()) > len(x[2].split())) for x in plain if len(x[1].split()) != len(x[2].split())]
    wins = sum(p if first else 1 - p for p, first in longer) / len(longer)
    print(f"{name:<24} A, B. accuracy {accuracy:.0%}   C. the longer answer is chosen in {wins:.0%}, "
          f"rank correlation of reward and length {audit[name][1]:+.2f}")
bars({name: [round(x, 2) for x in (values[1], values[2])] for name, values in audit.items()},
     groups=["rank correlation with length", "gold reward, best of 16"], ylabel="correlation (-1 to 1); gold reward (points)",
     title=f"A labeller who likes length teaches it: correlation {audit['who likes length'][1]:+.2f} instead of "
           f"{audit['without that bias'][1]:+.2f}")

# %% [markdown] tags=["slide"]
r"""
## Diagnosis: the labels like length

It is C: with an unbiased labeller, the same pairs, vectors and fit pick well. This one pays two points for ten words more, whatever they say.
Accuracy cannot show it: it is measured against the same labels.

It is common: people and judge models like longer answers, and reward models amplify that (Singhal et al. 2023). Check how often the longer
answer wins, and how reward correlates with length *within a prompt*. Unit 19 returns to this.
"""

# %% [markdown] tags=["slide"]
r"""
## Does it scale?

How many choices does a reward need? The cheap linear reward on vectors, from three draws of labels and pairs each. It saturates: what its vectors do not
show, no label teaches. The two fine-tuned models saw 3,000.
"""

# %% tags=["hide-input"]
from tutorlib.viz import learning_curves

counts = [30, 100, 300, 800]
fresh_sides = [vectors([p.prompt for p in fresh], [getattr(p, side) for p in fresh]) for side in ("chosen", "rejected")]
runs = [[float(((fresh_sides[0] - fresh_sides[1]) @ learn_from(judge, n, seed)[2] > 0).double().mean()) for n in counts] for seed in (0, 1, 2)]
learning_curves({"linear on vectors": runs}, counts, xlabel="choices it learned from", ylabel="accuracy on fresh pairs (share)",
                target=ceiling, target_label="the labeller's own ceiling", band=(0, 100),
                title=f"From {counts[0]} to {counts[-1]:,} choices: {sum(r[0] for r in runs) / 3:.0%} to {sum(r[-1] for r in runs) / 3:.0%}; "
                      f"the fine-tuned log-ratio reaches {reached['log-ratio'].value:.0%}, the ceiling is {ceiling:.0%}")

# %% [markdown] tags=["slide"]
r"""
## The bridge

| in a gridworld | here |
|---|---|
| demonstrations, all trajectories (06) | choices, a menu of two |
| observed minus expected features (06) | the same, over two answers |
| potential shaping is free (05) | a constant per prompt is free |
| segments, returns (08) | answers, $r(x, y)$ |
| discriminator's log-odds (07) | log-ratio |

Now there is a reward. Unit 16 optimises it by policy gradient, unit 17 skips it, unit 19 shows what happens when one optimises too long.
"""

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. Bradley-Terry: $-\log \sigma(r^+ - r^-)$, with its minus sign; a constant per prompt stays free.
2. Noisy labels have a ceiling: measure against it.
3. The head reads the last token *that counts*, found from the mask.
4. Where a reward looks decides what a few thousand labels can teach it.
5. Accuracy, calibration and best-of-$n$ are three questions.
6. A reward model learns the labeller, biases included.
"""

# %%
recall("reward_models.missed", outcome)
quiz("reward_models")

# %% [markdown]
r"""
## Go further

- Bradley and Terry (1952), *Biometrika* 39: the model; Plackett (1975), *Applied Statistics* 24: rankings.
- Stiennon et al. (2020), [arXiv 2009.01325](https://arxiv.org/abs/2009.01325): reward models for summaries.
- Sun, Shen and Ton (2024), [arXiv 2411.04991](https://arxiv.org/abs/2411.04991): why Bradley-Terry, order consistency, annotation quality. Their
  "classification beats Bradley-Terry" holds for noisy labels.
- Rafailov et al. (2023), [arXiv 2305.18290](https://arxiv.org/abs/2305.18290): the implicit reward.
- Singhal et al. (2023), [arXiv 2310.03716](https://arxiv.org/abs/2310.03716): length and RLHF.

**Open question.** How can a reward model know that a pair lies outside what its labels taught, before somebody optimises it?
"""
