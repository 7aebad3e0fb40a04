"""Bar charts and labelled matrices."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import as_array, fixed, named, number, required_text
from tutorlib.viz.look import COLOURS, FAINT, HATCHES, INK, colour_scale, new_figure, style
from tutorlib.viz.picture import Picture

_NUMBERS_UP_TO = 150  # cells of a matrix that still get their number written in


def bars(values: Mapping[str, float] | Mapping[str, ArrayLike], *, title: str, ylabel: str,
         groups: Sequence[str] | None = None, errors: Mapping[str, ArrayLike] | None = None,
         errors_are: str = "", xlabel: str = "", target: float | None = None,
         target_label: str = "target", note: str = "") -> Picture:
    """Draw bars: {name: number}, or with ``groups`` one series {name: [one number per group]}.

    ``errors`` has the same form and gives half the length of each error bar; ``errors_are`` must
    then say what they are ("standard error over 5 seeds"). Raises InvalidArgumentError on NaN,
    wrong lengths, or unexplained error bars.

    >>> bars({"PPO": 2.0, "DPO": 3.5}, title="DPO is ahead", ylabel="win rate").alt
    'DPO is ahead. Bar chart of win rate. PPO: 2; DPO: 3.5. Highest: DPO, 3.5; lowest: PPO, 2.'
    """
    title = required_text(title, "title")
    series, labels = _series(values, groups, "values")
    spread = _spread(errors, groups, series, errors_are)
    with style():
        fig, ax = new_figure(title=title, width=7.4 if len(labels) * len(series) < 13 else 9.0)
        _draw_bars(ax, series, labels, spread)
        ax.set_ylabel(required_text(ylabel, "ylabel"))
        ax.set_xlabel(xlabel)
        if target is not None:
            ax.axhline(target, color=FAINT, linestyle="--", linewidth=1.4,
                       label=f"{target_label}: {number(target)}")
        handles, names = ax.get_legend_handles_labels()
        if names and (groups or target is not None):
            fig.legend(handles, names, loc="outside lower left", ncols=3)
        if spread:
            ax.annotate(f"error bars: {errors_are}", (1, 1.01), xycoords="axes fraction",
                        ha="right", va="bottom", fontsize=11, color=FAINT)
    return Picture(fig, _bars_alt(title, ylabel, series, labels, spread, errors_are,
                                  target, target_label, note))


def _series(values, groups: Sequence[str] | None,
            name: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return {series: numbers} and the labels below the bars."""
    entries = named(values, name)
    if groups is None:
        numbers = as_array(list(entries.values()), f"{name} (one number per name; for several "
                           "give groups)", (None,))
        return {"": numbers}, list(entries)
    size = (len(groups),)
    return ({key: as_array(row, f"{name}[{key!r}]", size) for key, row in entries.items()},
            [str(group) for group in groups])


def _spread(errors, groups, series, errors_are: str) -> dict[str, np.ndarray]:
    """Return the error bars by series; empty without any."""
    if errors is None:
        return {}
    required_text(errors_are, "errors_are")
    spread, _ = _series(errors, groups, "errors")
    if {k: v.shape for k, v in spread.items()} != {k: v.shape for k, v in series.items()}:
        raise InvalidArgumentError("errors must have the same names and lengths as values")
    if any((half < 0).any() for half in spread.values()):
        raise InvalidArgumentError("errors holds a negative number; give half-lengths, 0 or more")
    return spread


def _draw_bars(ax, series: dict, labels: list[str], spread: dict) -> None:
    """Draw the bars side by side, with hatches beside colours and the numbers on top."""
    width = 0.8 / len(series)
    places = np.arange(len(labels))
    for index, (name, heights) in enumerate(series.items()):
        drawn = ax.bar(places + (index - (len(series) - 1) / 2) * width, heights, width * 0.94,
                       label=name or "_", color=COLOURS[index % len(COLOURS)], edgecolor="white",
                       hatch=HATCHES[index % len(HATCHES)], yerr=spread.get(name), capsize=4,
                       error_kw={"ecolor": INK, "elinewidth": 1.4})
        if len(labels) * len(series) <= 24:
            ax.bar_label(drawn, [number(h) for h in heights], padding=3, fontsize=11)
    ax.set_xticks(places, [textwrap.fill(label, max(8, 60 // len(labels))) for label in labels])
    ax.axhline(0, color=FAINT, linewidth=1)
    ax.grid(visible=False, axis="x")
    ax.margins(y=0.12)


def _bars_alt(title, ylabel, series, labels, spread, errors_are, target, target_label,
              note) -> str:
    """Read the chart's alt text off its numbers."""
    rows = []
    for name, heights in series.items():
        halves = spread.get(name, np.zeros(len(heights)))
        parts = [f"{label}: {number(h)}" + (f" plus or minus {number(e)}" if spread else "")
                 for label, h, e in zip(labels, heights, halves, strict=True)]
        rows.append((f"{name}: " if name else "") + "; ".join(parts) + ".")
    flat = [(h, f"{name}, {label}" if name else label)
            for name, heights in series.items() for label, h in zip(labels, heights, strict=True)]
    (top, best), (bottom, worst) = max(flat), min(flat)
    extremes = (f"Highest: {best}, {number(top)}; lowest: {worst}, {number(bottom)}."
                if top > bottom else f"All are {number(top)}.")
    alt = [f"{title}.", f"Bar chart of {ylabel}.", *rows, extremes,
           f"Error bars: {errors_are}." if spread else "",
           f"Dashed line: {target_label}, {number(target)}." if target is not None else "", note]
    return " ".join(part for part in alt if part)


def matrix(values: ArrayLike, *, title: str, rows: Sequence[str], columns: Sequence[str],
           xlabel: str = "", ylabel: str = "", label: str = "value",
           limits: tuple[float, float] | None = None, note: str = "") -> Picture:
    """Draw a table of numbers [rows, columns] as a heat map with named rows and columns.

    NaN leaves a cell empty. ``limits`` fixes the colour scale, to compare pictures. Raises
    InvalidArgumentError unless there is one name per row and per column.

    >>> matrix([[0.9, 0.1]], title="It stays", rows=["sunny"], columns=["sunny", "rain"],
    ...        label="probability").alt
    'It stays. Table of probability, 1 row by 2 columns. Highest: row sunny, column sunny, 0.9; \
lowest: row sunny, column rain, 0.1. Row sunny: sunny 0.9, rain 0.1.'
    """
    title = required_text(title, "title")
    table = as_array(values, "values", (len(rows), len(columns)), gaps=True)
    if table.size == 0 or np.isnan(table).all():
        raise InvalidArgumentError("values holds no numbers to draw")
    longest = max(len(str(name)) for name in rows)
    width = float(np.clip(0.85 * len(columns) + 0.11 * longest + 1.8, 5.2, 9.0))
    height = float(np.clip(0.62 * len(rows) + 1.9, 3.0, 8.0))
    with style():
        fig, ax = new_figure(title=title, width=width, height=height)
        _draw_matrix(fig, ax, table, limits, label)
        ax.set_yticks(range(len(rows)), [str(name) for name in rows])
        crowded = sum(len(str(name)) + 2 for name in columns) * 0.1 > width - 2
        ax.set_xticks(range(len(columns)), [str(name) for name in columns],
                      rotation=30 if crowded else 0, ha="right" if crowded else "center",
                      rotation_mode="anchor" if crowded else "default")
        ax.set(xlabel=xlabel, ylabel=ylabel)
    return Picture(fig, _matrix_alt(title, table, rows, columns, label, note))


def _draw_matrix(fig, ax, table: np.ndarray, limits, label: str) -> None:
    """Draw the cells, their numbers when there is room, and the colour bar."""
    cmap, norm = colour_scale(table, limits)
    image = ax.imshow(table, cmap=cmap, norm=norm, aspect="auto")
    if table.size <= _NUMBERS_UP_TO:
        texts = fixed(table)
        for place, (row, column) in enumerate(np.ndindex(table.shape)):
            ax.text(column, row, texts[place], ha="center", va="center", fontsize=12)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_xticks(np.arange(1, table.shape[1]) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, table.shape[0]) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=2)
    ax.tick_params(which="minor", length=0)
    fig.colorbar(image, ax=ax, label=label, shrink=0.9)


def _matrix_alt(title, table, rows, columns, label, note) -> str:
    """Read the table's alt text off its numbers: all of them if few, else each row's highest."""
    def place(index: int) -> str:
        row, column = np.unravel_index(index, table.shape)
        return f"row {rows[row]}, column {columns[column]}, {number(table[row, column])}"

    size = (f"{len(rows)} row{'s' * (len(rows) > 1)} by "
            f"{len(columns)} column{'s' * (len(columns) > 1)}")
    alt = [f"{title}.", f"Table of {label}, {size}.",
           f"Highest: {place(int(np.nanargmax(table)))}; "
           f"lowest: {place(int(np.nanargmin(table)))}."]
    for row, values in zip(rows, table, strict=True):
        kept = [(str(c), v) for c, v in zip(columns, values, strict=True) if not np.isnan(v)]
        if table.size <= 30 and kept:
            alt.append(f"Row {row}: {', '.join(f'{c} {number(v)}' for c, v in kept)}.")
        elif len(rows) <= 12 and kept:
            top = max(kept, key=lambda pair: pair[1])
            alt.append(f"Row {row}: highest at {top[0]}, {number(top[1])}.")
    return " ".join(part for part in [*alt, note] if part)
