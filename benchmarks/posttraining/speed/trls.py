"""TRL's trainers on the same work; ``turn`` is called at the end of each step."""

from __future__ import annotations

import copy
import tempfile

from transformers import LlamaForCausalLM, TrainerCallback
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

COMMON = {"bf16": False, "gradient_checkpointing": False, "use_cpu": True, "report_to": "none",
          "save_strategy": "no", "disable_tqdm": True, "logging_strategy": "no",
          "learning_rate": RATE, "lr_scheduler_type": "constant", "max_steps": 10**6}


class Turns(TrainerCallback):
    """Calls ``turn`` after every ``steps`` steps."""

    def __init__(self, turn, steps: int):
        self.turn, self.steps = turn, steps

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.steps == 0:
            self.turn()


def dpo(work: Work, turn) -> None:
    """One turn is one epoch; the reference is asked in every step, which is TRL's default."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    data = Dataset.from_dict({"prompt": work.prompts, "chosen": _behind(work.chosen),
                              "rejected": _behind(work.rejected)})
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            model=work.model, ref_model=copy.deepcopy(work.model), train_dataset=data,
            processing_class=work.tokenizer, callbacks=[Turns(turn, PAIRS // PAIRS_PER_STEP)],
            args=DPOConfig(folder, beta=BETA, per_device_train_batch_size=PAIRS_PER_STEP,
                           max_length=None, **COMMON))
        _check_tokens(work, trainer.train_dataset)
        trainer.train()


def _behind(answers: list[str]) -> list[str]:
    """Return answers as TRL joins them to prompts: one text behind the other."""
    return [f" {answer}" for answer in answers]


def _check_tokens(work: Work, dataset) -> None:
    """Stop unless TRL sees the very tokens that the others see."""
    ids = work.tokenizer(work.prompts[0], add_special_tokens=False).input_ids
    ids += work.tokenizer(work.chosen[0], add_special_tokens=False).input_ids
    row = dataset[0]
    found = list(row["prompt_ids"]) + list(row["chosen_ids"])
    if found != [*ids, work.tokenizer.eos_token_id]:
        raise SystemExit(f"TRL's tokens {found} are not those of the others {ids}")


def rloo(work: Work, turn) -> None:
    from trl import RLOOConfig, RLOOTrainer

    _group(RLOOTrainer, RLOOConfig, work, turn)


def grpo(work: Work, turn) -> None:
    from trl import GRPOConfig, GRPOTrainer

    _group(GRPOTrainer, GRPOConfig, work, turn, loss_type="grpo")


def _group(trainer_class, config_class, work: Work, turn, **settings) -> None:
    """Sample several answers to each prompt and take one step on them."""
    from datasets import Dataset

    with tempfile.TemporaryDirectory() as folder:
        work.model.save_pretrained(folder)  # TRL reads its reference from where the model lies
        model = LlamaForCausalLM.from_pretrained(folder)
        trainer_class(
            model=model, reward_funcs=_reward,
            train_dataset=Dataset.from_dict({"prompt": work.prompts}),
            processing_class=work.tokenizer, callbacks=[Turns(turn, 1)],
            args=config_class(folder, beta=BETA, epsilon=CLIP, num_generations=ANSWERS,
                              per_device_train_batch_size=PROMPTS * ANSWERS, top_k=0, top_p=1.0,
                              max_completion_length=LIMIT, **settings, **COMMON)).train()


def _reward(prompts, completions, **_):
    return reward(prompts, completions)


def ppo(work: Work, turn) -> None:
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    rows = [{"input_ids": work.tokenizer(p, add_special_tokens=False).input_ids}
            for p in work.prompts]
    work.tokenizer.padding_side = "left"
    settings = {k: v for k, v in COMMON.items() if k != "max_steps"}
    with tempfile.TemporaryDirectory() as folder:
        PPOTrainer(
            args=PPOConfig(folder, per_device_train_batch_size=PPO_PROMPTS, response_length=LIMIT,
                           num_mini_batches=PPO_PROMPTS // PPO_BATCH, num_ppo_epochs=PPO_PASSES,
                           kl_coef=BETA, cliprange=CLIP, temperature=1.0, stop_token="eos",
                           num_sample_generations=0, total_episodes=PPO_PROMPTS * 10**5,
                           local_rollout_forward_batch_size=PPO_PROMPTS, **settings),
            processing_class=work.tokenizer, model=work.model,
            train_dataset=Dataset.from_list(rows), ref_model=copy.deepcopy(work.model),
            reward_model=scorer(work.model), value_model=scorer(work.model),
            callbacks=[Turns(turn, 1)]).train()
