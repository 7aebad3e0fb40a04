"""check, hint, solution, progress, predictions and quizzes as a lesson calls them."""

import json
import os
import sqlite3
import subprocess
import sys
import threading

import pytest

from tutorlib.errors import LessonError, UnknownExerciseError
from tutorlib.grading import check, hint, predict, progress, quiz, recall, solution
from tutorlib.grading import questions as questions_module
from tutorlib.grading.questions import Question
from tutorlib.grading.registry import all_exercises, find_exercise
from tutorlib.grading.store import Store, store


def test_check_returns_the_learners_own_function_when_it_passes(registered, capsys):
    mine = registered.variants[0].answer
    assert check(registered.id, mine) is mine
    assert "passed" in capsys.readouterr().out


def test_check_returns_the_reference_otherwise_so_the_lesson_goes_on(registered, capsys):
    assert check(registered.id, registered.mutants[0].answer) is registered.reference
    assert check(registered.id, ...) is registered.reference
    out = capsys.readouterr().out
    assert "You summed without dividing." in out and "not attempted" in out
    assert "first of three hints" in out


def test_the_reference_put_in_place_does_not_pass_when_checked_again(registered, capsys):
    handed = check(registered.id, registered.mutants[0].answer)
    assert check(registered.id, handed) is handed
    assert "run your own answer cell again first" in capsys.readouterr().out
    assert store().attempts(registered.id) == {"tries": 1, "passed": False, "hints": 0}
    mine = registered.variants[0].answer
    assert check(registered.id, mine) is mine and store().attempts(registered.id)["passed"]


def test_a_misspelt_id_names_the_nearest(registered):
    with pytest.raises(UnknownExerciseError, match=r"start_here\.running_mean"):
        check("start_here.runing_mean", None)
    with pytest.raises(UnknownExerciseError, match="there is no exercise"):
        find_exercise("no_such_unit.thing")


def test_hints_come_one_after_the_other(registered, capsys):
    for expected in ("Think of sums.", "cumsum over count", "cumsum(x) / ...", "cumsum(x) / ..."):
        hint(registered.id)
        assert expected in capsys.readouterr().out
    hint(registered.id)
    assert "That was the last of three hints" in capsys.readouterr().out
    hint(registered.id, 1)
    assert "Think of sums." in capsys.readouterr().out
    with pytest.raises(LessonError, match="level 1, 2 or 3"):
        hint(registered.id, 4)


def test_solution_shows_code_reason_and_mistakes(registered, tmp_path, monkeypatch, capsys):
    for folder in ("course", "tutorlib", "solutions"):
        (tmp_path / folder).mkdir()
    cell = {"cell_type": "code", "source": ["def running_mean(x):\n", "    return 1"],
            "metadata": {"tutorlib": {"exercise": registered.id}}}
    path = tmp_path / "solutions" / "00_start_here.ipynb"
    path.write_text(json.dumps({"cells": [cell]}))
    monkeypatch.setenv("TUTORLIB_ROOT", str(tmp_path))
    solution(registered.id)
    out = capsys.readouterr().out
    assert "def running_mean" in out and "You lost the first entry." in out and "Sums." in out
    path.write_text("{ not json")
    with pytest.raises(LessonError, match="tutorlib build"):
        solution(registered.id)


def test_progress_counts_tries_passes_and_hints(registered, capsys):
    check(registered.id, ...)
    assert "not attempted" in str(progress())
    check(registered.id, registered.mutants[0].answer)
    hint(registered.id)
    assert "0 of 2 points" in str(progress()) and "not passed yet" in str(progress())
    check(registered.id, registered.variants[0].answer)
    assert store().attempts(registered.id) == {"tries": 2, "passed": True, "hints": 1}
    assert "2 of 2 points, 1 of 1 passed" in str(progress())
    check(registered.id, registered.mutants[0].answer)
    assert "2 of 2 points" in str(progress())  # a pass is kept


def test_progress_is_shared_by_kernels_and_survives_them(tmp_path):
    first, second = Store(tmp_path / "p.sqlite3"), Store(tmp_path / "p.sqlite3")
    first.add_attempt("a.b", "passed")
    assert second.attempts("a.b")["passed"]
    first.close()
    assert Store(tmp_path / "p.sqlite3").attempts("a.b")["passed"]


def test_a_damaged_or_unwritable_store_does_not_stop_the_lesson(
        registered, tmp_path, monkeypatch, capsys):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "progress.sqlite3").write_bytes(b"this is no database" * 100)
    monkeypatch.setenv("TUTORLIB_HOME", str(damaged))
    mine = registered.variants[0].answer
    assert check(registered.id, mine) is mine
    assert "Progress cannot be saved" in capsys.readouterr().out
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("TUTORLIB_HOME", str(blocked / "below"))
    mine = registered.variants[0].answer
    assert check(registered.id, mine) is mine
    assert "Progress cannot be saved" in capsys.readouterr().out


def test_a_failing_picture_is_reported_not_raised(registered, monkeypatch, capsys):
    def broken(answer):
        raise RuntimeError("no ink")

    object.__setattr__(registered, "figure", broken)
    mine = registered.variants[0].answer
    assert check(registered.id, mine) is mine
    assert "could not be drawn" in capsys.readouterr().out


def test_predictions_are_stored_and_recalled(own_store):
    options = ("up", "down")
    assert "no prediction" in str(recall("u.k", "up"))
    predict("u.k", "Which way?", options, choice="down")
    assert "It came out otherwise" in str(recall("u.k", "up"))
    widget = predict("u.k", "Which way?", options)
    widget.chosen = "up"
    assert "You were right" in str(recall("u.k", "up"))
    with pytest.raises(LessonError, match="not among"):
        predict("u.k", "Which way?", options, choice="left")


def test_quiz_answers_are_stored(monkeypatch):
    class Module:
        QUIZ = (Question("1 + 1?", ("2", "3"), 0, ("yes", "no")),)

    monkeypatch.setattr(questions_module, "unit_module", lambda slug: Module)
    widget = quiz("start_here")
    widget.choose(0, 1)
    assert store().quiz_score("start_here") == 0
    widget.choose(0, 0)
    assert store().quiz_score("start_here") == 1
    monkeypatch.setattr(questions_module, "unit_module", lambda slug: None)
    with pytest.raises(LessonError, match="no quiz"):
        quiz("start_here")


def test_a_click_that_reaches_the_kernel_on_another_thread_is_kept(monkeypatch):
    class Module:
        QUIZ = (Question("1 + 1?", ("2", "3"), 0, ("yes", "no")),)

    monkeypatch.setattr(questions_module, "unit_module", lambda slug: Module)
    widget = quiz("start_here")
    assert store().quiz_score("start_here") == 0  # opened here, on the main thread
    click = threading.Thread(target=widget.choose, args=(0, 0))
    click.start()
    click.join()
    assert widget.notice == "" and store().quiz_score("start_here") == 1


def test_a_question_without_explanations_is_refused():
    with pytest.raises(LessonError, match="explanation"):
        Question("?", ("a", "b"), 0, ("only one",))
    with pytest.raises(LessonError, match="no option 2"):
        Question("?", ("a", "b"), 2, ("x", "y"))


def test_the_store_is_plain_sqlite(registered, capsys):
    check(registered.id, registered.variants[0].answer)
    path = os.path.join(os.environ["TUTORLIB_HOME"], "progress.sqlite3")
    rows = sqlite3.connect(path).execute("SELECT exercise, outcome FROM attempts").fetchall()
    assert rows == [(registered.id, "passed")]


@pytest.mark.slow
def test_every_unit_module_imports_alone():
    names = sorted({exercise.unit for exercise in all_exercises()})
    for name in names:
        code = f"import tutorlib.exercises.{name}"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
