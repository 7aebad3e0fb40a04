# %% [markdown] tags=["card", "slide"]
r"""
# The language MDP

A language model is a policy. Its states are texts, its actions are words, its dynamics could not be simpler. So Parts I and
II apply, and over a few words they give exact numbers, where practice can only sample.

**Afterwards you can**

- name the parts of the decision process "text", and the one that is missing,
- score answers under any causal language model, without the usual mistakes,
- solve a whole tree of answers exactly: partition function, optimal policy, KL.
"""

# %% [markdown] tags=["slide"]
r"""
## Paid at the end

A small model is asked for the color of the sky. It was raised on what a crowd says, right and wrong. An answer runs
*the* | *sky* | *is* | *blue* | *.* | end. Truth is paid: a number for the whole answer, **after its last token**.

Now the best policy for that reward, on a leash: expected reward minus 0.5 per nat of KL to the model. No training here; we will
compute it. It differs from the model token by token.
"""

# %%
import math
import tempfile

import torch
from IPython.display import display

from tutorlib import predict, quiz, recall
from tutorlib.grading.compare import as_tensor  # your answers may be lists, arrays or tensors

torch.set_num_threads(1)  # small tensors: more threads would only wait for each other
WHERE = ("at the first token: everything follows from it", "at the color", "at the last token: it is paid")
predict("language_mdp.where", "Where does the best policy differ most from the model (in KL)?", WHERE)

# %% tags=["hide-input"]
from tutorlib.viz import roadmap

roadmap("09")

# %% [markdown] tags=["slide"]
r"""
## One table

The tutorial's Table 2 [§2.2], beside the gridworld:

| | gridworld | text |
|---|---|---|
| state | cell | prompt and answer so far, $(x, y_{<t})$ |
| action | move | next token $y_t$, from a vocabulary |
| dynamics | chance | append: known, certain |
| start | a cell | a prompt |
| end | goal, horizon | end-of-sequence token; most new tokens |
| policy | $\pi(a \mid s)$ | the model |
| reward | painted | **missing** |
| discount | below 1 | 1, or a wish for brevity |
"""

# %%
from gymnasium.utils.env_checker import check_env

from tutorlib.errors import TutorlibError
from tutorlib.lm import TokenMDP, word_tokenizer

words = word_tokenizer("The color of the sky is blue green".split())  # one token per word
env = TokenMDP(words, ["The color of the sky"], horizon=4)  # a gymnasium.Env, over any tokenizer
env.reset(seed=0)
print("prompt:", "|".join(words.tokenize(env.info()["text"])))
for word in ("is", "blue", "<eos>", "green"):  # the tutorial's example, and one token too many
    observation, reward, terminated, truncated, info = env.step(env.action_of(word))
    print(f"{word:<6} terminated {terminated!s:<6} truncated {truncated!s:<6} reward missing: {info['reward_is_missing']}")
print(f"\n{env.trace()}\n")
check_env(TokenMDP(words, ["The color of the sky"], horizon=4, render_mode="ansi"))  # Gymnasium's own examination
print("check_env has no objection")
try:
    env.action_of("bleu")
except TutorlibError as problem:
    print(f"{type(problem).__name__}: {problem}")

# %% [markdown]
r"""
Read the trace. A state is everything said so far, so it is Markov by construction, and until the end no state is visited twice. *green* came after the end:
nothing changed, it is **absorbing**. The column of rewards holds question marks: nobody can derive from "text" what
a good text is. Even in arithmetic a rule must be chosen and data checked.

The rest of the course is about that column.
"""

# %% [markdown] exercise="language_mdp.token_step"
r"""
Write the dynamics, `token_step(prompt_ids, completion_ids, token, eos_token_id, horizon)`.

- `prompt_ids`, `completion_ids`: lists of token ids, the prompt and the answer so far; `token`: the action.
- An answer that **ended** (its last token is `eos_token_id`) or was **cut off** (it has `horizon` tokens) stays as it is, whatever token comes.
- Return `(completion_ids, terminated, truncated)`: the answer afterwards, and two booleans. *Terminated*: it has ended. *Truncated*: it was
  cut off without an end.

Two details decide much later on: the end belongs to the answer, and prompts may hold end tokens of their own.
"""

# %% exercise="language_mdp.token_step"
def token_step(prompt_ids, completion_ids, token, eos_token_id, horizon):
    """Return (answer after the token, terminated, truncated)."""
    ### BEGIN SOLUTION
    answer = list(completion_ids)  # a new list: other answers may branch off the old one
    if answer[-1:] != [eos_token_id] and len(answer) < horizon:
        answer.append(token)
    terminated = answer[-1:] == [eos_token_id]
    return answer, terminated, not terminated and len(answer) >= horizon
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## The policy is the model

Given a text, a causal language model returns one score $z$ (*logit*) per word and per place: what comes **next**. Softmax makes it a policy;
$z_0$, behind the prompt, chooses $y_1$. An answer is a trajectory, and as appending is certain, its probability is a product of policies alone:

$$\pi(y \mid x) = \prod_{t} \pi(y_t \mid x, y_{<t}), \qquad
\log \pi(y \mid x) = \sum_t \Big( z_{t-1}[y_t] - \log \sum_v e^{z_{t-1}[v]} \Big)$$

This number is what imitation raises (unit 10), what preferences compare (17), and what a leash measures (16).
"""

# %% [markdown] exercise="language_mdp.sequence_logprob"
r"""
Write `sequence_logprob(logits, input_ids, answer_mask)`, the log-probability of the answer in each row of a batch.

- `logits`: `[batch, tokens, vocab]`; those at place $t$ predict the token at place $t + 1$.
- `input_ids`: `[batch, tokens]`, prompt and answer in one row, padding anywhere around them.
- `answer_mask`: `[batch, tokens]`, 1 at the answer's tokens, its end included; 0 at prompt and padding.
- Return `[batch]`, in nats.

Two answer tokens, predicted with probabilities 0.5 and 0.2, have together $\log 0.1 = -2.303$.
"""

# %% exercise="language_mdp.sequence_logprob"
def sequence_logprob(logits, input_ids, answer_mask):
    """Return log pi(y|x) of each row, [batch]."""
    ### BEGIN SOLUTION
    logps = torch.log_softmax(logits[:, :-1], dim=-1)  # what predicts something
    chosen = logps.gather(-1, input_ids[:, 1:, None])[..., 0]  # of the token that came
    return (chosen * answer_mask[:, 1:]).sum(dim=-1)
    ### END SOLUTION


# %%
from tutorlib import tinytalk
from tutorlib.lm import encode_completions, encode_prompts
from tutorlib.tinytalk.tokenizer import chat_prompt

model, tokenizer = tinytalk.load("base")  # a Hugging Face Llama that grew up on TinyTalk
model.requires_grad_(False)  # nothing is trained in this unit
question = chat_prompt("what color is the sky ?")
answers = ["the sky is blue .", "the sky is green .", "ugh , the sky is blue .", "blue sky the is ."]
prompt_ids, _ = encode_prompts(tokenizer, [question] * len(answers), add_special_tokens=False)
completion_ids, completion_mask = encode_completions(tokenizer, answers)  # padded on the right
ids = torch.cat([prompt_ids, completion_ids], 1)
answer_mask = torch.cat([torch.zeros_like(prompt_ids), completion_mask], 1)
scores = as_tensor(sequence_logprob(model(input_ids=ids).logits, ids, answer_mask))
print(f"{question}  (a true answer, a false one, a rude one, a salad of words)")
for text, score in zip(answers, scores, strict=True):
    print(f"{text:<24} log π = {float(score):7.2f}   π = {math.exp(score):.2g}")

# %% [markdown] tags=["slide"]
r"""
## Break it: it depends who else is there

A colleague scores answers to *different* prompts in one batch. Prompts are padded on the left, so that answers begin in one column; the attention
mask hides the padding. He tests with our model: each answer scores as it does alone. Then a user swaps in a GPT-2.

The cell compares *in the batch* with *alone*, for both. Before you read on: which scores move, and why only there?
"""

# %%
from transformers import GPT2Config, GPT2LMHeadModel


def gpt2_shaped(tokenizer, seed=0):
    """Return a small GPT-2 with random weights: another architecture, no download."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(GPT2Config(
            vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)).eval().requires_grad_(False)


def colleague(model, prompts, answers, **more):
    """Score answers to left-padded prompts in one batch."""
    prompt_ids, prompt_mask = encode_prompts(tokenizer, prompts, add_special_tokens=False)
    completion_ids, completion_mask = encode_completions(tokenizer, answers)
    ids, seen = torch.cat([prompt_ids, completion_ids], 1), torch.cat([prompt_mask, completion_mask], 1)
    places = {name: make(seen) for name, make in more.items()}
    logits = model(input_ids=ids, attention_mask=seen, **places).logits
    mask = torch.cat([torch.zeros_like(prompt_ids), completion_mask], 1)
    return as_tensor(sequence_logprob(logits, ids, mask)).double()

# %% tags=["hide-input"]
from tutorlib.lm import position_ids
from tutorlib.viz import bars

asked = [chat_prompt(text) for text in ("what is 12 + 5 + 3 ?", "what color is the sky ?", "what does a dog say ?")]
told = ["the answer is 20 .", "the sky is blue .", "a dog says woof ."]
gpt2, moved = gpt2_shaped(tokenizer), {}
for name, network, more in (("Llama", model, {}), ("GPT-2", gpt2, {}),
                            ("GPT-2, position_ids", gpt2, {"position_ids": position_ids})):
    alone = torch.cat([colleague(network, [x], [y]) for x, y in zip(asked, told, strict=True)])
    moved[name] = (colleague(network, asked, told, **more) - alone).tolist()
lengths = [len(tokenizer(x, add_special_tokens=False)["input_ids"]) for x in asked]
worst = max(moved["GPT-2"], key=abs)
bars({name: [round(x, 4) for x in row] for name, row in moved.items()},
     groups=[f"prompt of {n} tokens ({max(lengths) - n} padding)" for n in lengths],
     ylabel="log π in the batch minus alone (nats)",
     title=f"Left padding moves a GPT-2's score by {worst:+.2f} nats; a Llama's by {max(map(abs, moved['Llama'])):.0e}")

# %% [markdown]
r"""
**Diagnosis.** A network is told each token's *position*, 0, 1, 2, ...; unless told otherwise it counts columns, padding included. GPT-2 learned
a vector for each position: behind two paddings the same text stands elsewhere and is another text. In a Llama only *differences* of
positions matter: its test could not find the bug.

The cure is one argument: `position_ids`, counted over real tokens. `tutorlib.lm.per_token_logps` does so for you. The lesson: test with the architecture
that can fail.
"""

# %% [markdown] tags=["slide"]
r"""
## The smallest case, by hand

Two words, *blue* and the end; at most two tokens. Three answers exist: *end*, *blue end*, *blue blue* (cut off). The model says *blue* first with 0.6, and then both
with 0.5. Only *blue end* is paid: 1. $\beta = 1$.

- All answers at once: $Z = 0.4 + 0.6 \cdot 0.5 \cdot e + 0.6 \cdot 0.5 = 1.515$, $\log Z = 0.416$.
- From behind: $V(\text{blue}) = \log(0.5 e + 0.5) = 0.620$; $V(\text{start}) = \log(0.4 + 0.6\, e^{0.620}) = 0.416$.

The same, as $e^{V(\text{blue})} = 0.5\,e + 0.5$ is all that follows *blue*.
"""

# %%
pi, r = {("blue",): 0.6, ("end",): 0.4, ("blue", "blue"): 0.5, ("blue", "end"): 0.5}, {("blue", "end"): 1.0}
Z = 0.0
for y in (("end",), ("blue", "end"), ("blue", "blue")):
    chance = math.prod(pi[y[:t + 1]] for t in range(len(y)))  # the policy, token by token
    Z += chance * math.exp(r.get(y, 0.0))
V_blue = math.log(0.5 * math.e + 0.5)
V_start = math.log(0.4 + 0.6 * math.exp(V_blue))
print(f"log Z = {math.log(Z):.6f} over all answers, V(start) = {V_start:.6f} from behind")
print(f"π*(blue | start) = {0.6 * math.exp(V_blue - V_start):.3f} (was 0.6), "
      f"π*(end | blue) = {0.5 * math.exp(1 - V_blue):.3f} (was 0.5)")

# %% [markdown] tags=["slide"]
r"""
## Soft values of a text

It is unit 03's control with a prior, where $s'$ is $s$ with one token more:

$$Q(s,a) = r(s,a) + V(s \cdot a), \quad V(s) = \beta \log \sum_a \pi_\text{ref}(a|s)\, e^{Q(s,a)/\beta}, \quad \pi^*(a|s) = \pi_\text{ref}(a|s)\, e^{(Q(s,a) - V(s))/\beta}$$

A token that ends the answer leads nowhere: $Q = r$. A reward for the whole answer is paid with its last token. At the root $V = \beta \log Z$. What the
leash leaves of a policy, $J(\pi) = E_\pi[r] - \beta\, \mathrm{KL}(\pi \| \pi_\text{ref})$, is
$V - \beta\, \mathrm{KL}(\pi \| \pi^*)$: put $r(y) = V + \beta \log \pi^*(y)/\pi_\text{ref}(y)$ in.
"""

# %% [markdown] exercise="language_mdp.exact_soft_values"
r"""
Write `exact_soft_values(reference, reward, going_on, beta)`: those lines for a whole tree.

- `reference`, `reward`: one tensor per depth, `[nodes, words]`: $\log \pi_\text{ref}(a|s)$ and $r(s,a)$. The first has one node.
- `going_on`: the columns of the $B$ words after which the answer goes on. Child $j$ of node $i$ (by the $j$-th of them) is node $iB + j$ of the next
  depth. At the last depth every word is final.
- `beta`: $\beta > 0$, at times tiny. All tables are float64.
- Return `(values, policy)`: for each depth $V$, `[nodes]`, and $\log \pi^*$, `[nodes, words]`.

The first check is the case done by hand.
"""

# %% exercise="language_mdp.exact_soft_values"
def exact_soft_values(reference, reward, going_on, beta):
    """Return (values, log-policy), one tensor per depth each: [nodes] and [nodes, words]."""
    ### BEGIN SOLUTION
    values, policy, ahead = [], [], None
    for log_ref, paid in zip(reversed(reference), reversed(reward), strict=True):
        q = paid.clone()
        if ahead is not None:
            q[:, going_on] += ahead.view(len(q), len(going_on))  # what a word leads to
        exponent = log_ref + q / beta
        ahead = beta * torch.logsumexp(exponent, dim=-1)
        values.insert(0, ahead)
        policy.insert(0, exponent - (ahead / beta)[:, None])
    return values, policy
    ### END SOLUTION


# %% [markdown] tags=["slide"]
r"""
## The exact tree of a real network

`TokenTree` asks the network for $\pi_\text{ref}$ at *every* answer over a few words, up to a horizon. We allow eight words and the end, begin
each answer with *the*, and pay TinyTalk's gold reward: 2 if true, 0 if false, −1 for what nobody can read.

Other words are forbidden, and the rest renormalised at every token, so all that follows is exact about *that* model. It prints how much of the
model's own mass these words hold.
"""

# %%
from tutorlib.lm import TokenTree
from tutorlib.tinytalk import Prompt, gold_reward

VOCABULARY = ["sky", "is", "blue", "white", "green", "gray", "red", ".", "<eos>"]
BETA, sky = 0.5, Prompt("facts", ("color", "sky"))
begun = question + " the"
tree = TokenTree(model, begun, VOCABULARY, 5, tokenizer)
whole = TokenTree(model, begun, VOCABULARY, 5, tokenizer, renormalise=False)
texts = tree.texts()
gold = torch.tensor([gold_reward(sky, f"the {text.removesuffix(' <eos>')}") for text in texts]).double()
print(f"{tree.size}; they hold {float(whole.leaf_logps().exp().sum()):.1%} of the model's own answers")
paid = tree.edges(gold)  # as tables: each answer's reward, with its last token
values, policy = exact_soft_values(tree.reference, paid, tree.going_on, BETA)
values, policy = [as_tensor(v).double() for v in values], tuple(as_tensor(p).double() for p in policy)
p_ref, p_best = tree.leaf_logps().exp(), tree.leaf_logps(policy).exp()
print(f"the model earns {float(p_ref @ gold):.3f}; the best policy {float(p_best @ gold):.3f} "
      f"for {float(tree.kl(policy)):.3f} nats")
for i in p_ref.argsort(descending=True)[:6].tolist():
    print(f"the {texts[i]:<22} reward {float(gold[i]):4.1f}   model {float(p_ref[i]):.4f}   best {float(p_best[i]):.4f}")

# %% [markdown] tags=["slide"]
r"""
## Three ways to one number

- **Listing**: $\beta \log \sum_y \pi_\text{ref}(y)\, e^{r(y)/\beta}$ over all leaves.
- **Dynamic programming**: your recursion.
- **Sampling**: let the network write, with `generate`, and average.

The first two must agree to rounding. The third, only as well as its number of samples allows; it also tests that the tree holds the network's probabilities, as
`generate` knows nothing of trees.
"""

# %%
n, forbidden = 2000, [i for i in range(len(tokenizer)) if i not in tree.words]
start = torch.tensor([tree.prompt_ids])
with torch.random.fork_rng(devices=[]):  # generate draws from the global generator
    torch.manual_seed(0)
    drawn = model.generate(start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, max_new_tokens=5,
                           num_return_sequences=n, suppress_tokens=forbidden)[:, start.shape[1]:]
ends = (drawn == tokenizer.eos_token_id).int()
lengths = torch.where(ends.any(1), ends.argmax(1) + 1, drawn.shape[1])
leaf = torch.tensor([tree.leaf_of(row[:k].tolist()) for row, k in zip(drawn, lengths, strict=True)])
sampled = BETA * (gold[leaf] / BETA).exp().mean().log()
print(f"listing              {BETA * float(tree.log_partition(gold, BETA)):.12f}")
print(f"your recursion       {float(values[0][0]):.12f}")
print(f"{n} samples         {float(sampled):.3f}")
gap = values[0][0] - tree.objective(tree.reference, gold, BETA)
print(f"the untuned model loses {float(gap):.9f}; β KL(π_ref || π*) = {BETA * float(tree.kl(tree.reference, policy)):.9f}")

# %% tags=["hide-input"]
top = p_ref.argsort(descending=True)[:5]
share = torch.bincount(leaf, minlength=tree.n_leaves).double()[top] / n
error = (p_ref[top] * (1 - p_ref[top]) / n).sqrt()
off = ((share - p_ref[top]).abs() / error).max()
bars({"tree": p_ref[top].round(decimals=3).tolist(), f"{n} samples": share.round(decimals=3).tolist()},
     groups=[texts[i] for i in top],
     errors={"tree": [0.0] * 5, f"{n} samples": error.tolist()}, errors_are="one standard error",
     ylabel="probability", xlabel="the ...",
     title=f"What generate says has the tree's frequencies: all within {math.ceil(10 * off) / 10:.1f} standard errors")

# %% [markdown] tags=["slide"]
r"""
## Who knows before the end?

The reward comes last. But $V$ carries it back: at every state it says what is *still to be had*. So
$\beta \log \pi^*/\pi_\text{ref} = Q - V$, the **advantage** of a token, is paid where something is decided, and its sum over an answer
is $r(y) - V(\text{start})$: all of it, nothing but it.

The strip shows one right and one wrong answer, the bars all of them: the KL that is spent at each token.
"""

# %%
from tutorlib.viz import token_strip

rows, picked = [], ["sky is blue . <eos>", "sky is green . <eos>"]
for text in picked:
    node, advantage, worth = 0, [], []
    for depth, word in enumerate(tokenizer(text, add_special_tokens=False)["input_ids"]):
        column = tree.words.index(word)
        advantage.append(BETA * float(policy[depth][node, column] - tree.reference[depth][node, column]))
        worth.append(float(values[depth][node]))
        if column in tree.going_on:
            node = node * len(tree.going_on) + tree.going_on.index(column)
    rows.append((advantage, worth))
    print(f"{text:<22} sum of advantages {sum(advantage):+.9f}, r − V(start) {float(gold[tree.leaf_of(text)] - values[0][0]):+.9f}")
display(token_strip([text.split() for text in picked],
                    {"Q − V (reward)": [[round(x, 3) for x in a] for a, _ in rows],
                     "V before it (reward)": [[round(x, 3) for x in v] for _, v in rows]},
                    title=f"The color carries {rows[0][0][2]:+.2f} if right, {rows[1][0][2]:+.2f} if wrong; the end, where it is paid, "
                          f"{rows[0][0][4]:+.2f}"))

# %% tags=["hide-input"]
there, spent = torch.ones(1, dtype=torch.float64), []
for logps, habit in zip(policy, tree.reference, strict=True):  # chance to be there times KL of the next token
    spent.append(float((there * (logps.exp() * (logps - habit)).sum(-1)).sum()))
    there = (there[:, None] * logps.exp())[:, tree.going_on].flatten()
most = max(range(5), key=spent.__getitem__)
outcome = WHERE[1] if most == 2 else WHERE[0] if most < 2 else WHERE[2]
place = ("sky", "is", "color", ".", "<eos>")  # what π* says there, nearly always
bars({"KL spent": [round(x, 5) for x in spent]}, groups=list(place), xlabel="token", ylabel="KL(π* || π_ref) at this token (nats)",
     title=f"{spent[most] / sum(spent):.1%} of the KL is spent at the {place[most]}; {spent[4] / sum(spent):.2%} at the end, "
           "where truth is paid")

# %% [markdown] tags=["slide"]
r"""
## Play: walk the tree

1. Open colors, right and wrong. What does $V$ do behind them, and what is left to choose there?
2. Lower $\beta$ to 0.1: what happens to a wrong color? To 10: what is left of the reward?
3. Lower *Hide what is rarer than*. Words with $Q$ near −1 lead to what nobody can read. Does $\pi^*$ bother to avoid them?
4. At $\beta = 10$ wrong colors have $Q < V$, and $\pi^*$ says them nearly as often as the model. Why is that no contradiction?
"""

# %%
from tutorlib.lm import tree_arrays
from tutorlib.viz import Slider, TreeExplorer

TreeExplorer(lambda beta: tree_arrays(tree, gold, beta), Slider(0.1, 10.0, BETA, log=True, label="β, the leash"),
             opened=[[], ["sky"], ["sky", "is"]], title="What color is the sky ? the ...")

# %% [markdown] tags=["slide"]
r"""
## The bridge: one algebra

Unit 06 had two models of behaviour. For one prompt, with reward $r + \beta \log \pi_\text{ref}$ on the tree:

- **2008**, over trajectories: $p(y) \propto \prod_t P(s_{t+1}|s_t,a_t)\, \cdot e^{\sum_t r/\beta}\, \pi_\text{ref}(y)$. Appending is certain: every $P$ is 1. So $p(y) = \pi_\text{ref}(y)\, e^{r(y)/\beta} / Z$.
- **2010**, causal: $\log p(y) = \sum_t (Q_t - V_t)/\beta + \log \pi_\text{ref}(y)$. As $Q = r + V(s')$ holds *without an expectation*, the sum telescopes to $r(y)/\beta - \log Z$.

The same distribution. Luck was all that told them apart.
"""

# %%
from tutorlib.irl import one_step_gamble, solve_causal, solve_maxent
from tutorlib.mdp import soft_backward

small = TokenTree(model, begun, VOCABULARY, 3, tokenizer)  # as a TabularMDP: nodes are states, words are actions
paid = small.rewards_of(lambda text: 2.0 * ("blue" in text) - 1.0 * ("red" in text))
best = torch.cat([as_tensor(p).double() for p in exact_soft_values(small.reference, small.edges(paid), small.going_on, BETA)[1]]).exp()
time_of = torch.cat([torch.full((len(table),), depth) for depth, table in enumerate(small.reference)])
state = torch.arange(len(time_of))
folded = small.to_tabular_mdp([e + BETA * p for e, p in zip(small.edges(paid), small.reference, strict=True)])
found = {"03: soft_backward with a prior": soft_backward(small.to_tabular_mdp(paid), BETA, prior=small.to_prior()).policy,
         "06: causal MaxEnt (2010)": solve_causal(folded, folded.reward, BETA).policy,
         "06: MaxEnt over trajectories (2008)": solve_maxent(folded, folded.reward, BETA).policy}
for name, table in found.items():
    apart = float((table[time_of, state] - best).abs().max())
    assert apart < 1e-6
    print(f"{name:<36} differs from your π* by at most {apart:.0e}")
bet, outcome_of = one_step_gamble()
print(f"with chance (unit 06's gamble): 2008 {float(solve_maxent(bet, outcome_of[bet.successors]).policy[0, 0, 0]):.4f}, "
      f"2010 {float(solve_causal(bet, bet.reward).policy[0, 0, 0]):.4f}")

# %% [markdown] exercise="language_mdp.brevity"
r"""
One row of the table is left: the discount. At $\gamma = 1$ a right answer is worth the same however long it is. Write `brevity(rewards, completion_mask, discount)`:
the discounted return of each answer, whose reward comes with its **last token**.

- `rewards`: `[answers]`, for whole answers; `completion_mask`: `[answers, tokens]`, 1 at the answer's tokens.
- Return $\gamma^{n-1} r$, `[answers]`: the first token is chosen at $t = 0$, the last of $n$ at $t = n - 1$.

At $\gamma = 0.5$, right answers of one and three tokens are worth 1 and 0.25. Look at what happens to a *wrong* one.
"""

# %% exercise="language_mdp.brevity"
def brevity(rewards, completion_mask, discount):
    """Return the discounted return of each answer, [answers]."""
    ### BEGIN SOLUTION
    waited = completion_mask.sum(dim=-1) - 1  # steps before the last token
    return rewards * discount ** waited.double()
    ### END SOLUTION


# %% tags=["hide-input"]
from tutorlib.viz import lines

one = torch.ones(2, dtype=torch.float64)
mask = (torch.arange(300_000) < torch.tensor([[300], [300_000]])).double()  # 1 at each answer's tokens
kept = as_tensor(brevity(one, mask, 0.99999)).tolist()
print(f"γ = 0.99999: worth {kept[0]:.4f} after 300 tokens, {kept[1]:.4f} after 300,000")
steps = torch.logspace(0, 6, 61, dtype=torch.float64)
lines({f"γ = {g:g}, reward {r:+d}": (r * g ** (steps - 1)).tolist() for g, r in ((0.99999, 1), (0.99, 1), (0.99, -1))},
      steps.tolist(), xscale="log", xlabel="tokens of the answer", ylabel="worth at the start (reward)",
      title=f"At γ = 0.99999 an answer of 300 tokens keeps {kept[0]:.3f} of its reward, a book of 300,000 {kept[1]:.4f}")

# %% [markdown] tags=["slide"]
r"""
## Does it scale?

The tree costs one prediction of the network per node, and nodes multiply at each token. The cell prints how far that goes, and
beyond it a refusal, *before* anything is built.

So practice samples. But a sample average of $e^{r/\beta}$ knows only what it has seen. Suppose one rare answer is paid, *white is blue*. Until it is
drawn, after some $1/\pi_\text{ref}(y)$ samples, the estimate is 0. At a small $\beta$ that misses all of $V$.
"""

# %%
from tutorlib.lm import tree_size

for vocabulary, horizon in ((9, 5), (9, 6), (20, 4), (250, 2), (250, 30), (50_257, 2)):
    size = tree_size(vocabulary, horizon)
    print(f"{vocabulary:>6} words, {horizon:>2} tokens: {size.leaves:>10.3g} answers, {size.nodes:>8.3g} predictions of the network")
for mistake in (lambda: TokenTree(model, begun, VOCABULARY, 8, tokenizer),
                lambda: TokenTree(model, begun, [*VOCABULARY, "purple"], 5, tokenizer)):
    try:
        mistake()
    except TutorlibError as problem:
        print(f"\n{type(problem).__name__}: {problem}")

# %% tags=["hide-input"]
from tutorlib.viz import learning_curves

rare = torch.zeros(tree.n_leaves, dtype=torch.float64)
rare[tree.leaf_of("white is blue . <eos>")] = 1.0
chance, SEEDS, sizes, misses = float(p_ref @ rare), 20, (100, 1000, 10_000, 100_000, 1_000_000), {}
for beta in (1.0, 0.05):
    truth = beta * float(tree.log_partition(rare, beta))
    misses[f"β = {beta:g}, V = {truth:.2g}"] = [
        [abs(beta * float((rare[tree.sample(k, torch.Generator().manual_seed(97 * seed + k))] / beta).exp().mean().log()) - truth)
         for k in sizes] for seed in range(SEEDS)]
cold = torch.tensor(list(misses.values())[1]).mean(0)
learning_curves(misses, [math.log10(k) for k in sizes], xlabel="log10 of the number of samples", ylabel="error of V(start) (reward)",
                higher_is_better=False, band=(0, 100),
                title=f"One answer in {1 / chance:,.0f} is worth {truth:.2f} at β = {beta:g}: 1,000 samples miss {cold[1] / truth:.0%} "
                      f"of it, a million {cold[-1] / truth:.0%}")

# %% [markdown] tags=["slide"]
r"""
## Swap in your own model

Nothing above asked what network it was. `tutorlib.lm.load` takes a folder or a name of the Hugging Face Hub (`load("HuggingFaceTB/SmolLM2-135M-Instruct")`, with a
network), sets padding and end tokens right, and says what does not fit. Offline, here, a GPT-2 with random weights, saved and loaded; then the same
functions.

With a real tokenizer give token ids where a word is split in several; what depended on the gold reward needs one of your own.
"""

# %%
from tutorlib.lm import load, per_token_logps

with tempfile.TemporaryDirectory() as folder:
    gpt2.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    other, its_tokenizer = load(folder, device="cpu")
other.requires_grad_(False)
theirs = TokenTree(other, begun, VOCABULARY, 4, its_tokenizer, renormalise=False)
prompt = torch.tensor([theirs.prompt_ids]).repeat(theirs.n_leaves, 1)
by_scoring = per_token_logps(other, prompt, torch.ones_like(prompt), theirs.completion_ids, theirs.completion_mask).sum(1)
print(f"{type(other).__name__}: {theirs.n_leaves} answers; the tree and scoring one by one differ by at most "
      f"{float((theirs.leaf_logps() - by_scoring).abs().max()):.0e}")
env = TokenMDP(its_tokenizer, [begun], horizon=4)
print("the same environment over its tokenizer:", env.action_space, "-", env.reset(seed=0)[1]["text"])

# %% [markdown]
r"""
## The bridge to unit 10

The tree makes every later method checkable: best-of-n (15), policy gradients (16), DPO (17) are approximations of the $\pi^*$ that you just computed.

But first the policy must come from somewhere. The model learned from text that people wrote: states and actions of an expert, no reward.
That is behaviour cloning (unit 04), and it inherits its troubles: a student is trained on the *teacher's* beginnings and walks on its own. Unit 10 measures
it.
"""

# %% [markdown] tags=["slide"]
r"""
## What you take along

1. Text is a decision process with known, certain dynamics; the reward is what is missing.
2. $\log \pi(y|x)$ is a sum over the answer's tokens, its end included: shift by one, mask the rest, count positions over real tokens.
3. On a tree, $V(\text{start}) = \beta \log Z$, and the advantage $\beta \log \pi^*/\pi_\text{ref}$ says which token decided.
4. Without luck, both models of unit 06 are one.
5. A discount asks for brevity where rewards are positive, and for stalling where they are negative.
"""

# %%
recall("language_mdp.where", outcome)

# %%
quiz("language_mdp")

# %% [markdown]
r"""
## Go further

- Sun & van der Schaar (2025), [arXiv 2507.13158](https://arxiv.org/abs/2507.13158), §2.2: the tutorial's section and its Table 2.
- Rafailov et al. (2024), [arXiv 2404.12358](https://arxiv.org/abs/2404.12358): *From r to Q\**; our tree is their argument in numbers.
- Levine (2018), [arXiv 1805.00909](https://arxiv.org/abs/1805.00909): deterministic dynamics make inference and control one.
- Vaswani et al. (2017), [arXiv 1706.03762](https://arxiv.org/abs/1706.03762), section 3.5, and Su et al. (2021), [arXiv 2104.09864](https://arxiv.org/abs/2104.09864): absolute and rotary positions.

**Open question.** Is a token the right action? Steps of a proof, or whole answers, give other trees over the same texts. Which makes credit easiest to assign?
"""
