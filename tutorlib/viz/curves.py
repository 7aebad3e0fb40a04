"""Learning curves with a band over seeds, and plain lines; the alt text is read off the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import as_array, count, listing, named, number, required_text
from tutorlib.viz.look import FAINT, new_figure, series_look, style
from tutorlib.viz.picture import Picture


@dataclass(frozen=True)
class Band:
    """What a learning curve shows of its runs."""

    mean: np.ndarray  # over seeds, one number per step
    low: np.ndarray  # lower percentile over seeds
    high: np.ndarray  # upper percentile over seeds
    seeds: int  # number of runs


def seed_band(runs: ArrayLike, percentiles: tuple[float, float] = (10, 90),
              name: str = "runs") -> Band:
    """Return mean and percentile band over seeds of ``runs``, [seeds, steps] or one run [steps].

    Raises InvalidArgumentError for another shape, an empty array, or percentiles out of order.

    >>> band = seed_band([[0.0, 1.0], [2.0, 3.0]], percentiles=(0, 100))
    >>> band.mean.tolist(), band.low.tolist(), band.seeds
    ([1.0, 2.0], [0.0, 1.0], 2)
    """
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise InvalidArgumentError(
            f"band is {percentiles}; expected two percentiles, 0 <= low < high <= 100")
    table = np.atleast_2d(as_array(runs, name))
    if table.ndim != 2 or table.size == 0:
        raise InvalidArgumentError(
            f"{name} has shape {table.shape}; expected (seeds, steps), or (steps,) for one run")
    lower, upper = np.percentile(table, percentiles, axis=0)
    return Band(table.mean(0), lower, upper, len(table))


def learning_curves(runs: Mapping[str, ArrayLike], x: ArrayLike | None = None, *, title: str,
                    xlabel: str, ylabel: str, target: float | None = None,
                    target_label: str = "target", band: tuple[float, float] = (10, 90),
                    higher_is_better: bool = True, note: str = "") -> Picture:
    """Draw the mean over seeds with a percentile band for each name, and say how many seeds.

    ``runs`` maps names to arrays [seeds, steps]; one run is labelled as such. ``x`` are the
    steps' positions; ``target`` is a dashed line. ``band`` are percentiles; (0, 100) is the whole
    range. ``note`` is added to the alt text. Raises InvalidArgumentError on NaN or wrong shapes.

    >>> learning_curves({"PPO": [[0, 2], [0, 4]]}, title="PPO learns", xlabel="step",
    ...                 ylabel="return").alt
    'PPO learns. Learning curves of return against step. PPO (2 seeds): from 0 to 3 at step 1, \
band 2.2 to 3.8. Lines are means; bands are the 10 to 90 % range over seeds.'
    """
    title = required_text(title, "title")
    bands = {name: seed_band(table, band, name) for name, table in named(runs, "runs").items()}
    steps = _positions(x, {name: len(b.mean) for name, b in bands.items()})
    with style():
        fig, ax = new_figure(title=title)
        for index, (name, b) in enumerate(bands.items()):
            look = series_look(index, len(steps))
            ax.plot(steps, b.mean, label=_with_seeds(name, b.seeds), **look)
            if b.seeds > 1:
                ax.fill_between(steps, b.low, b.high, color=look["color"], alpha=0.18, linewidth=0)
        _finish(fig, ax, xlabel, ylabel, target, target_label, legend_title=_legend(bands, band))
    alt = [f"{title}.", f"Learning curves of {ylabel} against {xlabel}.",
           *_curve_sentences(bands, steps, xlabel), _verdict(bands, higher_is_better),
           _target_sentence(bands, steps, target, target_label, xlabel, higher_is_better),
           _band_sentence(bands, band), note]
    return Picture(fig, " ".join(part for part in alt if part))


def _with_seeds(name: str, seeds: int) -> str:
    """Return a series' name with what it rests on."""
    return f"{name} ({count(seeds, 'seed')})" if seeds > 1 else f"{name} (one run)"


def _legend(bands: Mapping[str, Band], band: tuple[float, float]) -> str | None:
    """Return the line above the legend that explains the band, when there is one."""
    if all(b.seeds == 1 for b in bands.values()):
        return None
    return f"line: mean over seeds; band: {_percent(band)}"


def _percent(band: tuple[float, float]) -> str:
    """Name a percentile band."""
    if tuple(band) == (0, 100):
        return "lowest to highest seed"
    return f"{number(band[0])}\u2013{number(band[1])} % of seeds"


def _band_sentence(bands: Mapping[str, Band], band: tuple[float, float]) -> str:
    """Say what lines and bands are."""
    if all(b.seeds == 1 for b in bands.values()):
        return "Each line is one run."
    if tuple(band) == (0, 100):
        return "Lines are means; bands run from the lowest to the highest seed."
    return (f"Lines are means; bands are the {number(band[0])} to {number(band[1])} % range "
            "over seeds.")


def _curve_sentences(bands: Mapping[str, Band], steps: np.ndarray, xlabel: str) -> list[str]:
    """Say for each curve where it starts and ends."""
    sentences = []
    for name, b in bands.items():
        spread = f", band {number(b.low[-1])} to {number(b.high[-1])}" if b.seeds > 1 else ""
        sentences.append(f"{_with_seeds(name, b.seeds)}: from {number(b.mean[0])} to "
                         f"{number(b.mean[-1])} at {_bare(xlabel)} {number(steps[-1])}{spread}.")
    return sentences


def _verdict(bands: Mapping[str, Band], higher_is_better: bool) -> str:
    """Say which curve ends best, and whether the bands still overlap."""
    if len(bands) < 2:
        return ""
    sign = 1 if higher_is_better else -1
    ranked = sorted(bands, key=lambda name: -sign * bands[name].mean[-1])
    best, second = bands[ranked[0]], bands[ranked[1]]
    if best.mean[-1] == second.mean[-1]:
        return f"{ranked[0]} and {ranked[1]} end equal."
    order = "highest" if higher_is_better else "lowest"
    if best.seeds == 1 or second.seeds == 1:
        return f"{ranked[0]} ends {order}."
    overlap = best.low[-1] <= second.high[-1] and second.low[-1] <= best.high[-1]
    return (f"{ranked[0]} ends {order}; its band "
            f"{'overlaps' if overlap else 'is clear of'} that of {ranked[1]}.")


def _target_sentence(bands, steps, target, target_label, xlabel, higher_is_better) -> str:
    """Say which means reach the target, and when."""
    if target is None:
        return ""
    reached, never = [], []
    for name, b in bands.items():
        hit = b.mean >= target if higher_is_better else b.mean <= target
        if hit.any():
            reached.append(f"{name} first at {_bare(xlabel)} {number(steps[int(hit.argmax())])}")
        else:
            never.append(name)
    parts = [f"reached by {listing(reached)}"] if reached else []
    parts += [f"not reached by {listing(never)}"] if never else []
    return f"The dashed line ({target_label}: {number(target)}) is {'; '.join(parts)}."


def lines(series: Mapping[str, ArrayLike], x: ArrayLike | None = None, *, title: str, xlabel: str,
          ylabel: str, xscale: str = "linear", yscale: str = "linear",
          target: float | None = None, target_label: str = "target", note: str = "") -> Picture:
    """Draw one line per name over a common ``x``; for runs with seeds use ``learning_curves``.

    ``series`` maps names to arrays [points], in which NaN leaves a gap. ``xscale`` and ``yscale``
    are "linear" or "log". Raises InvalidArgumentError on wrong lengths, or on numbers that a
    logarithmic axis cannot show.

    >>> lines({"cost": [1, 4, 9]}, [1, 2, 3], title="Cost grows", xlabel="size (states)",
    ...       ylabel="time (s)").alt
    'Cost grows. Line chart of time (s) against size (states), 1 to 3. cost: from 1 to 9, rising.'
    """
    title = required_text(title, "title")
    curves = {name: as_array(values, name, (None,), gaps=True)
              for name, values in named(series, "series").items()}
    positions = _positions(x, {name: len(values) for name, values in curves.items()})
    _check_scale(xscale, "xscale", {"x": positions})
    _check_scale(yscale, "yscale", curves)
    with style():
        fig, ax = new_figure(title=title)
        for index, (name, values) in enumerate(curves.items()):
            ax.plot(positions, values, label=name, **series_look(index, len(positions)))
        ax.set(xscale=xscale, yscale=yscale)
        _finish(fig, ax, xlabel, ylabel, target, target_label)
    logs = [axis for axis, scale in (("x", xscale), ("y", yscale)) if scale == "log"]
    alt = [f"{title}.",
           f"Line chart of {ylabel} against {xlabel}, {number(positions[0])} to "
           f"{number(positions[-1])}"
           + (f", {' and '.join(logs)} logarithmic." if logs else "."),
           *(f"{name}: {describe_line(values, positions)}." for name, values in curves.items()),
           f"Dashed line: {target_label}, {number(target)}." if target is not None else "", note]
    return Picture(fig, " ".join(part for part in alt if part))


def _check_scale(scale: str, name: str, values: Mapping[str, np.ndarray]) -> None:
    """Raise InvalidArgumentError for an unknown scale, or a logarithm of zero or less."""
    if scale not in ("linear", "log"):
        raise InvalidArgumentError(f'{name} is {scale!r}; expected "linear" or "log"')
    for label, array in values.items():
        if scale == "log" and (array[~np.isnan(array)] <= 0).any():
            raise InvalidArgumentError(
                f"{label} holds {number(np.nanmin(array))}; a logarithmic axis shows only numbers "
                f'above 0: use {name}="linear" or leave those points out (NaN)')


def describe_line(values: np.ndarray, positions: np.ndarray) -> str:
    """Describe one line: its ends, its course, and its extremes when they lie inside."""
    kept = ~np.isnan(values)
    if not kept.any():
        return "no points"
    y, at = values[kept], positions[kept]
    steps = np.diff(y)
    text = f"from {number(y[0])} to {number(y[-1])}"
    if not steps.any():
        return f"constant at {number(y[0])}"
    if (steps >= 0).all():
        return f"{text}, rising"
    if (steps <= 0).all():
        return f"{text}, falling"
    if y.max() > max(y[0], y[-1]):
        text += f", highest {number(y.max())} at {number(at[y.argmax()])}"
    if y.min() < min(y[0], y[-1]):
        text += f", lowest {number(y.min())} at {number(at[y.argmin()])}"
    return text


def _positions(x: ArrayLike | None, lengths: Mapping[str, int]) -> np.ndarray:
    """Return the common x positions; raise InvalidArgumentError unless all lengths agree."""
    expected = next(iter(lengths.values())) if x is None else len(as_array(x, "x", (None,)))
    for name, length in lengths.items():
        if length != expected or length == 0:
            raise InvalidArgumentError(
                f"{name} has {length} points; expected {expected or 'at least 1'}, "
                + ("as many as the first" if x is None else "one for each x"))
    return np.arange(expected, dtype=float) if x is None else as_array(x, "x", (None,))


def _bare(label: str) -> str:
    """Return an axis label without its unit in brackets."""
    return label.split(" (")[0]


def _finish(fig, ax, xlabel: str, ylabel: str, target: float | None, target_label: str,
            legend_title: str | None = None) -> None:
    """Label the axes, draw the target, and put the legend below, where it hides nothing."""
    ax.set_xlabel(required_text(xlabel, "xlabel"))
    ax.set_ylabel(required_text(ylabel, "ylabel"))
    if target is not None:
        ax.axhline(target, color=FAINT, linestyle="--", linewidth=1.4, marker="",
                   label=f"{target_label}: {number(target)}")
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > 1 or legend_title or labels[0].endswith("(one run)"):
        columns = 3 if max(map(len, labels)) < 18 else 2
        fig.legend(handles, labels, loc="outside lower left", ncols=min(columns, len(labels)),
                   title=legend_title, alignment="left")
