"""The page a learner gets back: what was tried, what came of it, and what to do next."""

from __future__ import annotations

from html import escape

from tutorlib.grading.cohort.pages import inline, page
from tutorlib.grading.cohort.records import failed, passed
from tutorlib.grading.report import SIGNS, STAGES

LINES = (("call", "Called as"), ("note", "This case"), ("want", "Expected"),
          ("got", "You returned"), ("lines", "Your lines"), ("printed", "You printed"))
_CODE = {"call", "want", "got", "lines", "printed"}


def feedback_page(record: dict) -> str:
    """Return a learner's page as HTML; everything of the learner's own is escaped."""
    title = f"Unit {record['unit']} · {record['unit_title']}: feedback"
    parts = [f"<p>{escape(record['learner']['name'])} ({escape(record['learner']['id'])})</p>",
             f"<p><strong>{_score(record)}</strong></p>"]
    parts += [f"<p>{inline(text)}</p>" for text in (*preface(record), *_next_step(record))]
    parts += [_exercise(number, row) for number, row in enumerate(record["exercises"], 1)]
    parts.append(f"<p>Graded from the file <code>{escape(record['submission']['path'])}</code>, "
                 f"sha256 <code>{escape(record['submission']['sha256'][:16])}</code>, with course "
                 f"version {escape(record['course']['version'])}.</p>")
    return page(title, "\n".join(parts))


def _score(record: dict) -> str:
    """Say the points, and what lateness took off."""
    text = f"{record['points']:g} of {record['max_points']:g} points"
    off = record["late"].get("percent_off", 0)
    return f"{record['final']:g} points: {text}, less {off:g} % for lateness" if off else text


def preface(record: dict) -> list[str]:
    """Return what concerns the notebook as a whole."""
    told = []
    if record["problem"]:
        told.append(f"Nothing could be graded: {record['problem']}.")
    if record["late"]:
        told.append(f"Handed in late, by {duration(record['late']['minutes'])}.")
    if "time" in record["limits_hit"]:
        told.append("Some of the code was stopped because it ran longer than it may.")
    others = [name for name in record["limits_hit"] if name != "time"]
    if others:
        told.append(f"The code was stopped at its limits: {', '.join(others)}.")
    return told + [f"{note}." if note[-1:] != "." else note for note in record["notes"]]


def _next_step(record: dict) -> list[str]:
    """Say where to go on."""
    rows = record["exercises"]
    wrong = [row["title"] for row in rows if failed(row)]
    untouched = [row["title"] for row in rows if not failed(row) and not passed(row)]
    if record["problem"] or not rows:
        return []
    if not wrong and not untouched:
        return ["Every exercise is passed."]
    told = f"Not attempted: {', '.join(untouched)}. " if untouched else ""
    if not wrong:
        return [told + "Their checks in the worksheet work as before."]
    return [told + f'Go on with "{wrong[0]}": correct your answer in the worksheet, run its check, '
            "and compare with what is written below. A hidden case is one like the shown ones "
            "that is not told; where only such a one failed, think of inputs that the examples "
            "do not have."]


def count(number: int, noun: str) -> str:
    """Say how many of something there are.

    >>> count(1, "notebook"), count(2, "notebook")
    ('1 notebook', '2 notebooks')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(minutes: float) -> str:
    """Say a length of time roughly.

    >>> duration(90), duration(3000)
    ('1 h 30 min', '2 d 2 h')
    """
    minutes = round(minutes)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 1440:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def _exercise(number: int, row: dict) -> str:
    """Return one exercise's section."""
    kind = "passed" if passed(row) else "failed" if failed(row) else "open"
    head = (f"{SIGNS[row['outcome']]} {number}. {row['title']}: {row['outcome']} "
            f"({row['points']:g} of {row['max_points']:g} points)")
    items = "".join(f"<dt>{escape(label)}</dt><dd>{text}</dd>" for label, text in _items(row))
    body = f"<dl>{items}</dl>" if items else ""
    return (f'<section class="exercise {kind}" data-exercise="{escape(row["exercise"])}" '
            f'data-outcome="{row["outcome"]}">\n<h2>{escape(head)}</h2>\n{body}\n</section>')


def _items(row: dict) -> list[tuple[str, str]]:
    """Return (label, HTML) pairs in reading order."""
    items = []
    if row["message"]:
        label = STAGES.get(row["stage"], "What happened") if failed(row) else "What happened"
        items.append((label, inline(row["message"])))
    if row["mistake"]:
        label = ("A known mistake" if row["mistake"]["certain"]
                 else "It looks like a known mistake")
        items.append((label, inline(row["mistake"]["message"])))
    for key, label in LINES:
        if row["shown"].get(key):
            text = escape(row["shown"][key])
            items.append((label, f"<code>{text}</code>" if key in _CODE else text))
    if row["cases"]:
        items.append(("Cases", escape(case_count(row["cases"]))))
    if row["hint"]:
        items.append(("A hint", inline(row["hint"])))
    items += [("Note", inline(note)) for note in row["notes"]]
    return items


def case_count(cases: list[dict]) -> str:
    """Say how many of the cases were right, shown ones and hidden ones apart.

    >>> case_count([{"set": "shown", "outcome": "right"}, {"set": "shown", "outcome": "wrong"}])
    '1 of 2 shown cases right'
    """
    parts = []
    for kind in ("shown", "hidden"):
        outcomes = [case["outcome"] for case in cases if case["set"] == kind]
        if outcomes:
            parts.append(f"{outcomes.count('right')} of {len(outcomes)} {kind} cases right")
    return ", ".join(parts)
