"""What comes back over the wire must not stop, bend or burden what goes on out here."""

import time

import pytest

from tutorlib.grading.box import BoxDiedError
from tutorlib.grading.box.proxy import LearnerError
from tutorlib.grading.guard import TimeLimitReached


def test_an_error_that_ends_iterations_does_not_end_those_out_here(boxed):
    """``all(map(holds, map(answer, cases)))`` would be true of no case at all."""
    answer = boxed("def f(x): raise StopIteration").answer("f")
    with pytest.raises(LearnerError):
        list(map(answer, [1, 2]))


def test_what_a_box_may_have_computed_out_here_is_bounded(boxed):
    """A function that stayed here takes little data, and its time is the box's own."""
    box = boxed("import numpy\ndef f(g, size): return g(numpy.zeros(size, dtype='uint8'))")
    f = box.answer("f")
    assert f(lambda x: x.size, 1 << 20) == 1 << 20
    with pytest.raises(BoxDiedError, match="no answer"):
        f(lambda x: x.size, 3 << 20)

    def busy(x):
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            pass

    endless = boxed("def f(g):\n    while True: g(1)\n").answer("f", 0.5)
    begun = time.thread_time()
    with pytest.raises(TimeLimitReached):
        endless(busy)
    assert time.thread_time() - begun < 1.5
