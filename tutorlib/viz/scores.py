"""Distributions of scores, one panel per way of answering: Figure 1 of the tutorial.

Sun and van der Schaar (2025, figure 1) sketch how the density of a task's score moves to the right
when answers are prompted for, demonstrated, or chosen by a reward model. Here scores are measured.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import as_array, count, fixed, named, number, required_text
from tutorlib.viz.look import COLOURS, FAINT, HATCHES, INK, LINE_STYLES, new_figure, style
from tutorlib.viz.picture import Picture

Panels = dict[str, dict[str, np.ndarray]]


def score_panels(panels: Mapping[str, ArrayLike | Mapping[str, ArrayLike]], *, title: str,
                 xlabel: str, reference: str | None = None, bins: int = 24, columns: int = 3,
                 thresholds: Mapping[str, float] | None = None, note: str = "") -> Picture:
    """Draw how scores are distributed, one panel per name, all on the same axes.

    A panel is an array of scores or several by name. ``reference`` names the panel whose outline
    is repeated in the others. ``thresholds`` {panel: score} draws where answers are filtered. Bars
    are shares of the answers; a line marks the mean. Raises InvalidArgumentError on NaN, empty
    panels, or names that are no panel.

    >>> score_panels({"1 direct": [0, 1], "2 prompted": [1, 2]}, title="Asking helps",
    ...              xlabel="score", reference="1 direct").alt
    'Asking helps. 2 panels of shares of answers against score, 0 to 2. 1 direct: mean 0.5, \
middle half 0.25 to 0.75 (2 answers). 2 prompted: mean 1.5, middle half 1.25 to 1.75 (2 answers), \
mean 1 above 1 direct.'
    """
    title = required_text(title, "title")
    tables = _tables(panels)
    for name in [*([] if reference is None else [reference]), *(thresholds or {})]:
        if name not in tables:
            raise InvalidArgumentError(f"there is no panel {name!r}; there are {list(tables)}")
    scores = np.concatenate([s for table in tables.values() for s in table.values()])
    edges = np.linspace(scores.min(), max(scores.max(), scores.min() + 1e-9), bins + 1)
    rows, across = -(-len(tables) // columns), min(columns, len(tables))
    with style():
        fig, axes = new_figure(rows, across, title=title, width=max(5.4, 3.15 * across),
                               height=0.7 + 2.9 * rows, squeeze=False, sharex=True, sharey=True)
        outline = None if reference is None else np.concatenate(list(tables[reference].values()))
        for ax, (name, table) in zip(axes.flat, tables.items(), strict=False):
            _panel(ax, name, table, edges, None if name == reference else outline, reference)
            _threshold(ax, (thresholds or {}).get(name))
        for ax in axes.flat[len(tables):]:
            ax.set_visible(False)
        fig.supxlabel(required_text(xlabel, "xlabel"), fontsize=13)
        fig.supylabel("share of answers", fontsize=13)
    return Picture(fig, _words(title, tables, xlabel, reference, thresholds or {}, edges, note))


def _tables(panels: Mapping) -> Panels:
    """Return {panel: {series: scores}}, checked."""
    tables = {}
    for name, given in named(panels, "panels").items():
        series = given if isinstance(given, Mapping) else {"": given}
        tables[name] = {key: as_array(row, f"panels[{name!r}]", (None,))
                        for key, row in named(series, f"panels[{name!r}]").items()}
        if any(not row.size for row in tables[name].values()):
            raise InvalidArgumentError(f"panels[{name!r}] has no scores; give at least one")
    return tables


def _shares(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return which share of the scores falls into each bin."""
    return np.histogram(scores, edges)[0] / len(scores)


def _panel(ax, name: str, table: dict[str, np.ndarray], edges: np.ndarray, outline,
           reference: str | None) -> None:
    """Draw one panel: its series, and the outline of the reference."""
    means = {label: fixed(scores.mean(keepdims=True))[0] for label, scores in table.items()}
    told = f"{name}: mean {means['']}" if list(table) == [""] else name
    ax.set_title(textwrap.fill(told, 34), fontsize=12, loc="left")
    if outline is not None:
        ax.stairs(_shares(outline, edges), edges, color=FAINT, linestyle="--", linewidth=1.5,
                  label=reference)
    for index, (label, scores) in enumerate(table.items()):
        colour = COLOURS[index % len(COLOURS)]
        ax.stairs(_shares(scores, edges), edges, fill=True, facecolor=colour, alpha=0.35,
                  hatch=HATCHES[index % len(HATCHES)], edgecolor=colour, linewidth=1.2,
                  label=f"{label} (mean {means[label]})" if label else None)
        ax.axvline(scores.mean(), color=colour, linewidth=2, marker="",
                   linestyle=LINE_STYLES[index % len(LINE_STYLES)])
    if outline is not None or any(table):
        ax.legend(fontsize=9.5, loc="upper left", handlelength=1.8,
                  frameon=True, framealpha=0.9, edgecolor="none").set_zorder(9)


def _threshold(ax, value: float | None) -> None:
    """Draw where answers are filtered: what is left of it goes."""
    if value is not None:
        ax.axvspan(ax.get_xlim()[0], value, facecolor="white", edgecolor="#bdbdbd", hatch="\\\\",
                   alpha=0.6, linewidth=0)
        ax.axvline(value, color=INK, linewidth=1.6, linestyle=":", marker="")


def _words(title: str, tables: Panels, xlabel: str, reference: str | None,
           thresholds: Mapping[str, float], edges: np.ndarray, note: str) -> str:
    """Return the alt text: mean and middle half of each panel."""
    alt = [f"{title}.", f"{count(len(tables), 'panel')} of shares of answers against {xlabel}, "
                        f"{number(edges[0])} to {number(edges[-1])}."]
    base = None if reference is None else np.concatenate(list(tables[reference].values())).mean()
    for name, table in tables.items():
        for label, scores in table.items():
            low, high = np.percentile(scores, (25, 75))
            text = (f"{name}{', ' + label if label else ''}: mean {number(scores.mean())}, middle "
                    f"half {number(low)} to {number(high)} ({count(scores.size, 'answer')})")
            if base is not None and name != reference:
                gap = float(scores.mean() - base)
                text += (f", mean {number(abs(gap))} {'above' if gap >= 0 else 'below'} "
                         f"{reference}")
            alt.append(f"{text}.")
        if name in thresholds:
            gone = np.mean(np.concatenate(list(table.values())) < thresholds[name])
            alt.append(f"Filtered at {number(thresholds[name])}: {gone:.0%} are below.")
    return " ".join(part for part in [*alt, note] if part)
