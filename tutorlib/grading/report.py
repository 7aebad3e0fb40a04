"""Show a judgement: HTML in Jupyter, plain text in a terminal; readable without colour."""

from __future__ import annotations

import inspect
from html import escape

import numpy as np

from tutorlib.grading.exercise import Case, Exercise
from tutorlib.grading.judge import FAILED, NOT_ATTEMPTED, PASSED, Result
from tutorlib.grading.tensors import is_tensor

MIME = "application/vnd.tutorlib.check+json"
SIGNS = {PASSED: "\u2713", FAILED: "\u2717", NOT_ATTEMPTED: "\u25cb"}
_EDGES = {PASSED: "#2a7f62", FAILED: "#b3261e", NOT_ATTEMPTED: "#6b7280"}
STAGES = {
    "type": "Wrong type",
    "shape": "Wrong shape",
    "dtype": "Wrong kind of number",
    "error": "An error in your code",
    "time limit": "Too slow",
    "changed inputs": "Inputs changed",
    "hand example": "Wrong on the hand example",
    "property": "A property is violated",
    "random instance": "Right by hand, wrong on a random instance",
    "value": "Not right yet",
}


def show_value(value, limit: int = 400) -> str:
    """Return a short, rounded print of a number, array or container.

    >>> show_value(np.array([1.0, 0.33333333]))
    '[1, 0.3333]'
    """
    if is_tensor(value):
        value = value.detach().cpu().tolist()
    elif isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    text = _plain(value)
    return text if len(text) <= limit else text[:limit] + " ..."


def _plain(value) -> str:
    """Print nested values with four significant digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if type(value) in (list, tuple):
        left, right = ("[", "]") if type(value) is list else ("(", ")")
        return left + ", ".join(show_value(item) for item in value) + right
    if type(value) is dict:
        return "{" + ", ".join(f"{k!r}: {show_value(v)}" for k, v in value.items()) + "}"
    try:
        return repr(value)
    except Exception:
        return f"a {type(value).__name__}"


def call_text(exercise: Exercise, case: Case) -> str:
    """Return the call of a case as Python would read, with the parameters' names."""
    try:
        named = inspect.signature(exercise.reference).bind(*case.args, **case.kwargs).arguments
        parts = [f"{name}={_argument(value)}" for name, value in named.items()]
    except (TypeError, ValueError):
        parts = [_argument(value) for value in case.args]
        parts += [f"{name}={_argument(value)}" for name, value in case.kwargs.items()]
    return f"{exercise.name}({', '.join(parts)})"


def _argument(value) -> str:
    """Return an argument in little space: a large tensor by its shape, an object by its type."""
    if (is_tensor(value) or isinstance(value, np.ndarray)) and _count(value) > 24:
        return f"<{'tensor' if is_tensor(value) else 'array'} of shape {tuple(value.shape)}>"
    known = np.ndarray | int | float | str | list | tuple | dict | None
    if is_tensor(value) or isinstance(value, known):
        return show_value(value, 160)
    return f"<{type(value).__name__}>"


def _count(value) -> int:
    """Return how many entries a tensor or array has."""
    return value.numel() if is_tensor(value) else value.size


class Report:
    """One check's report, as the notebook and the terminal show it."""

    def __init__(self, result: Result, next_step: str = ""):
        """Wrap ``result``; ``next_step`` is the last line (where to get a hint)."""
        self.result, self.next_step = result, next_step

    @property
    def title(self) -> str:
        """The first line: sign, exercise, outcome."""
        exercise, outcome = self.result.exercise, self.result.outcome
        return f"{SIGNS[outcome]} {exercise.title}: {outcome}"

    def lines(self) -> list[tuple[str, str]]:
        """Return (label, text) pairs in reading order."""
        result = self.result
        pairs = []
        if result.outcome == NOT_ATTEMPTED:
            pairs.append(("", "Write your answer in the cell above, run it, then run this again. "
                              "Meanwhile the lesson goes on with a reference answer."))
        if result.outcome == PASSED:
            pairs.append(("", _praise(result)))
        if result.outcome == FAILED:
            pairs.append((STAGES[result.stage], result.message))
            if result.mistake is not None:
                label = "A known mistake" if result.certain else "It looks like a known mistake"
                pairs.append((label, result.mistake.message))
            pairs += self._example()
            pairs += [("Your lines", detail) for detail in result.details]
            pairs.append(("", "The lesson goes on with a reference answer."))
        if result.printed:
            pairs.append(("You printed", result.printed))
        if self.next_step:
            pairs.append(("", self.next_step))
        return pairs

    def _example(self) -> list[tuple[str, str]]:
        """Return the call that failed, what was expected and what came."""
        case, result = self.result.case, self.result
        if case is None:
            return []
        pairs = [("Called as", call_text(result.exercise, case))]
        if case.note:
            pairs.append(("This case", case.note))
        if result.stage == "property":
            return pairs
        pairs.append(("Expected", show_value(case.expected)))
        if result.stage not in ("error", "time limit"):
            pairs.append(("You returned", show_value(result.got)))
        return pairs

    def text(self) -> str:
        """Return the report as plain text."""
        body = [f"  {label}: {text}" if label else f"  {text}" for label, text in self.lines()]
        return "\n".join([self.title, *(line.replace("\n", "\n    ") for line in body)])

    def html(self) -> str:
        """Return the report as HTML; everything of the learner's is escaped."""
        rows = "".join(_row(label, text) for label, text in self.lines())
        edge = _EDGES[self.result.outcome]
        return (f'<section role="status" aria-label="{escape(self.title)}" '
                f'data-testid="check-report" data-outcome="{self.result.outcome}" '
                f'style="border-left:6px solid {edge};padding:.4em 1em;margin:.3em 0;'
                'max-width:60em;line-height:1.5">'
                f'<strong style="font-size:1.05em">{escape(self.title)}</strong>{rows}</section>')

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """Return HTML, plain text, and the outcome for programs."""
        outcome = {"exercise": self.result.exercise.id, "outcome": self.result.outcome,
                   "stage": self.result.stage,
                   "mistake": self.result.mistake.name if self.result.mistake else None}
        return {"text/html": self.html(), "text/plain": self.text(), MIME: outcome}


def _row(label: str, text: str) -> str:
    """Return one line of the report as HTML."""
    if label in ("Your lines", "You printed", "Called as", "Expected", "You returned"):
        body = ('<code style="white-space:pre-wrap;overflow-wrap:anywhere">'
                f"{escape(text)}</code>")
    else:
        body = _inline(text)
    head = f"<em>{escape(label)}:</em> " if label else ""
    return f'<div style="margin-top:.3em">{head}{body}</div>'


def _inline(text: str) -> str:
    """Escape a message and set its `quoted code` as code."""
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _praise(result: Result) -> str:
    """Say what was tested, so that a pass means something."""
    exercise = result.exercise
    points = f"{exercise.points} point{'s' * (exercise.points != 1)}."
    if exercise.kind == "value":
        return points
    laws = f", {len(exercise.properties)} properties" if len(exercise.properties) > 1 else ""
    laws = laws or (", 1 property" if exercise.properties else "")
    return (f"{points} It holds on the hand example and "
            f"{result.cases_run - 1} random instances{laws}.")
