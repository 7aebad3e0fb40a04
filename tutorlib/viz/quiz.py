"""Quizzes with explained answers, and predictions made before the lesson knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anywidget
import traitlets

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import required_text
from tutorlib.viz.widgetkit import asset, inline, with_default

_FIELDS = ("prompt", "options", "answer", "explanations")


class QuizWidget(anywidget.AnyWidget):
    """Questions with radio buttons; each answer, right or wrong, is explained at once.

    ``questions`` are dicts or objects with ``prompt``, ``options``, ``answer`` (the index of the
    right option) and ``explanations`` (one per option). ``on_answer(question, choice, correct)``
    is called for each answer; when it raises, the quiz goes on and says so. `Back-quoted` text is
    set as code. Raises InvalidArgumentError for a malformed question.

    >>> quiz = QuizWidget([{"prompt": "1 + 1?", "options": ["1", "2"], "answer": 1,
    ...                     "explanations": ["Add.", "Yes."]}])
    >>> quiz.choose(0, 1)
    >>> quiz.correct
    [True]
    """

    _esm = asset("common.js", "quiz.js")
    _css = asset("widgets.css")

    title = traitlets.Unicode().tag(sync=True)
    questions = traitlets.List().tag(sync=True)
    choices = traitlets.List().tag(sync=True)  # per question: the chosen option, or None
    notice = traitlets.Unicode().tag(sync=True)  # why an answer could not be kept, or ""

    def __init__(self, questions: Sequence,
                 on_answer: Callable[[int, int, bool], None] | None = None,
                 title: str = "Check yourself"):
        """Show the questions, none answered."""
        if not questions:
            raise InvalidArgumentError("questions is empty; give at least one")
        self._on_answer = on_answer
        plain = [_plain(question, index) for index, question in enumerate(questions)]
        self._good = [None] * len(plain)
        super().__init__(title=title, questions=plain, choices=list(self._good))

    @property
    def correct(self) -> list[bool | None]:
        """Per question: whether it is answered right, None while it is not answered."""
        return [None if choice is None else choice == question["answer"]
                for question, choice in zip(self.questions, self._good, strict=True)]

    def choose(self, question: int, choice: int) -> None:
        """Answer a question, as a click would."""
        choices = list(self.choices)
        choices[question] = choice
        self.choices = choices

    @traitlets.observe("choices")
    def _keep(self, change) -> None:
        """Report each new answer; put back what is not an option."""
        choices = list(change["new"])
        if choices == self._good:
            return
        if len(choices) != len(self.questions) or not all(
                choice is None or choice in range(len(question["options"]))
                for choice, question in zip(choices, self.questions, strict=True)):
            self.notice = "That is not one of the options."
            self.choices = list(self._good)
            return
        changed = [i for i, choice in enumerate(choices) if choice != self._good[i]]
        self._good, self.notice = choices, ""
        for index in changed:
            if choices[index] is not None:
                self._report(index, choices[index])

    def _report(self, index: int, choice: int) -> None:
        """Call back; an error there must not end the quiz."""
        if self._on_answer is None:
            return
        try:
            self._on_answer(index, choice, choice == self.questions[index]["answer"])
        except Exception as problem:
            self.notice = f"This answer could not be kept: {problem}"

    def _repr_mimebundle_(self, **kwargs):
        """Return the live quiz, and the explained answers, folded, for where none can run."""
        html = (f'<section data-testid="quiz-static"><p><strong>{inline(self.title)}</strong></p>'
                + "".join(_static(i, q) for i, q in enumerate(self.questions)) + "</section>")
        text = "\n".join(f"{i + 1}. {q['prompt']}\n" + "\n".join(f"   - {o}" for o in q["options"])
                         for i, q in enumerate(self.questions))
        return with_default(super()._repr_mimebundle_(**kwargs), html, text)


def _plain(question, index: int) -> dict:
    """Return a question as a dict that can travel; raise InvalidArgumentError if malformed."""
    given = question if isinstance(question, dict) else {
        name: getattr(question, name, None) for name in _FIELDS}
    prompt, options, answer, explanations = map(given.get, _FIELDS)
    where = f"question {index + 1}"
    for name, value in (("options", options), ("explanations", explanations)):
        if not isinstance(value, list | tuple) or len(value) < 2:
            raise InvalidArgumentError(f"{where}: {name} is {value!r}; expected two texts or more")
    if len(options) != len(explanations):
        raise InvalidArgumentError(f"{where} has {len(options)} options and {len(explanations)} "
                                   "explanations; expected one for each")
    if answer not in range(len(options)):
        raise InvalidArgumentError(f"{where}: answer is {answer!r}; expected the index of the "
                                   f"right option, 0 to {len(options) - 1}")
    return {"prompt": required_text(prompt, f"{where}'s prompt"), "answer": int(answer),
            "options": [required_text(o, f"{where}'s option") for o in options],
            "explanations": [required_text(e, f"{where}'s explanation") for e in explanations]}


def _static(index: int, question: dict) -> str:
    """Return a question with its explained answers folded away."""
    options = "".join(f"<li>{inline(option)}</li>" for option in question["options"])
    verdicts = ["right" if i == question["answer"] else "wrong"
                for i in range(len(question["options"]))]
    reasons = "".join(
        f"<li>{inline(option)}: <strong>{verdict}.</strong> {inline(reason)}</li>"
        for option, verdict, reason in zip(question["options"], verdicts,
                                           question["explanations"], strict=True))
    return (f"<p>{index + 1}. {inline(question['prompt'])}</p><ul>{options}</ul><details>"
            f"<summary>Answer to question {index + 1}</summary><ul>{reasons}</ul></details>")


class PredictionWidget(anywidget.AnyWidget):
    """A question asked before the lesson answers it; the choice is kept at once, without a verdict.

    ``chosen`` is the option chosen so far, or None. ``on_choose(option)`` is called for each
    choice; when it raises, the lesson goes on and the widget says so. A ``chosen`` that is no
    longer an option, kept from an older lesson, counts as None. Raises InvalidArgumentError for
    fewer than two options.

    >>> PredictionWidget("Up or down?", ["up", "down"], chosen="up").chosen
    'up'
    """

    _esm = asset("common.js", "prediction.js")
    _css = asset("widgets.css")

    question = traitlets.Unicode().tag(sync=True)
    options = traitlets.List().tag(sync=True)
    chosen = traitlets.Any(None).tag(sync=True)
    notice = traitlets.Unicode().tag(sync=True)

    def __init__(self, question: str, options: Sequence[str], chosen: str | None = None,
                 on_choose: Callable[[str], None] | None = None):
        """Show the question, with the choice made earlier if there is one."""
        options = [required_text(option, "an option") for option in options]
        if len(set(options)) < max(2, len(options)):
            raise InvalidArgumentError(
                f"options is {options}; expected two different texts or more")
        chosen = chosen if chosen in options else None
        self._on_choose, self._good = on_choose, chosen
        super().__init__(question=required_text(question, "question"), options=options,
                         chosen=chosen)

    @traitlets.observe("chosen")
    def _keep(self, change) -> None:
        """Report the choice; put back what is not an option."""
        if change["new"] == self._good:
            return
        if change["new"] not in self.options:
            self.notice = "That is not one of the options."
            self.chosen = self._good
            return
        self._good, self.notice = change["new"], ""
        if self._on_choose is not None:
            try:
                self._on_choose(self._good)
            except Exception as problem:
                self.notice = f"This prediction could not be kept: {problem}"

    def _repr_mimebundle_(self, **kwargs):
        """Return the live question, and a plain list for where none can run."""
        items = "".join(
            f"<li>{inline(option)}{' <strong>(your prediction)</strong>' if mine else ''}</li>"
            for option in self.options for mine in [option == self.chosen])
        html = (f'<section data-testid="prediction-static"><p><strong>{inline(self.question)}'
                f"</strong></p><ul>{items}</ul></section>")
        text = "\n".join([self.question, *(f"   - {option}" for option in self.options)])
        return with_default(super()._repr_mimebundle_(**kwargs), html, text)
