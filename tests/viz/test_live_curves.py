"""Curves that grow with a training run: records, words, repaints, and what a notebook keeps."""

import asyncio
import math
import re
import time

import nbformat
import numpy as np
import pytest
import torch

from tutorlib.authoring.execute import Budget, execute
from tutorlib.errors import InvalidArgumentError
from tutorlib.syllabus import course_root
from tutorlib.viz import LiveCurves


def live(**settings):
    return LiveCurves(["reward", "kl"], **{"title": "A run", **settings})


def feed(curves, rewards, **more):
    for step, reward in enumerate(rewards):
        curves.update({"step": step, "reward": reward, "loss": 7.0, **more})


def test_records_become_series_with_names_units_and_words():
    curves = live(labels={"reward": "gold"}, units={"reward": "points"})
    assert curves.labels == ["gold (points)", "kl (nats per answer)"]
    feed(curves, [1.0, 4, torch.tensor(2.0), np.float32(3)], kl=0.5)
    curves.repaint()
    assert curves.curves == {
        "steps": [0, 1, 2, 3], "count": 4, "series": [[1, 4, 2, 3], [0.5] * 4], "texts": [
            "gold (points): from 1 to 3, highest 4 at 1.",
            "kl (nats per answer): constant at 0.5."]}
    assert curves.text == "A run. " + " ".join(curves.curves["texts"])
    assert curves.picture().alt == curves.text


def test_what_a_record_lacks_is_a_gap_and_json_knows_it():
    curves = live()
    for record in ({"reward": 1.0}, {"reward": math.nan, "kl": math.inf}, {"kl": 2.0}):
        curves.update(record)
    curves.repaint()
    assert curves.curves["steps"] == [0, 1, 2]  # counted
    assert curves.curves["series"] == [[1.0, None, None], [None, None, 2.0]]
    assert "reward: constant at 1." in curves.text


def test_repaints_are_few_however_fast_records_come():
    curves, painted = live(), []
    curves.observe(lambda change: painted.append(change["new"]["count"]), "curves")
    start = time.monotonic()
    while time.monotonic() < start + 0.7:
        curves.update({"reward": time.monotonic()})
    assert painted[0] == 1 and 2 <= len(painted) <= 4


def test_the_last_records_are_painted_once_the_loop_is_free():
    async def cell():
        curves = live()
        feed(curves, [1.0, 2.0, 3.0])
        before = curves.curves["count"]
        await asyncio.sleep(0.5)
        return before, curves.curves["count"]

    assert asyncio.run(cell()) == (1, 3)


def test_of_many_records_the_browser_gets_some_and_always_the_last():
    curves = live()
    feed(curves, range(1000))
    curves.repaint()
    assert curves.curves["count"] == 1000 and curves.curves["steps"][-1] == 999
    assert 200 < len(curves.curves["steps"]) <= 300
    assert curves.curves["series"][0] == curves.curves["steps"]
    assert "from 0 to 999, rising" in curves.text


def test_another_run_starts_after_clear():
    curves = live()
    feed(curves, [1.0, 2.0])
    curves.clear()
    assert curves.curves["count"] == 0 and "reward: no points." in curves.text
    data, _ = curves._repr_mimebundle_()
    assert "No records yet." in data["text/plain"] and "<img" not in data["text/html"]
    with pytest.raises(InvalidArgumentError, match="no records to draw"):
        curves.picture()


@pytest.mark.parametrize(("keys", "settings", "message"), [
    ([], {}, "expected names of entries"),
    ("reward", {}, "expected names of entries"),
    (["kl", "kl"], {}, "each once"),
    (["reward"], {"units": {"rewards": "points"}}, "did you mean 'reward'"),
    (["reward"], {"labels": {"kl": "x"}}, "'kl' is no panel"),
    (["reward"], {"title": ""}, "title"),
])
def test_panels_that_make_no_sense_are_refused(keys, settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        LiveCurves(keys, **{"title": "A run", **settings})


def test_a_record_of_other_things_is_refused_by_name():
    with pytest.raises(InvalidArgumentError, match="holds loss, step; expected one or more of rew"):
        live().update({"loss": 1.0, "step": 0})


CELLS = ["""import time
from tutorlib.viz import LiveCurves
with LiveCurves(["reward", "kl"], title="A run in a notebook") as live:
    start = time.process_time()
    for step in range(400):
        live.update({"step": step, "reward": step, "kl": -step})
        time.sleep(0.002)
    spent = 1000 * (time.process_time() - start) / 400
print(f"{spent:.3f} ms")
""", "other = LiveCurves(['kl'], title='Shown last')\nother.update({'kl': 2.0})\nother"]


def test_a_notebook_keeps_the_finished_picture_and_a_step_costs_little(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    nbformat.write(book, tmp_path / "live.ipynb")
    run = asyncio.run(execute(tmp_path / "live.ipynb", course_root(), [], Budget()))
    assert run.stopped_by == ""
    shown, printed = run.notebook.cells[0].outputs
    assert shown.data["text/html"].count("<img") == 1
    assert "reward: from 0 to 399, rising" in shown.data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in shown.data
    assert float(re.match(r"(\S+) ms", printed.text)[1]) < 1
    last = run.notebook.cells[1].outputs[0]
    assert "Shown last. kl (nats per answer): constant at 2." in last.data["text/plain"]
