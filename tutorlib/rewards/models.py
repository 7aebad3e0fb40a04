"""A reward model: a language model's body, and one number read off the last token that counts.

    r(x, y) = w . h_T,     h_T: the last hidden state at the end of "x y <eos>"

The end of sequence is scored too: only there has the model read the whole answer. The last token
is found from the attention mask, so either side may be padded, and a tokenizer whose padding token
is also its end of sequence is no trap. (``transformers`` looks for the padding id instead.)

Left out: quantisation, adapters, several devices. Nothing here changes the model that is passed
in: its body is copied.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError, InvalidTextError, ModelNotFoundError
from tutorlib.lm import Example, encode_examples, evaluating, pad_rows, position_ids
from tutorlib.lm.checks import (
    accepts,
    check_count,
    check_ids,
    check_length,
    check_mask,
    check_not_nan,
)

Pool = Literal["last", "mean", "sum"]
WEIGHTS, SETTINGS = "reward_model.safetensors", "reward_model.json"


def last_token_index(mask: Shaped[Tensor, "batch tokens"]) -> Int[Tensor, " batch"]:
    """Return where the last token that counts stands in each row, padded on whichever side.

    Raises InvalidTextError for a row without a token.

    >>> last_token_index(torch.tensor([[1, 1, 0], [0, 1, 1]])).tolist()
    [1, 2]
    """
    counts = mask != 0
    if not bool(counts.any(1).all()):
        row = int((~counts.any(1)).nonzero()[0])
        raise InvalidTextError(f"row {row} of the mask holds no token; nothing can be scored there")
    places = torch.arange(mask.shape[1], device=mask.device)
    return (counts * places).argmax(1)


class RewardModel(nn.Module):
    """Scores whole answers: the body of a causal language model and a linear head.

    ``model`` gives the body, which is copied; ``tokenizer`` belongs to it. The head is drawn from
    ``seed`` with variance 1 / (hidden size + 1) (Stiennon et al. 2020, appendix B), so that first
    rewards are O(1).
    """

    def __init__(self, model: nn.Module, tokenizer, seed: int = 0):
        """Copy the body and draw the head."""
        super().__init__()
        self.body, self.tokenizer = copy.deepcopy(body_of(model)), tokenizer
        size = self.body.config.get_text_config(decoder=True).hidden_size
        generator = torch.Generator().manual_seed(seed)
        self.head = nn.Linear(size, 1, bias=False, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            drawn = torch.randn(1, size, generator=generator) / (size + 1) ** 0.5
            self.head.weight.copy_(drawn)
        self.register_buffer("mean", torch.zeros(()))  # of raw rewards on reference answers
        self.register_buffer("spread", torch.ones(()))  # their standard deviation
        self.to(next(self.body.parameters()).device)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device

    def hidden(self, input_ids: Int[Tensor, "batch tokens"],
               attention_mask: Shaped[Tensor, "batch tokens"]) -> Float[Tensor, "batch hidden"]:
        """Return the last hidden state at each row's last token, in the head's type.

        Raises InvalidTextError for empty rows, holes in a mask, unknown ids, or too many tokens.
        """
        states = self.states(input_ids, attention_mask)
        last = last_token_index(attention_mask)
        return states[torch.arange(len(states), device=states.device), last]

    def states(self, input_ids: Int[Tensor, "batch tokens"],
               attention_mask: Shaped[Tensor, "batch tokens"]
               ) -> Float[Tensor, "batch tokens hidden"]:
        """Return the last hidden state at every token; errors as ``hidden``."""
        mask = check_mask("input", input_ids, attention_mask)
        last_token_index(mask)  # refuses empty rows
        _check_no_holes(mask)
        check_ids(self.body, "text", input_ids, mask)
        check_length(self.body, int(mask.sum(1).max()), "the longest text")
        inputs = {"position_ids": position_ids(mask), "use_cache": False}
        given = {name: value for name, value in inputs.items() if accepts(self.body, name)}
        states = self.body(input_ids=input_ids.masked_fill(~mask, 0), attention_mask=mask.long(),
                           **given).last_hidden_state
        return states.to(self.head.weight)

    def forward(self, input_ids: Int[Tensor, "batch tokens"],
                attention_mask: Shaped[Tensor, "batch tokens"],
                starts: Int[Tensor, " batch"] | None = None) -> Float[Tensor, " batch"]:
        """Return the reward of each row, (w . h_T - mean) / spread; errors as ``hidden``.

        ``starts``, where the answers begin, does not matter to a last token.
        """
        return (self.head(self.hidden(input_ids, attention_mask))[:, 0] - self.mean) / self.spread

    def encode(self, prompts: Sequence[str], answers: Sequence[str],
               add_special_tokens: bool = False) -> list[Example]:
        """Return token ids of texts, each answer closed by the end of sequence.

        Prompts must be as the model was taught, special words of a chat included
        (``chat_prompt``). Raises InvalidTextError as ``lm.encode_examples``.
        """
        return encode_examples(self.tokenizer, prompts, answers, add_special_tokens)

    @torch.no_grad()
    def score(self, prompts: Sequence[str], answers: Sequence[str], batch_size: int = 128,
              add_special_tokens: bool = False) -> Float[Tensor, " texts"]:
        """Return the reward of each answer to its prompt, without dropout, on the CPU.

        Texts of like length are scored together. Raises InvalidTextError as ``encode`` and
        ``hidden``; InvalidModelError for NaN.
        """
        return self.score_tokens(self.encode(prompts, answers, add_special_tokens), batch_size)

    @torch.no_grad()
    def score_tokens(self, examples: Sequence[Example], batch_size: int = 128
                     ) -> Float[Tensor, " texts"]:
        """Return the reward of each encoded answer; see ``score``."""
        return score_in_batches(self, self.forward, examples, batch_size)

    @torch.no_grad()
    def embed(self, prompts: Sequence[str], answers: Sequence[str], batch_size: int = 128,
              pool: Pool = "last", add_special_tokens: bool = False
              ) -> Float[Tensor, "texts hidden"]:
        """Return one fixed vector for each answer, for cheap reward models.

        "last" is what the head looks at. A model that was trained to predict has little reason to
        remember the answer at its end; the "mean" or the "sum" of the hidden states at the
        answer's tokens then says more. A reward linear in the sum is a sum of token rewards.
        """
        examples = self.encode(prompts, answers, add_special_tokens)
        if pool == "last":
            return score_in_batches(self, lambda ids, mask, _: self.hidden(ids, mask), examples,
                                    batch_size)
        if pool not in ("mean", "sum"):
            raise InvalidArgumentError(f"pool is {pool!r}; expected 'last', 'mean' or 'sum'")
        found = self.answer_states(examples, batch_size)
        return torch.stack([s.mean(0) if pool == "mean" else s.sum(0) for s in found])

    @torch.no_grad()
    def answer_states(self, examples: Sequence[Example], batch_size: int = 128) -> list[Tensor]:
        """Return the hidden states at each answer's tokens, [answer tokens, hidden], one by one."""
        longest = max((len(e.prompt_ids + e.completion_ids) for e in examples), default=0)

        def padded(ids: Tensor, mask: Tensor, _starts: Tensor) -> Tensor:
            return nn.functional.pad(self.states(ids, mask), (0, 0, 0, longest - ids.shape[1]))

        whole = score_in_batches(self, padded, examples, batch_size)
        return [row[len(e.prompt_ids):len(e.prompt_ids) + len(e.completion_ids)]
                for row, e in zip(whole, examples, strict=True)]

    @torch.no_grad()
    def set_scale(self, rewards: Float[Tensor, " texts"]) -> None:
        """Let rewards have mean 0 and deviation 1 on the answers that these were scored of.

        Comparisons fix neither a constant nor, where labels never contradict, the scale; whoever
        optimises a reward or averages several wants both settled (Gao et al. 2023, section 2).
        """
        rewards = rewards.to(self.device) * self.spread + self.mean
        if len(rewards) < 2 or not float(rewards.std()) > 0:
            raise InvalidArgumentError(
                f"{len(rewards)} rewards, all alike, have no scale; score answers that differ")
        self.mean.copy_(rewards.mean())
        self.spread.copy_(rewards.std())

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration and tokenizer to a folder."""
        from safetensors.torch import save_model

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.body.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        save_model(self, str(folder / WEIGHTS))
        kept = {"body": type(self.body).__name__, "format": 1}
        (folder / SETTINGS).write_text(json.dumps(kept) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> RewardModel:
        """Read what ``save`` wrote, in evaluation mode.

        Raises ModelNotFoundError for a folder that holds no reward model, or not a whole one.
        """
        from safetensors.torch import load_model
        from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

        folder = Path(folder)
        if not (folder / WEIGHTS).is_file():
            raise ModelNotFoundError(f"the folder {str(folder)!r} holds no {WEIGHTS}; give one "
                                     "that RewardModel.save has written")
        try:
            with torch.random.fork_rng(devices=[]):  # transformers draws weights, to be replaced
                body = AutoModel.from_config(AutoConfig.from_pretrained(folder))
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
            model = cls(body, tokenizer)
            load_model(model, str(folder / WEIGHTS))
        except Exception as error:  # damaged files fail in as many ways as there are libraries
            raise ModelNotFoundError(
                f"the reward model in {str(folder)!r} cannot be read; save it again. "
                f"{type(error).__name__}: {error}") from error
        return model.to(device).eval()


def body_of(model: nn.Module) -> nn.Module:
    """Return a causal language model without the head that predicts tokens.

    Raises InvalidArgumentError for what is no model of ``transformers``.
    """
    body = getattr(model, "base_model", None)
    if body is None or not hasattr(body, "config"):
        raise InvalidArgumentError(
            f"{type(model).__name__} is no language model of transformers; load one with "
            "tutorlib.lm.load or tutorlib.tinytalk.load")
    return body


def _check_no_holes(mask: Tensor) -> None:
    """Raise InvalidTextError unless each row is one unbroken run of tokens."""
    starts = mask[:, :1].long().sum(1) + (mask[:, 1:] & ~mask[:, :-1]).sum(1)
    if bool((starts > 1).any()):
        row = int((starts > 1).nonzero()[0])
        raise InvalidTextError(f"the mask of row {row} has a hole between tokens; pad on one side "
                               "only: write prompt and answer behind each other first")


def score_in_batches(model: nn.Module, measure, examples: Sequence[Example], batch_size: int
                     ) -> Tensor:
    """Return ``measure(ids, mask, starts)`` of each text, ``batch_size`` of like length at a time.

    ``starts`` says where the answers begin.
    """
    check_count("batch_size", batch_size)
    if not examples:
        raise InvalidTextError("there are no texts to score; give at least one")
    rows = [e.prompt_ids + e.completion_ids for e in examples]
    order = torch.tensor([len(row) for row in rows]).argsort(stable=True)
    pieces = []
    with evaluating(model):
        for part in order.split(batch_size):
            ids, mask = pad_rows([rows[i] for i in part.tolist()], "right", 0, model.device)
            starts = torch.tensor([len(examples[i].prompt_ids) for i in part.tolist()])
            pieces.append(measure(ids, mask, starts.to(model.device)).cpu())
    found = torch.cat(pieces)[order.argsort()]
    check_not_nan(found, "rewards")
    return found
