"""Heat maps of values and arrows of policies over a gridworld."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import fixed, number, required_text
from tutorlib.viz.gridview import MOVES, Panel, View, describe
from tutorlib.viz.look import INK, colour_scale, new_figure, style
from tutorlib.viz.picture import Picture

_FEWEST = 0.02  # probabilities below this draw no arrow
_NUMBERS_UP_TO = 120  # cells; beyond, numbers would be too small to read


def gridworld(grid, values: ArrayLike | None = None, policy: ArrayLike | None = None, *,
              title: str, label: str = "value", path: Sequence[int] | None = None,
              show_rewards: bool = False, limits: tuple[float, float] | None = None,
              note: str = "") -> Picture:
    """Draw a gridworld: values as a heat map, a policy as arrows (area = probability), a path.

    ``values`` is one number per state, ``policy`` [states, actions] in the order up, right, down,
    left; ``label`` names the values and their unit; ``limits`` fixes the colour scale. Walls are
    hatched; S, G and X mark start, goal and pit; a terminal cell worth 0 stays white. Raises
    InvalidArgumentError on wrong shapes.

    >>> from tutorlib.mdp import GridWorld
    >>> gridworld(GridWorld("S.G"), [0.5, 1, 0], title="Closer is worth more").alt
    'Closer is worth more. Grid of 1 row by 3 columns; start (0, 0), goal (0, 2). value: highest \
1 at (0, 1), lowest 0 at (0, 2), start 0.5.'
    """
    return gridworld_panels([Panel(grid, values, policy, "", path, show_rewards)],
                            title=title, label=label, limits=limits, note=note)


def gridworld_panels(panels: Sequence[Panel], *, title: str, label: str = "value",
                     limits: tuple[float, float] | None = None, note: str = "") -> Picture:
    """Draw several gridworlds side by side on one colour scale.

    Raises InvalidArgumentError when there is no panel, or on wrong shapes.
    """
    title = required_text(title, "title")
    if not panels:
        raise InvalidArgumentError("panels is empty; give at least one Panel(grid, ...)")
    views = [View(panel) for panel in panels]
    shown = [view.coloured() for view in views if view.values is not None]
    layout = rows, columns, cell = _layout(views, bool(shown))
    with style():
        fig, axes = new_figure(rows, columns, title=title, layout="compressed", squeeze=False,
                               **_size(views, layout, bool(shown)))
        scale = colour_scale(np.concatenate([v.ravel() for v in shown]), limits) if shown else None
        for view, ax in zip(views, axes.flat, strict=False):
            _draw(ax, view, scale, cell)
        for ax in axes.flat[len(views):]:
            ax.set_visible(False)
        if scale is not None:
            _colour_bar(fig, axes, scale, label)
    return Picture(fig, describe(title, views, label, note))


def _colour_bar(fig, axes, scale, label: str) -> None:
    """Draw the one colour bar of all panels."""
    from matplotlib.cm import ScalarMappable

    fig.colorbar(ScalarMappable(scale[1], scale[0]), ax=axes, label=label, shrink=0.85, pad=0.02)


def _layout(views: Sequence[View], bar: bool) -> tuple[int, int, float]:
    """Return rows and columns of panels, and the size of a cell in inches."""
    columns = 2 if len(views) == 4 else min(len(views), 3)  # four: a square leaves no gap
    rows = -(-len(views) // columns)
    wide, high = max(v.cols for v in views), max(v.rows for v in views)
    room = 9.2 - (1.6 if bar else 0.7)
    return rows, columns, min(1.0, room / columns / (wide + 0.4), 6.0 / rows / (high + 0.4))


def _size(views: Sequence[View], layout: tuple[int, int, float], bar: bool) -> dict[str, float]:
    """Return the figure's width and height in inches."""
    rows, columns, cell = layout
    wide, high = max(v.cols for v in views), max(v.rows for v in views)
    width = columns * (wide * cell + 0.35) + (1.6 if bar else 0.7)
    return {"width": max(5.4, width), "height": rows * (high * cell + 0.75) + 0.65}


def _draw(ax, view: View, scale, cell: float) -> None:
    """Draw one panel with cells of ``cell`` inches."""
    _draw_cells(ax, view, scale)
    ax.set(xlim=(-0.52, view.cols - 0.48), ylim=(view.rows - 0.48, -0.52), aspect="equal",
           xlabel="column", ylabel="row")
    every = 1 if max(view.rows, view.cols) <= 12 else 5
    ax.set_xticks(range(0, view.cols, every))
    ax.set_yticks(range(0, view.rows, every))
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_title(view.panel.title, fontsize=13)
    _write(ax, view, size=float(np.clip(cell * 15, 10, 15)))
    if view.policy is not None:
        _draw_arrows(ax, view)
    if view.path is not None:
        rows, columns = zip(*view.path, strict=True)
        ax.plot(columns, rows, color="white", linewidth=5.5, marker="", linestyle="-")
        ax.plot(columns, rows, color=INK, linewidth=2.4, linestyle="-", marker="o", markersize=6)


def _draw_cells(ax, view: View, scale) -> None:
    """Colour the cells by value and hatch the walls."""
    from matplotlib.patches import Rectangle

    empty = np.full((view.rows, view.cols), np.nan)
    shown = empty if view.values is None else view.coloured()
    for row, column in np.ndindex(view.rows, view.cols):
        look = {"facecolor": "white", "edgecolor": "#8a8a8a", "linewidth": 0.8}
        if (row, column) not in view.state_at:
            look = {"facecolor": "#e4e4e4", "edgecolor": "#6b6b6b", "hatch": "////", "linewidth": 0}
        elif np.isfinite(shown[row, column]):
            look["facecolor"] = scale[0](scale[1](shown[row, column]))
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **look))


def _has_numbers(view: View) -> bool:
    """Whether each cell's value is written in it."""
    return view.values is not None and len(view.cells) <= _NUMBERS_UP_TO


def _write(ax, view: View, size: float) -> None:
    """Write values, marks and rewards into the cells; ``size`` is the font's, in points."""
    texts = fixed(view.values) if _has_numbers(view) else []
    shared = view.policy is not None or view.path is not None
    for state, (row, column) in enumerate(view.cells):
        if texts:
            low = shared and not (view.terminal[state] and view.path is None)
            aside = view.path is not None  # the line runs through the middle of the cell
            ax.text(column + 0.46 * aside, row + 0.36 * low, texts[row * view.cols + column],
                    ha="right" if aside else "center", va="center",
                    fontsize=size * (0.82 if low else 1))
        ax.text(column - 0.46, row - 0.44, view.mark(state), ha="left", va="top",
                fontsize=size * 0.95, fontweight="bold")
        if view.panel.show_rewards and view.rewards[state]:
            ax.text(column + 0.46, row - 0.44, f"r {number(view.rewards[state])}",
                    ha="right", va="top", fontsize=size * 0.68)


def _draw_arrows(ax, view: View) -> None:
    """Draw an arrow per action; its area grows with the probability."""
    from matplotlib.collections import PolyCollection

    lift, size = (0.03, 0.28) if _has_numbers(view) else (0.0, 0.34)
    shapes = [arrow(column, row - lift, step, float(probability), size)
              for state, (row, column) in enumerate(view.cells) if not view.terminal[state]
              for probability, step in zip(view.policy[state], MOVES, strict=True)
              if probability > _FEWEST]
    ax.add_collection(PolyCollection(shapes, facecolors=INK, linewidths=0, zorder=3))


def arrow(x: float, y: float, step: tuple[int, int], probability: float,
          size: float = 0.34) -> np.ndarray:
    """Return the corners of an arrow at (x, y) whose area is proportional to the probability.

    A certain action's arrow is ``size`` long and centred; others start at the centre, to leave
    room for their rivals.

    >>> [round(float(part), 2) for part in arrow(0, 0, (0, 1), 0.25)[3]]  # the tip, to the right
    [0.22, 0.0]
    """
    scale = size * np.sqrt(min(probability, 1.0))
    start = -size / 2 if probability > 0.98 else 0.05
    along = start + np.array([0, 0.5, 0.5, 1, 0.5, 0.5, 0]) * scale
    across = np.array([-0.35, -0.35, -1, 0, 1, 0.35, 0.35]) * 0.38 * scale
    forward = np.array([step[1], step[0]])  # rows grow downwards, as the y axis does here
    sideways = np.array([forward[1], -forward[0]])
    return np.array([x, y]) + np.outer(along, forward) + np.outer(across, sideways)
