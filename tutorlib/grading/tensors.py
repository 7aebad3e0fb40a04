"""Tell tensors from other values without loading torch, which takes seconds.

Where torch was never loaded, nothing is a tensor. So a grader of questions about numbers and numpy
arrays begins at once, and torch is loaded when an exercise, an answer or a frame has to do with it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import torch


def is_tensor(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether ``value`` is a torch tensor.

    >>> is_tensor([1.0])
    False
    """
    return isinstance(value, _kind("Tensor"))


def is_generator(value: Any) -> TypeGuard[torch.Generator]:
    """Whether ``value`` is a torch random generator."""
    return isinstance(value, _kind("Generator"))


def _kind(name: str) -> Any:
    """Return a class of torch's; no class while torch is not loaded."""
    return getattr(sys.modules.get("torch"), name, ())
