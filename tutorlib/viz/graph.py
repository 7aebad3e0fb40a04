"""A small decision process as a graph: states are nodes, transitions are labelled arrows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import as_array, fixed, number, required_text
from tutorlib.viz.look import FAINT, INK, colour_scale, new_figure, style
from tutorlib.viz.picture import Picture

_MOST_STATES = 10
_RADIUS = 0.30  # of a node; neighbours lie about 1.5 apart
_BEND = 0.22  # arrows bow out by this part of their length, so that there and back stay apart


def mdp_graph(mdp, values: ArrayLike | None = None, *, title: str, label: str = "value",
              positions: Mapping[str, tuple[float, float]] | None = None,
              note: str = "") -> Picture:
    """Draw the states and transitions of a TabularMDP of at most 10 states.

    Each arrow names its actions with probability (when below 1) and reward r(s, a) (when not 0).
    Terminal states have a double ring and no arrows. ``values``, one per state, colours the
    nodes; ``positions`` maps state names to (x, y), neighbours about 1.5 apart, in place of the
    circle. Raises InvalidArgumentError for a larger process or unknown names.

    >>> from tutorlib.mdp import TabularMDP
    >>> two = TabularMDP.from_dense([[[0, 1.0]], [[0, 1.0]]], [[2.0], [0.0]],
    ...     terminal=[False, True], state_names=["work", "home"], action_names=["go"])
    >>> mdp_graph(two, title="One step home").alt
    'One step home. Graph of 2 states: work, home (terminal). From work: go to home, reward 2.'
    """
    title = required_text(title, "title")
    places = _places(mdp, positions)
    shown = None if values is None else as_array(values, "values", (mdp.n_states,))
    edges = _edges(mdp)
    low, high = places.min(0) - np.array([0.75, 0.85]), places.max(0) + np.array([0.75, 1.2])
    width, height = np.clip((high - low) * 1.55, (5.4, 2.2), (9.0, 6.0))
    with style():
        fig, ax = new_figure(title=title, width=float(width), height=float(height) + 0.5)
        for (start, end), labels in edges.items():
            _draw_edge(ax, places, start, end, labels)
        _draw_nodes(fig, ax, mdp, places, shown, label)
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        ax.set_axis_off()
    return Picture(fig, _alt(title, mdp, edges, shown, label, note))


def _places(mdp, positions) -> np.ndarray:
    """Return [states, 2] positions of the nodes: as given, side by side, or on a circle."""
    n_states = mdp.n_states
    if n_states > _MOST_STATES:
        raise InvalidArgumentError(
            f"this process has {n_states} states; a graph of more than {_MOST_STATES} is "
            "unreadable: use matrix(mdp.transition_matrix[:, action], ...) or gridworld(...)")
    if positions is not None:
        if set(positions) != set(mdp.state_names):
            raise InvalidArgumentError(
                f"positions names {sorted(positions)}; expected exactly {sorted(mdp.state_names)}")
        return as_array([positions[name] for name in mdp.state_names], "positions", (n_states, 2))
    if n_states <= 3:
        return np.array([[2.0 * i, 0.0] for i in range(n_states)])
    angles = np.pi - 2 * np.pi * np.arange(n_states) / n_states
    radius = max(1.25, 1.7 / (2 * np.sin(np.pi / n_states)))
    return radius * np.column_stack([np.cos(angles), np.sin(angles)])


def _edges(mdp) -> dict[tuple[int, int], list[tuple[str, float, float]]]:
    """Return {(state, next state): [(action, probability, reward), ...]}, without terminal ones."""
    successors = as_array(mdp.successors, "successors").astype(int)
    chances = as_array(mdp.probabilities, "probabilities")
    rewards, terminal = as_array(mdp.reward, "reward"), as_array(mdp.terminal, "terminal") > 0
    table: dict[tuple[int, int, int], float] = {}
    for state, action, branch in np.ndindex(chances.shape):
        if chances[state, action, branch] > 0 and not terminal[state]:
            key = (state, int(successors[state, action, branch]), action)
            table[key] = table.get(key, 0.0) + chances[state, action, branch]
    edges: dict[tuple[int, int], list[tuple[str, float, float]]] = {}
    for (state, successor, action), chance in table.items():
        edges.setdefault((state, successor), []).append(
            (mdp.action_names[action], chance, rewards[state, action]))
    return edges


def _edge_text(labels: list[tuple[str, float, float]]) -> str:
    """Return the label of an arrow, one action a line."""
    return "\n".join(
        action + (f" {number(chance)}" if chance < 1 - 1e-9 else "")
        + (f", r {number(reward)}" if reward else "") for action, chance, reward in labels)


def _draw_edge(ax, places: np.ndarray, start: int, end: int, labels: list) -> None:
    """Draw one arrow with its label; a loop stands above its state, or below it."""
    from matplotlib.patches import FancyArrowPatch

    a, b, bend = places[start], places[end], _BEND
    if start == end:
        below = len(places) > 3 and a[1] < places[:, 1].mean() - 0.1
        outward = np.array([0.0, -1.0 if below else 1.0])
        aside = np.array([-outward[1], outward[0]]) * _RADIUS * 0.6
        a, b = a + aside + outward * _RADIUS * 0.8, a - aside + outward * _RADIUS * 0.8
        bend = -1.9
    else:
        forward = (b - a) / np.linalg.norm(b - a)
        aside = np.array([forward[1], -forward[0]]) * _RADIUS * 0.35
        a, b = a + forward * _RADIUS * 0.97 + aside, b - forward * _RADIUS * 1.02 + aside
    dx, dy = b - a
    ax.add_patch(FancyArrowPatch(a, b, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>",
                                 mutation_scale=18, linewidth=1.5, color=FAINT,
                                 shrinkA=0, shrinkB=0))
    top = (a + b) / 2 + (0.5 if start != end else 0.54) * bend * np.array([dy, -dx])
    side = "center" if start != end else "top" if outward[1] < 0 else "bottom"
    ax.text(*top, _edge_text(labels), ha="center", va=side, fontsize=11.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2})


def _draw_nodes(fig, ax, mdp, places: np.ndarray, values: np.ndarray | None, label: str) -> None:
    """Draw the states: a ring each, a second one for terminal states, a value below the name."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Circle

    scale = None if values is None else colour_scale(values)
    texts = [""] * mdp.n_states if values is None else fixed(values)
    for state, (x, y) in enumerate(places):
        fill = "#f3f5f7" if scale is None else scale[0](scale[1](values[state]))
        ax.add_patch(Circle((x, y), _RADIUS, facecolor=fill, edgecolor=INK, zorder=3))
        if mdp.terminal[state]:
            ax.add_patch(Circle((x, y), _RADIUS * 0.86, fill=False, edgecolor=INK, zorder=4))
        text = mdp.state_names[state] + (f"\n{texts[state]}" if texts[state] else "")
        ax.text(x, y, text, ha="center", va="center", fontsize=12, zorder=5)
    if scale is not None:
        fig.colorbar(ScalarMappable(scale[1], scale[0]), ax=ax, label=label, shrink=0.8)


def _alt(title: str, mdp, edges: dict, values: np.ndarray | None, label: str, note: str) -> str:
    """Put the graph into words: its states, then where each leads."""
    names = [name + (f" ({label} {number(values[s])})" if values is not None else "")
             + (" (terminal)" if mdp.terminal[s] else "") for s, name in enumerate(mdp.state_names)]
    sentences = [f"{title}.", f"Graph of {mdp.n_states} states: {', '.join(names)}."]
    for state, name in enumerate(mdp.state_names):
        ways = [f"{action} to {mdp.state_names[end]}"
                + (f" with probability {number(chance)}" if chance < 1 - 1e-9 else "")
                + (f", reward {number(reward)}" if reward else "")
                for (start, end), labels in edges.items() if start == state
                for action, chance, reward in labels]
        if ways:
            sentences.append(f"From {name}: {'; '.join(ways)}.")
    return " ".join([*sentences, note]).strip()
