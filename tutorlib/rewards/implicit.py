"""A reward read off a language model's predictions, not off its last state.

    r(x, y) = beta sum_t log pi(y_t | x, y_<t) / pi_ref(y_t | x, y_<t)

with pi_ref the model before training. It is the log density ratio of adversarial IRL (unit 07) and
the implicit reward of DPO (Rafailov et al. 2023, section 4): trained on comparisons by
``train_reward_model``, with the Bradley-Terry loss, this *is* DPO, used to judge and not to write.

Why it is here: a model that learned to predict knows what is true by what it would have said, and
its last state has little reason to remember whether the answer agreed. From a few thousand
comparisons a head on that state learns manners, and this reward learns truth as well.

Left out: several devices; a reference other than the model that training starts from.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from tutorlib.errors import InvalidTextError
from tutorlib.lm import Example, SFTBatch, encode_examples, next_token_logps
from tutorlib.lm.checks import check_number
from tutorlib.rewards.models import body_of, score_in_batches


class ImplicitReward(nn.Module):
    """Scores whole answers by how much likelier they became: beta log pi / pi_ref.

    ``model`` is a causal language model, copied twice: once to be trained, once as reference.
    Before training every reward is 0. ``beta`` is the reward in nats of one nat of log-ratio.

    >>> from tutorlib import lm
    >>> words = lm.word_tokenizer(["sky", "blue"])
    >>> reward = ImplicitReward(lm.tiny_model(words), words)
    >>> reward.score(["sky"], ["blue"]).tolist()
    [0.0]
    """

    def __init__(self, model: nn.Module, tokenizer, beta: float = 1.0):
        """Copy the model twice; the reference is frozen."""
        super().__init__()
        body_of(model)  # refuses what is no language model
        check_number("beta", beta)
        self.policy, self.tokenizer, self.beta = copy.deepcopy(model), tokenizer, beta
        self.reference = copy.deepcopy(model).requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.policy.parameters()).device

    def token_rewards(self, input_ids: Int[Tensor, "batch tokens"],
                      attention_mask: Shaped[Tensor, "batch tokens"],
                      starts: Int[Tensor, " batch"] | None = None
                      ) -> Float[Tensor, "batch tokens_minus_one"]:
        """Return what each token but the first adds to the reward; 0 before ``starts``."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        counts = attention_mask != 0
        if starts is not None:
            counts = counts & (places >= starts[:, None])
        batch = SFTBatch(input_ids, attention_mask.long(), counts.long())
        with torch.no_grad():
            before = next_token_logps(self.reference, batch)
        gained = next_token_logps(self.policy, batch) - before
        return self.beta * gained.masked_fill(~counts[:, 1:], 0.0)

    def forward(self, input_ids: Int[Tensor, "batch tokens"],
                attention_mask: Shaped[Tensor, "batch tokens"],
                starts: Int[Tensor, " batch"] | None = None) -> Float[Tensor, " batch"]:
        """Return the reward of each row, padded on the right; the answer begins at ``starts``.

        Without ``starts`` the prompt is counted too: a constant per prompt, which no comparison
        sees. Raises InvalidTextError as ``lm.next_token_logps``, and for padding on the left.
        """
        if bool((attention_mask[:, 0] == 0).any()):
            raise InvalidTextError("a row is padded on the left; pad on the right")
        return self.token_rewards(input_ids, attention_mask, starts).sum(1)

    def encode(self, prompts: Sequence[str], answers: Sequence[str],
               add_special_tokens: bool = False) -> list[Example]:
        """Return token ids of texts, as ``RewardModel.encode``."""
        return encode_examples(self.tokenizer, prompts, answers, add_special_tokens)

    @torch.no_grad()
    def score(self, prompts: Sequence[str], answers: Sequence[str], batch_size: int = 128,
              add_special_tokens: bool = False) -> Float[Tensor, " texts"]:
        """Return the reward of each answer to its prompt, as ``RewardModel.score``."""
        return self.score_tokens(self.encode(prompts, answers, add_special_tokens), batch_size)

    @torch.no_grad()
    def score_tokens(self, examples: Sequence[Example], batch_size: int = 128
                     ) -> Float[Tensor, " texts"]:
        """Return the reward of each encoded answer; see ``score``."""
        return score_in_batches(self, self.forward, examples, batch_size)
