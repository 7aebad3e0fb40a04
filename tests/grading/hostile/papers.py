"""Files that are not what they say: notebooks, zips, names, marks, and exercises that build on one
another."""

from __future__ import annotations

import io
import json
import stat
import zipfile

from tests.grading.cohort.conftest import FIRST, RIGHT, UNDIVIDED, code_cell, notebook, with_answers
from tests.grading.hostile.kit import DEF, Hostile

ZIPS = "symlinks and path traversal in zips"
CORRUPT = "huge or corrupt notebooks"
INJECTED = "HTML and CSV injection in names and outputs"
WORKED = "worked answers"
MARKS = "forged marks and names"
BACK = "the wire's way back into the grader"
HTML = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def packed(*members, compress=zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip of (name or ZipInfo, content) pairs."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compress) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def bomb() -> bytes:
    """Return a zip whose one entry claims to be small and is not."""
    size = 30 << 20
    data = packed(("00_start_here.ipynb", b" " * size))
    return data.replace(size.to_bytes(4, "little"), (90).to_bytes(4, "little"))


def cells(*made, **more) -> bytes:
    return json.dumps({"cells": list(made), "metadata": {"tutorlib": {"unit": "00"}}, **more}
                      ).encode()


def laughs() -> bytes:
    """Return a right answer among outputs that are an entity bomb, deep, and active HTML."""
    bomb_text = '<!DOCTYPE x [<!ENTITY a "' + "ha" * 99 + '"><!ENTITY b "' + "&a;" * 99 + '">]>'
    outputs = [{"output_type": "display_data", "data": {
        "image/svg+xml": bomb_text + "<svg onload='alert(1)'>&b;</svg>", "text/html": HTML,
        "application/javascript": "alert(1)"}}] * 200
    cell = code_cell(RIGHT, exercise=FIRST, role="answer")
    return cells({**cell, "outputs": outputs})


def numbers() -> bytes:
    """Return a notebook with numbers that JSON does not have, or no machine."""
    text = notebook(UNDIVIDED).decode()
    return text.replace('"nbformat": 4', '"nbformat": NaN, "x": 1e999, "y": -Infinity').encode()


SOFT = "maximum_entropy_rl"
STEAL = """
import inspect, linecache, sys
from tutorlib.mdp import TabularMDP


def gibbs_policy(q_values, temperature):
    found = [soft_backup, soft_backup.__code__, inspect.unwrap(soft_backup)]
    text = ''.join(''.join(entry[2]) for entry in linecache.cache.values() if len(entry) > 2)
    print(text[:400])
    return soft_backup
"""
TWICE = """
def gibbs_policy(q_values, temperature):
    return (q_values / temperature).softmax(-1)


def soft_backup(mdp, values, temperature):
    return 0


globals()['soft_backup'] = lambda *a: 0
"""
FLOOD = """
import torch
def dagger_loop(drive, expert, fit, betas):
    data = torch.zeros(30_000_000, dtype=torch.uint8)
    for _ in range(50):
        fit(data, data)
    return fit(data, data), data, data
"""
FOREVER = """
def dagger_loop(drive, expert, fit, betas):
    while True:
        try:
            drive([[float('nan'), 1e308]], 10**300)
        except Exception:
            pass
"""
ORACLE = """
def dagger_loop(drive, expert, fit, betas):
    seen = []
    for thing in (drive, fit):
        for name in ('oracle', 'expected', 'by_definition', '__globals__', '__func__', '__self__'):
            try:
                seen.append(getattr(thing, name))
            except Exception:
                pass
        for number in range(9):
            try:
                seen.append(thing._call(number, (expert, expert), {}))
            except Exception:
                pass
    return seen[-1], seen[0], seen[0]
"""

ALL = (
    Hostile(ZIPS, "out of the zip", problem=True, file="h{}.zip", says="outside of it",
            data=packed(("../../@MARK@/00_start_here.ipynb", notebook(RIGHT)))),
    Hostile(ZIPS, "to an absolute place", problem=True, file="h{}.zip", says="outside of it",
            data=packed(("/var/tmp/@MARK@.ipynb", notebook(RIGHT)))),
    Hostile(ZIPS, "by another slash", problem=True, file="h{}.zip", says="outside of it",
            data=packed(("..\\..\\@MARK@.ipynb", notebook(RIGHT)))),
    Hostile(ZIPS, "a link to somebody else's file", problem=True, file="h{}.zip",
            says="link to another file", data=packed((link("00_start_here.ipynb"), "/etc/passwd"))),
    Hostile(ZIPS, "a bomb that claims to be small", problem=True, file="h{}.zip",
            says="unpacked|larger", data=bomb()),
    Hostile(ZIPS, "as the neighbours, from long ago", file="h{}.zip", data=packed(
        (zipfile.ZipInfo("anna/00_start_here.ipynb", (1990, 1, 1, 0, 0, 0)), notebook(DEF
         + "    return 'mine'")),
        ("bert/00_start_here.ipynb", notebook(UNDIVIDED)))),
    Hostile(ZIPS, "twice the same name", file="h{}.zip", data=packed(
        ("00_start_here.ipynb", notebook(RIGHT)), ("./00_start_here.ipynb", notebook(UNDIVIDED)))),
    Hostile(ZIPS, "a zip that is none", problem=True, file="h{}.zip", says="cannot be read",
            data=b"PK\x03\x04" + b"x" * 99),

    Hostile(CORRUPT, "no JSON", problem=True, data=b'{"cells": [{"cell_type": "code"',
            says="not a notebook"),
    Hostile(CORRUPT, "no notebook", problem=True, data=b'["tutorlib", {"unit": "00"}]',
            says="not a notebook"),
    Hostile(CORRUPT, "nested a million deep", problem=True, says="nested too deep",
            data=b'{"cells":' + b"[" * 1_000_000),
    Hostile(CORRUPT, "100,000 cells", problem=True, says="at most 3,000 cells",
            data=cells(*[{"cell_type": "code", "source": "1", "metadata": {}}] * 100_000)),
    Hostile(CORRUPT, "more than is read", problem=True, says="larger than",
            data=b'{"cells": []}' + b" " * (21 << 20)),
    Hostile(CORRUPT, "a million characters of code", problem=True, says="characters of code",
            data=cells(*[code_cell("#" * 199_999) for _ in range(6)])),
    Hostile(CORRUPT, "an integer of a million digits", problem=True, says="not a notebook",
            data=b'{"nbformat": ' + b"9" * 1_000_000 + b', "cells": []}'),
    Hostile(CORRUPT, "numbers that no JSON has", data=numbers()),
    Hostile(CORRUPT, "sources, types and marks of every kind but the right one", data=cells(
        {"cell_type": "code", "source": {"a": 1}, "metadata": []}, 7, None, [], "code",
        {"cell_type": ["code"], "source": "1"}, {"cell_type": "code", "source": [1, None, "x=1"]},
        {"cell_type": "code", "source": "x", "metadata": {"tutorlib": [FIRST]}})),
    Hostile(CORRUPT, "in another encoding, with nothing in it", problem=True,
            data='{"cells": "none"}'.encode("utf-16"), says="list of at most"),
    Hostile(CORRUPT, "a riddle of empty lines", data=notebook("\n" * 190_000 + ")")),
    Hostile(CORRUPT, "ninety thousand statements", data=notebook("1\n" * 90_000 + DEF
                                                                 + "    return 1")),
    Hostile(CORRUPT, "surrogates and null bytes", data=notebook(
        UNDIVIDED + "\nx = '\ud800\x00'\n")),
    Hostile(CORRUPT, "laughter in the outputs", data=laughs(), right=True),

    Hostile(INJECTED, "a formula for a name", file="=cmd|' {}'!A0.ipynb",
            data=notebook(UNDIVIDED)),
    Hostile(INJECTED, "a script for a name", file="<script>alert({})<!--.ipynb",
            data=notebook(UNDIVIDED)),
    Hostile(INJECTED, "a name that is written backwards", file="\u202ebdnyPi.{}\u2066.ipynb",
            data=notebook(UNDIVIDED)),
    Hostile(INJECTED, "scripts and formulas in errors, values, prints and lines", source=f"""
def softmax_with_temperature(scores, temperature):
    print({HTML!r})
    raise ValueError("=cmd|' /C calc'!A0" + {HTML!r})
"""),
    Hostile(INJECTED, "a script for a value", source=DEF + f"    return {{{HTML!r}: {HTML!r}}}"),
    Hostile(INJECTED, "what a terminal obeys", source=DEF
            + "    raise type('\\x1b[2J', (Exception,), {})('\\x1b]0;owned\\x07\\u202e')"),

    Hostile(WORKED, "read the worked answer of an exercise failed on purpose", data=with_answers(
        "03", {f"{SOFT}.soft_backup": "def soft_backup(mdp, values, temperature):\n    return 0",
               f"{SOFT}.gibbs_policy": STEAL})),
    Hostile(WORKED, "answer the earlier one in a later one's cell", data=with_answers(
        "03", {f"{SOFT}.soft_backup": "from __future__ import annotations\nsoft_backup = None",
               f"{SOFT}.gibbs_policy": TWICE})),

    Hostile(BACK, "floods of data for a function of the grader's", data=with_answers(
        "04", {"imitation_learning.dagger_loop": FLOOD})),
    Hostile(BACK, "calls without end", data=with_answers(
        "04", {"imitation_learning.dagger_loop": FOREVER}), says="limit of 5 seconds"),
    Hostile(BACK, "ask a function of the grader's for what it knows", data=with_answers(
        "04", {"imitation_learning.dagger_loop": ORACLE})),

    Hostile(MARKS, "one exercise answered in three cells", data=notebook(
        RIGHT, UNDIVIDED, DEF + "    return 0")),
    Hostile(MARKS, "marks of exercises that are others' or nobody's", data=notebook(*[
        code_cell(RIGHT.replace("softmax_with", "other"), exercise=name, role="answer")
        for name in ("__proto__", "maxent_irl.debug", "start_here", "../start_here.x", "")],
        code_cell(UNDIVIDED, exercise=FIRST, role="answer"))),
    Hostile(MARKS, "a right answer that says it is a check", data=notebook(
        code_cell(RIGHT, exercise=FIRST, role="check"))),
    Hostile(MARKS, "a comment that claims another's place", data=notebook(
        code_cell(f"# exercise: {FIRST}\n" + UNDIVIDED),
        code_cell("# exercise: maxent_irl.debug\n" + RIGHT, exercise="maxent_irl.debug"))),
    Hostile(MARKS, "the id of a neighbour, in a platform's way of writing",
            file="mallory_9{}_1_anna_815_2_00_start_here.ipynb", data=notebook(UNDIVIDED)),
    Hostile(MARKS, "a device's name", file="con.ipynb", data=notebook(UNDIVIDED)),
    Hostile(MARKS, "a neighbour's name in capitals", file="ANNA.ipynb", data=notebook(UNDIVIDED)),
    Hostile(MARKS, "a unit that does not exist", problem=True, file="h{}.ipynb",
            says="which unit",
            data=b'{"metadata": {"tutorlib": {"unit": "99"}}, "cells": []}'),
)
