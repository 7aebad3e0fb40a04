"""Two answers to a prompt side by side: say which is better, and see what your taste would pick."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from html import escape
from pathlib import Path
from typing import ClassVar

from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.viz.arrays import as_array, count, fixed, required_text
from tutorlib.viz.judging import PairJudge
from tutorlib.viz.widgetkit import asset, with_default

_COLUMNS = ("picked", "answer", "reward (nats)")


class AnswerComparer(PairJudge):
    """Judge pairs of answers with mouse or keyboard; what a reward fitted to them picks follows.

    ``questions`` are those of a ``LabellingSession``, or triples of texts (prompt, left, right).
    From ``fit_from`` choices between left and right on, ``fit(indices, labels)`` is called after
    each answer with the numbers of the questions judged and 1.0 (left), 0.0 (right) or 0.5 (a
    tie), and returns ``{"tries": [(prompt, answers, rewards), ...], "note": text}``: answers in
    the order they were drawn, scored by the taste so far; the note may be left out.

    ``choices`` holds "left", "right", "tie", "skip" or None for each question. ``save`` writes,
    and ``load`` replays, the file that a ``LabellingSession`` writes and reads.

    Raises InvalidArgumentError for no questions, for texts that are none, or for tries that hold
    no answers or not one reward for each.

    >>> judge_me = AnswerComparer([("sky ?", "blue", "red")], lambda indices, labels: {
    ...     "tries": [("grass ?", ["green", "pink"], [sum(labels), 0.0])]}, fit_from=1)
    >>> judge_me.judge(0, "left")
    >>> judge_me.answer["tries"][0]["picks"]
    [['first drawn', 'green', '1'], ['best of 2', 'green', '1'], ['worst of 2', 'pink', '0']]
    """

    _esm = asset("common.js", "judging.js", "answers.js")
    _labels: ClassVar = {"left": 1.0, "right": 0.0, "tie": 0.5, "skip": None}

    def __init__(self, questions: Sequence, fit: Callable, *, choices: Sequence[str | None] = (),
                 title: str = "Which answer is better?", fit_from: int = 4):
        """Show the first question without a choice; ``choices`` are replayed."""
        parts = [_parts(question) for question in questions]
        if not parts:
            raise InvalidArgumentError("there are no questions; give at least one pair to judge")
        self._questions = [  # as a session's file has them
            {"prompt": asdict(prompt) if is_dataclass(prompt) else prompt,
             "left": left, "right": right} for prompt, left, right in parts]
        self._fit, self._fit_from = fit, fit_from
        super().__init__([[getattr(prompt, "text", prompt), left, right]
                          for prompt, left, right in parts], choices, title)

    def save(self, path: str | Path) -> Path:
        """Write questions and choices to a JSON file that a ``LabellingSession`` can load."""
        answered = [i for i, choice in enumerate(self._good) if choice is not None]
        choices = [choice or "skip" for choice in self._good[:max(answered, default=-1) + 1]]
        data = {"format": 1, "questions": self._questions, "choices": choices}
        Path(path).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        return Path(path)

    def load(self, path: str | Path) -> None:
        """Replay the choices of a file that ``save`` or a ``LabellingSession`` wrote.

        Raises InvalidTextError for another kind of file, or for one that judges other questions.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            told = [[q["left"], q["right"]] for q in data["questions"]]
            wanted = [*data["choices"], *[None] * (len(told) - len(data["choices"]))]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidTextError(f"{str(path)!r} is no saved labelling session "
                                   f"({type(error).__name__}: {error})") from error
        if told != [pair[1:] for pair in self.pairs]:
            raise InvalidTextError(
                f"{str(path)!r} judges {count(len(told), 'question')}, and not the "
                f"{self._count} shown here; make these with the same number and seed")
        self.choices = wanted
        if self.choices != wanted:
            raise InvalidTextError(f"{str(path)!r}: {self.message}")

    def _as_answer(self) -> dict:
        """Return how far the judging is, and what the taste picks once there is one."""
        indices, labels = self._judged()
        done = sum(choice is not None for choice in self._good)
        plain = sum(label != 0.5 for label in labels)
        status = f"{done} of {self._count} judged."
        if plain < self._fit_from:
            more = count(self._fit_from - plain, "more choice")
            status += f" After {more} between left and right, a taste is fitted to them."
            return {"status": status, "note": "", "tries": []}
        found = self._fit(indices, labels)
        return {"status": status, "note": str(found.get("note", "")),
                "tries": [_picks(*attempt) for attempt in found["tries"]]}

    def _repr_mimebundle_(self, **kwargs):
        """Return the live view, and the pair and the picks as text for where none can run."""
        prompt, left, right = self.pairs[self.shown]
        chosen = self._good[self.shown]
        words = (f"{self.title} Pair {self.shown + 1} of {self._count}. Prompt: {prompt} "
                 f"Left: {left} Right: {right}"
                 + (f" You said: {chosen}." if chosen else ""))
        cards = "".join(f"<li><strong>{side}:</strong> {escape(text)}</li>"
                        for side, text in (("Left", left), ("Right", right)))
        html = (f'<section data-testid="answer-comparer-static"><p><strong>{escape(self.title)}'
                f"</strong></p><p>Pair {self.shown + 1} of {self._count}. Prompt: "
                f"{escape(prompt)}</p><ul>{cards}</ul>"
                + "".join(_table(attempt) for attempt in self.answer["tries"])
                + f"<p>{escape(self.answer['status'])} {escape(self.answer['note'])} Run this "
                "cell in JupyterLab to judge the pairs.</p></section>")
        said = [words, self.answer["status"], self.answer["note"], *map(_sentence,
                                                                        self.answer["tries"])]
        return with_default(super()._repr_mimebundle_(**kwargs), html,
                            " ".join(part for part in said if part))


def _parts(question) -> tuple:
    """Return prompt, left and right of a question; refuse what holds no texts."""
    names = ("prompt", "left", "right")
    try:
        found = tuple(getattr(question, name) for name in names)
    except AttributeError:
        found = question
    if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != 3:
        raise InvalidArgumentError(f"a question is {question!r}; expected (prompt, left, right), "
                                   "or a question of a LabellingSession")
    for name, text in zip(names, (getattr(found[0], "text", found[0]), *found[1:]), strict=True):
        required_text(text, name)
    return tuple(found)


def _picks(prompt: str, answers: Sequence[str], rewards) -> dict:
    """Return which answers are drawn first, best of some, best and worst of all, with rewards."""
    values = as_array(rewards, f"rewards of the answers to {prompt!r}", (len(answers),))
    n = len(answers)
    if n == 0:
        raise InvalidArgumentError(f"there are no answers to {prompt!r}; give two or more")
    sizes = [size for size in (n // 2, n) if size > 1]
    chosen = [("first drawn", 0), *((f"best of {size}", int(values[:size].argmax()))
                                    for size in sizes), (f"worst of {n}", int(values.argmin()))]
    return {"prompt": str(prompt),
            "picks": [[name, str(answers[i]), fixed(values)[i]] for name, i in chosen]}


def _table(attempt: dict) -> str:
    """Return the picks for one prompt as an HTML table."""
    head = "".join(f'<th scope="col">{column}</th>' for column in _COLUMNS)
    rows = "".join(f'<tr><th scope="row">{name}</th><td>{escape(text)}</td><td>{reward}</td></tr>'
                   for name, text, reward in attempt["picks"])
    return (f"<table><caption>To: {escape(attempt['prompt'])}</caption><thead><tr>{head}</tr>"
            f"</thead><tbody>{rows}</tbody></table>")


def _sentence(attempt: dict) -> str:
    """Say what is picked for one prompt."""
    picks = "; ".join(f"{name}: {text} ({reward})" for name, text, reward in attempt["picks"])
    return f"To {attempt['prompt']} {picks}."
