"""Say whether this machine is ready for the course, and how to mend what is not.

Works on a half-made installation too: nothing but the standard library is imported before it is
known to be there.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import sys
import time
import tomllib
from dataclasses import asdict, dataclass
from html import escape
from importlib import metadata
from pathlib import Path

from tutorlib.errors import LessonError
from tutorlib.syllabus import course_root

OK, NOTE, MISSING = "ok", "note", "missing"
ONE_THREAD_GAIN = 1.2  # how much faster one thread must be before we say so
LOW_DISK, LOW_MEMORY = 2, 2  # gigabytes below which a lesson or its outputs may not fit


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    value: str  # what was found, in words
    state: str = OK  # ok; note: works, could be better; missing: the course needs it
    mend: str = ""  # the command or step that mends it


@dataclass(frozen=True)
class Diagnosis:
    """All findings: HTML in Jupyter, plain text elsewhere."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing that the course needs is missing."""
        return all(finding.state != MISSING for finding in self.findings)

    def verdict(self) -> str:
        """Return one sentence."""
        missing = [f.name for f in self.findings if f.state == MISSING]
        return f"Not ready: mend {', '.join(missing)}." if missing else "Ready for the course."

    def payload(self) -> dict:
        """Return what ``tutorlib doctor --json`` prints."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        """Return the findings as aligned lines, each mend below its finding."""
        width = max(len(f.name) for f in self.findings)
        lines = []
        for f in self.findings:
            lines.append(f"{f.state:<7}  {f.name:<{width}}  {f.value}")
            if f.mend:
                lines.append(f"{'':<7}  {'':<{width}}  -> {f.mend}")
        return "\n".join([*lines, self.verdict()])

    __repr__ = __str__

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        """Return both forms for Jupyter."""
        rows = "".join(
            f'<tr><td>{f.state}</td><th scope="row">{escape(f.name)}</th><td>{escape(f.value)}'
            + (f"<br><code>{escape(f.mend)}</code>" if f.mend else "") + "</td></tr>"
            for f in self.findings)
        head = "".join(f'<th scope="col">{n}</th>' for n in ("State", "What", "Found; the mend"))
        html = (f'<div data-testid="doctor"><p><strong>{escape(self.verdict())}</strong></p>'
                f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>")
        return {"text/html": html, "text/plain": str(self)}


def doctor(quick: bool = False) -> Diagnosis:
    """Look at Python, packages, device, threads, disk, memory, browser; ``quick`` times nothing."""
    findings = [python_finding(), *package_findings(), *torch_findings(quick), disk_finding(),
                *memory_findings(), progress_finding(), browser_finding()]
    return Diagnosis(tuple(findings))


def python_finding(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Judge the interpreter's version.

    >>> python_finding((3, 10, 2)).state
    'missing'
    """
    text = ".".join(map(str, version))
    if (3, 11) <= version[:2] <= (3, 13):
        return Finding("Python", text)
    return Finding("Python", f"{text}; the course needs 3.11, 3.12 or 3.13", MISSING,
                   "make setup PYTHON=python3.12")


def package_findings(needs: list[str] | None = None,
                     locked: dict[str, str] | None = None) -> list[Finding]:
    """Compare what is installed with what is needed: one line for all that is as tested.

    ``needs`` are requirement lines and ``locked`` the tested versions; by default the package's
    own and those of ``requirements.lock`` (none outside a clone).
    """
    locked = tested_versions() if locked is None else locked
    fine, others = [], []
    for need in required() if needs is None else needs:
        name = re.match(r"[\w.-]+", need)[0]
        installed = installed_version(name)
        finding = _judge(name, need, installed, locked.get(name.lower()))
        if finding is None:
            fine.append(f"{name} {installed}")
        else:
            others.append(finding)
    return [Finding("packages", ", ".join(fine)), *others]


def _judge(name: str, need: str, installed: str | None, tested: str | None) -> Finding | None:
    """Return a finding for a package that is not as tested."""
    mend = f'make setup   (or: python -m pip install "{need}")'
    if installed is None:
        return Finding(name, "not installed", MISSING, mend)
    if not _in_range(installed, need):
        return Finding(name, f"{installed}, but the course needs {need}", MISSING, mend)
    if tested and installed.split("+")[0] != tested:
        return Finding(name, f"{installed}; tested with {tested}", NOTE, "make setup")
    return None


def _in_range(installed: str, need: str) -> bool:
    """Whether a version meets a requirement line; taken on trust where packaging is not there."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return True
    return Requirement(need).specifier.contains(installed, prereleases=True)


def required() -> list[str]:
    """Return the requirement lines of the main path, installed or not."""
    try:
        lines = metadata.requires("tutorlib") or []
    except metadata.PackageNotFoundError:
        project = tomllib.loads((course_root() / "pyproject.toml").read_text(encoding="utf-8"))
        return project["project"]["dependencies"]
    return [line for line in lines if "extra ==" not in line]


def tested_versions() -> dict[str, str]:
    """Return the pins of ``requirements.lock``; empty outside a clone."""
    try:
        lines = (course_root() / "requirements.lock").read_text(encoding="utf-8").splitlines()
    except (LessonError, OSError):
        return {}
    pins = [line.partition("#")[0].strip() for line in lines]
    return dict(pin.split("==") for pin in pins if pin)


def installed_version(name: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def torch_findings(quick: bool) -> list[Finding]:
    """Return device, threads and a timed training step; nothing where torch is not installed."""
    if installed_version("torch") is None:
        return []
    try:
        import torch

        from tutorlib.device import pick_device
        device = pick_device()
    except Exception as problem:  # a broken build fails in many ways
        return [Finding("torch", f"installed, but it does not load: {problem}", MISSING,
                        "make clean setup")]
    findings = [device_finding(torch, device)]
    return findings if quick else [*findings, *timing_findings(torch, device)]


def device_finding(torch, device) -> Finding:
    """Say what tensors live on, and when a GPU lies idle for want of a CUDA build."""
    if device.type == "cuda":
        return Finding("device", f"cuda: {torch.cuda.get_device_name(device)}")
    if shutil.which("nvidia-smi") and torch.version.cuda is None:
        return Finding("device", f"{device}; there is an NVIDIA GPU, but this torch is a CPU build",
                       NOTE, "make setup TORCH_INDEX_URL=https://pypi.org/simple")
    return Finding("device", str(device))


def timing_findings(torch, device) -> list[Finding]:
    """Time a training step on the default threads and on one."""
    threads = torch.get_num_threads()
    seconds = training_step_seconds(torch, device, threads)
    findings = [Finding("training step", f"{seconds * 1e3:.2f} ms (a 4-64-64-2 network, batch of "
                                         f"256, on {device}, median of 30)"),
                Finding("threads", f"{threads} of {os.cpu_count()} cores")]
    if device.type == "cpu" and threads > 1:
        alone = training_step_seconds(torch, device, 1)
        if alone * ONE_THREAD_GAIN < seconds:
            findings[1] = Finding(
                "threads", f"{threads} of {os.cpu_count()} cores; one thread is faster here: "
                           f"{alone * 1e3:.2f} ms a step", NOTE, "torch.set_num_threads(1)")
    return findings


def training_step_seconds(torch, device, threads: int, steps: int = 30) -> float:
    """Return the median seconds of a small network's training step; restores the threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Tanh(),
                                    torch.nn.Linear(64, 64), torch.nn.Tanh(),
                                    torch.nn.Linear(64, 2)).to(device)
        data = torch.linspace(-1, 1, 1024, device=device).reshape(256, 4)
        times = [_step(torch, model, data) for _ in range(steps + 5)]
        return statistics.median(times[5:])  # the first ones pay for allocation
    finally:
        torch.set_num_threads(before)


def _step(torch, model, data) -> float:
    """Return the seconds of one step; ``item`` waits for the device.

    The update is written out: torch's first optimiser loads its compiler, seconds of waiting.
    """
    start = time.perf_counter()
    loss = model(data).square().mean()
    loss.backward()
    with torch.no_grad():
        for weights in model.parameters():
            weights -= 0.01 * weights.grad
            weights.grad = None
    loss.item()
    return time.perf_counter() - start


def disk_finding(folder: Path | None = None) -> Finding:
    """Say how much room is left where the course lies."""
    free = shutil.disk_usage(folder or Path.cwd()).free / 1e9
    low = free < LOW_DISK
    return Finding("disk", f"{free:.1f} GB free", NOTE if low else OK,
                   f"free some space: a lesson may need {LOW_DISK} GB" if low else "")


def memory_findings() -> list[Finding]:
    """Say how much memory is free; nothing where psutil is not installed."""
    try:
        import psutil
    except ImportError:
        return []
    free = psutil.virtual_memory().available / 1e9
    low = free < LOW_MEMORY
    return [Finding("memory", f"{free:.1f} GB free", NOTE if low else OK,
                    "close other programs and idle notebooks" if low else "")]


def progress_finding() -> Finding:
    """Say where progress is kept, and whether it can be."""
    try:
        from tutorlib.grading.store import Store, home

        store = Store()
    except ImportError as problem:
        return Finding("progress", f"cannot be kept: {problem}", MISSING, "make setup")
    store.close()
    return Finding("progress", store.notice or str(home()), NOTE if store.notice else OK)


def find_chromium() -> str | None:
    """Return the path of a Chromium-like browser; ``TUTORLIB_CHROMIUM`` overrides the search."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("TUTORLIB_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def browser_finding() -> Finding:
    """Say whether the browser tests can run; learners do not need them."""
    found = find_chromium()
    if found:
        return Finding("Chromium (for tests only)", found)
    mend = {"Linux": "sudo apt-get install chromium libatomic1",
            "Darwin": "brew install --cask chromium"}
    return Finding("Chromium (for tests only)", "not found; lessons do not need it", NOTE,
                   mend.get(platform.system(), "install Chromium and set TUTORLIB_CHROMIUM"))
