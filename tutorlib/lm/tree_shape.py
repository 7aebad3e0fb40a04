"""The shape of a token tree: which answers it holds, and how tables and leaves relate.

Tables hold a number for each (node, word), one table per depth; nodes are unfinished answers in
the order that ``tutorlib.lm.tree_build`` describes. Leaves are finished answers, ordered by length,
then by node, then by word.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.lm.tree_build import MAX_LEAVES, check_size, tree_size

Tables = tuple[Tensor, ...]  # one per depth, [nodes, words]


class TreeShape:
    """All answers over some words, of which ``endings`` end an answer, up to a horizon.

    Raises InvalidArgumentError for more than ``max_leaves`` leaves, before anything is made.

    >>> shape = TreeShape((7, 8, 1), (1,), horizon=2)
    >>> shape.completion_ids.tolist()
    [[1, 0], [7, 7], [7, 8], [7, 1], [8, 7], [8, 8], [8, 1]]
    """

    def __init__(self, words: Sequence[int], endings: Sequence[int], horizon: int,
                 max_leaves: int = MAX_LEAVES, device: torch.device | str = "cpu"):
        """Check the size and list the answers."""
        self.words, self.horizon, self.device = tuple(words), horizon, torch.device(device)
        self.ending = [i for i, word in enumerate(self.words) if word in endings]
        self.going_on = [i for i, word in enumerate(self.words) if word not in endings]
        if not self.going_on or len(set(self.words)) < len(self.words) or len(self.ending) > 1:
            raise InvalidArgumentError(
                f"the vocabulary {list(self.words)} must hold each word once, at least one of them "
                "not an end of sequence, and at most one that is"
            )
        self.size = tree_size(len(self.words), horizon, bool(self.ending))
        check_size(self.size, bool(self.ending), max_leaves)
        self._columns = torch.tensor(self.going_on, device=self.device)
        self.completion_ids, self.completion_mask = self._list_answers()

    @property
    def n_leaves(self) -> int:
        """Number of leaves: answers that ended, and answers cut off at the horizon."""
        return self.size.leaves

    def leaf_columns(self, depth: int) -> list[int]:
        """Return the columns after which an answer is over: at the last depth, all."""
        return list(range(len(self.words))) if depth + 1 == self.horizon else self.ending

    def _list_answers(self) -> tuple[Tensor, Tensor]:
        """Return ids and mask of all leaves, [leaves, horizon], padded on the right."""
        words = torch.tensor(self.words, device=self.device)
        paths = words.new_zeros(1, 0)
        ids, mask = [], []
        for depth in range(self.horizon):
            last = words[self.leaf_columns(depth)]
            leaves = torch.cat([paths.repeat_interleave(len(last), 0),
                                last.repeat(len(paths))[:, None]], 1)
            rest = self.horizon - depth - 1
            ids.append(torch.nn.functional.pad(leaves, (0, rest)))
            mask.append(torch.nn.functional.pad(torch.ones_like(leaves), (0, rest)))
            following = words[self.going_on].repeat(len(paths))[:, None]
            if rest:
                paths = torch.cat([paths.repeat_interleave(self.size.branch, 0), following], 1)
        return torch.cat(ids), torch.cat(mask)

    def index_of(self, ids: Sequence[int]) -> int:
        """Return which leaf an answer is; raise InvalidTextError if it is none."""
        found = []
        if len(ids) <= self.horizon:
            wanted = torch.tensor([*ids, *[-1] * (self.horizon - len(ids))], device=self.device)
            have = self.completion_ids.masked_fill(self.completion_mask == 0, -1)
            found = (have == wanted).all(1).nonzero()
        if not len(found):
            raise InvalidTextError(
                f"{list(ids)} is no leaf of this tree; a leaf ends with the end of sequence or has "
                f"exactly {self.horizon} tokens, all from the tree's vocabulary {self.words}"
            )
        return int(found[0, 0])

    def check_tables(self, tables: Sequence[Tensor], name: str) -> Tables:
        """Return the tables if they have this tree's shape; raise InvalidArgumentError if not."""
        wanted = [(self.size.branch**d, len(self.words)) for d in range(self.horizon)]
        if not all(isinstance(table, Tensor) for table in tables):
            raise InvalidArgumentError(
                f"{name} holds numbers where tables are expected; give one tensor per depth, "
                f"(nodes, words), or for a reward a tensor with one number per leaf")
        found = [tuple(table.shape) for table in tables]
        if found != wanted:
            raise InvalidArgumentError(
                f"{name} has tables of shapes {found}; expected {wanted}, (nodes, words) per depth"
            )
        if any(bool(torch.isnan(table).any()) for table in tables):
            raise InvalidArgumentError(f"{name} holds NaN; expected numbers")
        return tuple(tables)

    def path_sums(self, tables: Sequence[Tensor]) -> Float[Tensor, " leaves"]:
        """Return, for each leaf, the sum of the tables' entries on its path from the root."""
        above, leaves = tables[0].new_zeros(1), []
        for depth, table in enumerate(tables):
            total = above[:, None] + table
            leaves.append(total[:, self.leaf_columns(depth)].flatten())
            above = total[:, self.going_on].flatten()
        return torch.cat(leaves)

    def along(self, tables: Sequence[Tensor]) -> Shaped[Tensor, "leaves horizon"]:
        """Return, for each leaf, the tables' entries on its path, token by token; 0 behind its end.

        >>> TreeShape((7, 1), (1,), 2).along((torch.tensor([[1, 2]]), torch.tensor([[3, 4]])))
        tensor([[2, 0],
                [1, 3],
                [1, 4]])
        """
        above, leaves = tables[0].new_zeros(1, 0), []
        for depth, table in enumerate(tables):
            paths = torch.cat([above.repeat_interleave(len(self.words), 0),
                               table.reshape(-1, 1)], 1).view(*table.shape, depth + 1)
            ended = paths[:, self.leaf_columns(depth)].flatten(0, 1)
            leaves.append(torch.nn.functional.pad(ended, (0, self.horizon - depth - 1)))
            above = paths[:, self.going_on].flatten(0, 1)
        return torch.cat(leaves)

    def edges(self, reward: Tensor | Sequence[Tensor]) -> Tables:
        """Return a reward as tables: that of a leaf is paid with its last token."""
        if not isinstance(reward, Tensor):
            return self.check_tables(reward, "reward")
        wanted = f"one finite number for each of the {self.n_leaves} leaves, or one table per depth"
        if tuple(reward.shape) != (self.n_leaves,):
            raise InvalidArgumentError(
                f"reward has shape {tuple(reward.shape)}; expected {wanted}")
        if not bool(torch.isfinite(reward).all()):
            worst = int((~torch.isfinite(reward)).nonzero()[0])
            raise InvalidArgumentError(
                f"reward holds {float(reward[worst])} at leaf {worst}; expected {wanted}")
        tables, start = [], 0
        for depth in range(self.horizon):
            nodes, columns = self.size.branch**depth, self.leaf_columns(depth)
            part = reward[start:start + nodes * len(columns)].double().view(nodes, len(columns))
            index = torch.tensor(columns, dtype=torch.long, device=self.device)
            tables.append(part.new_zeros(nodes, len(self.words)).index_copy(1, index, part))
            start += part.numel()
        return tuple(tables)

    def with_future(self, table: Tensor, future: Tensor | None) -> Tensor:
        """Return table[node, word] plus the value of the node that a word leads to, if any."""
        if future is None:
            return table
        return table.index_add(1, self._columns, future.view(len(table), -1))

    def node_paths(self) -> list[tuple[int, ...]]:
        """Return the token ids of every node, depth by depth."""
        level, paths = [()], []
        words = [self.words[i] for i in self.going_on]
        for _ in range(self.horizon):
            paths += level
            level = [(*path, word) for path in level for word in words]
        return paths
