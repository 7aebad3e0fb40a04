"""What a hostile submission is, and the ways to write one down in few lines.

Nearly all of them answer the first exercise of unit 00. A spy looks for something; its answer is
right if it found it, else wrong: so whatever an attack achieves shows in its grade.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from tests.grading.cohort.conftest import RIGHT, notebook

CLASSES = (
    "patched comparison functions and numpy", "yes-objects and array subclasses",
    "shadowing modules", "AST and import tricks", "reading frames", "reading files",
    "reading the environment", "reading other submissions", "writing grader state",
    "forged frames", "truncated frames", "oversized frames", "fuzzed frames", "pickles", "exits",
    "signals", "time-outs with interrupts ignored", "memory bombs", "fork bombs", "disk bombs",
    "output bombs", "daemons", "network of every family", "symlinks and path traversal in zips",
    "huge or corrupt notebooks", "HTML and CSV injection in names and outputs",
    "timing on the preloaded process", "attempts on the next submission",
    "the wire's way back into the grader", "worked answers", "forged marks and names",
)
DEF = "def softmax_with_temperature(scores, temperature):\n"
VALUE = "torch.softmax(scores / temperature, -1)"
EARNS, ENDS = "earns", "ends"


@dataclass(frozen=True)
class Hostile:
    """One submission that is after something."""

    kind: str  # one of CLASSES
    name: str
    source: str = ""  # of the answer cell; with tokens such as @SEED@, which the test fills in
    data: bytes = b""  # or the whole file
    file: str = ""  # its name, where the learner's own will not do
    says: str = ""  # a pattern of what the learner is told
    alone: str = ""  # what it does where there is no box: EARNS the point, ENDS the grader; or ""
    right: bool = False  # its answers are right: it is after something else than points
    problem: bool = False  # its file cannot be graded at all

    def bytes(self, tokens: dict[str, str]) -> bytes:
        """Return the file, with the tokens filled in."""
        if not self.source:
            return self.data
        text = self.source
        for token, value in tokens.items():
            text = text.replace(f"@{token}@", value)
        return notebook(text)


def spy(*attempts: str, setup: str = "") -> str:
    """Return a cell that tries expressions when first called, and is right if one succeeds."""
    tried = ",\n        ".join(f"lambda: {attempt}" for attempt in attempts)
    return (f"import ctypes, os, socket, sys, torch\n{textwrap.dedent(setup)}\ngot = []\n"
            "def attempt():\n"
            f"    for what in [\n        {tried}]:\n"
            "        try:\n            got.append(what())\n"
            "        except BaseException as problem:\n            got.append(None)\n\n\n"
            + DEF + f"    got or attempt()\n    return {VALUE} if any(got) else scores * 0 + 7\n")


def called(body: str, setup: str = "") -> str:
    """Return a cell whose function does something and then answers wrongly."""
    return (f"import ctypes, os, sys, torch\n{textwrap.dedent(setup)}\n" + DEF
            + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
            + "\n    return scores * 0 + 7\n")


def after_shown(body: str) -> str:
    """Return a right answer that does something else once the shown cases are over."""
    return ("import os, sys, time, torch\ncalls = []\n" + DEF + "    calls.append(1)\n"
            "    if len(calls) > @SHOWN@:\n"
            + textwrap.indent(textwrap.dedent(body).strip("\n"), "        ")
            + f"\n    return {VALUE}\n")


UNIFORM = "    return torch.full_like(scores, 1 / scores.shape[-1])\n"  # laws hold, values do not
__all__ = ["CLASSES", "DEF", "EARNS", "ENDS", "RIGHT", "UNIFORM", "VALUE", "Hostile", "after_shown",
           "called", "spy"]
