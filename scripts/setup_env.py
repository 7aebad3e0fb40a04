"""Make ``.venv`` in the course folder and install the course into it, once.

``make setup`` calls this; without make: ``python scripts/setup_env.py``. It uses the standard
library only, and old Pythons can read it, so that whatever ``python3`` is can look for a better
one. Environment variables: ``PYTHON`` (the interpreter to use) and ``TORCH_INDEX_URL`` (where
to take torch from; see README.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 11), (3, 13)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE = "import sys, venv, ensurepip; print(*sys.version_info[:2])"


class SetupError(Exception):
    """The set-up cannot go on; the message says what to do."""


def python_version(command: str) -> tuple[int, ...] | None:
    """Return (major, minor) of an interpreter that can make environments, else None."""
    try:
        # A version manager's stand-in may exist on the path and still refuse to run.
        done = subprocess.run([command, "-c", PROBE], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None


def find_python(wanted: str | None) -> str:
    """Return an interpreter in range: the ``wanted`` one, else this one, else one on the path."""
    names = [wanted] if wanted else [sys.executable, "python3.13", "python3.12", "python3.11"]
    found = {name: python_version(name) for name in names}
    for name, version in found.items():
        if version and OLDEST <= version <= NEWEST:
            return name
    seen = ", ".join(f"{name}: {'.'.join(map(str, version)) if version else 'does not run'}"
                     for name, version in found.items())
    raise SetupError(
        f"The course needs Python 3.11, 3.12 or 3.13 with the venv module ({seen}).\n"
        "Install one (python.org; on Debian and Ubuntu: apt install python3 python3-venv) "
        "or name it: make setup PYTHON=/path/to/python3.12")


def venv_python(venv: Path) -> Path:
    """Return the interpreter inside an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_version(venv: Path) -> tuple[int, ...] | None:
    """Return (major, minor) of an environment without starting it; None when it is unusable."""
    settings = venv / "pyvenv.cfg"
    if not settings.is_file() or not venv_python(venv).exists():
        return None
    match = re.search(r"^version\w* *= *(\d+)\.(\d+)", settings.read_text(), re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else None


def make_venv(venv: Path, wanted: str | None) -> tuple[int, ...]:
    """Make the environment unless a usable one of the wanted version is there."""
    version = venv_version(venv)
    fits = version is not None and OLDEST <= version <= NEWEST
    if fits and (not wanted or python_version(wanted) == version):
        return version
    python = find_python(wanted)
    say(f"Making {venv.name} with {python}")
    run([python, "-m", "venv", "--clear", str(venv)])
    return venv_version(venv)


def fingerprint(root: Path, version: tuple[int, ...]) -> str:
    """Return a digest of everything that decides what is installed, and where."""
    digest = hashlib.sha256(f"{root} {version}".encode())
    for name in ("pyproject.toml", "requirements.lock", "scripts/setup_env.py"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def pinned_torch(root: Path) -> str:
    """Return the line of the lock file that pins torch, ``torch==...``."""
    lock = (root / "requirements.lock").read_text(encoding="utf-8")
    return re.search(r"^torch==\S+", lock, re.MULTILINE)[0]


def torch_source(report: dict | None, override: str | None) -> list[str]:
    """Return pip's options for where torch comes from.

    ``report`` is pip's own word on the file it would take, asked only on Linux without an NVIDIA
    GPU: there the default index gives a build with gigabytes of CUDA libraries, so a CPU index
    is named unless pip would take a CPU build or a local file anyway.
    """
    if override:
        return ["--index-url", override]
    if report is None:
        return []
    taken = report["install"][0]
    local = taken["download_info"]["url"].startswith("file:")
    return [] if local or "+cpu" in taken["metadata"]["version"] else ["--index-url", CPU_INDEX]


def has_nvidia_gpu() -> bool:
    """Whether NVIDIA's driver answers and lists a GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listed = subprocess.run([tool, "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return listed.returncode == 0 and b"GPU" in listed.stdout


def torch_report(python: Path, torch: str) -> dict | None:
    """Ask pip which torch it would take (metadata only); None where any answer will do."""
    if platform.system() != "Linux" or has_nvidia_gpu():
        return None
    command = pip(python, "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed",
                  "--report", "-", torch)
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise SetupError(f"pip finds no {torch} for this machine (its message is above).")
    return json.loads(done.stdout)


def install(root: Path, venv: Path, override: str | None) -> None:
    """Install torch first (so that nothing else chooses its build), then the course."""
    python, torch = venv_python(venv), pinned_torch(root)
    # From 23.3 on pip reads a wheel's metadata without downloading the wheel.
    run(pip(python, "install", "--quiet", "pip>=23.3"))
    source = torch_source(None if override else torch_report(python, torch), override)
    say(f"Installing {torch}" + (f" from {source[-1]}" if source else ""))
    again = ["--force-reinstall"] if override else []
    run(pip(python, "install", "--no-compile", "--no-deps", *again, *source, torch))
    say("Installing the course and what it needs")
    run(pip(python, "install", "--no-compile", "--constraint", str(root / "requirements.lock"),
            "--editable", f"{root}[test]"))


def pip(python: Path, *arguments: str) -> list[str]:
    """Return the command line of the environment's pip."""
    return [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]


def run(command: list[str]) -> None:
    """Run a command; a failure ends the set-up with the command's own message above ours."""
    if subprocess.run(command).returncode != 0:
        raise SetupError(
            f"This failed: {' '.join(command)}\n"
            "Its message is above. Mend that and run the same make target again; what is "
            "already downloaded is kept.")


def say(text: str) -> None:
    """Print a line of progress at once, also into a pipe."""
    print(f"== {text}", flush=True)


def main() -> int:
    """Bring the environment up to date; return the exit code."""
    venv, override = ROOT / ".venv", os.environ.get("TORCH_INDEX_URL") or None
    stamp = venv / "course-stamp.json"
    try:
        version = make_venv(venv, os.environ.get("PYTHON") or None)
        done = json.loads(stamp.read_text()) if stamp.is_file() else {}
        wanted = {"fingerprint": fingerprint(ROOT, version),
                  "torch_index": override or done.get("torch_index")}
        if done == wanted:
            return 0
        stamp.unlink(missing_ok=True)
        install(ROOT, venv, wanted["torch_index"])
        run([str(venv_python(venv)), "-m", "tutorlib.cli", "doctor", "--quick"])
    except SetupError as problem:
        print(problem, file=sys.stderr)
        return 1
    stamp.write_text(json.dumps(wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
