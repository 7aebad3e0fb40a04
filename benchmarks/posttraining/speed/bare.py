"""The loops one writes first: sample, forward, backward, and nothing else."""

from __future__ import annotations

import copy
import random
import sys
from pathlib import Path

import torch
from torch.nn.functional import logsigmoid
from workload import (
    ANSWERS,
    BETA,
    CLIP,
    LIMIT,
    PAIRS,
    PAIRS_PER_STEP,
    PPO_BATCH,
    PPO_PASSES,
    PPO_PROMPTS,
    PROMPTS,
    RATE,
    Work,
    reward,
    scorer,
)

from tutorlib.lm import encode_completions, encode_prompts, position_ids

sys.path.append(str(Path(__file__).parents[2] / "sampling"))
from sampling import bare as sample


def logps_of(model, ids, mask, answers, answer_mask):
    """Return log pi of each answer token, 0 behind the end."""
    both, seen = torch.cat([ids, answers], 1), torch.cat([mask, answer_mask], 1)
    logits = model(input_ids=both, attention_mask=seen, position_ids=position_ids(seen),
                   use_cache=False).logits
    start = ids.shape[1] - 1
    logps = logits[:, start:-1].log_softmax(-1).gather(-1, answers[..., None])[..., 0]
    return logps * answer_mask


def step(optimizer, loss) -> None:
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
    optimizer.step()


def dpo(work: Work, turn) -> None:
    model, reference, optimizer = _setting(work)
    sides = [encode_completions(work.tokenizer, texts) for texts in (work.chosen, work.rejected)]
    order = list(range(PAIRS))
    while True:
        random.shuffle(order)
        for start in range(0, PAIRS, PAIRS_PER_STEP):
            rows = order[start:start + PAIRS_PER_STEP]
            prompts = encode_prompts(work.tokenizer, [work.prompts[i] for i in rows],
                                     add_special_tokens=False)
            answers = [torch.cat([side[k][rows] for side in sides]) for k in (0, 1)]
            width = int(answers[1].sum(1).max())
            batch = [*(x.repeat(2, 1) for x in prompts), *(x[:, :width] for x in answers)]
            with torch.no_grad():
                ref = logps_of(reference, *batch).sum(1)
            chosen, rejected = (logps_of(model, *batch).sum(1) - ref).chunk(2)
            step(optimizer, -logsigmoid(BETA * (chosen - rejected)).mean())
        turn()


def _setting(work: Work):
    """Return the model, a frozen copy, and an optimiser."""
    reference = copy.deepcopy(work.model).requires_grad_(False)
    return work.model, reference, torch.optim.AdamW(work.model.parameters(), lr=RATE)


def _sampled(work: Work, count: int, each: int, seed: int):
    """Return answers to drawn prompts as a batch, and as texts."""
    asked = [p for p in random.sample(work.prompts, count) for _ in range(each)]
    prompts = encode_prompts(work.tokenizer, asked, add_special_tokens=False)
    answers, mask = sample(work.model, *prompts, LIMIT, seed)
    texts = work.tokenizer.batch_decode(answers * mask, skip_special_tokens=True)
    return (*prompts, answers.clone(), mask.clone()), asked, texts


def rloo(work: Work, turn) -> None:
    model, reference, optimizer = _setting(work)
    seed = 0
    while True:
        seed += 1
        batch, asked, texts = _sampled(work, PROMPTS, ANSWERS, seed)
        with torch.no_grad():
            ref = logps_of(reference, *batch).sum(1)
        logps = logps_of(model, *batch).sum(1)
        rewards = torch.tensor(reward(asked, texts)) - BETA * (logps.detach() - ref)
        rewards = rewards.view(PROMPTS, ANSWERS)
        others = (rewards.sum(1, keepdim=True) - rewards) / (ANSWERS - 1)
        ratio = (logps - logps.detach()).exp()
        step(optimizer, -(ratio * (rewards - others).flatten()).mean())
        turn()


def grpo(work: Work, turn) -> None:
    model, reference, optimizer = _setting(work)
    seed = 0
    while True:
        seed += 1
        batch, asked, texts = _sampled(work, PROMPTS, ANSWERS, seed)
        with torch.no_grad():
            ref = logps_of(reference, *batch)
        logps = logps_of(model, *batch)
        rewards = torch.tensor(reward(asked, texts)).view(PROMPTS, ANSWERS)
        spread = rewards.std(1, keepdim=True) + 1e-4
        advantages = ((rewards - rewards.mean(1, keepdim=True)) / spread).view(-1, 1)
        kl = (ref - logps).exp() - (ref - logps) - 1
        objective = (logps - logps.detach()).exp() * advantages - BETA * kl
        mask = batch[3]
        step(optimizer, -((objective * mask).sum(1) / mask.sum(1)).mean())
        turn()


def ppo(work: Work, turn) -> None:
    model, reference, _ = _setting(work)
    critic, judge = scorer(work.model), scorer(work.model)
    optimizer = torch.optim.AdamW([{"params": list(m.parameters())} for m in (model, critic)],
                                  lr=RATE)
    seed = 0
    while True:
        seed += 1
        batch, _, _ = _sampled(work, PPO_PROMPTS, 1, seed)
        mask = batch[3]
        with torch.no_grad():
            old, ref = logps_of(model, *batch), logps_of(reference, *batch)
            values, last = values_of(critic, *batch), mask.sum(1, keepdim=True) - 1
            rewards = -BETA * (old - ref)
            rewards.scatter_add_(1, last, values_of(judge, *batch).gather(1, last))
            advantages, after = torch.zeros_like(values), torch.zeros(len(values))
            for t in reversed(range(values.shape[1])):
                later = values[:, t + 1] if t + 1 < values.shape[1] else 0.0
                after = (rewards[:, t] + later - values[:, t] + 0.95 * after) * mask[:, t]
                advantages[:, t] = after
            returns = advantages + values
        for _ in range(PPO_PASSES):
            for rows in torch.randperm(PPO_PROMPTS).split(PPO_BATCH):
                part, keep = [x[rows] for x in batch], mask[rows]
                ratio = (logps_of(model, *part) - old[rows]).exp()
                better = torch.minimum(ratio * advantages[rows],
                                       ratio.clamp(1 - CLIP, 1 + CLIP) * advantages[rows])
                error = (values_of(critic, *part) - returns[rows]).square()
                step(optimizer, ((0.05 * error - better) * keep).sum() / keep.sum())
        turn()


def values_of(critic, ids, mask, answers, answer_mask):
    """Return what the critic says before each answer token."""
    both, seen = torch.cat([ids, answers], 1), torch.cat([mask, answer_mask], 1)
    hidden = critic.model(input_ids=both, attention_mask=seen, position_ids=position_ids(seen),
                          use_cache=False).last_hidden_state
    return critic.score(hidden[:, ids.shape[1] - 1:-1])[..., 0] * answer_mask
