"""One demonstrator, one policy, several divergences: what each costs, pays and pushes.

Knows no algorithm: a divergence and its reward are handed over as functions of two arrays of
shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import as_array, listing, named, number, required_text
from tutorlib.viz.explore import Explorer, Slider, explorer
from tutorlib.viz.look import COLOURS, FAINT, HATCHES, new_figure, style
from tutorlib.viz.picture import Picture

Game = tuple[Callable[[np.ndarray, np.ndarray], float],
             Callable[[np.ndarray, np.ndarray], ArrayLike]]


def density_picture(demo: ArrayLike, policy: ArrayLike, games: Mapping[str, Game],
                    actions: Sequence[str]) -> Picture:
    """Draw the shares of demonstrator and policy, each game's reward, and where it pushes.

    ``games`` maps a name to (divergence, reward), both functions of (demo, policy). The reward is
    drawn minus its mean under the policy; the push, policy times that, is how fast each share
    grows when the policy follows it by mirror steps. Raises InvalidArgumentError for wrong lengths
    or shares that do not sum to 1.

    >>> one = {"KL": (lambda p, q: float((q * np.log(q / p)).sum()), lambda p, q: np.log(p / q))}
    >>> density_picture([0.8, 0.2], [0.5, 0.5], one, ["up", "down"]).alt[:37]
    'KL 0.223: most pushed up is up, by al'
    """
    shares = {name: _shares(x, name, len(actions)) for name, x in
              (("demo", demo), ("policy", policy))}
    costs = {name: float(cost(shares["demo"], shares["policy"]))
             for name, (cost, _) in named(games, "games").items()}
    gains = {name: _gain(reward, shares, name) for name, (_, reward) in games.items()}
    pushes = {name: shares["policy"] * gain for name, gain in gains.items()}
    claim = _claim(costs, pushes, actions)
    with style():
        fig, axes = new_figure(1, 3, title=claim, width=10.4, height=4.3)
        for ax, series, label, first in zip(
                axes, ({"demonstrator": shares["demo"], "policy": shares["policy"]}, gains, pushes),
                ("share of the steps", "reward − its mean", "growth of the share, per round"),
                (4, 0, 0), strict=True):
            _bars(ax, series, actions, first)
            ax.set_title(label, fontsize=12, loc="left")
        axes[0].set_ylim(0, 1)
        for ax in axes[:2]:
            ax.legend(fontsize=10, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    return Picture(fig, " ".join([f"{claim}.", *_rows(shares, gains, pushes, actions)]))


def density_explorer(demo: ArrayLike, games: Mapping[str, Game], actions: Sequence[str],
                     start: ArrayLike | None = None) -> Explorer:
    """Return sliders for the policy's weights over ``density_picture``.

    A slider moves one action's weight from 1 to 100; shares are weights over their sum. ``start``
    gives the first shares (default: even). Raises InvalidArgumentError as ``density_picture``.

    >>> one = {"KL": (lambda p, q: float((q * np.log(q / p)).sum()), lambda p, q: np.log(p / q))}
    >>> density_explorer([0.8, 0.2], one, ["up", "down"]).values
    {'weight_0': 50, 'weight_1': 50}
    """
    first = np.full(len(actions), 1 / len(actions)) if start is None else _shares(
        start, "start", len(actions))
    top = 50 if start is None else 100
    weights = np.clip(np.round(top * first / first.max()), 1, 100).astype(int)

    def show(**values: int) -> Picture:
        policy = np.array([values[f"weight_{i}"] for i in range(len(actions))], dtype=float)
        return density_picture(demo, policy / policy.sum(), games, actions)

    return explorer(show, {f"weight_{i}": Slider(1, 100, int(weights[i]), label=f"weight of {name}")
                           for i, name in enumerate(actions)},
                    title="Move the policy: what does each divergence cost, pay and push?")


def _shares(values: ArrayLike, name: str, count: int) -> np.ndarray:
    """Return shares as an array; refuse wrong lengths, zeros and sums other than 1."""
    shares = as_array(values, name, (count,))
    if (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise InvalidArgumentError(f"{name} is {shares.tolist()}; expected {count} numbers above 0 "
                                   "that sum to 1")
    return shares


def _gain(reward: Callable, shares: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Return a reward minus its mean under the policy."""
    pay = as_array(reward(shares["demo"], shares["policy"]), f"reward of {name}",
                   shares["demo"].shape)
    return pay - float(shares["policy"] @ pay)


def _claim(costs: dict[str, float], pushes: dict[str, np.ndarray],
           actions: Sequence[str]) -> str:
    """Say what the divergences are, and which action each pushes up most."""
    worth = ", ".join(f"{name} {number(cost)}" for name, cost in costs.items())
    if all(float(np.abs(push).max()) < 5e-4 for push in pushes.values()):
        return f"{worth}: nobody pushes"
    aims = {name: required_text(str(actions[int(push.argmax())]), "actions")
            for name, push in pushes.items()}
    if len(set(aims.values())) == 1:
        return f"{worth}: most pushed up is {next(iter(aims.values()))}, by all"
    return f"{worth}: most pushed up is " + listing([f"{a} by {n}" for n, a in aims.items()])


def _bars(ax, series: dict[str, np.ndarray], actions: Sequence[str], first: int) -> None:
    """Draw bars side by side; colours and hatches begin at ``first``."""
    width, places = 0.8 / len(series), np.arange(len(actions))
    for index, (name, heights) in enumerate(series.items()):
        look = (first + index) % len(COLOURS)
        ax.bar(places + (index - (len(series) - 1) / 2) * width, heights, width * 0.92,
               label=name, color=COLOURS[look], hatch=HATCHES[look], edgecolor="white")
    ax.set_xticks(places, actions)
    ax.axhline(0, color=FAINT, linewidth=1)
    ax.grid(visible=False, axis="x")


def _rows(shares: dict, gains: dict, pushes: dict, actions: Sequence[str]) -> list[str]:
    """Read the picture's numbers, action by action."""
    rows = []
    for i, action in enumerate(actions):
        told = "; ".join(f"{name}: reward {number(gains[name][i])} above its mean, push "
                         f"{number(pushes[name][i])}" for name in gains)
        rows.append(f"{action}: demonstrator {number(shares['demo'][i])}, policy "
                    f"{number(shares['policy'][i])}; {told}.")
    return rows
