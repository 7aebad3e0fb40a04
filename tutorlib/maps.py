"""The maps of the units that people read: the table in README.md and the home page HOME.md.

Both are written from ``tutorlib.syllabus`` and from which lessons exist; ``tutorlib build`` keeps
them up to date and ``tutorlib build --check`` fails when they are not.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tutorlib.errors import LessonError
from tutorlib.syllabus import PARTS, UNITS, Unit, ready_units

BEGIN = "<!-- BEGIN UNITS: written by `tutorlib build` from tutorlib/syllabus.py -->"
END = "<!-- END UNITS -->"

HOME_TOP = """\
# From Inverse RL to LLM Post-Training

Start with {start}. Run a cell with Shift+Enter.

- **Exercises**: the lesson with gaps to fill, a check after each, and hints. Learn here.
- **Lesson**: the same with working code, for reading and for presenting.
- **Solutions**: solved, with why it works and what people get wrong.

Your progress stays on this machine: run `progress()` in any notebook to see it.
"""


def readme_table(ready: tuple[Unit, ...]) -> str:
    """Return the table of units in README.md."""
    lines = [summary_line(ready), "", "| Unit | Afterwards you can | Minutes | Status |",
             "|---|---|---|---|"]
    for part, units in groupby(UNITS, key=lambda unit: unit.part):
        lines.append(f"| **{part_title(part)}** | | | |")
        lines += [_readme_row(unit, unit in ready) for unit in units]
    return "\n".join(lines)


def _readme_row(unit: Unit, ready: bool) -> str:
    """Return a unit's line; only a ready one has a link and minutes."""
    name = f"{unit.number} {unit.title}"
    if ready:
        link = f"[{name}](notebooks/{unit.stem}.ipynb)"
        return f"| {link} | {unit.promise} | {unit.minutes} | ready |"
    return f"| {name} | {unit.promise} | | planned |"


def home_page(ready: tuple[Unit, ...]) -> str:
    """Return HOME.md, the page that opens beside the first notebook."""
    first = UNITS[0]
    start = f"{first.number} {first.title}"
    if first in ready:
        start = f"[{start}](exercises/{first.stem}.ipynb)"
    blocks = [HOME_TOP.format(start=start)]
    for part, units in groupby(UNITS, key=lambda unit: unit.part):
        rows = "\n".join(_home_row(unit, unit in ready) for unit in units)
        blocks.append(f"## {part_title(part)}\n\n| Unit | Afterwards you can | Minutes | Open |\n"
                      f"|---|---|---|---|\n{rows}\n")
    return "\n".join([*blocks, summary_line(ready), ""])


def _home_row(unit: Unit, ready: bool) -> str:
    """Return a unit's line with its three notebooks."""
    row = f"| {unit.number} {unit.title} | {unit.promise} |"
    if not ready:
        return f"{row} | planned |"
    file = f"{unit.stem}.ipynb"
    return (f"{row} {unit.minutes} | [exercises](exercises/{file}), "
            f"[lesson](notebooks/{file}), [solutions](solutions/{file}) |")


def part_title(part: str) -> str:
    """Return the heading of a part.

    >>> part_title("I")
    'Part I: The reward is known'
    """
    return f"Part {part}: {PARTS[part]}"


def summary_line(ready: tuple[Unit, ...]) -> str:
    """Return one sentence on how much of the course is there."""
    minutes = sum(unit.minutes for unit in ready)
    return (f"{len(ready)} of {len(UNITS)} units are ready: "
            f"about {minutes} minutes of learning.")


def between_markers(text: str, content: str) -> str:
    """Return ``text`` with what stands between the markers replaced.

    Raises ``LessonError`` when the markers are not there, once each and in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise LessonError(f"README.md needs the lines {BEGIN!r} and {END!r}, once each")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def update(root: Path, check: bool = False) -> tuple[str, ...]:
    """Write the maps under ``root`` that are out of date and return their names.

    With ``check`` nothing is written. A folder without README.md gets only the home page.
    """
    ready = ready_units(root)
    wanted = {root / "HOME.md": home_page(ready)}
    readme = root / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        wanted[readme] = between_markers(text, readme_table(ready))
    stale = [p for p, text in wanted.items()
             if not p.is_file() or p.read_text(encoding="utf-8") != text]
    if not check:
        for path in stale:
            path.write_text(wanted[path], encoding="utf-8")
    return tuple(path.name for path in stale)
