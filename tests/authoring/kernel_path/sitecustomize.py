"""Read by Python at start when this folder is on PYTHONPATH: gives kernels the toy exercises."""

from pathlib import Path

import tutorlib.exercises

tutorlib.exercises.__path__.insert(0, str(Path(__file__).parent / "toy"))
