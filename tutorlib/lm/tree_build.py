"""How large a token tree is, and the model's log-probabilities at all of its nodes.

A node is an unfinished answer. The nodes of one depth stand in lexicographic order: child j of
node i is node i * branch + j of the next depth, where j counts the words that go on (all but the
end of sequence). So a whole tree is one table [nodes, words] per depth, and no pointers.

The prompt and every shared beginning are computed once. A parent's children enter the model side
by side, as tokens of one row that see their ancestors and themselves but not each other; only
nodes that have children of their own leave keys and values behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm.cache import attends_plainly
from tutorlib.lm.checks import check_count, check_length, check_not_nan

MAX_LEAVES = 200_000
CHUNK_TOKENS = 4_096  # tokens in one call of the model
CHUNK_LOGITS = 2**25  # and logits: 128 MiB of float32


@dataclass(frozen=True)
class TreeSize:
    """How large a tree is, known before it is built."""

    words: int  # choices at each node, the end of sequence included if it is one
    branch: int  # choices after which the answer goes on
    horizon: int  # most tokens of an answer
    nodes: int  # unfinished answers, the empty one included
    leaves: int  # finished answers, and answers cut off at the horizon

    @property
    def table_bytes(self) -> int:
        """Bytes of one float64 table over all (node, word) pairs; a policy is such a table."""
        return 8 * self.nodes * self.words

    def __str__(self) -> str:
        """Describe the size in words."""
        return (f"{self.words} words and a horizon of {self.horizon} make {self.nodes:,} nodes and "
                f"{self.leaves:,} leaves ({self.table_bytes / 2**20:,.1f} MiB a table)")


def tree_size(words: int, horizon: int, ends: bool = True) -> TreeSize:
    """Return the size of the tree of ``words`` choices; ``ends``: one of them ends the answer.

    >>> tree_size(5, 3).nodes, tree_size(5, 3).leaves
    (21, 85)
    """
    check_count("words", words)
    check_count("horizon", horizon)
    branch = words - 1 if ends else words
    levels = [branch**depth for depth in range(horizon)]
    leaves = sum(levels[:-1]) * (words - branch) + levels[-1] * words
    return TreeSize(words, branch, horizon, sum(levels), leaves)


def check_size(size: TreeSize, ends: bool, max_leaves: int) -> None:
    """Raise InvalidArgumentError, with what to reduce and how far, if the tree is too large."""
    if size.leaves <= max_leaves:
        return
    horizons = [h for h in range(1, size.horizon)
                if tree_size(size.words, h, ends).leaves <= max_leaves]
    words = [w for w in range(2, min(size.words, max_leaves))
             if tree_size(w, size.horizon, ends).leaves <= max_leaves]
    advice = [f"a horizon of at most {horizons[-1]}"] if horizons else []
    advice += [f"at most {words[-1]} words"] if words else []
    raise InvalidArgumentError(
        f"this tree is too large: {size}; at most {max_leaves:,} leaves are built. Take "
        + (" or ".join(advice) or "fewer words and a smaller horizon")
    )


def node_logps(model: nn.Module, prompt_ids: Sequence[int], words: Sequence[int],
               going_on: Sequence[int], horizon: int) -> list[Tensor]:
    """Return log pi(word | prompt, answer so far), float64 [nodes, words] for each depth.

    ``going_on`` are the columns of ``words`` after which an answer goes on.
    """
    check_length(model, len(prompt_ids) + horizon - 1, "the prompt with a longest answer")
    if not attends_plainly(model):
        return node_logps_one_by_one(model, prompt_ids, words, going_on, horizon)
    build = _Builder(model, words, going_on, horizon)
    cache = _cache_of([None] * model.config.get_text_config(decoder=True).num_hidden_layers)
    ids = torch.tensor([list(prompt_ids)], device=model.device)
    logits = model(input_ids=ids, past_key_values=cache, use_cache=True).logits[:, -1]
    build.tables[0].copy_(build.log_probabilities(logits))
    build.grow([(layer.keys, layer.values) for layer in cache.layers], 0, 0, len(prompt_ids))
    return build.tables


def node_logps_one_by_one(model: nn.Module, prompt_ids: Sequence[int], words: Sequence[int],
                          going_on: Sequence[int], horizon: int) -> list[Tensor]:
    """Return the same by reading each unfinished answer from its first token on: slow, plain.

    For models whose attention takes no mask from outside; differentiable in the parameters.
    """
    check_length(model, len(prompt_ids) + horizon - 1, "the prompt with a longest answer")
    device = model.device
    chosen = torch.tensor(list(words), device=device)
    paths, tables = torch.tensor([list(prompt_ids)], device=device), []
    for depth in range(horizon):
        rows = max(1, CHUNK_TOKENS // paths.shape[1])
        logits = torch.cat([model(input_ids=chunk, use_cache=False).logits[:, -1]
                            for chunk in paths.split(rows)])
        logps = logits.double().log_softmax(-1)  # NaN where logits are NaN or infinite
        check_not_nan(logps, f"log-probabilities at depth {depth} of the tree")
        tables.append(logps[:, chosen])
        following = chosen[list(going_on)].repeat(len(paths))[:, None]
        paths = torch.cat([paths.repeat_interleave(len(going_on), 0), following], 1)
    return tables


class _Builder:
    """Fills the tables, depth first and a chunk of nodes at a time, so that caches stay small."""

    def __init__(self, model, words: Sequence[int], going_on: Sequence[int], horizon: int):
        """Make empty tables."""
        self.model, self.horizon, self.branch = model, horizon, len(going_on)
        self.words = torch.tensor(list(words), device=model.device)
        self.children = self.words[list(going_on)]
        self.tables = [torch.empty(self.branch**d, len(words), dtype=torch.float64,
                                   device=model.device) for d in range(horizon)]
        vocabulary = model.get_input_embeddings().weight.shape[0]
        tokens = min(CHUNK_TOKENS, CHUNK_LOGITS // vocabulary)
        self.parents = max(1, tokens // max(1, self.branch))  # parents per call

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Return log-probabilities of the chosen words among all tokens, in float64."""
        logps = logits.double().log_softmax(-1)  # NaN where logits are NaN or infinite
        check_not_nan(logps, "log-probabilities in the tree")
        return logps[..., self.words]

    def grow(self, layers: list, depth: int, first: int, length: int) -> None:
        """Fill the tables below some nodes: ``first`` and those after it, with these caches."""
        if depth + 1 == self.horizon or self.branch == 0:
            return
        nodes = len(layers[0][0])
        for start in range(0, nodes, self.parents):
            part = [(k[start:start + self.parents], v[start:start + self.parents])
                    for k, v in layers]
            rows, begin = len(part[0][0]), (first + start) * self.branch
            cache, logits = self.read_children(part, length)
            found = self.log_probabilities(logits).flatten(0, 1)
            self.tables[depth + 1][begin:begin + rows * self.branch] = found
            if depth + 2 < self.horizon:
                children = [self.split(*pair, layer, length)
                            for pair, layer in zip(part, cache.layers, strict=True)]
                self.grow(children, depth + 1, begin, length + 1)

    def read_children(self, layers: list, length: int) -> tuple[Cache, Tensor]:
        """Run all children of some nodes, side by side; return the cache and their logits."""
        rows, branch, model = len(layers[0][0]), self.branch, self.model
        ids = self.children.expand(rows, branch)
        places = torch.full((rows, branch), length, device=ids.device)
        seen = torch.eye(branch, dtype=torch.bool, device=ids.device)
        mask = nn.functional.pad(seen, (length, 0), value=True)[None, None]
        if model.config.get_text_config(decoder=True)._attn_implementation == "eager":
            least = torch.finfo(model.dtype).min
            mask = torch.zeros(mask.shape, dtype=model.dtype, device=ids.device).masked_fill(
                ~mask, least)
        cache = _cache_of(layers)
        output = model(input_ids=ids, attention_mask=mask.expand(rows, -1, -1, -1),
                       position_ids=places, past_key_values=cache, use_cache=True)
        return cache, output.logits

    def split(self, keys: Tensor, values: Tensor, layer: DynamicLayer, length: int
              ) -> tuple[Tensor, Tensor]:
        """Return the caches of the children: their parent's, and behind it their own token."""
        def each(old: Tensor, both: Tensor) -> Tensor:
            own = both[:, :, length:].transpose(1, 2).flatten(0, 1)[:, :, None]
            return torch.cat([old.repeat_interleave(self.branch, 0), own], 2)

        return each(keys, layer.keys), each(values, layer.values)


def _cache_of(layers: list) -> Cache:
    """Return a transformers cache that holds these keys and values; None: nothing yet."""
    filled = []
    for pair in layers:
        layer = DynamicLayer()
        if pair is not None:
            layer.lazy_initialization(*pair)
            layer.keys, layer.values = pair
        filled.append(layer)
    return Cache(layers=filled)
