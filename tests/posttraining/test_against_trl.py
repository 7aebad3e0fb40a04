"""The same numbers as TRL on the same batch, where conventions are the same."""

import copy
from types import SimpleNamespace

import pytest
import torch

from tests.posttraining.conftest import CHOSEN, PROMPTS, REJECTED, seeded
from tutorlib.lm import per_token_logps
from tutorlib.posttraining import (
    DirectSettings,
    collate_preferences,
    dpo_loss,
    odds_ratio_loss,
    pair_logps,
    pair_loss,
    ratio_loss,
    reference_logps,
    reinforce_loss,
    rloo_advantages,
    simpo_loss,
)

pytestmark = pytest.mark.slow
COMMON = {"bf16": False, "gradient_checkpointing": False, "use_cpu": True, "report_to": "none",
          "save_strategy": "no", "disable_tqdm": True, "per_device_train_batch_size": 4}


def spaced(answers):
    """Answers as TRL joins them to prompts: by putting one text behind the other."""
    return [f" {answer}" for answer in answers]


@pytest.fixture(scope="module")
def dpo(tmp_path_factory, tokenizer, policy, reference):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    data = Dataset.from_dict({"prompt": PROMPTS, "chosen": spaced(CHOSEN),
                              "rejected": spaced(REJECTED)})
    trainer = DPOTrainer(
        model=copy.deepcopy(policy), ref_model=copy.deepcopy(reference), train_dataset=data,
        processing_class=copy.deepcopy(tokenizer),
        args=DPOConfig(str(tmp_path_factory.mktemp("dpo")), beta=0.3, **COMMON))
    trainer.model.eval()
    return trainer


@pytest.fixture(scope="module")
def dpo_inputs(dpo, tokenizer, pairs):
    """TRL's own batch, without shuffling, checked to hold the same tokens as ours."""
    inputs = dpo.data_collator([dpo.train_dataset[i] for i in range(4)])
    rows = [inputs["input_ids"][i][inputs["attention_mask"][i] == 1].tolist() for i in range(8)]
    assert rows == [[*p.prompt_ids, *p.chosen_ids] for p in pairs] + [
        [*p.prompt_ids, *p.rejected_ids] for p in pairs]
    return inputs


@pytest.mark.parametrize("theirs, ours, smoothing", [
    ("sigmoid", {"loss": "dpo"}, 0.0),
    ("hinge", {"loss": "hinge"}, 0.0),
    ("ipo", {"loss": "ipo", "aggregate": "sequence_mean"}, 0.0),
    ("robust", {"loss": "dpo", "label_smoothing": 0.2, "smoothing": "robust"}, 0.2),
])
def test_dpo_trainer(dpo, dpo_inputs, policy, reference, pairs, batch, theirs, ours, smoothing):
    dpo.loss_types, dpo.loss_weights, dpo.label_smoothing = [theirs], [1.0], smoothing
    ref = reference_logps(reference, pairs)
    with torch.no_grad():
        wanted = dpo._compute_loss(dpo.model, dict(dpo_inputs), False).item()
        found, record = pair_loss(policy, batch, ref, DirectSettings(beta=0.3, **ours))
    assert found.item() == pytest.approx(wanted, abs=1e-5)
    assert record["margin"] == pytest.approx(dpo._metrics["eval"]["rewards/margins"][-1], abs=1e-5)
    assert record["accuracy"] == dpo._metrics["eval"]["rewards/accuracies"][-1]


def test_ipo_as_published_is_not_trl_s(dpo, dpo_inputs, policy, reference, pairs, batch):
    dpo.loss_types, dpo.loss_weights = ["ipo"], [1.0]
    with torch.no_grad():
        theirs = dpo._compute_loss(dpo.model, dict(dpo_inputs), False).item()
        ours, _ = pair_loss(policy, batch, reference_logps(reference, pairs),
                            DirectSettings("ipo", 0.3))
    assert abs(ours.item() - theirs) > 0.1


def test_conservative_smoothing_is_that_of_aot_on_one_pair(dpo, dpo_inputs, policy, reference,
                                                           pairs):
    """AOT sorts the batch and smooths conservatively; one pair alone cannot be sorted."""
    dpo.loss_types, dpo.loss_weights, dpo.label_smoothing = ["aot"], [1.0], 0.2
    one = {k: v[[1, 5]] for k, v in dpo_inputs.items()}
    pair = collate_preferences(pairs[1:2])
    with torch.no_grad():
        theirs = dpo._compute_loss(dpo.model, one, False).item()
        ours = dpo_loss(*pair_logps(policy, pair), *pair_logps(reference, pair), 0.3, 0.2)
    assert ours.item() == pytest.approx(theirs, abs=1e-5)


def test_kto_trainer(tmp_path, tokenizer, policy, reference, batch, pairs):
    """Both answers of each pair, judged one by one; their batch mixes prompts with answers of one
    order, ours with those of another, so their mixed answers are set to ours."""
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    data = Dataset.from_dict({"prompt": PROMPTS * 2, "completion": spaced(CHOSEN + REJECTED),
                              "label": [True] * 4 + [False] * 4})
    settings = COMMON | {"per_device_train_batch_size": 8}
    for models in ((policy, reference), (reference, policy)):  # one of them has z above 0
        trainer = KTOTrainer(
            model=copy.deepcopy(models[0]), ref_model=copy.deepcopy(models[1]), train_dataset=data,
            processing_class=copy.deepcopy(tokenizer),
            args=KTOConfig(str(tmp_path), beta=0.3, desirable_weight=1.5, undesirable_weight=0.5,
                           **settings))
        trainer.model.eval()
        examples = [dict(trainer.train_dataset[i]) for i in range(8)]
        answers = [e["completion_ids"] for e in examples]
        for half in (0, 4):
            for i in range(4):
                examples[half + i]["KL_completion_ids"] = answers[half + (i - 1) % 4]
        inputs = trainer.data_collator(examples)
        with torch.no_grad():
            wanted = trainer._compute_loss(trainer.model, inputs, False).item()
            found, _ = pair_loss(models[0], batch, reference_logps(models[1], pairs),
                                 DirectSettings("kto", 0.3, desirable_weight=1.5,
                                                undesirable_weight=0.5), models[1])
        assert found.item() == pytest.approx(wanted, abs=1e-5)


def test_simpo_orpo_and_smoothing_without_a_reference(policy, batch):
    """TRL's functions of log-probabilities; they take means over tokens where ours take sums."""
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    with torch.no_grad():
        chosen, rejected = pair_logps(policy, batch)
    n = batch.lengths
    means = chosen / n[0], rejected / n[1]
    trl = SimpleNamespace(accelerator=SimpleNamespace(device="cpu"), alpha=0.0, beta=2.0,
                          loss_type="simpo", simpo_gamma=0.7, label_smoothing=0.0)
    torch.testing.assert_close(simpo_loss(chosen, rejected, *n, 2.0, 0.7),
                               CPOTrainer.cpo_loss(trl, *means)[0], atol=1e-5, rtol=0)
    trl.beta = 1.0
    torch.testing.assert_close(odds_ratio_loss(chosen, rejected, *n),
                               -ORPOTrainer.odds_ratio_loss(trl, *means)[0], atol=1e-5, rtol=0)
    trl.loss_type, trl.beta, trl.label_smoothing = "sigmoid", 0.3, 0.2
    torch.testing.assert_close(dpo_loss(chosen, rejected, None, None, 0.3, 0.2),
                               CPOTrainer.cpo_loss(trl, chosen, rejected)[0], atol=1e-5, rtol=0)


def test_rloo_trainer(tmp_path, tokenizer, policy, reference, batch):
    """The loss of a batch whose old policy is another one, so that some ratios are clipped."""
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    trainer = RLOOTrainer(
        model=copy.deepcopy(policy), reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        processing_class=copy.deepcopy(tokenizer),
        args=RLOOConfig(str(tmp_path), beta=0.0, num_generations=2, epsilon=0.2, **COMMON))
    trainer.model.eval()
    rewards = torch.tensor([1.0, -0.5, 2.0, 0.0, 0.3, 0.1, -1.0, 2.0])
    advantages = rloo_advantages(rewards.view(4, 2)).flatten()
    with torch.no_grad():
        logps = per_token_logps(policy, *batch.tensors())
        old = logps + 0.1 * torch.randn(logps.shape, generator=seeded()) * batch.completion_mask
        inputs = {"prompt_ids": batch.prompt_ids, "prompt_mask": batch.prompt_mask,
                  "completion_ids": batch.completion_ids, "advantages": advantages,
                  "completion_mask": batch.completion_mask, "old_logps": old.sum(1)}
        wanted = trainer._compute_loss(trainer.model, inputs).item()
        found, clipped = ratio_loss(logps, old, batch.completion_mask, advantages, 0.2, "sequence")
    assert found.item() == pytest.approx(wanted, abs=1e-5)
    assert clipped == pytest.approx(trainer._metrics["eval"]["clip_ratio/region_mean"][-1])
    assert 0 < clipped < 1
    assert abs(reinforce_loss(logps, batch.completion_mask, advantages).item() - wanted) > 0.1
