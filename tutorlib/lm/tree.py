"""The whole tree of answers over a few words: every quantity of alignment as an exact number.

With reference pi_ref, reward r(y) and price beta, all of it follows from log-probabilities at the
nodes (Levine 2018; Rafailov et al. 2024, "From r to Q*"):

    Q(s, a) = r(s, a) + V(s a),    V(s) = beta log sum_a pi_ref(a|s) exp(Q(s, a) / beta)
    pi*(a|s) = pi_ref(a|s) exp((Q(s, a) - V(s)) / beta),    V(root) = beta log Z
    J(pi) = E_pi[r] - beta KL(pi || pi_ref) = beta log Z - beta KL(pi || pi*)

A policy is a tuple of tables, one per depth: log pi(word | node), [nodes, words]. A reward is a
number for each leaf, or such tables of rewards for each token. All methods are differentiable in
both. Everything is float64.

An answer is a leaf when it ends, or when it is cut off at the horizon: the latter stands for all
of its continuations. Over a part of the vocabulary the reference is renormalised, unless asked not
to: then it keeps its true log-probabilities, its leaves sum to less than 1, and KL to it is the KL
to the whole model of a policy that stays on the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError, InvalidModelError, InvalidTextError
from tutorlib.lm.checks import check_ids, check_number, check_prompts, eos_ids_of
from tutorlib.lm.sampling import evaluating
from tutorlib.lm.text import check_words
from tutorlib.lm.tree_build import MAX_LEAVES, node_logps, node_logps_one_by_one
from tutorlib.lm.tree_shape import Tables, TreeShape
from tutorlib.mdp import TabularMDP


@dataclass(frozen=True, eq=False)
class TreePlan:
    """The KL-regularised optimum on a tree, one tensor per depth."""

    values: Tables  # V(s), [nodes]; values[0] is beta log Z
    q_values: Tables  # Q(s, a), [nodes, words]
    policy: Tables  # log pi*(a|s), [nodes, words]


class TokenTree(TreeShape):
    """All answers to one prompt over a few words, up to a horizon, and what a model makes of them.

    ``prompt`` is text or token ids, ``vocabulary`` words or token ids; text needs ``tokenizer``.
    The end of sequence (the model's, unless given) ends an answer if it is in the vocabulary.

    Raises InvalidTextError for unknown words, an empty prompt, or more tokens than the context
    holds; InvalidArgumentError for a tree with more than ``max_leaves`` leaves, before building it.

    >>> from tutorlib.lm import tiny_model, word_tokenizer
    >>> tokenizer = word_tokenizer(["the", "sky", "is", "blue"])
    >>> tree = TokenTree(tiny_model(tokenizer), "the sky", ["is", "blue", "<eos>"], 2, tokenizer)
    >>> tree.texts()
    ['<eos>', 'is is', 'is blue', 'is <eos>', 'blue is', 'blue blue', 'blue <eos>']
    """

    def __init__(self, model: nn.Module, prompt: str | Sequence[int],
                 vocabulary: Sequence[str] | Sequence[int], horizon: int, tokenizer=None, *,
                 eos_token_id: int | None = None, renormalise: bool = True,
                 max_leaves: int = MAX_LEAVES):
        """Check sizes, lay the tree out, and fill it with the model's log-probabilities."""
        self.tokenizer = tokenizer
        self.prompt_ids = _prompt_ids(model, prompt, tokenizer)
        words = _word_ids(model, vocabulary, tokenizer)
        super().__init__(words, eos_ids_of(model, eos_token_id), horizon, max_leaves, model.device)
        full = self._tables_of(model, node_logps)
        self.reference = self.restrict(full) if renormalise else full

    def _tables_of(self, model: nn.Module, how: Callable, graph: bool = False) -> Tables:
        """Return a model's log-probabilities at all nodes, among all of its tokens."""
        with evaluating(model), torch.set_grad_enabled(graph):
            return tuple(how(model, self.prompt_ids, self.words, self.going_on, self.horizon))

    def policy_of(self, model: nn.Module, differentiable: bool = False) -> Tables:
        """Return another model's policy on this tree, over the tree's words only.

        ``differentiable=True`` keeps the graph to the parameters: exact gradients, on small trees.
        """
        how = node_logps_one_by_one if differentiable else node_logps
        return self.restrict(self._tables_of(model, how, differentiable))

    def restrict(self, tables: Sequence[Tensor]) -> Tables:
        """Return log-probabilities made to sum to 1 over the tree's words, at each node.

        Raises InvalidModelError where none of the words is possible.
        """
        if any(bool((table == -torch.inf).all(-1).any()) for table in tables):
            raise InvalidModelError(
                "at a node of the tree every word of its vocabulary has probability 0; build it "
                "with words that the model can say there")
        return tuple(table.log_softmax(-1) for table in tables)

    def text(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Return tokens as text, or as numbers when the tree has no tokenizer."""
        if self.tokenizer is None:
            return " ".join(map(str, ids))
        return self.tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def texts(self, skip_special_tokens: bool = False) -> list[str]:
        """Return all leaves as text."""
        rows = zip(self.completion_ids, self.completion_mask, strict=True)
        return [self.text(ids[mask == 1].tolist(), skip_special_tokens) for ids, mask in rows]

    def leaf_of(self, answer: str | Sequence[int]) -> int:
        """Return the index of the leaf that is this answer; raise InvalidTextError if none is."""
        if isinstance(answer, str):
            answer = _ids_of(self.tokenizer, answer)
        return self.index_of(answer)

    def rewards_of(self, function: Callable[[str], float]) -> Float[Tensor, " leaves"]:
        """Return ``function`` of each leaf's text, special tokens included."""
        return torch.tensor([float(function(text)) for text in self.texts()],
                            dtype=torch.float64, device=self.device)

    def leaf_logps(self, policy: Sequence[Tensor] | None = None) -> Float[Tensor, " leaves"]:
        """Return log pi(y) of each leaf; of the reference if no policy is given."""
        return self.path_sums(self.reference if policy is None else policy)

    def log_partition(self, reward: Tensor | Sequence[Tensor], beta: float) -> Float[Tensor, ""]:
        """Return log Z = log sum_y pi_ref(y) exp(r(y) / beta), by listing all answers.

        ``solve(...).values[0] / beta`` is the same number by dynamic programming.
        """
        check_number("beta", beta)
        return (self.leaf_logps() + self.path_sums(self.edges(reward)) / beta).logsumexp(0)

    def solve(self, reward: Tensor | Sequence[Tensor], beta: float) -> TreePlan:
        """Return soft values and the optimal policy by dynamic programming, leaves to root."""
        check_number("beta", beta)
        values, q_values, policy, future = [], [], [], None
        for edges, prior in zip(reversed(self.edges(reward)), reversed(self.reference),
                                strict=True):
            q = self.with_future(edges, future)
            future = beta * (prior + q / beta).logsumexp(-1)
            values.append(future)
            q_values.append(q)
            policy.append(prior + (q - future[:, None]) / beta)
        return TreePlan(*(tuple(reversed(found)) for found in (values, q_values, policy)))

    def optimal_policy(self, reward: Tensor | Sequence[Tensor], beta: float) -> Tables:
        """Return log pi*(a|s), which maximises E[r] - beta KL(pi || pi_ref)."""
        return self.solve(reward, beta).policy

    def policy_values(self, policy: Sequence[Tensor], reward: Tensor | Sequence[Tensor]) -> Tables:
        """Return a policy's expected reward from each node on, by dynamic programming."""
        values, future = [], None
        for edges, logps in zip(reversed(self.edges(reward)), reversed(self.normal(policy)),
                                strict=True):
            future = (logps.exp() * self.with_future(edges, future)).sum(-1)
            values.append(future)
        return tuple(reversed(values))

    def expected_return(self, policy: Sequence[Tensor], reward: Tensor | Sequence[Tensor]
                        ) -> Float[Tensor, ""]:
        """Return E_pi[r(y)], by listing all answers."""
        return self.leaf_logps(self.normal(policy)).exp() @ self.path_sums(self.edges(reward))

    def kl(self, policy: Sequence[Tensor], other: Sequence[Tensor] | None = None
           ) -> Float[Tensor, ""]:
        """Return KL(policy || other), in nats; to the reference if no other is given.

        Infinite when ``other`` gives probability 0 to an answer that ``policy`` gives.
        """
        logps, others = self.leaf_logps(self.normal(policy)), self.leaf_logps(other)
        possible = logps > -torch.inf
        return (logps[possible].exp() * (logps[possible] - others[possible])).sum()

    def objective(self, policy: Sequence[Tensor], reward: Tensor | Sequence[Tensor], beta: float
                  ) -> Float[Tensor, ""]:
        """Return J(pi) = E_pi[r] - beta KL(pi || pi_ref)."""
        check_number("beta", beta)
        return self.expected_return(policy, reward) - beta * self.kl(policy)

    def sample(self, n: int, generator: torch.Generator, policy: Sequence[Tensor] | None = None
               ) -> Int[Tensor, " n"]:
        """Return the indices of ``n`` leaves drawn from a policy, the reference by default."""
        policy = self.normal(self.reference if policy is None else policy)
        sums = self.leaf_logps(policy).detach().exp().cumsum(0)
        level = torch.rand(n, dtype=sums.dtype, generator=generator, device=generator.device)
        return torch.searchsorted(sums / sums[-1], level.to(sums.device), right=True)

    def normal(self, policy: Sequence[Tensor]) -> Tables:
        """Return a policy if it sums to 1 at every node; raise InvalidArgumentError if not."""
        policy = self.check_tables(policy, "policy")
        off = max(float((table.detach().exp().sum(-1) - 1).abs().max()) for table in policy)
        if off > 1e-6:
            raise InvalidArgumentError(
                f"the policy's probabilities sum to 1 only within {off:.3g}; expected log-"
                "probabilities over the tree's words: tree.restrict(policy) makes them so"
            )
        return policy

    def to_tabular_mdp(self, reward: Tensor | Sequence[Tensor]) -> TabularMDP:
        """Return the tree as a decision process: nodes are states, words are actions.

        States stand in the order of ``node_paths``, then one more, terminal, "(over)". Appending a
        token is deterministic. No discount; the horizon is the tree's.
        """
        edges = torch.cat(self.edges(reward)).detach()
        nodes, words = edges.shape
        following = torch.full((nodes + 1, words), nodes, device=self.device)
        first, inner = 1, nodes - self.size.branch**(self.horizon - 1)
        children = torch.arange(first, first + inner * self.size.branch, device=self.device)
        following[:inner, self.going_on] = children.view(inner, self.size.branch)
        start = torch.zeros(nodes + 1, dtype=torch.float64, device=self.device)
        start[0] = 1.0
        names = [*(self.text(path) or "(start)" for path in self.node_paths()), "(over)"]
        return TabularMDP(
            successors=following[..., None], reward=nn.functional.pad(edges, (0, 0, 0, 1)),
            probabilities=torch.ones_like(following[..., None], dtype=torch.float64),
            initial_state_dist=start, discount=1.0, horizon=self.horizon,
            terminal=torch.arange(nodes + 1, device=self.device) == nodes,
            state_names=tuple(names), action_names=tuple(self.text([w]) for w in self.words))

    def to_prior(self, policy: Sequence[Tensor] | None = None) -> Float[Tensor, "states words"]:
        """Return a policy as the table of probabilities that goes with ``to_tabular_mdp``.

        ``soft_backward(mdp, beta, prior=tree.to_prior())`` then is ``solve``.
        """
        tables = torch.cat(self.normal(self.reference if policy is None else policy)).exp()
        return nn.functional.pad(tables, (0, 0, 0, 1), value=1 / len(self.words))


def _ids_of(tokenizer, text: str) -> list[int]:
    """Return the token ids of a text, all of them known words."""
    if tokenizer is None:
        raise InvalidTextError(f"{text!r} is text; give token ids, or a tokenizer as well")
    check_words(tokenizer, text)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _prompt_ids(model: nn.Module, prompt: str | Sequence[int], tokenizer) -> tuple[int, ...]:
    """Return the prompt as token ids, checked."""
    ids = _ids_of(tokenizer, prompt) if isinstance(prompt, str) else [int(i) for i in prompt]
    row = torch.tensor([ids], dtype=torch.long).view(1, -1)
    check_prompts(model, row, torch.ones_like(row))
    return tuple(ids)


def _word_ids(model: nn.Module, vocabulary: Sequence[str] | Sequence[int], tokenizer
              ) -> tuple[int, ...]:
    """Return the vocabulary as token ids; a word must be one token."""
    if isinstance(vocabulary, str):
        raise InvalidTextError(f"the vocabulary is one text, {vocabulary!r}; give a list of words")
    ids = []
    for word in vocabulary:
        tokens = _ids_of(tokenizer, word) if isinstance(word, str) else [int(word)]
        if len(tokens) != 1:
            raise InvalidTextError(
                f"{word!r} is {len(tokens)} tokens to this tokenizer; a tree's words are single "
                "tokens: give token ids where a word is split"
            )
        ids += tokens
    row = torch.tensor([ids], dtype=torch.long).view(1, -1)
    check_ids(model, "vocabulary", row, torch.ones_like(row, dtype=torch.bool))
    return tuple(ids)
