"""Hand out and collect: what learners get, and what is made of when they hand in."""

import json
import os
import re
import time
from datetime import UTC, datetime

import pytest

from tests.grading.cohort.conftest import RIGHT, ROOT, built, notebook
from tutorlib.authoring.lesson import read_lesson
from tutorlib.authoring.release import release
from tutorlib.authoring.stubs import contains_line, is_telling, solution_lines
from tutorlib.errors import GradingError, LessonError
from tutorlib.grading import hint, solution
from tutorlib.grading.cohort.collect import collect, report
from tutorlib.grading.cohort.course import Course, Late, UnitRules, read_course
from tutorlib.grading.notebook import solution_source
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import find_unit

DUE = datetime(2030, 10, 14, 23, 59, tzinfo=UTC)
COURSE = """
title = "Autumn"
hints = false
package = "git+https://example.org/course.git@v1"
[late]
grace_minutes = 10
percent_per_day = 20
refused_after_days = 3
[units.00]
due = 2030-10-14T23:59:00Z
[units.00.points]
softmax_with_temperature = 7
"""


@pytest.fixture
def course(tmp_path):
    (tmp_path / "course.toml").write_text(COURSE)
    return read_course(tmp_path / "course.toml")


def everything(folder):
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*"))
                     if path.is_file())


def test_no_solution_text_is_handed_out(tmp_path):
    files = release(ROOT, ["00", "03", "06"], tmp_path / "out", Course())
    text = everything(tmp_path / "out").replace("\\n", "\n").replace('\\"', '"')
    told = 0
    for number in ("00", "03", "06"):
        unit = find_unit(number)
        lesson = read_lesson(ROOT / "course" / f"{unit.stem}.py")
        for cell in lesson.cells:
            if cell.kind == "code" and cell.exercise:
                lines = [line for line in solution_lines(cell.source) if is_telling(line)]
                told += len(lines)
                assert not [line for line in lines if contains_line(text, line)]
        for exercise in unit_exercises(unit.slug):
            assert solution_source(exercise) not in text
            assert exercise.why not in text
    assert told > 20, "the lines that were looked for are really there"
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in files)
    assert names == ["README.md", "exercises/00_start_here.ipynb",
                     "exercises/03_maximum_entropy_rl.ipynb", "exercises/06_maxent_irl.ipynb",
                     "requirements.txt", "tutorlib-course.json"]
    assert "../solutions/" not in text
    linked = set(re.findall(r"\]\(([^)#]+\.ipynb)\)", text))
    assert linked <= {name.split("/")[1] for name in names if name.endswith("ipynb")}


def test_with_nothing_to_change_it_is_the_built_worksheet_but_for_its_links(tmp_path):
    release(ROOT, ["06"], tmp_path / "out", Course())
    ours = json.loads((tmp_path / "out/exercises/06_maxent_irl.ipynb").read_text())
    theirs = json.loads(built("exercises", "06"))

    def code(content):
        return [cell["source"] for cell in content["cells"] if cell["cell_type"] == "code"]

    assert code(ours) == code(theirs) and ours["metadata"] == theirs["metadata"]


def test_the_course_file_is_honoured(tmp_path, course, monkeypatch):
    out = tmp_path / "out"
    release(ROOT, ["00"], out, course)
    sheet = (out / "exercises/00_start_here.ipynb").read_text()
    assert "7 points" in sheet and "Monday 14 October 2030, 23:59 (UTC+00:00)" in sheet
    assert '"role": "hint"' not in sheet and "hint(" not in sheet
    readme = (out / "README.md").read_text()
    assert readme.startswith("# Autumn") and "| 7 |" in readme and "hint(" not in readme
    pins = (out / "requirements.txt").read_text()
    assert "tutorlib @ git+https://example.org/course.git@v1" in pins
    assert re.search(r"^torch==[\d.]+$", pins, re.MULTILINE)
    assert "jupyterlab==" in pins and not re.search("pytest|ruff|playwright", pins)
    monkeypatch.chdir(out / "exercises")
    for refused in (hint, solution):
        with pytest.raises(LessonError, match="switched off"):
            refused("start_here.softmax_with_temperature")


def test_solutions_are_handed_out_only_when_the_course_says_so(tmp_path):
    release(ROOT, ["00"], tmp_path / "out", Course(solutions=True))
    assert (tmp_path / "out/solutions/00_start_here.ipynb").read_bytes() == built("solutions", "00")
    assert "../solutions/00_start_here.ipynb" in everything(tmp_path / "out/exercises")


@pytest.mark.parametrize("units, linked", [(["06"], 0), (["03", "06"], 2)])
def test_no_cell_is_empty_and_the_footer_links_what_was_released(tmp_path, units, linked):
    release(ROOT, units, tmp_path / "out", Course())
    cells = [cell for path in (tmp_path / "out").rglob("*.ipynb")
             for cell in json.loads(path.read_text())["cells"]]
    assert all("".join(cell["source"]).strip() for cell in cells)
    footers = [c for c in cells if "".join(c["source"]).startswith("---\n")]
    assert len(footers) == linked


def test_learners_are_told_how_to_install_the_package(tmp_path, course):
    release(ROOT, ["00"], tmp_path / "with", course)
    release(ROOT, ["00"], tmp_path / "without", Course())
    told = [(tmp_path / name / "README.md").read_text() for name in ("with", "without")]
    assert ["as your instructor says" in text for text in told] == [False, True]
    assert told[1].index("instructor says") < told[1].index("jupyter lab"), "in the order of doing"


def test_a_release_overwrites_nothing_and_knows_its_units(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(GradingError, match="not empty"):
        release(ROOT, ["00"], tmp_path / "out", Course())
    with pytest.raises(GradingError, match="no lesson yet"):
        release(ROOT, ["22"], tmp_path / "new", Course())


@pytest.mark.parametrize("text, told", [
    ("x = 1", "no setting 'x'"), ("hints = 1", "hints must be of type bool"),
    ("[units.99]", "no unit '99'"), ("[units.00]\ndu = 1", "no setting 'du'"),
    ("[units.00]\ndue = '2030'", "without quotes"),
    ("[units.00.points]\nfoo = 1", "no setting 'foo'"),
    ("[units.00.points]\nsoftmax_with_temperature = -1", "number from 0"),
    ("[late]\npercent_per_day = 'x'", "number from 0"), ("late = 3", "must be a table"),
    ("[[", "cannot be read"),
])
def test_a_course_file_with_a_mistake_is_refused(tmp_path, text, told):
    (tmp_path / "course.toml").write_text(text)
    with pytest.raises(GradingError, match=told):
        read_course(tmp_path / "course.toml")


def test_a_course_file_is_read(course, tmp_path):
    assert course.rules("00").due == DUE and course.hints is False
    assert course.points() == {"start_here.softmax_with_temperature": 7}
    assert [course.late.deduction(m) for m in (0, 10, 11, 1450, 1451, 5000)] == [
        0, 0, 20, 20, 40, 100]
    (tmp_path / "day.toml").write_text("[units.00]\ndue = 2030-10-14")
    assert read_course(tmp_path / "day.toml").rules("00").due.hour == 23


def rules(due):
    return Course(units={"00": UnitRules(due)}, late=Late(percent_per_day=10))


def test_late_work_is_marked_on_the_way_from_collecting_to_the_grade(cohort, tmp_path):
    for name, days in (("anna", 0), ("Bert Ö", 1.5)):
        path = cohort.hand_in(f"{name}/00_start_here.ipynb", notebook(RIGHT))
        when = DUE.timestamp() - 3600 + 86400 * days
        os.utime(path, (when, when))
    cohort.hand_in("doejane_LATE_4711_99_00_start_here.ipynb", notebook(RIGHT))
    os.utime(cohort.source / "doejane_LATE_4711_99_00_start_here.ipynb", (0, time.time()))
    done = collect(cohort.source, tmp_path / "collected", rules(DUE))
    assert done.late == {"Bert Ö/00": 2100, "4711/00": 1} and done.problems == {}
    cohort.grade(tmp_path / "collected", course=rules(DUE))
    records = cohort.records()
    assert {key: r["final"] for key, r in records.items()} == {
        ("anna", "00"): 1, ("Bert Ö", "00"): 0.8, ("4711", "00"): 0.9}
    assert records["4711", "00"]["learner"]["name"] == "doejane"
    assert collect(cohort.source, tmp_path / "collected", rules(DUE)) == done, "again is fine"


def test_times_from_the_platform_come_first(cohort, tmp_path):
    cohort.hand_in("anna.ipynb", notebook(RIGHT))
    (tmp_path / "times.csv").write_text("learner,submitted\nanna,2030-10-15T00:59:00+00:00\n")
    done = collect(cohort.source, tmp_path / "out", rules(DUE), ("00",), tmp_path / "times.csv")
    assert done.late == {"anna/00": 60} and not done.at_once
    cohort.hand_in("bert/06_maxent_irl.ipynb", notebook(unit="06"))
    (tmp_path / "times.csv").write_text(
        "learner,unit,submitted\nanna,0,2030-10-15T00:59:00Z\nbert,06,2030-10-15T02:59:00Z\n"
        "bert,,2030-10-15T00:00:00Z\ncarla,00,\n")
    both = Course(units={"00": UnitRules(DUE), "06": UnitRules(DUE)})
    done = collect(cohort.source, tmp_path / "two", both, (), tmp_path / "times.csv")
    assert done.late == {"anna/00": 60, "bert/06": 180}, "a unit's own time comes first"
    (tmp_path / "times.csv").write_text("learner,submitted\nanna,yesterday\n")
    with pytest.raises(GradingError, match="columns learner and submitted"):
        collect(cohort.source, tmp_path / "out", rules(DUE), ("00",), tmp_path / "times.csv")


def test_times_in_gradescopes_download_count_and_a_table_comes_before_them(cohort, tmp_path):
    cohort.hand_in("submission_7/00_start_here.ipynb", notebook(RIGHT))
    (cohort.source / "submission_metadata.yml").write_text(
        "submission_7:\n  :submitters:\n  - :name: Anna Ö\n    :sid: 815\n"
        "  :created_at: 2030-10-15 01:59:00 Z\n", encoding="utf-8")
    done = collect(cohort.source, tmp_path / "out", rules(DUE), ("00",))
    assert done.late == {"815/00": 120}
    cohort.grade(tmp_path / "out", course=rules(DUE))
    [record] = cohort.records().values()
    assert record["learner"] == {"id": "815", "name": "Anna Ö"} and record["final"] == 0.9
    (tmp_path / "times.csv").write_text("learner,submitted\n815,2030-10-15T00:59:00Z\n")
    done = collect(cohort.source, tmp_path / "out", rules(DUE), ("00",), tmp_path / "times.csv")
    assert done.late == {"815/00": 60}


def test_what_a_collection_leaves_open_is_said(cohort, tmp_path):
    for i in range(5):
        cohort.hand_in(f"learner{i}.ipynb", notebook(RIGHT))
    cohort.hand_in("learner0/00_start_here.ipynb", notebook(RIGHT))
    cohort.hand_in("zoe_4711_99_essay.pdf", b"%PDF-1.4")
    late = rules(datetime(2020, 1, 1, tzinfo=UTC))
    told = "\n".join(report(collect(cohort.source, tmp_path / "out", late), tmp_path / "out"))
    assert "2 notebooks were handed in for this unit" in told
    assert "No notebook came with zoe_4711_99_essay.pdf" in told
    assert "looks like the download's" in told and "5 notebooks collected in" in told
    cohort.grade(tmp_path / "out", course=late)
    assert "2 notebooks were handed in for this unit" in cohort.page("learner0")


def test_what_cannot_be_read_keeps_its_place_and_nothing_else_is_touched(cohort, tmp_path):
    os.symlink("/etc/passwd", cohort.source / "anna.ipynb")
    cohort.hand_in("bert.ipynb", b"%PDF-1.4")
    done = collect(cohort.source, tmp_path / "out", Course(), ("00",))
    assert "link" in done.problems["anna/00"] and "not a notebook" in done.problems["bert/00"]
    cohort.grade(tmp_path / "out", units=("00",))
    assert cohort.row("anna")["outcome"] == "not passed"
    assert "link to another file" in cohort.page("anna"), "why is told to the learner too"
    (tmp_path / "out" / "anna" / "00_start_here.ipynb").write_bytes(notebook(RIGHT))
    cohort.grade(tmp_path / "out", units=("00",))
    assert cohort.row("anna")["outcome"] == "passed", "the file that was asked for again"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(GradingError, match="something else"):
        collect(cohort.source, tmp_path / "mine", Course(), ("00",))
