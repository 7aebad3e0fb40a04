"""The instructor's page: how the class did, what was hard, which mistakes came up, what to look at.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from html import escape

from tutorlib.grading.cohort.feedback import case_count
from tutorlib.grading.cohort.pages import inline, page, table
from tutorlib.grading.cohort.records import failed, file_stem, passed
from tutorlib.grading.judge import NOT_ATTEMPTED

BINS = 10
MOST = 12  # bars of a picture, rows of a mistakes table


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
    first = records[0]
    return escape(f"{len(records)} notebooks of {learners} learners; course version "
                  f"{first['course']['version']}, graders {first['course']['graders']}, hidden "
                  f"cases from seed {first['seed_id']}; code was run in: "
                  f"{', '.join(tiers) or 'nothing had to be run'}.")


def _flagged(records: Sequence[dict]) -> list[str]:
    """Return the list of what needs an instructor's own eyes."""
    rows = [[record["learner"]["id"], record["unit"], text] for record in records
            for text in [*record["flags"], *([record["problem"]] if record["problem"] else [])]]
    if not rows:
        return ["<h2>To look at</h2>\n<p>Nothing was flagged.</p>"]
    caption = "Each line is a reason to open the notebook, not a verdict"
    return ["<h2>To look at</h2>", table(caption, ["Learner", "Unit", "Why"], rows)]


def _unit(records: Sequence[dict]) -> list[str]:
    """Return one unit's part: scores, exercises, mistakes."""
    unit = records[0]["unit"]
    parts = [f"<h2>Unit {unit} · {escape(records[0]['unit_title'])}</h2>",
             score_picture(records).html(), hardest_picture(records).html()]
    slow = timeouts(records)
    parts += [timeouts_picture(slow).html()] if slow else []
    rows = [_exercise_row(records, i) for i in range(len(records[0]["exercises"]))]
    parts.append(table("Each exercise, in lesson order; numbers of learners",
                       ["Exercise", "passed", "not passed", "not attempted", "too slow",
                        "hidden cases only"], rows, numbers=5))
    mistakes = mistake_rows(records)
    if mistakes:
        parts.append(mistakes_picture(mistakes).html())
        parts.append(table("The most frequent recognised mistakes",
                           ["Exercise", "Mistake", "What the learner was told", "Learners"],
                           mistakes[:MOST], numbers=1))
    return parts


def score_picture(records: Sequence[dict]):
    """Draw how points are distributed over a unit's learners."""
    from tutorlib.viz import bars

    most = records[0]["max_points"] or 1
    shares = [record["points"] / most for record in records]
    counts = Counter(min(BINS - 1, int(BINS * share)) for share in shares)
    values = {f"{100 * i // BINS}-{100 * (i + 1) // BINS}": counts.get(i, 0)
              for i in range(BINS)}
    middle = statistics.median(record["points"] for record in records)
    return bars(values, title=f"Half of the learners have {middle:g} of {most:g} points or more",
                ylabel="learners", xlabel="share of the points, %")


def hardest_picture(records: Sequence[dict]):
    """Draw what share of the learners passed each exercise, the hardest first."""
    from tutorlib.viz import bars

    rows = list(zip(*(record["exercises"] for record in records), strict=True))
    shares = {column[0]["title"]: 100 * sum(map(passed, column)) / len(column) for column in rows}
    ordered = dict(sorted(shares.items(), key=lambda item: item[1])[:MOST])
    name, share = next(iter(ordered.items()))
    return bars(ordered, title=f"Hardest is \"{name}\": {share:.0f} % passed it",
                ylabel="learners who passed, %")


def timeouts(records: Sequence[dict]) -> dict[str, int]:
    """Return {exercise: learners whose answer was stopped}, without zeros."""
    found = Counter(row["title"] for record in records for row in record["exercises"]
                    if row["stage"] == "time limit")
    return {title: found[title] for title in sorted(found, key=lambda t: (-found[t], t))[:MOST]}


def timeouts_picture(slow: dict[str, int]):
    """Draw where answers were stopped for time."""
    from tutorlib.viz import bars

    name, count = next(iter(slow.items()))
    return bars(slow, title=f"Stopped for time most often: \"{name}\", {count} of the learners",
                ylabel="learners stopped")


def mistakes_picture(mistakes: list[list]):
    """Draw the most frequent recognised mistakes; ``mistakes`` as ``mistake_rows`` gives them."""
    from tutorlib.viz import bars

    top = mistakes[:6]
    title, name, _, count = top[0]
    return bars({f"{t}: {n}": c for t, n, _, c in top}, ylabel="learners",
                title=f"Most frequent mistake: \"{name}\" in \"{title}\", {count} of the learners")


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
    return [[title, name.replace("_", " "), message, count]
            for (title, name, message), count in ordered]


def _people(records: Sequence[dict]) -> list[str]:
    """Return the table of submissions, with links to their pages."""
    rows = []
    for record in records:
        who = escape(record["learner"]["id"])
        cases = case_count([c for row in record["exercises"] for c in row["cases"]])
        rows.append(f'<tr><th scope="row"><a href="feedback/{escape(file_stem(record))}.html">'
                    f"{who}</a></th><td>{escape(record['learner']['name'])}</td>"
                    f"<td>{record['unit']}</td><td class=\"number\">{record['final']:g} of "
                    f"{record['max_points']:g}</td><td>{inline(cases)}</td></tr>")
    head = "".join(f'<th scope="col">{name}</th>'
                   for name in ("Learner", "Name", "Unit", "Points", "Cases"))
    return ["<h2>Submissions</h2>", f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
            + "\n".join(rows) + "\n</tbody>\n</table>"]
