"""What a lesson calls: ``check``, ``hint``, ``solution``, ``progress``."""

from __future__ import annotations

import json
from html import escape

from tutorlib.errors import LessonError
from tutorlib.grading.exercise import Exercise
from tutorlib.grading.judge import FAILED, NOT_ATTEMPTED, PASSED, Result, evaluate
from tutorlib.grading.registry import find_exercise, unit_of
from tutorlib.grading.report import Report
from tutorlib.grading.rules import allowed
from tutorlib.grading.store import store, table

_OURS = ("This is the reference answer, which the last check put in your place: "
         "run your own answer cell again first.")


class Shown:
    """Something with an HTML and a plain-text form."""

    def __init__(self, html: str, text: str, markdown: str | None = None):
        """Keep the forms; a Markdown form is shown in place of HTML where given."""
        self.html, self.text, self.markdown = html, text, markdown

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """Return the forms for Jupyter."""
        rich = {"text/markdown": self.markdown} if self.markdown else {"text/html": self.html}
        return {**rich, "text/plain": self.text}

    def __repr__(self) -> str:
        """Return the plain text."""
        return self.text


def present(item) -> None:
    """Display ``item`` in a notebook, print its text elsewhere."""
    if _in_notebook():
        from IPython.display import display

        display(item)
    else:
        print(item.text() if callable(getattr(item, "text", None)) else str(item))


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code (a plain IPython terminal does not count)."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def check(exercise_id: str, answer):
    """Judge ``answer``, show a report, and return the answer if it passed, else the reference.

    So the lesson always goes on. The report and its order are described in
    ``tutorlib.grading.judge``. Raises ``UnknownExerciseError`` for a misspelt id.
    """
    exercise = find_exercise(exercise_id)
    if _is_handed_out(exercise, answer):
        present(Report(Result(exercise, NOT_ATTEMPTED), _OURS))
        return answer
    result = evaluate(exercise, answer)
    _remember(result)
    present(Report(result, _next_step(result)))
    if result.outcome != PASSED:
        return exercise.reference
    if exercise.figure is not None:
        _show_figure(exercise, answer)
    return answer


def _is_handed_out(exercise: Exercise, answer) -> bool:
    """Whether ``answer`` is the reference that an earlier check put in the learner's place.

    The same check run twice must not pass. A plain number, string or bool cannot be told from the
    learner's own.
    """
    plain = isinstance(answer, int | float | str | bool)
    return answer is exercise.reference and not plain


def _remember(result: Result) -> None:
    """Store the attempt; a store that fails never stops a lesson."""
    try:
        mistake = result.mistake.name if result.mistake else ""
        store().add_attempt(result.exercise.id, result.outcome, result.stage, mistake,
                            result.seconds)
        if store().notice:
            present(Shown(f"<p>{escape(store().notice)}</p>", store().notice))
            store().notice = ""
    except Exception as problem:
        present(Shown("<p>Progress was not saved.</p>", f"Progress was not saved: {problem}"))


def _next_step(result: Result) -> str:
    """Say where help is, once there is something to be helped with."""
    if result.outcome != FAILED or not allowed("hints"):
        return ""
    seen = store().hints_seen(result.exercise.id)
    call = f'`hint("{result.exercise.id}")`'
    if seen == 0:
        return f"Stuck? {call} gives the first of three hints."
    if seen < 3:
        return f"{call} gives hint {seen + 1} of 3."
    return f'All hints read; `solution("{result.exercise.id}")` shows an answer.'


def _show_figure(exercise: Exercise, answer) -> None:
    """Show the picture of what was just built; its failure is reported, never raised."""
    from tutorlib.grading.guard import call

    drawn = call(exercise.figure, (answer,), {}, 4 * exercise.time_limit)
    if drawn.error is None and drawn.value is not None:
        present(drawn.value)
    elif drawn.error is not None:
        note = f"(The picture could not be drawn: {type(drawn.error).__name__}.)"
        present(Shown(f"<p>{note}</p>", note))


def hint(exercise_id: str, level: int | None = None) -> None:
    """Show the next hint of an exercise, or hint ``level``: 1 concept, 2 formula, 3 skeleton."""
    exercise = find_exercise(exercise_id)
    _require_allowed("hints")
    seen = store().hints_seen(exercise_id)
    if level is None and seen == 3:
        note = f'That was the last of three hints; solution("{exercise_id}") shows an answer.'
        present(Shown("", note, note))
    if level is None:
        level = min(3, seen + 1)
    if level not in (1, 2, 3):
        raise LessonError(f"hints have level 1, 2 or 3, not {level!r}")
    store().add_hint(exercise_id, level)
    names = ("the idea", "the formula", "a skeleton")
    text = f"Hint {level} of 3 for {exercise.title} ({names[level - 1]})"
    markdown = f"**{text}**\n\n{exercise.hints[level - 1]}"
    present(Shown("", markdown, markdown))


def solution(exercise_id: str) -> None:
    """Show a worked answer, why it works, and what people get wrong."""
    exercise = find_exercise(exercise_id)
    _require_allowed("solutions")
    source = solution_source(exercise)
    mistakes = "\n".join(f"- {mutant.message}" for mutant in exercise.mutants)
    markdown = (f"**An answer to {exercise.title}**\n\n```python\n{source}\n```\n\n"
                f"{exercise.why}\n\nWhat people get wrong:\n\n{mistakes}")
    present(Shown("", markdown, markdown))


def _require_allowed(what: str) -> None:
    """Refuse what the course that handed out this worksheet has switched off."""
    if not allowed(what):
        raise LessonError(f"{what} are switched off for this course")


def solution_source(exercise: Exercise) -> str:
    """Return the answer cell of the built solutions notebook."""
    from tutorlib.syllabus import course_root

    path = course_root() / "solutions" / f"{unit_of(exercise).stem}.ipynb"
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError) as problem:
        raise LessonError(
            f"the solutions notebook {path.name} cannot be read ({problem}); "
            "run `tutorlib build` in the course folder"
        ) from problem
    for cell in cells:
        about = cell.get("metadata", {}).get("tutorlib", {})
        if cell.get("cell_type") == "code" and about.get("exercise") == exercise.id:
            return "".join(cell["source"])
    raise LessonError(f"{path.name} holds no answer cell for {exercise.id!r}")


def progress() -> Shown:
    """Return a table of every exercise: tries, passed or not, hints read, points."""
    rows = table()
    earned = sum(row["points"] for row in rows if row["passed"])
    total = sum(row["points"] for row in rows)
    head = f"{earned} of {total} points, {sum(r['passed'] for r in rows)} of {len(rows)} passed"
    lines = [f"{r['unit']}  {_state(r):<14} {r['points']:>2} points  {r['title']}" for r in rows]
    cells = "".join(
        f"<tr><td>{r['unit']}</td><td>{escape(r['title'])}</td><td>{_state(r)}</td>"
        f"<td>{r['points']}</td><td>{r['tries']}</td><td>{r['hints']}</td></tr>" for r in rows)
    columns = "".join(f'<th scope="col">{name}</th>' for name in
                      ("Unit", "Exercise", "State", "Points", "Tries", "Hints read"))
    html = (f'<div data-testid="progress"><p><strong>{head}</strong></p>'
            f"<table><thead><tr>{columns}</tr></thead><tbody>{cells}</tbody></table></div>")
    return Shown(html, "\n".join([head, *lines]))


def _state(row: dict) -> str:
    """Return an exercise's state in words."""
    if row["passed"]:
        return "passed"
    return "not passed yet" if row["tries"] else "not attempted"
