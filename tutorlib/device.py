"""One place decides where tensors live."""

from __future__ import annotations

import os


def pick_device(preferred: str | None = None):
    """Return the ``torch.device`` to compute on: cuda, else mps, else cpu.

    ``preferred`` wins over the environment variable ``TUTORLIB_DEVICE``, which wins over what
    is found on the machine.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    import torch

    name = preferred or os.environ.get("TUTORLIB_DEVICE")
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    return torch.device(name)
