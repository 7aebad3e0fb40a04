"""Tell tensors from other values without loading torch, which takes seconds.

Where torch was never loaded, nothing is a tensor. So a grader of questions about numbers and numpy
arrays begins at once. No answer can make it load torch, in whose import a time limit must not ring.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import torch

_found: ModuleType | None = None


def loaded_torch() -> ModuleType | None:
    """Return torch if this process has it: whole, and not what somebody put in its place."""
    global _found
    there = sys.modules.get("torch")
    if _found is None and hasattr(there, "get_rng_state"):
        if not getattr(there.__spec__, "_initializing", False):
            _found = there
    return _found


def is_tensor(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether ``value`` is a torch tensor.

    >>> is_tensor([1.0])
    False
    """
    torch = loaded_torch()
    return torch is not None and isinstance(value, torch.Tensor)


def is_generator(value: Any) -> TypeGuard[torch.Generator]:
    """Whether ``value`` is a torch random generator."""
    torch = loaded_torch()
    return torch is not None and isinstance(value, torch.Generator)
