"""The maps of the units in README.md and HOME.md come from the syllabus and the lessons there."""

import re
from pathlib import Path

import pytest

from tutorlib import maps
from tutorlib.errors import LessonError
from tutorlib.syllabus import UNITS, ready_units

ROOT = Path(__file__).parents[2]


def test_the_committed_maps_are_up_to_date():
    assert maps.update(ROOT, check=True) == (), "run `tutorlib build`"


@pytest.fixture
def course(tmp_path):
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / f"{UNITS[1].stem}.py").touch()
    (tmp_path / "README.md").write_text(f"# Title\n\n{maps.BEGIN}\nstale\n{maps.END}\n\nThe end.\n")
    return tmp_path


def test_update_writes_once_and_keeps_the_rest(course):
    assert set(maps.update(course, check=True)) == {"HOME.md", "README.md"}
    assert not (course / "HOME.md").exists(), "a check writes nothing"
    assert set(maps.update(course)) == {"HOME.md", "README.md"}
    assert maps.update(course) == ()
    text = (course / "README.md").read_text()
    assert text.startswith("# Title\n") and text.endswith("\n\nThe end.\n") and "stale" not in text


def test_only_a_ready_unit_has_links_and_minutes(course):
    maps.update(course)
    for page in ("README.md", "HOME.md"):
        rows = [line for line in (course / page).read_text().splitlines()
                if re.match(r"\| \[?\d\d ", line)]
        assert len(rows) == len(UNITS)
        for unit, row in zip(UNITS, rows, strict=True):
            ready = unit is UNITS[1]
            assert (f"{unit.stem}.ipynb" in row) is ready, row
            assert (f" {unit.minutes} " in row and "planned" not in row) is ready, row


def test_the_sum_is_of_ready_units(course):
    assert maps.summary_line(ready_units(course)) == (
        f"1 of {len(UNITS)} units are ready: about {UNITS[1].minutes} minutes of learning.")


@pytest.mark.parametrize("text", [
    "no markers", f"{maps.BEGIN}\n", f"{maps.END}\n{maps.BEGIN}\n",
    f"{maps.BEGIN}\n{maps.END}\n{maps.BEGIN}\n{maps.END}\n",
])
def test_markers_that_are_not_there_are_an_error(text):
    with pytest.raises(LessonError, match="once each"):
        maps.between_markers(text, "new")
