"""The instructor's page: how the class did, what was hard, which mistakes came up, what to look at.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from html import escape

from tutorlib.grading.cohort.charts import bar_figure, listed
from tutorlib.grading.cohort.feedback import count
from tutorlib.grading.cohort.pages import inline, page, table
from tutorlib.grading.cohort.records import failed, file_stem, passed
from tutorlib.grading.judge import NOT_ATTEMPTED

BINS = 10
MOST = 12  # rows of a table of mistakes


def class_page(records: Sequence[dict], left_out: Sequence[str] = ()) -> str:
    """Return the class report as HTML."""
    parts = [f"<p>{_summary(records)}</p>"]
    parts += _flagged(records)
    for unit in sorted({record["unit"] for record in records if record["unit"]}):
        parts += _unit([record for record in records if record["unit"] == unit])
    parts += _people(records)
    if left_out:
        parts.append("<h2>Not graded</h2>\n<p>These notebooks belong to units that were not asked "
                     "for:</p>\n<ul>" + "".join(f"<li>{escape(p)}</li>" for p in left_out)
                     + "</ul>")
    return page("Class report", "\n".join(parts))


def _summary(records: Sequence[dict]) -> str:
    """Say how much was graded, by what and behind which box."""
    learners = len({record["learner"]["id"] for record in records})
    tiers = sorted({record["tier"] for record in records if record["tier"]})
    late = sum(bool(record["late"]) for record in records)
    first = records[0]
    return escape(f"{count(len(records), 'notebook')} of {count(learners, 'learner')}, {late} "
                  f"handed in late; course version {first['course']['version']}, graders "
                  f"{first['course']['graders']}, hidden cases from seed {first['seed_id']}; code "
                  f"was run in: {', '.join(tiers) or 'nothing had to be run'}.")


def _flagged(records: Sequence[dict]) -> list[str]:
    """Return the list of what needs an instructor's own eyes."""
    rows = [[_who(record), record["unit"] or "?",
             f"{inline(text)}<br><code>{escape(record['submission']['path'])}</code>"]
            for record in records
            for text in [*record["flags"], *([record["problem"]] if record["problem"] else [])]]
    if not rows:
        return ["<h2>To look at</h2>\n<p>Nothing was flagged.</p>"]
    caption = "Each line is a reason to open the notebook, not a verdict"
    return ["<h2>To look at</h2>", table(caption, ["Learner", "Unit", "Why"], rows, html=True)]


def _unit(records: Sequence[dict]) -> list[str]:
    """Return one unit's part: scores, exercises, mistakes."""
    unit = records[0]["unit"]
    rows = [_exercise_row(records, i) for i in range(len(records[0]["exercises"]))]
    return [f"<h2>Unit {unit} · {escape(records[0]['unit_title'])}</h2>",
            score_figure(records), hardest_figure(records),
            table(f"Unit {unit}, each exercise in lesson order; numbers of learners",
                  ["Exercise", "passed", "not passed", "not attempted", "too slow",
                   "hidden cases only"], rows, numbers=5),
            mistakes_figure(mistake_rows(records)), timeouts_figure(timeouts(records))]


def score_figure(records: Sequence[dict]) -> str:
    """Draw how points are distributed over a unit's learners."""
    most = records[0]["max_points"] or 1
    places = Counter(min(BINS - 1, int(BINS * record["points"] / most)) for record in records)
    middle = statistics.median(record["points"] for record in records)
    title = f"At least half of {len(records)} learners have {middle:g} of {most:g} points or more"
    if len(records) == 1:
        title = f"One learner, with {middle:g} of {most:g} points"
    if any(record["late"] for record in records):
        title += ", before anything is taken off for lateness"
    rows = [(f"{100 * i // BINS} to {100 * (i + 1) // BINS} %", places[i], str(places[i]))
            for i in reversed(range(BINS))]
    return bar_figure(title, ("Share of the points", "Learners"), rows, max(places.values()))


def hardest_figure(records: Sequence[dict]) -> str:
    """Draw what share of the learners passed each exercise, the hardest first."""
    columns = list(zip(*(record["exercises"] for record in records), strict=True))
    right = {column[0]["title"]: sum(map(passed, column)) for column in columns}
    low, of = min(right.values()), len(records)
    hardest = [title for title, number in right.items() if number == low]
    title = f"Hardest: {listed(hardest)}, passed by {low} of {of}"
    if low == of:
        title = f"Every exercise was passed by {count(of, 'learner')}"
    elif len(hardest) == len(right):
        title = f"Every exercise was passed by {low} of {of}"
    rows = [(name, number, f"{100 * number / of:.0f} %")
            for name, number in sorted(right.items(), key=lambda item: item[1])]
    return bar_figure(title, ("Exercise", "Learners who passed"), rows, of)


def timeouts(records: Sequence[dict]) -> dict[str, int]:
    """Return {exercise: learners whose answer was stopped}, the most frequent first, no zeros."""
    found = Counter(row["title"] for record in records for row in record["exercises"]
                    if row["stage"] == "time limit")
    return {title: found[title] for title in sorted(found, key=lambda t: (-found[t], t))}


def timeouts_figure(slow: dict[str, int]) -> str:
    """Draw where answers were stopped for time; a sentence where none was."""
    if not slow:
        return "<p>No answer ran longer than it may.</p>"
    top = max(slow.values())
    first = [title for title, number in slow.items() if number == top]
    rows = [(title, number, str(number)) for title, number in slow.items()]
    return bar_figure(f"Stopped for time most often: {listed(first)}, {count(top, 'learner')}"
                      + (" each" if len(first) > 1 else ""),
                      ("Exercise", "Learners stopped"), rows, top)


def mistakes_figure(mistakes: list[list]) -> str:
    """Draw the most frequent recognised mistakes; ``mistakes`` as ``mistake_rows`` gives them."""
    if not mistakes:
        return "<p>No known mistake was recognised.</p>"
    top = mistakes[0][3]
    first = [name for _, name, _, number in mistakes if number == top]
    title = (f"Most frequent recognised mistake: {listed(first)}, {count(top, 'learner')}"
             + (" each" if len(first) > 1 else ""))
    if top == 1 and len(mistakes) > 1:
        title = f"{len(mistakes)} mistakes were recognised, each in one notebook"
    shown = mistakes[:MOST]
    rows = [(f"{exercise}: {name}", number, str(number)) for exercise, name, _, number in shown]
    return bar_figure(title, ("Mistake, and what the learner was told", "Learners"), rows, top,
                      [message for _, _, message, _ in shown])


def _exercise_row(records: Sequence[dict], index: int) -> list:
    """Return an exercise's row of counts."""
    rows = [record["exercises"][index] for record in records]
    return [rows[0]["title"], sum(map(passed, rows)), sum(map(failed, rows)),
            sum(row["outcome"] == NOT_ATTEMPTED for row in rows),
            sum(row["stage"] == "time limit" for row in rows), sum(row["hidden"] for row in rows)]


def mistake_rows(records: Sequence[dict]) -> list[list]:
    """Return [exercise, mistake, message, learners], the most frequent first."""
    found = Counter((row["title"], row["mistake"]["name"], row["mistake"]["message"])
                    for record in records for row in record["exercises"] if row["mistake"])
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [[title, name.replace("_", " "), message, number]
            for (title, name, message), number in ordered]


def _who(record: dict) -> str:
    """Return a link to a learner's page."""
    who, name = escape(record["learner"]["id"]), escape(record["learner"]["name"])
    link = f'<a href="feedback/{escape(file_stem(record))}.html">{who}</a>'
    return link + (f" {name}" if name != who else "")


def _people(records: Sequence[dict]) -> list[str]:
    """Return the table of submissions, with links to their pages."""
    rows = []
    for record in records:
        late = record["late"].get("percent_off")
        rows.append([_who(record), record["unit"] or "?",
                     "" if late is None else "late" if not late else f"late, less {late:g} %",
                     f"{record['final']:g} of {record['max_points']:g}",
                     *(_share(record, kind) for kind in ("shown", "hidden"))])
    return ["<h2>Submissions</h2>",
            table("Each submission; cases that were right, of those that were tried",
                  ["Learner", "Unit", "Late", "Points", "Shown cases", "Hidden cases"],
                  rows, numbers=3, html=True)]


def _share(record: dict, kind: str) -> str:
    """Say how many cases of a kind were right."""
    outcomes = [case["outcome"] for row in record["exercises"] for case in row["cases"]
                if case["set"] == kind]
    return f"{outcomes.count('right')} of {len(outcomes)}" if outcomes else ""
