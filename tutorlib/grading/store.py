"""What a learner has tried, in one SQLite file on their own machine. Nothing leaves it.

The file is ``progress.sqlite3`` in the folder ``TUTORLIB_HOME``, or in the user's data folder.
When it cannot be written or is damaged, the lesson goes on with a store in memory, and says so.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
  exercise TEXT, time REAL, outcome TEXT, stage TEXT, mistake TEXT, seconds REAL);
CREATE TABLE IF NOT EXISTS hints (exercise TEXT, time REAL, level INTEGER);
CREATE TABLE IF NOT EXISTS predictions (key TEXT PRIMARY KEY, time REAL, choice TEXT);
CREATE TABLE IF NOT EXISTS quiz_answers (
  unit TEXT, question INTEGER, time REAL, choice INTEGER, correct INTEGER,
  PRIMARY KEY (unit, question));
"""


def home() -> Path:
    """Return the folder that holds the progress file."""
    import platformdirs

    return Path(os.environ.get("TUTORLIB_HOME") or platformdirs.user_data_dir("tutorlib", False))


class Store:
    """Attempts, hints, predictions and quiz answers; each method is one transaction."""

    def __init__(self, path: Path | str | None = None):
        """Open (or make) the file; ``notice`` tells when it had to be memory instead."""
        self.notice = ""
        target = Path(path) if path is not None else home() / "progress.sqlite3"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open(str(target))
        except (OSError, sqlite3.Error) as problem:
            self.notice = (f"Progress cannot be saved in {target} ({problem}); "
                           "it is kept until this kernel stops. Set TUTORLIB_HOME to a folder "
                           "you may write to, or remove the damaged file.")
            self._db = self._open(":memory:")

    @staticmethod
    def _open(target: str) -> sqlite3.Connection:
        # A click in a widget reaches the kernel on a thread of its own; SQLite locks for itself.
        connection = sqlite3.connect(target, timeout=5, isolation_level=None,
                                     check_same_thread=False)
        connection.executescript(_SCHEMA)
        return connection

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add_attempt(self, exercise: str, outcome: str, stage: str = "", mistake: str = "",
                    seconds: float = 0.0) -> None:
        """Record one check."""
        self._db.execute("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?)",
                         (exercise, time.time(), outcome, stage, mistake, seconds))

    def add_hint(self, exercise: str, level: int) -> None:
        """Record that a hint was read."""
        self._db.execute("INSERT INTO hints VALUES (?, ?, ?)", (exercise, time.time(), level))

    def hints_seen(self, exercise: str) -> int:
        """Return the highest hint level read so far, 0 for none."""
        row = self._db.execute("SELECT max(level) FROM hints WHERE exercise = ?", (exercise,))
        return row.fetchone()[0] or 0

    def save_prediction(self, key: str, choice: str) -> None:
        """Store a prediction; a later one replaces it."""
        self._db.execute("INSERT OR REPLACE INTO predictions VALUES (?, ?, ?)",
                         (key, time.time(), choice))

    def prediction(self, key: str) -> str | None:
        """Return the stored prediction, or None."""
        row = self._db.execute("SELECT choice FROM predictions WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def save_quiz_answer(self, unit: str, question: int, choice: int, correct: bool) -> None:
        """Store the latest answer to a quiz question."""
        self._db.execute("INSERT OR REPLACE INTO quiz_answers VALUES (?, ?, ?, ?, ?)",
                         (unit, question, time.time(), choice, int(correct)))

    def quiz_score(self, unit: str) -> int:
        """Return how many quiz questions of a unit were last answered correctly."""
        row = self._db.execute("SELECT sum(correct) FROM quiz_answers WHERE unit = ?", (unit,))
        return row.fetchone()[0] or 0

    def attempts(self, exercise: str) -> dict:
        """Return tries (not counting untouched stubs), whether it ever passed, and hints read."""
        rows = self._db.execute("SELECT outcome FROM attempts WHERE exercise = ?", (exercise,))
        outcomes = [outcome for (outcome,) in rows]
        return {
            "tries": sum(outcome != "not attempted" for outcome in outcomes),
            "passed": "passed" in outcomes,
            "hints": self.hints_seen(exercise),
        }


_store: Store | None = None
_store_home: Path | None = None


def store() -> Store:
    """Return the one open store of this process (opened anew when ``TUTORLIB_HOME`` changes)."""
    global _store, _store_home
    if _store is None or _store_home != home():
        _store, _store_home = Store(), home()
    return _store


def table() -> list[dict]:
    """Return a row per exercise: unit, id, title, points, tries, passed, hints."""
    from tutorlib.grading.registry import all_exercises, unit_of

    kept = store()
    return [
        {"unit": unit_of(e).number, "id": e.id, "title": e.title, "points": e.points,
         **kept.attempts(e.id)}
        for e in all_exercises()
    ]
