"""The Makefile and .ci/run, with every program they start replaced by one that only reports."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path):
    """The Makefile in a folder with a space, beside an environment that prints its arguments."""
    root = tmp_path / "my course"
    (root / ".ci").mkdir(parents=True)
    (root / "scripts").mkdir()
    shutil.copy(ROOT / "Makefile", root)
    shutil.copy(ROOT / ".ci/run", root / ".ci/run")
    (root / "scripts/setup_env.py").write_text("print('set up')\n")
    script(root / ".venv/bin/python", 'echo "python $* BROWSER=$BROWSER"')
    return root


def make(root: Path, *arguments: str):
    return subprocess.run(["make", "--no-print-directory", "-C", root, *arguments], cwd="/",
                          capture_output=True, text=True)


@pytest.mark.parametrize("arguments, expected", [
    (["lab"], "-m tutorlib.cli lab BROWSER="),
    (["lab", "PORT=8899", "BROWSER=none"], "-m tutorlib.cli lab --port 8899 BROWSER=none"),
    (["run", "UNIT=06"], "-m tutorlib.cli run 06 BROWSER="),
    (["build"], "-m tutorlib.cli build BROWSER="),
    (["peers"], "-m pip --disable-pip-version-check install --quiet --retries 1 --no-compile "
                "--no-deps -r requirements-peers.txt BROWSER="),
    (["test"], "-m pytest -n 2 --dist worksteal BROWSER="),
    (["test-fast"], "-m pytest -m not slow and not browser BROWSER="),
])
def test_targets_set_up_first_and_use_the_environment(clone, monkeypatch, arguments, expected):
    # also what a `make test TESTS=...` that runs this test tells those below it
    for name in ("BROWSER", "TESTS", "PORT", "UNIT", "WORKERS", "MAKEFLAGS", "MAKEOVERRIDES"):
        monkeypatch.delenv(name, raising=False)
    done = make(clone, *arguments)
    lines = [line.rstrip() for line in done.stdout.splitlines() if "echo" not in line]
    assert done.returncode == 0, done.stderr
    assert lines[0] == "set up" and lines[-1] == f"python {expected}"


def test_a_failed_set_up_stops_everything(clone):
    (clone / "scripts/setup_env.py").write_text("raise SystemExit(1)\n")
    done = make(clone, "lab")
    assert done.returncode != 0 and "tutorlib.cli" not in done.stdout


def test_a_python_that_is_not_there_is_left_to_the_set_up_to_explain(clone):
    shutil.copy(ROOT / "scripts/setup_env.py", clone / "scripts")
    done = make(clone, "setup", "PYTHON=/no/such/python")
    assert done.returncode != 0
    assert "/no/such/python: does not run" in done.stderr and "Traceback" not in done.stderr


def test_help_and_clean(clone):
    assert "make lab" in make(clone).stdout, "help is what plain `make` does"
    (clone / "tutorlib/__pycache__").mkdir(parents=True)
    (clone / "notebooks").mkdir()
    assert make(clone, "clean").returncode == 0
    left = {str(path.relative_to(clone)) for path in clone.rglob("*")}
    assert left == {"Makefile", ".ci", ".ci/run", "scripts", "scripts/setup_env.py", "tutorlib",
                    "notebooks"}


@pytest.fixture
def machine(tmp_path, clone):
    """A path with only what CI needs, in which packages can be missing; and what it ran."""
    bin = tmp_path / "bin"
    for name in ("bash", "dirname", "env", "touch", "chmod", "cat"):
        (bin / name).parent.mkdir(exist_ok=True)
        (bin / name).symlink_to(shutil.which(name))
    for name in ("chromium", "python3", "bwrap"):
        script(bin / name, "exit 0")
    script(bin / "uname", "echo Linux")
    script(bin / "ldconfig", "echo libatomic.so.1")
    script(bin / "make", f'echo "make $* in $PWD"; exit ${{MAKE_EXIT:-0}}; # {clone}')
    script(bin / "id", "echo ${FAKE_UID:-0}")
    script(bin / "apt-get", f'echo "apt-get $*" >> "{tmp_path}/installed"\n'
                            f'touch "{bin}/chromium"; chmod +x "{bin}/chromium"')

    def ci(**environment):
        return subprocess.run([clone / ".ci/run"], cwd="/", capture_output=True, text=True,
                              env={"PATH": str(bin), **environment})

    return bin, ci, tmp_path / "installed"


def test_ci_runs_the_tests_in_the_course_folder_with_an_honest_exit_code(machine, clone):
    _, ci, installed = machine
    done = ci()
    assert done.returncode == 0
    assert done.stdout == f"make peers in {clone}\nmake test in {clone}\n"
    assert not installed.exists()
    assert ci(MAKE_EXIT="2").returncode == 2


def test_ci_without_the_peer_packages_says_so_and_tests_all_the_same(machine):
    bin, ci, _ = machine
    script(bin / "make", 'echo "make $*"; [ "$1" != peers ]')
    done = ci()
    assert done.returncode == 0 and done.stdout.endswith("make test\n")
    assert "could not be installed" in done.stdout and "will be skipped" in done.stdout


def test_ci_installs_what_is_missing_as_root_only(machine):
    bin, ci, installed = machine
    (bin / "chromium").unlink()
    refused = ci(FAKE_UID="1000")
    assert refused.returncode == 1 and "sudo apt-get install chromium" in refused.stderr
    assert not installed.exists()
    done = ci()
    assert done.returncode == 0 and "make test" in done.stdout
    assert "install" in installed.read_text() and "chromium" in installed.read_text()


def test_ci_goes_on_without_bubblewrap_where_it_cannot_install_it(machine):
    bin, ci, installed = machine
    (bin / "bwrap").unlink()
    assert ci(FAKE_UID="1000").returncode == 0 and not installed.exists()
    assert ci().returncode == 0 and "bubblewrap" in installed.read_text()


@pytest.mark.parametrize("program, body, package", [
    ("python3", "exit 1", "python3-venv"), ("ldconfig", "echo libc.so.6", "libatomic1")])
def test_ci_notices_what_does_not_serve(machine, program, body, package):
    bin, ci, _ = machine
    script(bin / program, body)
    refused = ci(FAKE_UID="1000")
    assert refused.returncode == 1 and package in refused.stderr


def test_ci_is_an_executable_script():
    path = ROOT / ".ci/run"
    assert path.stat().st_mode & stat.S_IXUSR and os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)
