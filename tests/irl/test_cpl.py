"""Contrastive preference learning: consistent for its judge, and DPO's loss in one step."""

import pytest
import torch

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import Segments, cpl_loss, cut_segments, fit_cpl, segment_logps
from tutorlib.mdp import GridWorld, sample_trajectories, soft_value_iteration, uniform_policy

ALPHA = 0.7


@pytest.fixture(scope="module")
def judged():
    """A soft plan, many segments, and what its judge would say of them on average."""
    mdp = GridWorld("..\n.G", cell_rewards={(0, 1): -1.0}, discount=0.9, slip=0.1).mdp
    plan = soft_value_iteration(mdp, ALPHA)
    paths = sample_trajectories(mdp, uniform_policy(mdp), 3000, 6,
                                torch.Generator().manual_seed(0))
    segments = cut_segments(paths.states, paths.actions, 3000, 2, torch.Generator().manual_seed(1),
                            paths.mask)
    # advantages, from Q and V and not from the policy's logarithm
    advantage = plan.q_values - plan.values[:, None]
    scores = advantage[segments.states[:, :-1], segments.actions].sum(1)
    return mdp, plan, segments, torch.sigmoid(scores[:1500] - scores[1500:])


def test_it_recovers_the_plan_of_a_judge_who_goes_by_advantages(judged):
    mdp, plan, segments, chances = judged
    found = fit_cpl(segments[:1500], segments[1500:], chances, mdp.n_states, mdp.n_actions, ALPHA,
                    l2=1e-6)
    inside = ~mdp.terminal
    assert float((found - plan.policy)[inside].abs().max()) < 1e-3
    assert found[mdp.terminal].tolist() == [[0.25] * 4]  # never acted in: nothing known


def test_advantages_are_alpha_log_pi(judged):
    mdp, plan, _, _ = judged
    inside = ~mdp.terminal
    torch.testing.assert_close((plan.q_values - plan.values[:, None])[inside],
                               ALPHA * plan.policy.log()[inside], atol=1e-7, rtol=1e-7)


def test_one_step_and_a_reference_give_dpo():
    g = torch.Generator().manual_seed(2)
    policy, ref = torch.softmax(torch.randn(2, 3, 5, generator=g, dtype=torch.float64), -1)
    prompt = torch.randint(3, (20,), generator=g)
    chosen, rejected = torch.rand(20, 5, generator=g).argsort(1)[:, :2].T
    sides = [(policy[prompt, y].log() - ref[prompt, y].log())[:, None] for y in (chosen, rejected)]
    ours = cpl_loss(*sides, torch.ones(20, dtype=torch.float64), alpha=0.3)
    ratio = (policy[prompt, chosen] / ref[prompt, chosen]
             * ref[prompt, rejected] / policy[prompt, rejected])
    torch.testing.assert_close(ours, torch.log1p(ratio ** -0.3))  # Rafailov et al. 2023, eq. 7


def test_log_probabilities_are_looked_up_where_actions_were_taken():
    policy = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    walk = Segments(torch.tensor([[0, 1, 0]]), torch.tensor([[1, 0]]),
                    *torch.zeros(2, 1, dtype=torch.long))
    assert segment_logps(policy, walk).exp().tolist()[0] == pytest.approx([0.75, 0.5])


def test_bad_settings_are_refused(judged):
    _, _, segments, chances = judged
    with pytest.raises(InvalidArgumentError, match="alpha is 0"):
        cpl_loss(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1), alpha=0)
    with pytest.raises(InvalidArgumentError, match="at least one preference"):
        fit_cpl(segments[:9], segments[9:18], torch.full((9,), 0.5).double(), 4, 4)
    with pytest.raises(InvalidArgumentError, match="l2"):
        fit_cpl(segments[:9], segments[9:18], chances[:9], 4, 4, l2=0)
