"""Notebooks of imaginary learners, and a grading of them in this process."""

import json
import re
from pathlib import Path

import pytest

from tutorlib.grading.cohort.cohort import Settings, grade_cohort
from tutorlib.grading.cohort.records import read_records
from tutorlib.grading.cohort.runners import Trusted

ROOT = Path(__file__).parents[3]
FIRST = "start_here.softmax_with_temperature"
RIGHT = """import torch


def softmax_with_temperature(scores, temperature):
    return torch.softmax(scores / temperature, -1)"""
UNDIVIDED = RIGHT.replace(" / temperature", "")


def code_cell(source, **about):
    return {"cell_type": "code", "source": source, "outputs": [], "execution_count": None,
            "metadata": {"tutorlib": about} if about else {}}


def notebook(*cells, unit="00"):
    """Return a notebook file; a cell given as text is the marked answer to the first exercise."""
    made = [code_cell(c, exercise=FIRST, role="answer") if isinstance(c, str) else c for c in cells]
    return json.dumps({"cells": made, "metadata": {"tutorlib": {"unit": unit}}, "nbformat": 4,
                       "nbformat_minor": 5}).encode()


def built(product, number):
    """Return the bytes of a built notebook."""
    [path] = (ROOT / product).glob(f"{number}_*.ipynb")
    return path.read_bytes()


def with_answers(number, answers):
    """Return a worksheet with the answer cells of {exercise id: source} filled in."""
    content = json.loads(built("exercises", number))
    for cell in content["cells"]:
        about = cell["metadata"].get("tutorlib", {})
        if about.get("role") == "answer" and about["exercise"] in answers:
            cell["source"] = answers[about["exercise"]]
    return json.dumps(content).encode()


class Cohort:
    """A folder of submissions and the folder of their grades."""

    def __init__(self, folder):
        self.source, self.out = folder / "submissions", folder / "grades"
        self.source.mkdir()

    def hand_in(self, name, data):
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def grade(self, source=None, **settings):
        settings = {"workers": 0, **settings}
        self.graded = grade_cohort(source or self.source, self.out,
                                   Settings(Trusted, Trusted.tier, **settings))
        return self.graded

    def records(self):
        return {(r["learner"]["id"], r["unit"]): r for r in read_records(self.out)}

    def row(self, learner, unit="00", index=0):
        return self.records()[learner, unit]["exercises"][index]

    def page(self, learner, unit="00"):
        [path] = (self.out / "feedback").glob(f"{learner}*.{unit}.html")
        return path.read_text(encoding="utf-8")

    def csv(self):
        return (self.out / "grades.csv").read_text(encoding="utf-8")


@pytest.fixture
def cohort(tmp_path):
    return Cohort(tmp_path)


@pytest.fixture
def visible():
    """Return a page's text as a reader sees it."""
    return lambda html: re.sub(r"<[^>]+>", " ", html.partition("<body>")[2])
