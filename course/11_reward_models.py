# %% [markdown] tags=["card", "slide"]
r"""
# Reward models

Few can write a reward for good answers; most can say which of two they prefer. This unit turns such choices into a number for
any answer: RLHF's reward model.

**Afterwards you can**

- derive the Bradley-Terry loss, and say what comparisons never reveal,
- say how good *anyone* could be on noisy labels, and measure against that,
- train a reward model beside TRL's, stop it, see what it misses, and mend it,
- teach it your own taste with thirty clicks.
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
- Return $Q(k)$ of each, `[cases]`, to three digits: integrate on a fine grid (or draw a million gaps). $k$ may be 100: where
  does your grid end?

By hand: $k = 0$ gives 0.5, a coin. $k = 4$ gives 0.778.
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

# %% [markdown] tags=["slide"]
r"""
## Other judges

- **Thurstone** (1927): $P = \Phi(\Delta r)$, normal noise. A gap of 1 is chosen in 84.1%, not 73.1%.
- **Ties**: Rao and Kupper (1967): the first wins with $\sigma(\Delta r - t)$, the second with
  $\sigma(-\Delta r - t)$; else a tie. Davidson (1970) gives ties a weight.
- **Rankings**: best first, place by place, from those that are left: **Plackett-Luce**.
- **Order only**: classify each answer by itself as winner or loser and use the logit (Sun, Shen and Ton 2024): mistakes
  in order $\le$ the classifier's on both, added.
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
      f"Thurstone {rewards.thurstone_probability(one, zero).item():.4f}")
ties = rewards.tie_logps(one, zero, 0.5).exp()[0].tolist()
print("the same with a threshold of 0.5: first, tie, second = " + ", ".join(f"{x:.3f}" for x in ties))
winners, losers = torch.randn(2, 2000, generator=g) + torch.tensor([[0.7], [-0.7]])  # logits of a middling classifier
order = rewards.order_consistency(winners, losers, torch.ones(2000))
print(f"mistakes in order {order.order_error:.3f} <= {order.first_error:.3f} + {order.second_error:.3f}, the classifier's on winners and on losers")
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

Your head, your loss, AdamW and a falling learning rate train a reward model in eight lines; `rewards.train_reward_model` is the same with
checks. TRL's `RewardTrainer` adds what a cluster needs. From the same weights, on the same pairs in the same order, both should walk the same path.

Two of TRL's defaults do not suit a small CPU model: `bf16` and `gradient_checkpointing` are on, so we turn them off.
"""

# %% tags=["hide-input"]
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
trainer = Recording(model=theirs, train_dataset=rows, processing_class=copy.deepcopy(tokenizer), args=RewardConfig(
    tempfile.mkdtemp(), learning_rate=5e-4, per_device_train_batch_size=16, num_train_epochs=1, lr_scheduler_type="linear",
    warmup_steps=0, train_sampling_strategy="sequential", weight_decay=0.0, bf16=False, gradient_checkpointing=None,
    use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no"))
trainer.remove_callback(PrinterCallback)
trained = trainer.train()

# %%
from tutorlib.viz import lines

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
    optimizer.param_groups[0]["lr"] = 5e-4 * (1 - step / 8)  # as TRL's "linear" schedule: down to 0
    optimizer.step()
    mine.append(loss.item())

apart = [abs(a - b) for a, b in zip(mine, steps, strict=True)]
print(f"first batch: {apart[0]:.1e} apart; all {len(steps)} steps: at most {max(apart):.1e}")
lines({"this page": mine, "TRL's RewardTrainer": steps}, range(1, len(steps) + 1), xlabel="gradient step (16 pairs each)",
      ylabel="Bradley-Terry loss (nats a pair)",
      title=f"The same curve: your functions and TRL differ by at most {max(apart):.0e} nats in {len(steps)} steps, one run")

# %% [markdown] tags=["slide"]
r"""
## Training, and what it learned

How long? 200 more pairs are held out to *stop* by; the 500 fresh pairs to *judge* by are touched by neither. First 320 choices, several passes: where
does the held-out loss turn? (Early stopping puts the weights of that pass back.) Few labels are soon learned by heart: the model grows surer, not righter.
So then 3,000 choices, once; and controlled pairs: the same answer twice, but for one part.
"""

# %%
stopper = preference_pairs(sample_prompts(200, 5), judge, seed=6)


def fit(model, data, epochs, patience=None):
    """Train a reward model on labelled pairs, watching held-out ones; return its records."""
    settings = rewards.RewardSettings(epochs=epochs, patience=patience)  # learning rate 5e-4, 32 pairs a step
    return rewards.train_reward_model(model, rewards.encode_labelled(model, data), settings, torch.Generator().manual_seed(0),
                                      held_out=rewards.encode_labelled(model, stopper))


records = fit(rewards.RewardModel(base, tokenizer), pairs[:320], epochs=6, patience=3)
ends = [r for r in records if "held_out_loss" in r]  # one per pass
train_loss = [sum(x) / len(x) for x in ([r["loss"] for r in records if r["epoch"] == e["epoch"]] for e in ends)]
held_loss = [e["held_out_loss"] for e in ends]
turn = held_loss.index(min(held_loss)) + 1
print("held-out accuracy after each pass: " + ", ".join(f"{e['held_out_accuracy']:.1%}" for e in ends))
lines({"training": train_loss, "held out": held_loss}, range(1, len(ends) + 1), xlabel="pass over the 320 pairs",
      ylabel="Bradley-Terry loss (nats a pair)", target=math.log(2), target_label="a coin",
      title=f"Held-out loss is least after pass {turn}; by pass {len(ends)} it is {held_loss[-1]:.2f}, training loss {train_loss[-1]:.2f} (one run)")

# %%
from tutorlib.tinytalk import right_content
from tutorlib.tinytalk.answers import wrong_content


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
head = rewards.RewardModel(base, tokenizer)
fit(head, pairs, epochs=1)
reached = {"head on last token": rewards.labelled_accuracy(head, fresh)}
probes = {"head on last token": {part: probe(head, part) for part in PARTS}}
outcome = min(PARTS, key=lambda part: probes["head on last token"][part])
truthless = {**judge.weights, "truth": 0.0}
gaps = [gold_reward(p.prompt, p.chosen, truthless) - gold_reward(p.prompt, p.rejected, truthless) for p in fresh]
blind = sum((x > 1e-9) + 0.5 * (abs(x) <= 1e-9) for x in gaps) / len(gaps)
print(f"fresh pairs: {reached['head on last token']}; ceiling {ceiling:.1%}; whoever knew all parts but truth: {blind:.1%}")
print("controlled pairs: " + ", ".join(f"{part} {x:.0%}" for part, x in probes["head on last token"].items()))

# %% [markdown] tags=["slide"]
r"""
## Why it is hard, and a reward that sees it

Manners are on the surface. Truth is a relation between question and answer; a model that learned to *predict* has little reason to carry to its
last token whether the words agreed with what it expected. But before each word, its predictions know: the next cell measures that, untrained. Read the
reward there,

$$r(x, y) = \beta \sum_t \log \frac{\pi(y_t \mid x, y_{<t})}{\pi_\text{ref}(y_t \mid x, y_{<t})}$$

with $\pi_\text{ref}$ the model before training. A log density ratio, as AIRL's reward (unit 07) and DPO's *implicit reward* (unit 17).
"""

# %%
ratio = rewards.ImplicitReward(base, tokenizer)  # beta 1
probed, *answers = zip(*probe_pairs("truth"), strict=True)
asks = lm.encode_prompts(tokenizer, [chat_prompt(p.text) for p in probed], add_special_tokens=False)
with torch.no_grad():
    known = [lm.sequence_logps(base, *asks, *lm.encode_completions(tokenizer, side)) for side in answers]
print(f"untrained, the right content is likelier than the wrong one in {rewards.pairwise_accuracy(*known).value:.0%} of truth pairs")
fit(ratio, pairs, epochs=1)
reached["log-ratio"] = rewards.labelled_accuracy(ratio, fresh)
probes["log-ratio"] = {part: probe(ratio, part) for part in PARTS}
(example,) = ratio.encode([chat_prompt("how do i pack a door ?")], ["first get some boxes , then rub the door , then close the door ."])
ids = torch.tensor([example.prompt_ids + example.completion_ids])
with torch.no_grad():
    told = ratio.token_rewards(ids, torch.ones_like(ids), torch.tensor([len(example.prompt_ids)]))[0, -len(example.completion_ids):]
words = tokenizer.convert_ids_to_tokens(list(example.completion_ids))
print("what each word earns ('rub' is wrong: one packs a door): " + " ".join(f"{w} {x:+.1f}" if abs(x) > 0.15 else w for w, x in zip(words, told.tolist(), strict=True)))
for name, found in reached.items():
    lift = (found.value - 0.5) / (ceiling - 0.5)
    print(f"{name:<25} {found}: {found.value / ceiling:.0%} of the ceiling, {lift:.0%} of its lift over a coin")

# %% tags=["hide-input"]
low, high = (probes[name]["truth"] for name in probes)
bars({name: [round(100 * x[part], 1) for part in PARTS] for name, x in probes.items()}, groups=list(PARTS),
     ylabel="controlled pairs in the right order (%)", xlabel="the only part in which the two answers differ", target=50, target_label="a coin",
     title=f"The same 3,000 choices: truth ordered rightly in {low:.0%} by a head, in {high:.0%} by the log-ratio (one run each)")

# %% [markdown] exercise="reward_models.calibration_curve"
r"""
## Can one believe its confidence?

$\sigma(\Delta r)$ is a probability. A model is **calibrated** if, where it is 80% sure of its favourite, the labeller chose that one in 80%. The cell
behind the exercise hands you the favourite's probability, never the chosen answer's: that was "chosen" every time.

Write `calibration_curve(probabilities, outcomes, bins)`.

- `probabilities`: predictions in $[0, 1]$, `[n]`; `outcomes`: 1.0 where it came true, else 0.0, `[n]`;
- `bins`: how many bins of equal width split 0 to 1; with $B$ of them, bin $k$ is $(\frac{k-1}{B}, \frac{k}{B}]$; the first holds 0 too.
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

curves, errors, averages = {}, {}, {}
for name, model in (("head on last token", head), ("log-ratio", ratio)):
    of_chosen, of_rejected = rewards.labelled_rewards(model, fresh)
    lead = (of_chosen - of_rejected).double()
    sure, right = torch.sigmoid(lead.abs()), (lead > 0).double()
    averages[name] = (float(sure.mean()), float(right.mean()))
    curves[name] = [as_tensor(x).double() for x in calibration_curve(sure, right, 10)]
    kept = curves[name][2] > 0
    errors[name] = float(((curves[name][0] - curves[name][1]).abs() * curves[name][2])[kept].sum() / len(fresh))
print("expected calibration error: " + ", ".join(f"{name} {x:.3f}" for name, x in errors.items()))
title = "Sure on average, and right: " + ", ".join(f"{name} {says:.0%} and {does:.0%}" for name, (says, does) in averages.items())
with style():
    fig, ax = new_figure(title=title)
    ax.plot([0.5, 1], [0.5, 1], linestyle="--", color="#666666", marker="", label="calibrated")
    for (name, (p, y, n)), look in zip(curves.items(), ("o", "s"), strict=True):
        full = n >= 10
        ends = [rewards.wilson_interval(float(a * b), int(b)) for a, b in zip(y[full], n[full], strict=True)]
        bars_of = [[max(0.0, float(v) - low), max(0.0, high - float(v))] for v, (low, high) in zip(y[full], ends, strict=True)]
        ax.errorbar(p[full], y[full], yerr=torch.tensor(bars_of).T, label=name, marker=look, capsize=3)
    ax.set(xlabel="how sure the model was of its favourite (probability)", ylabel="share in which it was chosen (95% interval)")
    ax.legend()
alt = title + ". Bins of fewer than 10 pairs are not drawn. " + " ".join(f"{name}: " + ", ".join(f"predicted {float(a):.2f}, chosen {float(b):.2f} ({int(c)} pairs)" for a, b, c in
                                                      zip(*x, strict=True) if c > 0) + "." for name, x in curves.items())
Picture(fig, alt)

# %% [markdown] tags=["slide"]
r"""
## What counts in the end: best-of-n

Draw $n$ answers, give the one with the highest reward: how much *gold* reward does that bring? Best-of-$n$ looks only at
the order within a prompt, so any increasing function of the reward is as good. But more draws also find the answers that a reward is
most wrong about.
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
lines(gains, [0, 1, 2, 3, 4], xlabel="log2 n (0: one answer, 4: sixteen), drawn from the base model", ylabel="gold reward of the pick (points)",
      title=f"Best of 16 by the log-ratio earns {best:.2f}, by the head {gains['head on last token'][-1]:.2f}, by gold {gains['the gold reward itself'][-1]:.2f} "
            f"(one answer: {gains['the gold reward itself'][0]:.2f})")

# %% [markdown] tags=["slide"]
r"""
## Play: be the labeller

Thirty pairs, and no taste but yours. A worth for each *word* is fitted after each choice, and picks the best and worst of
sixteen answers.

1. After how many choices does the best answer please you?
2. Until you judge, a persona has: "friend", who wants it friendly. Try "hurried", who wants it short: what arrives?
3. A taste is not worth: watch the gold reward in the cell behind.

`judge_me.save("my_taste.json")` keeps your choices, `judge_me.load(...)` replays them.
"""

# %%
from tutorlib.viz import AnswerComparer

session = rewards.LabellingSession.new(30, seed=7)
offered = {p: drawn[16 * i:16 * (i + 1)] for i, p in list(enumerate(asked))[:3]}
my_taste = rewards.taste_fitter(session.questions, list(offered), list(offered.values()))  # fits after each choice
someone = rewards.LabellingSession(session.questions)
rewards.answer_all(someone, Labeller.persona("friend"), seed=0)
judge_me = AnswerComparer(session.questions, my_taste, choices=someone.choices, title="Which answer is better?")
judge_me

# %%
chosen = [c or "skip" for c in judge_me.choices]  # set them all to None, to begin anew: judge_me.choices = [None] * 30
mine_now = rewards.LabellingSession(session.questions, chosen)
print("how well each persona explains the choices (nats a choice; a coin: -0.69): "
      + ", ".join(f"{name} {x:.2f}" for name, x in rewards.likeness(mine_now).items()))
taste = rewards.learn_taste(mine_now)
print("worth most: " + ", ".join(f"{w} {x:+.1f}" for w, x in sorted(taste.worth.items(), key=lambda pair: -abs(pair[1]))[:8]))
polite = torch.tensor([x.startswith(("sure", "of course", "happy to")) for x in drawn]).double().view(40, 16)
length = torch.tensor([len(x.split()) for x in drawn]).double().view(40, 16)
picked = taste.score(drawn).view(40, 16)
for n in (1, 4, 16):
    polite_n, length_n, gold_n = (float(rewards.best_of_n(picked, x, n).mean()) for x in (polite, length, gold.double()))
    print(f"best of {n:>2} by this taste: {length_n:.1f} words, polite in {polite_n:.0%}, gold reward {gold_n:.2f}")

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
    w = rewards.fit_linear_reward(learn.chosen, learn.rejected, l2=1.0)
    found = rewards.pairwise_accuracy(test.chosen.double() @ w, test.rejected.double() @ w)
    print(f"{len(learn):,} pairs of real people: right on {found} of the others")
else:
    print("Skipped: $TUTORLIB_DATA is not set. (With it, this cell is right on 58.4% of 462 pairs, 53.9% to 62.8%.) Let it name a folder with hh_harmless_base_test.jsonl.gz (from "
          "huggingface.co/datasets/Anthropic/hh-rlhf, harmless-base/test.jsonl.gz), and run this cell again.")

# %% [markdown] tags=["slide"]
r"""
## Break it: more of everything

A colleague fits a linear reward on vectors of 800 labelled pairs, and is pleased: it agrees with its labeller more often than the same fit does with ours. Yet on
our fresh pairs it is *worse*. Look at its picks.

Before you go on: **A.** too few labels; **B.** vectors that cannot see worth; **C.** the labels themselves. Which *measurement* tells?
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


def learn_from(labeller, count, seed=0):
    """Return accuracy on 200 other choices of this labeller, and the weights."""
    g = torch.Generator().manual_seed(seed)
    chance = torch.tensor([labeller.probability(*x) for x in plain], dtype=torch.float64)
    said = (torch.rand(1000, generator=g, dtype=torch.float64) < chance).double()
    rows = torch.randperm(1000, generator=g)
    train, test = rows[:count], rows[800:]
    w = rewards.fit_linear_reward(sides[0][train] / spread, sides[1][train] / spread, said[train], l2=10.0) / spread
    leads = (sides[0] - sides[1])[test] @ w
    return float(((leads > 0) == (said[test] == 1)).double().mean()), w


fresh_gap = vectors([p.prompt for p in fresh], [p.chosen for p in fresh]) - vectors([p.prompt for p in fresh], [p.rejected for p in fresh])
tried = {name: [learn_from(who, 800, seed) for seed in range(5)] for name, who in (("theirs", Labeller(length_bias=2.0)), ("ours", judge))}
for name, fits in tried.items():
    own, on_ours = sum(a for a, _ in fits) / 5, sum(float((fresh_gap @ w > 0).double().mean()) for _, w in fits) / 5
    print(f"labels of {name:<7} (five draws): right on {own:.1%} of held-out choices of that labeller, on {on_ours:.1%} of our fresh pairs")
pick = (pool_vectors @ tried["theirs"][0][1]).view(40, 16).argmax(1)
for i in range(3):
    print(f"{asked[i].text}\n   picked: {drawn[16 * i + int(pick[i])]}")

# %% tags=["hide-input"]
for name, who in (("theirs", Labeller(length_bias=2.0)), ("ours", judge)):
    chances = [who.probability(*x) for x in plain]
    top = sum(max(c, 1 - c) for c in chances) / len(chances)
    more = [len(x[1].split()) - len(x[2].split()) for x in plain]
    wins = [c if d > 0 else 1 - c for c, d in zip(chances, more, strict=True) if d]
    scores = [(pool_vectors @ w).view(40, 16) for _, w in tried[name]]
    linked = [rewards.rank_correlation(x, length) for x in scores]
    picked_words = sum(float(rewards.best_of_n(x, length, 16).mean()) for x in scores) / 5
    print(f"{name:<7} A, B: ceiling {top:.0%}, 800 labels, the same vectors   C: the longer answer is chosen in {sum(wins) / len(wins):.0%}\n"
          f"        correlation of reward and length {min(linked):+.2f} to {max(linked):+.2f}; best of 16: {picked_words:.1f} words, "
          f"a random answer {float(length.mean()):.1f}")

# %% [markdown] tags=["slide"]
r"""
## Diagnosis: the labels like length

C. A and B hold for *both* fits: same number, same vectors. Only the labeller differs: theirs pays two points for ten words more. Length is easy to see, so
such labels are easier to agree with: the better accuracy is the worse reward.

People and judge models like longer answers, and reward models amplify that (Singhal et al. 2023). Check how often the longer
answer wins, and how reward correlates with length *within a prompt*. More in unit 19.
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
runs = [[float((fresh_gap @ learn_from(judge, n, seed)[1] > 0).double().mean()) for n in counts] for seed in (0, 1, 2)]
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
  $\beta^2\sigma^2$ is the variance of the *gap*.
- Rafailov et al. (2023), [arXiv 2305.18290](https://arxiv.org/abs/2305.18290): the implicit reward.
- Singhal et al. (2023), [arXiv 2310.03716](https://arxiv.org/abs/2310.03716): length and RLHF.

**Open question.** How can a reward model know that a pair lies outside what its labels taught, before somebody optimises it?
"""
