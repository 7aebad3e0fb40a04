"""PPO for a language model, token by token, with a value head: losses and one readable loop.

Tokens are actions; the KL to the reference is paid token by token inside the reward, and the
answer's reward with its last token (Ziegler et al. 2019; Ouyang et al. 2022). A critic predicts
what is still to come from each state, advantages are GAE's, and each batch of answers serves
several passes of clipped steps.

Departures: the critic is a copy of the policy's body with a linear head that starts at 0, so the
two share no weights. Answers that were cut off are paid as they stand and not bootstrapped.
Dropout is off. Advantages are normalised over the tokens of a batch, before it is cut into
minibatches. Early stopping by KL is Spinning Up's. TRL had its PPO until 1.12 (value coefficient
0.1, lambda 0.95, clip 0.2, four passes).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm import SamplingSettings, evaluating, sequence_values
from tutorlib.lm.checks import accepts, check_completions, check_count, check_number, check_prompts
from tutorlib.lm.scoring import AGGREGATES, Aggregate, align_rows, answer_values
from tutorlib.posttraining.advantages import explained_variance, normalise_masked, token_gae
from tutorlib.posttraining.guard import guarded
from tutorlib.posttraining.kl import adaptive_beta, kl_estimate, token_rewards
from tutorlib.posttraining.policy_gradient import Clip, ratio_loss
from tutorlib.posttraining.preferences import RewardFunction, reference_for
from tutorlib.posttraining.rollouts import Rollouts, collect, logps_and_entropy
from tutorlib.posttraining.steps import draw_prompts, take_step


class ValueModel(nn.Module):
    """A critic: the body of a causal language model, copied, with one number per token on top.

    >>> from tutorlib.lm import tiny_model, word_tokenizer
    >>> critic = ValueModel(tiny_model(word_tokenizer(["sky"])))
    >>> one = torch.ones(1, 2).long()
    >>> critic(one, one, one, one).shape
    torch.Size([1, 2])
    """

    def __init__(self, model: nn.Module):
        """Copy the body; begin with the value 0 everywhere."""
        super().__init__()
        self.body = copy.deepcopy(model.base_model)
        size = model.get_input_embeddings().weight.shape[1]
        parameter = next(model.parameters())
        self.head = nn.Linear(size, 1, device=parameter.device, dtype=parameter.dtype)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def get_input_embeddings(self) -> nn.Module:
        """Return the embeddings of the body, as a transformers model does."""
        return self.body.get_input_embeddings()

    def forward(self, prompt_ids: Int[Tensor, "rows prompt"],
                prompt_mask: Shaped[Tensor, "rows prompt"],
                completion_ids: Int[Tensor, "rows answer"],
                completion_mask: Shaped[Tensor, "rows answer"]) -> Float[Tensor, "rows answer"]:
        """Return V of the state before each answer token, which never sees that token; 0 if masked.

        Raises InvalidTextError for the same mistakes as ``per_token_logps``.
        """
        rows = (prompt_ids, check_prompts(self, prompt_ids, prompt_mask), completion_ids,
                check_completions(self, prompt_ids, completion_ids, completion_mask))
        ids, begins = align_rows(*rows)
        first = int(begins.min())
        given = {"use_cache": False} if accepts(self.body, "use_cache") else {}
        hidden = self.body(input_ids=ids, **given).last_hidden_state[:, first - 1:-1]
        return answer_values(self.head(hidden)[..., 0], begins - first, rows[-1])


def value_loss(values: Float[Tensor, "rows answer"], old_values: Float[Tensor, "rows answer"],
               returns: Float[Tensor, "rows answer"],
               completion_mask: Shaped[Tensor, "rows answer"],
               clip_value: float | None = None) -> Float[Tensor, ""]:
    """Return half the squared error per token; with ``clip_value``, the worse of two.

    The other is that of a value held within ``clip_value`` of the old one, in units of reward
    (OpenAI's PPO and TRL's have 0.2; that it helps is doubtful: Andrychowicz et al. 2021).

    >>> value_loss(torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[1.0]]),
    ...            torch.ones(1, 1), clip_value=0.2)
    tensor(0.3200)
    """
    errors = (values - returns.detach()).square()
    if clip_value is not None:
        check_number("clip_value", clip_value)
        moved = (values - old_values.detach()).clamp(-clip_value, clip_value)
        errors = torch.maximum(errors, (old_values.detach() + moved - returns.detach()).square())
    return 0.5 * sequence_values(errors, completion_mask, "token_mean").mean()


@dataclass(frozen=True)
class TokenPPOSettings:
    """How a model learns by PPO; the defaults suit models of a few million parameters."""

    steps: int = 100  # batches of answers
    prompts_per_step: int = 32  # drawn without repetition while there are enough
    sampling: SamplingSettings = field(default_factory=SamplingSettings)  # of the answers
    beta: float = 0.05  # price of a nat of KL to the reference, paid token by token; 0: none
    kl_target: float | None = None  # steer beta towards this KL per answer, in nats; None: fixed
    kl_limit: float | None = 100.0  # a KL per answer beyond it, in nats, is an error; None: never
    discount: float = 1.0  # of rewards a token later
    gae_lambda: float = 0.95  # 0: one-step advantages, 1: whole returns
    normalise: bool = True  # advantages to mean 0 and std 1 over the tokens of a batch
    passes: int = 4  # over each batch of answers
    minibatch_size: int = 16  # answers per gradient step
    clip: Clip | None = 0.2  # of the token's ratio: one number, or (low, high)
    clip_value: float | None = None  # how far values may move per batch, in units of reward
    value_coef: float = 0.5  # weight of the critic's loss
    entropy_coef: float = 0.0  # weight of the policy's entropy, in nats per token
    max_kl: float | None = None  # stop a batch's passes at this KL(old || new) per token, in nats
    aggregate: Aggregate = "token_mean"  # of the policy's loss
    constant: float | None = None  # the length that aggregate="constant" divides by
    learning_rate: float = 1e-4  # of AdamW, of the policy
    critic_learning_rate: float = 1e-3  # of the critic
    schedule: Literal["constant", "linear"] = "constant"  # of both; linear: down to 0
    max_grad_norm: float | None = 1.0  # longer gradients (of both together) are cut; None: never
    add_special_tokens: bool = True  # False for prompts that spell them out, as chat templates do

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        for name in ("steps", "prompts_per_step", "passes", "minibatch_size"):
            check_count(name, getattr(self, name))
        check_number("learning_rate", self.learning_rate)
        check_number("critic_learning_rate", self.critic_learning_rate)
        for name in ("beta", "value_coef", "entropy_coef"):
            if not 0 <= getattr(self, name) < torch.inf:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)!r}; expected 0 or more")
        if self.kl_target is not None and not (self.beta > 0 and self.kl_target > 0):
            raise InvalidArgumentError("kl_target steers beta: both must be above 0")
        if self.aggregate not in AGGREGATES:
            raise InvalidArgumentError(
                f"aggregate is {self.aggregate!r}; expected one of {AGGREGATES}")
        for name in ("max_kl", "kl_limit"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name))
        if self.sampling.greedy:
            raise InvalidArgumentError("greedy answers explore nothing; expected greedy=False")


@dataclass(frozen=True, eq=False)
class Experience:
    """What a batch of answers says about its tokens, as plain numbers."""

    advantages: Float[Tensor, "rows answer"]  # normalised if the settings say so
    returns: Float[Tensor, "rows answer"]  # what the critic should have said
    old_values: Float[Tensor, "rows answer"]  # what it said


def train_token_ppo(model: nn.Module, tokenizer, prompts: Sequence[str], reward: RewardFunction,
                    settings: TokenPPOSettings, generator: torch.Generator,
                    reference: nn.Module | None = None, critic: ValueModel | None = None,
                    report: Callable[[dict], None] | None = None) -> list[dict]:
    """Train ``model`` in place to earn ``reward(prompts, answers)``; return a record per step.

    ``reference`` is the model as it is now, and ``critic`` a new one, unless given. A record holds
    step and beta; of the answers: reward, reward_std, kl, length, ended (see ``Rollouts``) and
    explained_variance of the critic; and means over the gradient steps taken, ``updates`` of them:
    loss, policy_loss, value_loss, entropy, approx_kl (k3 of old to new policy per token),
    clip_fraction, grad_norm. Raises TrainingDivergedError, with model and critic back at their last
    good weights; see ``guarded``.

    >>> from tutorlib.lm import tiny_model, word_tokenizer
    >>> tokenizer = word_tokenizer(["sky", "blue", "red"])
    >>> history = train_token_ppo(
    ...     tiny_model(tokenizer), tokenizer, ["sky"],
    ...     lambda prompts, answers: [answer.count("blue") for answer in answers],
    ...     TokenPPOSettings(steps=2, prompts_per_step=8, minibatch_size=4, passes=2,
    ...                      sampling=SamplingSettings(3)), torch.Generator().manual_seed(0))
    >>> [record["updates"] for record in history]
    [4, 4]
    """
    reference, critic = reference_for(model, reference), critic or ValueModel(model)
    optimizer = torch.optim.AdamW([
        {"params": list(model.parameters()), "lr": settings.learning_rate},
        {"params": list(critic.parameters()), "lr": settings.critic_learning_rate}],
        weight_decay=0.0)
    beta, history = settings.beta, []
    guard = guarded([model, critic], settings.kl_limit, history)
    with evaluating(model), evaluating(critic), guard as check:  # no dropout
        for step in range(settings.steps):
            asked = draw_prompts(prompts, settings.prompts_per_step, generator)
            rollouts = collect(model, reference, tokenizer, asked, reward, settings.sampling,
                               generator, settings.add_special_tokens)
            measures = rollouts.measures()
            check(measures["kl"])
            experience = make_experience(critic, rollouts, beta, settings)
            share = 1 - step / settings.steps if settings.schedule == "linear" else 1.0
            record = {"step": step, "beta": beta, **measures,
                      "explained_variance": explained_variance(
                          experience.old_values, experience.returns, rollouts.completion_mask),
                      **_update(model, critic, optimizer, rollouts, experience, settings, share,
                                generator)}
            if settings.kl_target is not None:
                beta = adaptive_beta(beta, record["kl"], settings.kl_target)
            history.append(record)
            if report is not None:
                report(record)
    return history


@torch.no_grad()
def make_experience(critic: ValueModel, rollouts: Rollouts, beta: float,
                    settings: TokenPPOSettings) -> Experience:
    """Return advantages and value targets of a batch of answers."""
    mask = rollouts.completion_mask
    kl = kl_estimate(rollouts.old_per_token_logps, rollouts.ref_per_token_logps, mask, "k1")
    rewards = token_rewards(rollouts.rewards, kl, mask, beta)
    values = critic(*rollouts.tensors()).to(rewards.dtype)
    advantages = token_gae(rewards, values, mask, settings.discount, settings.gae_lambda)
    returns = advantages + values
    if settings.normalise:
        advantages = normalise_masked(advantages, mask)
    return Experience(advantages, returns, values)


def ppo_loss(model: nn.Module, critic: ValueModel, rollouts: Rollouts, experience: Experience,
             settings: TokenPPOSettings) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Return policy loss + value_coef value loss - entropy_coef entropy, and what to record.

    (Schulman et al. 2017, eq. 9.) All are means over tokens, unless ``aggregate`` says otherwise
    of the policy's.
    """
    mask = rollouts.completion_mask
    logps, entropies = logps_and_entropy(model, rollouts, settings.sampling.temperature,
                                         entropy_gradient=settings.entropy_coef > 0)
    policy, clipped = ratio_loss(logps, rollouts.old_per_token_logps, mask, experience.advantages,
                                 settings.clip, "token", settings.aggregate, settings.constant)
    value = value_loss(critic(*rollouts.tensors()), experience.old_values, experience.returns, mask,
                       settings.clip_value)
    entropy = entropies.sum() / mask.sum()
    loss = policy + settings.value_coef * value - settings.entropy_coef * entropy
    moved = kl_estimate(rollouts.old_per_token_logps, logps.detach(), mask, "k3")
    return loss, {"loss": loss.item(), "policy_loss": policy.item(), "value_loss": value.item(),
                  "entropy": entropy.item(), "approx_kl": (moved.sum() / mask.sum()).item(),
                  "clip_fraction": clipped}


def _update(model, critic, optimizer, rollouts: Rollouts, experience: Experience,
            settings: TokenPPOSettings, share: float, generator) -> dict[str, float]:
    """Take the gradient steps of one batch, until its KL limit; return the mean records."""
    records = []
    for rows in _minibatches(len(rollouts.answers), settings, generator):
        part = Experience(*(getattr(experience, name)[rows]
                            for name in experience.__dataclass_fields__))
        loss, record = ppo_loss(model, critic, rollouts[rows], part, settings)
        if settings.max_kl is not None and records and record["approx_kl"] > settings.max_kl:
            break
        norm = take_step(optimizer, loss, share, settings.max_grad_norm)
        records.append(record | {"grad_norm": norm})
    means = {name: sum(r[name] for r in records) / len(records) for name in records[0]}
    return means | {"updates": len(records)}


def _minibatches(count: int, settings: TokenPPOSettings, generator) -> Iterator[list[int]]:
    """Yield indices of answers: every answer once in each pass, in a new order."""
    for _ in range(settings.passes):
        order = torch.randperm(count, generator=generator, device=generator.device)
        yield from (rows.tolist() for rows in order.split(settings.minibatch_size))
