"""A preload of ``dask worker``: write down each notebook that this worker begins.

Whoever else imports this file (pytest does, to look for doctests) changes nothing.
"""

import hashlib
import os

from tutorlib.grading.cohort import remote

if remote.grade.__module__ == remote.__name__:  # Dask may load this file twice
    _grade = remote.grade


def grade(order):
    with open(os.environ["TUTORLIB_TEST_BEGUN"], "a") as stream:
        stream.write(f"{os.getpid()} {hashlib.sha256(order.notebook).hexdigest()}\n")
    return _grade(order)


if "TUTORLIB_TEST_BEGUN" in os.environ:
    remote.grade = grade
