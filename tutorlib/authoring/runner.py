"""Run built notebooks, several at a time, and hold them to their budgets."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tutorlib.authoring.builder import MEASURED, build, read_measured
from tutorlib.authoring.execute import Budget, Execution, execute
from tutorlib.authoring.measure import CORES, core_sets
from tutorlib.authoring.outputs import Findings, expected_checks, inspect_outputs
from tutorlib.authoring.products import PRODUCTS
from tutorlib.errors import LessonError, nearest
from tutorlib.syllabus import Unit, find_unit, ready_units

_WANTED = {"notebooks": "passed", "solutions": "passed", "exercises": "not attempted"}


@dataclass(frozen=True)
class RunResult:
    """What running one notebook cost and showed."""

    unit: str
    product: str
    path: str  # relative to the course's root
    seconds: float  # wall, from kernel start to the last cell
    machine_seconds: float  # wall, less waiting for other processes; what the budget limits
    cpu_seconds: float
    peak_mb: float
    cells: int
    figures: int  # in the lesson's own cells
    outcomes: dict[str, str] = field(default_factory=dict)  # exercise id -> outcome of its check
    problems: tuple[str, ...] = ()  # any of these fails the run
    warnings: tuple[str, ...] = ()  # what went to stderr

    @property
    def ok(self) -> bool:
        """Whether the notebook ran as it should."""
        return not self.problems


def run(root: str | Path, units: Sequence[str] | None = None, product: str = "notebooks",
        workers: int = 1, record: bool = False, *, budget: Budget | None = None,
        progress: bool = True) -> list[RunResult]:
    """Execute built notebooks in their own kernels and return a result for each, in unit order.

    Nothing is written into the tree, except with ``record``: then the figures of
    ``notebooks/`` go into ``course/measured.json`` and the cards that show them are rebuilt.
    Raises ``LessonError`` for an unknown unit or product and for a notebook that is not built.
    """
    root = Path(root).resolve()
    if product not in PRODUCTS:
        raise LessonError(f"there is no product {product!r}: {nearest(product, PRODUCTS)}")
    if record and product != "notebooks":
        raise LessonError("only notebooks/ is recorded: the card's machine time is the lesson's")
    chosen = tuple(find_unit(str(name)) for name in units) if units else ready_units(root)
    jobs = [(unit, _built(root, unit, product)) for unit in chosen]
    results = asyncio.run(_run_all(jobs, root, product, max(1, workers), budget or Budget(),
                                   progress))
    if record:
        write_measured(root, results)
        build(root)
    return results


def _built(root: Path, unit: Unit, product: str) -> Path:
    """Return the path of a built notebook."""
    path = root / product / f"{unit.stem}.ipynb"
    if not path.is_file():
        raise LessonError(f"{product}/{path.name} is not built; run `tutorlib build`")
    return path


async def _run_all(jobs, root: Path, product: str, workers: int, budget: Budget,
                   progress: bool) -> list[RunResult]:
    """Run the jobs, ``workers`` at a time, each worker on its own CPUs where there are enough."""
    free: asyncio.Queue[list[int]] = asyncio.Queue()
    for cpus in core_sets(workers):
        free.put_nowait(cpus)

    async def one(unit: Unit, path: Path, bar) -> RunResult:
        cpus = await free.get()
        task = bar.add_task(f"{product}/{path.stem}", total=_count_cells(path))
        try:
            done = await execute(path, root, cpus, budget, lambda: bar.advance(task))
            return judge(done, unit, product, path, budget)
        finally:
            bar.remove_task(task)
            free.put_nowait(cpus)

    with _progress_bar(progress) as bar:
        return list(await asyncio.gather(*(one(unit, path, bar) for unit, path in jobs)))


def _count_cells(path: Path) -> int:
    """Return a notebook's number of cells."""
    return len(json.loads(path.read_text(encoding="utf-8"))["cells"])


def _progress_bar(shown: bool):
    """Return a progress bar on stderr, so that --json on stdout stays clean."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not shown)


def judge(done: Execution, unit: Unit, product: str, path: Path, budget: Budget) -> RunResult:
    """Turn an execution into a result with its problems."""
    meter, found = done.meter, inspect_outputs(done.notebook)
    problems = [done.stopped_by] if done.stopped_by else []
    problems += _over_budget(meter, budget)
    problems += [f"{where}: a picture without alt text; return a tutorlib.viz.Picture"
                 for where in found.without_alt]
    if not done.stopped_by:
        problems += _wrong_outcomes(found, expected_checks(done.notebook), _WANTED[product])
    return RunResult(unit.number, product, f"{product}/{path.name}", round(meter.seconds, 2),
                     round(meter.machine_seconds, 2), round(meter.cpu_seconds, 2),
                     round(meter.peak_mb, 1), len(done.notebook.cells), found.figures,
                     found.outcomes, tuple(problems), found.stderr)


def _over_budget(meter, budget: Budget) -> list[str]:
    """Return the budgets that were passed."""
    problems = []
    if meter.machine_seconds > budget.seconds:
        problems.append(f"{meter.machine_seconds:.0f} seconds of machine time; "
                        f"{budget.seconds:.0f} are allowed")
    if meter.peak_mb > budget.memory_mb:
        problems.append(f"{meter.peak_mb:.0f} MB of memory; {budget.memory_mb:.0f} are allowed")
    return problems


def _wrong_outcomes(found: Findings, expected: Sequence[str], wanted: str) -> list[str]:
    """Return the checks that are missing or came out otherwise than this product should."""
    problems = [f"{exercise}: its check reported nothing" for exercise in expected
                if exercise not in found.outcomes]
    return problems + [f"{exercise}: {outcome}, expected {wanted}"
                       for exercise, outcome in found.outcomes.items() if outcome != wanted]


def write_measured(root: Path, results: Sequence[RunResult]) -> None:
    """Record the results that are in order in ``course/measured.json``; keep the other units'."""
    measured = read_measured(root)
    for result in results:
        if result.ok:
            measured[result.unit] = {
                "seconds": round(result.machine_seconds, 1),
                "cpu_seconds": round(result.cpu_seconds, 1),
                "peak_mb": round(result.peak_mb), "cpus": CORES}
    text = json.dumps(measured, indent=1, sort_keys=True) + "\n"
    (root / MEASURED).write_text(text, encoding="utf-8")


def run_payload(results: Sequence[RunResult]) -> dict:
    """Return what ``tutorlib run --json`` prints."""
    return {"ok": all(r.ok for r in results),
            "notebooks": [{**asdict(r), "ok": r.ok} for r in results]}


def print_runs(results: Sequence[RunResult], console=None) -> None:
    """Print a table of results, then what is wrong and what went to stderr."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    product = results[0].product if results else "nothing to run"
    table = Table(box=SIMPLE, title=product, title_justify="left")
    table.add_column("Notebook", overflow="fold")
    table.add_column("Result", no_wrap=True)
    for name in ("Seconds", "CPU s", "Peak MB", "Figures"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Checks")
    for r in results:
        checks = ", ".join(f"{n} {what}" for what, n in Counter(r.outcomes.values()).items())
        table.add_row(Path(r.path).stem, "ok" if r.ok else "FAILED", f"{r.seconds:.1f}",
                      f"{r.cpu_seconds:.1f}", f"{r.peak_mb:.0f}", str(r.figures), checks)
    console.print(table)
    for r in results:
        for problem in r.problems:
            console.print(f"FAILED {r.path}: {problem}", markup=False, highlight=False,
                          soft_wrap=True)
        for warning in r.warnings:
            console.print(f"stderr {r.path}: {warning}", markup=False, highlight=False,
                          soft_wrap=True)
