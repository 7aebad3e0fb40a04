# %% [markdown] tags=["card", "slide"]
r"""
# Direct alignment

A policy that is optimal for a reward *contains* that reward: unit 03's Gibbs policy, solved for $r$. So pairs of judged answers can train
the policy itself, with no reward model and no sampling. It is cheap, and it is blind in one eye.

**Afterwards you can**

- derive DPO, and tell IPO, KTO and SimPO from it,
- read rewards, advantages and values off a language model,
- say what no loss over pairs can see, and measure it.
"""

# %% [markdown] tags=["slide"]
r"""
## A better answer, and a worse one

Somebody compared two of the crowd's answers to each of 512 prompts: a labeller who likes truth, safety and politeness, and errs as
Bradley and Terry say (unit 11). **Direct preference optimisation** (DPO; Rafailov et al. 2023) trains the base model on them: the
chosen answer is to gain on the rejected one.

Three passes over the pairs, and the loss falls. What becomes of the probability of the *chosen* answers themselves?
"""

# %%
import copy

import torch

from tutorlib import lm, predict, quiz, recall
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors
from tutorlib.posttraining import encode_preferences, reference_logps
from tutorlib.tinytalk import Labeller, load, preference_pairs, sample_prompts
from tutorlib.tinytalk.tokenizer import chat_prompt  # "<bos> <user> question <bot>"

torch.set_num_threads(1)
base, tokenizer = load("base")


def encode(judged):
    texts = [(chat_prompt(p.prompt.text), p.chosen, p.rejected) for p in judged]  # as token ids:
    return encode_preferences(tokenizer, *zip(*texts, strict=True), add_special_tokens=False)


judged = preference_pairs(sample_prompts(512, seed=1), Labeller(), seed=2)
pairs, fresh = encode(judged), encode(preference_pairs(sample_prompts(200, 11, "heldout"), Labeller(), seed=12))
for pair in judged[:3]:
    print(f"{pair.prompt.text}\n  chosen:   {pair.chosen}\n  rejected: {pair.rejected}")
FATES = ("it rises by more than 1 nat", "it stays within 1 nat", "it falls by more than 1 nat")
predict("direct_alignment.chosen", "The log-probability of a chosen answer, on average:", FATES)

# %% tags=["hide-input"]
from tutorlib.viz import roadmap

roadmap("17")

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

One prompt, three answers, $\pi_\text{ref} = (0.5, 0.3, 0.2)$, rewards $(1, 0, -1)$, $\beta = 0.5$. Unit 03's policy
$\pi^* = \pi_\text{ref}\, e^{r/\beta} / Z$ has weights $0.5 e^2 = 3.695$, $0.3$, $0.2 e^{-2} = 0.027$; $Z = 4.022$; so
$\pi^* = (0.919, 0.075, 0.007)$.

Now hide the rewards. $\beta \log(\pi^*/\pi_\text{ref})$ is $0.304$, $-0.696$, $-1.696$: each is a reward *minus* $\beta \log Z = 0.696$.
The constant is unknown, but every difference is right: $1$, $1$ and $2$.
"""

# %%
p_ref, r, beta = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([1.0, 0.0, -1.0]).double(), 0.5
Z = (p_ref * (r / beta).exp()).sum()
p_star = p_ref * (r / beta).exp() / Z
log_ratio = (p_star / p_ref).log()
print("π*              ", [round(x, 3) for x in p_star.tolist()])
print("β log(π*/π_ref) ", [round(x, 3) for x in (beta * log_ratio).tolist()])
print("plus β log Z    ", [round(x, 3) for x in (beta * log_ratio + beta * Z.log()).tolist()])
chance = torch.sigmoid(beta * (log_ratio[0] - log_ratio[1]))
print(f"Bradley-Terry, from the policy alone: the first beats the second with {chance:.4f} = σ(1)")
print(f"difference of rewards {beta * (log_ratio[0] - log_ratio[1]):.3f}; had β divided, it would be {(log_ratio[0] - log_ratio[1]) / beta:.3f}")

# %% [markdown] tags=["slide"]
r"""
## Solve for the reward

Unit 03's optimum of $\mathbb{E}[r] - \beta\, \mathrm{KL}(\pi \| \pi_\text{ref})$, read from right to left:

$$\pi^*(y|x) = \frac{\pi_\text{ref}(y|x)\, e^{r(x,y)/\beta}}{Z(x)} \iff r(x,y) = \beta \log \frac{\pi^*(y|x)}{\pi_\text{ref}(y|x)} + \beta \log Z(x)$$

Any $\pi$ is the optimum for *some* reward, namely $\beta \log(\pi/\pi_\text{ref})$: to search a reward and to search a policy is the same search.
Bradley and Terry, $P(y^+ \succ y^-) = \sigma(r^+ - r^-)$, need only a difference: $\beta \log Z(x)$, a sum over all answers that nobody could compute, cancels. With
$h = \log \frac{\pi(y^+|x)}{\pi_\text{ref}(y^+|x)} - \log \frac{\pi(y^-|x)}{\pi_\text{ref}(y^-|x)}$ the likelihood of the labels is a function of the policy:

$$L_\text{DPO} = -\log \sigma(\beta h)$$
"""

# %% [markdown]
r"""
Since $\frac{d}{dx} \log \sigma(x) = \sigma(-x)$, the slope in $h$ is $-\beta\, \sigma(-\beta h)$: pairs in the wrong order pull with full strength, pairs well in
order hardly at all.

(Who reads the tutorial beside this, §4.1: its box has $\beta$ upside down and no $\pi_\text{ref}$ in $\pi^* \propto e^{\beta r}$, then $\Delta r = \frac1\beta \Delta \log \pi$,
then $\beta\, \Delta \log \pi$ in the loss, which lacks its minus sign. They agree at $\beta = 1$ only.)
"""

# %% [markdown] exercise="direct_alignment.dpo_loss"
r"""
Write `dpo_loss(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, label_smoothing)`.

- The first four: log-probabilities of whole answers, `[pairs]`, at times hundreds of nats apart, in float32.
- `label_smoothing`: $\varepsilon$, the share of labels believed to be exchanged.
- Return `[pairs]`, with $\ell(h) = -\log \sigma(\beta h)$ (Mitchell 2023 calls it *conservative*):

$$(1 - \varepsilon)\, \ell(h) + \varepsilon\, \ell(-h)$$

Gradients must reach the policy's log-probabilities, and never the reference's: `.detach()` those.

By hand: log-ratios $(1, -1)$, $\beta = 0.5$: $h = 2$, $\ell(h) = \log(1 + e^{-1}) = 0.3133$, $\ell(-h) = 1.3133$; at $\varepsilon = 0.1$ the loss is $0.4133$.
"""

# %% exercise="direct_alignment.dpo_loss"
def dpo_loss(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta, label_smoothing):
    """Return the loss of each pair, [pairs]."""
    ### BEGIN SOLUTION
    ratio_chosen = chosen_logps - ref_chosen_logps.detach()
    ratio_rejected = rejected_logps - ref_rejected_logps.detach()
    h = ratio_chosen - ratio_rejected
    kept = -torch.nn.functional.logsigmoid(beta * h)
    flipped = -torch.nn.functional.logsigmoid(-beta * h)
    return (1 - label_smoothing) * kept + label_smoothing * flipped
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## A trainer on one page

The reference does not move, so its log-probabilities are computed **once**, before training. Then gradient steps as in unit 10: one forward pass
scores chosen and rejected together; the learning rate falls to 0. Log-probabilities are *sums* over an answer's tokens; `per_token=True`
makes them means, for losses that want those.

`tutorlib.posttraining.train_direct` is this loop with a record of each step; TRL's `DPOTrainer` with everything a cluster needs.
"""

# %%
from tutorlib.posttraining import collate_preferences, pair_logps


def align(model, pairs, beta=0.5, epochs=1, rate=2e-3, batch_size=32, seed=None, per_token=False, after_epoch=None):
    """Return a trained copy and the loss of each step; ``after_epoch`` is called with the copy."""
    policy, ref = copy.deepcopy(model), reference_logps(model, pairs)  # [pairs, 2], once
    optimizer = torch.optim.AdamW(policy.parameters(), weight_decay=0.0)
    generator, batches, losses = torch.Generator().manual_seed(seed or 0), [], []
    for _ in range(epochs):
        order = torch.arange(len(pairs)) if seed is None else torch.randperm(len(pairs), generator=generator)
        batches += order.split(batch_size)
    for step, rows in enumerate(batches):
        batch = collate_preferences([pairs[i] for i in rows.tolist()])
        scores = [*pair_logps(policy, batch), *ref[rows].unbind(1)]  # policy: chosen, rejected; reference: the same
        units = (*batch.lengths, *batch.lengths) if per_token else (1, 1, 1, 1)  # tokens of each
        loss = dpo_loss(*(s / n for s, n in zip(scores, units, strict=True)), beta, 0.0).mean()
        optimizer.param_groups[0]["lr"] = rate * (1 - step / len(batches))
        policy.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if after_epoch and (step + 1) % (len(batches) // epochs) == 0:
            after_epoch(policy)
    return policy.eval(), losses


# %% tags=["hide-input"]
import tempfile
import warnings

from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForCausalLM, PrinterCallback
from trl import DPOConfig, DPOTrainer

from tutorlib.posttraining import DirectSettings, train_direct


class Recording(DPOTrainer):
    """TRL's trainer; keeps each loss before it is rounded for the log."""
    def compute_loss(self, *args, **kwargs):
        found = super().compute_loss(*args, **kwargs)
        theirs.append((found[0] if isinstance(found, tuple) else found).item())
        return found


disable_progress_bars()
warnings.filterwarnings("ignore", "`is_gradient", FutureWarning)  # of transformers, about a name that TRL still uses
first, theirs, folder = judged[:128], [], tempfile.mkdtemp()
base.save_pretrained(folder)  # TRL reloads the reference from where the model came from: save it first
trainer = Recording(
    model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), processing_class=copy.deepcopy(tokenizer),
    train_dataset=Dataset.from_dict({"prompt": [chat_prompt(p.prompt.text) for p in first], "chosen": [f" {p.chosen}" for p in first],
                                     "rejected": [f" {p.rejected}" for p in first]}),
    args=DPOConfig(tempfile.mkdtemp(), beta=0.5, learning_rate=2e-3, per_device_train_batch_size=32, num_train_epochs=1,
                   lr_scheduler_type="linear", warmup_steps=0, train_sampling_strategy="sequential", weight_decay=0.0, bf16=False,
                   gradient_checkpointing=None, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
                   logging_strategy="no"))
trainer.remove_callback(PrinterCallback)
trainer.train()
_, mine = align(base, pairs[:128])
package = train_direct(copy.deepcopy(base), pairs[:128], DirectSettings(beta=0.5, learning_rate=2e-3, shuffle=False), torch.Generator())
for step, losses in enumerate(zip(mine, [r["loss"] for r in package], theirs, strict=True)):
    print(f"step {step}: this page {losses[0]:.5f}   train_direct {losses[1]:.5f}   TRL {losses[2]:.5f}")
print(f"this page and TRL differ by at most {max(abs(a - b) for a, b in zip(mine, theirs, strict=True)):.0e}")

# %% [markdown] tags=["slide"]
r"""
## Three passes over 512 pairs

After each pass we score half of the pairs it trains on, and 200 fresh ones to held-out prompts: how many nats chosen and rejected answers have moved from
the reference, how often the chosen one leads, and the loss. One run.
"""

# %%
def measure(policy, pairs, ref):
    """Return what a policy makes of pairs: mean log-ratios, share in order, loss at beta 0.5."""
    ratios = reference_logps(policy, pairs) - ref
    loss = dpo_loss(ratios[:, 0], ratios[:, 1], torch.zeros(len(pairs)), torch.zeros(len(pairs)), 0.5, 0.0)
    lead = (ratios[:, 0] - ratios[:, 1]).sign()  # 0: undecided, counts half
    return {"chosen": float(ratios[:, 0].mean()), "rejected": float(ratios[:, 1].mean()),
            "in order": float((lead + 1).mean() / 2), "loss": float(as_tensor(loss).mean())}


some = pairs[:256]
ref_trained, ref_fresh = reference_logps(base, some), reference_logps(base, fresh)
trail = {"trained pairs": [measure(base, some, ref_trained)], "fresh pairs": [measure(base, fresh, ref_fresh)]}


def note(policy):
    trail["trained pairs"].append(measure(policy, some, ref_trained))
    trail["fresh pairs"].append(measure(policy, fresh, ref_fresh))


offline, _ = align(base, pairs, epochs=3, seed=0, after_epoch=note)
for name, passes in trail.items():
    for number, found in enumerate(passes):
        print(f"{name:<13} pass {number}  " + "  ".join(f"{k} {v:6.2f}" for k, v in found.items()))

# %% tags=["hide-input"]
from tutorlib.viz import Picture, new_figure, style
from tutorlib.viz.look import series_look

moved = trail["trained pairs"][-1]
outcome = FATES[0] if moved["chosen"] > 1 else FATES[2] if moved["chosen"] < -1 else FATES[1]
fell = "falls" if moved["chosen"] < 0 else "rises"
claim = (f"The chosen answer {fell} by {abs(moved['chosen']):.1f} nats, the rejected one falls by {-moved['rejected']:.1f}; "
         f"loss {moved['loss']:.2f} on trained pairs, {trail['fresh pairs'][-1]['loss']:.2f} on fresh ones (one run)")
with style():
    fig, (left, right) = new_figure(1, 2, title=claim, width=9.6, height=4.2)
    for index, side in enumerate(("chosen", "rejected")):
        left.plot(range(4), [p[side] for p in trail["trained pairs"]], label=side, **series_look(index, 4))
    for index, (name, passes) in enumerate(trail.items()):
        right.plot(range(4), [p["loss"] for p in passes], label=name, **series_look(index + 2, 4))
    left.axhline(0, color="#5a5a5a", linestyle="--", marker="", linewidth=1.2)
    left.set(xlabel="passes over the pairs", ylabel="log π − log π_ref (nats an answer)", xticks=range(4))
    right.set(xlabel="passes over the pairs", ylabel="DPO loss (nats a pair), β = 0.5", xticks=range(4))
    left.legend(fontsize=11), right.legend(fontsize=11)
said = "; ".join(f"{name}, loss " + ", ".join(f"{p['loss']:.2f}" for p in passes) for name, passes in trail.items())
Picture(fig, alt=f"{claim}. Log-ratios of trained pairs after each pass: chosen " +
        ", ".join(f"{p['chosen']:.1f}" for p in trail["trained pairs"]) + "; rejected " +
        ", ".join(f"{p['rejected']:.1f}" for p in trail["trained pairs"]) + f". {said}.")

# %% [markdown] tags=["slide"]
r"""
## Likelihood displacement

The loss wants $h$ to grow: both terms may fall. Pal et al. (2024) saw it where two answers share most words,
Razin et al. (2025) where the model represents them alike. What these lose, others get.

And it over-fits. On trained pairs the loss goes on falling, for each was labelled once, with certainty: the best $h$ of such a pair is
infinite. Fresh pairs do not follow. (*Which* pass is best, five seeds will tell.)
"""

# %% [markdown] exercise="direct_alignment.implicit_reward"
r"""
A trained policy is a reward. Write `implicit_reward(per_token_logps, ref_per_token_logps, completion_mask, beta)`.

- The log-probabilities of each answer token under policy and reference, and a mask that is 1 (or true) where a token counts, its end included:
  `[answers, tokens]`. At padding may stand anything, NaN too.
- Return two: $r_t = \beta \log \frac{\pi(y_t|x, y_{<t})}{\pi_\text{ref}(y_t|x, y_{<t})}$ for each token, `[answers, tokens]`, 0 at padding; and for each answer, `[answers]`,
  their sum.

By hand: ratios of probabilities $(\frac12, 2, 4)$ at $\beta = 0.5$: $(-0.347, 0.347, 0.693)$, together $0.693$.
"""

# %% exercise="direct_alignment.implicit_reward"
def implicit_reward(per_token_logps, ref_per_token_logps, completion_mask, beta):
    """Return the reward of each token [answers, tokens] and of each answer [answers]."""
    ### BEGIN SOLUTION
    log_ratio = per_token_logps - ref_per_token_logps
    tokens = torch.where(completion_mask.bool(), beta * log_ratio, torch.zeros_like(log_ratio))
    return tokens, tokens.sum(1)
    ### END SOLUTION


# %% tags=["hide-input"]
from tutorlib.tinytalk import Prompt, right_content
from tutorlib.viz import token_strip

recipe = Prompt("howto", ("wash", "phone"))
ids = lm.encode_prompts(tokenizer, [chat_prompt(recipe.text)] * 2, add_special_tokens=False)
answers = lm.encode_completions(tokenizer, [f"{opener} , {right_content(recipe)}" for opener in ("happy to help", "silly you")])
with torch.no_grad():
    both = [lm.per_token_logps(m, *ids, *answers) for m in (offline, base)]
tokens, totals = (as_tensor(v).double() for v in implicit_reward(*both, answers[1], 0.5))
words = [tokenizer.convert_ids_to_tokens(row[keep == 1].tolist()) for row, keep in zip(*answers, strict=True)]
low = int(tokens[1].argmin())
span = float(tokens.abs().max())
token_strip(words, {"reward (points)": [t[:len(w)] for t, w in zip(tokens, words, strict=True)]}, names=("polite", "rude"),
            limits={"reward (points)": (-span, span)},
            title=f"Nobody labelled a word, but \"{words[1][low]}\" costs {-float(tokens[1, low]):.1f} points; "
                  f"the answers are worth {float(totals[0]):.1f} and {float(totals[1]):.1f}")

# %% [markdown] tags=["slide"]
r"""
## From r to Q*

Why does an answer's reward find the words that earned it? On the tree of answers (unit 09) the Gibbs policy is token by token, with $V^*(s) = \beta \log \sum_a \pi_\text{ref}(a|s)\, e^{Q^*(s,a)/\beta}$,
$\pi^*(a|s) = \pi_\text{ref}(a|s)\, e^{(Q^*(s,a) - V^*(s))/\beta}$. So a token's implicit reward is its **advantage** (Rafailov et al. 2024; for a *trained* policy, its advantage for the
reward it is optimal for):

$$\beta \log \frac{\pi^*(a|s)}{\pi_\text{ref}(a|s)} = Q^*(s,a) - V^*(s)$$

Appending is certain: $Q^*(s_t, y_t) = V^*(s_{t+1})$, and $r(x,y)$ for the last token. Along an answer all values in between cancel:

$$\sum_t \beta \log \frac{\pi^*}{\pi_\text{ref}} = r(x, y) - V^*(x), \qquad V^*(x) = \beta \log Z(x)$$
"""

# %% [markdown] exercise="direct_alignment.telescoping"
r"""
Read the *values* off a policy. Write `telescoping(token_rewards, completion_mask, rewards)`.

- `token_rewards`: the implicit rewards $A_t$ of an optimal policy, `[answers, tokens]`; anything, NaN too, where `completion_mask` is 0;
- `rewards`: the given reward $r$ of each whole answer, `[answers]`, paid with its last token.
- Return `[answers, tokens]`: $V$ of the state in front of each token, 0 at padding.

By hand (unit 09's tree, $\beta = 1$): "blue" then "\<eos>" have advantages $0.204$ and $0.380$, $r = 1$: $V = 1 - 0.204 - 0.380 = 0.416$ at the start, and
$1 - 0.380 = 0.620$ behind "blue".
"""

# %% exercise="direct_alignment.telescoping"
def telescoping(token_rewards, completion_mask, rewards):
    """Return V in front of each token, [answers, tokens]."""
    ### BEGIN SOLUTION
    counts = completion_mask.bool()
    kept = torch.where(counts, token_rewards, torch.zeros_like(token_rewards))
    to_come = kept.flip(1).cumsum(1).flip(1)  # this token's and all behind it
    return torch.where(counts, rewards[:, None] - to_come, torch.zeros_like(kept))
    ### END SOLUTION


# %%
from tutorlib.lm import TokenTree
from tutorlib.posttraining import policy_gap
from tutorlib.tinytalk import gold_reward

BETA, sky = 0.5, Prompt("facts", ("color", "sky"))
small, _ = load("tiny")
tree = TokenTree(small, chat_prompt(sky.text) + " the sky is", ["blue", "white", "green", "gray", "yellow", ".", "<eos>"], 3, tokenizer)
said = tree.texts()
gold = torch.tensor([gold_reward(sky, f"the sky is {t.removesuffix('<eos>').strip()}") for t in said]).double()
plan = tree.solve(gold, BETA)  # exact, by dynamic programming
mask, path = tree.completion_mask, tree.along  # tables at nodes, as one row of tokens for each answer
advantages, totals = (as_tensor(v).double() for v in implicit_reward(path(plan.policy), path(tree.reference), mask, BETA))
values = as_tensor(telescoping(advantages, mask, gold)).double()
exact = path([v[:, None].expand(-1, len(tree.words)) for v in plan.values])
print(f"{tree.n_leaves} answers, β log Z = {float(plan.values[0]):.6f}")
print(f"Σ β log(π*/π_ref) = r − β log Z:        off by at most {float((totals - gold + plan.values[0]).abs().max()):.0e}")
print(f"V read off the policy = V by planning:  off by at most {float((values - exact).abs().max()):.0e}")

# %% [markdown] tags=["slide"]
r"""
## Four other losses

| loss | compares | reference | log π | lowest at | pulls least at |
|---|---|---|---|---|---|
| DPO | pair | yes | sum | $h \to \infty$ | large $h$ |
| IPO (Azar et al. 2023) | pair | yes | sum | $h = \frac{1}{2\tau}$ | its target |
| KTO (Ethayarajh et al. 2024) | each with $z$ | yes | sum | $\ell^\pm \to \pm\infty$ | far from $z$ |
| SimPO (Meng et al. 2024) | pair | no | mean | $m^+ - m^- \to \infty$ | large leads |
| ORPO (Hong et al. 2024) | pair + SFT | no | mean | odds $\to \infty$ | large odds |

If $p$ is the chance of the label, DPO's best $h$ is $\frac1\beta \log \frac{p}{1-p}$, infinite at $p = 1$; IPO's is $(p - \frac12)/\tau$.
KTO needs no pairs; $z$ estimates the KL.
"""

# %% [markdown] exercise="direct_alignment.ipo_kto_simpo"
r"""
Write `ipo_kto_simpo(loss, logps, ref_logps, lengths, beta, offset)`, `[pairs]`.

- `loss`: `"ipo"`, `"kto"` or `"simpo"`; `logps`, `ref_logps`: sums, `[pairs, 2]`, chosen first; `lengths`: tokens, `[pairs, 2]`.
- With $\ell = \log \pi - \log \pi_\text{ref}$ and means $m = \log \pi / n$:

| `loss` | of each pair | `beta` | `offset` |
|---|---|---|---|
| `"ipo"` | $(\ell^+ - \ell^- - \frac{1}{2\tau})^2$ | $\tau$ | unused |
| `"kto"` | $1 - \frac12[\sigma(\beta(\ell^+ - z)) + \sigma(\beta(z - \ell^-))]$ | $\beta$ | $z$ |
| `"simpo"` | $-\log \sigma(\beta(m^+ - m^-) - \gamma)$ | $\beta$ | $\gamma$ |

The reference gets no gradient. By hand: $h = 2$ at $\tau = 0.5$ is an IPO loss of $1$.
"""

# %% exercise="direct_alignment.ipo_kto_simpo"
def ipo_kto_simpo(loss, logps, ref_logps, lengths, beta, offset):
    """Return the loss of each pair, [pairs]."""
    ### BEGIN SOLUTION
    if loss == "simpo":  # no reference, means over tokens
        means = logps / lengths
        return -torch.nn.functional.logsigmoid(beta * (means[:, 0] - means[:, 1]) - offset)
    ratios = logps - ref_logps.detach()
    if loss == "ipo":
        return (ratios[:, 0] - ratios[:, 1] - 1 / (2 * beta)) ** 2
    gains = torch.sigmoid(beta * (ratios[:, 0] - offset)) + torch.sigmoid(beta * (offset - ratios[:, 1]))
    return 1 - gains / 2
    ### END SOLUTION


# %% tags=["hide-input"]
from tutorlib.posttraining import odds_ratio_loss

LENGTH = 13  # tokens of both answers; both began at half a nat a token
h = torch.linspace(-30, 60, 181, dtype=torch.float64)
logps = (-0.5 * LENGTH + torch.stack([h, -h], 1) / 2).requires_grad_()
ref, n = torch.full_like(logps, -0.5 * LENGTH).detach(), torch.full_like(logps, LENGTH).detach()
zero = torch.zeros_like(h)
curves = {"DPO, β = 0.1": dpo_loss(logps[:, 0], logps[:, 1], ref[:, 0], ref[:, 1], 0.1, 0.0),
          "DPO, 20 % smoothed": dpo_loss(logps[:, 0], logps[:, 1], ref[:, 0], ref[:, 1], 0.1, 0.2),
          "IPO, τ = 0.025": ipo_kto_simpo("ipo", logps, ref, n, 0.025, 0.0),
          "KTO, β = 0.1, z = 0": ipo_kto_simpo("kto", logps, ref, n, 0.1, 0.0),
          "SimPO, β = 2, γ = 1": ipo_kto_simpo("simpo", logps, ref, n, 2.0, 1.0),
          "ORPO, odds part": odds_ratio_loss(logps[:, 0].clamp(max=-1e-3), logps[:, 1].clamp(max=-1e-3), n[:, 0], n[:, 1])}
begin = int((h == 0).nonzero()[0, 0])
pull = {name: -torch.autograd.grad(loss.sum(), logps, retain_graph=True)[0][:, 0] for name, loss in curves.items()}
pull = {name: weight / weight[begin] for name, weight in pull.items()}
shown = (h >= -12) & (h <= 12)  # beyond, an answer would be more than certain
wrong, ends = ({name: float(w[int((h == at).nonzero()[0, 0])]) for name, w in pull.items() if name[:3] in ("DPO", "IPO", "KTO")} for at in (-30, 30))
turned = [name.split(",")[1].strip() if "smoothed" in name else name.split(",")[0] for name, x in ends.items() if x < 0]
claim = (f"Wrong by 30 nats: DPO pulls {wrong['DPO, β = 0.1']:.1f} times as hard as at h = 0, KTO {wrong['KTO, β = 0.1, z = 0']:.1f} times; "
         f"right by 30: {' and '.join(turned)} push back")
with style():
    fig, (left, right) = new_figure(1, 2, title=claim, width=9.8, height=4.9)
    for index, (name, loss) in enumerate(curves.items()):
        kept = shown if name[:4] in ("SimP", "ORPO") else h > -99
        left.plot(h[kept], (loss / loss[begin]).detach()[kept], label=name, **series_look(index, int(kept.sum())))
        right.plot(h[kept], pull[name][kept], **series_look(index, int(kept.sum())))
    left.set(xlabel="h, log-ratio of the pair (nats)", ylabel="loss, relative to h = 0", ylim=(0, 3))
    right.set(xlabel="h, log-ratio of the pair (nats)", ylabel="pull on the chosen answer, h = 0: 1", ylim=(-1.1, 2.1))
    fig.legend(loc="outside lower left", ncols=3, fontsize=11)
Picture(fig, alt=f"{claim}. Losses and their slopes against h from -30 to 60 nats, relative to h = 0; SimPO and ORPO from -12 to 12. "
        + " ".join(f"{name}: pull {float(w[0]):.2f} at h = -30, {float(w[-1]):.2f} at h = 60." for name, w in pull.items() if name in ends))

# %% [markdown] exercise="direct_alignment.unseen_mass"
r"""
All these losses know pairs, and nothing else. Write `unseen_mass(logps, seen, mass)`: another policy that DPO cannot tell from yours.

- `logps`: log-probabilities of *all* answers to a prompt, `[answers]`, some as low as $-900$;
- `seen`: true for answers that occur in pairs, `[answers]`; there are both kinds;
- `mass`: what unseen answers are to get together, $0 \le m < 1$.
- Return log-probabilities `[answers]`: unseen answers sum to $m$, the others to $1 - m$; within each group all *ratios* stay. $\log 0$ is $-\infty$.

By hand: $(\frac12, \frac14, \frac14)$, the last unseen, $m = 0.7$: $(0.2, 0.1, 0.7)$.
"""

# %% exercise="direct_alignment.unseen_mass"
def unseen_mass(logps, seen, mass):
    """Return log-probabilities with the given mass on unseen answers, [answers]."""
    ### BEGIN SOLUTION
    moved = torch.empty_like(logps)
    for group, total in ((seen, 1 - mass), (~seen, mass)):
        log_total = torch.tensor(total, dtype=logps.dtype).log()  # minus infinity for 0
        moved[group] = logps[group] - torch.logsumexp(logps[group], 0) + log_total
    return moved
    ### END SOLUTION


# %%
best, reference = tree.leaf_logps(plan.policy), tree.leaf_logps()
a, b = tree.sample(1024, torch.Generator().manual_seed(0)).view(2, -1)  # pairs from the reference
a, b = a[a != b], b[a != b]
wins = torch.sigmoid(gold[a] - gold[b])  # each pair with its exact label: the chance that a is chosen
seen = torch.zeros(tree.n_leaves, dtype=torch.bool)
seen[torch.cat([a, b])] = True


def pairs_loss(logps):
    """Return DPO's loss of these pairs, each weighed by the chance of its label."""
    kept, turned = (as_tensor(dpo_loss(logps[x], logps[y], reference[x], reference[y], BETA, 0.0)).double() for x, y in ((a, b), (b, a)))
    return float((wins * kept + (1 - wins) * turned).mean())


print(f"{int(seen.sum())} of {tree.n_leaves} answers occur in {len(a)} pairs; the reference gives the others {float(reference[~seen].exp().sum()):.5f}")
print(f"the reference:   DPO loss {pairs_loss(reference):.5f}   E[reward] {float(reference.exp() @ gold):5.2f}")
for mass in (0.0, 0.2, 0.9):
    moved = as_tensor(unseen_mass(best, seen, mass)).double()
    print(f"unseen mass {mass:.1f}: DPO loss {pairs_loss(moved):.5f}   E[reward] {float(moved.exp() @ gold):5.2f}")

# %% [markdown] tags=["slide"]
r"""
## Play: three policies, one loss

Three answers: good ($r = 1$), bad ($r = -1$), and gibberish ($r = -2$) that nobody ever wrote into a pair; $\pi_\text{ref} = (0.5, 0.45, 0.05)$. Labels as
Bradley and Terry have them: good is chosen with probability $\sigma(2) = 0.88$.

1. Move only *unseen*. Which number in the title moves, which stands still?
2. Raise $h$ to 8. Why does the loss grow again?
3. At which $h$ and which unseen mass is the *regularised* reward $J$ highest? DPO tells you one of the two.
"""

# %% tags=["hide-input"]
import math

from tutorlib.viz import Slider, bars, explorer

toy_ref, toy_r = torch.tensor([0.5, 0.45, 0.05]).double(), torch.tensor([1.0, -1.0, -2.0]).double()


def three_answers(h, unseen):
    """Show a policy, its loss and what it is worth."""
    odds = toy_ref[:2] * torch.tensor([math.exp(h / 2), math.exp(-h / 2)]).double()
    p = torch.cat([(1 - unseen) * odds / odds.sum(), torch.tensor([unseen]).double()])
    kl = float(torch.special.xlogy(p, p / toy_ref).sum())
    loss = math.log1p(math.exp(-0.5 * h)) + (1 - 1 / (1 + math.exp(-2))) * 0.5 * h  # a label is wrong with 1 - σ(2)
    return bars({"reference": toy_ref.tolist(), "policy": [round(x, 3) for x in p.tolist()]}, groups=["good", "bad", "gibberish"],
                ylabel="probability", title=f"DPO loss {loss:.3f}; E[r] {float(p @ toy_r):.2f}, KL {kl:.2f} nats, J = {float(p @ toy_r) - 0.5 * kl:.3f} (β = 0.5)")


explorer(three_answers, {"h": Slider(-4, 8, 2, step=0.5, label="h (nats)"), "unseen": Slider(0.0, 0.95, 0.6, step=0.05, label="unseen mass")})

# %% [markdown] tags=["slide"]
r"""
## DPO against the exact optimum

(Play: loss and $J$ are best at $h = 4$; only $J$ minds unseen mass.)

On the sky tree we know $\pi^*$. Train the small model on $n$ pairs from the reference, labelled once each; compare exactly. **Regret** is $J(\pi^*) - J(\pi) = \beta\, \mathrm{KL}(\pi \| \pi^*)$ (unit 03).

For comparison, infinitely many pairs: all, as often as the reference draws them, with exact labels.
"""

# %%
from tutorlib.posttraining import expected_dpo_loss

STEPS, EVERY = 36, 4


def on_tree(n, seed):
    """Train on n sampled pairs (None: all, exactly); return regret, KL and unseen mass, [times, 3]."""
    generator, model, found = torch.Generator().manual_seed(seed), copy.deepcopy(small), []
    optimizer, ref = torch.optim.Adam(model.parameters(), 1e-3), tree.leaf_logps()
    a, b = tree.sample(8 * (n or 1), generator).view(2, -1)
    a, b = a[a != b][:n], b[a != b][:n]
    first = torch.rand(len(a), generator=generator, dtype=torch.float64) < torch.sigmoid(gold[a] - gold[b])
    good, bad = torch.where(first, a, b), torch.where(first, b, a)
    new = ~torch.isin(torch.arange(tree.n_leaves), torch.cat([a, b]))
    for step in range(STEPS + 1):
        logps = tree.leaf_logps(policy := tree.policy_of(model, differentiable=True))
        if step % EVERY == 0:
            gap = policy_gap(tree, [t.detach() for t in policy], gold, BETA)
            found.append([gap["regret"], gap["kl"], logps[new].detach().exp().sum().item()])
        loss = (expected_dpo_loss(tree, policy, gold, BETA) if n is None
                else dpo_loss(logps[good], logps[bad], ref[good], ref[bad], BETA, 0.0).mean())
        model.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.tensor(found)


# %% tags=["hide-input"]
import time

from tutorlib.viz import learning_curves

start = time.process_time()
runs = {f"{n} pairs": torch.stack([on_tree(n, seed) for seed in range(4)]) for n in (128, 1024)}
runs["all pairs, exactly"] = on_tree(None, 0)[None]
steps = list(range(0, STEPS + 1, EVERY))
for name, found in runs.items():
    mean = found.mean(0)
    low = int(mean[:, 0].argmin())
    print(f"{name:<19} regret {mean[0, 0]:.3f}, lowest {mean[low, 0]:.3f} at step {steps[low]}, at the end {mean[-1, 0]:.3f} "
          f"= β · {mean[-1, 0] / BETA:.3f} nats to π*   KL {mean[-1, 1]:.2f}"
          + f"   unseen mass {mean[0, 2]:.4f} -> {mean[-1, 2]:.4f}" * name.endswith(" pairs"))
print(f"nine runs: {time.process_time() - start:.0f} CPU seconds; KL of π*: {float(tree.kl(plan.policy)):.2f}")
ends = {name: float(found[:, -1, 0].mean()) for name, found in runs.items()}
learning_curves({name: found[:, :, 0] for name, found in runs.items()}, steps, band=(0, 100), higher_is_better=False,
                xlabel="gradient step", ylabel="regret J(π*) − J(π) (points)", target=float(runs["1024 pairs"][0, 0, 0]), target_label="the reference",
                title=f"With every pair DPO nears π*: regret {ends['all pairs, exactly']:.3f}; on 1024 pairs it ends at {ends['1024 pairs']:.2f}, "
                      f"on 128 at {ends['128 pairs']:.2f}")

# %% [markdown] tags=["slide"]
r"""
## New pairs from the policy itself

With all pairs the proof keeps its word. Eight times the pairs help little here: the reference repeats its few favourites, so
rare answers stand in few pairs, often with one label, whose best $h$ is infinite. And mass moves onto unseen answers.

So stop early, or let the policy write new pairs: **iterative DPO** (Xiong et al. 2023; Guo et al. 2024). In each of eight rounds it answers 64 prompts twice, the labeller compares, one
pass of DPO follows.
"""

# %%
from tutorlib.posttraining import OnlineSettings, judge_by, train_direct_online

asked = {chat_prompt(p.text): p for p in sample_prompts(512, seed=1)}
labeller = judge_by(lambda prompts, answers: [gold_reward(asked[x], y) for x, y in zip(prompts, answers, strict=True)],
                    temperature=0.5, generator=torch.Generator().manual_seed(1))
start, online = time.process_time(), copy.deepcopy(base)
records = train_direct_online(
    online, tokenizer, list(asked), labeller,
    OnlineSettings(rounds=8, prompts_per_round=64, sampling=lm.SamplingSettings(40, num_generations=2), add_special_tokens=False,
                   direct=DirectSettings(beta=0.5, learning_rate=2e-3, schedule="constant")),
    torch.Generator().manual_seed(0))
labels = sum({record["round"]: record["pairs"] for record in records}.values())
print(f"{labels} pairs judged, {len(records)} steps, {time.process_time() - start:.0f} CPU seconds (offline: {3 * -(-len(pairs) // 32)} steps)")

# %%
from tutorlib.tinytalk import mean_parts

questions = sample_prompts(300, 7, "heldout")  # nobody trained on any of these


def examine(model, seed=0):
    """Return answers to held-out questions; mean parts of the gold reward, KL to base, words."""
    ids = lm.encode_prompts(tokenizer, [chat_prompt(p.text) for p in questions], add_special_tokens=False)
    drawn = lm.sample(model, *ids, lm.SamplingSettings(40), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logps = [lm.sequence_logps(m, *ids, drawn.completion_ids, drawn.completion_mask) for m in (model, base)]
    texts = drawn.texts(tokenizer)
    return texts, mean_parts(questions, texts) | {"KL": float((logps[0] - logps[1]).mean()), "words": sum(len(t.split()) for t in texts) / 300}


COLUMNS = ("gold", "truth", "helpfulness", "harmlessness", "tone", "KL", "words")
once, _ = align(base, pairs, epochs=1, seed=0)  # as many labels and steps as the iterative run
replies = {name: examine(model) for name, model in (("base", base), ("offline, once", once), ("offline DPO", offline), ("iterative DPO", online))}
print(f"{'one run each':<14}" + "".join(f"{c:>13}" for c in COLUMNS))
for name, (_, found) in replies.items():
    print(f"{name:<14}" + "".join(f"{found[c]:13.2f}" for c in COLUMNS))
print("One run each decides nothing: the five seeds below do. What to look at: helpfulness, and refusals where nobody asked for any.")
for i in (0, 1, 4):
    print(f"\n{questions[i].text}" + "".join(f"\n  {name:<14} {texts[i]}" for name, (texts, _) in replies.items()))

# %% [markdown] tags=["slide"]
r"""
## Break it: a loss as good

A colleague takes your trainer, the same 512 pairs, the same $\beta = 0.5$, two passes, and one other argument. The loss falls; fresh pairs are in order about as often as yours. Then somebody reads the answers. Run the next cell only, and decide:

- **A.** chosen and rejected are exchanged in some of the pairs;
- **B.** over-fitting: 512 pairs are fewer than the policy can remember;
- **C.** the leash: $\beta$ is not worth what it was.

Which *measurement* would tell?
"""

# %% tags=["hide-input"]
theirs, their_losses = align(base, pairs, beta=0.5, epochs=2, seed=0, per_token=True)
replies["theirs"] = examine(theirs)
worst = max(replies["theirs"][0], key=lambda t: len(t.split()) - len(set(t.split())))
print(f"their loss: {their_losses[0]:.3f} at first, {sum(their_losses[-4:]) / 4:.3f} in the last four steps")
print(f"gold reward: base {replies['base'][1]['gold']:.2f}, yours {replies['offline DPO'][1]['gold']:.2f}, theirs {replies['theirs'][1]['gold']:.2f}\n")
print(f"typical: {replies['theirs'][0][0][:100]}\nthe worst of 300: {worst[:150]} ...")

# %% tags=["hide-input"]
from dataclasses import replace

mixed, _ = align(base, encode([replace(p, chosen=p.rejected, rejected=p.chosen) if i % 5 == 0 else p for i, p in enumerate(judged)]), epochs=2, seed=0)
replies["mixed"] = examine(mixed)  # what A would do: every fifth pair exchanged, on purpose
for name, key, model in (("yours", "offline DPO", offline), ("theirs", "theirs", theirs), ("every fifth pair exchanged", "mixed", mixed)):
    print(f"A. {name}: fresh pairs in order {measure(model, fresh, ref_fresh)['in order']:.0%}, KL {replies[key][1]['KL']:.1f} nats")


def loss_per_token(model, some, ref):
    """Return a model's loss in their convention."""
    with torch.no_grad():
        lengths = collate_preferences(some).lengths
        ratios = [(x - y) / n for x, y, n in zip(reference_logps(model, some).unbind(1), ref.unbind(1), lengths, strict=True)]
        zero = torch.zeros(len(some))
        return float(as_tensor(dpo_loss(*ratios, zero, zero, 0.5, 0.0)).mean())


print(f"B. their own loss: trained pairs {loss_per_token(theirs, some, ref_trained):.3f}, fresh pairs {loss_per_token(theirs, fresh, ref_fresh):.3f}; "
      f"yours {trail['trained pairs'][-1]['loss']:.3f} and {trail['fresh pairs'][-1]['loss']:.3f}")
kl = {"yours, sums": replies["offline DPO"][1]["KL"], "theirs, means": replies["theirs"][1]["KL"]}
words = replies["base"][1]["words"] + 1
print(f"C. a margin of 1 point takes {1 / 0.5:.0f} nats as a sum, {words / 0.5:.0f} nats as a mean over {words:.0f} tokens")
bars({name: round(x, 1) for name, x in kl.items()}, ylabel="KL to the reference (nats an answer)",
     title=f"The same β, another leash: {kl['theirs, means']:.0f} nats from the reference instead of {kl['yours, sums']:.1f} (one run each)")

# %% [markdown] tags=["slide"]
r"""
## Diagnosis: the wrong unit of beta

It is C. Exchanged labels (A) give no such KL; over-fitting (B) does not tell yours from theirs. A mean over $n$ tokens is an $n$-th of the sum, so $\beta$ has become $\beta / n$: the loss asks for the same margin, and the policy has to go $n$ times as far for it, to answers that nobody compared.

Pairs in order and the loss look healthy. Watch what they cannot see: the KL, the log-probability of chosen answers, samples. Cure: $\beta \cdot n$, or sums.
"""

# %% [markdown] tags=["slide"]
r"""
## Does it scale? Five seeds, more pairs

Your runs were one seed each, on 512 pairs. `benchmarks/posttraining` gives every method tuned settings and five seeds: DPO on thousands
of pairs, new pairs in each round, policy gradients (unit 16). Look at what each *paid*: labels or rewards; seconds; nats of KL. And at the
intervals.

Below it, every loss beside $\pi^*$ of the sky tree, 480 answers each. At which $\beta$ do offline pairs do better than RLOO, and why?
"""

# %% tags=["hide-input"]
import json

from scipy.stats import t

from tutorlib.syllabus import course_root


def show(name, mean, half):
    """Return a mean and its interval; a dash where nothing of the kind was counted."""
    whole = name in ("seconds", "labels")
    return f"{'-':>12}" if mean != mean else f"{mean:6.0f} ±{half:4.0f}" if whole else f"{mean:6.2f} ±{half:4.2f}"


COLUMNS, picture = ("gold", "truth", "harmlessness", "tone", "length", "kl", "seconds", "labels"), None
source = course_root() / "benchmarks" / "posttraining" / "targets.json"
if not source.exists():
    print(f"{source.name} is not in this copy of the course; python benchmarks/posttraining/targets.py makes it")
else:
    record = json.loads(source.read_text(encoding="utf-8"))
    numbers = {name: torch.tensor([[math.nan if run.get(c) is None else float(run[c]) for c in COLUMNS] for run in method["runs"]])
               for name, method in record["methods"].items()}  # [seeds, columns]
    numbers = {name: runs for name, runs in numbers.items() if len(runs) > 1}
    half = {name: t.ppf(0.975, len(runs) - 1) * runs.std(0) / len(runs) ** 0.5 for name, runs in numbers.items()}
    print(f"{'mean ± t-interval, 95%':<22}" + "".join(f"{c.removesuffix('ness'):>12}" for c in COLUMNS))
    print(f"{'base':<22}" + "".join(f"{record['base'][c]:12.2f}" if c in record["base"] else f"{'-':>12}" for c in COLUMNS))
    for name, runs in numbers.items():
        print(f"{name:<22}" + "".join(map(show, COLUMNS, runs.mean(0).tolist(), half[name].tolist())))
    means = {name: float(runs.mean(0)[0]) for name, runs in numbers.items()}
    picture = bars(means, errors={name: float(half[name][0]) for name in means}, errors_are="95 % t-interval over seeds",
                   ylabel="mean gold reward (points)", target=record["base"]["gold"], target_label="base",
                   title=f"Gold reward after tuning: offline DPO {means['offline DPO']:.2f}, iterative DPO {means['iterative DPO']:.2f}, "
                         f"base {record['base']['gold']:.2f}")
    widest = max(numbers, key=lambda name: float(half[name][0]))
    golds = [round(x, 2) for x in sorted(numbers[widest][:, 0].tolist())]
    print(f"widest interval: {widest}, whose seeds end at {golds}: one of them alone says little")
picture

# %% tags=["hide-input"]
picture = None
if source.exists():
    trees = json.loads(source.with_name("tree.json").read_text(encoding="utf-8"))
    print(f"{'regret on the tree, at the end':<32}" + "".join(f"{'β = ' + format(each['beta'], 'g'):>16}" for each in trees))
    for name in trees[0]["methods"]:
        ends = [torch.tensor([run["regret"][-1] for run in each["methods"][name]["runs"]]).double() for each in trees]  # of each seed
        print(f"{name:<32}" + "".join(f"{e.mean():8.3f} ±{t.ppf(0.975, 4) * e.std() / 5**0.5:6.3f}" if len(e) == 5 else f"{e[0]:8.3f}{'':8}" for e in ends))
if source.exists() and record.get("overfitting"):
    passes = record["overfitting"]["runs"]
    losses = {name: torch.tensor([run[key] for run in passes]).double() for name, key in (
        ("trained pairs", "train_loss"), ("held-out pairs", "held_out_loss"))}
    means = {name: found.mean(0) for name, found in losses.items()}
    lowest = int(means["held-out pairs"].argmin()) + 1
    picture = learning_curves(
        losses, passes[0]["epochs"], band=(0, 100), higher_is_better=False, xlabel="passes over the pairs", ylabel="DPO loss (nats a pair), β = 0.5",
        title=f"Over-fitting: held-out loss is lowest after pass {lowest} and ends at {float(means['held-out pairs'][-1]):.2f}, "
              f"trained pairs' falls to {float(means['trained pairs'][-1]):.2f}")
picture

# %% [markdown] tags=["slide"]
r"""
## The bridge

| gridworld | language (here) |
|---|---|
| soft value $V = \lambda \log Z$ (03) | $\beta \log Z(x)$, which cancels in a pair |
| $Q - V = \lambda \log(\pi/\pi_0)$ (03) | implicit reward of a token |
| reward family of a policy: $\lambda \log \pi$ and a shaping (05) | reward up to a constant per prompt |
| AIRL's logit $f - \log \pi$ (07) | log-ratio of two policies |
| CPL: pairs train a policy, no reward (08) | DPO |

Contrastive preference learning is DPO on a control task.

(The tree: at $\beta = 2$ the reference's pairs tell nearly all; at 0.5 lone labels pull elsewhere.)
"""

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. $r = \beta \log(\pi/\pi_\text{ref}) + \beta \log Z$; in a pair the constant cancels.
2. A token's implicit reward is its advantage; values telescope.
3. Losses differ in what they compare, and which pairs they let go.
4. Sum or mean moves $\beta$ by the length.
5. No loss over pairs sees the mass of other answers: chosen ones may fall, too.
6. Certain labels on few pairs pull for ever; new pairs from the policy show what it has come to say.
"""

# %%
recall("direct_alignment.chosen", outcome)
quiz("direct_alignment")

# %% [markdown]
r"""
## Go further

- Rafailov et al. (2023), [arXiv 2305.18290](https://arxiv.org/abs/2305.18290): DPO; (2024), [arXiv 2404.12358](https://arxiv.org/abs/2404.12358): from $r$ to $Q^*$.
- Azar et al. (2023), [arXiv 2310.12036](https://arxiv.org/abs/2310.12036): IPO.
- Ethayarajh et al. (2024), [arXiv 2402.01306](https://arxiv.org/abs/2402.01306), KTO; Meng et al. (2024), [arXiv 2405.14734](https://arxiv.org/abs/2405.14734), SimPO; Hong et al. (2024), [arXiv 2403.07691](https://arxiv.org/abs/2403.07691), ORPO.
- Xu et al. (2024), [arXiv 2404.10719](https://arxiv.org/abs/2404.10719): what DPO cannot see.
- Razin et al. (2025), [arXiv 2410.08847](https://arxiv.org/abs/2410.08847); Pal et al. (2024), [arXiv 2402.13228](https://arxiv.org/abs/2402.13228): likelihood displacement.
- Guo et al. (2024), [arXiv 2402.04792](https://arxiv.org/abs/2402.04792); Xiong et al. (2023), [arXiv 2312.11456](https://arxiv.org/abs/2312.11456): on-policy pairs.

**Open question.** Could a loss over pairs be given a term that sees the rest of the mass, without sampling?
"""
