"""A learner's first half hour in JupyterLab, in a real Chromium."""

import re
import time

import pytest

from tutorlib.grading.registry import find_exercise, unit_exercises

pytestmark = [pytest.mark.browser, pytest.mark.slow]
UNIT = "exercises/01_markov_decision_processes.ipynb"
TASK = "markov_decision_processes.bellman_backup"
SIGNATURE = "def bellman_backup(transition_matrix, reward, values, discount, terminal):\n"
# The transition matrix read backwards: the mistake that the grader knows as transposed_transition.
WRONG = SIGNATURE + """\
    later = values.masked_fill(terminal, 0.0)
    return (reward + discount * torch.einsum("tas,t->sa", transition_matrix, later)).amax(1)"""
RIGHT = SIGNATURE + """\
    later = values.masked_fill(terminal, 0.0)
    return (reward + discount * transition_matrix @ later).amax(1)"""


def plain(text: str) -> str:
    """Return words without code marks and line breaks, as they read on the page."""
    return " ".join(text.replace("`", "").split())


@pytest.fixture
def lesson(learner):
    """Unit 01's worksheet, opened and run once from top to bottom."""
    learner.open(UNIT)
    learner.run_all()
    return learner


def test_a_learner_fails_learns_why_passes_and_paints(lesson):
    reports = lesson.page.locator('[data-testid="check-report"]')
    exercises = unit_exercises("markov_decision_processes")
    outcomes = []
    for exercise in exercises:
        cell = lesson.cell(lesson.find(f'check("{exercise.id}"'))
        outcomes.append(cell.locator('[data-testid="check-report"]').get_attribute("data-outcome"))
    assert outcomes == ["not attempted"] * len(exercises)
    assert reports.count() >= len(exercises)
    lesson.cell(lesson.find(f'check("{TASK}"'))
    lesson.shot("1_not_attempted")

    answer, check = lesson.find(f"# exercise: {TASK}"), lesson.find(f'check("{TASK}"')
    lesson.type_and_run(answer, WRONG)
    lesson.run(check)
    seen = plain(lesson.outputs(check))
    known = {mutant.name: mutant.message for mutant in find_exercise(TASK).mutants}
    assert "not passed" in seen and plain(known["transposed_transition"]) in seen
    assert "Expected" in seen and "You returned" in seen
    lesson.cell(check)
    lesson.shot("2_known_mistake")

    hint = lesson.find(f'hint("{TASK}")')
    lesson.type_and_run(hint, f'hint("{TASK}")')
    assert "Hint 1 of 3" in lesson.outputs(hint)
    lesson.type_and_run(hint, "progress()")
    before = lesson.cell(hint).locator('[data-testid="progress"]').inner_text()
    assert before.startswith("0 of ")

    lesson.type_and_run(answer, RIGHT)
    lesson.run(check)
    assert "One Bellman backup: passed" in lesson.outputs(check)
    assert lesson.cell(check).locator("img[alt]").count() == 1
    lesson.cell(check)
    lesson.shot("3_passed")
    lesson.run(hint)
    after = lesson.cell(hint).locator('[data-testid="progress"]').inner_text()
    points = find_exercise(TASK).points
    assert after.startswith(f"{points} of ") and after != before
    lesson.cell(hint)
    lesson.shot("4_progress")


def value_in(cell) -> float:
    """Return the value that a screen reader hears of a cell."""
    return float(re.search(r"value (-?[\d.]+)", cell.get_attribute("aria-label"))[1])


def test_painting_a_reward_changes_values_by_keyboard_and_mouse(lesson):
    index = lesson.find("GridPainter(")
    area = lesson.cell(index)
    grid = area.locator('[data-testid="painter-grid"]')
    grid.wait_for()
    status = area.locator('[data-testid="painter-status"]')
    start = grid.locator('[role="gridcell"][tabindex="0"]')
    start.scroll_into_view_if_needed()
    first, said = value_in(start), status.inner_text()
    lesson.shot("5_painter_before")

    start.focus()
    for key in ("+", "ArrowRight", " "):
        lesson.page.keyboard.press(key)
    clock = time.perf_counter()
    lesson.page.wait_for_function(
        "([node, text]) => node.innerText !== text", arg=[status.element_handle(), said])
    assert time.perf_counter() - clock < 2.0
    home = grid.locator('[aria-label*=", start"]').first
    second = value_in(home)
    assert second > first  # a prize beside the start is worth having
    lesson.shot("6_painter_after_keyboard")

    said = status.inner_text()
    area.get_by_label("Reward to paint").focus()
    lesson.page.keyboard.press("Home")  # the brush's lowest reward
    home.click()
    lesson.page.wait_for_function(
        "([node, text]) => node.innerText !== text", arg=[status.element_handle(), said])
    lesson.shot("7_painter_after_mouse")
    assert "reward -2.00" in home.get_attribute("aria-label").replace("\u2212", "-")


def test_pictures_on_the_page_say_what_they_show(lesson):
    alts = lesson.page.evaluate("""() => window.panel.content.widgets.flatMap(cell =>
      cell.model.type !== 'code' ? [] : cell.model.outputs.toJSON().map(
        output => ((output.data || {})['text/html'] || '')))""")
    images = [match for html in alts for match in re.findall(r"<img\b[^>]*>", "".join(html))]
    assert len(images) >= 4
    for image in images:
        assert len(re.search(r'alt="([^"]*)"', image)[1]) > 20
