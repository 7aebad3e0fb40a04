"""The doctor, and all of it again as a plain user, whom other rules bind than root."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tutorlib.grading.box import doctor, tiers

ROOT = Path(__file__).parents[3]
NOBODY = 54_321  # a user that nobody is


def test_the_report_names_the_tier_and_what_is_not_promised(monkeypatch):
    held = [doctor.Finding("reads nothing", True, "refused"), doctor.Finding("x", False, "read y")]
    monkeypatch.setattr(tiers, "_faults", {tiers.BUBBLEWRAP: "no bwrap", tiers.LANDLOCK: None})
    monkeypatch.setattr(doctor, "examine", lambda tier: held[:1])
    text, sound = doctor.report()
    assert sound and "tier bubblewrap: no bwrap" in text and "In force: landlock" in text
    assert "names, sizes and dates of other files" in text and "kernel itself" in text
    monkeypatch.setattr(doctor, "examine", lambda tier: held)
    text, sound = doctor.report()
    assert not sound and "BROKEN  x (read y)" in text
    monkeypatch.setattr(tiers, "_faults", {tier: "broken" for tier in tiers.TIERS})
    text, sound = doctor.report()
    assert not sound and "would not be graded" in text


@pytest.mark.parametrize("tier", tiers.TIERS, ids=lambda tier: tier.name)
def test_every_promise_holds(tier):
    if (fault := tiers.fault(tier, ("numpy", "torch"))) is not None:
        pytest.skip(f"the tier {tier.name} does not work here: {fault}")
    assert [f for f in doctor.examine(tier) if not f.held] == []


def open_to_all(path: Path) -> bool:
    """Whether every user may enter the folders above a file."""
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


@pytest.fixture(scope="module")
def plain_python(tmp_path_factory):
    """A Python that a plain user may run, with this environment's packages; made as root."""
    if os.geteuid() != 0:
        pytest.skip("these tests run as a plain user already")
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = [Path(sys.executable).resolve(), Path("/usr/bin") / name, Path("/usr/local/bin") / name]
    usable = [path for path in found if path.exists() and open_to_all(path)]
    sites = [Path(p) for p in sys.path if p.endswith("site-packages")]
    if not usable or not all(map(open_to_all, [*sites, ROOT / "x"])):
        pytest.skip("a plain user cannot reach this Python or its packages")
    folder = Path("/var/tmp") / f"tutorlib-plain-{os.getpid()}"
    subprocess.run([usable[0], "-m", "venv", "--without-pip", folder], check=True)
    below = next(folder.glob("lib/python*/site-packages"))
    (below / "all.pth").write_text("".join(f"{p}\n" for p in [*sites, ROOT]))
    yield folder / "bin" / "python"
    shutil.rmtree(folder)
    shutil.rmtree(folder.with_suffix(".home"), ignore_errors=True)


def test_without_bubblewrap_the_report_names_what_is_lacking(monkeypatch):
    monkeypatch.setattr(tiers, "_faults", {tiers.LANDLOCK: None})
    monkeypatch.setattr(doctor, "examine", lambda tier: [])
    monkeypatch.setenv("TUTORLIB_BWRAP", "none")
    text, _ = doctor.report()
    assert "tier bubblewrap: it is not to be used" in text and "In force: landlock" in text


@pytest.mark.slow
def test_the_traps_and_the_promises_again_as_a_plain_user(plain_python):
    home = plain_python.parents[1].with_suffix(".home")
    home.mkdir(exist_ok=True)
    (home / "private").touch()
    os.chown(home, NOBODY, NOBODY)
    done = subprocess.run(
        [plain_python, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
         f"--basetemp={home}/tmp", "-k", "not plain_user", "tests/grading/box/test_traps.py",
         "tests/grading/box/test_doctor.py"],
        user=NOBODY, group=NOBODY, extra_groups=[], cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=500)
    print(done.stdout)
    if _walls_for_plain_users(home):
        assert "tier bubblewrap does not work" not in done.stdout, done.stdout[-3000:]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 15


def _walls_for_plain_users(home: Path) -> bool:
    """Whether this machine lets a plain user have what bubblewrap needs."""
    if (bwrap := shutil.which("bwrap")) is None:
        return False
    line = [bwrap, "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "true"]
    return subprocess.run(line, user=NOBODY, group=NOBODY, extra_groups=[], cwd=home,
                          capture_output=True).returncode == 0
