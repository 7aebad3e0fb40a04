"""A key-value cache whose rows can leave: what makes sampling cheap when answers differ in length.

``transformers`` grows its cache by concatenation, a copy of everything at every token, and keeps a
row until the whole batch is done. Here keys and values live in a buffer with room to grow; a new
token is written in place; and when rows finish, the last rows move into their slots, so that only
as many rows are copied as have finished. Models that keep something else than keys and values of
all tokens (sliding windows, recurrent states) get the ``transformers`` cache.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from tutorlib.lm.checks import accepts

GROWTH = 32  # tokens by which a full buffer grows at least


class SlotLayer(DynamicLayer):
    """One layer's keys and values, [slots, heads, room, size], of which a part is in use."""

    def __init__(self):
        """Begin empty; the first update decides rows, heads and type."""
        super().__init__()
        self.used = 0  # tokens held

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs
               ) -> tuple[Tensor, Tensor]:
        """Write the new tokens behind the old ones; return views of all, without a copy."""
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys, self.values = key_states, value_states
            self.used, self.is_initialized = key_states.shape[2], True
            return key_states, value_states
        start, self.used = self.used, self.used + key_states.shape[2]
        self.make_room(self.used)
        rows = len(key_states)
        self.keys[:rows, :, start:self.used] = key_states
        self.values[:rows, :, start:self.used] = value_states
        return self.keys[:rows, :, :self.used], self.values[:rows, :, :self.used]

    def make_room(self, tokens: int) -> None:
        """Copy to a larger buffer if ``tokens`` do not fit into this one."""
        room = self.keys.shape[2]
        if tokens > room:
            more = max(GROWTH, room // 2, tokens - room)
            self.keys = nn.functional.pad(self.keys, (0, 0, 0, more))
            self.values = nn.functional.pad(self.values, (0, 0, 0, more))

    def select(self, index: Tensor) -> None:
        """Make the rows of the cache those of ``index``, some of them perhaps several times."""
        self.keys, self.values = self.keys[index], self.values[index]

    def move(self, sources: Tensor, targets: Tensor, rows: int) -> None:
        """Copy rows into the slots of others and drop all slots from ``rows`` on."""
        if len(sources):
            self.keys[targets, :, :self.used] = self.keys[sources, :, :self.used]
            self.values[targets, :, :self.used] = self.values[sources, :, :self.used]
        self.keys, self.values = self.keys[:rows], self.values[:rows]

    def get_seq_length(self) -> int:
        """Return how many tokens are held."""
        return self.used

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return (tokens after the next update, offset 0)."""
        return self.used + query_length, 0


def attends_plainly(model: nn.Module) -> bool:
    """Whether every layer keeps keys and values of all tokens and takes a mask made in advance."""
    config = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    implementation = getattr(config, "_attn_implementation", None)
    return (kinds == {"full_attention"} and not window and implementation in ("sdpa", "eager")
            and accepts(model, "position_ids") and not getattr(config, "alibi", False))


def new_cache(model: nn.Module) -> Cache:
    """Return an empty cache for this model: ours where it fits, else that of transformers."""
    config = model.config.get_text_config(decoder=True)
    if attends_plainly(model):
        return Cache(layers=[SlotLayer() for _ in range(config.num_hidden_layers)])
    return DynamicCache(config=config)


def select_rows(cache: Cache, index: Tensor) -> None:
    """Make the rows of the cache those of ``index``."""
    if all(isinstance(layer, SlotLayer) for layer in cache.layers):
        for layer in cache.layers:
            layer.select(index)
    else:
        cache.reorder_cache(index)


def keep_rows(cache: Cache, alive: Tensor) -> Tensor:
    """Drop the rows that are not alive; return which old row each new row is.

    Rows from the end move into free slots, so the order changes and little is copied.
    """
    index = alive.nonzero()[:, 0]
    rows = len(index)
    if not all(isinstance(layer, SlotLayer) for layer in cache.layers):
        cache.reorder_cache(index)
        return index
    holes = (~alive[:rows]).nonzero()[:, 0]
    movers = index[rows - len(holes):]  # the last of the living: all beyond the slots that stay
    for layer in cache.layers:
        layer.move(movers, holes, rows)
    order = torch.arange(rows, device=alive.device)
    order[holes] = movers
    return order


def attention_mask(model: nn.Module, mask: Tensor) -> Tensor | None:
    """Return what one new token may look at, [rows, 1, 1, tokens], made once for all steps.

    It is added to the scores: a mask of booleans would be turned into this one in every layer at
    every step. None where nothing is masked. For other models the mask [rows, tokens] stays as it
    is, and the model makes of it what it needs at every step.
    """
    if not attends_plainly(model):
        return mask.long()
    if bool(mask.all()):
        return None
    additive = torch.zeros(mask.shape, dtype=model.dtype, device=mask.device)
    return additive.masked_fill(~mask, torch.finfo(model.dtype).min)[:, None, None]
