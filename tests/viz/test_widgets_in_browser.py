"""The widgets' own code in a real Chromium, on a bare page that answers from Python.

No Jupyter here: a stand-in for the widget model sends changes to the Python widget and brings its
answers back. ``tests/browser`` drives the whole of JupyterLab.
"""

import json
import shutil

import numpy as np
import pytest

from tutorlib.mdp import GridWorld
from tutorlib.viz import (
    AnswerComparer,
    DemonstrationPad,
    GridPainter,
    LiveCurves,
    PredictionWidget,
    QuizWidget,
    Slider,
    TreeExplorer,
    TwoRewards,
    WalkComparer,
    density_explorer,
    explorer,
    lines,
)

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
                 if p), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
MOUNT = """async ([source, style, state]) => {
  const listeners = {};
  const changed = {};
  const model = {
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; changed[name] = value; fire(name); },
    on: (names, act) => names.split(" ").forEach((n) => (listeners[n] ??= new Set()).add(act)),
    off: (names, act) => names.split(" ").forEach((n) => listeners[n].delete(act)),
    save_changes: async () => {
      const sent = JSON.stringify(changed);
      Object.keys(changed).forEach((name) => delete changed[name]);
      const answer = JSON.parse(await window.python(sent));
      for (const [name, value] of Object.entries(answer)) {
        state[name] = value;
        fire(name);
      }
    },
  };
  window.widget = model;
  const fire = (name) => (listeners[`change:${name}`] ?? []).forEach((act) => act());
  document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  window.close_widget = (await import(url)).default.render({ model, el: document.body });
}"""

pytestmark = [pytest.mark.browser,
              pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def mount(browser):
    """Return a function that shows a widget and returns its page."""
    page, errors = browser.new_page(viewport={"width": 900, "height": 700}), []
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: errors.append(str(error)))

    def show(widget):
        names = [name for name in widget.traits(sync=True) if not name.startswith("_")
                 and name not in ("layout", "tabbable", "tooltip", "comm", "keys")]

        def python(sent):
            """Apply what the page sent; return what that changed elsewhere, as ipywidgets does."""
            known = {name: getattr(widget, name) for name in names} | json.loads(sent)
            widget.set_state(json.loads(sent))
            return json.dumps({name: getattr(widget, name) for name in names
                               if getattr(widget, name) != known[name]})

        page.expose_function("python", python)
        page.set_content("<!doctype html><html><body></body></html>")
        state = {name: getattr(widget, name) for name in names}
        page.evaluate(MOUNT, [str(widget._esm), str(widget._css), state])
        return page

    yield show
    page.close()
    assert errors == []


@pytest.fixture
def painter():
    return GridPainter(GridWorld("...G\n.#.X\nS..."), discount=0.9)


def wait_until(page, holds):
    """Let the page's messages arrive until ``holds()`` is true."""
    for _ in range(300):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("the page did not bring this about in fifteen seconds")


def label(page, row, column):
    return page.get_by_test_id(f"cell-{row}-{column}").get_attribute("aria-label")


def test_keyboard_moves_a_visible_focus_and_paints(mount, painter):
    page = mount(painter)
    page.keyboard.press("Tab")  # the one tab stop of the map: the start cell
    focused = page.locator(":focus")
    assert focused.get_attribute("data-testid") == "cell-2-0"
    assert focused.locator(".ring").is_visible()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "-", "-", "Space"):
        page.keyboard.press(key)
    cell = painter.world.state_of(1, 2)
    wait_until(page, lambda: painter.cell_rewards[cell] == 0.8)
    page.keyboard.press("Delete")
    wait_until(page, lambda: painter.cell_rewards[cell] == 0)
    assert label(page, 1, 2).startswith("row 1, column 2, reward 0.00, value")
    assert label(page, 1, 1) == "row 1, column 1, wall"


def test_a_wall_is_not_painted_and_the_border_holds(mount, painter):
    page = mount(painter)
    before = list(painter.cell_rewards)
    page.get_by_test_id("cell-1-1").click()
    assert page.locator(":focus").get_attribute("data-testid") == "cell-1-1"
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.locator(":focus").get_attribute("data-testid") == "cell-1-0"
    page.wait_for_timeout(200)
    assert painter.cell_rewards == before


def test_dragging_paints_each_cell_and_reset_takes_it_back(mount, painter):
    page = mount(painter)
    start = painter.answer
    first, last = (page.get_by_test_id(f"cell-2-{column}").bounding_box() for column in (1, 3))
    page.mouse.move(first["x"] + 20, first["y"] + 20)
    page.mouse.down()
    page.mouse.move(last["x"] + 20, last["y"] + 20, steps=9)
    page.mouse.up()
    page.mouse.move(last["x"] + 20, last["y"] - 120)  # no longer painting
    painted = [painter.world.state_of(2, column) for column in (1, 2, 3)]
    wait_until(page, lambda: all(painter.cell_rewards[state] == 1 for state in painted))
    assert sum(reward == 1 for reward in painter.cell_rewards) == 4  # and the goal
    wait_until(page, lambda: page.get_by_test_id("painter-status").inner_text()
               == painter.status())
    page.get_by_test_id("painter-reset").click()
    wait_until(page, lambda: painter.answer == start)


def test_sliders_are_named_say_their_units_and_plan_anew(mount, painter):
    page = mount(painter)
    for name in ("Reward to paint (brush)", "Discount γ", "Temperature λ"):
        assert page.get_by_role("slider", name=name).count() == 1
    slip = page.get_by_role("slider", name="Slip probability")
    slip.press("ArrowRight")
    slip.press("ArrowRight")
    wait_until(page, lambda: painter.slip == 0.1)
    assert slip.get_attribute("aria-valuetext") == "10 %"
    wait_until(page, lambda: page.get_by_role("status").inner_text() == painter.status())


def test_a_refusal_is_said_on_the_page(mount, painter):
    page = mount(painter)
    problem = page.get_by_role("alert")
    slider = page.get_by_role("slider", name="Discount γ")
    slider.evaluate("input => { input.max = 2; }")  # as if the page were out of step
    slider.press("End")
    wait_until(page, lambda: "discount is 2" in problem.inner_text())
    assert painter.discount == 0.9
    page.get_by_role("slider", name="Temperature λ").press("ArrowRight")
    wait_until(page, lambda: problem.inner_text() == "")


def test_the_explorer_shows_the_new_picture_and_errors_as_text(mount):
    def line(height):
        if height == 3:
            raise ValueError("too high <img src=x>")
        return lines({"y": [0, height]}, title=f"Height {height}", xlabel="x", ylabel="y")

    page = mount(explorer(line, {"height": Slider(0, 3, 1, label="Height (m)")}))
    slider = page.get_by_role("slider", name="Height (m)")
    picture = page.get_by_test_id("explorer-picture")
    assert picture.get_attribute("alt").startswith("Height 1.")
    slider.press("ArrowRight")
    wait_until(page, lambda: picture.get_attribute("alt").startswith("Height 2."))
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    slider.press("End")
    wait_until(page, lambda: "too high <img src=x>"
               in page.get_by_test_id("explorer-problem").inner_text())
    assert not picture.is_visible()
    slider.press("Home")
    wait_until(page, lambda: picture.is_visible())


def test_a_weight_of_the_density_explorer_moves_its_picture(mount):
    def cost(p, q):
        return float((q * np.log(q / p)).sum())

    page = mount(density_explorer([0.6, 0.4], {"KL": (cost, lambda p, q: np.log(p / q))},
                                  ["up", "down"]))
    picture = page.get_by_test_id("explorer-picture")
    before = picture.get_attribute("alt")
    page.get_by_role("slider", name="weight of up").press("End")  # 100 to 50: two thirds
    wait_until(page, lambda: picture.get_attribute("alt") != before)
    assert before.startswith(f"KL {cost(np.array([0.6, 0.4]), np.full(2, 0.5)):.3f}")


def test_a_logarithmic_slider_goes_by_factors(mount):
    def cost(slip):
        return lines({"cost": [slip, 2 * slip]}, title=f"slip {slip:.4f}", xlabel="step",
                     ylabel="cost")

    page = mount(explorer(cost, {"slip": Slider(0.001, 0.2, 0.01, label="slip ε", log=True)}))
    slider, picture = (page.get_by_role("slider", name="slip ε"),
                       page.get_by_test_id("explorer-picture"))
    slider.press("ArrowRight")
    wait_until(page, lambda: "slip 0.0100" not in picture.get_attribute("alt"))
    assert 0.01 < float(picture.get_attribute("alt").split()[1].rstrip(".")) < 0.02
    slider.press("End")
    wait_until(page, lambda: picture.get_attribute("alt").startswith("slip 0.2000"))


def test_the_quiz_by_keyboard(mount):
    told = []
    quiz = QuizWidget([{"prompt": "Is `a` < b?", "options": ["<b>no</b>", "yes"], "answer": 1,
                        "explanations": ["Look again.", "It is."]}],
                      on_answer=lambda *answer: told.append(answer))
    page = mount(quiz)
    assert page.get_by_role("group", name="1. Is a < b?").count() == 1
    button = page.get_by_role("button", name="Answer")
    assert button.is_disabled()
    page.get_by_role("radio", name="<b>no</b>").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_until(page, lambda: told == [(0, 0, False)])
    feedback = page.get_by_test_id("feedback-0")
    assert "✗ Not this one." in feedback.inner_text() and "Look again." in feedback.inner_text()
    page.get_by_role("radio", name="yes").check()
    page.get_by_role("button", name="Answer again").click()
    wait_until(page, lambda: told[1:] == [(0, 1, True)])
    assert "✓ Right." in feedback.inner_text()
    assert page.get_by_test_id("quiz-score").inner_text() == "1 of 1 right."


def test_a_prediction_is_kept_at_once(mount):
    prediction = PredictionWidget("Up or down?", ["up", "down"], chosen="up")
    page = mount(prediction)
    assert page.get_by_role("radio", name="up").is_checked()
    page.get_by_role("radio", name="down").check()
    wait_until(page, lambda: prediction.chosen == "down")
    assert page.get_by_test_id("prediction-saved").inner_text().startswith("Kept: down.")


def test_a_closed_view_no_longer_listens(mount, painter):
    page = mount(painter)
    page.evaluate("() => window.close_widget()")
    page.evaluate("() => document.querySelector('[data-testid=painter-status]').textContent = '-'")
    page.get_by_role("slider", name="Temperature λ").press("ArrowRight")
    wait_until(page, lambda: painter.temperature == 0.05)
    assert page.get_by_test_id("painter-status").inner_text() == "-"


@pytest.fixture
def pair():
    return TwoRewards(GridWorld("...G\n.#.X\nS...", step_reward=-0.1, discount=0.9))


def test_two_maps_are_two_tab_stops_and_paint_apart(mount, pair):
    page = mount(pair)
    page.keyboard.press("Tab")
    assert page.locator(":focus").get_attribute("data-testid") == "left-cell-2-0"
    page.keyboard.press("Tab")
    assert page.locator(":focus").get_attribute("data-testid") == "right-cell-2-0"
    for key in ("ArrowUp", "-", "Space"):
        page.keyboard.press(key)
    cell = pair._grid.state_of(1, 0)
    wait_until(page, lambda: pair.second[cell] == 4.5)
    assert pair.first[cell] == -0.1
    label = page.get_by_test_id("right-cell-1-0").get_attribute("aria-label")
    assert label.startswith("row 1, column 0, potential 4.50, value")
    assert page.get_by_role("grid").count() == 2
    verdicts = page.get_by_test_id("two-verdicts")
    wait_until(page, lambda: "the same in all 9 cells" in verdicts.inner_text()
               and "differ by up to 4" in verdicts.inner_text())


def test_the_end_may_be_given_a_potential_with_the_mouse(mount, pair):
    page = mount(pair)
    page.get_by_role("slider", name="Number to paint (brush)").press("Home")  # -10
    page.get_by_test_id("right-cell-0-3").click()
    verdicts = page.get_by_test_id("two-verdicts")
    wait_until(page, lambda: pair.second[pair._grid.state_of(0, 3)] == -10)
    assert "the same in all 9 cells" in verdicts.inner_text()
    page.get_by_role("checkbox", name="hold Φ at 0 where episodes end").uncheck()
    wait_until(page, lambda: "different in" in verdicts.inner_text())
    wait_until(page, lambda: "different in" in page.get_by_role("status").inner_text())


def test_a_second_reward_by_radio_button_and_back(mount, pair):
    page = mount(pair)
    start = pair.answer
    page.get_by_role("radio", name="a second reward").check()
    wait_until(page, lambda: pair.kind == "reward")
    assert not page.get_by_test_id("two-ends").is_visible()
    label = page.get_by_test_id("right-cell-1-0")
    wait_until(page, lambda: "reward 0.00" in label.get_attribute("aria-label"))
    page.get_by_test_id("two-reset").click()
    wait_until(page, lambda: pair.answer == start)
    assert page.get_by_role("radio", name="a potential").is_checked()


@pytest.fixture
def pad():
    from tutorlib.irl import walk_fitter

    grid = GridWorld("....\n.#..\nS...", slip=0.1)
    return DemonstrationPad(grid, walk_fitter(grid)), grid.state_of


def test_a_demonstration_by_keyboard(mount, pad):
    widget, at = pad
    page = mount(widget)
    page.keyboard.press("Tab")  # the end of the walk is the map's one tab stop
    assert page.locator(":focus").get_attribute("data-testid") == "pad-cell-2-0"
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "Backspace", "ArrowDown"):
        page.keyboard.press(key)
    wait_until(page, lambda: widget.walks == [[at(2, 0), at(2, 1), at(2, 2)]])
    assert page.locator(":focus").get_attribute("data-testid") == "pad-cell-2-2"
    for key in ("n", "Shift+ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    wait_until(page, lambda: widget.walks[1:] == [[at(1, 0), at(0, 0)]])
    wait_until(page, lambda: page.get_by_test_id("pad-status").inner_text() == widget.status())
    learned = page.locator(":focus").get_attribute("aria-label")
    assert learned.startswith("row 0, column 0, learned reward ") and "on 1 of 2 walks" in learned
    page.keyboard.press("Delete")
    wait_until(page, lambda: len(widget.walks) == 1)


def test_a_demonstration_by_dragging(mount, pad):
    widget, at = pad
    page = mount(widget)
    boxes = {cell: page.get_by_test_id(f"pad-cell-{cell[0]}-{cell[1]}").bounding_box()
             for cell in ((0, 0), (0, 3), (2, 3))}
    for act, cell in (("move", (0, 0)), ("down", None), ("move", (0, 3)), ("move", (2, 3)),
                      ("up", None)):
        if act == "move":
            page.mouse.move(boxes[cell]["x"] + 20, boxes[cell]["y"] + 20, steps=7)
        else:
            getattr(page.mouse, act)()
    drawn = [at(0, 0), at(0, 1), at(0, 2), at(0, 3), at(1, 3), at(2, 3)]
    wait_until(page, lambda: widget.walks == [drawn])  # an empty walk has moved to the press
    wait_until(page, lambda: "5 steps" in page.get_by_test_id("pad-status").inner_text())
    visits = page.get_by_test_id("visits-painter-grid").get_attribute("aria-label")
    assert "They differ most at row" in visits
    page.get_by_role("button", name="Step back").click()
    wait_until(page, lambda: widget.walks == [drawn[:-1]])
    page.get_by_role("button", name="Reset").click()
    wait_until(page, lambda: widget.walks == [[at(2, 0)]])


def test_walks_are_judged_by_mouse_and_keyboard(mount):
    grid = GridWorld("S..")
    pairs = [([0, 1], [0, 0]), ([1, 2], [1, 0]), ([2, 2], [1, 1])]
    judge = WalkComparer(grid, pairs, lambda judged, labels: [sum(labels), -len(judged), 0.5])
    page = mount(judge)
    assert page.get_by_role("img", name="Left walk, row and column: (0, 0), (0, 1)").count() == 1
    page.get_by_test_id("judge-left").click()
    wait_until(page, lambda: judge.choices == ["left", None, None])
    wait_until(page, lambda: "Pair 2 of 3" in page.get_by_test_id("comparer-pair").inner_text())
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    wait_until(page, lambda: judge.choices == ["left", "right", "same"])
    wait_until(page, lambda: page.get_by_test_id("comparer-status").inner_text()
               == judge.answer["status"])
    page.get_by_test_id("comparer-back").click()
    wait_until(page, lambda: "you said right" in page.get_by_test_id("comparer-pair").inner_text())
    page.get_by_test_id("comparer-forget").click()
    wait_until(page, lambda: judge.choices == [None, None, None] and judge.values == [0, 0, 0])
    wait_until(page, lambda: "Pair 1 of 3" in page.get_by_test_id("comparer-pair").inner_text())
    page.evaluate("""() => ["left", "same", "right"].forEach(  // before Python can reply
        (name) => document.querySelector(`[data-testid=judge-${name}]`).click())""")
    wait_until(page, lambda: judge.choices == ["left", "same", "right"])


def test_answers_are_judged_by_mouse_and_keyboard_and_taken_back(mount):
    questions = [("sky ?", "blue", "<b>red"), ("grass ?", "green", "pink"),
                 ("sea ?", "wet", "dry"), ("snow ?", "white", "black")]
    judge = AnswerComparer(questions, lambda pairs, labels: {
        "tries": [("ice ?", ["warm <i>", "cold"], [0.0, sum(labels)])],
        "note": f"{len(pairs)} count"}, fit_from=1)
    page = mount(judge)
    seen = page.get_by_test_id("answer-comparer")
    assert "sky ?" in seen.inner_text() and "<b>red" in seen.inner_text()
    page.get_by_role("button", name="Left is better").click()
    wait_until(page, lambda: judge.choices == ["left", None, None, None])
    wait_until(page, lambda: "Pair 2 of 4" in page.get_by_test_id("comparer-pair").inner_text())
    for key in ("ArrowUp", "ArrowDown", "ArrowRight"):  # skip, tie, right
        page.keyboard.press(key)
    assert page.locator(":focus").get_attribute("data-testid") == "judge-right"
    wait_until(page, lambda: judge.choices == ["left", "skip", "tie", "right"])
    wait_until(page, lambda: page.get_by_role("status").inner_text() == "4 of 4 judged.")
    table = page.get_by_role("table", name="To: ice ?")
    assert table.get_by_role("row", name="best of 2 cold 1.50").count() == 1
    assert table.get_by_role("row", name="worst of 2 warm <i> 0.00").count() == 1
    assert page.get_by_test_id("comparer-note").inner_text() == "3 count"
    assert page.get_by_role("progressbar", name="pairs judged").evaluate("bar => bar.value") == 4
    page.keyboard.press("Backspace")
    page.get_by_role("button", name="Undo").click()
    wait_until(page, lambda: judge.choices == ["left", "skip", None, None])
    wait_until(page, lambda: "sea ?" in page.get_by_test_id("comparer-prompt").inner_text())
    page.get_by_role("button", name="Forget all answers").click()
    wait_until(page, lambda: judge.choices == [None] * 4 and judge.shown == 0)
    wait_until(page, lambda: page.get_by_role("table").count() == 0)
    page.get_by_role("button", name="Undo").click()  # nothing left to take back
    assert "Pair 1 of 4" in page.get_by_test_id("comparer-pair").inner_text()


def test_live_curves_are_described_pictures_that_grow(mount):
    live = LiveCurves(["reward", "kl"], title="A run")
    page = mount(live)
    assert page.get_by_test_id("live-count").inner_text() == "0 records"
    assert page.get_by_role("img", name="reward: no points.").count() == 1
    assert page.locator("path").count() == 0

    def grow(records):
        for record in records:
            live.update(record)
        live.repaint()
        page.evaluate("curves => { window.widget.set('curves', curves); }", live.curves)

    grow([{"reward": 1.0, "kl": 0.0}, {"reward": 3.0}, {"reward": 2.0, "kl": -0.25}])
    panel = page.get_by_test_id("panel-0")
    assert panel.get_by_role("img", name="reward: from 1 to 2, highest 3 at 1.").count() == 1
    assert panel.inner_text().startswith("reward: 2") and "1.5" not in panel.inner_text()
    assert page.get_by_test_id("panel-1").inner_text().startswith(
        "kl (nats per answer): \u22120.25")
    path = page.get_by_test_id("panel-1").locator("path").get_attribute("d")
    assert path.count("M") == 2 and "L" not in path  # a gap between two points
    grow([{"reward": 5.0, "kl": 1.0}])
    assert page.get_by_test_id("live-count").inner_text() == "4 records"
    assert panel.locator("path").get_attribute("d").count("L") == 3


@pytest.fixture
def forest():
    """Two words and an end, three deep, at a price: the policy and the values depend on it."""
    def tables(price):
        even, tilted = [1 / 3] * 3, [0.9 - 0.1 * price, 0.099 + 0.1 * price, 0.001]
        return {"words": ["sky", "blue", "<eos>"], "going_on": [0, 1],
                "policies": {"model": [[even] * 2**d for d in range(3)],
                             "tuned": [[tilted] * 2**d for d in range(3)]},
                "q_values": [[[d + i, 0.0, -1.0] for i in range(2**d)] for d in range(3)],
                "values": [[price + i for i in range(2**d)] for d in range(3)]}

    return TreeExplorer(tables, Slider(1, 4, 2, label="β"), threshold=0.0)


def test_a_tree_by_keyboard(mount, forest):
    page = mount(forest)
    for _ in range(3):
        page.keyboard.press("Tab")  # two sliders, then one tab stop for all rows
    focused = page.locator(":focus")
    assert focused.get_attribute("aria-expanded") == "true"
    assert focused.get_attribute("aria-label").startswith("(start): V 2")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    wait_until(page, lambda: forest.opened == [[], [1]])
    wait_until(page, lambda: page.get_by_test_id("node-1.0").count() == 1)
    page.keyboard.press("ArrowRight")  # open already: on to its first child
    assert page.locator(":focus").get_attribute("data-testid") == "node-1.0"
    assert page.locator(":focus").get_attribute("aria-label").startswith("blue sky: model 0.333")
    page.keyboard.press("End")
    last = page.locator(":focus")
    assert last.get_attribute("data-testid") == "node-2"
    assert last.get_attribute("aria-expanded") is None
    assert last.get_attribute("aria-label").endswith("answer over")
    for key in ("Enter", "ArrowUp", "ArrowLeft", "ArrowLeft"):  # nothing; up; to the parent; close
        page.keyboard.press(key)
    wait_until(page, lambda: forest.opened == [[]])
    assert page.locator(":focus").get_attribute("data-testid") == "node-1"
    assert page.get_by_role("treegrid", name=forest.title).count() == 1


def test_a_tree_by_mouse_and_its_sliders(mount, forest):
    page = mount(forest)
    page.get_by_test_id("node-0").click()
    wait_until(page, lambda: page.get_by_test_id("node-0.2").count() == 1)
    page.get_by_role("slider", name="β").press("End")
    wait_until(page, lambda: forest.position == 3)
    wait_until(page, lambda: "tuned 0.5" in page.get_by_test_id("node-0")
               .get_attribute("aria-label"))
    prune = page.get_by_role("slider", name="Hide what is rarer than")
    prune.press("End")  # rarer than 0.3 under both: of the deeper rows only some are left
    wait_until(page, lambda: "below 0.300" in page.get_by_test_id("tree-status").inner_text())
    wait_until(page, lambda: page.get_by_test_id("node-0.2").count() == 0)
    assert "words hidden" in page.get_by_test_id("node-0").get_attribute("aria-label")
    prune.press("Home")
    wait_until(page, lambda: page.get_by_test_id("node-0.2").count() == 1)
    page.get_by_test_id("node-0.2").click()  # a finished answer opens nothing
    page.wait_for_timeout(200)
    assert forest.opened == [[], [0]] and forest.message == ""
