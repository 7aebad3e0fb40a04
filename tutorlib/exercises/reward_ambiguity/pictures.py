"""What the checks of 05.1 and 05.3 draw after success."""

from __future__ import annotations

import torch

from tutorlib.exercises.reward_ambiguity.worlds import normal, numbers, yard
from tutorlib.grading.compare import as_tensor
from tutorlib.mdp import value_iteration


def show_share(answer):
    """Draw which of a thousand random rewards explain the yard's optimal policy."""
    from tutorlib.viz import bars

    grid = yard()
    policy = value_iteration(grid.mdp).policy
    shares = {}
    for noise in (0.1, 0.3, 1.0, 3.0):
        generator = torch.Generator().manual_seed(0)
        around = grid.mdp.reward + noise * normal(generator, 100, *grid.mdp.reward.shape)
        around = around.masked_fill(grid.mdp.terminal[:, None], 0.0)
        found = as_tensor(answer(grid.mdp, policy, around)) > 0
        shares[f"± {noise:g}"] = 100 * float(found.double().mean())
    first, last = shares["± 0.1"], shares["± 3"]
    return bars(shares, xlabel="noise added to every reward of the yard (standard deviation)",
                ylabel="rewards that still explain the policy (%)",
                title=f"Rewards near the true one explain the policy too: {first:.0f} % with a "
                      f"little noise, {last:.0f} % with much")


def show_rounds(answer):
    """Draw the learner's projections in a plane: from a corner towards the expert."""
    from tutorlib.viz import Picture, new_figure, style
    from tutorlib.viz.look import series_look

    corners = numbers([[0.0, 0.0], [4.0, 0.0], [5.0, 2.5], [2.0, 4.0], [-0.5, 2.0]])
    expert = numbers([1.8, 0.35])
    point, weights = corners[0], expert - corners[0]
    path = [point]
    for _ in range(12):
        best = corners[int((corners @ weights).argmax())]  # the policy these weights ask for
        _, point, weights = (as_tensor(x).double() for x in answer(expert, point, best))
        path.append(point)
    track = torch.stack(path)
    far = [float((p - expert).norm()) for p in path]
    title = f"Twelve of your projections: from {far[0]:.2f} to {far[-1]:.3f} away from the expert"
    with style():
        fig, ax = new_figure(title=title)
        closed = torch.cat([corners, corners[:1]])
        ax.plot(closed[:, 0], closed[:, 1], label="reachable", **series_look(0))
        ax.plot(track[:, 0], track[:, 1], label="your mixture", **series_look(1))
        ax.plot(*expert, "k*", markersize=16, label="expert", linestyle="")
        ax.set(xlabel="first feature expectation", ylabel="second feature expectation")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    return Picture(fig, alt=f"{title}. A five-cornered region of reachable feature expectations; a "
                            "path runs from its lower left corner to the expert inside it.")
