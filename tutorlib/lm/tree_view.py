"""A solved token tree as plain arrays, for pictures and tables that know no models."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from tutorlib.lm.tree import TokenTree


def tree_arrays(tree: TokenTree, reward: Tensor | Sequence[Tensor], beta: float) -> dict:
    """Return words, reference and optimum (probabilities), Q and V of a tree at a price beta.

    The keys are the arguments of ``tutorlib.viz.TreeTables``; tables are float64 arrays, one per
    depth. Raises InvalidArgumentError for a bad reward or beta.

    >>> from tutorlib.lm import tiny_model, word_tokenizer
    >>> tokenizer = word_tokenizer(["the", "sky", "is", "blue"])
    >>> tree = TokenTree(tiny_model(tokenizer), "the sky", ["is", "blue", "<eos>"], 2, tokenizer)
    >>> found = tree_arrays(tree, tree.rewards_of(lambda text: "blue" in text), beta=0.5)
    >>> found["words"], found["going_on"], [table.shape for table in found["q_values"]]
    (['is', 'blue', '<eos>'], [0, 1], [(1, 3), (2, 3)])
    """
    plan = tree.solve(reward, beta)

    def plain(tables):
        return [table.detach().cpu().numpy() for table in tables]

    return {"words": [tree.text([word]) for word in tree.words], "going_on": list(tree.going_on),
            "policies": {"π_ref": plain(table.exp() for table in tree.reference),
                         "π*": plain(table.exp() for table in plan.policy)},
            "q_values": plain(plan.q_values), "values": plain(plan.values), "root": "(start)"}
