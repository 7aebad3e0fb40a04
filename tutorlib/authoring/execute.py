"""Execute one built notebook in its own kernel, as JupyterLab would, and measure it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from tutorlib.authoring.measure import Meter
from tutorlib.authoring.outputs import cell_name


@dataclass(frozen=True)
class Budget:
    """What one lesson may cost."""

    seconds: float = 120.0  # machine time on two CPU cores, kernel start included
    memory_mb: float = 4096.0  # peak resident memory of the kernel and its children

    @property
    def deadline(self) -> float:
        """Wall seconds after which a notebook is stopped, however busy the machine is."""
        return 3 * self.seconds


@dataclass(frozen=True)
class Execution:
    """An executed notebook, what it cost, and what stopped it if anything did."""

    notebook: nbformat.NotebookNode
    meter: Meter
    stopped_by: str = ""


async def execute(path: Path, root: Path, cpus: list[int], budget: Budget,
                  on_cell: Callable[[], None] = lambda: None) -> Execution:
    """Execute a notebook in a fresh kernel, working folder and progress file.

    The notebook file is not changed. ``on_cell`` is called after each cell.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="tutorlib-run-", ignore_cleanup_errors=True) as folder:
        manager = AsyncKernelManager(kernel_name="python3")
        with (Path(folder) / "kernel.log").open("wb") as log:
            await manager.start_kernel(cwd=_made(folder, "work"), stderr=log,
                                       env=kernel_environment(folder, root))
        over = asyncio.Event()
        meter = Meter(manager.provisioner.pid, cpus, budget.memory_mb, over.set)
        try:
            return await _supervise(notebook, manager, meter, over, budget, on_cell)
        finally:
            await manager.shutdown_kernel(now=True)


def kernel_environment(folder: str, root: Path) -> dict[str, str]:
    """Return the kernel's environment: the caller's, with everything that is kept set aside.

    Without ``MPLBACKEND`` the kernel draws inline, as in JupyterLab. Thread counts are left to
    torch, which uses as many threads as the kernel has CPUs, unless OMP_NUM_THREADS is set.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return {**inherited, "TUTORLIB_ROOT": str(root), "TUTORLIB_HOME": _made(folder, "home"),
            "IPYTHONDIR": _made(folder, "ipython"), "PYTHONDONTWRITEBYTECODE": "1"}


def _made(folder: str, name: str) -> str:
    """Make a folder in the temporary one and return its path."""
    path = Path(folder) / name
    path.mkdir()
    return str(path)


async def _supervise(notebook, manager, meter: Meter, over: asyncio.Event, budget: Budget,
                     on_cell: Callable[[], None]) -> Execution:
    """Run the cells while memory and time are watched; stop at the first of three ends."""
    cells = asyncio.create_task(_run_cells(notebook, manager, on_cell))
    watch = asyncio.create_task(meter.watch())
    overrun = asyncio.create_task(over.wait())
    try:
        await asyncio.wait((cells, overrun), timeout=budget.deadline,
                           return_when=asyncio.FIRST_COMPLETED)
        meter.stop()
        if cells.done():
            return Execution(notebook, meter, cells.result())
        reason = (f"stopped: more than {budget.memory_mb:.0f} MB of memory" if overrun.done()
                  else f"stopped after {budget.deadline:.0f} seconds")
        return Execution(notebook, meter, reason)
    finally:
        for task in (cells, watch, overrun):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _run_cells(notebook, manager, on_cell: Callable[[], None]) -> str:
    """Run every cell; return what went wrong, or nothing."""
    client = NotebookClient(notebook, km=manager, timeout=None)
    client.reset_execution_trackers()
    index = 0
    try:
        await client.async_start_new_kernel_client()
        for index, cell in enumerate(notebook.cells):
            await client.async_execute_cell(cell, index)
            on_cell()
    except CellExecutionError as error:
        return f"{cell_name(notebook, index)}: {error.ename}: {error.evalue}"
    except (DeadKernelError, RuntimeError) as error:
        return f"{cell_name(notebook, index)}: the kernel died ({error})"
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
    return ""
