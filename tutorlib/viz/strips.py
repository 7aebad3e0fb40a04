"""The token strip: a sequence word by word, with numbers and colours below its words."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import fixed, required_text
from tutorlib.viz.look import FAINT, INK, colour_scale, new_figure, style
from tutorlib.viz.picture import Picture
from tutorlib.viz.stripview import Strip, describe_strips, read_strips

_WIDEST = 9.4  # inches of a figure; longer sequences continue below
_CELL, _CHAR, _GAP = 0.36, 0.098, 0.2  # height of a cell; width of a letter; between sequences
_PROMPT = "#e9e9e9"


def token_strip(tokens: Sequence[str] | Sequence[Sequence[str]],
                values: Mapping[str, ArrayLike] | None = None, *, title: str,
                prompt: ArrayLike | None = None, mask: ArrayLike | None = None,
                eos: str = "<eos>", names: Sequence[str] = (),
                limits: Mapping[str, tuple[float, float]] | None = None,
                note: str = "") -> Picture:
    """Draw tokens in a row and, below each, its log-probability, reward, KL, value, advantage...

    ``values`` maps a quantity, with its unit, to numbers [tokens]: one row each, one colour scale
    each. Fewer numbers belong to the last tokens: to those behind the prompt, or to all but the
    first. NaN leaves a cell empty. ``prompt`` is how many tokens are the prompt, or its mask
    [tokens]; ``mask`` is 0 at padding. For several sequences, aligned in columns, give a list of
    each, and ``names``. ``limits`` fixes a quantity's colours, to compare pictures. Raises
    InvalidArgumentError on wrong lengths.

    >>> token_strip(["sky", "?", "blue", "<eos>"], {"log π": [-0.5, -0.1]}, prompt=2,
    ...             title="It knows").alt
    'It knows. Strip of 4 tokens. Prompt "sky ?", answer "blue <eos>". log π: blue −0.5, \
<eos> −0.1. log π: lowest −0.5 at \\'blue\\' and highest −0.1 at \\'<eos>\\'.'
    """
    title = required_text(title, "title")
    strips = read_strips(tokens, values, prompt, mask, eos, names)
    unknown = sorted(set(limits or {}) - set(strips[0].rows))
    if unknown:
        raise InvalidArgumentError(f"limits names {', '.join(unknown)}, which is not among the "
                                   f"quantities: {', '.join(strips[0].rows) or 'none'}")
    scales = {label: _scale(label, strips, (limits or {}).get(label)) for label in strips[0].rows}
    plan = _plan(strips, scales)
    with style():
        fig, ax = new_figure(title=title, width=plan.width, height=plan.height + 0.5)
        _draw(ax, strips, scales, plan)
    return Picture(fig, describe_strips(title, strips, note))


@dataclass(frozen=True)
class _Scale:
    """How a quantity is coloured and written."""

    colours: object  # matplotlib colour map
    norm: object  # from numbers to [0, 1]
    texts: list[list[str]]  # for each sequence, the number of each token; "" where none is
    span: str  # "lowest to highest" number that has a colour of its own


@dataclass(frozen=True)
class _Plan:
    """Where everything goes, in inches from the top left."""

    lines: list[range]  # columns of each line
    widths: np.ndarray  # of each column
    left: float  # width of the labels
    block: float  # height of all sequences in one line
    keys: list[list[tuple[float, str, object]]]  # lines of (x, text, look) below everything
    width: float
    height: float


def _scale(label: str, strips: Sequence[Strip], limits) -> _Scale:
    """Return the common colours of a quantity, and its numbers as texts."""
    rows = [strip.rows[label] for strip in strips]
    flat = np.concatenate(rows)
    colours, norm = colour_scale(flat, limits)
    texts, split = fixed(flat), np.cumsum([0, *map(len, rows)])
    return _Scale(colours, norm, [texts[a:b] for a, b in pairwise(split)],
                  " to ".join(fixed(np.array([norm.vmin, norm.vmax]))))


def _plan(strips: Sequence[Strip], scales: Mapping[str, _Scale]) -> _Plan:
    """Break the columns into lines and measure the figure."""
    columns = max(len(strip.tokens) for strip in strips)
    letters = np.ones(columns)
    for i, strip in enumerate(strips):
        for texts in (strip.tokens, *(scale.texts[i] for scale in scales.values())):
            letters[:len(texts)] = np.maximum(letters[:len(texts)], [len(t) for t in texts])
    widths = letters * _CHAR + 0.16
    labels = [line for label in scales for line in _label(label).split("\n")]
    longest = max(map(len, [*labels, *(strip.name for strip in strips), ""]))
    left = longest * 0.088 + 0.15 if longest else 0.0
    lines, start = [], 0
    for column in range(1, columns + 1):
        if column == columns or left + widths[start:column + 1].sum() > _WIDEST - 0.1:
            lines.append(range(start, column))
            start = column
    used = left + max(widths[line.start:line.stop].sum() for line in lines)
    width = float(np.clip(used + 0.1, 5.4, max(_WIDEST, used + 0.1)))
    block = len(strips) * (_CELL * (1 + len(scales)) + _GAP) + 0.22
    keys = _keys(strips, scales, width)
    return _Plan(lines, widths, left, block, keys, width, block * len(lines) + 0.3 * len(keys))


def _label(label: str) -> str:
    """Return a quantity's label, in two lines if it is long."""
    widths = range(18 if len(label) <= 18 else len(label) // 2, len(label) + 1)
    broken = (textwrap.fill(label, width, break_on_hyphens=False, break_long_words=False)
              for width in widths)
    return next((text for text in broken if text.count("\n") <= 1), label)


def _keys(strips: Sequence[Strip], scales: Mapping[str, _Scale], width: float) -> list:
    """Return the entries of the key, broken into lines."""
    entries = [("prompt", "prompt")] if any(s.prompt.any() for s in strips) else []
    entries += [("padding", "padding")] if any(s.padding.any() for s in strips) else []
    if any(s.ends(i) for s in strips for i in range(len(s.tokens))):
        entries.append(("end of sequence", "end"))
    entries += [(f"{scale.span}: {label}", scale) for label, scale in scales.items()]
    lines, x = [[]], 0.0
    for text, look in entries:
        room = 0.45 + len(text) * 0.078 + 0.2 + (0.5 if isinstance(look, _Scale) else 0)
        if lines[-1] and x + room > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, text, look))
        x += room
    return [line for line in lines if line]


def _draw(ax, strips: Sequence[Strip], scales: Mapping[str, _Scale], plan: _Plan) -> None:
    """Draw all lines and the key below them."""
    ax.set(xlim=(0, plan.width), ylim=(plan.height, 0))
    ax.axis("off")
    for i, line in enumerate(plan.lines):
        top = i * plan.block
        places = plan.left + np.cumsum([0, *plan.widths[line.start:line.stop]])
        for column, x in zip(line, places, strict=False):
            ax.text(x + plan.widths[column] / 2, top + 0.2, str(column), fontsize=9, color=FAINT,
                    ha="center", va="bottom")
        for index, strip in enumerate(strips):
            y = top + 0.22 + index * (_CELL * (1 + len(scales)) + _GAP)
            _draw_strip(ax, strip, index, scales, plan, line, places, y)
    for i, entries in enumerate(plan.keys):
        for x, text, look in entries:
            _draw_key(ax, x, plan.height - 0.3 * (len(plan.keys) - i) + 0.05, text, look)


def _draw_strip(ax, strip: Strip, index: int, scales, plan: _Plan, line: range, places,
                y: float) -> None:
    """Draw one sequence's part of a line: its tokens, then a row for each quantity."""
    if line.start >= len(strip.tokens):
        return
    ax.text(0, y + _CELL / 2, strip.name, fontsize=11, fontweight="bold", va="center")
    for row, label in enumerate(scales, start=1):
        ax.text(0, y + (row + 0.5) * _CELL, _label(label), fontsize=11, va="center",
                linespacing=0.95)
    alone = next(iter(scales.values())) if len(scales) == 1 else None
    ends = []
    for column, x in zip(line, places, strict=False):
        if column >= len(strip.tokens):
            break
        width = plan.widths[column]
        shade = _shade(alone, strip, column) if alone and not strip.prompt[column] else "white"
        _token(ax, x, y, width, strip, column, shade)
        for row, (label, scale) in enumerate(scales.items(), start=1):
            text, value = scale.texts[index][column], strip.rows[label][column]
            face = scale.colours(scale.norm(value)) if text else "white"
            _cell(ax, x, y + row * _CELL, width, text, face)
        if strip.ends(column):
            ends.append((x, width))
    for x, width in ends:
        _box(ax, x + 0.02, y + 0.02, width - 0.04, _CELL - 0.04, "none", INK, 2.0)


def _shade(scale: _Scale, strip: Strip, column: int):
    """Return the colour of a token's own cell: that of the only quantity."""
    value = next(iter(strip.rows.values()))[column]
    return "white" if np.isnan(value) else scale.colours(scale.norm(value))


def _token(ax, x: float, y: float, width: float, strip: Strip, column: int, face) -> None:
    """Draw a token in the look of prompt, answer or padding."""
    if strip.padding[column]:
        _box(ax, x, y, width, _CELL, "white", "#bdbdbd", 0.8, hatch="////")
        ax.text(x + width / 2, y + _CELL / 2, strip.tokens[column], fontsize=10, color=FAINT,
                ha="center", va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
        return
    asked = bool(strip.prompt[column])
    _cell(ax, x, y, width, strip.tokens[column], _PROMPT if asked else face,
          style="italic" if asked else "normal", fontweight="normal" if asked else "bold")


def _cell(ax, x: float, y: float, width: float, text: str, face, **look) -> None:
    """Draw a cell with a text in its middle."""
    _box(ax, x, y, width, _CELL, face, "#bdbdbd", 0.8)
    ax.text(x + width / 2, y + _CELL / 2, text, fontsize=11, ha="center", va="center", **look)


def _box(ax, x: float, y: float, width: float, height: float, face, edge, line: float,
         hatch: str | None = None) -> None:
    """Draw a rectangle."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((x, y), width, height, facecolor=face, edgecolor=edge, linewidth=line,
                           hatch=hatch))


def _draw_key(ax, x: float, y: float, text: str, look) -> None:
    """Draw one entry of the key: a sample and its meaning."""
    room = 0.85 if isinstance(look, _Scale) else 0.35
    if isinstance(look, _Scale):
        for i, share in enumerate(np.linspace(0, 1, 16)):
            _box(ax, x + i * 0.05, y, 0.05, 0.2, look.colours(share), "none", 0)
        _box(ax, x, y, 0.8, 0.2, "none", "#bdbdbd", 0.8)
    else:
        edge, line = (INK, 2.0) if look == "end" else ("#bdbdbd", 0.8)
        _box(ax, x + 0.01, y, 0.3, 0.2, _PROMPT if look == "prompt" else "white", edge, line,
             hatch="////" if look == "padding" else None)
    ax.text(x + room, y + 0.1, text, fontsize=10, color=FAINT, va="center")
