"""The pages: what the class report's figures and a learner's page say, and that it fits a phone."""

import re

import pytest

from tests.browser.driver import CHROMIUM, FLAGS
from tests.grading.cohort.conftest import RIGHT, UNDIVIDED, notebook
from tutorlib.grading.cohort.classreport import (
    hardest_figure,
    mistakes_figure,
    score_figure,
    timeouts_figure,
)
from tutorlib.grading.cohort.feedback import feedback_page


def exercise(title, outcome="passed", mistake="", stage=""):
    told = {"name": mistake, "message": f"about {mistake}", "certain": True} if mistake else None
    return {"title": title, "outcome": outcome, "mistake": told, "stage": stage, "hidden": False,
            "cases": []}


def learner(points, *exercises, late=None):
    return {"points": points, "max_points": 4, "late": late or {}, "exercises": list(exercises)}


def title(figure):
    return re.search(r"<figcaption>(.*)</figcaption>", figure)[1].replace("&quot;", '"')


@pytest.mark.parametrize("outcomes, told", [
    (["pp", "pp"], "Every exercise was passed by 2 learners"),
    (["pf", "pp"], 'Hardest: "B", passed by 1 of 2'),
    (["ff", "pp", "ff"], "Every exercise was passed by 1 of 3"),
    (["pff", "ppp"], 'Hardest: "B" and "C", passed by 1 of 2'),
])
def test_the_hardest_exercise_is_named_where_there_is_one(outcomes, told):
    names = {"p": "passed", "f": "not passed"}
    assert title(hardest_figure([learner(1, *(exercise(t, names[o]) for t, o in zip(
        "ABC", row, strict=False))) for row in outcomes])) == told


def test_titles_of_scores_mistakes_and_time_say_what_is_drawn():
    assert title(score_figure([learner(3), learner(4), learner(1)])) == (
        "At least half of 3 learners have 3 of 4 points or more")
    assert title(score_figure([learner(3)])) == "One learner, with 3 of 4 points"
    late = score_figure([learner(3, late={"minutes": 9}), learner(4), learner(0)])
    assert "lateness" in title(late) and re.findall(r"width:([\d.]+)%", late) == [
        "100.0", "0.0", "100.0", *["0.0"] * 6, "100.0"]
    apart = [["A", "sign", "m", 1], ["B", "sum", "m", 1]]
    assert title(mistakes_figure(apart)) == "2 mistakes were recognised, each in one notebook"
    often = [["A", "sign", "m", 2], ["B", "sum", "m", 2], ["B", "mean", "m", 1]]
    assert title(mistakes_figure(often)) == (
        'Most frequent recognised mistake: "sign" and "sum", 2 learners each')
    assert title(mistakes_figure([["A", "sign", "m", 1]])) == (
        'Most frequent recognised mistake: "sign", 1 learner')
    assert title(timeouts_figure({"A": 3, "B": 1})) == (
        'Stopped for time most often: "A", 3 learners')


def test_a_page_says_what_to_do_next(visible):
    base = {"unit": "00", "unit_title": "x", "learner": {"id": "a", "name": "a"}, "points": 0,
            "max_points": 1, "final": 0, "late": {}, "problem": "", "limits_hit": [], "notes": [],
            "submission": {"path": "p", "sha256": "s"}, "course": {"version": "1"}}

    def row(name, outcome):
        return {**exercise(name, outcome), "exercise": name, "points": 0, "max_points": 1,
                "message": "", "shown": {}, "hint": "", "notes": []}

    def told(*rows):
        return visible(feedback_page({**base, "exercises": list(rows)}))

    assert "Every exercise is passed" in told(row("One", "passed"))
    assert "Not attempted: Two." in told(row("One", "passed"), row("Two", "not attempted"))
    assert 'Go on with &quot;Two&quot;' in told(row("One", "passed"), row("Two", "not passed"))



@pytest.mark.slow
@pytest.mark.browser
def test_both_pages_fit_a_phone_and_their_bars_are_drawn(cohort):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    for name, source in {"anna": RIGHT, "bert": UNDIVIDED, "a" * 100: UNDIVIDED}.items():
        cohort.hand_in(f"{name}.ipynb", notebook(source))
    cohort.hand_in("carla.ipynb", b"broken")
    cohort.grade(units=("00",))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(viewport={"width": 360, "height": 740})
        page.goto((cohort.out / "report.html").as_uri())
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
        longest = page.evaluate("""() => [...document.querySelectorAll('figure.bars')].map(f =>
            Math.max(...[...f.querySelectorAll('.bar')].map(b => b.getBoundingClientRect().width)))
            """)
        assert len(longest) == 3 and all(width > 20 for width in longest)
        page.click("text=bert")
        page.wait_for_selector("text=Go on with")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
        chromium.close()
