import pytest
import torch
from scipy.stats import chisquare
from transformers import MistralConfig, MistralForCausalLM

from tests.lm.conftest import SHAPES, as_a_learner, make_model
from tutorlib.errors import InvalidArgumentError, InvalidModelError, InvalidTextError
from tutorlib.irl import path_probabilities, solve_causal, solve_maxent
from tutorlib.irl.paths import enumerate_paths
from tutorlib.lm.sampling import SamplingSettings, sample
from tutorlib.lm.scoring import per_token_logps
from tutorlib.lm.tree import TokenTree
from tutorlib.lm.tree_build import node_logps, node_logps_one_by_one, tree_size
from tutorlib.mdp import finite_horizon_plan, soft_backward

VOCABULARY = ["blue", "<eos>", "is", "green"]  # the end in the middle: no order is assumed
BETA = 0.7


@pytest.fixture(scope="module")
def tree(tokenizer, llama):
    return TokenTree(llama, "what color is the sky ?", VOCABULARY, 4, tokenizer)


@pytest.fixture(scope="module")
def reward(tree):
    return 2 * torch.randn(tree.n_leaves, dtype=torch.float64,
                           generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def policy(tree):
    gen = torch.Generator().manual_seed(4)
    return tree.restrict([t + torch.randn(t.shape, dtype=t.dtype, generator=gen)
                          for t in tree.reference])


def by_scoring(model, tree):
    """Log-probabilities of all leaves from the scoring function: no tree in it."""
    prompt = torch.tensor([tree.prompt_ids]).repeat(tree.n_leaves, 1)
    return per_token_logps(model, prompt, torch.ones_like(prompt), tree.completion_ids,
                           tree.completion_mask).double().sum(1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_leaves_have_the_log_probabilities_of_scoring(tokenizer, shape, implementation):
    model = make_model(shape, len(tokenizer), seed=2)
    model.set_attn_implementation(implementation)
    tree = TokenTree(model, "the sky", VOCABULARY, 4, tokenizer, renormalise=False)
    with torch.no_grad():
        torch.testing.assert_close(tree.leaf_logps(), by_scoring(model, tree), atol=2e-5, rtol=1e-5)
    assert float(tree.leaf_logps().std()) > 1


@pytest.mark.parametrize("shape", SHAPES)
def test_in_float64_the_two_ways_to_build_agree_to_rounding(tokenizer, shape, monkeypatch):
    """One small chunk after another, as for a large tree, against nodes read from the start."""
    monkeypatch.setattr("tutorlib.lm.tree_build.CHUNK_TOKENS", 7)
    exact = make_model(shape, len(tokenizer)).double()
    arguments = exact, [3, 4, 5], [6, 1, 5, 8], [0, 2, 3], 4
    with torch.no_grad():
        fast, plain = node_logps(*arguments), node_logps_one_by_one(*arguments)
    for one, other in zip(fast, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_a_sliding_window_model_has_a_tree_too(tokenizer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MistralForCausalLM(MistralConfig(
            vocab_size=15, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=32, sliding_window=3, eos_token_id=1,
            initializer_range=0.3, pad_token_id=0, bos_token_id=None)).eval()
    tree = TokenTree(model, "the sky", VOCABULARY, 3, tokenizer, renormalise=False)
    with torch.no_grad():
        torch.testing.assert_close(tree.leaf_logps(), by_scoring(model, tree), atol=2e-5, rtol=1e-5)


def test_the_whole_vocabulary_needs_no_renormalising(llama, tokenizer):
    trees = [TokenTree(llama, [4], range(len(tokenizer)), 2, renormalise=r) for r in (True, False)]
    one, other = (t.leaf_logps() for t in trees)
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    assert one.exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_of_a_part_the_reference_is_renormalised_at_each_node(tree, tokenizer, llama):
    raw = TokenTree(llama, tree.prompt_ids, tree.words, 4, renormalise=False)
    assert raw.leaf_logps().exp().sum() < 0.9
    assert tree.leaf_logps().exp().sum().item() == pytest.approx(1, abs=1e-12)
    for mine, full in zip(tree.reference, raw.reference, strict=True):
        torch.testing.assert_close(mine.exp(), full.exp() / full.exp().sum(-1, keepdim=True))


def test_leaves_are_all_answers_once(tree):
    assert tree.n_leaves == 1 + 3 + 9 + 27 * 4 == len(set(tree.texts()))
    assert tree.size.nodes == 1 + 3 + 9 + 27 == len(tree.node_paths())
    for i, text in enumerate(tree.texts()):
        words = text.split()
        assert set(words) <= set(VOCABULARY) and "<eos>" not in words[:-1]
        assert len(words) == 4 or words[-1] == "<eos>"
        assert tree.leaf_of(text) == i == tree.leaf_of(tree.completion_ids[i][:len(words)].tolist())


def test_rewards_of_texts_reach_the_right_leaves(tree):
    rewards = tree.rewards_of(lambda text: text.split().count("blue") - 0.1 * len(text.split()))
    assert rewards[tree.leaf_of("blue is blue <eos>")].item() == pytest.approx(1.6)
    assert rewards[tree.leaf_of("<eos>")].item() == pytest.approx(-0.1)


# --- one algebra: enumeration, dynamic programming, sampling, and the tabular code -------------


def test_the_partition_function_by_listing_and_by_dynamic_programming(tree, reward):
    plan = tree.solve(reward, BETA)
    direct = (tree.leaf_logps().exp() * (reward / BETA).exp()).sum().log()
    assert tree.log_partition(reward, BETA).item() == pytest.approx(direct.item(), abs=1e-12)
    assert plan.values[0].item() / BETA == pytest.approx(direct.item(), abs=1e-12)


def test_the_optimal_policy_is_the_tilted_reference(tree, reward):
    plan = tree.solve(reward, BETA)
    tilted = tree.leaf_logps() + reward / BETA - tree.log_partition(reward, BETA)
    torch.testing.assert_close(tree.leaf_logps(plan.policy), tilted, atol=1e-12, rtol=0)
    assert tree.normal(plan.policy) and tree.optimal_policy(reward, BETA)[1].equal(plan.policy[1])


def test_what_a_policy_loses_is_its_distance_from_the_optimum(tree, reward, policy):
    best = tree.optimal_policy(reward, BETA)
    top = BETA * tree.log_partition(reward, BETA)
    assert tree.objective(best, reward, BETA).item() == pytest.approx(top.item(), abs=1e-12)
    gap = top - tree.objective(policy, reward, BETA)
    assert gap.item() == pytest.approx(BETA * tree.kl(policy, best).item(), abs=1e-12)
    assert gap > 0.1


def test_returns_by_listing_and_by_dynamic_programming(tree, reward, policy):
    listed = tree.expected_return(policy, reward)
    values = tree.policy_values(policy, reward)
    assert values[0].item() == pytest.approx(listed.item(), abs=1e-12)
    assert [len(v) for v in values] == [1, 3, 9, 27]


def test_kl_adds_up_over_the_tokens(tree, policy):
    """KL of answers = sum over nodes of the chance to be there times KL of the next word."""
    there, total = torch.ones(1, dtype=torch.float64), 0.0
    for logps, reference in zip(policy, tree.reference, strict=True):
        total += (there * (logps.exp() * (logps - reference)).sum(-1)).sum().item()
        there = (there[:, None] * logps.exp())[:, tree.going_on].flatten()
    assert tree.kl(policy).item() == pytest.approx(total, abs=1e-12)
    assert tree.kl(tree.reference).item() == pytest.approx(0, abs=1e-12)


def test_from_r_to_q_star_it_telescopes(tree, reward):
    """sum_t beta log(pi*/pi_ref)(y_t) = r(y) - V*(root); each term is Q* - V*, an advantage."""
    plan = tree.solve(reward, BETA)
    implicit = [BETA * (p - q) for p, q in zip(plan.policy, tree.reference, strict=True)]
    for found, q, v in zip(implicit, plan.q_values, plan.values, strict=True):
        torch.testing.assert_close(found, q - v[:, None], atol=1e-12, rtol=0)
    torch.testing.assert_close(tree.path_sums(implicit), reward - plan.values[0],
                               atol=1e-12, rtol=0)


def test_along_lists_a_table_s_entries_on_the_way_to_each_answer(tree):
    """Numbered nodes and words: each answer's row names the words it consists of."""
    words = torch.tensor(tree.words)
    rows = tree.along([words.expand(len(t), -1) for t in tree.reference])
    assert torch.equal(rows, tree.completion_ids * tree.completion_mask)
    nodes = tree.along([torch.arange(len(t))[:, None].expand(t.shape) + 1
                        for t in tree.reference])
    assert torch.equal(nodes > 0, tree.completion_mask == 1)
    torch.testing.assert_close(tree.along(tree.reference).sum(1), tree.leaf_logps())


def test_rewards_of_tokens_and_their_sums_at_the_end_are_one_problem(tree):
    gen = torch.Generator().manual_seed(9)
    per_token = [torch.randn(t.shape, dtype=t.dtype, generator=gen) for t in tree.reference]
    at_end = tree.path_sums(per_token)
    one, other = tree.solve(per_token, BETA), tree.solve(at_end, BETA)
    assert one.values[0].item() == pytest.approx(other.values[0].item(), abs=1e-12)
    for a, b in zip(one.policy, other.policy, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)
    assert not torch.allclose(one.values[1], other.values[1]), "values differ, by what was paid"


def test_the_tabular_planner_finds_the_same_values_and_policy(tree, reward):
    mdp, plan = tree.to_tabular_mdp(reward), tree.solve(reward, BETA)
    tabular = soft_backward(mdp, BETA, prior=tree.to_prior())
    rows = torch.cat([torch.full((len(v),), d) for d, v in enumerate(plan.values)])
    at = torch.arange(len(rows))
    torch.testing.assert_close(tabular.values[rows, at], torch.cat(plan.values), atol=1e-9, rtol=0)
    torch.testing.assert_close(tabular.policy[rows, at], torch.cat(plan.policy).exp(),
                               atol=1e-9, rtol=0)
    hard = finite_horizon_plan(mdp)
    assert hard.values[0, 0].item() == pytest.approx(reward.max().item(), abs=1e-12)


def test_inverse_rl_s_functions_run_on_it_and_agree(tree, reward):
    """Maximum-entropy IRL, causal or not, with the reference as part of the reward: one algebra."""
    folded = [e + BETA * p for e, p in zip(tree.edges(reward), tree.reference, strict=True)]
    mdp = tree.to_tabular_mdp(folded)
    best = torch.cat(tree.optimal_policy(reward, BETA)).exp()
    nodes = len(best)
    depth = torch.cat([torch.full((3**d,), d) for d in range(4)])
    causal = solve_causal(mdp, mdp.reward, BETA)
    classic = solve_maxent(mdp, mdp.reward, BETA)
    for found in (causal.policy, classic.policy):  # token dynamics are deterministic: they agree
        torch.testing.assert_close(found[depth, torch.arange(nodes)], best, atol=1e-6, rtol=0)
    log_z = tree.log_partition(reward, BETA).item()
    assert causal.values[0, 0].item() == pytest.approx(BETA * log_z, abs=1e-6)
    paths = enumerate_paths(mdp)  # one for each leaf: they stop in the terminal state
    leaves = [tree.leaf_of([tree.words[a] for a in actions[mask].tolist()])
              for actions, mask in zip(paths.actions, paths.mask, strict=True)]
    assert sorted(leaves) == list(range(tree.n_leaves))
    answers = tree.leaf_logps(tree.optimal_policy(reward, BETA)).exp()
    torch.testing.assert_close(path_probabilities(paths, causal.policy), answers[leaves],
                               atol=1e-6, rtol=0)


def test_samples_have_the_exact_frequencies(tree, policy):
    n = 20_000
    drawn = tree.sample(n, torch.Generator().manual_seed(0), policy)
    expected = tree.leaf_logps(policy).exp() * n
    found = torch.bincount(drawn, minlength=tree.n_leaves).double()
    common = expected > 5
    assert int(common.sum()) > 30
    cells = [torch.cat([x[common], x[~common].sum()[None]]) for x in (found, expected)]
    assert chisquare(*cells).pvalue > 1e-3


def test_a_model_s_own_samples_have_the_tree_s_frequencies():
    """Ancestral sampling from the network itself against the exact probabilities."""
    model = make_model("gpt2", 6, scale=0.5)
    tree = TokenTree(model, [3, 4], range(6), 3)
    n = 5000
    drawn = sample(model, torch.tensor([[3, 4]]), torch.ones(1, 2).long(),
                   SamplingSettings(3, num_generations=n), torch.Generator().manual_seed(1))
    index = [tree.leaf_of(ids[mask == 1].tolist())
             for ids, mask in zip(drawn.completion_ids, drawn.completion_mask, strict=True)]
    found = torch.bincount(torch.tensor(index), minlength=tree.n_leaves).double()
    expected = tree.leaf_logps().exp() * n
    common = expected > 5
    cells = [torch.cat([x[common], x[~common].sum()[None]]) for x in (found, expected)]
    assert chisquare(*cells).pvalue > 1e-3


def test_the_exact_gradient_is_that_of_finite_differences(tokenizer):
    """Of E_pi[r] - beta KL in the weights of the network, through policy_of.

    GPT-2 is float64 throughout; a Llama's norms compute in float32 whatever its weights are.
    """
    model = make_model("gpt2", len(tokenizer), seed=5).double()
    reference = make_model("gpt2", len(tokenizer), seed=6).double()
    tree = TokenTree(reference, "the sky", VOCABULARY, 2, tokenizer)
    reward = torch.randn(tree.n_leaves, dtype=torch.float64,
                         generator=torch.Generator().manual_seed(1))
    tree.objective(tree.policy_of(model, differentiable=True), reward, BETA).backward()
    weight = model.transformer.h[0].mlp.c_fc.weight
    direction = torch.randn(weight.shape, dtype=weight.dtype,
                            generator=torch.Generator().manual_seed(2))
    moved = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            weight += step * direction
            moved.append(tree.objective(tree.policy_of(model), reward, BETA).item())
    slope = (moved[0] - moved[1]) / 2e-5
    assert (weight.grad * direction).sum().item() == pytest.approx(slope, rel=1e-5)


def test_kl_to_the_whole_model_counts_what_the_tree_leaves_out(llama, tokenizer, tree, policy):
    raw = TokenTree(llama, tree.prompt_ids, tree.words, 4, renormalise=False)
    p = tree.leaf_logps(policy)
    assert raw.kl(policy).item() == pytest.approx((p.exp() * (p - raw.leaf_logps())).sum().item())
    assert raw.kl(policy) > tree.kl(policy)


def test_a_policy_may_rule_words_out(tree, policy):
    hard = list(policy)
    hard[0] = torch.full_like(hard[0], -torch.inf).index_fill(1, torch.tensor([2]), 0.0)
    assert bool(torch.isfinite(tree.kl(hard)))
    assert tree.kl(policy, hard).item() == torch.inf
    assert {tree.texts()[i].split()[0] for i in
            tree.sample(50, torch.Generator().manual_seed(0), hard).tolist()} == {"is"}


def test_a_vocabulary_without_an_end(llama, tokenizer):
    tree = TokenTree(llama, "the sky", ["blue", "green"], 3, tokenizer)
    assert tree.n_leaves == 8 and tree.leaf_logps().exp().sum().item() == pytest.approx(1)


# --- sizes and bad input -----------------------------------------------------------------------


@pytest.mark.parametrize("words, horizon, ends, leaves", [
    (4, 4, True, 121), (2, 5, False, 32), (2, 5, True, 6), (5, 1, True, 5), (21, 7, True, None)])
def test_sizes_are_known_before_building(words, horizon, ends, leaves):
    size = tree_size(words, horizon, ends)
    assert size.leaves == (leaves or sum(20**d for d in range(6)) + 20**6 * 21)


def test_too_large_a_tree_says_how_large_and_what_to_reduce(tokenizer):
    class Untouchable(torch.nn.Module):
        """A model that must not be run: the refusal comes first."""

        config = make_model("llama", len(tokenizer)).config
        device = torch.device("cpu")

        def get_input_embeddings(self):
            return torch.nn.Embedding(15, 2)

    with pytest.raises(InvalidArgumentError) as caught:
        TokenTree(Untouchable(), [3], range(1, 15), 9)
    message = str(caught.value)
    assert f"{tree_size(14, 9).leaves:,} leaves" in message and "at most 200,000" in message
    assert "a horizon of at most 4 or at most 4 words" in message
    assert tree_size(14, 4).leaves <= 200_000 < tree_size(14, 5).leaves
    assert tree_size(4, 9).leaves <= 200_000 < tree_size(5, 9).leaves


def test_bad_trees_are_refused(tokenizer, llama):
    def build(prompt="the sky", vocabulary=VOCABULARY, horizon=2, model=llama, given=tokenizer):
        return TokenTree(model, prompt, vocabulary, horizon, given)

    cases = [
        (InvalidTextError, "'bleu', did you mean 'blue'", {"vocabulary": ["bleu", "is"]}),
        (InvalidTextError, "'ocean'", {"prompt": "the ocean"}),
        (InvalidTextError, "prompt 0 is empty", {"prompt": ""}),
        (InvalidTextError, "prompt 0 is empty", {"prompt": []}),
        (InvalidTextError, "give token ids, or a tokenizer", {"given": None}),
        (InvalidTextError, "is 2 tokens", {"vocabulary": ["is blue"]}),
        (InvalidTextError, "give a list of words", {"vocabulary": "is blue"}),
        (InvalidTextError, "the model knows 0 to 14", {"vocabulary": [3, 77]}),
        (InvalidTextError, r"takes 49 tokens.*holds 48", {"prompt": [3] * 48}),
        (InvalidArgumentError, "each word once", {"vocabulary": ["is", "is"]}),
        (InvalidArgumentError, "at least one of them", {"vocabulary": ["<eos>"]}),
        (InvalidArgumentError, "horizon is 0", {"horizon": 0}),
    ]
    for error, message, changes in cases:
        with as_a_learner(), pytest.raises(error, match=message):
            build(**changes)
    for weight in (torch.nan, torch.inf):  # infinite logits have no softmax either
        broken = make_model("llama", len(tokenizer))
        with torch.no_grad():
            broken.lm_head.weight[7] = weight
        with pytest.raises(InvalidModelError, match="NaN"):
            build(model=broken)


def test_where_no_word_is_possible_there_is_nothing_to_renormalise(tree):
    tables = [table.clone() for table in tree.reference]
    tables[1][2] = -torch.inf
    with pytest.raises(InvalidModelError, match="every word of its vocabulary has probability 0"):
        tree.restrict(tables)


def test_bad_rewards_and_policies_are_refused(tree, reward, policy):
    nan = reward.clone()
    nan[5] = torch.nan
    with pytest.raises(InvalidArgumentError, match=r"nan at leaf 5; .* 121 leaves"):
        tree.solve(nan, BETA)
    with as_a_learner(), pytest.raises(InvalidArgumentError, match="one number per leaf"):
        tree.solve(reward.tolist(), BETA)
    with pytest.raises(InvalidArgumentError, match="121 leaves"):
        tree.solve(reward[1:], BETA)
    with pytest.raises(InvalidArgumentError, match="per depth"):
        tree.solve(policy[:2], BETA)
    with pytest.raises(InvalidArgumentError, match="beta is 0"):
        tree.solve(reward, 0)
    with pytest.raises(InvalidArgumentError, match=r"tree\.restrict"):
        tree.expected_return([p - 0.1 for p in policy], reward)
    with pytest.raises(InvalidTextError, match="no leaf of this tree"):
        tree.leaf_of("blue is")


@pytest.mark.slow
def test_a_hundred_thousand_leaves_are_built(tokenizer):
    model = make_model("llama", len(tokenizer))
    tree = TokenTree(model, "the sky", ["<eos>", *"the sky is blue red green grass".split()], 6,
                     tokenizer)
    assert tree.n_leaves == 137_257
    assert tree.leaf_logps().exp().sum().item() == pytest.approx(1, abs=1e-9)
    index = torch.arange(0, tree.n_leaves, 4_001)
    prompt = torch.tensor([tree.prompt_ids]).repeat(len(index), 1)
    with torch.no_grad():
        told = per_token_logps(model, prompt, torch.ones_like(prompt), tree.completion_ids[index],
                               tree.completion_mask[index])
    raw = TokenTree(model, "the sky", tree.words, 6, tokenizer, renormalise=False)
    torch.testing.assert_close(raw.leaf_logps()[index], told.double().sum(1), atol=5e-5, rtol=1e-5)
