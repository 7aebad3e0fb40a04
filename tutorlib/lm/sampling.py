"""Sample answers from any causal language model: cached, seeded, and no longer than need be.

An answer ends with the first end-of-sequence token, which belongs to it. Finished rows leave the
batch at once, so a step costs what its unfinished answers cost. Equal prompts are read once.

Logits are divided by the temperature, then cut to the top k, then to the top p of what is left. The
log-probabilities returned are those of the model at that temperature before any cut: what
``per_token_logps`` gives for the same tokens, and what ratios of policies need.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm.cache import attention_mask, keep_rows, new_cache, select_rows
from tutorlib.lm.checks import (
    accepts,
    check_count,
    check_length,
    check_not_nan,
    check_number,
    check_prompts,
    eos_ids_of,
    token_ids_of,
)
from tutorlib.lm.scoring import position_ids
from tutorlib.lm.text import decode


@dataclass(frozen=True)
class SamplingSettings:
    """How answers are drawn."""

    max_new_tokens: int = 32  # an answer that reaches it is cut off there
    temperature: float = 1.0  # below 1 sharpens, above 1 flattens
    top_k: int | None = None  # keep only the k likeliest tokens; None: all
    top_p: float | None = None  # keep the fewest likeliest tokens that reach this mass; None: all
    greedy: bool = False  # take the likeliest token; temperature and cuts do not matter
    num_generations: int = 1  # answers per prompt; they stand next to each other

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        check_count("max_new_tokens", self.max_new_tokens)
        check_count("num_generations", self.num_generations)
        check_number("temperature", self.temperature)
        if self.top_k is not None:
            check_count("top_k", self.top_k)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InvalidArgumentError(f"top_p is {self.top_p!r}; expected above 0 and at most 1")


@dataclass(frozen=True, eq=False)
class Samples:
    """Answers, row by row; of several answers to one prompt, next to each other."""

    completion_ids: Int[Tensor, "rows answer"]  # padded on the right
    completion_mask: Int[Tensor, "rows answer"]  # 1 for tokens of the answer, its end included
    per_token_logps: Float[Tensor, "rows answer"]  # at the temperature, before cuts; 0 if masked

    def texts(self, tokenizer, skip_special_tokens: bool = True) -> list[str]:
        """Return the answers as text."""
        return decode(tokenizer, self.completion_ids, self.completion_mask, skip_special_tokens)


def sample(model: nn.Module, prompt_ids: Int[Tensor, "batch prompt"],
           prompt_mask: Shaped[Tensor, "batch prompt"],
           settings: SamplingSettings | None = None, generator: torch.Generator | None = None,
           eos_token_id: int | list[int] | None = None, pad_token_id: int | None = None) -> Samples:
    """Return ``num_generations`` answers to each of the left-padded prompts.

    The end and pad tokens are the model's own unless given. The model is in evaluation mode while
    it answers. Raises InvalidTextError for an empty prompt or one that leaves no room in the
    context; InvalidArgumentError without a generator (unless greedy); InvalidModelError for NaN.

    >>> from tutorlib.lm import encode_prompts, tiny_model, word_tokenizer
    >>> tokenizer = word_tokenizer(["the", "sky", "is", "blue"])
    >>> drawn = sample(tiny_model(tokenizer), *encode_prompts(tokenizer, ["the sky"]),
    ...                SamplingSettings(max_new_tokens=3, num_generations=2),
    ...                torch.Generator().manual_seed(0))
    >>> drawn.completion_ids.shape
    torch.Size([2, 3])
    """
    settings = settings or SamplingSettings()
    if generator is None and not settings.greedy:
        raise InvalidArgumentError(
            "sampling needs a generator: pass torch.Generator().manual_seed(0), or greedy=True"
        )
    mask = check_prompts(model, prompt_ids, prompt_mask)
    check_length(model, int(mask.sum(1).max()) + settings.max_new_tokens,
                 f"the longest prompt with max_new_tokens={settings.max_new_tokens}")
    rows = torch.arange(len(mask), device=mask.device).repeat_interleave(settings.num_generations)
    with evaluating(model), torch.inference_mode():
        run = _Run(model, prompt_ids.masked_fill(~mask, 0)[rows], mask[rows], settings, generator)
        run.answer(eos_ids_of(model, eos_token_id))
    return run.samples(_pad_id(model, pad_token_id))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off for a while: an answer must come from the policy that is scored."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def cut_logits(logits: Float[Tensor, "*batch vocab"], top_k: int | None, top_p: float | None
               ) -> Float[Tensor, "*batch vocab"]:
    """Return logits with all but the top k, then all but the top p, set to -inf.

    Top p keeps each token that less than p of the mass stands before (Holtzman et al. 2020).

    >>> cut_logits(torch.tensor([0.5, 0.3, 0.2]).log(), None, 0.6).exp()
    tensor([0.5000, 0.3000, 0.0000])
    """
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(-1, descending=True)
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        logits = logits.masked_fill((before >= top_p).gather(-1, order.argsort(-1)), -torch.inf)
    return logits


def draw(logits: Float[Tensor, "rows vocab"], generator: torch.Generator) -> Int[Tensor, " rows"]:
    """Return one token per row from softmax(logits), by inverting the running sum.

    One random number a row, where ``torch.multinomial`` takes one a token. Divided by their total,
    the sums are exactly 1 from the last possible token on: none of probability 0 is ever drawn.
    """
    exact = torch.float32 if logits.device.type == "mps" else torch.float64
    sums = logits.softmax(-1, dtype=exact).cumsum(-1)
    level = torch.rand(len(logits), 1, dtype=exact, device=generator.device, generator=generator)
    return torch.searchsorted(sums / sums[:, -1:], level.to(logits.device), right=True)[:, 0]


class _Run:
    """The state of one call: which rows are still being answered, and what was said so far."""

    def __init__(self, model, ids: Tensor, mask: Tensor, settings: SamplingSettings, generator):
        """Make room for answers; drop columns in which every prompt is padding."""
        start = int(mask.any(0).long().argmax())
        self.model, self.settings, self.generator = model, settings, generator
        self.ids, self.mask = ids[:, start:], mask[:, start:]
        self.said = []  # of each step: which answers went on, their tokens and log-probabilities
        self.rows = torch.arange(len(ids), device=ids.device)  # which answer each live row is

    def read_prompts(self) -> Tensor:
        """Fill the cache, reading equal prompts once; return logits of the first tokens."""
        both = torch.cat([self.ids, self.mask.long()], 1)
        unique, index = torch.unique(both, dim=0, return_inverse=True)
        ids, mask = unique.chunk(2, 1)
        logits = self.forward(ids, mask, position_ids(mask))
        if len(unique) < len(both) or not torch.equal(index, self.rows):
            select_rows(self.cache, index)
            logits = logits[index]
        return logits

    def forward(self, ids: Tensor, mask: Tensor | None, places: Tensor) -> Tensor:
        """Return the logits behind the last token of each row, and remember all tokens."""
        inputs = {"position_ids": places, "logits_to_keep": 1}
        given = {name: value for name, value in inputs.items() if accepts(self.model, name)}
        output = self.model(input_ids=ids, attention_mask=mask, past_key_values=self.cache,
                            use_cache=True, **given)
        return output.logits[:, -1].float()

    def answer(self, eos_ids: tuple[int, ...]) -> None:
        """Draw token after token until every answer has ended or reached its limit."""
        self.cache = new_cache(self.model)
        logits = self.read_prompts()
        width, steps = self.mask.shape[1], self.settings.max_new_tokens
        mask = attention_mask(self.model, nn.functional.pad(self.mask, (0, steps), value=True))
        places = self.mask.sum(1, keepdim=True)
        endings = torch.tensor(eos_ids, device=logits.device)
        for step in range(steps):
            token = self.record(logits)
            alive = torch.isin(token, endings, invert=True)
            if step + 1 == steps or not bool(alive.any()):
                break
            if not bool(alive.all()):
                kept = keep_rows(self.cache, alive)
                token, places, self.rows = token[kept], places[kept], self.rows[kept]
                mask = mask if mask is None else mask[kept]
            seen = mask if mask is None else mask[..., :width + step + 1]
            logits = self.forward(token[:, None], seen, places)
            places = places + 1

    def record(self, logits: Tensor) -> Tensor:
        """Draw the next token of each live row; note it and its log-probability."""
        settings = self.settings
        if settings.temperature != 1:
            logits = logits / settings.temperature
        total = logits.logsumexp(-1)
        check_not_nan(total, "logits of the next token")  # one NaN among them is enough
        if settings.greedy:
            token = logits.argmax(-1)
        else:
            token = draw(cut_logits(logits, settings.top_k, settings.top_p), self.generator)
        self.said.append((self.rows, token, logits.gather(1, token[:, None])[:, 0] - total))
        return token

    def samples(self, pad_token_id: int) -> Samples:
        """Return what was said as ordinary tensors, as wide as the longest answer."""
        rows, tokens, logps = (torch.cat(column) for column in zip(*self.said, strict=True))
        steps = [torch.full_like(live, step) for step, (live, *_) in enumerate(self.said)]
        place = (rows, torch.cat(steps))
        shape = (len(self.ids), len(self.said))
        ids = torch.full(shape, pad_token_id, device=rows.device).index_put(place, tokens)
        mask = torch.zeros_like(ids).index_put(place, torch.ones_like(tokens))
        return Samples(ids, mask, torch.zeros(shape, device=rows.device).index_put(place, logps))


def _pad_id(model: nn.Module, pad_token_id: int | None) -> int:
    """Return what fills masked places: the argument, else the model's own, else 0."""
    configs = (getattr(model, "generation_config", None), model.config)
    stated = [pad_token_id, *(getattr(config, "pad_token_id", None) for config in configs)]
    return next((token_ids_of(value)[0] for value in stated if value is not None), 0)
