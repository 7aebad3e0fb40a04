from __future__ import annotations

import jaxtyping
import pytest
import torch


@pytest.fixture
def unchecked():
    """Switch the shape checks of the tests off, to see the library's own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
