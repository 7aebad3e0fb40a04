"""One source, three notebooks, the same bytes each time."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from tutorlib.authoring import build, build_payload, print_build
from tutorlib.errors import LessonError
from tutorlib.syllabus import UNITS

STEM = "22_capstone"
PATHS = tuple(f"{product}/{STEM}.ipynb" for product in ("notebooks", "exercises", "solutions"))


def cells(root, product):
    notebook = json.loads((root / product / f"{STEM}.ipynb").read_text(encoding="utf-8"))
    return {cell["id"]: cell for cell in notebook["cells"]}


def source(cell):
    return "".join(cell["source"])


def test_the_three_notebooks_are_written_valid_and_without_outputs(toy_root):
    assert build(toy_root).written == PATHS
    for path in PATHS:
        notebook = nbformat.read(toy_root / path, as_version=4)
        nbformat.validate(notebook)
        assert notebook.metadata.kernelspec.name == "python3"
        assert "jupytext" not in notebook.metadata
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(not c.outputs and c.execution_count is None for c in code)
        assert str(toy_root) not in (toy_root / path).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_same_bytes_under_another_hash_seed_and_process(toy_root, tmp_path_factory):
    build(toy_root)
    here = {path: (toy_root / path).read_bytes() for path in PATHS}
    for path in PATHS:
        (toy_root / path).unlink()
    subprocess.run(
        [sys.executable, "-c", "import sys; from tutorlib.authoring import build; "
         "build(sys.argv[1])", str(toy_root)],
        env={**os.environ, "PYTHONHASHSEED": "1"}, check=True, cwd=tmp_path_factory.mktemp("x"))
    assert {path: (toy_root / path).read_bytes() for path in PATHS} == here


def test_a_second_build_changes_nothing(toy_root):
    build(toy_root)
    stamps = [(toy_root / path).stat().st_mtime_ns for path in PATHS]
    report = build(toy_root)
    assert report.ok and report.unchanged == PATHS and not report.written
    assert [(toy_root / path).stat().st_mtime_ns for path in PATHS] == stamps


def test_each_product_has_its_own_cells(toy_root):
    build(toy_root)
    read, work, solved = (cells(toy_root, p) for p in ("notebooks", "exercises", "solutions"))
    text = {name: json.dumps(found, ensure_ascii=False) for name, found in
            (("read", read), ("work", work), ("solved", solved))}
    assert [name for name in text if "Ask the room" in text[name]] == ["read"]
    assert [name for name in text if "Take your time" in text[name]] == ["work"]
    assert [name for name in text if "Compare the two ways" in text[name]] == ["solved"]
    for found in (read, work, solved):
        assert source(found["discounted_sum-check"]) == (
            'discounted_sum = check("capstone.discounted_sum", discounted_sum)')
    assert "discounted_sum-hint" in work and "discounted_sum-hint" not in read | solved
    assert "discounted_sum-notes" in solved and "discounted_sum-notes" not in read | work


def test_cells_keep_their_ids_across_products(toy_root):
    build(toy_root)
    ids = [set(cells(toy_root, product)) for product in ("notebooks", "exercises", "solutions")]
    shared = {"card", "setup", "worth", "discounted_sum-task", "discounted_sum-answer", "footer"}
    assert shared <= set.intersection(*ids)


def test_an_edit_elsewhere_leaves_ids_alone(toy_root, edited):
    build(toy_root)
    before = set(cells(toy_root, "notebooks"))
    edited('print("Ask the room first.")', 'print("Ask them.")')
    build(toy_root)
    assert len(before ^ set(cells(toy_root, "notebooks"))) == 2  # one gone, one new


def test_repeated_cells_get_a_suffix(toy_root, edited):
    edited('print("Ask the room first.")', 'import html')
    build(toy_root)
    ids = [i for i in cells(toy_root, "notebooks") if i.startswith("code-8030bd50e2c3")]
    assert ids == ["code-8030bd50e2c3", "code-8030bd50e2c3-2"]


def test_the_stub_stands_in_for_the_solution(toy_root):
    build(toy_root)
    work, solved = cells(toy_root, "exercises"), cells(toy_root, "solutions")
    assert source(work["discounted_sum-answer"]) == (
        "# exercise: capstone.discounted_sum\n"
        "def discounted_sum(values, discount):\n"
        '    """Return the sum of ``discount**t * values[t]``."""\n'
        "    total = 0.0\n"
        '    raise NotImplementedError("write your answer here")\n'
        "    return total")
    assert source(work["map_size-answer"]).endswith('map_text = "S.G\\n..."\nmap_size = ...')
    assert "        total += discount**step * value\n" in source(solved["discounted_sum-answer"])
    assert "SOLUTION" not in json.dumps(solved) + json.dumps(work)


def test_answer_cells_are_found_by_metadata_and_by_comment(toy_root):
    build(toy_root)
    answer = cells(toy_root, "exercises")["map_size-answer"]
    assert answer["metadata"]["tutorlib"] == {"exercise": "capstone.map_size", "role": "answer"}
    assert answer["metadata"]["deletable"] is False
    assert source(answer).startswith("# exercise: capstone.map_size\n")


def test_the_task_has_its_header(toy_root):
    build(toy_root)
    task = source(cells(toy_root, "notebooks")["map_size-task"])
    assert task == ("### Exercise 22.2 · Size of a map\n\n*1 minute · 1 point · "
                    "difficulty 1 of 5*\n\nHow large is the map?")


def test_solution_notes_say_why_and_name_the_mistakes(toy_root, toy_exercises):
    build(toy_root)
    notes = source(cells(toy_root, "solutions")["discounted_sum-notes"])
    assert toy_exercises[0].why in notes
    for mutant in toy_exercises[0].mutants:
        assert mutant.message in notes
    assert "- *starts at one*: " in notes


def test_the_hint_cell_shows_nothing_on_run_all_and_names_the_exercise(toy_root):
    build(toy_root)
    hint = source(cells(toy_root, "exercises")["discounted_sum-hint"]).splitlines()
    assert all(line.startswith("#") for line in hint)
    assert hint[-1] == '# hint("capstone.discounted_sum")'
    setup = source(cells(toy_root, "exercises")["setup"])
    assert setup == "from tutorlib import check, hint, progress, solution"


def test_a_lesson_with_its_own_import_of_check_gets_no_second_one(toy_root, edited):
    edited("import html", "import html\n\nfrom tutorlib import check, hint")
    build(toy_root)
    assert "setup" not in cells(toy_root, "exercises")


def test_tags_become_what_jupyter_understands(toy_root):
    build(toy_root)
    read = cells(toy_root, "notebooks")
    folded = next(c for c in read.values() if "class Bar" in source(c))
    assert folded["metadata"]["jupyter"] == {"source_hidden": True}
    assert "hide-input" in folded["metadata"]["tags"]
    assert read["worth"]["metadata"]["slideshow"] == {"slide_type": "slide"}
    assert folded["metadata"]["slideshow"] == {"slide_type": "skip"}
    assert "slideshow" not in cells(toy_root, "exercises")["worth"]["metadata"]


def test_the_card_counts_exercises_and_says_no_seconds_before_they_are_measured(toy_root):
    build(toy_root)
    card = source(cells(toy_root, "notebooks")["card"])
    assert "**Exercises:** 2 (3 points)" in card and "second" not in card
    measured = {"22": {"seconds": 41.2, "cpu_seconds": 50.0, "peak_mb": 300, "cpus": 2}}
    (toy_root / "course/measured.json").write_text(json.dumps(measured))
    build(toy_root)
    assert "about 45 seconds on 2 CPU cores" in source(cells(toy_root, "notebooks")["card"])


def test_a_damaged_record_of_measurements_is_named(toy_root):
    (toy_root / "course/measured.json").write_text("{")
    with pytest.raises(LessonError, match=r"measured\.json is not JSON.*measure again"):
        build(toy_root)


def plain_lesson(root: Path, number: str):
    stem = next(unit.stem for unit in UNITS if unit.number == number)
    text = '# %% [markdown] tags=["card"]\nr"""\n# A lesson\n"""\n'
    (root / "course" / f"{stem}.py").write_text(text, encoding="utf-8")
    return stem


def test_links_lead_only_to_lessons_that_exist(toy_root, monkeypatch):
    from tutorlib.grading import registry

    toys = registry.unit_exercises("capstone")
    monkeypatch.setattr(registry, "unit_exercises",
                        lambda slug: toys if slug == "capstone" else ())
    build(toy_root)
    before = cells(toy_root, "exercises")
    assert "19 Reward over-optimisation ·" in source(before["card"])
    assert "Previous" not in source(before["footer"])
    start, needed = plain_lesson(toy_root, "00"), plain_lesson(toy_root, "19")
    build(toy_root)
    after = cells(toy_root, "exercises")
    assert f"[19 Reward over-optimisation]({needed}.ipynb)" in source(after["card"])
    footer = source(after["footer"])
    assert f"Previous: [19 Reward over-optimisation]({needed}.ipynb)" in footer
    assert f"[All units]({start}.ipynb)" in footer and "Next" not in footer
    assert f"(../solutions/{STEM}.ipynb)" in footer
    first = json.loads((toy_root / f"notebooks/{start}.ipynb").read_text(encoding="utf-8"))
    assert f"Next: [19 Reward over-optimisation]({needed}.ipynb)" in "".join(
        first["cells"][-1]["source"])


def test_check_reports_missing_stale_and_superfluous_and_writes_nothing(toy_root):
    assert {d.kind for d in build(toy_root, check=True).drift} == {"missing"}
    assert not (toy_root / "notebooks").exists()
    build(toy_root)
    assert build(toy_root, check=True).ok
    stale = toy_root / PATHS[0]
    text = stale.read_text(encoding="utf-8")
    stale.write_text(text.replace("Later counts less", "Later counts more"), encoding="utf-8")
    gone = toy_root / "solutions" / "07_adversarial_irl.ipynb"
    gone.write_text(text, encoding="utf-8")
    report = build(toy_root, check=True)
    assert [(d.path, d.kind) for d in report.drift] == [
        (PATHS[0], "stale"), ("solutions/07_adversarial_irl.ipynb", "superfluous")]
    assert "-    \"Later counts more.\"" in report.drift[0].excerpt
    assert "+    \"Later counts less.\"" in report.drift[0].excerpt
    assert "more" in stale.read_text(encoding="utf-8") and gone.exists() and not report.ok


def test_one_byte_is_drift(toy_root):
    build(toy_root)
    path = toy_root / PATHS[1]
    path.write_bytes(path.read_bytes() + b"\n")
    assert [d.path for d in build(toy_root, check=True).drift] == [PATHS[1]]


def test_a_worksheet_with_outputs_is_somebodys_work_and_is_kept(toy_root, edited):
    build(toy_root)
    path = toy_root / PATHS[1]
    notebook = json.loads(path.read_text(encoding="utf-8"))
    next(c for c in notebook["cells"] if c["cell_type"] == "code")["execution_count"] = 1
    path.write_text(json.dumps(notebook), encoding="utf-8")
    before = path.read_bytes()
    edited("Later counts less", "Later counts for less")
    report = build(toy_root)
    assert report.kept == (PATHS[1],) and not report.ok
    assert path.read_bytes() == before
    assert set(report.written) == {PATHS[0], PATHS[2]}


def test_built_files_of_a_removed_lesson_go_and_the_readers_own_stay(toy_root):
    build(toy_root)
    own = toy_root / "exercises" / f"{STEM}-Copy1.ipynb"
    own.write_bytes((toy_root / PATHS[1]).read_bytes())
    foreign = toy_root / "exercises" / "05_mine.ipynb"
    foreign.write_text("{}")
    (toy_root / "course" / f"{STEM}.py").unlink()
    report = build(toy_root)
    assert sorted(report.removed) == sorted(PATHS)
    assert own.exists() and foreign.exists() and report.kept == ("exercises/05_mine.ipynb",)


def test_one_unit_can_be_built_by_number(toy_root):
    assert build(toy_root, units=["22"]).written == PATHS
    with pytest.raises(LessonError, match=r"unit 07 has no lesson yet.*07_adversarial_irl\.py"):
        build(toy_root, units=["7"])
    with pytest.raises(LessonError, match="did you mean 'capstone'"):
        build(toy_root, units=["capston"])


def test_the_report_is_printed_and_serialised(toy_root):
    out = io.StringIO()
    report = build(toy_root, check=True)
    print_build(report, Console(file=out, width=100))
    assert f"missing: {PATHS[0]}" in out.getvalue() and "run `tutorlib build`" in out.getvalue()
    payload = json.loads(json.dumps(build_payload(report)))
    assert payload["ok"] is False and len(payload["drift"]) == 3
    out = io.StringIO()
    print_build(build(toy_root), Console(file=out, width=100))
    assert "3 notebooks agree with their lesson sources" in out.getvalue()


def test_the_lesson_source_runs_as_it_is(toy_root):
    done = subprocess.run([sys.executable, toy_root / "course" / f"{STEM}.py"],
                          capture_output=True, text=True, check=True)
    assert done.stdout == "Ask the room first.\n6\n"
