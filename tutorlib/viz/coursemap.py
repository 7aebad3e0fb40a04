"""The map of the course that opens every lesson: all units, today's lit."""

from __future__ import annotations

import textwrap
from html import escape
from itertools import groupby

from tutorlib.syllabus import PARTS, UNITS, Unit, find_unit
from tutorlib.viz.arrays import listing
from tutorlib.viz.picture import Picture

THREAD = ("Behaviour is evidence about reward; a reward plus a prior induces a policy; "
          "the same algebra holds in a gridworld and in a language model.")
_LEFT, _WIDE, _HIGH, _GAP, _TOP = 168, 154, 50, 8, 50  # CSS pixels
_WIDTH = _LEFT + 5 * (_WIDE + _GAP) + 2
_FONT = 'font-family="system-ui, Segoe UI, Helvetica, Arial, DejaVu Sans, sans-serif"'


def roadmap(unit: str, note: str = "") -> Picture:
    """Draw all parts and units with ``unit`` (number, slug or stem) lit, and what it builds on.

    Raises LessonError for a unit that does not exist.

    >>> roadmap("03").alt.split(". ")[1]
    'You are here: unit 03, Maximum-entropy RL, in Part I, The reward is known'
    """
    today = find_unit(unit)
    rows = [(part, list(units)) for part, units in groupby(UNITS, key=lambda u: u.part)]
    body = [_row(index, part, units, today) for index, (part, units) in enumerate(rows)]
    height = _TOP + len(rows) * (_HIGH + _GAP) + 30
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
           f'width="{_WIDTH}" height="{height}" {_FONT}>'
           f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="#ffffff"/>'
           + _text_lines(textwrap.wrap(THREAD, 92), 12, 21, 15, 'font-style="italic"', spacing=19)
           + "".join(body) + _key(height - 12, today) + "</svg>")
    return Picture.from_svg(svg, _alt(rows, today, note), width=_WIDTH)


def _row(index: int, part: str, units: list[Unit], today: Unit) -> str:
    """Return one part: its name on the left, its units as boxes."""
    y = _TOP + index * (_HIGH + _GAP)
    head = "Start" if part == "0" else f"Part {part}"
    name = textwrap.wrap(PARTS[part], 21) if part != "0" else ["the house, the tools"]
    label = (_text_lines([head], 12, y + 15, 15, 'font-weight="bold"')
             + _text_lines(name, 12, y + 32, 13, spacing=15))
    return label + "".join(
        _box(_LEFT + column * (_WIDE + _GAP), y, unit, today) for column, unit in enumerate(units))


def _box(x: int, y: int, unit: Unit, today: Unit) -> str:
    """Return one unit's box; today's is dark and thick, its prerequisites are dashed."""
    lit, needed = unit is today, unit.number in today.needs
    fill, ink, edge, width = ("#0b3d66", "#ffffff", "#0b3d66", 3) if lit else (
        ("#fff4dc", "#1a1a1a", "#8a5a00", 2.5) if needed else ("#f3f5f7", "#1a1a1a", "#8b939b", 1))
    dash = ' stroke-dasharray="6 3"' if needed else ""
    words = textwrap.wrap(unit.title, 15)
    middle = y + _HIGH / 2 + 5
    return (f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="6" fill="{fill}" '
            f'stroke="{edge}" stroke-width="{width}"{dash}/>'
            + _text_lines([unit.number], x + 7, middle, 15, f'fill="{ink}" font-weight="bold"')
            + _text_lines(words, x + 31, middle - 8 * (len(words) - 1), 13,
                          f'fill="{ink}"', spacing=16))


def _text_lines(lines: list[str], x: float, y: float, size: float, extra: str = "",
                spacing: float = 17) -> str:
    """Return lines of text below each other."""
    return "".join(
        f'<text x="{x}" y="{y + i * spacing}" font-size="{size}" {extra}>{escape(line)}</text>'
        for i, line in enumerate(lines))


def _key(y: float, today: Unit) -> str:
    """Return the line that explains the boxes."""
    swatch = (f'<rect x="12" y="{y - 13}" width="24" height="15" rx="3" fill="#0b3d66"/>'
              f'<text x="42" y="{y}" font-size="13.5">you are here</text>')
    if not today.needs:
        return swatch
    return swatch + (
        f'<rect x="{_LEFT}" y="{y - 13}" width="24" height="15" rx="3" fill="#fff4dc" '
        'stroke="#8a5a00" stroke-width="2" stroke-dasharray="5 3"/>'
        f'<text x="{_LEFT + 32}" y="{y}" font-size="13.5">this unit builds on it</text>')


def _alt(rows: list, today: Unit, note: str) -> str:
    """Put the map into words."""
    place = UNITS.index(today)
    needs = [f"{number} {find_unit(number).title}" for number in today.needs]
    part = "the start" if today.part == "0" else f"Part {today.part}, {PARTS[today.part]}"
    alt = [f"Map of the course: {len(rows)} parts, {len(UNITS)} units.",
           f"You are here: unit {today.number}, {today.title}, in {part}.",
           f"It builds on {listing(needs)}." if needs else "",
           f"Next: {UNITS[place + 1].number} {UNITS[place + 1].title}."
           if place + 1 < len(UNITS) else "This is the last unit.",
           f"The thread: {THREAD}", note]
    return " ".join(sentence for sentence in alt if sentence)
