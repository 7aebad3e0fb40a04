"""Small texts, logits and trees that the graders of unit 09 draw, and the one done by hand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SKY = ("The", "color", "of", "the", "sky", "is", "blue", "green", "<eos>")  # the seed example
EOS = 1

# The smallest tree: two words, "blue" and the end, and at most two of them.
WORDS = ("blue", "<eos>")
SMALLEST_REFERENCE = ([[0.6, 0.4]], [[0.5, 0.5]])  # at the start; after "blue"
SMALLEST_REWARD = ([[0.0, 0.0]], [[0.0, 1.0]])  # only "blue <eos>" is paid


def numbers(values) -> Tensor:
    """Return nested lists as float64."""
    return torch.tensor(values, dtype=torch.float64)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw standard normal numbers, float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def whole(generator: torch.Generator, low: int, high: int, count: int) -> list[int]:
    """Draw ``count`` whole numbers from ``low`` to ``high`` - 1."""
    return torch.randint(low, high, (count,), generator=generator).tolist()


def smallest_tree() -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return (log pi_ref, reward) of the tree that is done by hand, one table per depth."""
    return (tuple(numbers(table).log() for table in SMALLEST_REFERENCE),
            tuple(numbers(table) for table in SMALLEST_REWARD))


def draw_tree(generator: torch.Generator, words: int, going_on: list[int], horizon: int,
              every_token: bool = False) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Draw (log pi_ref, reward) of a tree; rewards come at the end, or with every token too."""
    reference, reward = [], []
    for depth in range(horizon):
        nodes = len(going_on) ** depth
        reference.append(torch.log_softmax(1.2 * normal(generator, nodes, words), -1))
        paid = normal(generator, nodes, words)
        if not every_token and depth + 1 < horizon:
            paid[:, going_on] = 0.0  # the answer goes on: nothing yet
        reward.append(paid)
    return tuple(reference), tuple(reward)


def leaves_below(reference, reward, going_on, depth: int, node: int):
    """Yield (first word, log pi_ref, return) of each answer that goes on from a node."""
    for word in range(reference[depth].shape[1]):
        chance, paid = float(reference[depth][node, word]), float(reward[depth][node, word])
        if depth + 1 == len(reference) or word not in going_on:
            yield word, chance, paid
            continue
        child = node * len(going_on) + going_on.index(word)
        for _, more, later in leaves_below(reference, reward, going_on, depth + 1, child):
            yield word, chance + more, paid + later


def log_sum(exponents: list[float]) -> float:
    """Return the logarithm of a sum of exponentials."""
    top = max(exponents)
    return top + math.log(math.fsum(math.exp(x - top) for x in exponents))
