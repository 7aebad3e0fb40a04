"""Boxes of every tier that works here; a tier that does not is skipped, with its reason."""

import pytest

from tutorlib.grading.box import Cell, Limits, tiers
from tutorlib.grading.box.box import Box
from tutorlib.grading.box.preload import NEEDED


@pytest.fixture(params=tiers.TIERS, ids=lambda tier: tier.name)
def host(request):
    """A process that makes boxes, with little preloaded, so that it starts soon."""
    fault = tiers.fault(request.param, NEEDED)
    if fault is not None:
        pytest.skip(f"the tier {request.param.name} does not work here: {fault}")
    return tiers.own_host(request.param, NEEDED)


@pytest.fixture
def boxed(host):
    """Make a box that has run a source, with the given limits."""
    made = []

    def make(source, forbidden=(), **limits):
        box = Box(host, Limits(**limits))
        made.append(box)
        box.problems = box.load([Cell(source, "cell")], forbidden)
        return box

    yield make
    for box in made:
        box.close()
