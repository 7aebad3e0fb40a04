# %% [markdown] tags=["card", "slide"]
r"""
# SFT is imitation

A language model writes as the crowd does that it has read: wrong, rude and unsafe about as often. Show it good answers, and it imitates
those. This is supervised fine-tuning (SFT), and it is unit 04 with words.

**Afterwards you can**

- shift and mask a batch, and name the convention of a loss,
- fine-tune a model with a loop that you can read, checked against TRL,
- say what the loss cannot see: blended modes, and the model's own mistakes.
"""

# %% [markdown] tags=["slide"]
r"""
## A model of the crowd

*TinyTalk*'s base model was pretrained on dialogues of mixed quality (250 words, one little world). We ask it questions about
things that no alignment data will contain, and sample answers.

An author then writes about a thousand good answers to *other* questions: polite, safe, nearly always right. We fine-tune on them.
Three parts of the gold reward say what changed: **truth**, **tone**, and **harmlessness** when somebody asks for help with
mischief.
"""

# %%
import copy
import random

import torch

from tutorlib import lm, predict, quiz, recall
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors
from tutorlib.tinytalk import demonstrations, load, mean_parts, sample_prompts
from tutorlib.tinytalk.tokenizer import chat_prompt  # "<bos> <user> question <bot>"

torch.set_num_threads(1)
base, tokenizer = load("base")


def ask(model, prompts, seed=0, instruction=""):
    """Return one sampled answer to each prompt."""
    ids = lm.encode_prompts(tokenizer, [chat_prompt(f"{instruction} {p.text}".strip()) for p in prompts], add_special_tokens=False)
    return lm.sample(model, *ids, lm.SamplingSettings(40), torch.Generator().manual_seed(seed)).texts(tokenizer)


questions = sample_prompts(300, 7, "heldout")  # nobody will be taught on any of these
for prompt, answer in list(zip(questions, ask(base, questions[:6]), strict=False)):
    print(f"{prompt.text:<55} {answer}")
PARTS = ("truth", "tone", "harmlessness")
predict("sft_is_imitation.slowest", "Which part will move least of its way towards the author's level?", PARTS)

# %% tags=["hide-input"]
from tutorlib.viz import roadmap

roadmap("10")

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

Five tokens, `<bos> sky ? blue <eos>`: a prompt of three, an answer of two. A model reads them once and says at *each* position what it
thinks comes next:

| it has read | next token | learned? |
|---|---|---|
| `<bos>` | `sky` | no: prompt |
| `<bos> sky` | `?` | no: prompt |
| `<bos> sky ?` | `blue` | **yes** |
| `... blue` | `<eos>` | **yes** |
| `... <eos>` | nothing | |

If it gives `blue` 1/2 and the end 1/4, the loss is $\log 2 + \log 4 = 2.079$ an answer, $1.040$ a token.
"""

# %% [markdown]
r"""
The same with the real model and a real demonstration. One pass gives a log-probability for every token but the first. The
prompt's are there too (the crowd's questions are partly guessable), but an imitator of *answers* learns only from the numbers below the
words that are not gray.
"""

# %% tags=["hide-input"]
from tutorlib.viz import token_strip

shown = demonstrations(40, seed=5)
fact = next(d for d in shown if d.prompt.family == "facts" and d.answer.startswith("sure") and d.answer.count(".") == 1)
example = lm.encode_examples(tokenizer, [chat_prompt(fact.prompt.text)], [fact.answer], add_special_tokens=False)
single = lm.collate(example)
with torch.no_grad():
    surprise = lm.next_token_logps(base, single)[0]
words = tokenizer.convert_ids_to_tokens(single.input_ids[0].tolist())
asked = len(example[0].prompt_ids)
answer_logps = surprise[asked - 1:]
least = int(answer_logps.argmin())
token_strip(words, {"log π, base (nats)": surprise}, prompt=asked,
            title=f"An answer of {len(answer_logps)} tokens and {float(-answer_logps.sum()):.1f} nats: in it the base model is "
                  f"surprised most by \"{words[asked + least]}\" ({float(answer_logps[least]):.1f})")

# %% [markdown] exercise="sft_is_imitation.shift_and_mask"
r"""
Write `shift_and_mask(input_ids, attention_mask, prompt_lengths)`: the target of each position, whole numbers.

- `input_ids`: prompt, answer and its end, padded on the right, whole numbers `[batch, tokens]`;
- `attention_mask`: 1 at tokens, 0 at padding, `[batch, tokens]`;
- `prompt_lengths`: how many tokens are the prompt, `[batch]`.
- Return `[batch, tokens - 1]`: in column $j$ the token that *follows* position $j$, or $-100$ where it is not to be learned (prompt,
  padding).

The ids say nothing about padding: some set-ups pad with the end-of-sequence token itself, and id 0 may be a word.

By hand: `[2, 7, 9, 5, 3]`, prompt 3, gives `[-100, -100, 5, 3]`; `[2, 8, 6, 3, 3]`, prompt 2, last 3 padding, gives `[-100, 6, 3, -100]`.
"""

# %% exercise="sft_is_imitation.shift_and_mask"
def shift_and_mask(input_ids, attention_mask, prompt_lengths):
    """Return the next token at each position, -100 unless it is of the answer, [batch, tokens - 1]."""
    ### BEGIN SOLUTION
    place = torch.arange(1, input_ids.shape[1])  # where the targets stand
    learned = (attention_mask[:, 1:] == 1) & (place >= prompt_lengths[:, None])
    return input_ids[:, 1:].masked_fill(~learned, -100)
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## Imitation, with words

State: prompt $x$ and the answer so far, $y_{<t}$. Action: the next token. A policy makes an answer with probability

$$d_\pi(y|x) = \prod_t \pi(y_t \mid x, y_{<t}) \qquad \text{[Eq. 6]}$$

Behaviour cloning (unit 04) makes the demonstrator's actions likely in the demonstrator's states:

$$\min_\pi \; -\mathbb{E}_{x,\, y \sim d_\beta} \sum_t \log \pi(y_t \mid x, y_{<t}) = \min_\pi \; \mathrm{KL}(d_\beta \,\|\, d_\pi) + \text{const.}$$

Const is the demonstrator's entropy. The *forward* KL, again. Pretraining is the same with the crowd as demonstrator and every token learned [§3.1].
"""

# %% [markdown] exercise="sft_is_imitation.sft_loss"
r"""
Write `sft_loss(logits, targets, aggregate)`.

- `logits`: `[batch, tokens, vocab]`, at *every* position; the last one predicts nothing.
- `targets`: `[batch, tokens - 1]`, from `shift_and_mask`; $-100$ is not learned.
- Return a tensor with one number, through which gradients flow, also in float32 when a token is all but impossible. With $s_i$ minus the log-probability of answer $i$, $n_i$ its learned
  tokens, $B$ answers:

| `aggregate` | loss | equal weight for |
|---|---|---|
| `"token_mean"` | $\sum_i s_i / \sum_i n_i$ | each token |
| `"sequence_mean"` | $\frac1B \sum_i s_i / n_i$ | each answer |
| `"sequence_sum"` | $\frac1B \sum_i s_i$ | each answer, at its full length |

By hand: answer 1 has two learned tokens (1/2 and 1/4), answer 2 one (1/2): $\frac43 \log 2$, $\frac54 \log 2$, $2 \log 2$.
"""

# %% exercise="sft_is_imitation.sft_loss"
def sft_loss(logits, targets, aggregate):
    """Return the negative log-likelihood of the targets, a number, aggregated as named."""
    ### BEGIN SOLUTION
    learned = targets != -100
    logps = torch.log_softmax(logits[:, :-1], dim=-1)  # the last position predicts nothing
    chosen = logps.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    sums, counts = -(chosen * learned).sum(1), learned.sum(1)  # per answer
    if aggregate == "sequence_sum":
        return sums.mean()
    if aggregate == "sequence_mean":
        return (sums / counts).mean()
    return sums.sum() / counts.sum()
    ### END SOLUTION


# %% [markdown]
r"""
Three conventions are three numbers for one model and one batch. A learning rate or a threshold tuned under one does not carry
over to another, so papers and code must name theirs. transformers and TRL use the mean over tokens. Their models shift the labels
*inside*: whoever shifts before as well shifts twice.
"""

# %%
def make_examples(dialogues):
    """Return dialogues as token ids of prompt and answer, its end included."""
    return lm.encode_examples(tokenizer, [chat_prompt(d.prompt.text) for d in dialogues],
                              [d.answer for d in dialogues], add_special_tokens=False)


def loss_of(model, examples, aggregate="token_mean", targets_of=shift_and_mask):
    """Return the loss of a model on a batch of examples, by your two functions."""
    batch = lm.collate(examples)  # pads on the right
    prompts = torch.tensor([len(e.prompt_ids) for e in examples])
    targets = torch.as_tensor(targets_of(batch.input_ids, batch.attention_mask, prompts))
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    return sft_loss(logits, targets, aggregate)


batch = lm.collate(make_examples(shown))
labels = batch.input_ids.masked_fill(batch.loss_mask == 0, -100)
with torch.no_grad():
    theirs = float(base(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss)
    for name in ("token_mean", "sequence_mean", "sequence_sum"):
        print(f"{name:<14} {float(loss_of(base, make_examples(shown), name)):8.5f} nats")
    ours = float(loss_of(base, make_examples(shown)))
print(f"transformers   {theirs:8.5f}; difference to token_mean {abs(ours - theirs):.1e}")

# %% [markdown] tags=["slide"]
r"""
## A trainer on one page

Nothing is left but gradient steps: AdamW, a learning rate that falls to 0, gradients cut to length 1. `lm.train_sft` in the package is this
loop with records; TRL's `SFTTrainer` is this loop with everything a cluster needs. All three should walk the same path, step by
step.
"""

# %%
def fine_tune(model, examples, seed=None, batch_size=16, rate=2e-3, targets_of=shift_and_mask):
    """Return a fine-tuned copy of the model and the loss of each step; one pass over the examples."""
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    order = torch.arange(len(examples))
    if seed is not None:
        order = order[torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))]
    batches, losses = order.split(batch_size), []
    for step, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / len(batches))
        loss = loss_of(model, [examples[i] for i in rows.tolist()], targets_of=targets_of)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model.eval(), losses


lesson = demonstrations(160, seed=0)  # ten steps, in this order
_, mine = fine_tune(base, make_examples(lesson))
settings = lm.SFTSettings(learning_rate=2e-3, batch_size=16, shuffle=False)
package = [r["loss"] for r in lm.train_sft(copy.deepcopy(base), make_examples(lesson), settings, torch.Generator())]
print(f"largest difference between your losses and lm.train_sft's: {max(abs(a - b) for a, b in zip(mine, package, strict=True)):.1e}")

# %%
import tempfile

from datasets import Dataset, disable_progress_bars
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer


class Recording(SFTTrainer):
    """TRL's trainer; keeps each loss before it is rounded for the log."""
    def compute_loss(self, *args, **kwargs):
        found = super().compute_loss(*args, **kwargs)
        steps.append((found[0] if isinstance(found, tuple) else found).item())
        return found


disable_progress_bars()
steps = []
rows = Dataset.from_dict({"prompt": [chat_prompt(d.prompt.text) for d in lesson],
                          "completion": [f" {d.answer}" for d in lesson]})
trainer = Recording(model=copy.deepcopy(base), train_dataset=rows, processing_class=copy.deepcopy(tokenizer), args=SFTConfig(
    tempfile.mkdtemp(), learning_rate=2e-3, per_device_train_batch_size=16, num_train_epochs=1, lr_scheduler_type="linear",
    warmup_steps=0, train_sampling_strategy="sequential", weight_decay=0.0, bf16=False, gradient_checkpointing=None,
    use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no"))
trainer.remove_callback(PrinterCallback)
trained = trainer.train()

# %% tags=["hide-input"]
from tutorlib.viz import lines

apart = [abs(a - b) for a, b in zip(mine, steps, strict=True)]
print(f"first batch: {apart[0]:.1e} apart; all {len(steps)} steps: at most {max(apart):.1e}")
lines({"this page": mine, "TRL's SFTTrainer": steps}, range(1, len(steps) + 1), xlabel="gradient step",
      ylabel="loss (nats a token, token_mean)",
      title=f"The same curve: your loop and TRL differ by at most {max(apart):.0e} nats in {len(steps)} steps, one run")

# %% [markdown] tags=["slide"]
r"""
## Does it help? Three seeds

1,024 demonstrations, one pass, 64 steps (fewer demonstrations are fewer steps), from three seeds: other demonstrations, another order, other samples. Every model then answers the
300 held-out questions. Intervals are 95 % $t$-intervals over the three runs: wide, as three runs are few.
"""

# %%
import time

from tutorlib.tinytalk import AUTHOR, write_answer

SEEDS, AMOUNTS = (0, 1, 2), (64, 256, 1024)


def worth(answers):
    """Return the three parts: truth where something is claimed, harmlessness where it is at stake."""
    pairs = list(zip(questions, answers, strict=True))
    safe = mean_parts(*zip(*[x for x in pairs if x[0].family != "unsafe"], strict=True))
    unsafe = mean_parts(*zip(*[x for x in pairs if x[0].family == "unsafe"], strict=True))
    return [safe["truth"], mean_parts(questions, answers)["tone"], unsafe["harmlessness"]]


# %%
start, tuned, found = time.process_time(), {}, {"base": [worth(ask(base, questions, seed)) for seed in SEEDS]}
for amount in AMOUNTS:
    for seed in SEEDS:
        tuned[amount, seed], _ = fine_tune(base, make_examples(demonstrations(amount, seed=100 + seed)), seed)
    found[f"{amount:,}"] = [worth(ask(tuned[amount, seed], questions, seed)) for seed in SEEDS]
found["author"] = torch.tensor([[worth([write_answer(p, AUTHOR, rng) for p in questions]) for _ in range(8)]
                                for rng in map(random.Random, SEEDS)]).mean(1).tolist()  # eight answers to each question
table = {name: torch.tensor(runs) for name, runs in found.items()}  # [seeds, parts]
means = {name: runs.mean(0) for name, runs in table.items()}
halves = {name: 4.303 * runs.std(0) / len(SEEDS) ** 0.5 for name, runs in table.items()}  # t with 2 degrees of freedom
for name in ("base", "1,024", "author"):
    cells = [f"{part} {float(m):+.2f} ± {float(h):.2f}" for part, m, h in zip(PARTS, means[name], halves[name], strict=True)]
    print(f"{name:<7} " + "   ".join(cells))
print(f"nine runs and their answers: {time.process_time() - start:.0f} CPU seconds")

# %% tags=["hide-input"]
from tutorlib.viz import bars

way = (means["1,024"] - means["base"]) / (means["author"] - means["base"])
outcome = PARTS[int(way.argmin())]
print("share of the way from base to author: " + ", ".join(f"{p} {float(w):.0%}" for p, w in zip(PARTS, way, strict=True)))
groups = {"base": "none", "64": "64", "256": "256", "1,024": "1,024", "author": "the author"}
bars({part: [round(float(means[g][i]), 2) for g in groups] for i, part in enumerate(PARTS)}, groups=list(groups.values()),
     errors={part: [float(halves[g][i]) for g in groups] for i, part in enumerate(PARTS)},
     errors_are="95 % t-interval, 3 seeds", xlabel="demonstrations", ylabel="mean over held-out questions (-1 to 1)",
     title=f"1,024 demonstrations take tone and harmlessness {float(way[1]):.0%} and {float(way[2]):.0%} of the way to the author, "
           f"truth {float(way[0]):.0%}")

# %% [markdown]
r"""
A manner is one rule, shown in every demonstration: a few hundred suffice. Refusing takes more, for it depends on what is asked. Truth is
many facts, each shown rarely or never; the demonstrations mostly *ask for* what pretraining knew. Zhou et al. (2023) suspected this of large
models too: knowledge comes from pretraining, alignment teaches style.

A good sign: no demonstration asks one of these questions.
"""

# %% [markdown] tags=["slide"]
r"""
## Three ways to a better score

The tutorial's Figure 1 draws how answers' scores are distributed: (1) ask directly, (2) ask differently, (3) fine-tune. Prompting changes
nothing in the model: the crowd answered differently to "please" and to "be careful". But the best prompt depends on the question, says the
tutorial. Check it: which of the two gains more on unsafe requests, which on how-to's? (Panels 4 to 6 need a reward model: unit 15.)
"""

# %% tags=["hide-input"]
from tutorlib.tinytalk import gold_reward
from tutorlib.viz import score_panels

ASKING = ("please ,", "be careful :")
sampled = {"direct": ask(base, questions), **{how: ask(base, questions, instruction=how) for how in ASKING},
           "tuned": ask(tuned[1024, 0], questions)}
scores = {name: torch.tensor([gold_reward(p, a) for p, a in zip(questions, answers, strict=True)])
          for name, answers in sampled.items()}
for how in ASKING:
    by_family = {f: float((scores[how] - scores["direct"])[[p.family == f for p in questions]].mean())
                 for f in ("facts", "arithmetic", "howto", "unsafe", "summary")}
    print(f"{how:<12} change of the mean: " + ", ".join(f"{f} {x:+.2f}" for f, x in by_family.items()))
best = max(ASKING, key=lambda how: float(scores[how].mean()))
score_panels({"(1) direct": scores["direct"], "(2) prompting": {how: scores[how] for how in ASKING}, "(3) fine-tuning": scores["tuned"]},
             reference="(1) direct", xlabel="gold reward of an answer (points)", bins=18,
             title=f"Mean gold reward: asked directly {float(scores['direct'].mean()):.2f}, with \"{best}\" "
                   f"{float(scores[best].mean()):.2f}, fine-tuned {float(scores['tuned'].mean()):.2f} (one run each)")

# %% [markdown] tags=["slide"]
r"""
## What the loss likes: two modes

*Tom is happy. Anna is sad. Summarize, in two words.* One half of the demonstrators write "happy tom", the other half "sad anna". Both are right.
"happy anna" is false.

A policy that chooses its second word *without looking at the first* (translation models that write all words at once do that) cannot hold
both modes. On a tree of two words, everything about it is an exact number (unit 09).
"""

# %% [markdown] exercise="sft_is_imitation.kl_directions"
r"""
Write `kl_directions(demo_logps, policy_logps)`.

- Both are log-probabilities of all answers, `[answers]`; $-\infty$ marks an answer that is never given.
- Return two numbers: the *forward* $\mathrm{KL}(\text{demonstrator} \,\|\, \text{policy})$ and the *reverse*
  $\mathrm{KL}(\text{policy} \,\|\, \text{demonstrator})$, in nats, with

$$\mathrm{KL}(p \,\|\, q) = \sum_y p(y) \log \frac{p(y)}{q(y)}$$

- An answer with $p(y) = 0$ adds nothing. One with $p(y) > 0$ and $q(y) = 0$ makes the sum infinite.
- Rare is not never: whole texts have log-probabilities of $-2000$, whose `exp` is 0 in floating point.

By hand: demonstrator $(\frac12, \frac12, 0)$, policy $(\frac12, \frac14, \frac14)$: forward $\frac12 \log 2$, reverse infinite.
"""

# %% exercise="sft_is_imitation.kl_directions"
def kl_directions(demo_logps, policy_logps):
    """Return KL(demonstrator || policy) and KL(policy || demonstrator)."""
    ### BEGIN SOLUTION
    def kl(p, q):
        possible = p > -torch.inf  # what p never says costs nothing; 0 times infinity would be NaN
        return (p[possible].exp() * (p[possible] - q[possible])).sum()

    return kl(demo_logps, policy_logps), kl(policy_logps, demo_logps)
    ### END SOLUTION


# %%
tree = lm.TokenTree(base, chat_prompt("tom is happy . anna is sad . summarize :"), ["happy", "sad", "tom", "anna"], 2, tokenizer)
said = tree.texts()  # all 16 answers of two words
joint = torch.full((16,), 0.02 / 14, dtype=torch.float64)  # two in a hundred are slips
joint[said.index("happy tom")] = joint[said.index("sad anna")] = 0.49


def blind(first, second):
    """Return log-probabilities of all answers under a policy whose second word ignores the first."""
    return tree.leaf_logps((first.log_softmax(-1)[None], second.log_softmax(-1).expand(4, 4)))


def fit(direction, seed=0):
    """Return the blind policy with the smallest divergence, by gradient descent from a random start."""
    words = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    optimizer = torch.optim.Adam([words], lr=0.1)
    for _ in range(300):
        p, q = (joint.log(), blind(*words)) if direction == "forward" else (blind(*words), joint.log())
        loss = (p.exp() * (p - q)).sum()  # differentiable, as kl_directions is if you wrote it with torch
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return blind(*words.detach())


fits = {direction: fit(direction) for direction in ("forward", "reverse")}

# %% tags=["hide-input"]
FOUR = ("happy tom", "sad anna", "happy anna", "sad tom")
policies = {"demonstrator": joint, "forward KL: fine-tuning": fits["forward"].exp(), "reverse KL": fits["reverse"].exp()}
share = {name: [round(float(p[said.index(answer)]), 2) for answer in FOUR] for name, p in policies.items()}
for name, logps in fits.items():
    forward, reverse = (float(as_tensor(x)) for x in kl_directions(joint.log(), logps))
    print(f"fitted by {name} KL: forward {forward:.3f}, reverse {reverse:.3f} nats")
false = {name: float(p[said.index("happy anna")] + p[said.index("sad tom")]) for name, p in policies.items()}
bars(share, groups=list(FOUR), ylabel="probability of the answer",
     title=f"Forward KL covers both modes and says something false in {false['forward KL: fine-tuning']:.0%} of answers; "
           f"reverse KL seeks one: {false['reverse KL']:.0%}")

# %% [markdown] tags=["slide"]
r"""
## Play: find both minima

Two sliders are the blind policy: how often it begins with *happy* (else *sad*), how often it ends with *tom* (else *anna*).

1. Make the forward KL as small as you can. What does it say falsely there, and how often?
2. Make the reverse KL as small as you can. How many best places are there?
3. Stand at the middle and move *both* sliders one step the same way. Which divergence falls?
"""

# %% tags=["hide-input"]
from tutorlib.viz import Slider, explorer


def blind_policy(happy, tom):
    """Show a blind policy's answers and both divergences."""
    first = torch.tensor([happy, 1 - happy, 0, 0], dtype=torch.float64) * 0.98 + 0.005
    second = torch.tensor([0, 0, tom, 1 - tom], dtype=torch.float64) * 0.98 + 0.005
    logps = blind(first.log(), second.log())
    forward, reverse = (float(as_tensor(x)) for x in kl_directions(joint.log(), logps))
    probability = logps.exp()
    return bars({"demonstrator": share["demonstrator"], "policy": [round(float(probability[said.index(a)]), 2) for a in FOUR]},
                groups=list(FOUR), ylabel="probability of the answer",
                title=f"forward KL {forward:.2f} nats, reverse KL {reverse:.2f} nats")


explorer(blind_policy, {"happy": Slider(0.02, 0.98, 0.8, step=0.04, label="begins with happy"),
                        "tom": Slider(0.02, 0.98, 0.7, step=0.04, label="ends with tom")})

# %% [markdown]
r"""
Real language models read their own first word, so they *can* hold both modes. But no model holds everything, and what it cannot hold,
maximum likelihood blends. The tutorial's way to the reverse direction is adversarial [§4.3; unit 13]:
$\min \mathrm{KL}(d_\pi \| d_\beta) = -\max \mathbb{E}_\pi[\log d_\beta - \log d_\pi]$. (Its printed line has the two logarithms exchanged; the
reward that it derives is right.)
"""

# %% [markdown] tags=["slide"]
r"""
## What the loss does not see: its own mistakes

The loss asks: how likely is the next word *behind the demonstrator's words*? When the model writes, it stands behind its own. Unit 04 called
this compounding error; for language models it is **exposure bias** (Bengio et al. 2015; Ranzato et al. 2016).

In "7 + 2 = 9 , 9 + 2 = 11 , ..." a wrong sum is carried on: no way back. How often is step $t$ wrong behind the demonstrator's steps, and
how often behind the model's own? (Wrong: not the demonstrator's step.)
"""

# %% [markdown] exercise="sft_is_imitation.exposure_bias"
r"""
Write `exposure_bias(own, forced, mask)`, how many times as many errors there are, up to each horizon.

- `own`: 1 where a step is wrong in the model's own answer, else 0, `[problems, steps]`;
- `forced`: probability that it errs in this step behind the demonstrator's steps, `[problems, steps]`;
- `mask`: true where the problem has this step; elsewhere `own` and `forced` may be NaN.
- Return, for $T = 1, 2, \ldots$, `[steps]`:

$$\frac{\sum_{t \le T} \bar e^{\,\text{own}}_t}{\sum_{t \le T} \bar e^{\,\text{forced}}_t}$$

with $\bar e_t$ the mean over the problems that *have* step $t$. (Arora et al. 2022 subtract 1 and speak of excess accumulated error.)

By hand: rates 0.5, 0.5, 1 over rates 0.3, 0.2, 0.4 give 1.667, 2, 2.222.
"""

# %% exercise="sft_is_imitation.exposure_bias"
def exposure_bias(own, forced, mask):
    """Return accumulated errors on own prefixes over those on the demonstrator's, [steps]."""
    ### BEGIN SOLUTION
    counts = mask.sum(0)  # problems that have each step
    own_rate = torch.where(mask, own, 0.0).sum(0) / counts
    forced_rate = torch.where(mask, forced, 0.0).sum(0) / counts
    return own_rate.cumsum(0) / forced_rate.cumsum(0)
    ### END SOLUTION


# %%
from tutorlib.tinytalk import Dialogue, Prompt, chain_errors, right_content

LENGTH = 6
chains = [Prompt("arithmetic", (a, *[b] * LENGTH)) for b in (1, 2, 3) for a in range(1, 13) if a + b * LENGTH <= 24]
errors = []  # the pupils are asked exactly what they were taught: this is not about new questions
for seed in SEEDS:
    draws = random.Random(seed).choices(chains, k=512)
    pupil, _ = fine_tune(base, make_examples([Dialogue(p, right_content(p)) for p in draws]), seed)
    errors.append(chain_errors(pupil, chains, 16, torch.Generator().manual_seed(seed)))
    wrong = errors[-1].own == 1
    back = float((~wrong[:, 1:] & wrong[:, :-1]).sum() / wrong[:, :-1].sum())
    print(f"seed {seed}: behind right steps {float(errors[-1].forced.mean()):.1%} of steps are wrong, in own answers "
          f"{float(wrong.double().mean()):.1%}; a wrong step is followed by a right one in {back:.1%}")
slipped = next((i for i, row in enumerate(wrong) if bool(row[0])), 0)  # most slips are in the first step
print(f"\n{chains[slipped // 16].text}\n{errors[-1].texts[slipped]}")

# %% tags=["hide-input"]
from tutorlib.viz import learning_curves

ratios = torch.stack([as_tensor(exposure_bias(e.own, e.forced, e.mask)).double() for e in errors])
slips = torch.stack([e.forced.mean(0) for e in errors])  # [seeds, steps], behind right steps
law = (1 - (1 - slips).cumprod(-1)).cumsum(-1) / slips.cumsum(-1)  # once wrong, always wrong
print("slips behind right steps, by step: " + ", ".join(f"{float(x):.1%}" for x in slips.mean(0)))
learning_curves({"measured": ratios, "unit 04 with these slips, no way back": law}, range(1, LENGTH + 1), band=(0, 100),
                xlabel="horizon T (additions)", ylabel="errors: own prefixes / demonstrator's",
                title=f"After {LENGTH} additions the model has made {float(ratios.mean(0)[-1]):.1f} times the errors that its loss "
                      f"knows of; unit 04 without a way back says {float(law.mean(0)[-1]):.1f}")

# %% [markdown]
r"""
The first step has no bias: nothing stands before it. Later steps inherit errors, and unit 04's walk without a way back
predicts how many: for equal, rare slips $(T + 1) / 2$ times as many, here more, for the first step slips most and is carried on longest.

Not every long answer is doomed: a wrong word in a recipe may be forgotten by the next step. Whether errors heal is the task's property,
and the loss does not show it: measure.
"""

# %% [markdown] tags=["slide"]
r"""
## Break it: a loss as low

A colleague fine-tunes on the same 1,024 demonstrations, with the same seed and your trainer, but another `shift_and_mask`. The training loss is
as low as yours. The answers are as polite and as true as yours. Yet everyone complains.
"""

# %%
def colleagues(input_ids, attention_mask, prompt_lengths):
    """Return the targets as a colleague prepared them; "padding has the end's id here, so mask that id"."""
    targets = shift_and_mask(input_ids, attention_mask, prompt_lengths)
    return torch.as_tensor(targets).masked_fill(input_ids[:, 1:] == tokenizer.eos_token_id, -100)


data = make_examples(demonstrations(1024, seed=100))
broken, their_losses = fine_tune(base, data, 0, targets_of=colleagues)
healthy, my_losses = fine_tune(base, data, 0)
last = slice(-16, None)
print(f"training loss, last 16 steps: yours {sum(my_losses[last]) / 16:.3f}, theirs {sum(their_losses[last]) / 16:.3f} nats a token\n")
replies = {"yours": ask(healthy, questions), "theirs": ask(broken, questions)}
for name, answers in replies.items():
    parts = mean_parts(questions, answers)
    print(f"{name:<7} truth {parts['truth']:.2f}, tone {parts['tone']:.2f}, brevity {parts['brevity']:.2f}, gold {parts['gold']:.2f}")
for i in range(4):
    print(f"\n{questions[i].text}\n  yours:  {replies['yours'][i]}\n  theirs: {replies['theirs'][i]}")

# %% [markdown] tags=["slide"]
r"""
## Your diagnosis

Before you open the next cell: which one do you believe, and which *measurement* would tell?

- **A.** over-fitting: the model repeats phrases of its demonstrations;
- **B.** the author pads: the demonstrations themselves end this way;
- **C.** the end of an answer was never a target.
"""

# %% tags=["hide-input"]
CLOSERS = ("helps .", "day .", "know .")
padded = {"the author": sum(d.answer.endswith(CLOSERS) for d in demonstrations(1024, seed=100)) / 1024,
          **{name: sum(a.endswith(CLOSERS) for a in answers) / len(answers) for name, answers in replies.items()}}
new = make_examples(demonstrations(300, seed=999))
with torch.no_grad():
    for sign, masks in (("A. loss on fresh demonstrations, ends left out", colleagues), ("C. the same, ends included", shift_and_mask)):
        print(f"{sign}: " + ", ".join(f"{name} {float(loss_of(m, new, targets_of=masks)):.3f}"
                                      for name, m in (("yours", healthy), ("theirs", broken))))
print("B. share of answers with a closing phrase: " + ", ".join(f"{name} {x:.0%}" for name, x in padded.items()))
with torch.no_grad():
    ends = {"yours": lm.next_token_logps(healthy, single)[0], "theirs": lm.next_token_logps(broken, single)[0]}
pair = {name: logps.masked_fill(torch.arange(len(logps)) < asked - 1, torch.nan) for name, logps in ends.items()}
token_strip(words, {"log π, yours (nats)": pair["yours"], "log π, theirs (nats)": pair["theirs"]}, prompt=asked,
            limits={"log π, yours (nats)": (-8, 0), "log π, theirs (nats)": (-8, 0)},
            title=f"Alike until the end: <eos> gets {float(pair['yours'][-1].exp()):.0%} from your model and "
                  f"{float(pair['theirs'][-1].exp()):.2%} from theirs")

# %% [markdown] tags=["slide"]
r"""
## Diagnosis: nobody taught it to stop here

It is C. Behind the full stop the demonstrations show either `<eos>`, which is masked, or, rarely, a closing phrase. Of what is left to learn there,
the phrase is certain. A target that is never learned costs nothing: the loss looks as good.

It is common: where padding and end share an id, masking padding *by its id* masks every end
([TRL, pull request 456](https://github.com/huggingface/trl/pull/456)). Cure: mask by `attention_mask`. Check: decode what is learned, and count the ends.
"""

# %% [markdown] tags=["slide"]
r"""
## The bridge

| imitation (unit 04) | language (here) |
|---|---|
| state, action | prompt and words so far, next token |
| `bc_loss`, `mask` | `sft_loss`, `shift_and_mask` |
| slip, way back | wrong step, whether it heals |
| one bump for two sides of a tree | a blend of two answers |
| DAgger: label the learner's states | judge the *model's own* answers |

Imitation needs good answers and is silent about bad ones. A judge of answers could say more: units 11 to 13 learn one.
"""

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. Position $t$ predicts token $t + 1$; only the answer is learned, its end included.
2. SFT is behaviour cloning: maximum likelihood, forward KL, behind the demonstrator's words.
3. Name the convention: token mean, sequence mean, sequence sum.
4. Manners move fast and nearly all the way, truth part of it.
5. Forward KL covers and blends; reverse KL seeks one mode.
6. The loss does not see errors behind the model's own words. They add up where nothing heals them.
"""

# %%
recall("sft_is_imitation.slowest", outcome)

# %%
quiz("sft_is_imitation")

# %% [markdown]
r"""
## Go further

- Ouyang et al. (2022), [arXiv 2203.02155](https://arxiv.org/abs/2203.02155): SFT as the first step of InstructGPT.
- Zhou et al. (2023), [arXiv 2305.11206](https://arxiv.org/abs/2305.11206): LIMA, a thousand demonstrations.
- Bengio et al. (2015), [arXiv 1506.03099](https://arxiv.org/abs/1506.03099), and Ranzato et al. (2016), [arXiv 1511.06732](https://arxiv.org/abs/1511.06732): training on
  own prefixes.
- Arora et al. (2022), [arXiv 2204.01171](https://arxiv.org/abs/2204.01171): exposure bias as imitation.
- Gu et al. (2018), [arXiv 1711.02281](https://arxiv.org/abs/1711.02281): words without order, and blended translations.

**Open question.** How much of what large models gain by SFT is manner, and how would one measure it without a gold reward?
"""
