"""Exercise 05.2: shape a reward by a potential."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.reward_ambiguity.worlds import (
    STREET,
    endless_mdp,
    normal,
    numbers,
    random_mdp,
    simplex,
    yard,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor
from tutorlib.mdp import TabularMDP, expected_next_values, soft_policy_iteration, value_iteration


@dataclass(frozen=True)
class Shaped:
    """The expected rewards, and what is needed to average an answer r(s, a, s') over s'."""

    table: Tensor  # [states, actions]
    dense: Tensor  # [states, actions, next_states]
    states: tuple[str, ...]
    actions: tuple[str, ...]

    def __repr__(self) -> str:
        """Show the table alone."""
        return f"expected rewards r(s, a) = {self.table.tolist()}"


def shape_reward(mdp: TabularMDP, potential: Float[Tensor, " states"]
                 ) -> Float[Tensor, "states actions"]:
    """Return r(s, a) + gamma E[Phi(s')] - Phi(s), with Phi = 0 in terminal states."""
    held = potential.masked_fill(mdp.terminal, 0.0)
    return mdp.reward + mdp.discount * expected_next_values(mdp, held) - held[:, None]


def from_shifted_values(mdp, potential):
    """Work back from what shaping does: Q' = Q - Phi for the policy that acts at random.

    Q comes from adding up 200 steps; then r'(s, a) = Q'(s, a) - gamma E[V'(s')].
    """
    dense, gamma = mdp.transition_matrix.numpy(), mdp.discount
    alive = ~mdp.terminal.numpy()
    shift = np.where(alive, potential.numpy(), 0.0)
    values = np.zeros(len(shift))
    for _ in range(200):
        q = mdp.reward.numpy() + gamma * dense @ values
        values = np.where(alive, q.mean(1), 0.0)
    q = mdp.reward.numpy() + gamma * dense @ values
    table = (q - shift[:, None]) - gamma * dense @ (values - shift)
    return Shaped(torch.from_numpy(table), mdp.transition_matrix, mdp.state_names,
                  mdp.action_names)


def same_rewards(got, want: Shaped) -> str | None:
    """Compare expected rewards; r(s, a, s') is averaged over s' first."""
    if isinstance(got, Shaped):
        got = got.table
    found = as_tensor(got)
    if found is None or tuple(found.shape) not in (tuple(want.table.shape),
                                                   tuple(want.dense.shape)):
        shape = "no tensor" if found is None else f"shape {tuple(found.shape)}"
        return (f"expected r(s, a) of shape {tuple(want.table.shape)} (or r(s, a, s') of shape "
                f"{tuple(want.dense.shape)}), got {shape}")
    slack = 1e-6 if found.dtype == torch.float64 else 1e-4
    found = found.double()
    if found.ndim == 3:  # what is paid for impossible moves does not count
        found = torch.where(want.dense > 0, want.dense * found, 0.0).sum(-1)
    wrong = ~((found - want.table).abs() <= slack * (1 + want.table.abs()))
    if not bool(wrong.any()):
        return None
    s, a = (int(i) for i in wrong.nonzero()[0])
    return (f"in state {want.states[s]!r}, action {want.actions[a]!r}, the expected reward is "
            f"{float(want.table[s, a]):.6g}, got {float(found[s, a]):.6g} "
            f"({int(wrong.sum())} of {wrong.numel()} differ)")


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw processes with home in several places, or without one; potentials are nowhere 0."""
    cases = []
    for states, actions, home in ((3, 2, 1), (4, 3, 0), (5, 3, 4)):
        mdp = random_mdp(generator, states, actions, 0.7, home)
        cases.append(Case(args=(mdp, normal(generator, states) + 2.0),
                          note="a potential that is not 0 at home"))
    mdp = endless_mdp(generator, 4, 2, 0.6)
    return [*cases, Case(args=(mdp, 3 * normal(generator, 4)), note="a process without an end")]


def the_policy_stays(answer, case: Case) -> str | None:
    """The soft-optimal policy of the shaped reward is that of the reward."""
    mdp, potential = case.args
    found = as_tensor(answer(mdp, potential)).double()
    if found.ndim == 3:
        found = torch.where(mdp.transition_matrix > 0, mdp.transition_matrix * found, 0.0).sum(-1)
    shaped = mdp.replace(reward=found.masked_fill(mdp.terminal[:, None], 0.0))
    before, after = (soft_policy_iteration(m, 0.5).policy for m in (mdp, shaped))
    apart = float((before - after)[~mdp.terminal].abs().max())
    return None if apart < 1e-4 else (f"planned softly at λ = 0.5, the shaped reward's policy "
                                      f"differs by up to {apart:.3f} from the reward's")


def no_potential_no_change(answer, case: Case) -> str | None:
    """Phi = 0 leaves the reward as it is."""
    mdp, potential = case.args
    found = as_tensor(answer(mdp, 0 * potential)).double()
    table = found if found.ndim == 2 else (mdp.transition_matrix * found).sum(-1)
    apart = float((table - mdp.reward).abs().max())
    return None if apart < 1e-4 else f"a potential of 0 changes the reward by {apart:.3g}"


def _held(mdp, potential):
    """Return the potential with 0 in terminal states."""
    return potential.masked_fill(mdp.terminal, 0.0)


def _next(mdp, potential):
    """Return E[Phi(s')]."""
    return mdp.transition_matrix @ potential


def _rows(mdp, table):
    """Pay nothing in terminal states."""
    return table.masked_fill(mdp.terminal[:, None], 0.0)


def _masked(rule):
    """Make a wrong answer from a rule on the held potential."""
    return lambda mdp, potential: _rows(mdp, rule(mdp, _held(mdp, potential)))


def _transposed(mdp, potential):
    moved = torch.einsum("sat,s->ta", mdp.transition_matrix, potential)
    return mdp.reward + mdp.discount * moved - potential[:, None]


MUTANTS = (
    Mutant("sign", _masked(lambda m, f: m.reward - m.discount * _next(m, f) + f[:, None]),
           "Both signs are turned. The policy survives that (it is the shaping of -Φ), but values "
           "move the other way. Here and in the literature F = γ Φ(s') - Φ(s): a step *up* in "
           "potential is paid."),
    Mutant("no_discount", _masked(lambda m, f: m.reward + _next(m, f) - f[:, None]),
           "The potential of the next state is not discounted. Only γ Φ(s') cancels against the "
           "next step's -Φ(s'), which arrives one discount later."),
    Mutant("discount_misplaced", _masked(lambda m, f: m.reward + _next(m, f)
                                         - m.discount * f[:, None]),
           "The discount is on the wrong one of the two: it belongs to the state reached, "
           "γ Φ(s') - Φ(s)."),
    Mutant("discount_on_both", _masked(lambda m, f: m.reward + m.discount * (_next(m, f)
                                                                      - f[:, None])),
           "Φ(s) is discounted too. The state that is left is here and now; only the state that is "
           "*reached* lies a step later: γ Φ(s') - Φ(s)."),
    Mutant("end_keeps_potential", lambda m, f: _rows(m, m.reward + m.discount * _next(m, f)
                                                     - f[:, None]),
           "Arriving home still pays γ Φ(home), and nothing later takes it back: the episode is "
           "over. That can change the policy. The potential must count as 0 in terminal states."),
    Mutant("end_untouched", lambda m, f: m.reward + m.discount * _next(m, f) - f[:, None],
           "The formula is right where the episode goes on, but home keeps its potential: arriving "
           "pays γ Φ(home), and being there pays (γ - 1) Φ(home) for ever. Let Φ count as 0 in "
           "terminal states, before you use it."),
    Mutant("end_pays", lambda m, f: m.reward + m.discount * _next(m, _held(m, f)) - f[:, None],
           "Terminal states pay -Φ(home): you hold the potential at 0 where it is reached, but not "
           "where it is left. Use the same potential in both places."),
    Mutant("end_per_move", lambda m, f: m.reward[..., None] + m.discount * f - f[:, None, None],
           "As one reward per move this is right where the episode goes on. But moves into home "
           "still pay γ Φ(home), and moves at home pay (γ - 1) Φ(home): let Φ count as 0 in "
           "terminal states, before you use it."),
    Mutant("next_only", _masked(lambda m, f: m.reward + m.discount * _next(m, f)),
           "Only γ Φ(s') is added. Without -Φ(s) the potential of a state is paid at every visit, "
           "and the agent lives where it is high."),
    Mutant("here_only", _masked(lambda m, f: m.reward - f[:, None]),
           "Only -Φ(s) is added. Without γ Φ(s') being in a state is charged and never paid "
           "back."),
    Mutant("bonus_alone", _masked(lambda m, f: m.discount * _next(m, f) - f[:, None]),
           "This is F alone. The task asks for the shaped reward, r + F."),
    Mutant("reward_alone", lambda m, f: m.reward,
           "This is the reward as it was: the rise of the potential is not added."),
    Mutant("mean_of_actions", _masked(lambda m, f: m.reward + m.discount * _next(
               m, f).mean(1, keepdim=True) - f[:, None]),
           "You average the next state over the actions. Each action leads elsewhere: E[Φ(s') | s, "
           "a] is a table, [states, actions]."),
    Mutant("likeliest", _masked(lambda m, f: m.reward + m.discount
                                * f[m.transition_matrix.argmax(-1)] - f[:, None]),
           "You take the potential of the likeliest next state. The next state is drawn by chance: "
           "weigh all of them by their probabilities, E[Φ(s')]."),
    Mutant("axes", _masked(_transposed),
           "The axes of the transition matrix are mixed up: you sum over the state that is left. "
           "T[s, a, s'] is summed over its last axis, s'."),
    Mutant("best_case", _masked(lambda m, f: m.reward + m.discount * torch.where(
               m.transition_matrix > 0, f, -torch.inf).amax(-1) - f[:, None]),
           "You take the best next state's potential. The next state is drawn by chance: take the "
           "mean, E[Φ(s')]."),
    Mutant("last_is_home", lambda m, f: _last_held(m, f),
           "You set the last state's potential to 0. Home need not be the last state, and there "
           "may be none: `mdp.terminal` says which states end the episode."),
)


def _last_held(mdp, potential):
    """Hold the last state at 0 whatever it is."""
    held = torch.cat([potential[:-1], 0 * potential[-1:]])
    return mdp.reward + mdp.discount * _next(mdp, held) - held[:, None]


def _per_move(mdp, potential):
    held = _held(mdp, potential)
    return mdp.reward[..., None] + mdp.discount * held - held[:, None, None]


def _numpy(mdp, potential):
    held = np.where(mdp.terminal.numpy(), 0.0, potential.numpy())
    ahead = np.einsum("sat,t->sa", mdp.transition_matrix.numpy(), held)
    return mdp.reward.numpy() + mdp.discount * ahead - held[:, None]


def _loops(mdp, potential):
    held = [0.0 if end else float(f) for f, end in zip(potential, mdp.terminal, strict=True)]
    return [[float(mdp.reward[s, a]) - held[s] + mdp.discount * sum(
        float(p) * f for p, f in zip(mdp.transition_matrix[s, a], held, strict=True))
        for a in range(mdp.n_actions)] for s in range(mdp.n_states)]


VARIANTS = (
    Variant("r(s, a, s'), one reward per move", _per_move),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
)


def show_shaping(answer):
    """Draw the yard's optimal plan before and after the learner's shaping by a random potential."""
    from tutorlib.viz import Panel, gridworld_panels

    grid = yard()
    mdp, before = grid.mdp, value_iteration(grid.mdp)
    potential = 8 * simplex(torch.Generator().manual_seed(2), mdp.n_states) * mdp.n_states
    table = as_tensor(answer(mdp, potential)).double()
    table = table if table.ndim == 2 else (mdp.transition_matrix * table).sum(-1)
    after = value_iteration(mdp.replace(reward=_rows(mdp, table)))
    same = int((before.policy == after.policy).all(-1)[~mdp.terminal].sum())
    moved = float((table - mdp.reward).abs().max())
    return gridworld_panels(
        [Panel(grid, before.values, before.policy, "reward"),
         Panel(grid, after.values, after.policy, "your shaped reward")],
        title=f"Rewards changed by up to {moved:.1f}; the best action is the same in {same} of "
              f"{int((~mdp.terminal).sum())} cells")


SHAPE_REWARD = Exercise(
    id="reward_ambiguity.shape_reward",
    title="Shape a reward",
    points=2, minutes=8, difficulty=2,
    reference=shape_reward,
    oracle=from_shifted_values,
    hand=Case(
        args=(STREET, numbers([8.0, 3.0])),
        # street: walk 1 + 0.5 * 0 - 8 = -7, wait -1 + 0.5 * 8 - 8 = -5; home pays 0
        expected=Shaped(numbers([[-7.0, -5.0], [0.0, 0.0]]), STREET.transition_matrix,
                        STREET.state_names, STREET.action_names),
        note="discount 0.5; in the street (Φ = 8), walk pays 1 and leads home, wait pays -1 and "
             "stays; home is terminal, so its Φ = 3 counts as 0"),
    cases=draw_cases,
    properties=(
        Property("a potential of 0 changes nothing", no_potential_no_change),
        Property("the policy stays", the_policy_stays),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Each step is paid the *rise* of a potential: what the next state has, one discount later, "
        "minus what this state has. The next state is drawn by chance, so take its mean. Think "
        "about where the rise can never be taken back: at the end.",
        "First make the potential 0 where `mdp.terminal` is true, in a copy; use that copy in "
        "both places. `mdp.transition_matrix` is `[states, actions, next_states]`; its matrix "
        "product with a potential is `[states, actions]`, and `potential[:, None]` `[states, 1]`.",
        "```python\n"
        "held = ...      # a copy of the potential with 0 where mdp.terminal: masked_fill\n"
        "ahead = ...     # E[Phi(s')], [states, actions]: mdp.transition_matrix @ ...\n"
        "return ...      # mdp.reward plus the discounted rise\n"
        "```",
    ),
    why=r"Along any path the potentials cancel in pairs: what step $t$ adds as $\gamma^{t+1} "
        r"\Phi(s_{t+1})$, step $t+1$ takes back. Only $-\Phi(s_0)$ is left, the same for every "
        r"policy. At an end nobody takes back, so the potential there must be 0.",
    figure=show_shaping,
    compare=same_rewards,
    forbidden=("tutorlib.irl.shape_reward", "tutorlib.irl.shaping_term"),
)
