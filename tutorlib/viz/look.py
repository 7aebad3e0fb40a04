"""The one look of all figures: legible from the back of a room, and without colour.

Series differ by colour, marker and line style together. Grounds are white and solid, so that
figures read the same in a dark notebook. Global matplotlib state is never changed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

# Told apart under protanopia, deuteranopia and tritanopia; contrast on white at least 3:1.
COLOURS = ("#0b64a8", "#c8500a", "#1b7f5c", "#a23b82", "#2b2b2b", "#a87f00")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINE_STYLES = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 2, 1.2, 2)), (0, (9, 2)),
               (0, (4, 1.5, 1, 1.5, 1, 1.5)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++")
# Heat maps: from light to blue; from orange over white to blue.
SEQUENTIAL = ("#fffde8", "#cfe9c6", "#86cbc2", "#4f9fd4")
DIVERGING = ("#e58a2b", "#fbdcb4", "#ffffff", "#bfd9f2", "#4f9fd4")
INK, FAINT = "#1a1a1a", "#5a5a5a"
_CHARS_PER_INCH = 8.3  # of a bold title at its size

_SETTINGS = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.labelsize": 13,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.fontsize": 12,
    "legend.title_fontsize": 12,
    "legend.frameon": False,
    "legend.handlelength": 3.4,  # long enough to show the line style
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dcdcdc",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
    "hatch.linewidth": 0.8,
    "axes.unicode_minus": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the course's style inside the ``with``; settings are restored afterwards.

    >>> import matplotlib
    >>> before = matplotlib.rcParams["font.size"]
    >>> with style():
    ...     inside = matplotlib.rcParams["font.size"]
    >>> inside, matplotlib.rcParams["font.size"] == before
    (13.0, True)
    """
    import matplotlib
    from cycler import cycler

    cycle = cycler(color=COLOURS, linestyle=LINE_STYLES, marker=MARKERS)
    with matplotlib.rc_context({**_SETTINGS, "axes.prop_cycle": cycle}):
        yield


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 7.4, height: float = 4.7,
               title: str = "", layout: str = "constrained", **subplots):
    """Return (figure, axes) that pyplot does not know, so nothing leaks or shows twice.

    ``title`` is set as the figure's claim, wrapped to its width; ``width`` and ``height`` are in
    inches, of 100 CSS pixels each. Use it inside ``with style():`` and hand it to ``Picture``.
    """
    from matplotlib.figure import Figure

    wrapped = textwrap.fill(title, int(width * _CHARS_PER_INCH))
    height += 0.25 * wrapped.count("\n")
    fig = Figure(figsize=(width, height), layout=layout)
    if title:
        fig.suptitle(wrapped, x=0.01, ha="left", fontsize=14, fontweight="bold")
    return fig, fig.subplots(rows, columns, **subplots)


def series_look(index: int, points: int = 0) -> dict:
    """Return the keyword arguments that set series ``index`` apart, without relying on colour.

    Of ``points`` points about eight carry a marker, staggered between series.
    """
    every = max(1, points // 8)
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markevery": (min((index * every) // 4, max(points - 1, 0)), every) if points else None,
    }


def colour_scale(values, limits: tuple[float, float] | None = None):
    """Return (colour map, norm) for a heat map of ``values`` (NaN is left out).

    With both signs the map runs from orange over white at 0 to blue, otherwise from light to
    blue. Every shade is light enough for black numbers and arrows.
    """
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    finite = values[np.isfinite(values)]
    low, high = limits or ((finite.min(), finite.max()) if finite.size else (0.0, 1.0))
    shades = SEQUENTIAL
    if low < 0 < high and min(-low, high) > 0.05 * (high - low):
        high = max(-low, high)
        low, shades = -high, DIVERGING
    if low == high:
        low, high = low - 0.5, high + 0.5
    return LinearSegmentedColormap.from_list("course", shades), Normalize(low, high)


def luminance(colour) -> float:
    """Return the relative luminance (WCAG 2) of an (r, g, b, ...) colour with parts in [0, 1]."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
