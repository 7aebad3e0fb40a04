"""One story of versions: pyproject's ranges, the lock's pins, environment.yml, the wheel.

environment.yml is shown to be consistent with pyproject and its pip part to install into an empty
environment; conda itself is not run here.
"""

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINS = dict(line.partition("  #")[0].split("==") for line in LOCK.splitlines()
            if not line.startswith("#"))


def requirements() -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("need", requirements(), ids=str)
def test_ranges_have_a_lower_bound_only_and_hold_the_tested_version(need):
    operators = [part.operator for part in need.specifier]
    assert operators == [">="], "a range states what is known to be too old, and no upper limit"
    assert need.specifier.contains(PINS[canonicalize_name(need.name)])


def test_pins_name_releases_and_no_build_or_path():
    for name, version in PINS.items():
        assert canonicalize_name(name) == name and re.fullmatch(r"[\d.]+(post\d+)?", version)
    assert "tutorlib" not in PINS and list(PINS) == sorted(PINS)


def test_the_lock_is_what_make_lock_would_write_here():
    python = ".".join(platform.python_version_tuple()[:2])
    if f"Python {python} on {platform.system()}" not in LOCK:
        pytest.skip("the lock was written under another Python or system")
    spec = importlib.util.spec_from_file_location("lock", ROOT / "scripts/lock.py")
    lock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lock)
    assert lock.lock_text() == LOCK, "run `make lock`, or `make setup` if you changed nothing"


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_the_pins_admit_every_supported_python(python):
    """Debian's and Ubuntu's Pythons are often the first of their series."""
    wanted = {canonicalize_name(found.name): found.metadata.get("Requires-Python") or ""
              for found in distributions()}
    too_new = [name for name in PINS if python not in SpecifierSet(wanted.get(name, ""))]
    assert not too_new, f"pin older releases of {too_new}: these refuse Python {python}"


def conda_environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def pip_part() -> list[str]:
    [part] = [item["pip"] for item in conda_environment()["dependencies"] if isinstance(item, dict)]
    return part


def test_conda_gives_python_and_pip_and_agrees_with_pyproject():
    environment = conda_environment()
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    assert plain[1:] == ["pip"] and environment["channels"] == ["conda-forge", "nodefaults"]
    assert SpecifierSet(plain[0].removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
    assert environment["name"] == PROJECT["name"]
    assert pip_part() == ["--extra-index-url https://download.pytorch.org/whl/cpu",
                          "--constraint requirements.lock", "--editable .[test]"]


@pytest.fixture
def copy(tmp_path):
    """A copy of what an installation needs, in a folder with a space in its name."""
    target = tmp_path / "my course"
    shutil.copytree(ROOT / "tutorlib", target / "tutorlib",
                    ignore=shutil.ignore_patterns("__pycache__"))
    (target / "course").mkdir()
    for name in ("pyproject.toml", "requirements.lock", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, target / name)
    return target


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_pip_part_installs_into_an_empty_environment(copy, tmp_path):
    venv = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin" / "python"
    (copy / "pip_part.txt").write_text("\n".join(pip_part()) + "\n")
    # No retries: an index that cannot be reached from here must not cost minutes per package.
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-compile", "-r", "pip_part.txt"],
        cwd=copy, env={**os.environ, "PIP_RETRIES": "0"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], check=True,
                            capture_output=True, text=True)
    found = {canonicalize_name(item["name"]): item["version"].split("+")[0]
             for item in json.loads(listed.stdout)}
    assert {name: found[name] for name in PINS if name in found} == {
        name: PINS[name] for name in PINS if name in found}
    assert {canonicalize_name(need.name) for need in requirements()} <= set(found)
    assert not [name for name in found if name.startswith("nvidia")], "that is the CUDA build"
    doctor = subprocess.run([venv / "bin" / "tutorlib", "doctor", "--quick", "--json"], cwd=copy,
                            capture_output=True, text=True)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


@pytest.mark.slow
def test_the_wheel_holds_the_whole_package_and_the_licences(copy, tmp_path):
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir",
                    tmp_path, copy], check=True)
    [wheel] = tmp_path.glob("tutorlib-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(copy)) for path in (copy / "tutorlib").rglob("*")
               if path.is_file()}
    assert sources <= names
    assert {Path(name).name for name in names} >= {"LICENSE", "LICENSE-TEXT", "entry_points.txt"}
    shutil.unpack_archive(wheel, tmp_path / "installed", "zip")
    code = "import tutorlib, sys; print(tutorlib.__version__, tutorlib.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, text=True,
                          capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")})
    assert done.stdout.split()[1].startswith(str(tmp_path / "installed"))


def test_the_peer_packages_are_pinned_and_installed_as_pinned():
    lines = (ROOT / "requirements-peers.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {"imitation", "seals"} <= set(pins) and not set(pins) & set(PINS)
    found = {canonicalize_name(one.name): one.version for one in distributions()}
    if "imitation" not in found:
        pytest.skip("the peer packages are not installed: make peers")
    assert {name: found.get(name) for name in pins} == pins


def test_the_extra_for_clusters_admits_the_dask_that_is_tested():
    lines = (ROOT / "requirements-peers.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    [need] = map(Requirement, PROJECT["optional-dependencies"]["cluster"])
    assert need.specifier.contains(pins[need.name]) and pins["dask"] == pins["distributed"]
    installed = {canonicalize_name(one.name): one for one in distributions()}
    if need.name not in installed:
        pytest.skip("Dask is not installed: make peers")
    missing = {canonicalize_name(Requirement(line).name)
               for name in ("dask", "distributed") for line in installed[name].requires or ()
               if "extra ==" not in line} - {*pins, *PINS}
    assert not missing, "pip installs the peers without what they need: pin that too"
