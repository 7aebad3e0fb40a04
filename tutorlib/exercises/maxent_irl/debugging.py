"""Exercise 06.5: a gradient that is not the gradient of its own loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.maxent_irl.backup import soft_backup_finite
from tutorlib.exercises.maxent_irl.gradient import FORK
from tutorlib.exercises.maxent_irl.visits import visitation
from tutorlib.exercises.maxent_irl.worlds import (
    normal,
    numbers,
    simplex,
    steered,
    tree_gradient,
    tree_loss,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def debug(transition_matrix: Float[Tensor, "states actions states"],
          features: Float[Tensor, "states features"], weights: Float[Tensor, " features"],
          expert_features: Float[Tensor, " features"],
          initial_state_dist: Float[Tensor, " states"], temperature: float, horizon: int):
    """Return the loss (a number) and its gradient [features]."""
    values, policy = soft_backup_finite(transition_matrix, features @ weights, temperature,
                                        horizon)
    visits = visitation(transition_matrix, policy, initial_state_dist)
    loss = (initial_state_dist @ values[0] - weights @ expert_features) / temperature
    gradient = (visits[1:].sum(0) @ features - expert_features) / temperature
    return loss, gradient


def by_the_tree(*args):
    """Take the loss from the tree of futures and differentiate it numerically."""
    return torch.tensor(tree_loss(*args), dtype=torch.float64), tree_gradient(*args)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw processes, weights, and counts somebody might have shown."""
    cases = []
    for states, actions, dims, temperature, horizon in ((4, 3, 2, 0.7, 3), (3, 2, 2, 1.6, 4),
                                                        (5, 2, 3, 0.5, 2)):
        cases.append(Case(args=(
            steered(generator, states, actions), normal(generator, states, dims),
            normal(generator, dims), normal(generator, dims), simplex(generator, states,
                                                                      sharp=3.0),
            temperature, horizon)))
    phi, theta = normal(generator, 4, 2), normal(generator, 2)
    phi[:, 0], theta[0] = 1.0, 250.0  # a feature that all states share
    cases.append(Case(args=(steered(generator, 4, 2), phi, theta, numbers([3.0, 0.5]),
                            simplex(generator, 4, sharp=3.0), 0.5, 3),
                      note="feature 0 is 1 in every state and worth 250: nobody's choice changes, "
                           "but exp(Q/λ) overflows"))
    return cases


def its_gradient_is_its_own(answer, case: Case) -> str | None:
    """Compare the returned gradient with differences of the returned loss."""
    moves, phi, theta, *rest = case.args
    told = as_tensor(answer(*case.args)[1]).double()
    for k in range(len(theta)):
        shift = 1e-4 * torch.eye(len(theta), dtype=torch.float64)[k]
        up, down = (float(as_tensor(answer(moves, phi, theta + sign * shift, *rest)[0]))
                    for sign in (1, -1))
        found = (up - down) / 2e-4
        if abs(found - float(told[k])) > 1e-3 * max(1.0, abs(found)):
            return (f"differences of your loss say {found:.5g} for feature {k}, your gradient "
                    f"says {float(told[k]):.5g}")
    return None


def _with(soft=None, act=None, last=None, loss_scale=None, gradient_scale=None, first=None):
    """Make the colleague's function with parts exchanged."""
    soft = soft or (lambda q, t: t * torch.logsumexp(q / t, -1))
    act = act or (lambda q, t: torch.softmax(q / t, -1))

    def solve(moves, phi, theta, shown, start, temperature, horizon):
        paid = phi @ theta
        values = torch.zeros_like(paid) if last is None else last(paid)
        policy = []
        for left in range(1, horizon + 1):
            q = moves @ (paid + values)
            values = (first if first and left == horizon else soft)(q, temperature)
            policy.insert(0, act(q, temperature))
        visits = visitation(moves, torch.stack(policy), start)
        loss = (start @ values - theta @ shown) / (loss_scale or temperature)
        gradient = (visits[1:].sum(0) @ phi - shown) / (gradient_scale or temperature)
        return loss, gradient

    return solve


def _hard(q, t):
    return q.amax(-1)


def _greedy(q, t):
    return torch.nn.functional.one_hot(q.argmax(-1), q.shape[-1]).double()


def _soft(q, t):
    return t * torch.logsumexp(q / t, -1)


def _naive(q, t):
    return t * (q / t).exp().sum(-1).log()


def _only_the_gradient_flipped(*args):
    loss, gradient = debug(*args)
    return loss, -gradient


def _loss_flipped_too(*args):
    loss, gradient = debug(*args)
    return -loss, -gradient


def _departing(moves, phi, theta, shown, start, temperature, horizon):
    _, policy = soft_backup_finite(moves, phi @ theta, temperature, horizon)
    values, _ = soft_backup_finite(moves, phi @ theta, temperature, horizon)
    visits = visitation(moves, policy, start)[:-1].sum(0)
    return ((start @ values[0] - theta @ shown) / temperature,
            (visits @ phi - shown) / temperature)


def _worth(worth):
    def solve(moves, phi, theta, shown, start, temperature, horizon):
        args = (moves, phi, theta, shown, start, temperature, horizon)
        values = soft_backup_finite(moves, phi @ theta, temperature, horizon)[0]
        return (worth(values, start) - theta @ shown) / temperature, debug(*args)[1]
    return solve


MUTANTS = (
    Mutant("as_in_the_failing_run", _with(soft=_hard),
           "This is the failing run: values are passed back by `max`, while the policy is a "
           "softmax. They belong to two different demonstrators. Which value has the softmax as "
           "its policy?"),
    Mutant("greedy_as_well", _with(soft=_hard, act=_greedy),
           "Now loss and gradient agree, but on another problem: a demonstrator who never errs. "
           "Its loss is no likelihood, and has corners. Keep the policy, and mend the value."),
    Mutant("soft_at_the_first_step_only", _with(soft=_hard, first=_soft),
           "Only the first decision's value is soft; those behind it are still passed back by a "
           "maximum. Mend the line inside the loop."),
    Mutant("mean_passed_back", _with(soft=lambda q, t: (torch.softmax(q / t, -1) * q).sum(-1)),
           "You pass back the policy's mean Q. That is its reward; the soft value has the entropy "
           "too, and only with it is the policy best and the gradient a count of visits."),
    Mutant("outer_temperature_missing", _with(soft=lambda q, t: torch.logsumexp(q / t, -1)),
           "The log-sum-exp is there, but not multiplied by the temperature: the values are in "
           "another unit than the rewards they are added to."),
    Mutant("temperature_missing", _with(soft=lambda q, t: torch.logsumexp(q, -1)),
           "The log-sum-exp is taken at temperature 1, the softmax at λ. One temperature for "
           "both: λ log Σ exp(Q/λ)."),
    Mutant("terminal_initialisation", _with(last=lambda paid: paid),
           "The values begin with the rewards: the last arrival is paid twice. Begin with zeros."),
    Mutant("value_of_the_end", _worth(lambda values, start: start @ values[-1]),
           "The loss takes the values after the last decision, which are 0. What the start is "
           "worth is `values[0]`, averaged over `initial_state_dist`."),
    Mutant("values_added_up", _worth(lambda values, start: values[0].sum()),
           "The loss adds up the values of all states. Average V_0 over where one begins: "
           "`initial_state_dist @ values[0]`."),
    Mutant("value_of_state_0", _worth(lambda values, start: values[0, 0]),
           "The loss takes the value of state 0. Average V_0 over where one begins: "
           "`initial_state_dist @ values[0]`."),
    Mutant("loss_in_units_of_reward", _with(loss_scale=1.0),
           "The loss is no longer divided by the temperature, the gradient is. Both are in nats: "
           "divide both."),
    Mutant("gradient_in_units_of_reward", _with(gradient_scale=1.0),
           "The gradient is no longer divided by the temperature, the loss is. Divide both."),
    Mutant("gradient_flipped", _only_the_gradient_flipped,
           "The gradient's sign was right: what the policy expects minus what was shown. Put it "
           "back, and look at the values."),
    Mutant("both_flipped", _loss_flipped_too,
           "Loss and gradient agree, but this is the log-likelihood, to be climbed. Keep the "
           "loss, which falls."),
    Mutant("naive_exponential", _with(soft=_naive),
           "The mended line is right on paper, but exp(Q/λ) overflows where rewards are large "
           "beside λ. `torch.logsumexp(q / temperature, dim=-1)` takes the maximum out first."),
    Mutant("counted_on_departure", _departing,
           "The visits are now counted on departure. The reward is paid on arrival: the slice "
           "`[1:]` was right."),
)


def _autograd(transition_matrix, features, weights, expert_features, initial_state_dist,
              temperature, horizon):
    with torch.enable_grad():
        theta = weights.clone().requires_grad_(True)
        values, _ = soft_backup_finite(transition_matrix, features @ theta, temperature, horizon)
        loss = (initial_state_dist @ values[0] - theta @ expert_features) / temperature
        gradient, = torch.autograd.grad(loss, theta)
    return float(loss.detach()), gradient


def _maximum_taken_out(q, t):
    top = q.amax(-1, keepdim=True)
    return top[..., 0] + t * ((q - top) / t).exp().sum(-1).log()


def _mean_plus_entropy(q, t):
    pi = torch.softmax(q / t, -1)
    return (pi * q).sum(-1) - t * torch.special.xlogy(pi, pi).sum(-1)


VARIANTS = (
    Variant("the maximum taken out by hand", _with(soft=_maximum_taken_out)),
    Variant("mean plus entropy", _with(soft=_mean_plus_entropy)),
    Variant("autograd", _autograd),
)


def show_the_check(answer):
    """Draw the loss at a fork with the line that the gradient promises."""
    from tutorlib.viz import lines

    at = [i / 10 for i in range(-20, 31)]
    args = (FORK, numbers([[0.0], [1.0], [0.0]]))
    rest = (numbers([0.75]), numbers([1, 0, 0]), 1.0, 1)
    mine = [float(as_tensor(answer(*args, numbers([w]), *rest)[0])) for w in at]
    failing = [float(MUTANTS[0].answer(*args, numbers([w]), *rest)[0]) for w in at]
    lowest = at[mine.index(min(mine))]
    return lines({"your loss": mine, "the failing run": failing}, at,
                 xlabel="weight of going left (shown: 75 % left)", ylabel="loss (nats)",
                 title=f"A soft loss has no corner, and its minimum near {lowest:.1f} = log 3 "
                       "explains 75 %")


DEBUG = Exercise(
    id="maxent_irl.debug",
    title="A gradient that lies",
    points=3, minutes=12, difficulty=4,
    reference=debug,
    oracle=by_the_tree,
    rtol=1e-5, atol=1e-6,
    hand=Case(
        args=(FORK, numbers([[0, 0], [1, 0], [0, 1]]), numbers([0.0, 0.0]), numbers([0.75, 0.25]),
              numbers([1, 0, 0]), 1.0, 1),
        # both ways are worth 0: V_0 = log 2; expected (0.5, 0.5) minus shown (0.75, 0.25)
        expected=(torch.tensor(0.6931471805599453, dtype=torch.float64), numbers([-0.25, 0.25])),
        note="one decision at a fork, no reward yet; shown were 75 % left"),
    cases=draw_cases,
    properties=(Property("the gradient is that of the loss", its_gradient_is_its_own),),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "When loss and gradient disagree, ask which of the two fits the other's assumptions. The "
        "gradient counts visits of a softmax policy. For which value is that policy the best one?",
        r"$$V(s) = \lambda \log \sum_a e^{Q(s,a)/\lambda} \quad \text{has the derivatives} \quad "
        r"\frac{\partial V(s)}{\partial Q(s,a)} = \pi(a|s)$$" "\n\n"
        "A hard maximum has the derivative 1 for the best action and 0 for the others: its "
        "gradient counts the visits of a greedy policy.",
        "```python\n"
        "for _ in range(horizon):\n"
        "    q = transition_matrix @ (features @ weights + values)   # as it was\n"
        "    values = ...                                            # the line to mend\n"
        "    policy.insert(0, torch.softmax(q / temperature, dim=-1))\n"
        "```",
    ),
    why="A softmax is the derivative of a log-sum-exp, not of a maximum. The run descended along "
        "a direction that belongs to no loss: it ended where the features agree, with weights "
        "that assume perfect play later on. A gradient check of two lines finds it.",
    index_names=lambda case, index: f"feature {index[0]}",
    figure=show_the_check,
    forbidden=("tutorlib.irl.causal_loss", "tutorlib.irl.solve_causal"),
)
